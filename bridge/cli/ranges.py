"""Time ranges as people type them → seconds from the start of the file."""

from __future__ import annotations

import re
from typing import Final

from bridge.api.times import seconds
from engine.errors import StembridgeError

_DASHES: Final = re.compile(r"\s*[-–—]\s*")


def parse_range(text: str, option: str, *, open_end: bool = False) -> tuple[float, float | None]:
    """(start, end) in seconds of `START:END` in plain seconds, or `START-END` where either may be `m:ss.mmm`.

    With `open_end` the end may be left out (`12:` or `12-`) and is None. `option` names it in messages.
    Raises `StembridgeError` (`bad_value`) for what is no range, and for one that ends before it starts.
    """
    parts = _DASHES.split(text.strip())
    if len(parts) == 1:
        parts = text.strip().split(":")
    if len(parts) != 2 or not parts[0] or not (parts[1] or open_end):
        raise StembridgeError(
            "bad_value",
            f"{option} {text[:60]!r} is not a time range.",
            "Write START:END in seconds (12:20), or START-END with minutes (1:05-1:20.5).",
        )
    start_s = seconds(parts[0], key=option, typed=True)
    end_s = seconds(parts[1], key=option, typed=True) if parts[1] else None
    if end_s is not None and end_s <= start_s:
        raise StembridgeError(
            "bad_value",
            f"{option} {text[:60]!r} runs from {start_s:g} s to {end_s:g} s.",
            "Give a start before its end. If these are minutes, join them by a dash: 12:20-12:40.",
        )
    return start_s, end_s


def parse_counts(text: str, option: str) -> list[int]:
    """The whole numbers of `1,2,4,8`, each once, in order. Raises `StembridgeError` (`bad_value`)."""
    try:
        numbers = sorted({int(part) for part in text.split(",")})
    except ValueError as e:
        raise StembridgeError(
            "bad_value", f"{option} {text[:60]!r} is no list of whole numbers.", "Write 1,2,4,8."
        ) from e
    if numbers[0] < 1:
        raise StembridgeError("bad_value", f"{option} holds {numbers[0]}.", "Use numbers of 1 or more.")
    return numbers
