"""Synthesizer voices out of single cycles: many waveforms, a filter that moves and rings, several voices at once.

A note's waveform is kept as single cycles, each filtered at another cutoff; the moving filter is a walk from one to the
next, and voices in unison read the same cycles at slightly different speeds. No harmonic lies above 17 kHz.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from training.notes import Note
from training.soundfonts import RATE_HZ

Mono = npt.NDArray[np.float32]
_CYCLE: Final = 2048
_HIGHEST_HZ: Final = 17_000.0
_CUTOFFS_HZ: Final = np.geomspace(120, _HIGHEST_HZ, 10)


def synthesizer(rng: np.random.Generator) -> Callable[[Note], Mono]:
    """What plays one note, with knobs set by chance: waveform, unison, filter, envelopes, vibrato."""
    spectrum = _waveform(rng)
    n_voices = int(rng.choice([1, 1, 2, 3, 5, 7]))
    cents = float(rng.uniform(3, 25))
    ring = float(rng.choice([0, rng.uniform(2, 12)]))
    tracks = float(rng.uniform(0, 1))
    low_hz, octaves = float(np.exp(rng.uniform(np.log(150), np.log(6000)))), float(rng.uniform(-1, 5))
    decay_s, attack_s = float(np.exp(rng.uniform(np.log(0.04), np.log(1.5)))), float(rng.choice([0.003, 0.02, 0.25]))
    sustain, release_s = float(rng.uniform(0.2, 1)), float(rng.uniform(0.05, 0.4))
    sway_hz, sway_octaves = float(rng.uniform(0.1, 6)), float(rng.choice([0, 0, rng.uniform(0.2, 1.5)]))
    vibrato = float(rng.choice([0, rng.uniform(0.002, 0.01)]))
    made: dict[int, Mono] = {}

    def tone(note: Note) -> Mono:
        hz = 440 * 2 ** ((note.key - 69) / 12)
        if note.key not in made:
            made[note.key] = cycles(spectrum, hz, ring)
        n = int((note.length_s + release_s) * RATE_HZ)
        t = np.arange(n) / RATE_HZ
        up = octaves * np.exp(-t / decay_s) + sway_octaves * np.sin(2 * np.pi * sway_hz * t)
        cutoff_hz = low_hz * (hz / 220) ** tracks * 2**up
        place = np.interp(np.log(cutoff_hz), np.log(_CUTOFFS_HZ), np.arange(len(_CUTOFFS_HZ)))
        bend = 1 + vibrato * np.minimum(t / 0.4, 1) * np.sin(2 * np.pi * 5.3 * t)
        turns = np.cumsum(hz * bend) / RATE_HZ
        wave = np.zeros(n, np.float32)
        for detune in np.linspace(-1, 1, n_voices) if n_voices > 1 else (0.0,):
            wave += _read(made[note.key], place, turns * 2 ** (detune * cents / 1200) + rng.random())
        shape = np.minimum(t / attack_s, 1) * (sustain + (1 - sustain) * np.exp(-t / (decay_s * 3)))
        shape *= np.clip((n / RATE_HZ - t) / release_s, 0, 1)
        return np.asarray(wave * shape * (0.3 / np.sqrt(n_voices)), np.float32)

    return tone


def cycles(spectrum: npt.NDArray[np.float64], hz: float, ring: float) -> Mono:
    """`(cutoff, sample)` single cycles of a waveform at a pitch, its harmonics above each cutoff falling by 12 dB an
    octave, those beside it raised by `ring` dB."""
    k = np.arange(1, len(spectrum) + 1)
    ratio = k * hz / _CUTOFFS_HZ[:, None]
    gains = 1 / np.sqrt(1 + ratio**4) * 10 ** (ring / 20 * np.exp(-((np.log2(ratio) / 0.3) ** 2)))
    found = np.zeros((len(_CUTOFFS_HZ), _CYCLE // 2 + 1))
    heard = k * hz < _HIGHEST_HZ
    found[:, 1 : len(k) + 1] = np.where(heard, spectrum * gains, 0)
    # Phases as of a sawtooth: all sines.
    return np.asarray(np.fft.irfft(-1j * found, axis=1) * _CYCLE / 2, np.float32)


def _waveform(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Amplitudes of the harmonics: a saw, a square, a pulse, or a drawn one."""
    k = np.arange(1, 257)
    kind = int(rng.integers(4))
    if kind == 0:
        return 1 / k
    if kind == 1:
        return (k % 2) / k
    if kind == 2:
        return np.asarray(np.sin(np.pi * k * rng.uniform(0.05, 0.45)) / k)
    drawn = rng.normal(0, 1, len(k)) / k ** rng.uniform(0.7, 2)
    return np.asarray(drawn / np.abs(drawn).max())


def _read(tables: Mono, place: npt.NDArray[np.float64], turns: npt.NDArray[np.float64]) -> Mono:
    """The cycles at a place between two of them, at a phase in turns."""
    low = np.minimum(place.astype(np.intp), len(tables) - 2)
    share = (place - low).astype(np.float32)
    at = (turns % 1.0 * _CYCLE).astype(np.intp) % _CYCLE
    read: Mono = tables[low, at] * (1 - share) + tables[low + 1, at] * share
    return read
