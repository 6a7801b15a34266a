"""A flow model small enough to be exported in seconds: drawn weights, two layers, a codec of two strides; with a
text encoder beside it, as a models folder."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
from sam_folder import write_text_encoder

NAME = "toy"


def exported_models(factory: pytest.TempPathFactory) -> Path:
    """A models folder whose model has all three ONNX exports, made once for all tests: take a copy to change it."""
    return _exported(factory.getbasetemp())


@functools.cache
def _exported(base: Path) -> Path:
    from engine.bundle import read_bundle
    from export.build import build

    folder = write_models(base / "exported" / "models")
    for precision in ("fp32", "fp16", "int8"):
        artefact, report = build(read_bundle(folder / NAME), folder / "t5-base", precision)
        assert report is not None
        assert artefact.folder == folder / NAME / f"onnx-{precision}"
    return folder


def write_models(folder: Path) -> Path:
    """A models folder with the model `toy` and its t5-base; returns the folder."""
    from engine.bundle import MANIFEST, SCHEMA
    from engine.model.config import SAMPLE_RATE, CodecSizes, DitSizes, Sizes, WatermarkSizes
    from engine.model.network import parts_of, random_network
    from engine.model.tensor_file import write_tensors

    dit = DitSizes(
        dim=64,
        n_heads=4,
        n_layers=2,
        ffn_dim=96,
        n_channels=8,
        text_dim=24,
        video_dim=16,
        time_dim=32,
        rope_theta=10_000.0,
        max_frames=600,
    )
    codec = CodecSizes(8, (30, 64), 32, 8, 64, (64, 30))
    sizes = Sizes(dit, codec, WatermarkSizes(first_dim=4, strides=(2, 4, 5, 8), message_dim=16, n_bits=16))
    network = random_network(sizes, 0)
    bundle = folder / NAME
    bundle.mkdir(parents=True)
    files = {}
    for name, module in parts_of(network).items():
        tensors = module.state_dict()
        shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
        written = write_tensors(bundle / f"{name}.safetensors", shapes, tensors.items())
        files[f"{name}.safetensors"] = {"sha256": written.sha256, "bytes": written.n_bytes}
    facts = {"schema": SCHEMA, "name": NAME, "kind": "flow", "title": "Toy", "version": "1", "licence": "none"}
    facts |= {"files": files, "sizes": sizes.to_dict(), "sample_rate": SAMPLE_RATE}
    (bundle / MANIFEST).write_text(json.dumps(facts))
    write_text_encoder(folder / "t5-base")
    return folder
