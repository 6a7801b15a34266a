"""A codec without training: an orthonormal lapped transform of the lowest frequencies, bent towards equal sizes.

It stands where the convolutional codec stands (`engine.model.codec`), for small flow models. Each frame of `hop`
samples is folded into its neighbours over half a frame (time-domain alias cancellation, sine window) and turned by a
DCT-IV of which the lowest `n_channels` coefficients are kept. At a clip's ends nothing is folded, so whole frames in
are as many frames out and back. Below its band the transform loses nothing, above it everything. Coefficients of music
span a thousand to one, and a flow wants values near 1; so latents are `asinh(coefficient / knee) / unit`, linear for
what is quiet and logarithmic for what is loud, with both numbers found in training material (`training.flow_bank`).
"""

from __future__ import annotations

import math
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.model.config import SpectralSizes

LOUDEST: Final = 9.0
"""Bent values beyond it are held back before they are unbent, where each 2.3 more are ten times the amplitude: 9 is
4,000 knees. Nothing that was encoded comes near; a solver that strays must not blast."""


class SpectralCodec(nn.Module):
    """Encoder and decoder in one; parameters are those that `engine.model.convert` makes. Always float32."""

    def __init__(self, sizes: SpectralSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.basis = nn.Parameter(torch.empty(sizes.hop, sizes.n_channels))
        self.window = nn.Parameter(torch.empty(2, sizes.hop // 2))
        self.knee = nn.Parameter(torch.empty(sizes.n_channels))
        self.unit = nn.Parameter(torch.empty(sizes.n_channels))

    def lower(self, dtype: torch.dtype) -> SpectralCodec:
        """Nothing: it is a thousandth of the network's work, and its range is wider than half precision's."""
        del dtype
        return self

    def transform(self, waveform: Tensor) -> Tensor:
        """`(batch, 1, sample)` of whole frames → coefficients `(batch, frame, channel)` before they are bent: linear,
        and orthonormal on its band.

        Raises `ValueError` unless the samples are a multiple of the hop.
        """
        hop = self.sizes.hop
        if waveform.shape[-1] == 0 or waveform.shape[-1] % hop:
            raise ValueError(f"{waveform.shape[-1]} samples are not whole frames of {hop}")
        frames = waveform.float().reshape(waveform.shape[0], -1, hop)
        return self._turned(frames, -1.0) @ self.basis

    def encode(self, waveform: Tensor) -> Tensor:
        """As `engine.model.codec.Codec.encode`."""
        return torch.asinh(self.transform(waveform) / self.knee) / self.unit

    def decode(self, latents: Tensor) -> Tensor:
        """As `engine.model.codec.Codec.decode`, but that louder than full scale stays so."""
        bent = (latents.float() * self.unit).clamp(-LOUDEST, LOUDEST)
        frames = self._turned((torch.sinh(bent) * self.knee) @ self.basis.T, 1.0)
        return frames.flatten(1)[:, None]

    def _turned(self, frames: Tensor, sign: float) -> Tensor:
        """Each boundary's two half frames, mirrored on each other, turned by the window's angle; the ends stay."""
        cosine, sine = self.window[0], self.window[1] * sign
        left, right = frames.chunk(2, dim=-1)
        mirrored = left.flip(-1)
        # the half frame that lies on the boundary's other side; none at the ends, where the angle is 0 instead
        after = F.pad(mirrored[:, 1:], (0, 0, 0, 1))
        before = F.pad(right[:, :-1], (0, 0, 1, 0))
        inner = torch.ones_like(frames[:1, :, :1])
        last, first = F.pad(inner[:, 1:], (0, 0, 0, 1)), F.pad(inner[:, 1:], (0, 0, 1, 0))
        new_right = right * (1 + last * (cosine - 1)) + after * sine
        new_left = mirrored * (1 + first * (cosine - 1)) - before * sine
        return torch.cat([new_left.flip(-1), new_right], dim=-1)


def basis(hop: int, n_channels: int) -> Tensor:
    """The lowest `n_channels` vectors of the orthonormal DCT-IV of `hop` samples: `(hop, channel)`."""
    sample, channel = (torch.arange(n, dtype=torch.float64) + 0.5 for n in (hop, n_channels))
    return (math.sqrt(2 / hop) * torch.cos(math.pi / hop * torch.outer(sample, channel))).float()


def window(hop: int) -> Tensor:
    """Cosine and sine of the turn at a boundary, for the half frame before it, in its order: `(2, hop / 2)`."""
    n = hop // 2
    angle = math.pi / 4 * (torch.arange(n, dtype=torch.float64) + 0.5) / n
    return torch.stack([angle.cos(), angle.sin()]).float()
