"""A folder of songs whose stems are known: a sub-folder a song, a file a stem, the file's name is the prompt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from engine.audio import Samples, Source
from engine.errors import StembridgeError
from engine.quality.clips import SUFFIXES

MIXTURES: Final = ("mixture", "mix")
"""Files of these names are left out: the mixture is the sum of the stems."""
DEMO: Final = Path(__file__).parents[1] / "demo"


@dataclass(frozen=True)
class Song:
    """A mixture and what it was made of."""

    name: str
    sample_rate: int
    stems: dict[str, Samples]
    """Prompt → `(channel, sample)`, all of one shape."""
    rest: Samples
    """What is in the mixture and is not asked for."""

    @property
    def mixture(self) -> Samples:
        """The sum of everything."""
        whole: Samples = np.sum([*self.stems.values(), self.rest], axis=0, dtype=np.float32)
        return whole


def song_folders(folder: Path) -> list[Path]:
    """The songs in a folder. Raises `StembridgeError` (`file_not_found`) when there is none."""
    songs = sorted(one for one in folder.iterdir() if one.is_dir() and _stem_files(one)) if folder.is_dir() else []
    if not songs:
        raise StembridgeError(
            "file_not_found",
            f"{folder} holds no songs.",
            "Make a folder for each song in it, with one audio file for each stem: 'SONG/acoustic guitar.wav'.",
        )
    return songs


def read_song(folder: Path, longest_s: float | None = None) -> Song:
    """A song; of a longer one the `longest_s` seconds in which most stems sound.

    Files that begin with `_` are in the mixture and not asked for. Mono stems sound in all channels, short ones end
    with silence. Raises `StembridgeError`: `bad_source` for stems of different rates or a single file, and as reading.
    """
    files = _stem_files(folder)
    if len(files) < 2:
        text = f"{folder} holds {len(files)} stem; a mixture needs two."
        raise StembridgeError(
            "bad_source", text, "Put everything the mixture holds there; what is not asked for as _x."
        )
    read = {path: _read(path) for path in files}
    rates = {rate for _, rate in read.values()}
    if len(rates) > 1:
        text = f"The stems of {folder} have {', '.join(map(str, sorted(rates)))} Hz."
        raise StembridgeError("bad_source", text, "Bounce them at one rate.")
    (rate,) = rates
    channels = max(len(audio) for audio, _ in read.values())
    n = max(audio.shape[1] for audio, _ in read.values())
    whole = {
        path: np.pad(
            np.broadcast_to(audio, (channels, audio.shape[1])) if len(audio) == 1 else audio,
            ((0, 0), (0, n - audio.shape[1])),
        )
        for path, (audio, _) in read.items()
    }
    start, end = _liveliest(list(whole.values()), round((longest_s or n) * rate))
    rest = np.zeros((channels, end - start), np.float32)
    stems: dict[str, Samples] = {}
    for path, audio in whole.items():
        if path.stem.startswith("_"):
            rest += audio[:, start:end]
        else:
            stems[prompt_of(path)] = np.ascontiguousarray(audio[:, start:end])
    return Song(folder.name, rate, stems, rest)


def bundled_song() -> Song:
    """The excerpt that ships: a voice over a band."""
    mixture, rate = _read(DEMO / "mixture.flac")
    voice, _ = _read(DEMO / "voice.flac")
    voice = np.broadcast_to(voice, mixture.shape).copy()
    return Song(
        "the bundled excerpt", rate, {"vocals": voice, "accompaniment": mixture - voice}, np.zeros_like(mixture)
    )


def prompt_of(path: Path) -> str:
    """A file's name as a prompt: `Acoustic_Guitar.wav` → `acoustic guitar`."""
    return path.stem.replace("_", " ").strip().lower()


def _stem_files(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != ".")
    return [path for path in files if path.stem.lower() not in MIXTURES]


def _read(path: Path) -> tuple[Samples, int]:
    with Source((path,)) as source:
        blocks = list(source.blocks(0, source.info.samples))
        return np.concatenate(blocks, axis=1), source.info.sample_rate


def _liveliest(stems: list[Samples], n: int) -> tuple[int, int]:
    """The `n` consecutive samples in which most stems sound, each by its own level."""
    length = stems[0].shape[1]
    if length <= n:
        return 0, length
    sounding = np.zeros(length)
    for stem in stems:
        level = np.abs(stem).max(axis=0)
        sounding += level > 0.03 * level.max(initial=1e-9)
    total = np.concatenate([[0.0], np.cumsum(sounding)])
    start = int(np.argmax(total[n:] - total[:-n]))
    return start, start + n
