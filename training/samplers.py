"""Instruments recorded note by note, played: each note is the nearest recorded one, made higher or lower."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from training.notes import Note
from training.soundfonts import RATE_HZ

_SALAMANDER: Final = ("piano-velocity4", "piano-velocity10", "piano-velocity14")
_PLAYS: Final = {
    "electric bass": ("bass-electric",),
    "double bass": ("contrabass",),
    "nylon guitar": ("guitar-nylon",),
    "steel guitar": ("guitar-acoustic",),
    "clean guitar": ("guitar-electric",),
    "overdriven guitar": ("guitar-electric",),
    "distorted guitar": ("guitar-electric",),
    "piano": ("piano", *_SALAMANDER),
    "organ": ("organ",),
    "harp": ("harp",),
    "violin": ("violin",),
    "cello": ("cello",),
    "trumpet": ("trumpet",),
    "trombone": ("trombone", "tuba"),
    "french horn": ("french-horn",),
    "saxophone": ("saxophone",),
    "clarinet": ("clarinet",),
    "oboe": ("bassoon",),
    "flute": ("flute",),
    "marimba": ("xylophone",),
}
"""Source → the packages `tonejs-instrument-NAME-mp3`, or `NAME` of the grand piano, that hold it."""
_STEPS: Final = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_NOTE: Final = re.compile(r"([A-G])([s#]?)(\d)(?:v\d+)?$")
_FARTHEST: Final = 9
"""Semitones that a recording is moved at most; notes beyond are left out."""
_LONGEST_S: Final = 6.0
_RELEASE_S: Final = 0.12

Mono = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sampler:
    """Recordings of one instrument by MIDI key."""

    recorded: dict[int, Mono]

    def perform(self, notes: Sequence[Note], length_s: float, rng: np.random.Generator) -> Mono:
        """(sample,) at 44.1 kHz."""
        out = np.zeros(int(length_s * RATE_HZ), np.float32)
        detune = float(rng.normal(0, 0.15))
        sharpness = float(rng.uniform(0.8, 2.0))
        keys = np.array(sorted(self.recorded))
        for note in notes:
            key = int(keys[np.abs(keys - note.key).argmin()])
            if abs(key - note.key) > _FARTHEST:
                continue
            ratio = 2 ** ((note.key - key + detune + float(rng.normal(0, 0.03))) / 12)
            held = int(note.length_s * RATE_HZ)
            n = held + int(_RELEASE_S * RATE_HZ)
            sound = self.recorded[key]
            places = np.arange(min(n, int((len(sound) - 2) / ratio))) * ratio
            left = places.astype(np.intp)
            share = (places - left).astype(np.float32)
            played = sound[left] * (1 - share) + sound[left + 1] * share
            release = np.arange(max(len(played) - held, 0)) / (_RELEASE_S * RATE_HZ)
            played[len(played) - len(release) :] *= (1 - release).astype(np.float32) ** 2
            start = int(note.start_s * RATE_HZ)
            played = played[: max(len(out) - start, 0)]
            out[start : start + len(played)] += played * np.float32((note.velocity / 100) ** sharpness)
        return out


def read_samplers(folder: Path) -> dict[str, tuple[Sampler, ...]]:
    """Source → its samplers, of the packages that are unpacked under a folder; none of those that are not there."""
    opened: dict[str, Sampler] = {}
    for name in sorted({name for names in _PLAYS.values() for name in names}):
        for place in folder.rglob(name if name in _SALAMANDER else f"tonejs-instrument-{name}-mp3"):
            files = [path for path in sorted(place.rglob("*")) if path.suffix in (".mp3", ".ogg")]
            opened[name] = Sampler({_key(path): _read(path) for path in files if _NOTE.match(path.stem)})
    played = {source: tuple(opened[name] for name in names if name in opened) for source, names in _PLAYS.items()}
    return {source: samplers for source, samplers in played.items() if samplers}


def _key(path: Path) -> int:
    """ "Cs4" is MIDI key 61, and so is "C#4v10"."""
    name = _NOTE.match(path.stem)
    assert name is not None
    return 12 * (int(name[3]) + 1) + _STEPS[name[1]] + len(name[2])


def _read(path: Path) -> Mono:
    audio, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    mono = soxr.resample(audio[: int(_LONGEST_S * rate_hz)].mean(axis=1), rate_hz, RATE_HZ)
    return np.asarray(mono / max(float(np.abs(mono).max()), 1e-6) * 0.5, np.float32)
