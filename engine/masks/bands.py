"""Bands of a spectrum: single bins at the bottom, where harmonics must be told apart, wider and wider above.

A prompted model hears the power in each band and answers with one gain a band; both directions are here.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

Real = npt.NDArray[np.float32]


@cache
def band_edges(n_bins: int, n_bands: int) -> tuple[int, ...]:
    """First bin of each band, and behind them `n_bins`: linear up to a knee, logarithmic above, smooth between.

    Raises `ValueError` unless 8 <= n_bands <= n_bins.
    """
    if not 8 <= n_bands <= n_bins:
        raise ValueError(f"no {n_bands} bands of {n_bins} bins")

    def last(knee: float) -> float:
        return knee * math.exp(n_bands / knee - 1)

    low, high = n_bands / 50, float(n_bands)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if last(middle) > n_bins else (low, middle)
    edges = [0]
    for band in range(1, n_bands):
        place = band if band <= low else low * math.exp(band / low - 1)
        edges.append(min(max(round(place), edges[-1] + 1), n_bins - n_bands + band))
    return (*edges, n_bins)


def to_bands(bins: npt.NDArray[Any], edges: tuple[int, ...]) -> Real:
    """Sum `(..., bin)` to `(..., band)`."""
    summed: Real = np.add.reduceat(bins, edges[:-1], axis=-1)
    return summed


def to_bins(bands: Real, edges: tuple[int, ...]) -> Real:
    """`(..., band)` to `(..., bin)`, linear between the bands' centres."""
    low, weight = _between(edges)
    steps = np.take(np.diff(bands, axis=-1, append=bands[..., -1:]), low, axis=-1)
    steps *= weight
    steps += np.take(bands, low, axis=-1)
    return steps


@cache
def _between(edges: tuple[int, ...]) -> tuple[npt.NDArray[np.intp], Real]:
    """For each bin, the band centre at or below it and how far it lies towards the next."""
    borders = np.asarray(edges, np.float64)
    centres = (borders[:-1] + borders[1:] - 1) / 2
    bins = np.clip(np.arange(edges[-1]), centres[0], centres[-1])
    low = np.clip(np.searchsorted(centres, bins, side="right") - 1, 0, len(centres) - 1)
    ends = np.append(centres, centres[-1] + 1)
    weight = (bins - ends[low]) / (ends[low + 1] - ends[low])
    return low.astype(np.intp), weight.astype(np.float32)
