"""Memory that two processes see: a few blocks of audio, and which plugin is at work.

A mapped file rather than the standard library's shared memory: that one's book-keeping process unlinks what a killed
worker held, and complains of it. The file has no name any more once the worker has it open, so nothing is left behind
whoever dies (on Windows it goes when both have closed it).
"""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
from pathlib import Path
from typing import Final

import numpy as np

from engine.audio import READ_BLOCK_SAMPLES, Samples
from engine.errors import StembridgeError

CAPACITY: Final = READ_BLOCK_SAMPLES
"""Samples per channel in one slot."""
N_SLOTS: Final = 2
"""One is filled or emptied while the worker is busy with the other."""
_HEADER_BYTES: Final = 4096
_RAM: Final = Path("/dev/shm")


class SharedAudio:
    """The slots, from either side. `close` lets go of them; whoever created them calls `unlink` as well."""

    def __init__(self, path: Path, channels: int) -> None:
        self.path, self.channels = path, channels
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _size(channels))
        self._at_work = np.frombuffer(self._memory, np.int64, 1)
        slots = np.frombuffer(self._memory, np.float32, N_SLOTS * channels * CAPACITY, _HEADER_BYTES)
        self._slots = slots.reshape(N_SLOTS, channels * CAPACITY)

    @classmethod
    def create(cls, channels: int) -> SharedAudio:
        """A new one, in memory where the system has a folder for that and room in it.

        Raises `StembridgeError` (`disk_full`) where there is room nowhere.
        """
        for folder in (*([_RAM] if os.access(_RAM, os.W_OK) else []), Path(tempfile.gettempdir())):
            descriptor, name = tempfile.mkstemp(prefix="stembridge-", suffix=".audio", dir=folder)
            try:
                # Written, not only made that long: to write to mapped memory that has no room kills the writer.
                with open(descriptor, "wb") as file:
                    file.write(bytes(_size(channels)))
            except OSError:
                Path(name).unlink(missing_ok=True)
                continue
            made = cls(Path(name), channels)
            made.at_work = -1
            return made
        raise StembridgeError(
            "disk_full",
            f"There is no room for {_size(channels) / 1e6:.0f} MB in {tempfile.gettempdir()}.",
            "Free some space.",
        )

    @property
    def at_work(self) -> int:
        """The place in the chain of the plugin that runs; -1 when none does."""
        return int(self._at_work[0])

    @at_work.setter
    def at_work(self, place: int) -> None:
        self._at_work[0] = place

    def view(self, slot: int, n_samples: int) -> Samples:
        """`(channel, sample)` of a slot: what is written to it is seen by the other side.

        Raises `ValueError` for more samples than a slot holds.
        """
        if not 0 <= n_samples <= CAPACITY:
            raise ValueError(f"{n_samples} samples for a slot of {CAPACITY}")
        return self._slots[slot, : self.channels * n_samples].reshape(self.channels, n_samples)

    def unlink(self) -> None:
        """Take its name away; the memory stays as long as it is mapped."""
        with contextlib.suppress(OSError):  # gone, or Windows: removed with `close` then
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the memory."""
        del self._at_work, self._slots
        with contextlib.suppress(BufferError):  # a view of it is still held: it goes with that
            self._memory.close()
        self.unlink()


def _size(channels: int) -> int:
    return _HEADER_BYTES + 4 * N_SLOTS * channels * CAPACITY
