"""Which runtime answers for a flow model on this machine.

With a GPU: torch. Without one: the model's ONNX export where there is a verified one, because it is several times as
fast as torch on a CPU; else torch. An export that cannot be used is a reason that is logged, and stated in every
manifest until it is mended; it never gives a result.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from engine.artefact import MANIFEST, Artefact, folder_of, read_artefact
from engine.bundle import Bundle
from engine.errors import StembridgeError
from engine.flow.model import FlowModel
from engine.flow.solve import FlowRuntime
from engine.runtimes.onnx_flow import open_onnx
from engine.runtimes.torch_runtime import TorchFlow

logger = logging.getLogger(__name__)

_ORDER: Final = ("int8", "fp32", "fp16")
"""Quickest first. On a CPU float16 saves space alone; int8 comes first where it was found good enough, else never."""
_GPU_FILES: Final = ("/dev/nvidiactl", "/dev/kfd")


def open_flow(bundle: Bundle, text_folder: Path) -> FlowModel:
    """The model on the quickest runtime that is verified here.

    Raises `StembridgeError`: what torch says when no export could be used, with the reasons for that before it.
    """
    reasons: list[str] = []
    if not has_gpu():
        for runtime in _exports(bundle, text_folder, reasons):
            return FlowModel(bundle, runtime, note=" ".join(reasons))
    try:
        return FlowModel(bundle, TorchFlow(bundle, text_folder), note=" ".join(reasons))
    except StembridgeError as e:
        if reasons:
            raise StembridgeError(e.code, f"{' '.join(reasons)} {e.text}", e.remedy) from e
        raise


def _exports(bundle: Bundle, text_folder: Path, reasons: list[str]) -> Iterator[FlowRuntime]:
    """The exports that open, in order; why others do not is added to `reasons`."""
    for precision in _ORDER:
        folder = folder_of(bundle, "onnx", precision)
        if not (folder / MANIFEST).exists():
            continue
        try:
            artefact = read_artefact(folder)
            if precision == "int8" and not is_close_enough(artefact):
                continue
            yield open_onnx(bundle, artefact, text_folder)
        except StembridgeError as e:
            reason = f"The {precision} export for onnxruntime is not used: {e.text}"
            logger.warning("%s: %s %s", bundle.name, reason, e.remedy)
            reasons.append(reason)


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
