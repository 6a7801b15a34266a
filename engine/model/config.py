"""The sizes of one network, and the few constants that no weight shows.

Sizes are read off the weights (`engine.model.official`) and written to the bundle's manifest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

SAMPLE_RATE: Final = 48_000
"""Hz; every released model."""
NORM_EPS: Final = 1e-5
"""Of every RMS, group and layer norm of the flow transformer."""
N_STREAMS: Final = 2
"""The state holds the target's latents, then the residual's."""
TEXT_TOKENS: Final = 512
"""Longest prompt, in tokens of T5; the rest is cut."""


@dataclass(frozen=True)
class CodecSizes:
    """The codec's widths: `n_channels` latent channels at one frame a `hop` samples."""

    encoder_dim: int
    encoder_strides: tuple[int, ...]
    hidden_dim: int
    """Channels between the encoder or decoder and the latents' 1x1 projections."""
    n_channels: int
    decoder_dim: int
    decoder_strides: tuple[int, ...]

    @property
    def hop(self) -> int:
        """Samples a latent frame."""
        return math.prod(self.encoder_strides)


@dataclass(frozen=True)
class SpectralSizes:
    """The codec of `engine.model.spectral_codec`: `n_channels` coefficients at one frame a `hop` samples."""

    hop: int
    n_channels: int

    @property
    def band_hz(self) -> float:
        """What lies above is not heard."""
        return self.n_channels / self.hop * SAMPLE_RATE / 2


@dataclass(frozen=True)
class WatermarkSizes:
    """The watermark branch: strides from the waveform down, channels doubling from `first_dim`."""

    first_dim: int
    strides: tuple[int, ...]
    message_dim: int
    n_bits: int

    @property
    def hop(self) -> int:
        """Samples a frame of its innermost layer."""
        return math.prod(self.strides)

    @property
    def hidden_dim(self) -> int:
        """Channels of the innermost layer."""
        return self.first_dim << len(self.strides)


@dataclass(frozen=True)
class DitSizes:
    """The flow transformer's widths."""

    dim: int
    n_heads: int
    n_layers: int
    ffn_dim: int
    n_channels: int
    """Latent channels of one stream; the state has `N_STREAMS` times as many."""
    text_dim: int
    video_dim: int
    time_dim: int
    rope_theta: float
    max_frames: int

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.dim // self.n_heads

    @property
    def n_state(self) -> int:
        """Channels of the state that flows from noise to latents."""
        return N_STREAMS * self.n_channels


@dataclass(frozen=True)
class Sizes:
    """One whole network."""

    dit: DitSizes
    codec: CodecSizes | SpectralSizes
    watermark: WatermarkSizes | None
    """None where the weights have no watermark branch."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; the reverse of `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Sizes:
        """The reverse of `to_dict`. Raises `TypeError` or `KeyError` for values of another shape."""
        codec, watermark = dict(values["codec"]), values["watermark"]
        spectral = codec.keys() == {"hop", "n_channels"}
        for key in () if spectral else ("encoder_strides", "decoder_strides"):
            codec[key] = tuple(codec[key])
        if watermark is not None:
            watermark = WatermarkSizes(**{**watermark, "strides": tuple(watermark["strides"])})
        made = SpectralSizes(**codec) if spectral else CodecSizes(**codec)
        return cls(DitSizes(**values["dit"]), made, watermark)


CODEC: Final = CodecSizes(
    encoder_dim=64,
    encoder_strides=(2, 8, 10, 12),
    hidden_dim=1024,
    n_channels=128,
    decoder_dim=1536,
    decoder_strides=(12, 10, 8, 2),
)
"""The codec of every released model."""
WATERMARK: Final = WatermarkSizes(first_dim=32, strides=(2, 4, 5, 8), message_dim=128, n_bits=16)


def _released(dim: int, n_heads: int, n_layers: int, ffn_dim: int) -> Sizes:
    dit = DitSizes(
        dim=dim,
        n_heads=n_heads,
        n_layers=n_layers,
        ffn_dim=ffn_dim,
        n_channels=128,
        text_dim=768,
        video_dim=1024,
        time_dim=256,
        rope_theta=20_000.0,
        max_frames=10_000,
    )
    return Sizes(dit, CODEC, WATERMARK)


RELEASED: Final[Mapping[str, Sizes]] = {
    "small": _released(1536, 12, 12, 4096),
    "base": _released(2048, 16, 16, 5504),
    "large": _released(2816, 22, 22, 7552),
}
"""The released sizes, as their state-dict listings show them; for benchmarks, never for loading."""


def rope_theta(max_positions: int) -> float:
    """The rotary base that goes with a model's longest clip: twice its frames, at least 10000."""
    return float(max(10_000, 2 * max_positions))


def n_frames_of(n_samples: int, hop: int) -> int:
    """Latent frames of a clip: integer ceiling division, exact at every length."""
    return -(-n_samples // hop)
