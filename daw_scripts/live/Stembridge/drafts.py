"""Drafts: stems that are heard while the engine goes on. Live does not let a script give a clip another sound, so a
draft of more, and at last the result, comes as a new clip in the place of one that is still as it came in.
"""

from __future__ import annotations

import math
from typing import Any

from . import placing
from .asking import beats_per_s
from .desk import Desk, note
from .warp import TINY_BEATS, is_tempo_automated

_KEPT = ("name", "color", "gain", "muted")
"""What a person may change of a draft; what follows takes it over."""
Lying = tuple[Any, "int | None", Any, str]
"""(track, scene, clip, kind); the scene is None in the Arrangement."""


def can_show(song: Any) -> bool:
    """Whether a draft can be brought in: its file goes when the result is there, so the set needs a copy of its own."""
    return bool(getattr(song, "file_path", "")) and placing.can_place(song)


def playhead_of(song: Any, entry: dict[str, Any]) -> int | None:
    """The sample of the file that the person listens at, where it comes back; else None: the drafts are of the whole.

    So they are in a Session slot, which has no place for a part, under a tempo that scripts are not told, and of
    “remove”, which silences all of its clip when a draft is in.
    """
    piece, request = entry["piece"], entry["request"]
    if "line" not in piece or entry["op"] == "remove" or (is_tempo_automated(song) and not piece.get("stretch")):
        return None
    beats, seconds = piece["line"]
    at_s = seconds + (song.current_song_time - beats) / beats_per_s(piece, song.tempo)
    at = math.floor(at_s * piece["rate_hz"])
    return at if request["start"] <= at < request["end"] else None


def status_of(desk: Desk, entry: dict[str, Any]) -> dict[str, Any] | None:
    """What a final status would say of a draft that is not in the set yet; None where there is none. One that holds no
    more than the one that is in is that one, or comes of an engine that was started again.
    """
    status = desk.answers.get(entry["rid"], {})
    if entry.get("cancelled") or status.get("state") != "running":
        return None
    target, residual, n = status["draft_target"], status["draft_residual"], status["draft_samples"]
    if not (target and residual) or target == entry.get("passed"):
        return None
    if not n and "playhead" in entry["request"]:
        return None  # of an engine that does not say whether it is a part: it would come to lie in a wrong place
    is_part = 0 < n < entry["request"]["end"] - entry["request"]["start"]
    part = [status["draft_offset"], n] if is_part else None
    if entry.get("drafted"):
        last = entry["drafted"][-1]["part"]
        if last is None or (part is not None and n <= last[1]):
            return None
    manifest = target.removesuffix(".target.wav") + ".json"
    return status | {"state": "done", "target": target, "residual": residual, "manifest": manifest, "part": part}


def ready(desk: Desk) -> list[dict[str, Any]]:
    """The first request that can be heard as a draft; empty while there is none."""
    return next(([entry] for entry in desk.entries if status_of(desk, entry) is not None), [])


def remember(desk: Desk, entry: dict[str, Any], stems: list[placing.Stem]) -> None:
    """Writes down where the draft lies, so that what follows finds it after a restart; and those before it, which come
    back when it is undone. Of one that did not come in nothing is written down: what follows comes as any other.
    """
    lie = {}
    for stem in stems:
        for track in desk.song.tracks:
            for scene, clip in _clips(track):
                for kind, path in stem.paths.items():
                    if clip.file_path == str(path):
                        lie[kind] = {"path": clip.file_path, "place": _place(scene, clip)}
    if lie:
        entry["drafted"] = [*entry.get("drafted", ()), {"lie": lie, "part": stems[0].part}]
        note(desk, {"of": entry["rid"], "with": {"drafted": entry["drafted"]}})


def lying(song: Any, entry: dict[str, Any]) -> list[Lying]:
    """The clips of a request's drafts that are as they came in."""
    return [
        (track, scene, clip, kind)
        for track in song.tracks
        for scene, clip in _clips(track)
        for drafted in entry["drafted"]
        for kind, draft in drafted["lie"].items()
        if clip.file_path == draft["path"] and _is_same(_place(scene, clip), draft["place"]) and not track.is_frozen
    ]


def swap(song: Any, stem: placing.Stem, what: str) -> list[str]:
    """Puts `what` where a draft of it lies, as an undo step of its own; returns what there is to tell."""
    found = lying(song, stem.entry)
    if not found:
        return [
            f"“{stem.piece['track']}”: the draft is no longer in the set as it came in, so {what} was not brought "
            f"in. It lies at {stem.paths['target']}."
        ]
    problems: list[str] = []
    song.begin_undo_step()
    try:
        for track, scene, clip, kind in found:
            kept = {key: getattr(clip, key) for key in _KEPT}
            if scene is None:
                track.delete_clip(clip)
            else:
                track.clip_slots[scene].delete_clip()
            new = placing.place_clip(song, track, stem, kind, kept["name"], placing.Made([], []), problems)
            for key, value in kept.items():
                setattr(new, key, value)
    except Exception as e:  # noqa: BLE001  (Live raises errors of many kinds, of its own too; all mean the same here)
        lies_at = stem.paths["target"]
        problems.append(f"Live could not place {what}: {e}. Undo brings the draft back; {what} lies at {lies_at}")
    finally:
        song.end_undo_step()
    return problems


def _clips(track: Any) -> list[tuple[int | None, Any]]:
    """(scene, clip) of every audio clip on a track; the scene is None in the Arrangement."""
    pairs: list[tuple[int | None, Any]] = [(None, clip) for clip in track.arrangement_clips]
    pairs += [(scene, slot.clip) for scene, slot in enumerate(track.clip_slots) if slot.has_clip]
    return [pair for pair in pairs if pair[1].is_audio_clip]


def _place(scene: int | None, clip: Any) -> list[float]:
    """Where a clip lies and what part of its file it plays."""
    lies = [clip.start_time, clip.end_time] if scene is None else [scene]
    return [*lies, clip.start_marker, clip.end_marker]


def _is_same(one: list[float], other: list[float]) -> bool:
    return len(one) == len(other) and all(abs(a - b) < TINY_BEATS for a, b in zip(one, other, strict=True))
