"""Drum sounds made by arithmetic: every kit is another one.

Drums are what they are made of: a membrane is a few decaying sines whose pitch falls as the blow lets go, wires and
plates are noise through resonances, metal is many partials that are no multiples of each other. The partials of a
circular membrane are Bessel's: 1, 1.593, 2.135, 2.295, 2.653 (Fletcher and Rossing, *The Physics of Musical
Instruments*, table 3.1).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import signal

from training.synthesis import RATE_HZ, Mono

_MEMBRANE: Final = (1.0, 1.593, 2.135, 2.295, 2.653)


def make(part: str, rng: np.random.Generator) -> Mono:
    """One blow on a part of a kit, peak 0.7: `(sample,)` at 44.1 kHz. Parts are those of `sources.DRUM_PARTS`."""
    blows = {
        "kick": _kick, "snare": _snare, "hihat": _hihat, "cymbals": _cymbal,
        "toms": _tom, "percussion": _percussion, "claps": _clap,
    }  # fmt: skip
    blow = blows[part](rng)
    blow = np.tanh(blow / max(float(np.abs(blow).max()), 1e-9) * rng.uniform(0.5, 2.5))
    fade = min(len(blow), 1500)
    blow[-fade:] *= np.linspace(1, 0, fade)
    return np.asarray(blow / max(float(np.abs(blow).max()), 1e-9) * 0.7, np.float32)


def _times(length_s: float) -> np.ndarray:
    return np.arange(int(length_s * RATE_HZ)) / RATE_HZ


def _noise(t: np.ndarray, low_hz: float, high_hz: float, rng: np.random.Generator) -> np.ndarray:
    sos = signal.butter(2, [low_hz, min(high_hz, 0.45 * RATE_HZ)], "band", fs=RATE_HZ, output="sos")
    return np.asarray(signal.sosfilt(sos, rng.normal(0, 1, len(t))))


def _membrane(
    t: np.ndarray, hz: float, fall: float, fall_s: float, ring_s: float, rng: np.random.Generator
) -> np.ndarray:
    """Partials of a skin; its pitch begins higher by `fall` octaves."""
    bend = 2 ** (fall * np.exp(-t / fall_s))
    out = np.zeros(len(t))
    for ratio in _MEMBRANE:
        level = 1.0 if ratio == 1 else rng.uniform(0, 0.4)
        turn = 2 * np.pi * np.cumsum(hz * ratio * (1 + rng.normal(0, 0.01)) * bend) / RATE_HZ
        out += level * np.sin(turn + rng.uniform(0, 0.5)) * np.exp(-t / (ring_s / ratio))
    return out


def _metal(t: np.ndarray, low_hz: float, high_hz: float, n: int, ring_s: float, rng: np.random.Generator) -> np.ndarray:
    """Inharmonic partials, the high ones gone first, with a wash of noise."""
    out = np.zeros(len(t))
    for hz in np.exp(rng.uniform(np.log(low_hz), np.log(high_hz), n)):
        decay_s = ring_s * (low_hz / hz) ** rng.uniform(0.1, 0.5)
        out += rng.normal(0, 1) * np.sin(2 * np.pi * hz * t + rng.uniform(0, 6.3)) * np.exp(-t / decay_s)
    wash = _noise(t, min(low_hz * rng.uniform(1, 3), high_hz / 2), high_hz, rng) * np.exp(
        -t / (ring_s * rng.uniform(0.4, 0.9))
    )
    return np.asarray(out / np.sqrt(n) + wash * rng.uniform(0.3, 2.5))


def _kick(rng: np.random.Generator) -> np.ndarray:
    t = _times(rng.uniform(0.25, 0.8))
    ring_s = rng.uniform(0.06, 0.3)
    body = _membrane(t, rng.uniform(38, 75), rng.uniform(0.3, 2.5), rng.uniform(0.008, 0.05), ring_s, rng)
    click = _noise(t, rng.uniform(800, 2500), rng.uniform(4000, 10000), rng) * np.exp(-t / rng.uniform(0.002, 0.01))
    return body + click * rng.uniform(0, 0.6)


def _snare(rng: np.random.Generator) -> np.ndarray:
    t = _times(rng.uniform(0.2, 0.6))
    body = _membrane(
        t, rng.uniform(140, 280), rng.uniform(0.1, 0.8), rng.uniform(0.01, 0.03), rng.uniform(0.03, 0.15), rng
    )
    late = 1 - np.exp(-t / rng.uniform(0.0005, 0.004))
    wires = (
        _noise(t, rng.uniform(900, 3000), rng.uniform(7000, 16000), rng) * np.exp(-t / rng.uniform(0.04, 0.2)) * late
    )
    return np.asarray(body * rng.uniform(0.3, 1.2) + wires * rng.uniform(0.4, 1.5))


def _hihat(rng: np.random.Generator) -> np.ndarray:
    is_open = rng.random() < 0.3
    ring_s = rng.uniform(0.15, 0.6) if is_open else rng.uniform(0.015, 0.07)
    t = _times(ring_s * 5)
    metal = _metal(t, rng.uniform(2000, 5000), rng.uniform(11000, 18000), int(rng.integers(8, 40)), ring_s, rng)
    sos = signal.butter(2, rng.uniform(2500, 7000), "high", fs=RATE_HZ, output="sos")
    return np.asarray(signal.sosfilt(sos, metal))


def _cymbal(rng: np.random.Generator) -> np.ndarray:
    t = _times(rng.uniform(1.5, 3.5))
    crash = _metal(
        t, rng.uniform(300, 1200), rng.uniform(10000, 18000), int(rng.integers(25, 80)), rng.uniform(0.4, 1.4), rng
    )
    swell = 1 - np.exp(-t / rng.uniform(0.0005, 0.02))
    sos = signal.butter(2, rng.uniform(300, 2500), "high", fs=RATE_HZ, output="sos")
    out = signal.sosfilt(sos, crash * swell)
    if rng.random() < 0.4:  # a ride: the stick is heard
        out += _metal(t, rng.uniform(2500, 5000), 12000, 8, 0.08, rng) * rng.uniform(0.5, 2)
    return np.asarray(out)


def _tom(rng: np.random.Generator) -> np.ndarray:
    t = _times(rng.uniform(0.4, 1.2))
    body = _membrane(t, rng.uniform(70, 220), rng.uniform(0.1, 0.8), rng.uniform(0.02, 0.1), rng.uniform(0.1, 0.4), rng)
    stick = _noise(t, rng.uniform(500, 2000), rng.uniform(3000, 8000), rng) * np.exp(-t / rng.uniform(0.003, 0.02))
    return body + stick * rng.uniform(0, 0.4)


def _percussion(rng: np.random.Generator) -> np.ndarray:
    kind = int(rng.integers(4))
    if kind == 0:  # a hand drum
        t = _times(rng.uniform(0.15, 0.5))
        return _membrane(t, rng.uniform(180, 500), rng.uniform(0, 0.4), 0.02, rng.uniform(0.04, 0.2), rng)
    if kind == 1:  # a shaker
        t = _times(rng.uniform(0.06, 0.2))
        grain = _noise(t, rng.uniform(3000, 6000), rng.uniform(9000, 16000), rng)
        return np.asarray(grain * np.sin(np.pi * np.minimum(t / t[-1], 1 - 1e-9)) ** rng.uniform(0.5, 3))
    if kind == 2:  # wood: two or three short partials
        t = _times(0.2)
        hz, ring_s = rng.uniform(500, 2500), rng.uniform(0.008, 0.03)
        tones = [np.sin(2 * np.pi * hz * ratio * t) for ratio in (1, rng.uniform(1.3, 2), rng.uniform(2.2, 3.5))]
        return np.asarray(sum(tones) * np.exp(-t / ring_s))
    t = _times(rng.uniform(0.3, 1.2))  # a bell, a triangle, a tambourine
    return _metal(
        t, rng.uniform(500, 4000), rng.uniform(6000, 15000), int(rng.integers(2, 10)), rng.uniform(0.05, 0.4), rng
    )


def _clap(rng: np.random.Generator) -> np.ndarray:
    t = _times(0.5)
    gap_s, n = rng.uniform(0.006, 0.014), int(rng.integers(2, 6))
    burst = np.zeros(len(t))
    for i in range(n):
        late = t - i * gap_s * rng.uniform(0.8, 1.2)
        burst += np.where(
            late >= 0, np.exp(-np.maximum(late, 0) / (0.004 if i < n - 1 else rng.uniform(0.03, 0.12))), 0
        )
    return _noise(t, rng.uniform(500, 1100), rng.uniform(2500, 7000), rng) * burst
