"""From the official state dict to the layout our modules load: one function a part, tensors in, tensors out.

Weight norm is folded, heads are put in the ordinary order with rotary pairs half a head apart, matrices that see the
same input are stacked, columns that only ever see zeros are dropped, and what is constant is computed. Names on the
left are `engine.model.dit.Dit`'s and `engine.model.codec.Codec`'s; on the right the checkpoint's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from engine.model.config import CodecSizes, DitSizes, SpectralSizes, WatermarkSizes
from engine.model.official import SPECTRAL
from engine.model.spectral_codec import basis

Weights = Mapping[str, Tensor]
Named = Iterator[tuple[str, Tensor]]


def convert_dit(official: Weights, sizes: DitSizes) -> Named:
    """Every parameter of `Dit`, one at a time, so that one is in memory at a time."""
    n_state, n_channels = sizes.n_state, sizes.n_channels
    proj = official["proj.weight"]
    yield "state_in", proj[:, :n_state]
    mixture = proj[:, 2 * n_state :]
    yield "mixture_in.weight", mixture[:, :n_channels] + mixture[:, n_channels:]
    yield "mixture_in.bias", official["proj.bias"]
    yield "video_in.weight", official["align_masked_video.conv.weight"][:, :, 0]
    yield "video_in.bias", official["align_masked_video.conv.bias"]
    yield "video_norm.weight", official["align_masked_video.layer_norm.weight"]
    yield "video_norm.bias", official["align_masked_video.layer_norm.bias"]
    table = official["embed_anchors.embed.weight"] @ official["embed_anchors.proj.weight"].T
    yield "token_table", torch.tanh(official["embed_anchors.gate"]) * table
    yield "memory_in.weight", official["memory_proj.weight"]
    yield "memory_in.bias", official["memory_proj.bias"]
    yield from _swiglu("memory", official, "transformer.y_embedder.projection")
    yield from _swiglu("time", official, "transformer.t_embedder.projection")
    yield "time_block.weight", official["transformer.t_block.weight"]
    yield "time_block.bias", official["transformer.t_block.bias"]
    layers = [f"transformer.layers.{layer}" for layer in range(sizes.n_layers)]
    yield "modulation", torch.stack([official[f"{layer}.scale_shift_table"] for layer in layers])
    norms = ("attention_norm", "ffn_norm")
    yield "norms", torch.stack([torch.stack([official[f"{layer}.{n}.weight"] for n in norms]) for layer in layers])
    yield "final", official["transformer.final_layer_scale_shift_table"]
    yield "final_norm", official["transformer.norm.weight"]
    yield "output", official["transformer.output.weight"]
    for index in range(2):
        there = f"transformer.x_embedder.block.block{index + 1}"
        yield f"patcher.norms.{index}.weight", official[f"{there}.groupnorm.weight"]
        yield f"patcher.norms.{index}.bias", official[f"{there}.groupnorm.bias"]
        yield f"patcher.convs.{index}.weight", official[f"{there}.project.weight"].transpose(1, 2).flatten(1)
        yield f"patcher.convs.{index}.bias", official[f"{there}.project.bias"]
    for index, there in enumerate(layers):
        yield from _layer(f"layers.{index}", official, there, sizes)
    # last, because its 4 bytes would push every tensor behind it off the alignment that the file's writer gives
    yield "video_gate", official["align_masked_video.gate"].reshape(())


def _swiglu(here: str, official: Weights, there: str) -> Named:
    yield f"{here}.up.weight", torch.cat([official[f"{there}.w1.weight"], official[f"{there}.w3.weight"]])
    yield f"{here}.down.weight", official[f"{there}.w2.weight"]


def _layer(here: str, official: Weights, there: str, sizes: DitSizes) -> Named:
    n_heads = sizes.n_heads

    def matrix(attention: str, name: str, *, rotary: bool = False) -> Tensor:
        return heads_first(official[f"{there}.{attention}.{name}.weight"], n_heads, rotary=rotary)

    def norms(attention: str, *, rotary: bool = False) -> Tensor:
        both = torch.stack([official[f"{there}.{attention}.{name}_norm.weight"] for name in "qk"])
        return torch.cat([both[:, 0::2], both[:, 1::2]], dim=1) if rotary else both

    own = [matrix("attention", name, rotary=name != "wv") for name in ("wq", "wk", "wv")]
    yield f"{here}.attention.qkv.weight", torch.cat(own)
    yield f"{here}.attention.out.weight", official[f"{there}.attention.wo.weight"]
    yield f"{here}.attention.qk_norm", norms("attention", rotary=True)
    yield f"{here}.cross.q.weight", matrix("cross_attention", "wq")
    yield f"{here}.cross.kv.weight", torch.cat([matrix("cross_attention", name) for name in ("wk", "wv")])
    yield f"{here}.cross.out.weight", official[f"{there}.cross_attention.wo.weight"]
    yield f"{here}.cross.qk_norm", norms("cross_attention")
    yield from _swiglu(f"{here}.ffn", official, f"{there}.feed_forward")


def heads_first(weight: Tensor, n_heads: int, *, rotary: bool) -> Tensor:
    """Reorder a projection's rows from (element, head) to (head, element).

    With `rotary` the elements of a head are reordered too: the even ones, then the odd ones. Queries and keys alike,
    so their products do not change, and a rotary pair comes to lie half a head apart.
    """
    by_head = weight.reshape(-1, n_heads, weight.shape[1]).transpose(0, 1)
    if rotary:
        by_head = torch.cat([by_head[:, 0::2], by_head[:, 1::2]], dim=1)
    return by_head.reshape(weight.shape)


def convert_codec(official: Weights, sizes: CodecSizes | SpectralSizes) -> Named:
    """Every parameter of `Codec`, or of `SpectralCodec`, one at a time."""
    if isinstance(sizes, SpectralSizes):
        for name in ("window", "knee", "unit"):
            yield name, official[f"{SPECTRAL}.{name}"]
        yield "basis", basis(sizes.hop, sizes.n_channels)
        return
    encoder, n_blocks = "audio_codec.encoder.block", len(sizes.encoder_strides)
    yield from _conv("encoder.0", official, f"{encoder}.0")
    at = 1
    for block in range(1, n_blocks + 1):
        for unit in range(3):
            yield from _residual(f"encoder.{at + unit}", official, f"{encoder}.{block}.block.{unit}")
        yield from _snake(f"encoder.{at + 3}", official, f"{encoder}.{block}.block.3")
        yield from _conv(f"encoder.{at + 4}", official, f"{encoder}.{block}.block.4")
        at += 5
    yield from _snake(f"encoder.{at}", official, f"{encoder}.{n_blocks + 1}")
    yield from _conv(f"encoder.{at + 1}", official, f"{encoder}.{n_blocks + 2}")
    for name, tensor in _conv(f"encoder.{at + 2}", official, "audio_codec.quantizer.in_proj"):
        yield name, tensor[: sizes.n_channels]

    yield from _conv("decoder.0", official, "audio_codec.quantizer.out_proj")
    yield from _conv("decoder.1", official, "audio_codec.decoder.model.0")
    at = 2
    for block, stride in enumerate(sizes.decoder_strides, start=1):
        there = f"audio_codec.decoder.model.{block}.block"
        yield from _snake(f"decoder.{at}", official, f"{there}.0")
        yield from _upsample(f"decoder.{at + 1}.conv", official, f"{there}.1", stride)
        for unit, place in enumerate((4, 5, 8)):
            yield from _residual(f"decoder.{at + 2 + unit}", official, f"{there}.{place}")
        at += 5
    yield from _snake(f"decoder.{at}", official, "audio_codec.decoder.wm_model.encoder_block.pre.0")
    yield from _conv(f"decoder.{at + 1}", official, "audio_codec.decoder.wm_model.encoder_block.pre.1")


def fold(official: Weights, there: str) -> Tensor:
    """A weight-normed layer's weight: v scaled to the norm g, over every axis but the first."""
    v, g = official[f"{there}.weight_v"], official[f"{there}.weight_g"]
    length: Tensor = torch.linalg.vector_norm(v, dim=(1, 2), keepdim=True)
    return v * (g / length)


def _conv(here: str, official: Weights, there: str) -> Named:
    yield f"{here}.weight", fold(official, there).transpose(1, 2)
    yield f"{here}.bias", official[f"{there}.bias"]


def _snake(here: str, official: Weights, there: str) -> Named:
    alpha = official[f"{there}.alpha"].flatten().float()
    yield f"{here}.alpha", alpha
    yield f"{here}.inverse", 1 / (alpha + 1e-9)


def _residual(here: str, official: Weights, there: str) -> Named:
    yield from _snake(f"{here}.steps.0", official, f"{there}.block.0")
    yield from _conv(f"{here}.steps.1", official, f"{there}.block.1")
    yield from _snake(f"{here}.steps.2", official, f"{there}.block.2")
    yield from _conv(f"{here}.steps.3", official, f"{there}.block.3")


def _upsample(here: str, official: Weights, there: str, stride: int) -> Named:
    """(in, out, 2 stride) → (stride out, 2, in): a sample hears the frame before through the later taps."""
    weight = fold(official, there)
    earlier, current = weight[:, :, stride:], weight[:, :, :stride]
    taps = torch.stack([earlier, current])
    yield f"{here}.weight", taps.permute(3, 2, 0, 1).flatten(0, 1)
    yield f"{here}.bias", official[f"{there}.bias"].repeat(stride)


def convert_watermark(official: Weights, sizes: WatermarkSizes) -> Named:
    """Every parameter of `Watermark`, one at a time. Its convolutions carry no weight norm."""
    decoder, model = "audio_codec.decoder.model", "audio_codec.decoder.wm_model"
    n_levels = len(sizes.strides)

    def plain(here: str, there: str) -> Named:
        yield f"{here}.weight", official[f"{there}.weight"]
        yield f"{here}.bias", official[f"{there}.bias"]

    def lstm(here: str, there: str) -> Named:
        for layer in range(2):
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                yield f"{here}.{name}_l{layer}", official[f"{there}.lstm.{name}_l{layer}"]

    yield from plain("listen", f"{model}.encoder_block.pre.3")
    for level in range(n_levels):
        there = f"{decoder}.{n_levels - level}.block"
        yield from plain(f"down.{level}.unit.narrow", f"{there}.7.block.1")
        yield from plain(f"down.{level}.unit.widen", f"{there}.7.block.3")
        yield from plain(f"down.{level}.conv", f"{there}.11")
        yield from plain(f"up.{level}.conv", f"{there}.3")
        yield from plain(f"up.{level}.unit.narrow", f"{there}.6.block.1")
        yield from plain(f"up.{level}.unit.widen", f"{there}.6.block.3")
    yield from lstm("remember", f"{model}.encoder_block.post.0")
    yield from plain("hidden", f"{model}.encoder_block.post.2")
    yield "message", official[f"{model}.msg_processor.msg_processor.weight"]
    yield from plain("told", f"{model}.decoder_block.pre.0")
    yield from lstm("recall", f"{model}.decoder_block.pre.1")
    yield from plain("speak", f"{model}.decoder_block.post.1")
