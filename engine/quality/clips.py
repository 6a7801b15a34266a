"""Pieces of a folder of audio, spread evenly over all of it, mono, at a model's rate."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from engine.audio import Samples, Source, SourceInfo, inspect
from engine.errors import StembridgeError
from engine.resample import resample, resampled_length

SUFFIXES: Final = (".wav", ".flac", ".aif", ".aiff", ".ogg", ".mp3")
LEAST_S: Final = 1.0
"""A shorter file has no piece to give."""
SILENT: Final = 1e-3
"""A piece whose peak is below this, -60 dBFS, says nothing of a model."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clip:
    """A piece of a file."""

    name: str
    """The file and the second it begins at."""
    samples: Samples
    """`(1, sample)`, float32."""


def audio_files(folder: Path) -> list[Path]:
    """The audio files in a folder and below it, by their names, sorted. Raises `StembridgeError`: `file_not_found`."""
    if not folder.is_dir():
        raise StembridgeError("file_not_found", f"There is no folder {folder}.", "Give a folder that holds audio.")
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if not found:
        text = f"{folder} holds no audio ({', '.join(suffix[1:] for suffix in SUFFIXES)})."
        raise StembridgeError("file_not_found", text, "Give a folder that holds some.")
    return found


def cut_clips(folder: Path, sample_rate: int, n_clips: int, clip_s: float) -> list[Clip]:
    """At most `n_clips` pieces of `clip_s` seconds; fewer where there is less audio that is not silent.

    The same folder always gives the same pieces. A file that cannot be read is left out, and that is logged. Raises
    `StembridgeError`: `file_not_found`, `empty_audio` where no file is long and loud enough, what the first file that
    cannot be read is refused with where no other is left, and what one raises that is damaged further on.
    """
    places: list[tuple[Path, SourceInfo, float]] = []
    refused: list[StembridgeError] = []
    for path in audio_files(folder):
        try:
            info = inspect((path,))
        except StembridgeError as e:
            logger.warning("Left out: %s", e.text)
            refused.append(e)
            continue
        length_s = info.samples / info.sample_rate
        if length_s >= LEAST_S:
            places += [(path, info, clip_s * k) for k in range(max(1, int(length_s / clip_s)))]
    if refused and not places:
        raise refused[0]
    clips = []
    # each of the parts gives its first piece that sounds
    for part in np.array_split(np.arange(len(places)), min(n_clips, max(len(places), 1))):
        for index in part:
            path, info, start_s = places[index]
            samples = _read(path, info, start_s, clip_s, sample_rate)
            if np.abs(samples).max() >= SILENT:
                clips.append(Clip(f"{path.relative_to(folder)} at {start_s:g} s", samples))
                break
    if not clips:
        text = f"{folder} holds no piece of at least {LEAST_S:g} s that is louder than -60 dBFS."
        raise StembridgeError("empty_audio", text, "Give music such as you will separate.")
    return clips


def _read(path: Path, info: SourceInfo, start_s: float, clip_s: float, sample_rate: int) -> Samples:
    start = round(start_s * info.sample_rate)
    end = min(start + round(clip_s * info.sample_rate), info.samples)
    with Source((path,)) as source:
        mono = (block.mean(axis=0, keepdims=True) for block in source.blocks(start, end))
        whole = np.concatenate(list(resample(mono, info.sample_rate, sample_rate, 1, end - start)), axis=1)
    return whole[:, : resampled_length(end - start, info.sample_rate, sample_rate)]
