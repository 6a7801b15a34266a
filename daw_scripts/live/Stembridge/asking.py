"""From a piece to a request in the engine's words; every time in it is a sample count at the file's own rate."""

from __future__ import annotations

import math
import re
from typing import Any, Literal

from . import ledger

Op = Literal["extract", "example", "remove"]
_SAME_SAMPLE = 1e-3
_MAX_NAME = 60


def entry_of(piece: dict[str, Any], op: Op, gesture: str, prompt: str | None, tempo: float) -> dict[str, Any]:
    """An entry for the ledger, with the request in it. `tempo` in beats a minute."""
    rid = ledger.new_id()
    item = touched(piece, piece["item_s"])
    part = touched(piece, piece["part_s"])
    back = item if op == "example" else part
    position = position_beats(piece, back[0], tempo)
    request: dict[str, Any] = {
        "path": piece["path"],
        "rate": piece["rate_hz"],
        "start": back[0],
        "end": back[1],
        "item": item,
        "position": max(0, round(position * 60 / tempo * piece["rate_hz"])),
        "keep": "both",
        "name": f"{file_name(piece['track'])} {rid.removeprefix('live-')}",
    }
    request |= {"prompt": prompt} if prompt else {"track": piece["track"]}
    if op == "example" or piece["in_range"]:
        request["span+"] = [part]
    return {"rid": rid, "gesture": gesture, "op": op, "piece": piece, "request": request}


def touched(piece: dict[str, Any], span_s: list[float]) -> list[int]:
    """The samples of the file that a stretch of it touches, first and end. A first sample that would lie before the
    song's beginning is left out.
    """
    rate_hz, n_samples = piece["rate_hz"], piece["n_samples"]
    first = max(0, _down(span_s[0] * rate_hz))
    if "line" in piece and _before_zero(piece, first):
        first += 1
    return [first, min(n_samples, -_down(-span_s[1] * rate_hz))]


def position_beats(piece: dict[str, Any], first: int, tempo: float) -> float:
    """The beat at which a sample of the file lies; 0 for a Session clip, whose stems lie in slots."""
    if "line" not in piece:
        return 0.0
    beats, seconds = piece["line"]
    return max(0.0, float(beats + (first / piece["rate_hz"] - seconds) * beats_per_s(piece, tempo)))


def beats_per_s(piece: dict[str, Any], tempo: float) -> float:
    """Beats in a second of a piece's file: its own where it is stretched, else the set's."""
    return float(piece["stretch"]["beats_per_s"] if piece.get("stretch") else tempo / 60)


def file_name(text: str) -> str:
    """A plain file name, short enough for every file system."""
    name = re.sub(r'[\x00-\x1f\x7f/\\:*?"<>|]', "_", text).lstrip(" .")
    while len(name.encode()) > _MAX_NAME:
        name = name[:-1]
    return name.rstrip(" .")


def _before_zero(piece: dict[str, Any], first: int) -> bool:
    """Whether a sample lies before the first beat; the tempo does not matter for that."""
    beats, seconds = piece["line"]
    return bool(beats <= 0 and first / piece["rate_hz"] < seconds - _SAME_SAMPLE / piece["rate_hz"])


def _down(samples: float) -> int:
    """A whole number of samples; what is one but for rounding is that one."""
    near = round(samples)
    return near if abs(samples - near) < _SAME_SAMPLE else math.floor(samples)
