"""Random excerpts of rendered songs: some stems of one song, or of several, at levels as mixes have."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from training.mixing import HOP, N_FFT, N_FRAMES
from training.songs import BAND, StoredSong, songs_of
from training.sources import DRUM_PARTS

_HARD: Final = (
    "nylon guitar", "steel guitar", "clean guitar", "overdriven guitar", "distorted guitar", "banjo", "harp",
    "singing", "speech", "synth arpeggio",
)  # fmt: skip
_HARDER: Final = 0.2
"""Sources that are told apart least well, and the share of the stems taken from other songs that is one of them on
purpose."""
_BEND: Final = 0.25
"""Octaves by which an excerpt is played faster or slower at most."""
_RESTS: Final = 0.35
"""Share of the duets in which the band plays alone."""
_DRIVEN: Final = 0.2
"""Share of the stems that are bent a little, as by a tape, a transformer or a tired amplifier."""
_SCALE: Final = np.float32(1 / 32768 / 0.7)

Real = npt.NDArray[np.float32]


class Bank:
    """The songs of a folder that `training.bank` filled; reads them lazily, sees new ones when asked again.

    An excerpt begins at a multiple of `step` values and has `n_samples`: other material than samples is cut alike.
    `songs` are of stems that can be mixed with any other's; `duets` of one recorded source and the band around it.
    """

    def __init__(self, folder: Path, n_frames: int = N_FRAMES, *, n_samples: int | None = None, step: int = 1) -> None:
        self.folder = folder
        self.n_samples = (n_frames - 1) * HOP + N_FFT if n_samples is None else n_samples
        self.step = step
        self.songs: list[StoredSong] = []
        self.duets: list[StoredSong] = []
        self._hard: dict[str, list[tuple[StoredSong, int]]] = {}
        self.refresh()

    def refresh(self) -> None:
        """Look again."""
        for song in songs_of(self.folder, but={song.path for song in [*self.songs, *self.duets]}):
            (self.duets if BAND in song.labels else self.songs).append(song)
            for i, label in enumerate(song.labels):
                if label in _HARD and BAND not in song.labels:
                    self._hard.setdefault(label, []).append((song, i))

    def draw(self, rng: np.random.Generator) -> tuple[tuple[str, ...], Real]:
        """Some stems of one song, or of several, at levels as mixes have: names and (stem, sample)."""
        song = self.songs[int(rng.integers(len(self.songs)))]
        labels = song.labels
        across = rng.random() < 0.5 or len(labels) == 1
        drums = [i for i, label in enumerate(labels) if label in DRUM_PARTS]
        others = [i for i, label in enumerate(labels) if label not in DRUM_PARTS]
        chosen = list(rng.permutation(others)[: int(rng.integers(1, 5))])
        if rng.random() < 0.65:
            chosen += drums if rng.random() < 0.7 else list(rng.permutation(drums)[:2])
        names: list[str] = []
        stems: list[Real] = []
        drum_db = rng.normal(0, 3)
        song_speed, drum_speed = self._speed(rng), self._speed(rng)
        start = 0
        for i in chosen:
            source = song
            if across and labels[i] not in DRUM_PARTS:
                source, i = self._any_source(rng)
            name = source.labels[i]
            if not names or across:
                start = self._place(source, rng)
            speed = song_speed if not across else drum_speed if name in DRUM_PARTS else self._speed(rng)
            stem = self._cut(source, i, start, speed, rng)
            gain_db = drum_db + rng.normal(-2, 3) if name in DRUM_PARTS else rng.normal(0, 5)
            if name in ("noise", "crowd", "sound effects"):
                gain_db -= rng.uniform(0, 12)
            names.append(name)
            stems.append(stem * np.float32(10 ** (gain_db / 20)))
        return tuple(names), np.stack(stems)

    def _any_source(self, rng: np.random.Generator) -> tuple[StoredSong, int]:
        """A stem of any song, no drum; somewhat oftener one of those that are told apart least well."""
        if self._hard and rng.random() < _HARDER:
            stems = self._hard[sorted(self._hard)[int(rng.integers(len(self._hard)))]]
            return stems[int(rng.integers(len(stems)))]
        while True:
            song = self.songs[int(rng.integers(len(self.songs)))]
            i = int(rng.integers(len(song.labels)))
            if song.labels[i] not in DRUM_PARTS:
                return song, i

    def draw_duet(self, rng: np.random.Generator) -> tuple[tuple[str, ...], Real]:
        """A recorded source and a band, now and then of another song: (stem, sample), left and right in turn.

        The source is silent in some: else whatever sounds recorded would come to mean that it is there.
        """
        names: list[str] = []
        stems: list[Real] = []
        song = self.duets[int(rng.integers(len(self.duets)))]
        speed, start = self._speed(rng), self._place(song, rng)
        for is_band in (False, True):
            if is_band and rng.random() < 0.3:
                song = self.duets[int(rng.integers(len(self.duets)))]
                speed, start = self._speed(rng), self._place(song, rng)
            rests = not is_band and rng.random() < _RESTS
            gain = np.float32(0 if rests else 10 ** (rng.normal(0, 3) / 20))
            flip = rng.random() < 0.5
            sides = [i for i, label in enumerate(song.labels) if (label == BAND) == is_band]
            for i in sorted(sides, reverse=flip):
                names.append(song.labels[i])
                stems.append(self._cut(song, i, start, speed, rng) * gain)
        return tuple(names), np.stack(stems)

    def _place(self, song: StoredSong, rng: np.random.Generator) -> int:
        """Where an excerpt may begin."""
        spare = song.length() - self.n_samples
        start = int(rng.integers(spare)) if spare > 0 else 0
        return start - start % self.step

    def _speed(self, rng: np.random.Generator) -> float:
        """How much faster than it was rendered an excerpt is played: other notes, bodies and rooms than the bank's."""
        return float(2 ** rng.uniform(-_BEND, _BEND)) if self.step == 1 and rng.random() < 0.6 else 1.0

    def _cut(self, song: StoredSong, number: int, start: int, speed: float, rng: np.random.Generator) -> Real:
        """`n_samples` of a stem from a place on, some of them bent; zeros behind the end."""
        n = round(self.n_samples * speed)
        stem = song.read(number, start, n).astype(np.float32) * _SCALE
        stem = np.pad(stem, (0, n - len(stem)))
        if self.step == 1 and rng.random() < _DRIVEN:
            drive = np.float32(10 ** rng.uniform(0, 0.5) / max(float(np.abs(stem).max()), 1e-3))
            stem = np.tanh(stem * drive) / drive
        if n == self.n_samples:
            return stem
        places = np.linspace(0, n - 1.001, self.n_samples)
        left = places.astype(np.intp)
        share = (places - left).astype(np.float32)
        found: Real = stem[left] * (1 - share) + stem[left + 1] * share
        return found
