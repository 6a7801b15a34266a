"""Distances between what was made and what was wanted, on arrays of (channel, sample).

All take the signals as they are; those of `engine.metrics` (SI-SDR, SDR, null) complete them.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.audio import Samples
from engine.flow.scoring import BLOCK_S, activity
from engine.stft import Analysis, Grid

_RESOLUTIONS: Final = (512, 1_024, 2_048)
"""Samples; each with a hop of a quarter."""
_TINY: Final = 1e-12
_FLOOR: Final = 1e-4
"""Of the loudest magnitude, -80 dB: what is below it is as good as silent."""
N_MELS: Final = 80
LOG_WMSE_BEST: Final = 73.68
"""What no error at all gets: -4 ln 1e-8."""


def mr_stft(estimate: Samples, reference: Samples) -> float:
    """Multi-resolution STFT distance: spectral convergence and mean absolute log magnitude, over three resolutions.

    After Yamamoto, Song and Kim, "Parallel WaveGAN" (2020), with Hann windows of whole length and magnitudes floored
    80 dB below the reference's loudest. 0 for equal signals; `inf` for a silent reference. Lower is better.
    """
    if not reference.any():
        return 0.0 if not estimate.any() else np.inf
    found = []
    for n_fft in _RESOLUTIONS:
        made, wanted = (_magnitudes(signal, n_fft) for signal in (estimate, reference))
        floor = _FLOOR * float(wanted.max())
        convergence = np.linalg.norm(made - wanted) / np.linalg.norm(wanted)
        logs = np.abs(np.log(np.maximum(made, floor)) - np.log(np.maximum(wanted, floor))).mean()
        found.append(float(convergence + logs))
    return float(np.mean(found))


def log_mel_db(estimate: Samples, reference: Samples, sample_rate: int) -> float:
    """Mean absolute difference of 80-band mel spectra in dB, floored 80 dB below the reference's loudest band. 0 for
    equal signals. Lower is better."""
    bands = _mel_bands(sample_rate, 2_048)
    made, wanted = (_magnitudes(signal, 2_048) ** 2 @ bands for signal in (estimate, reference))
    floor = max(_FLOOR**2 * float(wanted.max()), _TINY)
    return float(np.abs(10 * np.log10(np.maximum(made, floor) / np.maximum(wanted, floor))).mean())


def log_wmse(estimate: Samples, reference: Samples, mixture: Samples, sample_rate: int) -> float:
    """Log of the mean squared error as the ear weighs it, relative to the mixture's level: -4 ln(error + 1e-8).

    Has a meaning for silent references too. After nomonosound's log-WMSE, with the A-weighting of IEC 61672 in place
    of its own filter: good for comparisons here, not with figures from elsewhere. 73.7 for no error. Higher is better.
    """
    level = float(np.square(_a_weighted(mixture, sample_rate)).mean())
    error = float(np.square(_a_weighted(estimate - reference, sample_rate)).mean())
    return float(-4 * np.log(error / max(level, _TINY) + 1e-8))


def span_iou(estimate: Samples, reference: Samples, sample_rate: int) -> float:
    """Intersection over union of the stretches where both sound (blocks of 0.25 s, within 40 dB of the loudest)."""
    made, wanted = (activity(signal.mean(axis=0), sample_rate) for signal in (estimate, reference))
    union = (made | wanted).sum()
    return float((made & wanted).sum() / union) if union else 1.0


def leakage_db(estimate: Samples, reference: Samples, mixture: Samples, sample_rate: int) -> float | None:
    """Level of what comes out where the reference is silent, over the mixture there; None where it never is, or
    nothing else sounds then. `-inf` for silence. Lower is better."""
    size = round(BLOCK_S * sample_rate)
    n = reference.shape[1] // size * size
    silent = ~activity(reference.mean(axis=0)[:n], sample_rate)
    out, heard = (
        float(np.square(signal[:, :n], dtype=np.float64).reshape(len(signal), -1, size)[:, silent].sum())
        for signal in (estimate, mixture)
    )
    if heard < _TINY:
        return None
    return float(10 * np.log10(out / heard)) if out > 0 else -np.inf


def sounding_runs(signal: Samples, sample_rate: int, least_s: float = 0.5) -> list[tuple[float, float]]:
    """The stretches, in seconds, where a signal sounds."""
    flags = activity(signal.mean(axis=0), sample_rate).astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags, [0]]))).reshape(-1, 2)
    runs = [(start * BLOCK_S, min(end * BLOCK_S, signal.shape[1] / sample_rate)) for start, end in edges]
    return [(start, end) for start, end in runs if end - start >= least_s]


def _magnitudes(signal: Samples, n_fft: int) -> npt.NDArray[np.float64]:
    """`(channel, frame, bin)`"""
    analysis = Analysis(Grid(48_000, n_fft, n_fft // 4), len(signal))  # the rate plays no part
    return np.asarray(np.abs(np.concatenate([analysis.push(signal), analysis.finish()], axis=1)), np.float64)


def _a_weighted(signal: Samples, sample_rate: int) -> npt.NDArray[np.float64]:
    spectrum = np.fft.rfft(signal.astype(np.float64), axis=1)
    square = np.fft.rfftfreq(signal.shape[1], 1 / sample_rate) ** 2
    above = (12_194.0**2 * square**2) / ((square + 20.6**2) * (square + 12_194.0**2))
    weight = 1.2589 * above / np.sqrt((square + 107.7**2) * (square + 737.9**2))
    return np.asarray(np.fft.irfft(spectrum * weight, signal.shape[1], axis=1), np.float64)


@cache
def _mel_bands(sample_rate: int, n_fft: int) -> npt.NDArray[np.float64]:
    """`(bin, band)`: triangles on the mel scale, from 0 Hz to the Nyquist frequency."""
    edges_mel = np.linspace(0, 2595 * np.log10(1 + sample_rate / 2 / 700), N_MELS + 2)
    edges_hz = 700 * (10 ** (edges_mel / 2595) - 1)
    hz = np.arange(n_fft // 2 + 1)[:, None] * sample_rate / n_fft
    low, middle, high = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    bands = np.maximum(0, np.minimum((hz - low) / (middle - low), (high - hz) / (high - middle)))
    return np.asarray(bands, np.float64)
