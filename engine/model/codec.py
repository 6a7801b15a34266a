"""The codec: 48 kHz mono to latents at 25 Hz and back. Plain convolutions, whole or in chunks that give the same.

Tensors inside are `(batch, channel, 1, sample)` in channels-last memory, which is what matrix units like, and which
makes the upsampling layers' interleaving free. Snake computes in float32 whatever the weights are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.model.config import CodecSizes, n_frames_of
from engine.model.spectral_codec import SpectralCodec

CONTEXT_FRAMES: Final = 8
"""Latent frames heard on each side of a chunk. A decoder's frame reaches 7.18 frames far, an encoder's 6."""
CHUNK_FRAMES: Final = 250
"""Latent frames a chunk, without context: 10 s, about 1.5 GB of float32 activations at the released sizes."""
DILATIONS: Final = (1, 3, 9)
_BLOCK_VALUES: Final = 1 << 17
"""Of a Snake that computes in another type than its input's on a CPU: what stays in the cores' own caches."""


class Conv(nn.Module):
    """A convolution along the samples; `weight` is `(out, tap, in)`, which is channels-last memory without a copy."""

    def __init__(self, n_in: int, n_out: int, taps: int, *, padding: int = 0, dilation: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_out, taps, n_in))
        self.bias = nn.Parameter(torch.empty(n_out))
        self.padding, self.dilation = padding, dilation

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(
            x.to(self.weight.dtype),
            self.weight.transpose(1, 2)[:, :, None],
            self.bias,
            padding=(0, self.padding),
            dilation=(1, self.dilation),
        )


class Downsample(nn.Module):
    """A convolution of `2 * stride` taps and that stride, as one of 2 taps over samples laid side by side as channels.

    `weight` is `(out, 2 * stride, in)`, whose memory is also `(out, 2, stride * in)`.
    """

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_out, 2 * stride, n_in))
        self.bias = nn.Parameter(torch.empty(n_out))
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        batch, n_in, stride = x.shape[0], x.shape[1], self.stride
        left = (stride + 1) // 2
        rows = F.pad(x.to(self.weight.dtype).permute(0, 2, 3, 1), (0, 0, left, stride - left))
        rows = rows.reshape(batch, 1, x.shape[3] // stride + 1, stride * n_in)
        weight = self.weight.reshape(-1, 2, stride * n_in).transpose(1, 2)[:, :, None]
        return F.conv2d(rows.permute(0, 3, 1, 2), weight, self.bias)


class Upsample(nn.Module):
    """A transposed convolution of `2 * stride` taps, as a convolution of 2 taps whose channels are samples in turn.

    `conv.weight` is `(stride * out, 2, in)`, its outputs ordered sample first.
    """

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv = Conv(n_in, stride * n_out, 2, padding=1)
        self.n_out, self.stride = n_out, stride

    def forward(self, x: Tensor) -> Tensor:
        batch, n_samples = x.shape[0], x.shape[3] * self.stride
        y: Tensor = self.conv(x).permute(0, 2, 3, 1).reshape(batch, 1, n_samples + self.stride, self.n_out)
        start = (self.stride + 1) // 2
        return y.narrow(2, start, n_samples).permute(0, 3, 1, 2)


class Snake(nn.Module):
    """`x + sin(alpha x)^2 / alpha`, a channel its own alpha; `inverse` holds 1 / (alpha + 1e-9), made in float32."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.empty(n_channels))
        self.inverse = nn.Parameter(torch.empty(n_channels))

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != torch.float32 and x.device.type == "cpu" and not torch.compiler.is_exporting():
            return self._in_blocks(x)
        # in place, because on a CPU fresh memory costs as much as the sines
        y = x.float()
        wave = (y * self.alpha[:, None, None]).sin_().square_()
        return wave.mul_(self.inverse[:, None, None]).add_(y).to(x.dtype)

    def _in_blocks(self, x: Tensor) -> Tensor:
        """The same on a CPU, block by block: float32 copies of a whole layer cost more than twice as much."""
        rows = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
        made, n_rows = torch.empty_like(rows), max(_BLOCK_VALUES // x.shape[1], 1)
        for start in range(0, len(rows), n_rows):
            y = rows[start : start + n_rows].float()
            wave = (y * self.alpha).sin_().square_()
            made[start : start + n_rows] = wave.mul_(self.inverse).add_(y)
        return made.view(x.shape[0], 1, x.shape[3], x.shape[1]).permute(0, 3, 1, 2)


class Residual(nn.Module):
    """Snake, a dilated convolution of 7 taps, Snake, a convolution of 1, added to what came in."""

    def __init__(self, n_channels: int, dilation: int) -> None:
        super().__init__()
        self.steps = nn.Sequential(
            Snake(n_channels),
            Conv(n_channels, n_channels, 7, padding=3 * dilation, dilation=dilation),
            Snake(n_channels),
            Conv(n_channels, n_channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.steps(x).add_(x)  # type: ignore[no-any-return]


class Codec(nn.Module):
    """Encoder and decoder; parameters are in the layout that `engine.model.convert` makes."""

    def __init__(self, sizes: CodecSizes) -> None:
        super().__init__()
        self.sizes = sizes
        width = sizes.encoder_dim
        encoder: list[nn.Module] = [Conv(1, width, 7, padding=3)]
        for stride in sizes.encoder_strides:
            encoder += [Residual(width, dilation) for dilation in DILATIONS]
            encoder += [Snake(width), Downsample(width, 2 * width, stride)]
            width *= 2
        encoder += [Snake(width), Conv(width, sizes.hidden_dim, 3, padding=1)]
        self.encoder = nn.Sequential(*encoder, Conv(sizes.hidden_dim, sizes.n_channels, 1))
        width = sizes.decoder_dim
        decoder: list[nn.Module] = [Conv(sizes.n_channels, sizes.hidden_dim, 1)]
        decoder += [Conv(sizes.hidden_dim, width, 7, padding=3)]
        for stride in sizes.decoder_strides:
            decoder += [Snake(width), Upsample(width, width // 2, stride)]
            width //= 2
            decoder += [Residual(width, dilation) for dilation in DILATIONS]
        self.decoder = nn.Sequential(*decoder, Snake(width), Conv(width, 1, 7, padding=3))

    def lower(self, dtype: torch.dtype) -> Codec:
        """Give the convolutions `dtype`, but the latents' projections and the one that makes the waveform; Snake
        stays float32. Changes the module and returns it."""
        outer = {id(self.encoder[0]), id(self.encoder[-1]), id(self.decoder[0]), id(self.decoder[-1])}
        for module in self.modules():
            if isinstance(module, (Conv, Downsample)) and id(module) not in outer:
                module.to(dtype)
        return self

    def encode(self, waveform: Tensor) -> Tensor:
        """`(batch, 1, sample)` of whole frames → mean latents `(batch, frame, channel)`, float32.

        Raises `ValueError` unless the samples are a multiple of the hop; `pad_to_frames` makes them one.
        """
        if waveform.shape[-1] == 0 or waveform.shape[-1] % self.sizes.hop:
            raise ValueError(f"{waveform.shape[-1]} samples are not whole frames of {self.sizes.hop}")
        x = waveform[:, :, None].contiguous(memory_format=torch.channels_last)
        return self.encoder(x)[:, :, 0].transpose(1, 2).float()  # type: ignore[no-any-return]

    def decode(self, latents: Tensor) -> Tensor:
        """`(batch, frame, channel)` → `(batch, 1, sample)` in -1 to 1, float32, `hop` samples a frame."""
        x = latents.transpose(1, 2)[:, :, None].contiguous(memory_format=torch.channels_last)
        return torch.tanh(self.decoder(x)[:, :, 0].float())


def pad_to_frames(waveform: Tensor, hop: int) -> Tensor:
    """Extend `(batch, 1, sample)` by reflection to whole frames, however short it is.

    Where the reference can pad at all this is its padding; a clip shorter than the padding is reflected repeatedly.
    Raises `ValueError` for a clip without samples.
    """
    n_samples = waveform.shape[-1]
    if n_samples == 0:
        raise ValueError("there are no samples to encode")
    n_total = n_frames_of(n_samples, hop) * hop
    if n_total == n_samples:
        return waveform
    period = max(2 * (n_samples - 1), 1)
    place = torch.arange(n_samples, n_total, device=waveform.device) % period
    place = torch.minimum(place, period - place).clamp_max(n_samples - 1)
    return torch.cat([waveform, waveform[..., place]], dim=-1)


def encode_chunks(codec: Codec | SpectralCodec, waveform: Tensor, chunk_frames: int = CHUNK_FRAMES) -> Iterator[Tensor]:
    """`codec.encode` in bounded memory: consecutive `(batch, frame, channel)` pieces of the same latents."""
    hop = codec.sizes.hop
    n_frames = waveform.shape[-1] // hop
    for start in range(0, n_frames, chunk_frames):
        end = min(start + chunk_frames, n_frames)
        left, right = max(start - CONTEXT_FRAMES, 0), min(end + CONTEXT_FRAMES, n_frames)
        yield codec.encode(waveform[..., left * hop : right * hop])[:, start - left : end - left]


def decode_chunks(codec: Codec | SpectralCodec, latents: Tensor, chunk_frames: int = CHUNK_FRAMES) -> Iterator[Tensor]:
    """`codec.decode` in bounded memory: consecutive `(batch, 1, sample)` pieces of the same waveform."""
    hop, n_frames = codec.sizes.hop, latents.shape[1]
    for start in range(0, n_frames, chunk_frames):
        end = min(start + chunk_frames, n_frames)
        left, right = max(start - CONTEXT_FRAMES, 0), min(end + CONTEXT_FRAMES, n_frames)
        yield codec.decode(latents[:, left:right])[..., (start - left) * hop : (end - left) * hop]
