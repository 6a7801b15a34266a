"""Speaking voices that sing: what Flite and eSpeak NG say, a syllable at a time, put on notes.

A voice is spoken once a song and taken apart, every 5 ms, into a spectral envelope (after CheapTrick: Morise, 2015, a
window of three periods and a lifter that takes the harmonics out) and whether it is voiced. Singing is those envelopes
again, vowels held for as long as the notes, through pulses at the notes' pitches and noise. Formants stay where the
speaker has them, times the speaker's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import soxr
from scipy import fft, ndimage

from training.notes import Note
from training.recordings import (
    HELD_OUT_LANGUAGES,
    HELD_OUT_VARIANTS,
    LANGUAGES,
    RECORDED_VOICES,
    VARIANTS,
    espeak,
    flite,
)
from training.synthesis import RATE_HZ, Mono

Floats = npt.NDArray[np.float32]
_HOP: Final = 220
_HOP_S: Final = _HOP / RATE_HZ
_N: Final = 2048
_HZ: Final = np.fft.rfftfreq(_N, 1 / RATE_HZ)
_ONSETS: Final = "b d f g h k l m n p r s t v w y z sh th ch st pl gr br kr fl sl tr l m n d w h"
_RIMES: Final = "ay ee oh ah oo eye ow aw er ing own ell and ight ove ame ore eel ay ee oh ah oo oh ah"
_N_SYLLABLES: Final = 20
_EDGE_HZ: Final = 6700
"""Up to where both programs sound like a voice: Flite's recordings are of 16 kHz, eSpeak NG has no formants above."""
_LOUD: Final = 0.35
"""A syllable's vowel is what is louder than this share of its loudest frame."""


@dataclass(frozen=True)
class Syllable:
    """Frames of a voice: from `start` its consonants, from `vowel` to `coda` its vowel, then how it ends."""

    start: int
    vowel: int
    coda: int
    end: int


@dataclass(frozen=True)
class Voice:
    """A speaker, taken apart: `envelope` is ln of power `(frame, bin)`, `hz` the median pitch."""

    envelope: Floats
    voiced: npt.NDArray[np.bool_]
    hz: float
    syllables: tuple[Syllable, ...]


def sing(notes: Sequence[Note], length_s: float, rng: np.random.Generator, *, held_out: bool = False) -> Mono:
    """One singer sings notes on nonsense, now and then over two more takes of the same; chords are several takes.

    Notes may lie octaves away from where they are written, where the voice is at home. Peaks are at 0.7, or the song is
    silent. Raises `OSError` when Flite or eSpeak NG is not installed.
    """
    voice = _sized(_listen(rng, held_out), float(rng.uniform(0.85, 1.2)), rng)
    n_takes = 1 if rng.random() < 0.75 else int(rng.integers(2, 4))
    home = _home(voice, rng)
    out = np.zeros(int(length_s * RATE_HZ), np.float32)
    for line in _lines(notes)[:4]:
        for take in range(n_takes):
            out += _take(voice, line, home, len(out), rng, late_s=0.02 * take) * (1.0 if take == 0 else 0.6)
    return _level(out, rng)


def sing_together(notes: Sequence[Note], length_s: float, rng: np.random.Generator, *, held_out: bool = False) -> Mono:
    """Three to six singers share the notes of chords, each a little late and out of tune; as `sing` otherwise."""
    speakers = [_listen(rng, held_out) for _ in range(2)]
    lines = _lines(notes)
    out = np.zeros(int(length_s * RATE_HZ), np.float32)
    for i in range(max(int(rng.integers(3, 7)), min(len(lines), 6)) if lines else 0):
        voice = _sized(speakers[i % 2], float(rng.uniform(0.85, 1.2)), rng)
        take = _take(voice, lines[i % len(lines)], _home(voice, rng), len(out), rng, late_s=0.04)
        out += take * (rng.uniform(0.6, 1) / max(float(np.sqrt((take**2).mean())), 1e-6))
    return _level(out, rng)


def _level(out: Mono, rng: np.random.Generator) -> Mono:
    """Recorded voices come compressed, more or less."""
    heard = np.sqrt(ndimage.uniform_filter1d(out.astype(np.float64) ** 2, RATE_HZ // 15).clip(0))
    held = out * (heard + max(float(heard.max(initial=0)), 1e-6) / 20) ** -rng.uniform(0.1, 0.7)
    return np.asarray(held * (0.7 / max(float(np.abs(held).max(initial=0)), 1e-6)), np.float32)


def _lines(notes: Sequence[Note]) -> list[list[Note]]:
    """Melodies for one voice each: what starts together goes to different ones."""
    lines: list[list[Note]] = []
    for note in sorted(notes, key=lambda note: (note.start_s, note.key)):
        free = next((line for line in lines if note.start_s - line[-1].start_s > 0.1), None)
        if free is None:
            lines.append([note])
        else:
            free.append(note)
    return lines


def _listen(rng: np.random.Generator, held_out: bool) -> Voice:
    """A speaker says syllables with pauses between them; `Voice` of that."""
    onsets, rimes = (rng.choice(parts.split(), _N_SYLLABLES) for parts in (_ONSETS, _RIMES))
    text = ", ".join(onset + rime for onset, rime in zip(onsets, rimes, strict=True))
    if not held_out and rng.random() < 0.65:
        said, rate_hz = flite(str(rng.choice(RECORDED_VOICES)), float(rng.uniform(0.9, 1.4)), text)
    else:
        language = str(rng.choice(HELD_OUT_LANGUAGES if held_out else LANGUAGES))
        variant = str(rng.choice(HELD_OUT_VARIANTS if held_out else VARIANTS))
        said, rate_hz = espeak(language + variant, int(rng.integers(100, 150)), int(rng.integers(30, 80)), text)
    audio = np.pad(soxr.resample(said, rate_hz, RATE_HZ), _N // 2).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(audio, _N)[::_HOP]
    loud = np.sqrt((frames[:, _N // 2 - 330 : _N // 2 + 330] ** 2).mean(axis=1))
    runs = _runs(ndimage.binary_closing(loud > loud.max() * 0.015, iterations=5), 16)
    kept = np.concatenate([np.arange(start, end) for start, end in runs])
    frames, loud = frames[kept], loud[kept]
    hz, voiced = _pitch(frames)
    syllables, at = [], 0
    for start, end in runs:
        start, end, at = at, at + end - start, at + end - start
        vowels = _runs((loud[start:end] > loud[start:end].max() * _LOUD) & voiced[start:end], 8)
        if vowels:
            vowel, coda = max(vowels, key=lambda run: run[1] - run[0])
            syllables.append(Syllable(start, start + vowel, start + coda, end))
    median_hz = float(np.median(hz[voiced]))
    envelope = _envelopes(frames, np.where(voiced, hz, 250), median_hz)
    power = np.exp(envelope)
    voiced &= power[:, (_HZ > 80) & (_HZ < 1500)].sum(axis=1) > power[:, _HZ > 3500].sum(axis=1)  # z is sung as s
    flat = ndimage.gaussian_filter1d(np.log(loud + 1e-5), 3) - np.log(np.median(loud[voiced]))
    envelope -= (1.2 * flat * voiced)[:, None]  # speech falls off at the end of a syllable; what is sung is held
    return Voice(_widened(envelope, rng), voiced, median_hz, tuple(syllables))


def _runs(on: npt.NDArray[np.bool_], shortest: int) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], on.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= shortest]


def _pitch(frames: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Pitch in Hz by autocorrelation, 65 to 500 Hz, and whether there is one, of each frame."""
    window = np.hanning(_N).astype(np.float32)
    alike = fft.irfft(np.abs(fft.rfft(frames * window, 2 * _N)) ** 2)
    alike = (
        alike / (alike[:, :1] + 1e-9) / (fft.irfft(np.abs(fft.rfft(window, 2 * _N)) ** 2) / (window**2).sum() + 1e-9)
    )
    lags = np.arange(RATE_HZ // 500, RATE_HZ // 65)
    among = alike[:, lags] * (1 - 0.15 * lags / lags[-1])
    best = among.argmax(axis=1)
    voiced = ndimage.median_filter(among[np.arange(len(among)), best] > 0.45, 5)
    return (RATE_HZ / lags[best]).astype(np.float32), voiced


def _envelopes(frames: Floats, hz: Floats, median_hz: float) -> Floats:
    """ln of power `(frame, bin)` without the harmonics of `hz`."""
    at_s = (np.arange(_N) - _N // 2) / RATE_HZ
    turn = np.clip(at_s * hz[:, None] / 1.5, -1, 1)
    window = (0.5 + 0.5 * np.cos(np.pi * turn)).astype(np.float32)
    power = np.abs(fft.rfft(frames * window)) ** 2 / (window**2).sum(axis=1, keepdims=True)
    power = ndimage.uniform_filter1d(power, max(3, round(median_hz * 0.67 / _HZ[1])), axis=1)
    cepstrum = fft.irfft(np.log(power + 1e-10))
    quefrency = np.minimum(np.arange(_N), _N - np.arange(_N)) / RATE_HZ * hz[:, None]
    lifter = np.sinc(quefrency) * (1.18 - 0.18 * np.cos(2 * np.pi * quefrency))
    return np.asarray(fft.rfft(cepstrum * lifter).real, np.float32)


def _widened(envelope: Floats, rng: np.random.Generator) -> Floats:
    """Goes on above `_EDGE_HZ`, falling; no valley between formants is deeper than a real voice's."""
    around = (_HZ > _EDGE_HZ * 0.7) & (_HZ < _EDGE_HZ * 0.9)
    fall_db = rng.uniform(3, 14) * np.log2(np.maximum(_HZ / _EDGE_HZ, 0.8)) + 12 * np.maximum(_HZ / 14000 - 1, 0)
    beyond = envelope[:, around].mean(axis=1, keepdims=True) - fall_db.astype(np.float32) * np.log(10) / 10
    share = np.clip(_HZ / _EDGE_HZ * 5 - 4, 0, 1).astype(np.float32)
    power = np.exp(envelope * (1 - share) + beyond * share)
    power += ndimage.uniform_filter1d(power, round(1500 / _HZ[1]), axis=1) * 10 ** -rng.uniform(1.4, 2.2)
    return np.asarray(np.log(power), np.float32)


def _sized(voice: Voice, size: float, rng: np.random.Generator) -> Voice:
    """The same speaker smaller or larger, brighter or darker, with more or less of what carries over a band."""
    at = np.clip(np.arange(len(_HZ)) / size, 0, len(_HZ) - 1)
    low = np.minimum(at.astype(int), len(_HZ) - 2)
    part = (at - low).astype(np.float32)
    envelope = voice.envelope[:, low] * (1 - part) + voice.envelope[:, low + 1] * part
    # Who sings is louder than who speaks, and so brighter: its octaves about 2.8 and 7 kHz reach what is drawn here.
    power = np.exp(envelope[voice.voiced]).mean(axis=0)
    bands_db = [10 * np.log10(power[(a < _HZ) & (b > _HZ)].sum()) for a, b in ((150, 1000), (1800, 4500), (5500, 9000))]
    middle_db = rng.uniform(-18, -3)
    lift_db = bands_db[0] + np.array([0, middle_db, middle_db - rng.uniform(6, 18)]) - bands_db
    shape_db = np.interp(np.log2(_HZ + 1), np.log2([400, 2800, 7000]), np.clip(lift_db, -8, 25))
    shape_db += rng.uniform(0, 8) * np.exp(-(((_HZ - rng.uniform(2500, 3400)) / 500) ** 2))
    envelope += np.where(voice.voiced[:, None], shape_db * np.log(10) / 10, -rng.uniform(0, 2))
    return replace(voice, envelope=envelope.astype(np.float32))


def _home(voice: Voice, rng: np.random.Generator) -> float:
    """The key around which a voice sings: some above where it speaks."""
    return float(69 + 12 * np.log2(voice.hz / 440) + rng.uniform(6, 15))


def _take(voice: Voice, line: Sequence[Note], home: float, n: int, rng: np.random.Generator, late_s: float) -> Mono:
    """A line sung once, `(n,)` samples, up to `late_s` late."""
    n_frames = n // _HOP + 2
    place, loud = np.full(n_frames, -1), np.zeros(n_frames)
    key, bend = np.full(n_frames, home), np.zeros(n_frames)
    rate_hz, depth, after_s = rng.uniform(4.5, 6.5), rng.uniform(0.05, 0.6), rng.uniform(0.2, 0.4)
    detune, late, legato = rng.normal(0, 0.06), rng.uniform(0, late_s), rng.uniform(0, 0.4)
    octave = 12 * round((home - float(np.median([note.key for note in line]))) / 12)
    sung, begun, free = voice.syllables[0], -99, 0
    for note, following in zip(line, [*line[1:], None], strict=True):
        start, stop = (round((at + late) / _HOP_S) for at in (note.start_s, note.start_s + note.length_s))
        stop = min(stop if following is None else min(stop, round((following.start_s + late) / _HOP_S)), n_frames)
        if stop - start < 4:
            continue
        tied = start - free < 4 and rng.random() < legato
        if not tied:
            sung = voice.syllables[int(rng.integers(len(voice.syllables)))]
        lead = 0 if tied else min(sung.vowel - sung.start, 32, start, (start - begun) // 3)
        tail = min(sung.end - sung.coda, 24, (stop - start) // 3)
        held = stop - start - tail
        vowel = sung.vowel + (sung.coda - 1 - sung.vowel) * np.linspace(0.3 * tied, 1, held) ** rng.uniform(1, 2.2)
        place[start - lead : stop] = np.concatenate(
            [np.arange(sung.vowel - lead, sung.vowel), vowel.round(), np.arange(sung.coda, sung.coda + tail)]
        )
        swell = np.interp(np.arange(lead + stop - start), [0, lead, lead + held], [0, 0, rng.uniform(-0.7, 0.25)])
        loud[start - lead : stop] = (note.velocity / 100) * np.exp(swell)
        loud[stop - min(8, held) : stop] *= np.linspace(1, 0.1, min(8, held))
        pitch = note.key + octave + 12 * round((home - note.key - octave) / 20)
        t = np.arange(stop - start) * _HOP_S
        key[start - lead :] = pitch + rng.normal(0, 0.08) + detune
        bend[start:stop] = depth * np.clip((t - after_s) / 0.3, 0, 1) * np.sin(2 * np.pi * rate_hz * t)
        if start - free > 4:
            bend[start - lead : start] = -rng.uniform(0, 2)
            bend[start:stop] += bend[start - lead if lead else start] * np.exp(-t / 0.05)
        begun, free = start, stop
    loud *= np.exp(ndimage.gaussian_filter1d(rng.normal(0, 1.2, n_frames), 15))
    drift = ndimage.gaussian_filter1d(rng.normal(0, 1, n_frames), 12) * 0.3
    key = ndimage.gaussian_filter1d(key + bend, rng.uniform(3, 6)) + drift
    return _sound(voice, place, key, ndimage.gaussian_filter1d(loud, 1.2), rng)[:n]


def _sound(
    voice: Voice, place: npt.NDArray[np.int_], key: npt.NDArray[np.float64], loud: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> Mono:  # fmt: skip
    """Pulses and noise through a voice's envelopes at `place` (below 0: silence), one a hop."""
    out = np.zeros((len(place) + 12) * _HOP + 2 * _N, np.float32)
    hz = 440 * 2 ** ((key - 69) / 12)
    turns = np.cumsum(np.repeat(hz, _HOP) / RATE_HZ)
    # How much of a voiced sound is breath: a little everywhere, most of it at the top.
    top = 0.8 / (1 + np.exp(-(_HZ - rng.uniform(5000, 14000)) / rng.uniform(700, 1500)))
    breath = (10 ** rng.uniform(-3, -1.7) + top).astype(np.float32)
    voiced = voice.voiced[place] & (place >= 0)

    hiss = rng.normal(0, 1, len(turns)) * np.repeat(np.where(voiced, 1, 0), _HOP) * 0.7 * np.cos(2 * np.pi * turns)
    hiss += rng.normal(0, 1, len(turns))
    on = 1 + np.flatnonzero(place[1:-1] >= 0)
    around = np.arange(-_HOP, _HOP)
    pieces = hiss[on[:, None] * _HOP + around] * np.hanning(2 * _HOP + 1)[:-1]
    shape = (
        np.exp(voice.envelope[place[on]] / 2)
        * np.where(voiced[on, None], np.sqrt(breath), 1)
        * loud[on, None].astype(np.float32)
    )
    grains = fft.irfft(fft.rfft(pieces.astype(np.float32), _N) * shape)
    for i, grain in zip(on, np.roll(grains, _N // 2 - _HOP, axis=1), strict=True):
        out[i * _HOP : i * _HOP + _N] += grain

    crossings = np.flatnonzero(np.diff(np.floor(turns)))
    crossings = crossings[voiced[crossings // _HOP]]
    frame = crossings // _HOP
    period = RATE_HZ / hz[frame]
    at = crossings + 1 - (turns[crossings + 1] % 1) * period + rng.normal(0, 0.002, len(frame)) * period
    gain = loud[frame] * np.sqrt(period) * rng.normal(1, 0.03, len(frame))
    # Each pulse is the minimum-phase sound of its envelope, put between samples to 1/64.
    used, which = np.unique(place[frame], return_inverse=True)
    cepstrum = fft.irfft(voice.envelope[used] / 2 + 0.5 * np.log(1 - breath))
    cepstrum[:, 1 : _N // 2] *= 2
    cepstrum[:, _N // 2 + 1 :] = 0
    first = np.floor(at).astype(int)
    # What is high comes some milliseconds late, as in throats and rooms: bare pulses are too spiky.
    delays = np.cumsum(np.abs(ndimage.gaussian_filter1d(rng.normal(0, 1.5, len(_HZ)), 8)))
    turned = 2 * np.pi * np.outer(np.arange(64) / 64, np.arange(len(_HZ))) / _N + delays
    shifts = np.exp(-1j * turned).astype(np.complex64)
    spectrum = np.exp(fft.rfft(cepstrum))[which] * shifts[((at - first) * 64).astype(int)]
    spectrum *= gain[:, None].astype(np.float32)
    spectrum[:, :2] = 0
    for start, pulse in zip(first + _N // 2, fft.irfft(spectrum), strict=True):
        out[start : start + _N] += pulse
    return out[_N // 2 :]
