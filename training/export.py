"""Stage 4: the averaged weights as a bundle: `trunk.onnx`, `head.onnx`, `text.onnx`, `vocab.txt`, `phrases.npy` (a
vector of each phrase it was taught), `bundle.json`.

Weights are stored as int8, one scale an output channel, and made float again when a graph is opened; activations stay
float32. Batch normalisation is folded into the convolutions first.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from engine.masks.intent import read_intent
from engine.masks.prompted import TAUGHT
from engine.masks.wordpiece import read_vocabulary, tokenize
from engine.runtimes.onnx_runtime import OnnxGraph
from training.mixing import HOP, N_BANDS, N_FFT
from training.network import FRAMES_MULTIPLE, N_TEXT, Head, Network
from training.phrases import concepts

N_TOKENS: Final = 32
_SMALL: Final = 2048
"""Tensors with fewer values stay float32."""
TRUNK_OUTPUTS: Final = ("scale0", "scale1", "scale2", "scale3", "scale4", "context", "activity")


class _Answer(nn.Module):
    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The trunk's outputs, text, spans."""
        logits, heard, presence = self.head(inputs[:-2], inputs[-2], inputs[-1])
        return torch.sigmoid(logits), heard, presence


class _Sentence(nn.Module):
    """Token numbers (1, 32), 0 behind the end, to the unit vector of the text (1, 384)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        weight = (tokens > 0).float()
        hidden = self.model(input_ids=tokens, attention_mask=weight).last_hidden_state
        mean = (hidden * weight.unsqueeze(-1)).sum(1) / weight.sum(1, keepdim=True)
        return nn.functional.normalize(mean, dim=-1)


def fold(module: nn.Module) -> None:
    """Every convolution followed by a batch normalisation in a Sequential becomes one convolution."""
    for child in module.children():
        if isinstance(child, nn.Sequential):
            for i in range(len(child) - 1):
                conv, norm = child[i], child[i + 1]
                if isinstance(conv, (nn.Conv2d, nn.Conv1d)) and isinstance(norm, (nn.BatchNorm2d, nn.BatchNorm1d)):
                    child[i] = torch.nn.utils.fusion.fuse_conv_bn_eval(conv, norm)
                    child[i + 1] = nn.Identity()
        fold(child)


def shrink(path: Path) -> None:
    """Store a graph's large weights as int8 with a scale for each output channel."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(str(path))
    graph = model.graph
    consumers = {name: node for node in graph.node for name in node.input}
    nodes, kept = [], []
    for tensor in graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype != np.float32 or array.ndim < 2 or array.size < _SMALL:
            kept.append(tensor)
            continue
        whole, scale = to_int8(array, _channel_axis(consumers[tensor.name].op_type, array.ndim))
        kept += [numpy_helper.from_array(whole, f"{tensor.name}_q"), numpy_helper.from_array(scale, f"{tensor.name}_s")]
        nodes.append(helper.make_node("Cast", [f"{tensor.name}_q"], [f"{tensor.name}_f"], to=onnx.TensorProto.FLOAT))
        nodes.append(helper.make_node("Mul", [f"{tensor.name}_f", f"{tensor.name}_s"], [tensor.name]))
    del graph.initializer[:]
    graph.initializer.extend(kept)
    ordered = [*nodes, *graph.node]
    del graph.node[:]
    graph.node.extend(ordered)
    del graph.value_info[:]
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def to_int8(array: npt.NDArray[np.float32], axis: int) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Whole numbers −127 … 127 and the scale that turns them back, along one axis."""
    others = tuple(i for i in range(array.ndim) if i != axis)
    scale = np.maximum(np.abs(array).max(axis=others, keepdims=True) / 127, 1e-12).astype(np.float32)
    return np.round(array / scale).astype(np.int8), scale


def _channel_axis(operator: str, n_dims: int) -> int:
    if operator == "ConvTranspose":
        return 1
    return n_dims - 1 if operator == "MatMul" else 0


def write_sound_graphs(net: Network, folder: Path) -> None:
    """`trunk.onnx` and `head.onnx`, any number of frames (a multiple of 8) and of prompts. Folds `net` as it goes."""
    net.eval()
    fold(net)
    frames = 8 * FRAMES_MULTIPLE
    features = torch.zeros(1, 3, N_BANDS, frames)
    _write(net.trunk, (features,), folder / "trunk.onnx", ["features"], list(TRUNK_OUTPUTS), [{3: "frames"}])
    asked = net.trunk(features)
    inputs = (*asked, torch.zeros(1, 2, N_TEXT), torch.zeros(1, 2, frames))
    times: list[dict[int, str]] = [{a.ndim - 1: f"frames{i}"} for i, a in enumerate(asked)]
    names, outputs = [*TRUNK_OUTPUTS, "text", "spans"], ["masks", "heard", "presence"]
    times += [{1: "prompts"}, {1: "prompts", 2: "frames0"}]
    _write(_Answer(net.head), inputs, folder / "head.onnx", names, outputs, times)


def export(
    checkpoint: Path,
    text: Path,
    folder: Path,
    name: str,
    good: Sequence[str] = (),
    marked: Sequence[str] = (),
    part: Sequence[str] = (),
    presence: Path | None = None,
) -> None:
    """Write the bundle. Concepts, as `evaluate` measured them.

    `good`: by text alone well ahead of their baselines; `marked`: with `+` spans; `part`: ahead of them, and no more.
    `presence`: what the stage of that name fitted.
    """
    from transformers import AutoModel

    folder.mkdir(parents=True, exist_ok=True)
    net = Network(N_BANDS)
    net.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["ema"])
    write_sound_graphs(net, folder)
    sentence = _Sentence(AutoModel.from_pretrained(text, attn_implementation="eager").eval())
    tokens = torch.zeros(1, N_TOKENS, dtype=torch.int64)
    tokens[0, :3] = torch.tensor([101, 2000, 102])
    _write(sentence, (tokens,), folder / "text.onnx", ["tokens"], ["text"], [{}])
    for graph in ("trunk", "head", "text"):
        shrink(folder / f"{graph}.onnx")
    shutil.copy(text / "vocab.txt", folder / "vocab.txt")
    np.save(folder / TAUGHT, taught(folder, _phrases(list(concepts()))))
    if presence is not None:
        shutil.copy(presence, folder / "presence.json")
    facts = {
        "schema": 1, "name": name, "kind": "prompted-mask", "title": "Any prompt, with spans", "version": 1,
        "licence": "Apache-2.0", "rate_hz": 44100, "n_fft": N_FFT, "hop_samples": HOP, "n_bands": N_BANDS,
        "frames_multiple": FRAMES_MULTIPLE, "frames_window": 256, "n_tokens": N_TOKENS, "n_text": N_TEXT,
        "answers": _headwords(good),
        "text_alone": _phrases(good), "with_spans": _phrases(marked),
        "in_part": _phrases(part), "phrases": _phrases(list(concepts())),
        "provenance": "training/ (see training/MODEL_CARD.md); text encoder: all-MiniLM-L6-v2, Apache-2.0",
        "files": {
            path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
            for path in sorted(folder.iterdir())
            if path.suffix in (".onnx", ".txt") or path.name in ("presence.json", TAUGHT)
        },
    }  # fmt: skip
    (folder / "bundle.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def taught(folder: Path, phrases: Sequence[str]) -> npt.NDArray[np.float16]:
    """`(phrase, 384)` vectors by the text encoder as it was exported to a folder."""
    encoder, words = OnnxGraph(folder / "text.onnx"), read_vocabulary(folder / "vocab.txt")
    vectors = []
    for phrase in phrases:
        numbers = tokenize(phrase, words, N_TOKENS)
        tokens = np.zeros((1, N_TOKENS), np.int64)
        tokens[0, : len(numbers)] = numbers
        vectors.append(encoder.run({"tokens": tokens}, ["text"])[0][0])
    return np.stack(vectors).astype(np.float16)


def _headwords(names: Sequence[str]) -> list[str]:
    """Their first phrases, but for those that the model of two stems answers."""
    return [phrase for phrase in (concepts()[name].phrases[0] for name in names) if read_intent(phrase) is None]


def _phrases(names: Sequence[str]) -> list[str]:
    """What their concepts are called: the phrases and labels trained on."""
    asked = [concepts()[name] for name in names]
    return [phrase.casefold() for concept in asked for phrase in concept.phrases + concept.labels]


def _write(
    module: nn.Module, inputs: tuple[Tensor, ...], path: Path, names: list[str], outputs: list[str],
    moving: list[dict[int, str]],
) -> None:  # fmt: skip
    axes: dict[str, Any] = {name: axis for name, axis in zip(names, moving, strict=True) if axis}
    torch.onnx.export(
        module, inputs, str(path), input_names=names, output_names=outputs, dynamic_axes=axes, opset_version=18,
        dynamo=False,
    )  # fmt: skip


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser("training export", description=__doc__)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scores", type=Path, help="scores.json of `evaluate`: which prompts it was measured good at")
    parser.add_argument("--presence", type=Path, help="presence.json of `presence`")
    parser.add_argument("--name", default="prompted")
    parser.add_argument("--smoke", action="store_true", help="untrained weights")
    args = parser.parse_args(argv)
    checkpoint = args.checkpoint
    if args.smoke:
        args.out.mkdir(parents=True, exist_ok=True)
        checkpoint = args.out / "untrained.pt"
        torch.save({"ema": Network(N_BANDS).state_dict()}, checkpoint)
    scores = json.loads(args.scores.read_text(encoding="utf-8")) if args.scores else {}
    good, marked, part = (scores.get(name, ()) for name in ("good", "good with spans", "in part"))
    export(checkpoint, args.text, args.out, args.name, good, marked, part, args.presence)
