"""Which of onnxruntime's providers really work on this machine: each runs a graph of one node, and is then asked.

What onnxruntime lists is what it was built with. A provider whose libraries or device are missing is replaced by the
CPU without an error, so only a session knows who works for it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from engine.errors import StembridgeError

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
DIRECTML: Final = "DmlExecutionProvider"
COREML: Final = "CoreMLExecutionProvider"
ACCELERATED: Final = (CUDA, DIRECTML, COREML)
"""Those that are tried, most promising first."""
DEVICES: Final[Mapping[str, str]] = {CUDA: "cuda", DIRECTML: "dml"}
"""Providers with memory of their own, by the name onnxruntime gives it. CoreML takes and gives the CPU's."""
_OPTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    # float32 is to mean float32; and searching all algorithms anew at every length costs more than it gains
    CUDA: {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"},
}
_DOUBLE: Final = (
    b'\x08\x08:5\n\x0e\n\x01x\n\x01x\x12\x01y"\x03Add\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01'
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)
"""An ONNX model: float32 x of one value in, y = x + x out."""


@dataclass(frozen=True)
class Probe:
    """What was found."""

    working: tuple[str, ...]
    """The accelerated providers that really ran a graph, most promising first."""
    reasons: tuple[str, ...]
    """Why others that are listed do not work, a sentence each."""


@functools.cache
def probe() -> Probe:
    """Try every accelerated provider that is listed, once a process. Raises `StembridgeError` (`runtime_missing`)
    without onnxruntime."""
    from engine.runtimes.onnx_runtime import OnnxGraph, load_library

    listed = load_library().get_available_providers()
    working, reasons = [], []
    for name in ACCELERATED:
        if name not in listed:
            continue
        try:
            answer = OnnxGraph(_DOUBLE, threads=1, provider=name).run({"x": _ones()})[0]
        except StembridgeError as e:
            reasons.append(e.text)
        except Exception as e:  # noqa: BLE001 - a driver may raise anything; what it was is said
            reasons.append(f"onnxruntime lists {name}, and it fails: {e}.")
        else:
            if float(answer[0]) == 2.0:
                working.append(name)
            else:
                reasons.append(f"onnxruntime lists {name}, and it computes 1 + 1 = {float(answer[0]):g}.")
    return Probe(tuple(working), tuple(reasons))


def asked_for(provider: str) -> list[Any]:
    """What a session is asked for: a provider with its options, and the CPU for what that one has no kernel for."""
    if provider == CPU:
        return [CPU]
    return [(provider, dict(_OPTIONS.get(provider, {}))), CPU]


def _ones() -> Any:
    import numpy as np

    return np.ones(1, np.float32)
