"""Times as clients write them → seconds, without losing a sample."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Final

from bridge.api.protocol import Value
from engine.errors import StembridgeError

MAX_SAMPLES: Final = 2**48
"""Above any file we accept, and low enough that float64 seconds resolve a sample at every rate."""
_CLOCK: Final = re.compile(r"(?:(\d{1,6}):)?(\d{1,6}):(\d{1,2}(?:\.\d{0,15})?)")
_NUMBER: Final = re.compile(r"[+-]?\d{1,15}(?:\.\d{0,30})?(?:[eE][+-]?\d{1,2})?")


def seconds(value: Value, *, key: str, rate_hz: int | None = None, typed: bool = False) -> float:
    """A time in seconds from a number or a text such as `12.5`, `1:05.250` or `1:00:00`.

    With `rate_hz` the value is a sample count at that rate. The result is the float64 nearest to the exact time, so
    that `round(result * rate)` gives the sample back for any count below `MAX_SAMPLES`. Raises `StembridgeError`
    (`bad_value`); `typed` leaves out of its remedy what the command line cannot say.
    """
    exact = _exact(value)
    if exact is None:
        forms = ("seconds (12.5)", "minutes and seconds (1:05.250)", "samples with `rate`")
        usable = " or ".join(forms[:2]) if typed else f"{', '.join(forms[:2])}, or {forms[2]}"
        raise _refuse(key, value, f"Use {usable}.")
    if rate_hz is not None:
        if isinstance(value, str) and ":" in value:
            raise _refuse(key, value, "With `rate` every time is a sample count.")
        if exact.denominator != 1 or exact > MAX_SAMPLES:
            raise _refuse(key, value, f"With `rate` every time is a whole number of samples, at most {MAX_SAMPLES}.")
        exact /= rate_hz
    if exact < 0:
        raise _refuse(key, value, "Use a time of 0 or more.")
    return float(exact)


def _exact(value: Value) -> Fraction | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int):
        return Fraction(value)
    if isinstance(value, float):
        return Fraction(value) if math.isfinite(value) else None
    text = value.strip()
    if clock := _CLOCK.fullmatch(text):
        hours, minutes, secs = Fraction(clock[1] or 0), Fraction(clock[2]), Fraction(clock[3])
        return hours * 3600 + minutes * 60 + secs if secs < 60 and (clock[1] is None or minutes < 60) else None
    return Fraction(text) if _NUMBER.fullmatch(text) else None


def _refuse(key: str, value: Value, remedy: str) -> StembridgeError:
    return StembridgeError("bad_value", f"{key} is {str(value)[:60]!r}, which is not a time here.", remedy)
