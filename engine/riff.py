"""What the chunks of a RIFF or RF64 file say, read without its samples."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_UNKNOWN_SIZES = (0, 0xFFFF_FFFF)
"""A recorder that did not finish, or RF64, whose true size stands elsewhere."""


def read_time_reference(path: Path) -> int | None:
    """The `bext` time reference in samples; None where there is none."""
    with path.open("rb") as file:
        for name, size in _chunks(file):
            if name == b"bext" and size >= 346:
                return int(struct.unpack_from("<Q", file.read(346), 338)[0])
    return None


def missing_bytes(path: Path) -> int:
    """How many bytes of samples a WAV file's header promises and the file does not hold; 0 for all other files."""
    with path.open("rb") as file:
        for name, size in _chunks(file):
            if name == b"data":
                held = os.fstat(file.fileno()).st_size - file.tell()
                return 0 if size in _UNKNOWN_SIZES else max(0, size - held)
    return 0


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Name and size of each chunk up to the samples; the file stands at the chunk's body when it is yielded."""
    head = file.read(12)
    if len(head) < 12 or head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
        return
    while len(name_size := file.read(8)) == 8:
        name, size = name_size[:4], struct.unpack("<I", name_size[4:])[0]
        body = file.tell()
        yield name, size
        if name == b"data":
            return
        file.seek(body + size + size % 2)
