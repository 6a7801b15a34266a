"""The official checkpoint's keys: what each is shaped like and what becomes of it.

A checkpoint is a flat state dict. Every key has a fate: kept as it is or reordered, folded into another tensor,
dropped because inference never uses it, or set apart (the picture tower, for video prompts). A key that is missing,
unknown or of another shape is named and the checkpoint refused: a network with one wrong tensor still makes sound.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Final

from engine.errors import StembridgeError
from engine.model.anchors import N_TOKENS
from engine.model.config import CodecSizes, DitSizes, Sizes, SpectralSizes, WatermarkSizes

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
CODEC: Final = "audio_codec"
SPECTRAL: Final = f"{CODEC}.spectral"
"""Where config.json's `audio_codec.kind` is `spectral`: our own small models; the official ones have no such field."""
VISION: Final = "vision_encoder.model."
IGNORED: Final = ("text_encoder.", "visual_ranker.", "text_ranker.", "span_predictor.")
"""Parts that some checkpoints carry and that are loaded from elsewhere."""
_SHOWN: Final = 6


class Fate(StrEnum):
    """What the import does with a key."""

    KEPT = "kept"
    FOLDED = "folded"
    """Its values are in the bundle, inside another tensor."""
    DROPPED = "dropped"
    """Nothing that is computed depends on it."""
    APART = "apart"
    """In a file of its own, for video prompts."""


Keys = Iterator[tuple[str, tuple[Shape, Fate]]]


def corrupt(what: str) -> StembridgeError:
    """A checkpoint that cannot be taken, and why."""
    return StembridgeError(
        "model_corrupt",
        f"The checkpoint cannot be imported: {what}.",
        "Use an official SAM Audio folder (config.json and checkpoint.pt), downloaded whole.",
    )


def check_keys(shapes: Shapes, sizes: Sizes) -> dict[str, Fate]:
    """Every key of a checkpoint with its fate.

    Raises `StembridgeError` (`model_corrupt`) naming the keys that are missing, unknown or of another shape than
    `sizes` asks for.
    """
    expected = dict(expected_keys(sizes, _axis(shapes, "embed_anchors.embed.weight", 1)))
    if any(key.startswith("vision_encoder.") for key in shapes):
        expected |= dict(vision_keys(shapes))
    found = {key: shape for key, shape in shapes.items() if not key.startswith(IGNORED)}
    missing = [key for key in expected if key not in found]
    extra = [key for key in found if key not in expected]
    other = [
        f"{key} {found[key]} instead of {shape}"
        for key, (shape, _) in expected.items()
        if key in found and found[key] != shape
    ]
    faults = [("lacks", missing), ("has unknown keys", extra), ("has other shapes", other)]
    if any(keys for _, keys in faults):
        raise corrupt("it " + "; it ".join(f"{what}: {_some(keys)}" for what, keys in faults if keys))
    ignored = {key: Fate.DROPPED for key in shapes if key.startswith(IGNORED)}
    return {key: fate for key, (_, fate) in expected.items()} | ignored


def expected_keys(sizes: Sizes, anchor_dim: int) -> Keys:
    """Every key of a checkpoint of these sizes but the vision encoder's, with its shape and fate.

    `anchor_dim`: the span embedding's own width, which cancels when the table is folded.
    """
    yield from _dit_keys(sizes.dit, anchor_dim)
    yield from _spectral_keys(sizes.codec) if isinstance(sizes.codec, SpectralSizes) else _codec_keys(sizes.codec)
    if sizes.watermark is not None:
        yield from _watermark_keys(sizes.watermark)


def _dit_keys(s: DitSizes, anchor_dim: int) -> Keys:
    dim, ffn, head = s.dim, s.ffn_dim, s.head_dim
    kept, folded = Fate.KEPT, Fate.FOLDED
    yield "proj.weight", ((dim, 3 * s.n_state), folded)
    yield "proj.bias", ((dim,), kept)
    yield "memory_proj.weight", ((dim, s.text_dim), kept)
    yield "memory_proj.bias", ((dim,), kept)
    yield "align_masked_video.gate", ((1,), kept)
    yield "align_masked_video.conv.weight", ((dim, s.video_dim, 1), kept)
    for key in ("conv.bias", "layer_norm.weight", "layer_norm.bias"):
        yield f"align_masked_video.{key}", ((dim,), kept)
    yield "embed_anchors.gate", ((1,), folded)
    yield "embed_anchors.embed.weight", ((N_TOKENS, anchor_dim), folded)
    yield "embed_anchors.proj.weight", ((dim, anchor_dim), folded)
    yield "transformer.final_layer_scale_shift_table", ((2, dim), kept)
    yield "transformer.norm.weight", ((dim,), kept)
    yield "transformer.output.weight", ((s.n_state, dim), kept)
    for block in ("block1", "block2"):
        there = f"transformer.x_embedder.block.{block}"
        yield f"{there}.groupnorm.weight", ((dim,), kept)
        yield f"{there}.groupnorm.bias", ((dim,), kept)
        yield f"{there}.project.weight", ((dim, dim, 3), kept)
        yield f"{there}.project.bias", ((dim,), kept)
    for name, width in (("y", dim), ("t", s.time_dim)):
        there = f"transformer.{name}_embedder.projection"
        yield f"{there}.w1.weight", ((dim, width), kept)
        yield f"{there}.w2.weight", ((dim, dim), kept)
        yield f"{there}.w3.weight", ((dim, width), kept)
    yield "transformer.t_block.weight", ((6 * dim, dim), kept)
    yield "transformer.t_block.bias", ((6 * dim,), kept)
    for layer in range(s.n_layers):
        there = f"transformer.layers.{layer}"
        yield f"{there}.scale_shift_table", ((6, dim), kept)
        for attention in ("attention", "cross_attention"):
            for name in ("wq", "wk", "wv", "wo"):
                yield f"{there}.{attention}.{name}.weight", ((dim, dim), kept)
            for name in ("q_norm", "k_norm"):
                yield f"{there}.{attention}.{name}.weight", ((head,), kept)
        yield f"{there}.feed_forward.w1.weight", ((ffn, dim), kept)
        yield f"{there}.feed_forward.w2.weight", ((dim, ffn), kept)
        yield f"{there}.feed_forward.w3.weight", ((ffn, dim), kept)
        yield f"{there}.attention_norm.weight", ((dim,), kept)
        yield f"{there}.ffn_norm.weight", ((dim,), kept)


def _normed(there: str, shape: Shape, *, transposed: bool = False, fate: Fate = Fate.FOLDED) -> Keys:
    """A weight-normed convolution; a transposed one has its input channels first."""
    yield f"{there}.weight_v", (shape, fate)
    yield f"{there}.weight_g", ((shape[0], 1, 1), fate)
    yield f"{there}.bias", ((shape[1] if transposed else shape[0],), Fate.KEPT)


def _plain(there: str, shape: Shape, *, transposed: bool = False) -> Keys:
    yield f"{there}.weight", (shape, Fate.KEPT)
    yield f"{there}.bias", ((shape[1] if transposed else shape[0],), Fate.KEPT)


def _snake(there: str, width: int) -> Keys:
    yield f"{there}.alpha", ((1, width, 1), Fate.KEPT)


def _residual(there: str, width: int) -> Keys:
    yield from _snake(f"{there}.block.0", width)
    yield from _normed(f"{there}.block.1", (width, width, 7))
    yield from _snake(f"{there}.block.2", width)
    yield from _normed(f"{there}.block.3", (width, width, 1))


def _codec_keys(s: CodecSizes) -> Keys:
    there, width = f"{CODEC}.encoder.block", s.encoder_dim
    n_blocks = len(s.encoder_strides)
    yield from _normed(f"{there}.0", (width, 1, 7))
    for block, stride in enumerate(s.encoder_strides, start=1):
        for unit in range(3):
            yield from _residual(f"{there}.{block}.block.{unit}", width)
        yield from _snake(f"{there}.{block}.block.3", width)
        yield from _normed(f"{there}.{block}.block.4", (2 * width, width, 2 * stride))
        width *= 2
    yield from _snake(f"{there}.{n_blocks + 1}", width)
    yield from _normed(f"{there}.{n_blocks + 2}", (s.hidden_dim, width, 3))
    # the rows of the second half, the variational scale, are never used
    yield from _normed(f"{CODEC}.quantizer.in_proj", (2 * s.n_channels, s.hidden_dim, 1))
    yield from _normed(f"{CODEC}.quantizer.out_proj", (s.hidden_dim, s.n_channels, 1))
    there, width = f"{CODEC}.decoder.model", s.decoder_dim
    yield from _normed(f"{there}.0", (width, s.hidden_dim, 7))
    for block, stride in enumerate(s.decoder_strides, start=1):
        yield from _snake(f"{there}.{block}.block.0", width)
        yield from _normed(f"{there}.{block}.block.1", (width, width // 2, 2 * stride), transposed=True)
        width //= 2
        for place in (4, 5, 8):
            yield from _residual(f"{there}.{block}.block.{place}", width)
    yield from _snake(f"{CODEC}.decoder.wm_model.encoder_block.pre.0", width)
    yield from _normed(f"{CODEC}.decoder.wm_model.encoder_block.pre.1", (1, width, 7))


def _spectral_keys(s: SpectralSizes) -> Keys:
    yield f"{SPECTRAL}.window", ((2, s.hop // 2), Fate.KEPT)
    for name in ("knee", "unit"):
        yield f"{SPECTRAL}.{name}", ((s.n_channels,), Fate.KEPT)


def _watermark_keys(s: WatermarkSizes) -> Keys:
    there, model = f"{CODEC}.decoder.model", f"{CODEC}.decoder.wm_model"
    width, hidden = s.first_dim, s.hidden_dim
    yield from _plain(f"{model}.encoder_block.pre.3", (width, 1, 7))
    for level, stride in enumerate(s.strides):
        block = f"{there}.{len(s.strides) - level}.block"
        yield from _plain(f"{block}.3", (2 * width, width, 2 * stride), transposed=True)
        for place in (6, 7):
            yield from _plain(f"{block}.{place}.block.1", (width // 2, width, 3))
            yield from _plain(f"{block}.{place}.block.3", (width, width // 2, 1))
        yield from _plain(f"{block}.11", (2 * width, width, 2 * stride))
        width *= 2
    for lstm in ("encoder_block.post.0", "decoder_block.pre.1"):
        for layer in range(2):
            for name in ("ih", "hh"):
                yield f"{model}.{lstm}.lstm.weight_{name}_l{layer}", ((4 * hidden, hidden), Fate.KEPT)
                yield f"{model}.{lstm}.lstm.bias_{name}_l{layer}", ((4 * hidden,), Fate.KEPT)
    yield from _plain(f"{model}.encoder_block.post.2", (s.message_dim, hidden, 7))
    yield f"{model}.msg_processor.msg_processor.weight", ((2 * s.n_bits, s.message_dim), Fate.KEPT)
    yield from _plain(f"{model}.decoder_block.pre.0", (hidden, s.message_dim, 7))
    yield from _plain(f"{model}.decoder_block.post.1", (1, s.first_dim, 7))


def vision_keys(shapes: Shapes) -> Keys:
    """The keys of the vision encoder: the picture tower set apart, the caption tower dropped.

    Sizes are read off `shapes`; where they cannot be, the keys that would tell come out as missing.
    """
    width = _axis(shapes, f"{VISION}visual.class_embedding", 0)
    place = f"{VISION}visual"
    for key in ("class_embedding", "ln_pre.weight", "ln_pre.bias", "ln_post.weight", "ln_post.bias"):
        yield f"{place}.{key}", ((width,), Fate.APART)
    n_places, n_out = _axis(shapes, f"{place}.positional_embedding", 0), _axis(shapes, f"{place}.proj", 1)
    patch = _axis(shapes, f"{place}.conv1.weight", 2)
    yield f"{place}.positional_embedding", ((n_places, width), Fate.APART)
    yield f"{place}.conv1.weight", ((width, 3, patch, patch), Fate.APART)
    yield f"{place}.proj", ((width, n_out), Fate.APART)
    yield f"{place}.attn_pool.probe", ((1, 1, width), Fate.APART)
    yield from _pooled(f"{place}.attn_pool", width, _axis(shapes, f"{place}.attn_pool.mlp.c_fc.bias", 0), "layernorm")
    for key, shape in _tower(shapes, f"{place}.transformer.resblocks", width):
        yield key, (shape, Fate.APART)
    n_words, width = (_axis(shapes, f"{VISION}token_embedding.weight", axis) for axis in range(2))
    dropped: dict[str, Shape] = {
        "token_embedding.weight": (n_words, width),
        "positional_embedding": (_axis(shapes, f"{VISION}positional_embedding", 0), width),
        "text_projection": (width, _axis(shapes, f"{VISION}text_projection", 1)),
        "ln_final.weight": (width,),
        "ln_final.bias": (width,),
        "logit_scale": (),
    }
    for key, shape in dropped.items():
        yield f"{VISION}{key}", (shape, Fate.DROPPED)
    for key, shape in _tower(shapes, f"{VISION}transformer.resblocks", width):
        yield key, (shape, Fate.DROPPED)


def _pooled(there: str, width: int, hidden: int, norm: str) -> Keys:
    for key, shape in _attention_mlp(there, width, hidden, (norm,)):
        yield key, (shape, Fate.APART)


def _tower(shapes: Shapes, there: str, width: int) -> Iterator[tuple[str, Shape]]:
    layer = 0
    while layer == 0 or f"{there}.{layer}.attn.in_proj_weight" in shapes:
        hidden = _axis(shapes, f"{there}.{layer}.mlp.c_fc.bias", 0)
        yield from _attention_mlp(f"{there}.{layer}", width, hidden, ("ln_1", "ln_2"))
        layer += 1


def _attention_mlp(there: str, width: int, hidden: int, norms: tuple[str, ...]) -> Iterator[tuple[str, Shape]]:
    yield f"{there}.attn.in_proj_weight", (3 * width, width)
    yield f"{there}.attn.in_proj_bias", (3 * width,)
    yield f"{there}.attn.out_proj.weight", (width, width)
    yield f"{there}.attn.out_proj.bias", (width,)
    for norm in norms:
        yield f"{there}.{norm}.weight", (width,)
        yield f"{there}.{norm}.bias", (width,)
    yield f"{there}.mlp.c_fc.weight", (hidden, width)
    yield f"{there}.mlp.c_fc.bias", (hidden,)
    yield f"{there}.mlp.c_proj.weight", (width, hidden)
    yield f"{there}.mlp.c_proj.bias", (width,)


def _axis(shapes: Shapes, key: str, axis: int) -> int:
    shape = shapes.get(key, ())
    return shape[axis] if axis < len(shape) else 0


def _some(keys: list[str]) -> str:
    shown = ", ".join(keys[:_SHOWN])
    return shown if len(keys) <= _SHOWN else f"{shown} and {len(keys) - _SHOWN} more"
