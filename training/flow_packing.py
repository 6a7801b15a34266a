"""A trained flow model small enough to be kept beside the tests: matrices as int8 with a scale a row, the rest float16.

Both ways are exact functions of the bytes, so whoever unpacks has the same weights everywhere.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

PACKED: Final = "packed.safetensors"
_SCALE: Final = ".scale"


def pack(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every matrix rounded to 255 steps a row; `.scale` beside it is a step, float16."""
    packed: dict[str, Tensor] = {}
    for key, tensor in weights.items():
        if tensor.dim() < 2 or not tensor.any():
            packed[key] = tensor.half()
            continue
        rows = tensor.flatten(1)
        scale = (rows.abs().amax(dim=1) / 127).clamp_min(2.0**-24).half()
        packed[key] = (rows / scale.float()[:, None]).round().clamp(-127, 127).to(torch.int8).view(tensor.shape)
        packed[f"{key}{_SCALE}"] = scale
    return {key: tensor.contiguous() for key, tensor in packed.items()}


def unpack(packed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Float32 weights under their own names."""
    weights = {}
    for key, tensor in packed.items():
        if key.endswith(_SCALE):
            continue
        scale = packed.get(f"{key}{_SCALE}")
        whole = tensor.float()
        weights[key] = whole if scale is None else whole * scale.float().view(-1, *[1] * (tensor.dim() - 1))
    return weights


def write_packed(folders: Path, out: Path) -> None:
    """`out/model` and `out/text` of what the stage flow_export wrote to `folders`, packed."""
    (out / "model").mkdir(parents=True, exist_ok=True)
    weights = torch.load(folders / "model" / "checkpoint.pt", map_location="cpu", weights_only=True)
    save_file(pack(weights), out / "model" / PACKED)
    shutil.copyfile(folders / "model" / "config.json", out / "model" / "config.json")
    shutil.copytree(folders / "text", out / "text", dirs_exist_ok=True)


def write_unpacked(packed: Path, out: Path) -> None:
    """The folders that `write_packed` packed: `out/model` with its checkpoint.pt, and `out/text`."""
    (out / "model").mkdir(parents=True, exist_ok=True)
    torch.save(unpack(load_file(packed / "model" / PACKED)), out / "model" / "checkpoint.pt")
    shutil.copyfile(packed / "model" / "config.json", out / "model" / "config.json")
    shutil.copytree(packed / "text", out / "text", dirs_exist_ok=True)
