"""Short-time Fourier transforms of streams: samples in, frames out, and back.

Frame `m` is centred on sample `m * hop`; before the first and after the last sample there is silence. Analysis and
synthesis both use a periodic Hann window, and synthesis divides by what the windows really add up to, so
`synthesis(analysis(x)) = x` for every length and hop up to half the window.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final, cast

import numpy as np
import numpy.typing as npt

from engine.audio import Samples

Spectrum = npt.NDArray[np.complex64]
"""`(channel, frame, bin)`"""

_SMOOTH_PRIMES: Final = (2, 3, 5, 7)
_TINY: Final = np.float32(1e-8)


@dataclass(frozen=True)
class Grid:
    """The time-frequency grid of a transform."""

    sample_rate: int
    """Hz."""
    n_fft: int
    """Samples; even."""
    hop: int
    """Samples between frames; at most n_fft / 2."""

    def __post_init__(self) -> None:
        if self.n_fft % 2 or not 0 < self.hop <= self.n_fft // 2:
            raise ValueError(f"no grid of {self.n_fft} samples with a hop of {self.hop}")

    @property
    def n_bins(self) -> int:
        """Bins from 0 Hz to the Nyquist frequency, both included."""
        return self.n_fft // 2 + 1

    def n_frames(self, n_samples: int) -> int:
        """Frames whose centre lies in a signal of `n_samples`, and one behind its end."""
        return -(-n_samples // self.hop) + 1

    def at_rate(self, sample_rate: int) -> Grid:
        """The grid of another rate whose window lasts about as long, of a length that transforms fast."""
        if sample_rate == self.sample_rate:
            return self
        overlap = self.n_fft // self.hop
        hop = round(self.hop * sample_rate / self.sample_rate)
        while not _is_smooth(hop * overlap):
            hop += 1
        return Grid(sample_rate, hop * overlap, hop)


@cache
def hann(n: int) -> npt.NDArray[np.float32]:
    """The periodic Hann window of `n` samples."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)).astype(np.float32)


class Analysis:
    """Samples to frames. Push blocks in order, then `finish`; every frame comes out once, in order."""

    def __init__(self, grid: Grid, channels: int) -> None:
        self.grid = grid
        self._held = np.zeros((channels, grid.n_fft // 2), np.float32)
        self._n_samples = 0
        self._n_frames = 0

    def push(self, block: Samples) -> Spectrum:
        """`(channel, sample)` in, the `(channel, frame, bin)` that it completes out (perhaps no frame)."""
        self._n_samples += block.shape[1]
        self._held = np.concatenate([self._held, block], axis=1)
        return self._take(max(0, (self._held.shape[1] - self.grid.n_fft) // self.grid.hop + 1))

    def finish(self) -> Spectrum:
        """The frames that reach behind the last sample."""
        left = self.grid.n_frames(self._n_samples) - self._n_frames
        need = (left - 1) * self.grid.hop + self.grid.n_fft
        missing = max(0, need - self._held.shape[1])
        self._held = np.pad(self._held, ((0, 0), (0, missing)))
        return self._take(left)

    def _take(self, n: int) -> Spectrum:
        grid = self.grid
        if n <= 0:
            return np.zeros((self._held.shape[0], 0, grid.n_bins), np.complex64)
        frames = np.lib.stride_tricks.sliding_window_view(self._held, grid.n_fft, axis=1)[:, : n * grid.hop : grid.hop]
        spectrum = cast(Spectrum, np.fft.rfft(frames[:, :n] * hann(grid.n_fft)))
        self._held = self._held[:, n * grid.hop :]
        self._n_frames += n
        return spectrum


class Synthesis:
    """Frames to samples: the reverse of `Analysis`."""

    def __init__(self, grid: Grid, channels: int, n_samples: int) -> None:
        self.grid = grid
        self._left = n_samples
        self._sum = np.zeros((channels, grid.n_fft), np.float32)
        self._norm = np.zeros(grid.n_fft, np.float32)
        self._skip = grid.n_fft // 2

    def push(self, spectrum: Spectrum) -> Samples:
        """`(channel, frame, bin)` in, the `(channel, sample)` that no later frame can change out."""
        grid, n = self.grid, spectrum.shape[1]
        if n == 0:
            return np.zeros((self._sum.shape[0], 0), np.float32)
        window = hann(grid.n_fft)
        frames = np.fft.irfft(spectrum, grid.n_fft) * window
        starts = range(0, grid.n_fft, grid.hop)
        total = (n - 1 + len(starts)) * grid.hop
        grow = total - self._sum.shape[1]
        self._sum = np.pad(self._sum, ((0, 0), (0, grow)))
        self._norm = np.pad(self._norm, (0, grow))
        square = window * window
        # Part by part instead of frame by frame; the last parts first, so that earlier frames are added earlier.
        for low in reversed(starts):
            high = min(low + grid.hop, grid.n_fft)
            at = slice(low, low + n * grid.hop)
            self._sum[:, at].reshape(-1, n, grid.hop)[..., : high - low] += frames[:, :, low:high]
            self._norm[at].reshape(n, grid.hop)[:, : high - low] += square[low:high]
        done = n * grid.hop
        out = cast(Samples, self._sum[:, :done] / np.maximum(self._norm[:done], _TINY))
        self._sum, self._norm = self._sum[:, done:], self._norm[done:]
        return self._trim(out)

    def finish(self) -> Samples:
        """What is left behind the last frame's hop, up to the signal's length."""
        return self._trim(cast(Samples, self._sum / np.maximum(self._norm, _TINY)))

    def _trim(self, out: Samples) -> Samples:
        skipped = min(self._skip, out.shape[1])
        out = out[:, skipped : skipped + self._left]
        self._skip -= skipped
        self._left -= out.shape[1]
        return np.ascontiguousarray(out, np.float32)


def _is_smooth(n: int) -> bool:
    for prime in _SMOOTH_PRIMES:
        while n % prime == 0:
            n //= prime
    return n == 1
