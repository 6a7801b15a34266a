"""Sounds that come from files and programs: drum one-shots and synthetic speech."""

from __future__ import annotations

import io
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
import soxr

from training.notes import Note
from training.synthesis import RATE_HZ, Mono

_LANGUAGES: Final = ("en-us", "en-gb", "en-gb-scotland", "de", "fr-fr", "es", "it", "pt-br", "pl", "sv", "nl", "cs")
HELD_OUT_LANGUAGES: Final = ("fi", "el", "tr")
_VARIANTS: Final = ("", "+f1", "+f2", "+f3", "+f4", "+m1", "+m2", "+m3", "+m5", "+m7", "+croak")
HELD_OUT_VARIANTS: Final = ("+f5", "+m4", "+m6")
_RECORDED_VOICES: Final = ("slt", "rms", "awb", "kal16")
"""Voices of Flite that were built from hours of one person's recordings; never in held-out songs."""
_SYLLABLES: Final = "ba do ke li mu na po ra si to ve ya zo gri sta plen kor fal thi sha mor dun eth war ing ou ai"
_PARTS: Final = {
    "kick": ("bd_", "kick", "808_kick", "bass drum", "bassdrum", "bd"),
    "snare": ("sn_", "snare", "rim", "sn-"),
    "hihat": ("hat", "hihat", "hh", "cymbal_closed", "cymbal_open", "cymbal_pedal"),
    "cymbals": ("crash", "ride", "cymbal_hard", "cymbal_soft", "splash", "china"),
    "toms": ("tom",),
    "percussion": (
        "conga",
        "shake",
        "cowbell",
        "perc_bell",
        "tabla",
        "tamb",
        "elec_wood",
        "bongo",
        "clave",
        "triangle",
    ),
    "claps": ("clap", "snap"),
}


@dataclass(frozen=True)
class Shots:
    """Drum one-shots of several kits, by the drum part they are."""

    by_part: dict[str, list[Mono]]

    def perform(self, part: str, notes: Sequence[Note], length_s: float, rng: np.random.Generator) -> Mono | None:
        """A stem that plays one or two of a part's shots; None when there is none."""
        shots = self.by_part.get(part)
        if not shots:
            return None
        keys = {note.key for note in notes}
        chosen = {key: shots[int(rng.integers(len(shots)))] for key in sorted(keys)}
        pitch = float(rng.uniform(0.85, 1.15))
        chosen = {
            key: np.interp(np.arange(0, len(shot), pitch), np.arange(len(shot)), shot).astype(np.float32)
            for key, shot in chosen.items()
        }
        out = np.zeros(int(length_s * RATE_HZ), np.float32)
        for note in notes:
            shot = chosen[note.key] * (note.velocity / 100) ** 1.5
            start = int(note.start_s * RATE_HZ)
            n = min(len(shot), len(out) - start)
            if n > 0:
                out[start : start + n] += shot[:n]
        return out


def read_shots(folders: Sequence[Path]) -> Shots:
    """Every sound file whose name says which drum it is, at most two seconds of it."""
    found: dict[str, list[Mono]] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() not in (".wav", ".flac", ".aif", ".aiff", ".ogg") or path.stem.startswith("loop_"):
                continue
            name = path.stem.lower()
            part = next((part for part, marks in _PARTS.items() if any(mark in name for mark in marks)), None)
            if part is not None:
                found.setdefault(part, []).append(_read(path, 2.0))
    return Shots(found)


def _read(path: Path, longest_s: float) -> Mono:
    audio, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    mono = audio[: int(longest_s * rate_hz)].mean(axis=1)
    if rate_hz != RATE_HZ:
        mono = soxr.resample(mono, rate_hz, RATE_HZ)
    mono = mono / max(float(np.abs(mono).max()), 1e-6) * 0.7
    fade = min(len(mono), 2000)
    mono[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    return np.asarray(mono, np.float32)


def speak(length_s: float, rng: np.random.Generator, *, held_out: bool = False) -> Mono:
    """Somebody speaks nonsense with pauses, by eSpeak NG or, half of the training songs, by Flite's recorded voices.

    Raises `OSError` when the one it takes is not installed.
    """
    if not held_out and rng.random() < 0.5:
        return _placed(_flite(length_s, rng), length_s, rng)
    language = str(rng.choice(HELD_OUT_LANGUAGES if held_out else _LANGUAGES))
    variant = str(rng.choice(HELD_OUT_VARIANTS if held_out else _VARIANTS))
    command = ["espeak-ng", "-v", language + variant, "-s", str(int(rng.integers(110, 200)))]
    command += ["-p", str(int(rng.integers(20, 80))), "--stdout", _nonsense(int(length_s * 2.2), rng)]
    wave = subprocess.run(command, check=True, capture_output=True).stdout
    audio, rate_hz = soundfile.read(io.BytesIO(wave), dtype="float32")
    return _placed(soxr.resample(audio, rate_hz, RATE_HZ), length_s, rng)


def _flite(length_s: float, rng: np.random.Generator) -> Mono:
    """One of Flite's voices, faster or slower, its speaker smaller or larger."""
    voice = str(rng.choice(_RECORDED_VOICES))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "said.wav"
        command = ["flite", "-voice", voice, "--setf", f"duration_stretch={rng.uniform(0.75, 1.35):.2f}"]
        command += ["-t", _nonsense(int(length_s * 2.2), rng), "-o", str(path)]
        subprocess.run(command, check=True, capture_output=True)
        audio, rate_hz = soundfile.read(path, dtype="float32")
    return np.asarray(soxr.resample(audio, rate_hz * float(rng.uniform(0.85, 1.2)), RATE_HZ), np.float32)


def _nonsense(n_words: int, rng: np.random.Generator) -> str:
    syllables = _SYLLABLES.split()
    words = ["".join(rng.choice(syllables, int(rng.integers(1, 4)))) for _ in range(n_words)]
    for i in range(int(rng.integers(3, 7)), len(words), int(rng.integers(4, 9))):
        words[i] += str(rng.choice([".", ",", "?"]))
    return " ".join(words)


def _placed(audio: Mono, length_s: float, rng: np.random.Generator) -> Mono:
    """What was said, somewhere in the song."""
    out = np.zeros(int(length_s * RATE_HZ), np.float32)
    audio = audio[: len(out)]
    start = int(rng.integers(0, len(out) - len(audio) + 1))
    out[start : start + len(audio)] = audio
    return out


def crowd(length_s: float, rng: np.random.Generator, *, held_out: bool = False) -> Mono:
    """Many voices at once, or many hands clapping."""
    n = int(length_s * RATE_HZ)
    if rng.random() < 0.5:
        out = np.zeros(n, np.float32)
        for _ in range(6):
            voice = speak(length_s, rng, held_out=held_out)
            for _ in range(3):
                out += np.roll(voice, int(rng.integers(n))) * rng.uniform(0.3, 1)
        return out / np.float32(8)
    clap = rng.normal(0, 1, 1200) * np.exp(-np.arange(1200) / 200)
    hits = np.zeros(n)
    swell = np.interp(np.arange(n), np.linspace(0, n, 8), rng.uniform(0.1, 1, 8))
    places = rng.integers(n, size=int(length_s * rng.uniform(40, 300)))
    hits[places] = rng.uniform(0.1, 1, len(places)) * swell[places]
    spectrum = np.fft.rfft(hits, 2 * n) * np.fft.rfft(clap, 2 * n)
    return (np.fft.irfft(spectrum)[:n] * 0.2).astype(np.float32)
