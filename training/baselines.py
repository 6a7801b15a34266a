"""What the model is compared with: band-passes, harmonic and percussive parts, and the ideal ratio mask as ceiling."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from engine.masks.bands import Real, to_bands
from engine.stereo import Mask
from engine.stft import Spectrum
from training.mixing import EDGES, Bank, stft
from training.phrases import concepts

_OUTSIDE: Final = 0.05
"""Share of a concept's energy left outside its band on each side."""
_MEDIAN: Final = 17


def bandpasses(bank: Path, n_songs: int = 120) -> dict[str, Real]:
    """Concept → gains of 0 or 1 for every bin: the band that holds 90 % of the energy of its training stems."""
    spectra: dict[str, Real] = {}
    for path, labels in Bank(bank).songs[:n_songs]:
        data = np.load(path, mmap_mode="r")
        for i, label in enumerate(labels):
            stem = data[i, : 4 * 44100].astype(np.float32) / 32768
            power = (np.abs(stft(stem[None])[0]) ** 2).mean(axis=0)
            if power.sum() > 0:
                spectra[label] = spectra.get(label, np.zeros_like(power)) + power / power.sum()
    found = {}
    for concept in concepts().values():
        known = [spectra[name] for name in concept.covers if name in spectra]
        if known:
            share = np.cumsum(sum(known)) / np.sum(known)
            found[concept.name] = ((share > _OUTSIDE) & (share < 1 - _OUTSIDE)).astype(np.float32)
    return found


def harmonic_percussive(mixture: Spectrum) -> tuple[Mask, Mask]:
    """Masks of what lasts and of what strikes: medians of 17 frames and of 17 bins, squared (Fitzgerald, 2010)."""
    from scipy.ndimage import median_filter

    level = np.abs(mixture).mean(axis=0)
    lasts, strikes = median_filter(level, (_MEDIAN, 1)) ** 2, median_filter(level, (1, _MEDIAN)) ** 2
    mask = (lasts / (lasts + strikes + 1e-12)).astype(np.float32)
    both = np.broadcast_to(mask, mixture.shape)
    return both, 1 - both


def ideal_ratio(target: Spectrum, mixture: Spectrum) -> Mask:
    """The Wiener-like mask of the true stems, bin by bin."""
    rest = mixture - target
    wanted, other = target.real**2 + target.imag**2, rest.real**2 + rest.imag**2
    return wanted / (wanted + other + np.float32(1e-10))


def ideal_banded(target: Spectrum, mixture: Spectrum) -> Mask:
    """The best gain of each of the model's bands in each frame: its own ceiling."""
    product = to_bands(target.real * mixture.real + target.imag * mixture.imag, EDGES)
    power = to_bands(mixture.real**2 + mixture.imag**2, EDGES)
    bands = np.clip(product / (power + 1e-9), 0, 1)
    return np.repeat(bands, np.diff(EDGES), axis=-1)
