"""Float32 WAV out, streamed, with a `bext` time reference; becomes RF64 when it outgrows 4 GB.

libsndfile can write `bext` only through a call that its Python binding does not offer, so the container is written
here: EBU Tech 3285 (broadcast extension, version 1) and EBU Tech 3306 / ITU-R BS.2088 (RF64: `JUNK` in the place of
`ds64` until the size is known).
"""

from __future__ import annotations

import contextlib
import os
import struct
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from engine.audio import Samples

MAX_RIFF_BYTES: Final = 0xFFFF_FFFF
_DS64_BYTES: Final = 28
_BEXT_BYTES: Final = 602
_FORMAT_IEEE_FLOAT: Final = 3
_ORIGINATOR: Final = b"Stembridge"


class WavWriter:
    """Write `(channel, sample)` float32 blocks to a new file at `path`; `finish` makes the header true.

    `time_reference` is the first sample's place on the timeline, in samples. `riff_limit` is where RF64 begins
    (lowered only by tests). Raises `OSError` as the file system gives it.
    """

    def __init__(
        self,
        path: Path,
        sample_rate: int,
        channels: int,
        *,
        time_reference: int = 0,
        description: str = "",
        riff_limit: int = MAX_RIFF_BYTES,
    ) -> None:
        self._channels = channels
        self._riff_limit = riff_limit
        self._file: BinaryIO = path.open("xb")
        self.samples = 0
        frame_bytes = 4 * channels
        chunks = [
            _chunk(b"JUNK", bytes(_DS64_BYTES)),
            _chunk(b"bext", _bext(description, time_reference)),
            _chunk(
                b"fmt ",
                struct.pack(
                    "<HHIIHHH", _FORMAT_IEEE_FLOAT, channels, sample_rate, sample_rate * frame_bytes, frame_bytes, 32, 0
                ),
            ),
        ]
        header = b"RIFF\0\0\0\0WAVE" + b"".join(chunks)
        # `fact` is required of every format but PCM: its count is filled in by finish.
        self._fact_offset = len(header) + 8
        self._data_offset = self._fact_offset + 4 + 8
        self._file.write(header + _chunk(b"fact", bytes(4)) + b"data\0\0\0\0")

    def write(self, block: Samples) -> None:
        """Append a `(channel, sample)` block."""
        if block.shape[0] != self._channels:
            raise ValueError(f"a block of {block.shape[0]} channels for a file of {self._channels}")
        self._file.write(np.ascontiguousarray(block.T, dtype="<f4").data)
        self.samples += block.shape[1]

    def finish(self) -> None:
        """Fill in the sizes, flush to the disk and close."""
        data_bytes = self.samples * self._channels * 4
        riff_bytes = self._data_offset + data_bytes - 8
        file = self._file
        if riff_bytes > self._riff_limit:
            file.seek(0)
            file.write(b"RF64" + struct.pack("<I", 0xFFFF_FFFF) + b"WAVEds64")
            file.write(struct.pack("<IQQQI", _DS64_BYTES, riff_bytes, data_bytes, self.samples, 0))
            data_size = fact = 0xFFFF_FFFF
        else:
            file.seek(4)
            file.write(struct.pack("<I", riff_bytes))
            data_size, fact = data_bytes, self.samples
        file.seek(self._fact_offset)
        file.write(struct.pack("<I", fact))
        file.seek(self._data_offset - 4)
        file.write(struct.pack("<I", data_size))
        file.flush()
        os.fsync(file.fileno())
        file.close()

    def close(self) -> None:
        """Close without finishing; for a file that will be removed. Safe to call twice."""
        # The last buffered write may fail again here (disk full); the file is thrown away all the same.
        with contextlib.suppress(OSError):
            self._file.close()


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body


def _bext(description: str, time_reference: int) -> bytes:
    body = bytearray(_BEXT_BYTES)
    text = description.encode("ascii", "replace")[:255]
    body[: len(text)] = text
    body[256 : 256 + len(_ORIGINATOR)] = _ORIGINATOR
    struct.pack_into("<Q", body, 338, time_reference)
    struct.pack_into("<H", body, 346, 1)
    return bytes(body)
