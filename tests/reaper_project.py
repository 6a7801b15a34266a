"""A REAPER project, as far as Stembridge's scripts see one: tracks, items, takes and what they give to hear."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile


def new_guid() -> str:
    return "{" + str(uuid.uuid4()).upper() + "}"


@dataclass(eq=False)
class Source:
    """A file, or a section of one, forwards or backwards."""

    path: str
    parent: Source | None = None
    start_s: float = 0.0
    section_s: float = 0.0
    reverse: bool = False
    midi: bool = False
    destroyed: bool = False
    _audio: tuple[np.ndarray, int] | None = None

    @property
    def audio(self) -> tuple[np.ndarray, int]:
        """(sample, channel), rate; read once."""
        if self.parent is not None:
            return self.parent.audio
        if self._audio is None:
            self._audio = soundfile.read(self.path, dtype="float32", always_2d=True)
        return self._audio

    @property
    def kind(self) -> str:
        if self.midi:
            return "MIDI"
        if self.parent is not None:
            return "SECTION"
        return {".wav": "WAVE", ".flac": "FLAC", ".ogg": "VORBIS"}[Path(self.path).suffix.lower()]

    @property
    def length_s(self) -> float:
        samples, rate_hz = self.audio
        return self.section_s if self.parent is not None else len(samples) / rate_hz

    def at(self, times_s: np.ndarray) -> np.ndarray:
        """What it gives at times of its own, between samples on the line that joins them; silence outside."""
        inside = (times_s > -1e-9) & (times_s < self.length_s - 1e-9)
        if self.parent is not None:
            within = self.section_s - times_s if self.reverse else times_s
            found = self.parent.at(within + self.start_s)
        else:
            samples, rate_hz = self.audio
            at = np.round(times_s * rate_hz, 5)  # what is a sample but for rounding is that sample
            before = np.clip(np.floor(at).astype(int), 0, len(samples) - 1)
            after = np.minimum(before + 1, len(samples) - 1)
            part = (at - np.floor(at))[:, None].astype(np.float32)
            found = samples[before] * (1 - part) + samples[after] * part
        return np.where(inside[:, None], found, np.float32(0))


@dataclass(eq=False)
class Take:
    source: Source | None
    item: Item
    strings: dict[str, str] = field(default_factory=lambda: {"GUID": new_guid(), "P_NAME": ""})
    values: dict[str, float] = field(
        default_factory=lambda: {
            "D_STARTOFFS": 0.0,
            "D_PLAYRATE": 1.0,
            "D_PITCH": 0.0,
            "I_CHANMODE": 0.0,
            "D_VOL": 1.0,
            "D_PAN": 0.0,
        }
    )
    n_stretch_markers: int = 0

    def heard(self, times_s: np.ndarray) -> np.ndarray:
        """What it gives at times from the item's start, before volume, pan and fades: (sample, channel)."""
        assert self.source is not None
        inner_s = times_s * self.values["D_PLAYRATE"] + self.values["D_STARTOFFS"]
        if self.item.values["B_LOOPSRC"]:
            inner_s = np.mod(np.round(inner_s, 9), self.source.length_s)
        found = self.source.at(inner_s)
        mode = int(self.values["I_CHANMODE"])
        if mode == 2:
            return found.mean(axis=1, keepdims=True)
        return found[:, mode - 3 : mode - 2] if mode in (3, 4) else found


@dataclass(eq=False)
class Item:
    track: Track
    takes: list[Take] = field(default_factory=list)
    selected: bool = False
    strings: dict[str, str] = field(default_factory=lambda: {"GUID": new_guid(), "P_NOTES": ""})
    values: dict[str, float] = field(
        default_factory=lambda: (
            dict.fromkeys(
                ("D_POSITION", "D_LENGTH", "D_FADEINLEN", "D_FADEOUTLEN", "C_FADEINSHAPE", "C_FADEOUTSHAPE"), 0.0
            )
            | {"D_VOL": 1.0, "B_MUTE": 0.0, "B_LOOPSRC": 0.0, "C_LOCK": 0.0}
        )
    )

    @property
    def span(self) -> tuple[float, float]:
        return self.values["D_POSITION"], self.values["D_LENGTH"]


@dataclass(eq=False)
class Track:
    strings: dict[str, str] = field(default_factory=lambda: {"GUID": new_guid(), "P_NAME": ""})
    values: dict[str, float] = field(
        default_factory=lambda: {
            "I_CUSTOMCOLOR": 0.0,
            "I_FOLDERDEPTH": 0.0,
            "B_MUTE": 0.0,
            "I_NCHAN": 2.0,
            "I_RECARM": 0.0,
        }
    )
    items: list[Item] = field(default_factory=list)
    selected: bool = False

    @property
    def name(self) -> str:
        return self.strings["P_NAME"]

    def add(self, source: Source, position_s: float, length_s: float, start_s: float = 0.0, **values: float) -> Item:
        item = Item(self)
        take = Take(source, item)
        item.takes.append(take)
        item.values |= {"D_POSITION": position_s, "D_LENGTH": length_s}
        take.values["D_STARTOFFS"] = start_s
        for key, value in values.items():
            (take if key in ("D_PLAYRATE", "D_PITCH", "I_CHANMODE", "D_PAN") else item).values[key] = value
        self.items.append(item)
        return item
