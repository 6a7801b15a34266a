"""Own instruments: plucked strings, FM, subtractive, wavetables, a formant singer, noises. Mono at 44.1 kHz."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import signal

from training.notes import Note
from training.wavetables import synthesizer

Mono = npt.NDArray[np.float32]
RATE_HZ: Final = 44100
_VOWELS_HZ: Final = (
    (730, 1090, 2440, 3400), (270, 2290, 3010, 3500), (300, 870, 2240, 3300), (530, 1840, 2480, 3400),
    (570, 840, 2410, 3300), (440, 1020, 2240, 3300), (660, 1720, 2410, 3400), (490, 1350, 1690, 3300),
)  # fmt: skip
"""First four formants of vowels: Peterson and Barney (1952), table II, means of men; the fourth is typical."""


def perform(made: str, notes: Sequence[Note], length_s: float, rng: np.random.Generator) -> Mono:
    """A stem by one of the own instruments."""
    out = np.zeros(int(length_s * RATE_HZ), np.float32)
    voices: dict[str, Callable[[np.random.Generator], Callable[[Note], Mono]]] = {
        "string": _string, "fm": _fm, "subtractive": _subtractive, "singer": _singer, "noise": _noise,
        "wavetable": synthesizer,
    }  # fmt: skip
    voice = voices[made](rng)
    for note in notes:
        tone = voice(note) * (note.velocity / 100) ** 1.5
        start = int(note.start_s * RATE_HZ)
        n = min(len(tone), len(out) - start)
        if n > 0:
            out[start : start + n] += tone[:n]
    return out


def _hz(key: int) -> float:
    return float(440 * 2 ** ((key - 69) / 12))


def _envelope(n: int, attack_s: float, decay_s: float, sustain: float, release_s: float) -> Mono:
    """Attack, exponential decay to `sustain`, release within the last `release_s`."""
    t = np.arange(n) / RATE_HZ
    shape = np.minimum(t / max(attack_s, 1e-4), 1) * (sustain + (1 - sustain) * np.exp(-t / decay_s))
    return (shape * np.clip((n / RATE_HZ - t) / release_s, 0, 1)).astype(np.float32)


def _saw(hz: Mono | float, n: int, start: float = 0.0) -> Mono:
    """A sawtooth with its step smoothed over two samples (polynomial band-limiting)."""
    step = np.broadcast_to(np.asarray(hz, np.float64) / RATE_HZ, (n,))
    phase = (start + np.cumsum(step)) % 1.0
    wave = 2 * phase - 1
    low, high = phase < step, phase > 1 - step
    t = phase[low] / step[low]
    wave[low] -= t + t - t * t - 1
    t = (phase[high] - 1) / step[high]
    wave[high] -= t * t + t + t + 1
    return wave.astype(np.float32)


def _string(rng: np.random.Generator) -> Callable[[Note], Mono]:
    """A plucked string: a delay line with a loss filter, excited by noise that was combed by the plucking point.

    Some are damped by the palm; some are heard by a pickup, which combs them once more.
    """
    pluck, bright, ring = rng.uniform(0.08, 0.4), rng.uniform(0.2, 0.5), rng.uniform(0.9965, 0.9993)
    if rng.random() < 0.25:
        ring = rng.uniform(0.95, 0.99)
    pickup = rng.uniform(0.06, 0.3) if rng.random() < 0.5 else 0.0
    made: dict[int, Mono] = {}

    def tone(note: Note) -> Mono:
        if note.key not in made:
            period = RATE_HZ / _hz(note.key)
            delay, n = int(period - bright), int(RATE_HZ * 2.5)
            fraction = float(np.clip(period - bright - delay, 0.0, 0.99))
            burst = rng.uniform(-1, 1, delay).astype(np.float32)
            burst -= np.roll(burst, int(delay * pluck))
            excite = np.zeros(n, np.float32)
            excite[:delay] = burst
            loop = ring * np.convolve([1 - bright, bright], [1 - fraction, fraction])
            wave = _feedback(excite, delay, loop)
            if lag := int(delay * pickup):
                wave[lag:] -= wave[:-lag].copy()
            made[note.key] = wave
        n = int((note.length_s + 0.15) * RATE_HZ)
        tail = made[note.key][:n].copy()
        fade = min(len(tail), int(0.1 * RATE_HZ))
        tail[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
        return tail * 0.5

    return tone


def _feedback(excite: Mono, delay: int, loop: npt.NDArray[np.float64]) -> Mono:
    """y[n] = x[n] + Σ loop[k] · y[n − delay − k], one period at a time."""
    y = np.concatenate([np.zeros(delay + len(loop)), excite]).astype(np.float64)
    first = delay + len(loop)
    for at in range(first, len(y), delay):
        end = min(at + delay, len(y))
        for k, gain in enumerate(loop):
            y[at:end] += gain * y[at - delay - k : end - delay - k]
    return y[first:].astype(np.float32)


def _fm(rng: np.random.Generator) -> Callable[[Note], Mono]:
    ratio, index = float(rng.choice([1, 2, 3, 3.5, 7, 14, 0.5, 1.41])), rng.uniform(0.5, 5)
    decay_s, attack_s = rng.uniform(0.15, 1.5), rng.uniform(0.001, 0.02)

    def tone(note: Note) -> Mono:
        n = int((note.length_s + 0.3) * RATE_HZ)
        t, hz = np.arange(n) / RATE_HZ, _hz(note.key)
        bend = index * np.exp(-t / decay_s) * np.sin(2 * np.pi * hz * ratio * t)
        return (np.sin(2 * np.pi * hz * t + bend) * _envelope(n, attack_s, decay_s * 2, 0.2, 0.25) * 0.4).astype(
            np.float32
        )

    return tone


def _subtractive(rng: np.random.Generator) -> Callable[[Note], Mono]:
    square, n_voices, detune = rng.random() < 0.4, int(rng.integers(1, 4)), rng.uniform(0.001, 0.012)
    cut, sweep, decay_s = rng.uniform(1.5, 12), rng.uniform(1, 6), rng.uniform(0.08, 1.0)
    attack_s = float(rng.choice([0.003, 0.01, 0.2]))

    def tone(note: Note) -> Mono:
        n, hz = int((note.length_s + 0.2) * RATE_HZ), _hz(note.key)
        wave = np.zeros(n, np.float32)
        for voice in range(n_voices):
            pitch = hz * (1 + detune * (voice - (n_voices - 1) / 2))
            wave += _saw(pitch, n, rng.random())
            if square:
                wave -= _saw(pitch, n, 0.5)
        # The moving filter is a crossfade between two still ones.
        low_hz = min(hz * cut, 12000)
        dull = signal.sosfilt(signal.butter(2, low_hz, fs=RATE_HZ, output="sos"), wave)
        open_ = signal.sosfilt(signal.butter(2, min(low_hz * sweep, 18000), fs=RATE_HZ, output="sos"), wave)
        mix = np.exp(-np.arange(n) / RATE_HZ / decay_s)
        out = (open_ * mix + dull * (1 - mix)) * _envelope(n, attack_s, 0.6, 0.7, 0.15) * 0.25
        return np.asarray(out, np.float32)

    return tone


def _singer(rng: np.random.Generator) -> Callable[[Note], Mono]:
    """A pulse train with vibrato through four formants; a noise burst before some notes stands for consonants."""
    size, breath = rng.uniform(0.95, 1.25), rng.uniform(0.01, 0.08)
    vibrato_hz, depth = rng.uniform(4.5, 6.5), rng.uniform(0.003, 0.015)
    slope = rng.uniform(0.90, 0.985)

    def tone(note: Note) -> Mono:
        n = int((note.length_s + 0.12) * RATE_HZ)
        t = np.arange(n) / RATE_HZ
        drift = signal.lfilter([0.002], [1, -0.998], rng.normal(0, 1, n))
        onset = -0.04 * np.exp(-t / 0.05) * rng.random()
        hz = _hz(note.key) * (
            1 + depth * np.minimum(t / 0.4, 1) * np.sin(2 * np.pi * vibrato_hz * t) + 0.004 * drift + onset
        )
        glottis = signal.lfilter([1 - slope], [1, -slope], _saw(hz.astype(np.float32), n)) * 4 + breath * rng.normal(
            0, 1, n
        )
        a, b = rng.integers(len(_VOWELS_HZ), size=2)
        turn = np.clip(t / max(note.length_s, 0.05), 0, 1)
        voice = _formants(glottis, int(a), size) * (1 - turn) + _formants(glottis, int(b), size) * turn
        out = voice * _envelope(n, 0.03, 1.0, 0.8, 0.1)
        if rng.random() < 0.6:
            m = min(n, int(rng.uniform(0.03, 0.12) * RATE_HZ))
            band = np.add(np.sort(rng.uniform(1500, 12000, 2)), (0, 800))
            hiss = signal.sosfilt(signal.butter(2, band, "band", fs=RATE_HZ, output="sos"), rng.normal(0, 0.25, m))
            out[:m] = out[:m] * np.linspace(0, 1, m) + hiss * np.hanning(m)
        return (out * 0.5).astype(np.float32)

    return tone


def _formants(source: npt.NDArray[np.float64], vowel: int, size: float) -> npt.NDArray[np.float64]:
    out = np.zeros(len(source))
    for hz, width_hz, level in zip(_VOWELS_HZ[vowel], (80, 100, 140, 200), (1, 0.6, 0.35, 0.2), strict=True):
        r = np.exp(-np.pi * width_hz / RATE_HZ)
        turn = 2 * np.pi * hz * size / RATE_HZ
        out += level * signal.lfilter([1 - r], [1, -2 * r * np.cos(turn), r * r], source) * 8
    return out


def _noise(rng: np.random.Generator) -> Callable[[Note], Mono]:
    """Hiss, hum, rumble, wind; very short notes are claps."""
    kind, low_hz = int(rng.integers(4)), rng.uniform(50, 3000)

    def tone(note: Note) -> Mono:
        n = int((note.length_s + 0.2) * RATE_HZ)
        white = rng.normal(0, 0.2, n)
        if note.key == 39:  # a clap: four bursts of band-passed noise
            t = np.arange(n) / RATE_HZ
            shape = sum(np.exp(-np.maximum(t - at, 0) / 0.012) * (t >= at) for at in (0, 0.011, 0.023, 0.034))
            sos = signal.butter(2, [800, 4500], "band", fs=RATE_HZ, output="sos")
            return np.asarray(signal.sosfilt(sos, white) * shape * np.exp(-t / 0.15) * 2, np.float32)
        if kind == 0:
            wave = white
        elif kind == 1:
            t, hz = np.arange(n) / RATE_HZ, float(rng.choice([50, 60]))
            wave = sum(np.sin(2 * np.pi * hz * k * t) / k for k in (1, 2, 3, 5, 7)) * 0.3 + white * 0.02
        else:
            sos = signal.butter(
                1,
                low_hz if kind == 2 else [low_hz, low_hz * 2],
                "low" if kind == 2 else "band",
                fs=RATE_HZ,
                output="sos",
            )
            slow = np.interp(np.arange(n), np.linspace(0, n, 12), rng.uniform(0.2, 1, 12))
            wave = signal.sosfilt(sos, white) * slow * 3
        return (wave * _envelope(n, 0.05, 10, 1, 0.1)).astype(np.float32)

    return tone
