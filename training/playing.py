"""What hands and producers do to a stem in time: vibrato and drift, a second take, echoes, ducking by the beat."""

from __future__ import annotations

from typing import Final

import numpy as np

from training.synthesis import RATE_HZ, Mono

_KNOTS_S: Final = 1.0
_ECHO_BEATS: Final = (0.5, 0.75, 1.0, 1.5)


def waver(stem: Mono, rng: np.random.Generator, *, drift_ms: float = 2.0, cents: float = 15.0) -> Mono:
    """The stem played a little too early or late, `drift_ms` at most, and with a vibrato of `cents` that comes and
    goes. As long as before."""
    n = len(stem)
    n_knots = max(4, int(n / RATE_HZ / _KNOTS_S))
    t = np.arange(n) / RATE_HZ
    knots = np.linspace(0, n - 1, n_knots)
    early_s = np.interp(np.arange(n), knots, rng.uniform(-drift_ms, drift_ms, n_knots)) / 1000
    hz = float(rng.uniform(4.5, 7))
    # A delay of a·sin(2π·f·t) bends the pitch by 2π·f·a at most.
    depth_s = (2 ** (cents / 1200) - 1) / (2 * np.pi * hz)
    spots = np.linspace(0, n - 1, 3 * n_knots)
    comes = np.interp(np.arange(n), spots, rng.random(len(spots)) * (rng.random(len(spots)) < 0.6))
    at = np.clip((t + early_s + depth_s * comes * np.sin(2 * np.pi * hz * t)) * RATE_HZ, 0, n - 1.001)
    left = at.astype(np.intp)
    share = (at - left).astype(np.float32)
    return np.asarray(stem[left] * (1 - share) + stem[left + 1] * share, np.float32)


def echo(stem: Mono, beat_s: float, rng: np.random.Generator) -> Mono:
    """Repeats a note's worth of time later, each duller and quieter than the one before."""
    lag = int(beat_s * float(rng.choice(_ECHO_BEATS)) * RATE_HZ)
    again, dull = float(rng.uniform(0.15, 0.5)), int(rng.integers(1, 12))
    out, repeat = stem.copy(), stem
    kernel = np.full(dull, 1 / dull, np.float32)
    for _ in range(4):
        if lag >= len(stem):
            break
        repeat = np.convolve(np.pad(repeat, (lag, 0))[: len(stem)], kernel)[: len(stem)].astype(np.float32) * again
        out += repeat
    return out


def duck(stem: Mono, beat_s: float, rng: np.random.Generator) -> Mono:
    """Turned down at every beat, as by a compressor that listens to the kick, or chopped at every half or quarter."""
    period_s = beat_s * float(rng.choice([1, 1, 0.5, 0.25]))
    depth, back = float(rng.uniform(0.4, 0.95)), float(rng.uniform(0.3, 0.8))
    phase = np.arange(len(stem)) / RATE_HZ / period_s % 1.0
    # Down within a fiftieth of the period and slowly up again.
    shape = np.minimum(phase / back, 1) ** 1.5 + np.clip(1 - phase / 0.02, 0, 1)
    return np.asarray(stem * (1 - depth + depth * np.minimum(shape, 1)), np.float32)
