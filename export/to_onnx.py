"""One stage to one ONNX file, by torch's dynamo exporter."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from engine.errors import StembridgeError
from export.stages import Axis, Stage, Values

OPSETS: Final = (18, 20)
"""Lowest and highest: from 23 on attention is one operator, which TensorRT-RTX does not build with a mask."""
OPSET: Final = 20
EXTERNAL_BYTES: Final = 1_500_000_000
"""Weights above this lie in a file beside the graph: one ONNX file ends at 2 GB."""
_NO_LIMIT: Final = 1 << 40
_OPERATOR: Final = re.compile(r"(?:OpOverload\(op='|target=torch\.ops\.)([\w.:]+)")


def write_stage(
    stage: Stage,
    module: nn.Module,
    inputs: Values,
    lengths: Mapping[str, Axis],
    path: Path,
    *,
    opset: int = OPSET,
    external_bytes: int = EXTERNAL_BYTES,
) -> list[Path]:
    """Write `module` as `path`; returns the files written, the graph first.

    Raises `StembridgeError`: `bad_value` for another opset, `export_failed` naming the stage and the operator where
    torch cannot express it. Raises `OSError` as the disk does.
    """
    check_opset(opset)
    from onnxscript.optimizer import optimize

    with _quiet():
        program = _trace(stage, module, inputs, lengths, opset)
        # Transposed weights become weights: quantisation and TensorRT want constants, and no start turns them again.
        optimize(program.model, input_size_limit=_NO_LIMIT, output_size_limit=_NO_LIMIT)
    n_bytes = sum(value.const_value.nbytes for value in program.model.graph.initializers.values())
    external = n_bytes > external_bytes
    program.save(path, external_data=external)
    return [path, path.with_name(f"{path.name}.data")] if external else [path]


def check_opset(opset: int) -> None:
    """Raises `StembridgeError` (`bad_value`) for an opset that is not exported."""
    if not OPSETS[0] <= opset <= OPSETS[1]:
        raise StembridgeError(
            "bad_value", f"ONNX opset {opset} is not exported.", f"Use {OPSETS[0]} to {OPSETS[1]}; {OPSET} is tested."
        )


def _trace(stage: Stage, module: nn.Module, inputs: Values, lengths: Mapping[str, Axis], opset: int) -> Any:
    from torch.export import Dim

    dims = {name: Dim(name, min=axis.low, max=axis.high) for name, axis in lengths.items()}
    shapes = {
        name: {place: dims[axis] for place, axis in enumerate(axes) if axis in dims}
        for name, axes in stage.inputs.items()
    }
    try:
        # torch's fused CPU kernels promise strides that the exporter's decomposition does not keep
        with sdpa_kernel(SDPBackend.MATH):
            return torch.onnx.export(
                module,
                tuple(inputs[name] for name in stage.inputs),
                dynamo=True,
                dynamic_shapes=shapes,
                input_names=list(stage.inputs),
                output_names=list(stage.outputs),
                opset_version=opset,
                optimize=True,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as e:
        raise StembridgeError(
            "export_failed",
            f"The stage {stage.name} cannot be written as ONNX opset {opset}: {_reason(e)}.",
            "Use the versions of torch and onnxscript that Stembridge was tested with.",
        ) from e


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' own remarks off the terminal; what fails is raised."""
    logs = [logging.getLogger(name) for name in ("torch.onnx._internal.exporter._registration", "onnxscript.optimizer")]
    before = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in zip(logs, before, strict=True):
            log.setLevel(level)


def _reason(error: BaseException) -> str:
    """The operator that could not be expressed, or what the exporter says first."""
    chain: list[BaseException] = []
    now: BaseException | None = error
    while now is not None:
        chain.append(now)
        now = now.__cause__
    for each in reversed(chain):
        if found := _OPERATOR.search(str(each)):
            return f"it has no form for the operator {found[1]}"
    lines = [line.strip() for line in str(chain[-1]).splitlines() if line.strip()]
    return (lines[0] if lines else type(chain[-1]).__name__)[:300].rstrip(".")
