"""Where a clip's sound lies in its file: beats of the timeline → seconds of the file, exactly or not at all.

Live tells scripts one tempo, the one at the playhead, and of warping the markers. A clip can be asked for when its file
is heard as it is: not warped, or warped by markers on one straight line. Where that line runs at another speed than the
set's tempo gives the file, the clip is stretched, and so are its stems.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

MAX_DRIFT = 0.5
"""Samples by which a warped clip may leave the straight line, from its beginning to its end."""
TINY_BEATS = 1e-7
_MODES = ("beats", "tones", "texture", "repitch", "complex", "complex_pro")
CONSOLIDATE = "Consolidate it (Ctrl/Cmd+J) and ask again"


class NotAsHeard(Exception):
    """The clip does not play its file as it is; the text goes on from “A clip on “…”” and says what to do."""


@dataclass(frozen=True)
class Line:
    """A straight line: beat `beats` of the clip's own time axis is `seconds` into the file."""

    beats: float
    seconds: float
    beats_per_s: float
    """Beats in a second of the file."""
    stretched: bool = False

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
    content = clip.start_marker + from_beats - clip.start_time
    if clip.looping and content >= clip.loop_end - TINY_BEATS:
        content = clip.loop_start + (content - clip.loop_start) % (clip.loop_end - clip.loop_start)
    length = to_beats - from_beats
    if clip.looping and content + length > clip.loop_end + TINY_BEATS:
        raise NotAsHeard(f"starts its loop again within the range. {CONSOLIDATE}, or choose one pass of the loop")
    line = straight(song, clip, content, content + length)
    line = replace(line, beats=from_beats)
    return line, line.at(to_beats)


def session_span(song: Any, clip: Any) -> tuple[Line | None, tuple[float, float], tuple[float, float]]:
    """Of a Session clip: its line (None where it is not warped), from where to where in its file it plays, and its loop
    (the same where it has none), in seconds. Raises `NotAsHeard`.
    """
    _require_plain(clip)
    inner = (clip.loop_start, clip.loop_end) if clip.looping else (clip.start_marker, clip.end_marker)
    outer = min(inner[0], clip.start_marker), max(inner[1], clip.end_marker)
    if not clip.warping:
        return None, outer, inner
    line = straight(song, clip, *outer)
    return line, (line.at(outer[0]), line.at(outer[1])), (line.at(inner[0]), line.at(inner[1]))


def straight(song: Any, clip: Any, from_beats: float, to_beats: float) -> Line:
    """The line on which a warped clip's markers lie from one beat of its own time axis to another; that of the set's
    tempo where it is the same to half a sample. Raises `NotAsHeard` when they lie on none.
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
    seconds, beats_per_s = float(first / rate_hz), song.tempo / 60
    drift = last - first - (to_beats - from_beats) / beats_per_s * rate_hz
    if abs(drift) <= MAX_DRIFT and not is_tempo_automated(song):
        return Line(from_beats, seconds, beats_per_s)
    return Line(from_beats, seconds, float(rate_hz / slope), stretched=True)


def mode_name(clip: Any) -> str:
    """Which of Live's ways of stretching a clip uses; empty for one that cannot be chosen."""
    import Live

    modes = Live.Clip.WarpMode
    return next((name for name in _MODES if clip.warp_mode == getattr(modes, name)), "")


def _require_plain(clip: Any) -> None:
    if clip.pitch_coarse != 0 or clip.pitch_fine != 0:
        raise NotAsHeard(f"is transposed. {CONSOLIDATE}")
    if clip.warping and clip.has_groove:
        raise NotAsHeard(f"plays with a groove. Commit the groove, then: {CONSOLIDATE[0].lower()}{CONSOLIDATE[1:]}")
