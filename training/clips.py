"""What the model is measured on: held-out rendered songs, and real recordings when they are on this machine.

No recording here was trained on, and none is committed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import soundfile

from training.phrases import concepts
from training.songs import BAND, songs_of
from training.soundfonts import RATE_HZ
from training.sources import DRUM_PARTS

Stereo = npt.NDArray[np.float32]
CLIP_S: Final = 10.0
_N: Final = int(CLIP_S * RATE_HZ)
_BLOCK: Final = 4410
_LOUD_DB: Final = -35.0


@dataclass(frozen=True)
class Clip:
    """A mixture and the stems that are asked of it."""

    name: str
    group: str
    """`rendered` or the kind of real recording."""
    mixture: Stereo
    """(2, sample) at 44.1 kHz."""
    asked: dict[str, Stereo]
    """Concept → its stem in this mixture."""
    absent: tuple[str, ...]
    """Concepts that are not in it."""


def rendered(folder: Path, n_clips: int, seed: int = 7, n_absent: int = 2) -> Iterator[Clip]:
    """Clips of held-out songs: two to four sources besides the drums, concepts that come rarely first."""
    rng = np.random.default_rng(seed)
    asked_often: dict[str, int] = dict.fromkeys(concepts(), 0)
    songs = [song for song in songs_of(folder) if BAND not in song.labels]
    for number in range(n_clips):
        song = songs[number % len(songs)]
        labels = song.labels
        others = [i for i, label in enumerate(labels) if label not in DRUM_PARTS]
        chosen = list(rng.permutation(others)[: int(rng.integers(2, 5))])
        if rng.random() < 0.7:
            chosen += [i for i, label in enumerate(labels) if label in DRUM_PARTS]
        start = int(rng.integers(max(1, song.length() - _N)))
        placed = {}
        for i in chosen:
            mono = song.read(i, start, _N).astype(np.float32) * np.float32(1 / 32768)
            pan = 0.0 if labels[i] in ("kick", "snare") or "bass" in labels[i] else rng.uniform(-0.7, 0.7)
            gain = 10 ** (rng.normal(0, 3) / 20)
            placed[labels[i]] = gain * np.sqrt(np.array([[1 - pan], [1 + pan]], np.float32)) * mono[None]
        here = {name for name, stem in placed.items() if np.abs(stem).max() > 1e-3}
        if len(here) < 2:
            continue
        mixture = sum(placed.values())
        some = [c for c in concepts().values() if c.covers & here and not here <= c.covers]
        some.sort(key=lambda c: (asked_often[c.name], rng.random()))
        asked = {}
        for concept in some[:6]:
            asked_often[concept.name] += 1
            taken = [stem for name, stem in placed.items() if name in concept.covers]
            asked[concept.name] = np.asarray(sum(taken), np.float32)
        none = [c.name for c in concepts().values() if not c.covers & here]
        absent = tuple(str(name) for name in rng.choice(none, n_absent, replace=False))
        yield Clip(song.path.stem, "rendered", np.asarray(mixture, np.float32), asked, absent)


def frets_on_fire(folder: Path, per_song: int) -> Iterator[Clip]:
    """Real rock songs whose guitars were recorded apart: folders with guitar.ogg and song.ogg."""
    for guitar_path in sorted(folder.rglob("guitar.ogg")):
        song_path = guitar_path.with_name("song.ogg")
        if not song_path.exists():
            continue
        info = soundfile.info(guitar_path)
        for part in range(per_song):
            start = int(info.frames * (part + 1) / (per_song + 1))
            guitar = _read(guitar_path, start, info.samplerate)
            rest = _read(song_path, start, info.samplerate)
            if guitar is None or rest is None:
                continue
            asked = {"guitar": guitar, "electric guitar": guitar, "distorted guitar": guitar}
            yield Clip(f"{guitar_path.parent.name} {part}", "real rock guitar", guitar + rest, asked, ("flute", "harp"))


def crossed(drums: Path, guitars: Path, speech: Path, n_clips: int, seed: int = 3) -> Iterator[Clip]:
    """Real drum loops, real guitars and real voices that were never played together, at equal level."""
    rng = np.random.default_rng(seed)
    loops = [drums / f"loop_{name}.flac" for name in ("amen", "amen_full", "breakbeat", "compus", "mika", "safari")]
    loops = [path for path in loops if path.exists()]
    songs = sorted(guitars.rglob("guitar.ogg"))
    voices = sorted(speech.rglob("*.ogg"))
    for number in range(n_clips if loops and songs and voices else 0):
        loop = np.tile(_whole(loops[number % len(loops)]), (1, 12))[:, :_N]
        path = songs[number % len(songs)]
        info = soundfile.info(path)
        guitar = _read(path, int(info.frames * rng.uniform(0.2, 0.7)), info.samplerate)
        folder = voices[int(rng.integers(len(voices)))].parent
        said = np.concatenate([_whole(p) for p in rng.permutation(sorted(folder.glob("*.ogg")))[:14]], axis=1)
        talk = np.pad(said, ((0, 0), (0, max(0, _N - said.shape[1]))))[:, :_N]
        if guitar is None:
            continue
        loop, guitar, talk = (_even(stem) for stem in (loop, guitar, talk))
        asked = {"drums": loop, "electric guitar": guitar, "speech": talk, "vocals": talk}
        yield Clip(f"crossed {number}", "real, crossed", loop + guitar + talk, asked, ("flute", "organ"))


def sounding(stem: Stereo) -> npt.NDArray[np.bool_]:
    """For each tenth of a second, whether a stem sounds."""
    n = stem.shape[1] // _BLOCK * _BLOCK
    power = (stem[:, :n].astype(np.float64) ** 2).sum(axis=0).reshape(-1, _BLOCK).mean(axis=1)
    return np.asarray(power > max(power.max() * 10 ** (_LOUD_DB / 10), 1e-8))


def runs(flags: npt.NDArray[np.bool_]) -> list[tuple[float, float]]:
    """The stretches, in seconds, where `sounding` says yes, of at least 0.3 s."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]]))).reshape(-1, 2)
    return [(start * 0.1, end * 0.1) for start, end in edges if end - start >= 3]


def _even(stem: Stereo) -> Stereo:
    return stem * np.float32(0.08 / max(float(np.sqrt((stem**2).mean())), 1e-6))


def _whole(path: Path) -> Stereo:
    import soxr

    audio, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    audio = soxr.resample(audio, rate_hz, RATE_HZ) if rate_hz != RATE_HZ else audio
    return np.ascontiguousarray(np.broadcast_to(audio.T, (2, len(audio))) if audio.shape[1] == 1 else audio.T[:2])


def _read(path: Path, start: int, rate_hz: int) -> Stereo | None:
    """Ten seconds from a place; None where they are silent or the rate is another."""
    audio, _ = soundfile.read(path, start=start, frames=_N, dtype="float32", always_2d=True)
    if rate_hz != RATE_HZ or len(audio) < _N or np.abs(audio).max() < 0.01:
        return None
    return np.ascontiguousarray(np.broadcast_to(audio.T, (2, _N)) if audio.shape[1] == 1 else audio.T)
