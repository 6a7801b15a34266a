"""Dynamic int8 for CPUs: weights are int8, activations are quantised as they come, sums are int32."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

OPERATORS: Final = ("MatMul", "Gemm")
"""What is quantised; only where one side is a weight. Attention's own products stay float32."""


def quantize(source: Path, out: Path, *, external: bool) -> list[Path]:
    """Write the int8 form of a float32 graph; returns the files written, the graph first."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(source)
    # The exporter's intermediate shapes contradict what the quantiser infers; it makes its own.
    del model.graph.value_info[:]
    quiet = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)
    try:
        quantize_dynamic(
            model,
            out,
            op_types_to_quantize=list(OPERATORS),
            weight_type=QuantType.QInt8,
            per_channel=True,
            use_external_data_format=external,
            extra_options={"MatMulConstBOnly": True},
        )
    finally:
        logging.getLogger().setLevel(quiet)
    return [out, out.with_name(f"{out.name}.data")] if external else [out]
