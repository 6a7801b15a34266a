"""What a model is compared with: a fixed band, the harmonic or percussive part, and the ideal ratio mask as ceiling."""

from __future__ import annotations

import re
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.audio import Samples
from engine.stereo import Mask
from engine.stft import Analysis, Grid, Spectrum, Synthesis

Real = npt.NDArray[np.float32]
GRID: Final = Grid(44_100, 4_096, 1_024)
OUTSIDE: Final = 0.05
"""Share of a source's energy left outside its band on each side."""
MEDIAN: Final = 17
"""Frames or bins, of harmonic-percussive separation."""
_PERCUSSIVE: Final = re.compile(r"drum|kick|snare|hi.?hat|percussion|cymbal|clap|tom\b|toms\b|shaker|tambourine|beat")
_CHUNK_FRAMES: Final = 256


def spectrum(audio: Samples, grid: Grid) -> Spectrum:
    """`(channel, sample)` → `(channel, frame, bin)`."""
    analysis = Analysis(grid, len(audio))
    return np.concatenate([analysis.push(audio), analysis.finish()], axis=1)


def signal(frames: Spectrum, grid: Grid, n_samples: int) -> Samples:
    """The reverse of `spectrum`."""
    synthesis = Synthesis(grid, len(frames), n_samples)
    return np.concatenate([synthesis.push(frames.astype(np.complex64)), synthesis.finish()], axis=1)


def band_of(power: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """The bins that hold all but `OUTSIDE` of the energy on each side; `power` is `(bin,)` and not silent."""
    share = np.cumsum(power) / np.sum(power)
    inside: npt.NDArray[np.bool_] = (share > OUTSIDE) & (share < 1 - OUTSIDE)
    return inside


def ideal_ratio(target: Spectrum, mixture: Spectrum) -> Mask:
    """The Wiener-like mask of the true stems, bin by bin."""
    rest = mixture - target
    wanted, other = target.real**2 + target.imag**2, rest.real**2 + rest.imag**2
    mask: Mask = wanted / (wanted + other + np.float32(1e-10))
    return mask


def is_percussive(prompt: str) -> bool:
    """Whether a prompt names something that is struck."""
    return _PERCUSSIVE.search(prompt.lower()) is not None


def harmonic_percussive(mixture: Spectrum) -> tuple[Mask, Mask]:
    """Masks of what lasts and of what strikes: medians of 17 frames and of 17 bins, squared (Fitzgerald, 2010)."""
    level = np.abs(mixture).mean(axis=0)
    lasts, strikes = _median(level.T).T ** 2, _median(level) ** 2
    both = np.broadcast_to((lasts / (lasts + strikes + 1e-12)).astype(np.float32), mixture.shape)
    return both, 1 - both


def _median(magnitude: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """The running median along the last axis, in the memory of a few rows."""
    half = MEDIAN // 2
    padded = np.pad(magnitude, ((0, 0), (half, half)), mode="symmetric")
    parts = [
        np.median(np.lib.stride_tricks.sliding_window_view(padded[at : at + _CHUNK_FRAMES], MEDIAN, axis=1), axis=2)
        for at in range(0, len(padded), _CHUNK_FRAMES)
    ]
    return np.concatenate(parts)
