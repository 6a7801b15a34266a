"""The table of what is exported: every stage's module, inputs, axes and tolerances.

encode      codec: waveform → latents                     once a mixture
text        T5's encoder: token ids → features            once a prompt
times       a schedule's times → modulation, memory       once a schedule   ┐
prompt      features, memory → keys and values            once a prompt     │ together: the condition
clip        latents, span tokens → what a clip adds       once a window     ┘
velocity    one evaluation of the flow transformer        once an evaluation and window
decode      codec: latents → waveform                     once a result
watermark   a piece of a waveform → the same, marked      where the model has one, of its own waveforms

Axes are shared by name: every `frame` is the same length, in one graph. Rotary tables are constants of the graph, in
float32. The text encoder, the times and the clip are float32 in every precision: they are cheap, and T5 overflows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from engine.model.config import TEXT_TOKENS, Sizes, WatermarkSizes
from engine.model.network import Network
from engine.runtimes.watermarked import MARK_PAST, mark_start
from export.stage_modules import Clip, Decode, Encode, Mark, Prompt, Text, Times, Velocity

VERSION: Final = 1
"""Part of every artefact's key; raise it when a stage below changes what its graph computes."""

ExportPrecision = Literal["fp32", "fp16", "int8"]
Values = Mapping[str, Tensor]


@dataclass(frozen=True)
class Tolerance:
    """What a graph may differ from the float32 network by; None is not asked."""

    max_error: float | None = None
    """Absolute, in the stage's own unit."""
    snr_db: float | None = None
    cosine: float | None = None


@dataclass(frozen=True)
class Stage:
    """One graph."""

    name: str
    module: Callable[[Network, Any], nn.Module]
    """From the network and T5's encoder to a module of tensors in, tensors out."""
    inputs: Mapping[str, tuple[str, ...]]
    """Name → its axes; those in `axes` are dynamic, the others are the model's own."""
    outputs: tuple[str, ...]
    tolerances: Mapping[ExportPrecision, Tolerance]
    """A precision that is not here leaves the stage in float32."""

    def precision(self, asked: ExportPrecision) -> ExportPrecision:
        """What the stage is exported in when a model is exported in `asked`."""
        return asked if asked in self.tolerances else "fp32"


@dataclass(frozen=True)
class Axis:
    """A dynamic length."""

    low: int
    high: int
    example: int
    """In the inputs the exporter traces; 1 and 0 would be taken for constants."""


def axes(sizes: Sizes) -> dict[str, Axis]:
    """Every dynamic axis of a model."""
    return {
        "batch": Axis(1, 64, 2),
        "frame": Axis(1, sizes.dit.max_frames, 7),
        "token": Axis(1, TEXT_TOKENS, 5),
        "time": Axis(1, 512, 3),
        "prompt": Axis(1, 64, 4),
        "mark_frame": Axis(1, 1 << 20, 9),
        "past_clean": Axis(0, 2, 2),
        "past_inner": Axis(0, 6, 6),
        "past_spoken": Axis(0, 4, 4),
    }


def own_lengths(sizes: Sizes) -> dict[str, int]:
    """Every axis that is the model's own."""
    dit, mark = sizes.dit, sizes.watermark
    of_mark = {} if mark is None else {"mark_hop": mark.hop, "hidden": mark.hidden_dim, "message": mark.message_dim}
    return {
        **of_mark,
        "hop": sizes.codec.hop,
        "channel": dit.n_channels,
        "state": dit.n_state,
        "dim": dit.dim,
        "text_dim": dit.text_dim,
        "layer": dit.n_layers,
        "head": dit.n_heads,
        "head_dim": dit.head_dim,
        "two": 2,
        "six": 6,
    }


_EXACT: Final = Tolerance(max_error=1e-4, snr_db=90)
_KEYS: Final = ("layer", "batch", "head", "token", "head_dim")

STAGES: Final = (
    Stage(
        "encode",
        lambda network, _: Encode(network),
        {"waveform": ("batch", "frame", "hop")},
        ("latents",),
        {"fp32": _EXACT, "fp16": Tolerance(snr_db=40)},
    ),
    Stage("text", lambda _, encoder: Text(encoder), {"ids": ("batch", "token")}, ("text",), {"fp32": _EXACT}),
    Stage(
        "times",
        lambda network, _: Times(network.dit),
        {"times": ("time",)},
        ("modulation", "final", "memory"),
        {"fp32": _EXACT},
    ),
    Stage(
        "prompt",
        lambda network, _: Prompt(network.dit),
        {"text": ("prompt", "token", "text_dim"), "memory": ("time", "dim")},
        ("keys", "values"),
        {"fp32": _EXACT, "fp16": Tolerance(cosine=0.9995)},
    ),
    Stage(
        "clip",
        lambda network, _: Clip(network.dit),
        {"latents": ("batch", "frame", "channel"), "tokens": ("batch", "frame")},
        ("condition",),
        {"fp32": _EXACT},
    ),
    Stage(
        "velocity",
        lambda network, _: Velocity(network.dit),
        {
            "x": ("batch", "frame", "state"),
            "condition": ("batch", "frame", "dim"),
            "modulation": ("layer", "six", "dim"),
            "final": ("two", "dim"),
            "keys": _KEYS,
            "values": _KEYS,
            "token_bias": ("batch", "token"),
        },
        ("velocity",),
        {
            "fp32": Tolerance(max_error=2e-5, cosine=0.9999999),
            "fp16": Tolerance(cosine=0.9995),
            "int8": Tolerance(cosine=0.99),
        },
    ),
    Stage(
        "decode",
        lambda network, _: Decode(network),
        {"latents": ("batch", "frame", "channel")},
        ("waveform",),
        {"fp32": _EXACT, "fp16": Tolerance(snr_db=40)},
    ),
)

WATERMARK: Final = Stage(
    "watermark",
    lambda network, _: Mark(network.watermark),  # type: ignore[arg-type]
    {
        "waveform": ("batch", "mark_frame", "mark_hop"),
        "bits": ("batch", "bit"),
        "clean": ("batch", "past_clean", "mark_hop"),
        "heard": ("batch", "hidden", "past_inner"),
        "told": ("batch", "message", "past_inner"),
        "spoken": ("batch", "hidden", "past_spoken"),
        **{name: ("two", "batch", "hidden") for name in ("remember", "remember_cell", "recall", "recall_cell")},
    },
    ("marked", *(f"{name}_after" for name in MARK_PAST)),
    {"fp32": Tolerance(max_error=1e-3, snr_db=80)},
)
"""Only `onnx`: TensorRT's runtimes mark with this graph, too. Its error is of 16 bits that are 12 dB and more below."""

SOLVED: Final[Mapping[ExportPrecision, Tolerance]] = {
    "fp32": Tolerance(snr_db=80),
    "fp16": Tolerance(snr_db=30),
    "int8": Tolerance(snr_db=15),
}
"""Of the latents after a full solve of 4 evaluations."""
SOUNDED: Final[Mapping[ExportPrecision, Tolerance]] = {
    "fp32": Tolerance(snr_db=70),
    "fp16": Tolerance(snr_db=20),
    "int8": Tolerance(snr_db=8),
}
"""Of the waveforms decoded from them."""


def stages_of(sizes: Sizes) -> tuple[Stage, ...]:
    """What a model of these sizes has."""
    return STAGES if sizes.watermark is None else (*STAGES, WATERMARK)


def modules(network: Network, encoder: Any) -> dict[str, nn.Module]:
    """Every stage's module, in inference mode."""
    return {stage.name: stage.module(network, encoder).eval() for stage in stages_of(network.sizes)}


def example_inputs(
    made: Mapping[str, nn.Module], sizes: Sizes, lengths: Mapping[str, int], seed: int
) -> dict[str, Values]:
    """Seeded inputs of every stage, by stage and name; each stage is given what the stages before it make of theirs, so
    that its values are the ones it will meet. A watermark's piece has no past where it is of a single latent frame.

    `lengths`: of batch, frame, token, time and prompt. `made`: the float32 modules.
    """
    draw = torch.Generator().manual_seed(seed)
    n_batch, n_frames, n_tokens = lengths["batch"], lengths["frame"], lengths["token"]
    encoder: Any = made["text"].get_submodule("encoder")
    ids = torch.randint(0, encoder.config.vocab_size, (max(n_batch, lengths["prompt"]), n_tokens), generator=draw)
    waveform = 0.1 * torch.randn(n_batch, n_frames, sizes.codec.hop, generator=draw)
    tokens = torch.randint(0, 3, (n_batch, n_frames), generator=draw)
    times = torch.rand(lengths["time"], generator=draw)
    x = torch.randn(n_batch, n_frames, sizes.dit.n_state, generator=draw)
    bias = torch.zeros(n_batch, n_tokens)
    bias[0, (n_tokens + 1) // 2 :] = -torch.inf
    with torch.inference_mode():
        latents = made["encode"](waveform)
        text = made["text"](ids)
        modulation, final, memory = made["times"](times)
        keys, values = made["prompt"](text[:n_batch], memory[-1:])
        condition = made["clip"](latents, tokens)
        marks = {} if sizes.watermark is None else {"watermark": _piece(made, sizes.watermark, latents, draw)}
    return {
        **marks,
        "encode": {"waveform": waveform},
        "text": {"ids": ids[:n_batch]},
        "times": {"times": times},
        "prompt": {"text": text[: lengths["prompt"]].clone(), "memory": memory.clone()},
        "clip": {"latents": latents.clone(), "tokens": tokens},
        "velocity": {
            "x": x,
            "condition": condition.clone(),
            "modulation": modulation[-1].clone(),
            "final": final[-1].clone(),
            "keys": keys[0].clone(),
            "values": values[0].clone(),
            "token_bias": bias,
        },
        "decode": {"latents": latents.clone()},
    }


def _piece(made: Mapping[str, nn.Module], sizes: WatermarkSizes, latents: Tensor, draw: torch.Generator) -> Values:
    """The watermark's inputs: a decoded waveform, for the second time where it has several latent frames."""
    n = len(latents)
    bits = torch.randint(0, 2, (n, sizes.n_bits), generator=draw)
    wave = made["decode"](latents).reshape(n, -1, sizes.hop)
    past = [torch.zeros(shape) for shape in mark_start(sizes, n)]
    if latents.shape[1] > 1:
        _, *past = made["watermark"](wave, bits, *past)
    return {"waveform": wave.clone(), "bits": bits, **{k: v.clone() for k, v in zip(MARK_PAST, past, strict=True)}}
