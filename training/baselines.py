"""What the model is compared with: band-passes, harmonic and percussive parts, and the ideal ratio mask as ceiling."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.masks.bands import Real, to_bands
from engine.quality.baselines import band_of
from engine.quality.baselines import harmonic_percussive as harmonic_percussive
from engine.quality.baselines import ideal_ratio as ideal_ratio
from engine.stereo import Mask
from engine.stft import Spectrum
from training.excerpts import Bank
from training.mixing import EDGES, stft
from training.phrases import concepts


def bandpasses(bank: Path, n_songs: int = 600) -> dict[str, Real]:
    """Concept → gains of 0 or 1 for every bin: the band that holds 90 % of the energy of its training stems.

    Of `n_songs` from all over the bank: of its first 120 the band of a rare source was a matter of luck.
    """
    spectra: dict[str, Real] = {}
    songs = Bank(bank).songs
    for song in songs[:: max(1, len(songs) // n_songs)][:n_songs]:
        for i, label in enumerate(song.labels):
            stem = song.read(i, 0, 4 * 44100).astype(np.float32) * np.float32(1 / 32768)
            power = (np.abs(stft(stem[None])[0]) ** 2).mean(axis=0)
            if power.sum() > 0:
                spectra[label] = spectra.get(label, np.zeros_like(power)) + power / power.sum()
    found = {}
    for concept in concepts().values():
        known = [spectra[name] for name in concept.covers if name in spectra]
        if known:
            found[concept.name] = band_of(np.sum(known, axis=0)).astype(np.float32)
    return found


def ideal_banded(target: Spectrum, mixture: Spectrum) -> Mask:
    """The best gain of each of the model's bands in each frame: its own ceiling."""
    product = to_bands(target.real * mixture.real + target.imag * mixture.imag, EDGES)
    power = to_bands(mixture.real**2 + mixture.imag**2, EDGES)
    bands = np.clip(product / (power + 1e-9), 0, 1)
    return np.repeat(bands, np.diff(EDGES), axis=-1)
