"""The sizes of a network, read off its state dict, and its config.json held against them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.errors import StembridgeError
from engine.model.anchors import N_TOKENS
from engine.model.config import (
    N_STREAMS,
    NORM_EPS,
    SAMPLE_RATE,
    CodecSizes,
    DitSizes,
    Sizes,
    SpectralSizes,
    WatermarkSizes,
    rope_theta,
)
from engine.model.official import CODEC, SPECTRAL, Shape, Shapes, corrupt


def sizes_of(shapes: Shapes, max_positions: int = 10_000) -> Sizes:
    """The sizes of the network a state dict holds.

    `max_positions`: the longest clip in frames, which no weight shows. Raises `StembridgeError` (`model_corrupt`)
    naming the first key that is not there or has another number of axes.
    """

    def shape(key: str, n_axes: int) -> Shape:
        found = shapes.get(key)
        if found is None:
            raise corrupt(f"it has no {key}: it is not a SAM Audio checkpoint, or not all of one")
        if len(found) != n_axes or 0 in found:
            raise corrupt(f"{key} is {found}, not of {n_axes} axes")
        return found

    n_layers = _count(shapes, "transformer.layers.", ".scale_shift_table")
    if n_layers == 0:
        raise corrupt("it has no transformer.layers.0: it is not a SAM Audio checkpoint, or not all of one")
    dim, n_inputs = shape("proj.weight", 2)
    n_state, _ = shape("transformer.output.weight", 2)
    head_dim = shape("transformer.layers.0.attention.q_norm.weight", 1)[0]
    if n_inputs != 3 * n_state or n_state % N_STREAMS or dim % head_dim or head_dim % 2:
        raise corrupt(f"proj.weight is {dim} x {n_inputs} for {n_state} outputs and heads of {head_dim}")
    dit = DitSizes(
        dim=dim,
        n_heads=dim // head_dim,
        n_layers=n_layers,
        ffn_dim=shape("transformer.layers.0.feed_forward.w1.weight", 2)[0],
        n_channels=n_state // N_STREAMS,
        text_dim=shape("memory_proj.weight", 2)[1],
        video_dim=shape("align_masked_video.conv.weight", 3)[1],
        time_dim=shape("transformer.t_embedder.projection.w1.weight", 2)[1],
        rope_theta=rope_theta(max_positions),
        max_frames=max_positions,
    )
    if f"{SPECTRAL}.window" in shapes:
        spectral = SpectralSizes(2 * shape(f"{SPECTRAL}.window", 2)[1], shape(f"{SPECTRAL}.knee", 1)[0])
        if spectral.n_channels != dit.n_channels or spectral.n_channels > spectral.hop:
            raise corrupt(
                f"its codec ({spectral.n_channels} channels, {spectral.hop} samples a frame) does not fit its "
                f"transformer ({dit.n_channels} channels)"
            )
        return Sizes(dit, spectral, None)
    n_blocks = _count(shapes, f"{CODEC}.encoder.block.", ".block.4.weight_v", start=1)
    encoder = f"{CODEC}.encoder.block"
    codec = CodecSizes(
        encoder_dim=shape(f"{encoder}.0.weight_v", 3)[0],
        encoder_strides=tuple(shape(f"{encoder}.{i}.block.4.weight_v", 3)[2] // 2 for i in range(1, n_blocks + 1)),
        hidden_dim=shape(f"{encoder}.{n_blocks + 2}.weight_v", 3)[0],
        n_channels=shape(f"{CODEC}.quantizer.out_proj.weight_v", 3)[1],
        decoder_dim=shape(f"{CODEC}.decoder.model.0.weight_v", 3)[0],
        decoder_strides=tuple(
            shape(f"{CODEC}.decoder.model.{i}.block.1.weight_v", 3)[2] // 2 for i in range(1, n_blocks + 1)
        ),
    )
    if codec.n_channels != dit.n_channels or codec.decoder_strides != codec.encoder_strides[::-1]:
        raise corrupt(
            f"its codec ({codec.n_channels} channels, strides {codec.encoder_strides} and {codec.decoder_strides}) "
            f"does not fit its transformer ({dit.n_channels} channels)"
        )
    watermark = None
    if f"{CODEC}.decoder.wm_model.encoder_block.pre.3.weight" in shapes:
        levels = range(n_blocks, 0, -1)
        n_rows, message_dim = shape(f"{CODEC}.decoder.wm_model.msg_processor.msg_processor.weight", 2)
        watermark = WatermarkSizes(
            first_dim=shape(f"{CODEC}.decoder.wm_model.encoder_block.pre.3.weight", 3)[0],
            strides=tuple(shape(f"{CODEC}.decoder.model.{i}.block.11.weight", 3)[2] // 2 for i in levels),
            message_dim=message_dim,
            n_bits=n_rows // 2,
        )
    return Sizes(dit, codec, watermark)


def check_config(config: Mapping[str, Any], sizes: Sizes) -> None:
    """Refuse a config.json that says another network than the weights are.

    Sizes it names must be the weights'; what no weight shows must be what we compute. Raises `StembridgeError`
    (`model_corrupt`) naming the value.
    """
    dit, codec = sizes.dit, sizes.codec
    said: dict[str, Any] = {
        "transformer.dim": dit.dim,
        "transformer.n_heads": dit.n_heads,
        "transformer.n_layers": dit.n_layers,
        "transformer.out_channels": dit.n_state,
        "transformer.context_dim": dit.dim,
        "transformer.frequency_embedding_dim": dit.time_dim,
        "transformer.norm_eps": NORM_EPS,
        "transformer.qk_norm": True,
        "transformer.use_rope": True,
        "transformer.fc_bias": False,
        "transformer.non_linearity": "swiglu",
        "transformer.timestep_non_linearity": "swiglu",
        "transformer.context_non_linearity": "swiglu",
        "transformer.t_block_non_linearity": "silu",
        "transformer.t_block_bias": True,
        "transformer.context_norm": False,
        "transformer.in_channels": None,
        "in_channels": 3 * dit.n_state,
        "num_anchors": N_TOKENS - 1,
        "text_encoder.dim": dit.text_dim,
        "vision_encoder.dim": dit.video_dim,
        "audio_codec.codebook_dim": codec.n_channels,
        "audio_codec.sample_rate": SAMPLE_RATE,
    }
    if isinstance(codec, SpectralSizes):
        said |= {"audio_codec.kind": "spectral", "audio_codec.hop": codec.hop}
    else:
        said |= {
            "audio_codec.kind": "convolutional",
            "audio_codec.encoder_dim": codec.encoder_dim,
            "audio_codec.encoder_rates": list(codec.encoder_strides),
            "audio_codec.latent_dim": codec.hidden_dim,
            "audio_codec.decoder_dim": codec.decoder_dim,
            "audio_codec.decoder_rates": list(codec.decoder_strides),
        }
    for path, ours in said.items():
        *parts, key = path.split(".")
        at: Any = config
        for part in parts:
            at = at.get(part, {}) if isinstance(at, Mapping) else {}
        if isinstance(at, Mapping) and key in at and at[key] != ours:
            raise StembridgeError(
                "model_corrupt",
                f"The model's config.json says {path} is {at[key]!r}; its weights, or what this version of Stembridge "
                f"computes, say {ours!r}.",
                "Take both files from one official folder.",
            )


def _count(shapes: Shapes, before: str, after: str, start: int = 0) -> int:
    n = 0
    while f"{before}{start + n}{after}" in shapes:
        n += 1
    return n
