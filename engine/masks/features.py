"""What a prompted model hears: the level of each band, where it lies between the speakers, how alike both sides are."""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.masks.bands import Real, to_bands
from engine.stft import Spectrum

FLOOR: Final = np.float32(1e-6)
"""Added to powers; about −100 dBFS for a band of one bin and a window of 4096."""


def features_of(spectrum: Spectrum, edges: tuple[int, ...]) -> tuple[Real, Real]:
    """(2, frame, bin) of left and right in; (3, band, frame) features and (2, frame, band) powers out.

    Features: the mean power of a bin in the band, log10, scaled to about −2 … 2; the balance, left − right over both;
    the likeness, real cross-power over mean power.
    """
    left, right = spectrum[0], spectrum[1]
    power = to_bands(spectrum.real**2 + spectrum.imag**2, edges)
    cross = to_bands(left.real * right.real + left.imag * right.imag, edges)
    both = power[0] + power[1]
    widths = np.diff(np.asarray(edges)).astype(np.float32)
    level = (np.log10(both / widths + FLOOR) + 1) / 2
    balance = (power[0] - power[1]) / (both + FLOOR)
    likeness = 2 * cross / (both + FLOOR)
    return np.stack([level.T, balance.T, likeness.T]).astype(np.float32), power.astype(np.float32)
