"""Which runtime answers for a flow model on this machine: the one place that chooses.

Runtimes are tried in the order of their promise, and the first that is verified is taken: plans of TensorRT, torch on
a GPU, the ONNX export on a GPU that onnxruntime really uses, the ONNX export on the CPU, torch on the CPU. The ONNX
export on the CPU was held against the network when it was made; everything on a GPU is held against the CPU here, once
for each model and machine (`engine.flow.trust`), and is taken only where it equals it and is quicker. Whatever is
passed over is logged with its reason, which every manifest states until it is mended; it never gives a result.

`STEMBRIDGE_RUNTIME` (tensorrt, torch, onnx or cpu) narrows the choice; what it names must work, and is not replaced.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

from engine.artefact import MANIFEST, Artefact, check_usable, file_sha256, folder_of, read_artefact
from engine.bundle import Bundle
from engine.errors import StembridgeError
from engine.flow.careful import Careful
from engine.flow.model import FlowModel
from engine.flow.solve import FlowRuntime
from engine.flow.trust import judged, recall
from engine.runtimes.graph_flow import TOKENIZER
from engine.runtimes.onnx_flow import open_onnx
from engine.runtimes.providers import CPU, probe
from engine.runtimes.tensorrt_library import check_driver, find_library
from engine.runtimes.tensorrt_runtime import open_tensorrt
from engine.runtimes.torch_runtime import TorchFlow, check_installed

logger = logging.getLogger(__name__)

VARIABLE: Final = "STEMBRIDGE_RUNTIME"
CHOICES: Final = ("auto", "tensorrt", "torch", "onnx", "cpu")
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

    @property
    def identity(self) -> str:
        """What its comparison is remembered by: another export of the same model is another runtime."""
        return self.words if self.folder is None else f"{self.words} {file_sha256(self.folder / MANIFEST)}"

    @property
    def verified(self) -> bool:
        """Whether it needs no comparison here: its export had one, or it is the network itself."""
        return not self.gpu


def open_flow(bundle: Bundle, text_folder: Path) -> FlowModel:
    """The model on the quickest runtime that is verified here.

    Raises `StembridgeError`: `bad_value` for a choice that does not exist, and what the last runtime says when none
    could be used, with the reasons of the others before it.
    """
    wanted = choice()
    reasons: list[str] = []
    last: StembridgeError | None = None
    for candidate in candidates(bundle, text_folder, wanted, reasons):
        try:
            runtime, found = _verified(bundle, text_folder, candidate, wanted)
        except StembridgeError as e:
            last = e
            reason = f"{_capital(candidate.words)} is not used: {e.text}"
            logger.warning("%s: %s %s", bundle.name, reason, e.remedy)
            reasons.append(reason)
            continue
        if candidate.precision != "fp32":
            runtime = Careful(runtime, partial(_exact, bundle, text_folder, candidate))
        note = " ".join(reasons)
        why = f"{_capital(candidate.words)}{found}; {_because(candidate, wanted)}."
        logger.info("%s: %s", bundle.name, why)
        return FlowModel(bundle, runtime, note=note, why=why)
    if last is None:
        said = " ".join(reasons) or "Nothing that can run it is installed or exported."
        raise StembridgeError(
            "runtime_missing",
            f"No runtime for {bundle.name} is of the kind {wanted}. {said}",
            f"Set {VARIABLE} to auto, or make one: stembridge models export {bundle.name} --to {_target(wanted)}",
        )
    before = " ".join(reasons[:-1])
    raise StembridgeError(last.code, f"{before} {last.text}".strip(), last.remedy) from last


def foresee(bundle: Bundle, text_folder: Path) -> tuple[str, str, list[str]]:
    """What `open_flow` is expected to take, without opening it: what it is, why, and what is passed over with its
    reason. Raises `StembridgeError` as `open_flow` does when there is nothing."""
    wanted, reasons = choice(), list[str]()
    for candidate in candidates(bundle, text_folder, wanted, reasons):
        try:
            _check_quickly(bundle, text_folder, candidate)
        except StembridgeError as e:
            reasons.append(f"{_capital(candidate.words)} is not used: {e.text}")
            continue
        if candidate.verified:
            return candidate.words, _because(candidate, wanted), reasons
        known = recall(bundle, candidate.identity)
        if known is None:
            return candidate.words, "it will be held against the CPU when it is first used", reasons
        if known.holds and (known.quicker or wanted != "auto"):
            return candidate.words, known.words, reasons
        reasons.append(f"{_capital(candidate.words)} is not used: {known.words}.")
    raise StembridgeError(
        "runtime_missing",
        f"Nothing can run {bundle.name}. {' '.join(reasons)}".strip(),
        "Install it with: pip install 'stembridge[torch]'",
    )


def choice() -> str:
    """What the user asks for. Raises `StembridgeError` (`bad_value`)."""
    wanted = os.environ.get(VARIABLE, "").strip().lower() or "auto"
    if wanted not in CHOICES:
        raise StembridgeError("bad_value", f"{VARIABLE} is {wanted!r}.", f"Use one of {', '.join(CHOICES)}.")
    return wanted


def candidates(bundle: Bundle, text_folder: Path, wanted: str, reasons: list[str]) -> Iterator[Candidate]:
    """What could run the model here, most promising first; why others cannot is added to `reasons`."""
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
    exports = [p for p in _ORDER if (folder_of(bundle, "onnx", p) / MANIFEST).exists()]
    if wanted in ("auto", "onnx") and exports and importlib.util.find_spec("onnxruntime") is not None:
        working, failed = _providers()
        reasons.extend(failed)
        for provider in working:
            for precision in [p for p in _GPU_ORDER if p in exports]:
                words = f"the {precision} export for onnxruntime on {provider.removesuffix('ExecutionProvider')}"
                opened = partial(_export, bundle, text_folder, precision, provider)
                yield Candidate("onnx", precision, True, words, opened, folder_of(bundle, "onnx", precision))
    if wanted in ("auto", "onnx", "cpu"):
        for precision in exports:
            if precision == "int8" and not _is_good_int8(bundle):
                continue
            words = f"the {precision} export for onnxruntime"
            opened = partial(_export, bundle, text_folder, precision, CPU)
            yield Candidate("onnx", precision, False, words, opened, folder_of(bundle, "onnx", precision))
    if wanted in ("auto", "torch", "cpu"):
        yield Candidate(
            "torch", "fp32", False, "torch on the CPU", partial(TorchFlow, bundle, text_folder, device="cpu")
        )


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


def _verified(bundle: Bundle, text_folder: Path, candidate: Candidate, wanted: str) -> tuple[FlowRuntime, str]:
    """A candidate, opened, and what its comparison found. Raises `StembridgeError`: as opening it does; `not_equal`
    where it differs from the CPU, or is no quicker and was not asked for."""
    runtime = candidate.open()
    if candidate.verified:
        return runtime, ""
    verdict = judged(bundle, candidate.identity, candidate.precision, runtime, lambda: _reference(bundle, text_folder))
    if not verdict.holds:
        raise StembridgeError("not_equal", f"{_capital(verdict.words)}.", "Update the driver and the library.")
    if not verdict.quicker and wanted == "auto":
        raise StembridgeError("not_equal", f"It {verdict.words}.", f"Set {VARIABLE} to use it all the same.")
    return runtime, f": it {verdict.words}"


def _check_quickly(bundle: Bundle, text_folder: Path, candidate: Candidate) -> None:
    """What can be told without reading weights. Raises `StembridgeError` as opening it would."""
    if candidate.folder is None:
        check_installed()
        return
    artefact = read_artefact(candidate.folder)
    check_usable(artefact, bundle, text_folder / TOKENIZER, verified=candidate.family == "onnx")
    if candidate.family == "tensorrt":
        check_driver(find_library())


def _reference(bundle: Bundle, text_folder: Path) -> FlowRuntime:
    """What a GPU is held against: the verified float32 export on the CPU, else torch there."""
    try:
        return _export(bundle, text_folder, "fp32", CPU)
    except StembridgeError:  # no export, or none that can be used: the network itself
        return TorchFlow(bundle, text_folder, device="cpu")


def _exact(bundle: Bundle, text_folder: Path, candidate: Candidate) -> FlowRuntime:
    """The same at full precision, for what half precision cannot hold; on the CPU where a GPU has no room for both."""
    if candidate.family == "torch":
        try:
            return TorchFlow(bundle, text_folder, precision="fp32")
        except StembridgeError as e:
            if e.code != "out_of_memory":
                raise
    return _reference(bundle, text_folder)


def _export(bundle: Bundle, text_folder: Path, precision: str, provider: str) -> FlowRuntime:
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


def _because(candidate: Candidate, wanted: str) -> str:
    if wanted != "auto":
        return f"{VARIABLE} asks for {wanted}"
    if candidate.gpu:
        return "it is the first that is verified, of those that promise most"
    if candidate.family == "onnx":
        return "verified when it was exported, and no GPU is used"
    return "no export is there that could be quicker, and no GPU is used"


def _target(wanted: str) -> str:
    return "tensorrt" if wanted == "tensorrt" else "onnx"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
