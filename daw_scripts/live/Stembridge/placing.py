"""Puts stems into the set: two tracks under each source track, clips at their time, one undo step for all."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .asking import beats_per_s, position_beats
from .selection import track_key
from .warp import MAX_DRIFT, TINY_BEATS, is_tempo_automated

_STAYS = "Please look at it; Undo takes all of this back."


@dataclass
class Stem:
    """The two files of one request."""

    entry: dict[str, Any]
    prompt: str
    paths: dict[str, Path]
    """`target` and `residual`."""
    job: str
    part: list[int] | None = None
    """First sample, counted from what was asked for, and length of a draft of a part; None where it is the whole."""
    lost: bool = False
    """Whether a copy could not be made; then neither is placed."""

    @property
    def piece(self) -> dict[str, Any]:
        """The piece it was made from."""
        piece: dict[str, Any] = self.entry["piece"]
        return piece

    @property
    def first_n(self) -> tuple[int, int]:
        """The first sample of the source's file, and how many there are."""
        request = self.entry["request"]
        first, n = self.part or (0, request["end"] - request["start"])
        return request["start"] + first, n


@dataclass
class Made:
    """What was made so far, to be taken back when Live refuses the rest."""

    tracks: list[Any]
    clips: list[tuple[Any, Any]]
    """Track or slot, and clip, on tracks that were there before."""


def can_place(song: Any) -> bool:
    """Whether this Live lets scripts place audio clips: 12.0.5 and later."""
    return hasattr(song.tracks[0], "create_audio_clip")


def is_recording(song: Any) -> bool:
    """Whether a take is being recorded, in either view."""
    return bool(song.record_mode and song.is_playing) or int(song.session_record_status) != 0


def kinds_of(op: str) -> tuple[str, str]:
    """Which stem comes first and sounds: of “remove” what is left, otherwise what was asked for."""
    return ("residual", "target") if op == "remove" else ("target", "residual")


def track_name(stem: Stem, kind: str) -> str:
    """The name of a stem's track, and of its clip."""
    return f"{stem.piece['track']} · {'' if kind == 'target' else 'no '}{stem.prompt}"


def place(song: Any, stems: list[Stem]) -> list[str]:
    """Places all, or nothing where Live refuses; returns what there is to tell."""
    if not stems:
        return []
    if not can_place(song):
        return [
            f"“{stem.piece['track']}”: this version of Live does not let scripts place audio (12.0.5 and later do). "
            f"Drag the stems in: {stem.paths['target']} and {stem.paths['residual']}"
            for stem in stems
        ]
    groups: dict[tuple[str, str, bool], list[Stem]] = {}
    for stem in stems:
        groups.setdefault((stem.piece["track_key"], stem.prompt, "scene" in stem.piece), []).append(stem)
    problems: list[str] = []
    made = Made([], [])
    song.begin_undo_step()
    try:
        for group in groups.values():
            _place_group(song, group, made, problems)
        for stem in stems:
            if stem.entry["op"] == "remove":
                problems += _silence(song, stem.piece)
    except Exception as e:  # noqa: BLE001  (Live raises errors of many kinds, of its own too; all mean the same here)
        _take_back(song, made)
        where = ", ".join(str(stem.paths["target"].parent) for stem in stems[:1])
        problems = [f"Live could not place the stems: {e}. Nothing was changed; they lie in {where}"]
    finally:
        song.end_undo_step()
    return problems


def _place_group(song: Any, group: list[Stem], made: Made, problems: list[str]) -> None:
    """The stems of one track and prompt."""
    source = next((track for track in song.tracks if track_key(track) == group[0].piece["track_key"]), None)
    above = source
    for n, kind in enumerate(kinds_of(group[0].entry["op"])):
        name = track_name(group[0], kind)
        track = _free_track(song, name, group)
        if track is None:
            track = _new_track(song, name, above, source, made)
            track.mute = n == 1
            track.set_data("stembridge", json.dumps({"job": group[0].job, "kind": kind, "prompt": group[0].prompt}))
        if source is not None:
            above = track
        for stem in group:
            place_clip(song, track, stem, kind, name, made, problems)


def _free_track(song: Any, name: str, group: list[Stem]) -> Any:
    """A track of ours with that name that is free at all the places, or None."""
    for track in song.tracks:
        if track.name != name or not track.get_data("stembridge", "") or track.is_frozen:
            continue
        if all(_is_free(song, track, stem) for stem in group):
            return track
    return None


def _is_free(song: Any, track: Any, stem: Stem) -> bool:
    if "scene" in stem.piece:
        slots = track.clip_slots
        return stem.piece["scene"] < len(slots) and not slots[stem.piece["scene"]].has_clip
    begin, length = _place_of(song, replace(stem, part=None))
    return all(
        clip.end_time <= begin + TINY_BEATS or clip.start_time >= begin + length - TINY_BEATS
        for clip in track.arrangement_clips
    )


def _place_of(song: Any, stem: Stem) -> tuple[float, float]:
    """Where a stem begins and how long it is, in beats at the tempo as it is now."""
    begin = position_beats(stem.piece, stem.first_n[0], song.tempo)
    return begin, _length_s(stem) * beats_per_s(stem.piece, song.tempo)


def _length_s(stem: Stem) -> float:
    return float(stem.first_n[1] / stem.entry["request"]["rate"])


def _new_track(song: Any, name: str, above: Any, source: Any, made: Made) -> Any:
    index = -1 if above is None else list(song.tracks).index(above) + 1
    track = song.create_audio_track(index if index < len(song.tracks) else -1)
    made.tracks.append(track)
    track.name = name
    if source is not None:
        track.color = source.color
    return track


def place_clip(song: Any, track: Any, stem: Stem, kind: str, name: str, made: Made, problems: list[str]) -> Any:
    """Puts one stem on a track, at its piece's place. Raises what Live raises."""
    path = str(stem.paths[kind])
    if "scene" in stem.piece:
        holder = track.clip_slots[stem.piece["scene"]]
        clip = holder.create_audio_clip(path)
        made.clips.append((holder, clip))
    else:
        begin, length = _place_of(song, stem)
        clip = track.create_audio_clip(path, begin)
        made.clips.append((track, clip))
    # Live may have guessed a tempo and a loop for it: a stem plays as it is.
    if clip.looping:
        clip.looping = False
    if stem.piece.get("stretch"):
        _stretch(clip, stem)
    else:
        clip.warping = False
        clip.start_marker = 0.0
        clip.end_marker = _length_s(stem)
    clip.name = name
    clip.color = stem.piece["color"]
    clip.gain = stem.piece["gain"]
    if "scene" in stem.piece:
        return clip
    fits = abs(clip.start_time - begin) < TINY_BEATS
    if stem.piece.get("stretch") or not is_tempo_automated(song):
        fits = fits and abs(clip.end_time - begin - length) < length * 1e-6 + 1e-4
    if not fits:
        problems.append(f"“{name}” does not lie where it was put: Live moved it or changed its length. {_STAYS}")
    return clip


def _stretch(clip: Any, stem: Stem) -> None:
    """Warps a stem as its source is, by two markers on one line. Raises `RuntimeError` where Live does otherwise."""
    import Live

    own = stem.piece["stretch"]
    n, rate_hz = clip.sample_length, clip.sample_rate
    clip.warping = True
    if own["mode"]:
        clip.warp_mode = getattr(Live.Clip.WarpMode, own["mode"])
    guessed = list(clip.warp_markers)
    for marker in guessed[1:-1]:  # the last is Live's own, which goes along
        clip.remove_warp_marker(marker.beat_time)
    first, per_beat = guessed[0], rate_hz / own["beats_per_s"]
    sample = clip.beat_to_sample_time(first.beat_time)
    # Live counts a marker's place in samples or in seconds: what it says of one of its own tells which.
    told = guessed[-1].sample_time
    unit = rate_hz if abs(clip.beat_to_sample_time(guessed[-1].beat_time) - told) > max(1.0, told) else 1.0
    clip.add_warp_marker(Live.Clip.WarpMarker(n / unit, first.beat_time + (n - sample) / per_beat))
    begin = first.beat_time - sample / per_beat
    end = begin + _length_s(stem) * own["beats_per_s"]
    clip.start_marker = begin
    clip.end_marker = end
    off = max(abs(clip.beat_to_sample_time(begin)), abs(clip.beat_to_sample_time(end) - n))
    if off > MAX_DRIFT:
        raise RuntimeError(
            f"it does not warp a stem as its clip is (off by {off:.0f} samples). Consolidate the clip first"
        )


def _silence(song: Any, piece: dict[str, Any]) -> list[str]:
    """Mutes the clip that a piece was made from, if it is still there and the piece is all of it."""
    clip = _source_clip(song, piece)
    if clip is None:
        return [f"“{piece['track']}”: the clip was changed meanwhile, so it still sounds. Deactivate it by hand (0)."]
    if "scene" not in piece and piece["beats"] != piece["clip_beats"]:
        return [
            f"“{piece['track']}”: Live does not let scripts cut a clip, so it still sounds in the range. "
            "Split it there (Ctrl/Cmd+E) and deactivate that part (0)."
        ]
    for track in song.tracks:
        if track.is_frozen and track_key(track) == piece["track_key"]:
            return [f"“{piece['track']}” is frozen, so its clip still sounds. Unfreeze it and deactivate the clip (0)."]
    clip.muted = True
    return []


def _source_clip(song: Any, piece: dict[str, Any]) -> Any:
    for track in song.tracks:
        if track_key(track) != piece["track_key"]:
            continue
        if "scene" in piece:
            slots = track.clip_slots
            clips = [slots[piece["scene"]].clip] if piece["scene"] < len(slots) else []
        else:
            clips = list(track.arrangement_clips)
        for clip in clips:
            if clip is not None and clip.is_audio_clip and _is_same(clip, piece):
                return clip
    return None


def _is_same(clip: Any, piece: dict[str, Any]) -> bool:
    same = clip.file_path == piece["path"] and clip.warping == piece["warping"]
    same = same and abs(clip.start_marker - piece["start_marker"]) < TINY_BEATS
    if same and "clip_beats" in piece:
        begin, end = piece["clip_beats"]
        same = abs(clip.start_time - begin) < TINY_BEATS and abs(clip.end_time - end) < TINY_BEATS
    return bool(same)


def _take_back(song: Any, made: Made) -> None:
    """Removes what was made, newest first."""
    for holder, clip in reversed(made.clips):
        if holder in made.tracks:
            continue
        if hasattr(holder, "delete_clip") and hasattr(holder, "has_clip"):
            holder.delete_clip()
        else:
            holder.delete_clip(clip)
    for track in reversed(made.tracks):
        song.delete_track(list(song.tracks).index(track))
