"""Songs on disk: `NNNNN.json` with its sources, and a FLAC file a stem, `NNNNN-00.flac` and on, 16 bits, mono.

Stems rest often: losslessly packed they take about a quarter of their samples' bytes. What is no sound (spectra of
stems) lies in one array instead, `NNNNN.npy`, (stem, value).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import soundfile

BAND: Final = "band"
"""The label of what plays around a recorded source: nobody says what is in it, but for that the source is not."""


@dataclass(frozen=True)
class StoredSong:
    """One song: where its sources are written, and what they are, a label a stem."""

    path: Path
    labels: tuple[str, ...]

    def length(self) -> int:
        """Values of each stem."""
        if self._stem(0).exists():
            return int(soundfile.info(self._stem(0)).frames)
        return int(np.load(self.path.with_suffix(".npy"), mmap_mode="r").shape[1])

    def read(self, stem: int, start: int = 0, n: int | None = None) -> npt.NDArray[Any]:
        """`(value,)` of one stem from a place on, as they were written; fewer than `n` where it ends."""
        sound = self._stem(stem)
        if sound.exists():
            samples: npt.NDArray[Any] = soundfile.read(
                sound, start=start, frames=-1 if n is None else n, dtype="int16"
            )[0]
            return samples
        values: npt.NDArray[Any] = np.load(self.path.with_suffix(".npy"), mmap_mode="r")[stem]
        return values[start : None if n is None else start + n]

    def _stem(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.stem}-{number:02d}.flac")


def songs_of(folder: Path, *, but: Collection[Path] = ()) -> list[StoredSong]:
    """All of a folder, in the order of their numbers, `but` those of these paths."""
    paths = sorted(path for path in folder.glob("*.json") if path not in but)
    return [StoredSong(path, tuple(json.loads(path.read_text(encoding="utf-8"))["sources"])) for path in paths]


def write_song(path: Path, labels: Sequence[str], stems: npt.NDArray[np.int16], rate_hz: int) -> None:
    """The stems first: whoever sees the labels can read them. `path` ends in .json; `stems` are `(stem, sample)`."""
    song = StoredSong(path, tuple(labels))
    for number, stem in enumerate(stems):
        soundfile.write(song._stem(number), stem, rate_hz, subtype="PCM_16")
    _tell(path, labels, rate_hz=rate_hz)


def write_spectra(path: Path, labels: Sequence[str], spectra: npt.NDArray[np.float32]) -> None:
    """The same of `(stem, value)`."""
    np.save(path.with_suffix(".npy"), spectra)
    _tell(path, labels)


def _tell(path: Path, labels: Sequence[str], **more: int) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"sources": list(labels), **more}), encoding="utf-8")
    part.rename(path)
