"""A model's masks laid on the original: every channel, the original rate, the sample count unchanged.

Models answer with soft masks of the target on their own time-frequency grid. Here a mask is carried to a grid of the
original rate and applied to the original channels, so width, phase and what lies above the model's band stay those of
the mixture, and the target cannot hold what the mixture does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from engine.audio import Samples
from engine.stft import Analysis, Grid, Spectrum, Synthesis

Mask = npt.NDArray[np.float32]
"""`(channel, frame, bin)`, 0 to 1; one channel serves all of the mixture's."""


class Regrid:
    """Masks of one grid carried to another by linear interpolation in time and frequency.

    Push blocks in order, then `finish`; every frame of the new grid comes out once, in order.
    """

    def __init__(self, old: Grid, new: Grid, n_samples: int) -> None:
        self._same = old == new
        self._left = new.n_frames(n_samples)
        self._done = 0
        self._held: Mask | None = None
        self._first = 0
        self._frames_per_frame = new.hop / new.sample_rate * old.sample_rate / old.hop
        place = np.arange(new.n_bins) * (new.sample_rate / new.n_fft) * (old.n_fft / old.sample_rate)
        place = np.minimum(place, old.n_bins - 1)
        self._low_bin = np.minimum(place.astype(np.intp), old.n_bins - 2)
        self._bin_weight = (place - self._low_bin).astype(np.float32)

    def push(self, mask: Mask) -> Mask:
        """`(channel, frame, bin)` of the old grid in, the frames of the new grid that it completes out."""
        if self._same:
            out = mask[:, : self._left]
            self._left -= out.shape[1]
            return out
        self._held = mask if self._held is None else np.concatenate([self._held, mask], axis=1)
        last = self._first + self._held.shape[1] - 1
        ready = int(last / self._frames_per_frame) - self._done + 1
        return self._take(min(ready, self._left))

    def finish(self) -> Mask:
        """The frames behind the last old one, which hold its value."""
        if self._held is None:
            return np.zeros((1, 0, len(self._low_bin)), np.float32)
        return self._take(self._left)

    def _take(self, n: int) -> Mask:
        assert self._held is not None
        place = (self._done + np.arange(n)) * self._frames_per_frame - self._first
        low = np.minimum(place.astype(np.intp), self._held.shape[1] - 1)
        high = np.minimum(low + 1, self._held.shape[1] - 1)
        weight = np.minimum(place - low, 1).astype(np.float32)[None, :, None]
        frames = self._held[:, low] * (1 - weight) + self._held[:, high] * weight
        out: Mask = frames[..., self._low_bin] * (1 - self._bin_weight)
        out += frames[..., self._low_bin + 1] * self._bin_weight
        self._done += n
        self._left -= n
        spent = min(int(self._done * self._frames_per_frame) - self._first, self._held.shape[1] - 1)
        if spent > 0:
            self._held, self._first = self._held[:, spent:], self._first + spent
        return out


def project(
    masks: Iterable[Mask], blocks: Iterable[Samples], model_grid: Grid, sample_rate: int, channels: int, n_samples: int
) -> Iterator[tuple[Samples, Samples]]:
    """Apply a stream of masks to the original's blocks; yield `(mixture, target)` blocks of equal length.

    `masks` are consecutive `(1 or channels, frame, bin)` blocks on `model_grid`; `blocks` are consecutive
    `(channel, sample)` blocks, `n_samples` in all, at `sample_rate`. Memory is that of a few blocks.
    """
    grid = model_grid.at_rate(sample_rate)
    regrid, analysis, synthesis = Regrid(model_grid, grid, n_samples), Analysis(grid, channels), None
    synthesis = Synthesis(grid, channels, n_samples)
    source = iter(blocks)
    frames: list[Spectrum] = []
    mixture: list[Samples] = []
    ended = False

    def spectrum(n: int) -> Spectrum:
        nonlocal ended, frames
        while sum(f.shape[1] for f in frames) < n and not ended:
            block = next(source, None)
            if block is None:
                frames.append(analysis.finish())
                ended = True
            else:
                mixture.append(block)
                frames.append(analysis.push(block))
        whole = np.concatenate(frames, axis=1)
        frames = [whole[:, n:]]
        return whole[:, :n]

    def matching(n: int) -> Samples:
        whole = np.concatenate(mixture, axis=1)
        mixture[:] = [whole[:, n:]]
        return whole[:, :n]

    def emit(gains: Mask) -> Iterator[tuple[Samples, Samples]]:
        if gains.shape[1]:
            target = synthesis.push(spectrum(gains.shape[1]) * gains)
            if target.shape[1]:
                yield matching(target.shape[1]), target

    for mask in masks:
        yield from emit(regrid.push(mask))
    yield from emit(regrid.finish())
    target = synthesis.finish()
    if target.shape[1]:
        yield matching(target.shape[1]), target
