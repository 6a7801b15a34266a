"""From what is selected in Live to pieces: one for each clip, or part of a clip, that is to be separated."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from . import ledger, warp
from .warp import TINY_BEATS

What = Literal["selection", "clips", "tracks"]
Kind = Literal["range", "clips", "nothing"]
_SEPARATOR = " · "
_KEY = "stembridge-id"
"""Under which a track keeps its id, in the set."""
_EXACT = (b"RIFF", b"RF64", b"FORM", b"fLaC")
"""How files begin that every reader decodes to the same samples."""


@dataclass
class Found:
    """What the selection gives."""

    pieces: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What the person will want to know even when there are other pieces."""
    passed_over: list[str] = field(default_factory=list)
    """What is said only when there is nothing else to say."""
    kind: Kind = "nothing"


def find(application: Any, song: Any, what: What) -> Found:
    """The pieces of `selection` (the loop brace over the selected tracks when the loop is on, else the clip in view),
    `clips` (the clip in view, whatever the loop) or `tracks` (every audio clip on the selected tracks).
    """
    found = Found()
    in_session = application.view.focused_document_view == "Session"
    if what == "tracks":
        clips = [clip for track in selected_tracks(song) for clip in track.arrangement_clips]
        found.kind = "clips" if clips else "nothing"
        for clip in clips:
            _add(found, song, clip, clip.start_time, clip.end_time)
    elif what == "selection" and song.loop and not in_session:
        found.kind = "range"
        from_beats = song.loop_start
        to_beats = from_beats + song.loop_length
        for track in selected_tracks(song):
            for clip in track.arrangement_clips:
                _add(found, song, clip, max(from_beats, clip.start_time), min(to_beats, clip.end_time))
    else:
        clip = _clip_in_view(song, in_session=in_session)
        if clip is not None:
            found.kind = "clips"
            if not clip.is_arrangement_clip:
                _add_session(found, song, clip)
            else:
                _add(found, song, clip, clip.start_time, clip.end_time)
    found.pieces = _without_stems(found.pieces)
    for piece in found.pieces:
        piece["in_range"] = piece["in_range"] or found.kind == "range"
    return found


def selected_tracks(song: Any) -> list[Any]:
    """The selected tracks and, of selected groups, the tracks in them."""
    chosen = []
    for track in song.tracks:
        above: Any = track
        while above is not None and not above.is_part_of_selection:
            above = above.group_track if above.is_grouped else None
        if above is not None:
            chosen.append(track)
    return chosen


def track_of(song: Any, clip: Any) -> Any:
    """The track a clip lies on; None when it is not in the set any more."""
    if not clip.is_arrangement_clip:
        return clip.canonical_parent.canonical_parent
    return next((track for track in song.tracks if clip in track.arrangement_clips), None)


def track_key(track: Any) -> str:
    """An id that stays with the track; empty where it has none yet."""
    return str(track.get_data(_KEY, ""))


def _lasting_key(track: Any) -> str:
    """The track's id; it is made when it is first needed."""
    key = track_key(track)
    if not key:
        key = ledger.new_id()
        track.set_data(_KEY, key)
    return key


def _clip_in_view(song: Any, *, in_session: bool) -> Any:
    clip = song.view.detail_clip
    if in_session and (clip is None or clip.is_arrangement_clip):
        slot = song.view.highlighted_clip_slot
        clip = slot.clip if slot is not None else None
    return clip


def _add(found: Found, song: Any, clip: Any, from_beats: float, to_beats: float) -> None:
    """The part of an arrangement clip between two beats as a piece."""
    if to_beats - from_beats <= TINY_BEATS:
        return
    track = track_of(song, clip)
    if track is None or not _is_usable(found, track, clip):
        return
    whole = from_beats - clip.start_time < TINY_BEATS and clip.end_time - to_beats < TINY_BEATS
    try:
        line, end_s = warp.line_of(song, clip, from_beats, to_beats, whole=whole)
    except warp.NotAsHeard as e:
        found.problems.append(f"A clip on “{track.name}” {e}.")
        return
    part_s = [line.at(from_beats), end_s]
    piece = _piece(track, clip, line) | {
        "line": [line.beats, line.seconds],
        "beats": [from_beats, to_beats],
        "clip_beats": [clip.start_time, clip.end_time],
        "part_s": part_s,
        "item_s": part_s,
    }
    if not whole:
        try:
            warp.line_of(song, clip, clip.start_time, clip.end_time, whole=True)
            piece["item_s"] = [line.at(clip.start_time), line.at(clip.end_time)]
        except warp.NotAsHeard as e:  # only the part is heard as the file has it: no context, and not by example
            piece["only_part"] = str(e)
    found.pieces.append(piece)


def _add_session(found: Found, song: Any, clip: Any) -> None:
    track = track_of(song, clip)
    if track is None or not _is_usable(found, track, clip):
        return
    try:
        line, whole_s, loop_s = warp.session_span(song, clip)
    except warp.NotAsHeard as e:
        found.problems.append(f"A clip on “{track.name}” {e}.")
        return
    piece = _piece(track, clip, line) | {
        "scene": list(track.clip_slots).index(clip.canonical_parent),
        "part_s": list(loop_s),
        "item_s": list(whole_s),
        "in_range": clip.looping,
    }
    found.pieces.append(piece)


def _piece(track: Any, clip: Any, line: warp.Line | None) -> dict[str, Any]:
    stretched = line is not None and line.stretched
    return {
        "track": track.name,
        "track_key": _lasting_key(track),
        "path": clip.file_path,
        "rate_hz": round(clip.sample_rate),
        "n_samples": clip.sample_length,
        "start_marker": clip.start_marker,
        "warping": clip.warping,
        "stretch": {"beats_per_s": line.beats_per_s, "mode": warp.mode_name(clip)} if line and stretched else None,
        "gain": clip.gain,
        "color": clip.color,
        "in_range": False,
    }


def _is_usable(found: Found, track: Any, clip: Any) -> bool:
    why = ""
    if not clip.is_audio_clip:
        why = "holds MIDI. Freeze and flatten its track first"
    elif clip.muted:
        why = "is muted (deactivated)"
    elif clip.is_recording:
        why = "is being recorded"
    if why:
        found.passed_over.append(f"A clip on “{track.name}” {why}.")
        return False
    try:
        with Path(clip.file_path).open("rb") as file:
            head = file.read(4)
    except (OSError, ValueError):
        why = f"plays a file that cannot be read ({clip.file_path}). Is it offline?"
    else:
        if head not in _EXACT:
            why = f"plays a compressed file, which programs decode differently. {warp.CONSOLIDATE}."
    if why:
        found.problems.append(f"A clip on “{track.name}” {why}")
    return not why


def _without_stems(pieces: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Stems lie beside their source: one that is selected along with it is not asked for again."""
    pieces = list(pieces)
    starts = tuple({piece["track"] + _SEPARATOR for piece in pieces})
    return [piece for piece in pieces if not piece["track"].startswith(starts)]
