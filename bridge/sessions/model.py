"""What every session format is read into: tracks, clips, markers, tempo. Frozen, plain values, times in seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

Format = Literal["folder", "rpp", "dawproject", "ardour", "als"]
Obstacle = Literal[
    "", "midi", "stretched", "reversed", "looped", "nested", "no_media", "one_channel", "ramped", "bad_time"
]

OBSTACLES: Final[dict[Obstacle, str]] = {
    "": "",
    "midi": "It holds MIDI, no audio.",
    "stretched": "It is stretched, warped or pitched; bounce it in the DAW first.",
    "reversed": "It plays backwards; bounce it in the DAW first.",
    "looped": "It repeats its file; bounce it in the DAW first.",
    "nested": "It is another project or clip inside a clip that cannot be laid out; bounce it in the DAW first.",
    "no_media": "It names no audio file.",
    "one_channel": "It uses some channels of a file only; bounce it in the DAW first.",
    "ramped": "Its place is counted in beats through a tempo ramp; bounce it in the DAW first.",
    "bad_time": "Its position, length or offset is no time (negative, infinite or not a number).",
}
"""Why a clip cannot be rendered as it stands → what is said of it."""


@dataclass(frozen=True)
class Media:
    """One audio file of a clip."""

    reference: str
    """As the session writes it."""
    path: Path | None
    """Where it lies on this machine; None when it was not found, or lies inside the session's own archive."""
    channel: int | None = None
    """The one channel that is used, from 0; None for all."""
    member: str | None = None
    """Its name inside the session's archive."""
    stamp: str = ""
    """What tells the member's content from another's of the same name."""
    declared: tuple[float, int, int] | None = None
    """(length in seconds, Hz, channels) as the session tells them, for media that is not a file yet."""
    n_bytes: int = 0
    """Of a member, unpacked."""


@dataclass(frozen=True)
class Clip:
    """A stretch of audio on a track."""

    name: str
    position_s: float
    """Of its first sample on the timeline."""
    length_s: float
    """On the timeline."""
    media: tuple[Media, ...]
    """One file with all its channels, or several mono files whose channels are stacked."""
    source_start_s: float = 0.0
    """Of its first sample in the file."""
    rate: float = 1.0
    """File seconds played in one timeline second."""
    gain: float = 1.0
    """A factor; negative where the polarity is turned."""
    fade_in_s: float = 0.0
    fade_out_s: float = 0.0
    muted: bool = False
    repeats: bool = False
    """Whether its file begins anew where the clip is longer than that."""
    obstacle: Obstacle = ""
    """Why it cannot be rendered as it stands; empty when it can."""
    mark: int = -1
    """Where the reader found it (a line, or a count of elements), for the writer of the same format."""

    @property
    def end_s(self) -> float:
        """Of the timeline, exclusive."""
        return self.position_s + self.length_s


@dataclass(frozen=True)
class Track:
    """A track with its clips in the order of the file."""

    name: str
    clips: tuple[Clip, ...] = ()
    muted: bool = False
    mark: int = -1
    """As of a clip."""


@dataclass(frozen=True)
class Marker:
    """A point on the timeline, or a region where it has an end."""

    name: str
    position_s: float
    end_s: float | None = None


@dataclass(frozen=True)
class TempoPoint:
    """From `beat` (quarter notes) on the tempo is `bpm`; with `ramp` it moves evenly, beat by beat, to the next's."""

    beat: float
    bpm: float
    ramp: bool = False


@dataclass(frozen=True)
class TempoMap:
    """Beats ↔ seconds. The first point lies at beat 0; without points it is 120 bpm."""

    points: tuple[TempoPoint, ...] = ()

    def seconds(self, beat: float) -> float:
        """The timeline second of a beat; before the first point the first tempo holds."""
        points = self.points or (TempoPoint(0.0, 120.0),)
        at_s = 0.0
        for this, after in zip(points, (*points[1:], None), strict=True):
            if after is None or beat < after.beat:
                return at_s + _span_s(this, after, beat - this.beat)
            at_s += _span_s(this, after, after.beat - this.beat)
        raise AssertionError("a tempo map without an end")

    def beat(self, at_s: float) -> float:
        """The reverse of `seconds`."""
        points = self.points or (TempoPoint(0.0, 120.0),)
        for this, after in zip(points, (*points[1:], None), strict=True):
            span_s = math.inf if after is None else _span_s(this, after, after.beat - this.beat)
            if after is None or at_s < span_s:
                return this.beat + _span_beats(this, after, at_s)
            at_s -= span_s
        raise AssertionError("a tempo map without an end")


def _span_s(this: TempoPoint, after: TempoPoint | None, beats: float) -> float:
    """Seconds of `beats` from a point on. With bpm(b) = bpm0 + k b they are the integral of 60 / bpm(b)."""
    if not this.ramp or after is None or after.bpm == this.bpm or after.beat <= this.beat or beats < 0:
        return 60.0 * beats / this.bpm
    k = (after.bpm - this.bpm) / (after.beat - this.beat)
    return 60.0 / k * math.log1p(k * beats / this.bpm)


def _span_beats(this: TempoPoint, after: TempoPoint | None, time_s: float) -> float:
    """The reverse of `_span_s`."""
    if not this.ramp or after is None or after.bpm == this.bpm or after.beat <= this.beat or time_s < 0:
        return time_s * this.bpm / 60.0
    k = (after.bpm - this.bpm) / (after.beat - this.beat)
    return math.expm1(k * time_s / 60.0) * this.bpm / k


@dataclass(frozen=True)
class Session:
    """A session as it was read. The file is not touched."""

    path: Path
    format: Format
    name: str
    tracks: tuple[Track, ...]
    markers: tuple[Marker, ...] = ()
    tempo: TempoMap = TempoMap()
    rate_hz: int | None = None
    """The session's own rate; clips may have others."""

    @property
    def n_clips(self) -> int:
        """On all tracks."""
        return sum(len(track.clips) for track in self.tracks)


@dataclass(frozen=True)
class NewClip:
    """A stem that a writer places: at the clip it was made from."""

    of: Clip
    file: Path
    length_s: float
    rate_hz: int
    channels: int
    samples: int


@dataclass(frozen=True)
class NewTrack:
    """A track that a writer adds for stems of one kind, made from one track."""

    name: str
    of: Track
    clips: tuple[NewClip, ...]
    muted: bool = False
