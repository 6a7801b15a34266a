"""Drafts: stems that are heard while the engine refines them. Live does not let a script give a clip another sound, so
the result comes as a new clip in the place of a draft that is still as it came in.
"""

from __future__ import annotations

from typing import Any

from . import placing
from .desk import Desk, note
from .warp import TINY_BEATS

_KEPT = ("name", "color", "gain", "muted")
"""What a person may change of a draft; the result takes it over."""


def can_show(song: Any) -> bool:
    """Whether a draft can be brought in: its file goes when the result is there, so the set needs a copy of its own."""
    return bool(getattr(song, "file_path", "")) and placing.can_place(song)


def status_of(desk: Desk, entry: dict[str, Any]) -> dict[str, Any] | None:
    """What a final status would say of a draft that is not in the set yet; None where there is none."""
    status = desk.answers.get(entry["rid"], {})
    if "drafted" in entry or entry.get("cancelled") or status.get("state") != "running":
        return None
    target, residual = status["draft_target"], status["draft_residual"]
    if not (target and residual):
        return None
    manifest = target.removesuffix(".target.wav") + ".json"
    return status | {"state": "done", "target": target, "residual": residual, "manifest": manifest}


def ready(desk: Desk) -> list[dict[str, Any]]:
    """The first request that can be heard as a draft; empty while there is none."""
    return next(([entry] for entry in desk.entries if status_of(desk, entry) is not None), [])


def remember(desk: Desk, entry: dict[str, Any], stems: list[placing.Stem]) -> None:
    """Writes down where the draft lies, so that the result finds it after a restart. Without stems it did not come in,
    and its result comes as any other.
    """
    drafted = {}
    for stem in stems:
        for track in desk.song.tracks:
            for scene, clip in _clips(track):
                for kind, path in stem.paths.items():
                    if clip.file_path == str(path):
                        drafted[kind] = {"path": clip.file_path, "place": _place(scene, clip)}
    entry["drafted"] = drafted
    note(desk, {"of": entry["rid"], "with": {"drafted": drafted}})


def swap(song: Any, stem: placing.Stem) -> list[str]:
    """Puts a result where its draft lies, as an undo step of its own; returns what there is to tell."""
    found = [
        (track, scene, clip, kind)
        for track in song.tracks
        for scene, clip in _clips(track)
        for kind, draft in stem.entry["drafted"].items()
        if clip.file_path == draft["path"] and _is_same(_place(scene, clip), draft["place"]) and not track.is_frozen
    ]
    if not found:
        return [
            f"“{stem.piece['track']}”: the draft is no longer in the set as it came in, so the result was not brought "
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
        problems.append(
            f"Live could not place the result: {e}. Undo brings the draft back; the result lies at {lies_at}"
        )
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
