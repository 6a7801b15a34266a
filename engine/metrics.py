"""How good a stem is, in dB: numbers on arrays of (channel, sample), all channels taken together.

Definitions: SI-SDR as in Le Roux, Wisdom, Erdogan and Hershey, "SDR - half-baked or well done?" (2019), without
removing the mean; SDR as the plain energy ratio of the reference to the error (the 2021 Music Demixing Challenge's).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.floating]


def si_sdr_db(estimate: Audio, reference: Audio) -> float:
    """Scale-invariant SDR: how much of `estimate` is `reference` at whatever level, in dB. Higher is better.

    `inf` for an estimate that is the reference at some level, `-inf` for one that shares nothing with it. Raises
    `ValueError` for unlike shapes and for a silent reference, where it has no meaning.
    """
    found, wanted = _pair(estimate, reference)
    share = float(found @ wanted) / float(wanted @ wanted)
    kept = share * wanted
    return _ratio_db(kept, found - kept)


def sdr_db(estimate: Audio, reference: Audio) -> float:
    """Energy of `reference` over the energy of `estimate - reference`, in dB. The level counts. Higher is better.

    Raises `ValueError` for unlike shapes and for a silent reference.
    """
    found, wanted = _pair(estimate, reference)
    return _ratio_db(wanted, found - wanted)


def null_db(target: Audio, residual: Audio, mixture: Audio) -> float:
    """Peak of `target + residual - mixture` in dBFS; `-inf` when they sum exactly. Lower is better.

    Raises `ValueError` for unlike shapes.
    """
    if not target.shape == residual.shape == mixture.shape:
        raise ValueError(f"shapes differ: {target.shape}, {residual.shape}, {mixture.shape}")
    error = target.astype(np.float64) + residual - mixture
    peak = float(np.max(np.abs(error), initial=0.0))
    return 20 * float(np.log10(peak)) if peak > 0 else -np.inf


def _pair(estimate: Audio, reference: Audio) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if estimate.shape != reference.shape:
        raise ValueError(f"shapes differ: {estimate.shape} and {reference.shape}")
    found, wanted = estimate.astype(np.float64).ravel(), reference.astype(np.float64).ravel()
    if not wanted.any():
        raise ValueError("the reference is silent: a ratio to it has no meaning")
    return found, wanted


def _ratio_db(kept: NDArray[np.float64], error: NDArray[np.float64]) -> float:
    signal, noise = float(kept @ kept), float(error @ error)
    if signal == 0:
        return -np.inf
    return 10 * float(np.log10(signal / noise)) if noise > 0 else np.inf
