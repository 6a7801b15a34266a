"""Write a safetensors file one tensor at a time.

The library's own writer wants all tensors in memory, and twice while it writes; a checkpoint of 15 GB is imported on
machines with less. The format is 8 bytes of length, a JSON header, the bytes. Reading is the library's.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

_NAMES: Final = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
_ALIGNMENT: Final = 64
"""Bytes at which the data begins, so that tensors read in place lie where vector loads like them."""


@dataclass(frozen=True)
class Written:
    """What the manifest says of a file."""

    sha256: str
    n_bytes: int


def write_tensors(path: Path, shapes: Mapping[str, tuple[int, ...]], tensors: Iterable[tuple[str, Tensor]]) -> Written:
    """Write `tensors`, which must be those of `shapes` in the same order, as float32.

    The file is on the disk when this returns. Raises `ValueError` when a tensor is another than announced, `OSError`
    as the disk does.
    """
    header = _header(shapes)
    digest = hashlib.sha256(header)
    waiting = iter(shapes.items())
    with path.open("xb") as file:
        file.write(header)
        for name, tensor in tensors:
            if next(waiting, None) != (name, tuple(tensor.shape)):
                raise ValueError(f"{name} {tuple(tensor.shape)} was not announced here")
            data = tensor.detach().to(torch.float32).contiguous().reshape(-1).numpy().data
            file.write(data)
            digest.update(data)
        if (left := next(waiting, None)) is not None:
            raise ValueError(f"{left[0]} was announced and not given")
        file.flush()
        os.fsync(file.fileno())
    return Written(digest.hexdigest(), path.stat().st_size)


def _header(shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    entries, at = {}, 0
    for name, shape in shapes.items():
        n_bytes = 4 * torch.Size(shape).numel()
        entries[name] = {"dtype": _NAMES[torch.float32], "shape": list(shape), "data_offsets": [at, at + n_bytes]}
        at += n_bytes
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text
