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
        size = _HEADER_BYTES + 4 * N_SLOTS * channels * CAPACITY
        with path.open("r+b") as file:
            if path.stat().st_size < size:
                file.truncate(size)
            self._memory = mmap.mmap(file.fileno(), size)
        self._at_work = np.frombuffer(self._memory, np.int64, 1)
        slots = np.frombuffer(self._memory, np.float32, N_SLOTS * channels * CAPACITY, _HEADER_BYTES)
        self._slots = slots.reshape(N_SLOTS, channels * CAPACITY)

    @classmethod
    def create(cls, channels: int) -> SharedAudio:
        """A new one, in memory where the system has a folder for that. Raises `OSError`."""
        folder = _RAM if os.access(_RAM, os.W_OK) else None
        descriptor, path = tempfile.mkstemp(prefix="stembridge-", suffix=".audio", dir=folder)
        os.close(descriptor)
        made = cls(Path(path), channels)
        made.at_work = -1
        return made

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
