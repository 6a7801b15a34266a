"""Sounds that come from files and programs: drum one-shots and synthetic speech."""

from __future__ import annotations

import io
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import numpy as np
import soundfile
import soxr

from training.notes import Note
from training.synthesis import RATE_HZ, Mono

LANGUAGES: Final = ("en-us", "en-gb", "en-gb-scotland", "de", "fr-fr", "es", "it", "pt-br", "pl", "sv", "nl", "cs")
HELD_OUT_LANGUAGES: Final = ("fi", "el", "tr")
VARIANTS: Final = ("", "+f1", "+f2", "+f3", "+f4", "+m1", "+m2", "+m3", "+m5", "+m7", "+croak")
HELD_OUT_VARIANTS: Final = ("+f5", "+m4", "+m6")
RECORDED_VOICES: Final = ("slt", "rms", "awb", "kal16")
"""Voices of Flite that were built from hours of one person's recordings; never in held-out songs."""
_SYLLABLES: Final = "ba do ke li mu na po ra si to ve ya zo gri sta plen kor fal thi sha mor dun eth war ing ou ai"
_PARTS: Final = {
    "kick": ("bd_", "kick", "808_kick", "bass drum", "bassdrum", "bd"),
    "snare": ("sn_", "snare", "rim", "sn-"),
    "hihat": ("hat", "hihat", "hi-hat", "hh", "cymbal_closed", "cymbal_open", "cymbal_pedal"),
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

    def choose(self, part: str, notes: Sequence[Note], rng: np.random.Generator) -> dict[int, Mono] | None:
        """A part's shot for each key that is played, pitched and shortened; None when there is none of that part."""
        shots = self.by_part.get(part)
        if not shots:
            return None
        pitch, short = float(rng.uniform(0.75, 1.3)), rng.random() < 0.4
        chosen = {}
        for key in sorted({note.key for note in notes}):
            shot = shots[int(rng.integers(len(shots)))]
            shot = np.interp(np.arange(0, len(shot), pitch), np.arange(len(shot)), shot).astype(np.float32)
            if short:
                shot *= np.exp(-np.arange(len(shot)) / (rng.uniform(0.05, 0.6) * RATE_HZ)).astype(np.float32)
            chosen[key] = shot
        return chosen


def strike(blows: dict[int, Mono], notes: Sequence[Note], length_s: float) -> Mono:
    """A stem in which each key's blow sounds where it is played."""
    out = np.zeros(int(length_s * RATE_HZ), np.float32)
    for note in notes:
        blow = blows[note.key] * (note.velocity / 100) ** 1.5
        start = int(note.start_s * RATE_HZ)
        n = min(len(blow), len(out) - start)
        if n > 0:
            out[start : start + n] += blow[:n]
    return out


def read_shots(folders: Sequence[Path]) -> Shots:
    """Every sound file that is said to be a drum, by its kit's table or its own name, at most two seconds of it."""
    found: dict[str, list[Mono]] = {}
    for folder in folders:
        told = _told_by_kit(folder)
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() not in (".wav", ".flac", ".aif", ".aiff", ".ogg") or path.stem.startswith("loop_"):
                continue
            name = (told.get(path.name) or path.stem).lower()
            part = next((part for part, marks in _PARTS.items() if any(mark in name for mark in marks)), None)
            if part is not None:
                found.setdefault(part, []).append(_read(path, 2.0))
    return Shots(found)


def _told_by_kit(folder: Path) -> dict[str, str]:
    """File → what Hydrogen's drumkit.xml calls the instrument that plays it."""
    told = {}
    for kit in folder.rglob("drumkit.xml"):
        for instrument in ElementTree.parse(kit).iter("instrument"):
            for file in instrument.iter("filename"):
                told[file.text or ""] = instrument.findtext("name") or ""
    return told


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
    language = str(rng.choice(HELD_OUT_LANGUAGES if held_out else LANGUAGES))
    variant = str(rng.choice(HELD_OUT_VARIANTS if held_out else VARIANTS))
    words_a_minute, pitch = int(rng.integers(110, 200)), int(rng.integers(20, 80))
    audio, rate_hz = espeak(language + variant, words_a_minute, pitch, _nonsense(int(length_s * 2.2), rng))
    return _placed(soxr.resample(audio, rate_hz, RATE_HZ), length_s, rng)


def _flite(length_s: float, rng: np.random.Generator) -> Mono:
    """One of Flite's voices, faster or slower, its speaker smaller or larger."""
    voice, stretch = str(rng.choice(RECORDED_VOICES)), float(rng.uniform(0.75, 1.35))
    audio, rate_hz = flite(voice, stretch, _nonsense(int(length_s * 2.2), rng))
    return np.asarray(soxr.resample(audio, rate_hz * float(rng.uniform(0.85, 1.2)), RATE_HZ), np.float32)


def espeak(voice: str, words_a_minute: int, pitch: int, text: str) -> tuple[Mono, int]:
    """What eSpeak NG says, and its rate in Hz; `pitch` is 0 to 99. Raises `OSError` when it is not installed."""
    command = ["espeak-ng", "-v", voice, "-s", str(words_a_minute), "-p", str(pitch), "--stdout", text]
    said = subprocess.run(command, check=True, capture_output=True).stdout
    audio, rate_hz = soundfile.read(io.BytesIO(said), dtype="float32")
    return audio, rate_hz


def flite(voice: str, stretch: float, text: str) -> tuple[Mono, int]:
    """What Flite says, its durations times `stretch`, and its rate in Hz. Raises `OSError` when it is not installed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "said.wav"
        command = ["flite", "-voice", voice, "--setf", f"duration_stretch={stretch:.2f}", "-t", text, "-o", str(path)]
        subprocess.run(command, check=True, capture_output=True)
        audio, rate_hz = soundfile.read(path, dtype="float32")
    return audio, rate_hz


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
