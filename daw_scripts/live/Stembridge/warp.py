"""Where a clip's sound lies in its file: beats of the timeline → seconds of the file, exactly or not at all.

Live tells scripts one tempo, the one at the playhead, and of warping the markers. A clip can be asked for when its file
is heard as it is: not warped, or warped by markers on one straight line at the set's own tempo.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MAX_DRIFT = 0.5
"""Samples by which a warped clip may leave the straight line, from its beginning to its end."""
TINY_BEATS = 1e-7
CONSOLIDATE = "Consolidate it (Ctrl/Cmd+J) and ask again"


class NotAsHeard(Exception):
    """The clip does not play its file as it is; the text goes on from “A clip on “…”” and says what to do."""


@dataclass(frozen=True)
class Line:
    """A straight line: beat `beats` of the clip's own time axis is `seconds` into the file."""

    beats: float
    seconds: float
    beats_per_s: float

    def at(self, beats: float) -> float:
        """Seconds into the file at a beat."""
        return self.seconds + (beats - self.beats) / self.beats_per_s


def is_tempo_automated(song: Any) -> bool:
    """Whether the tempo changes along the timeline, in a way that scripts are not told."""
    return int(song.master_track.mixer_device.song_tempo.automation_state) != 0


def line_of(song: Any, clip: Any, from_beats: float, to_beats: float, *, whole: bool) -> tuple[Line, float]:
    """How timeline beats `from_beats` to `to_beats` of an arrangement clip lie in its file, and the seconds at which
    they end there. Raises `NotAsHeard`.
    """
    beats_per_s = song.tempo / 60
    automated = is_tempo_automated(song)
    _require_plain(clip)
    if not clip.warping:
        line = Line(clip.start_time, clip.start_marker, beats_per_s)
        if not automated:
            return line, line.at(to_beats)
        if whole:  # its ends are known in seconds, whatever the tempo does between them
            return line, clip.end_marker
        raise NotAsHeard(
            "lies under a tempo that is automated, which Live does not tell scripts. Switch the loop off and ask for "
            "the whole clip, or split it at the range first (Ctrl/Cmd+E)"
        )
    if automated:
        raise NotAsHeard(
            "is warped along a tempo that is automated, which Live does not tell scripts. "
            "Switch its Warp off, or take the tempo's automation away, and ask again"
        )
    content = clip.start_marker + from_beats - clip.start_time
    if clip.looping and content >= clip.loop_end - TINY_BEATS:
        content = clip.loop_start + (content - clip.loop_start) % (clip.loop_end - clip.loop_start)
    length = to_beats - from_beats
    if clip.looping and content + length > clip.loop_end + TINY_BEATS:
        raise NotAsHeard(f"starts its loop again within the range. {CONSOLIDATE}, or choose one pass of the loop")
    seconds = straight(clip, content, content + length, beats_per_s)
    line = Line(from_beats, seconds, beats_per_s)
    return line, line.at(to_beats)


def session_span(song: Any, clip: Any) -> tuple[float, float, float, float]:
    """Of a Session clip: from where to where in its file it plays, and its loop (the same where it has none), all in
    seconds. Raises `NotAsHeard`.
    """
    _require_plain(clip)
    inner = (clip.loop_start, clip.loop_end) if clip.looping else (clip.start_marker, clip.end_marker)
    outer = min(inner[0], clip.start_marker), max(inner[1], clip.end_marker)
    if not clip.warping:
        return (*outer, *inner)
    beats_per_s = song.tempo / 60
    seconds = straight(clip, *outer, beats_per_s)
    line = Line(outer[0], seconds, beats_per_s)
    return line.at(outer[0]), line.at(outer[1]), line.at(inner[0]), line.at(inner[1])


def straight(clip: Any, from_beats: float, to_beats: float, beats_per_s: float) -> float:
    """The seconds in the file at beat `from_beats` of a warped clip, whose markers must lie on one line at the set's
    tempo up to `to_beats`. Raises `NotAsHeard`.
    """
    rate_hz = clip.sample_rate
    first, last = clip.beat_to_sample_time(from_beats), clip.beat_to_sample_time(to_beats)
    slope = (last - first) / (to_beats - from_beats)
    for marker in clip.warp_markers:
        beat = marker.beat_time
        if from_beats < beat < to_beats:
            off = clip.beat_to_sample_time(beat) - first - slope * (beat - from_beats)
            if abs(off) > MAX_DRIFT:
                raise NotAsHeard(f"is warped so that its speed varies. {CONSOLIDATE}, or switch its Warp off")
    as_recorded = (to_beats - from_beats) / beats_per_s * rate_hz
    if abs(last - first - as_recorded) > MAX_DRIFT:
        percent = 100 * (last - first) / as_recorded
        raise NotAsHeard(f"is warped to {percent:.4g} % of its speed. {CONSOLIDATE}, or switch its Warp off")
    return float(first / rate_hz)


def _require_plain(clip: Any) -> None:
    if clip.pitch_coarse != 0 or clip.pitch_fine != 0:
        raise NotAsHeard(f"is transposed. {CONSOLIDATE}")
    if clip.warping and clip.has_groove:
        raise NotAsHeard(f"plays with a groove. Commit the groove, then: {CONSOLIDATE[0].lower()}{CONSOLIDATE[1:]}")
