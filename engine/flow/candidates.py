"""What could run a flow model on this machine, most promising first, as far as the user leaves it open.

`STEMBRIDGE_RUNTIME` (tensorrt, torch, onnx or cpu) and `STEMBRIDGE_PRECISION` (fp32, fp16, bf16 or int8) narrow it.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

from engine.artefact import MANIFEST, Artefact, file_sha256, folder_of, read_artefact
from engine.bundle import Bundle
from engine.errors import StembridgeError
from engine.flow.solve import FlowRuntime
from engine.runtimes.onnx_flow import open_onnx
from engine.runtimes.providers import CPU, probe
from engine.runtimes.tensorrt_runtime import open_tensorrt
from engine.runtimes.torch_runtime import TorchFlow, multiplies_bf16

VARIABLE: Final = "STEMBRIDGE_RUNTIME"
CHOICES: Final = ("auto", "tensorrt", "torch", "onnx", "cpu")
PRECISION_VARIABLE: Final = "STEMBRIDGE_PRECISION"
PRECISION_CHOICES: Final = ("auto", "fp32", "fp16", "bf16", "int8")
BF16_FROM_BYTES: Final = 256 << 20
"""Of weights: what is smaller is quick anyway."""
_ORDER: Final = ("int8", "fp32", "fp16")
"""Quickest first. On a CPU float16 saves space alone; int8 comes first where it was found good enough, else never."""
_GPU_ORDER: Final = ("fp16", "fp32")
_GPU_FILES: Final = ("/dev/nvidiactl", "/dev/kfd")

Family = Literal["tensorrt", "torch", "onnx"]


@dataclass(frozen=True)
class Candidate:
    """One way to run a model."""

    family: Family
    precision: str
    gpu: bool
    words: str
    """What it is, in the middle of a sentence."""
    open: Callable[[], FlowRuntime]
    folder: Path | None = None
    """Of its export."""
    rounds: bool = False
    """Whether it gives up accuracy for speed: passed over it is no fault, and only told of."""

    @property
    def identity(self) -> str:
        """What its comparison is remembered by: another export of the same model is another runtime."""
        return self.words if self.folder is None else f"{self.words} {file_sha256(self.folder / MANIFEST)}"

    @property
    def verified(self) -> bool:
        """Whether it needs no comparison here: its export had one, or it is the network itself."""
        return not self.gpu and not self.rounds


@dataclass(frozen=True)
class Choice:
    """What the user asks for; `auto` leaves it open."""

    runtime: str = "auto"
    precision: str = "auto"

    @property
    def is_open(self) -> bool:
        """Whether the engine chooses."""
        return self == Choice()

    @property
    def words(self) -> str:
        """The variables that are set, in a sentence about them."""
        said = {VARIABLE: self.runtime, PRECISION_VARIABLE: self.precision}
        return " and ".join(f"{name} asks for {value}" for name, value in said.items() if value != "auto")


def choice() -> Choice:
    """What the user asks for. Raises `StembridgeError` (`bad_value`)."""
    return Choice(_set_to(VARIABLE, CHOICES), _set_to(PRECISION_VARIABLE, PRECISION_CHOICES))


def _set_to(variable: str, valid: tuple[str, ...]) -> str:
    said = os.environ.get(variable, "").strip().lower() or "auto"
    if said not in valid:
        raise StembridgeError("bad_value", f"{variable} is {said!r}.", f"Use one of {', '.join(valid)}.")
    return said


def candidates(bundle: Bundle, text_folder: Path, asked: Choice, reasons: list[str]) -> Iterator[Candidate]:
    """What could run the model here, most promising first; why others cannot is added to `reasons`."""
    for candidate in _of_runtime(bundle, text_folder, asked, reasons):
        if asked.precision in ("auto", candidate.precision):
            yield candidate


def _of_runtime(bundle: Bundle, text_folder: Path, asked: Choice, reasons: list[str]) -> Iterator[Candidate]:
    wanted = asked.runtime
    if wanted in ("auto", "tensorrt"):
        for precision in _GPU_ORDER:
            folder = folder_of(bundle, "tensorrt", precision)
            if (folder / MANIFEST).exists():
                words = f"the {precision} plan of TensorRT"
                yield Candidate(
                    "tensorrt", precision, True, words, partial(_plans, bundle, folder, text_folder), folder
                )
    gpu = wanted != "cpu" and has_gpu()
    if gpu and wanted in ("auto", "torch"):
        yield Candidate("torch", "fp16", True, "torch on the GPU", partial(TorchFlow, bundle, text_folder))
        if asked.precision == "fp32":
            exact = partial(TorchFlow, bundle, text_folder, precision="fp32")
            yield Candidate("torch", "fp32", True, "torch on the GPU in float32", exact)
    exports = [p for p in _ORDER if (folder_of(bundle, "onnx", p) / MANIFEST).exists()]
    if wanted in ("auto", "onnx") and exports and importlib.util.find_spec("onnxruntime") is not None:
        working, failed = _providers()
        reasons.extend(failed)
        for provider in working:
            for precision in [p for p in _GPU_ORDER if p in exports]:
                words = f"the {precision} export for onnxruntime on {provider.removesuffix('ExecutionProvider')}"
                opened = partial(open_export, bundle, text_folder, precision, provider)
                yield Candidate("onnx", precision, True, words, opened, folder_of(bundle, "onnx", precision))
    if wanted in ("auto", "torch", "cpu") and _may_round(bundle, asked):
        rough = partial(TorchFlow, bundle, text_folder, device="cpu", precision="bf16")
        yield Candidate("torch", "bf16", False, "torch on the CPU in bfloat16", rough, rounds=True)
    if wanted in ("auto", "onnx", "cpu"):
        for precision in exports:
            if precision == "int8" and asked.precision != "int8" and not _is_good_int8(bundle):
                continue
            words = f"the {precision} export for onnxruntime"
            opened = partial(open_export, bundle, text_folder, precision, CPU)
            yield Candidate("onnx", precision, False, words, opened, folder_of(bundle, "onnx", precision))
    if wanted in ("auto", "torch", "cpu"):
        whole = partial(TorchFlow, bundle, text_folder, device="cpu", precision="fp32")
        yield Candidate("torch", "fp32", False, "torch on the CPU", whole)


def is_close_enough(artefact: Artefact) -> bool:
    """Whether an int8 export errs less than few evaluations do, by its own verification: only then it is a default."""
    return bool((artefact.verified or {}).get("below_few_step_error"))


def has_gpu() -> bool:
    """Whether torch can use a GPU; torch is asked only where the machine may have one, because it is slow to load."""
    may_have = sys.platform != "linux" or any(Path(file).exists() for file in _GPU_FILES)
    if not may_have or importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()


def _may_round(bundle: Bundle, asked: Choice) -> bool:
    """Whether bfloat16 is a choice: asked for, or the CPU multiplies it and the model is large."""
    if asked.precision == "bf16":
        return True
    n_bytes = sum(int(file.get("bytes", 0)) for file in bundle.files.values())
    return n_bytes >= BF16_FROM_BYTES and multiplies_bf16()


def open_export(bundle: Bundle, text_folder: Path, precision: str, provider: str) -> FlowRuntime:
    """The ONNX export. Raises `StembridgeError` as `open_onnx` and reading its manifest do."""
    return open_onnx(bundle, read_artefact(folder_of(bundle, "onnx", precision)), text_folder, provider=provider)


def _plans(bundle: Bundle, folder: Path, text_folder: Path) -> FlowRuntime:
    # Whether they equal the model is found here, on the GPU they run on, not where they were built.
    return open_tensorrt(bundle, read_artefact(folder), text_folder, verified=False)


def _is_good_int8(bundle: Bundle) -> bool:
    try:
        return is_close_enough(read_artefact(folder_of(bundle, "onnx", "int8")))
    except StembridgeError:
        return True  # opening it will say what is wrong


def _providers() -> tuple[tuple[str, ...], tuple[str, ...]]:
    try:
        found = probe()
    except StembridgeError:  # the export on the CPU will say the same
        return (), ()
    return found.working, found.reasons
