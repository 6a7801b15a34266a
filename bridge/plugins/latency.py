"""How late a plugin really is: what is left of an impulse's delay after the latency it reports was taken out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from engine.audio import Samples

MAX_SHIFT: Final = 8192
"""Samples. What is later than that is an effect (an echo), and no latency."""
_AT: Final = 2 * MAX_SHIFT
_LENGTH: Final = 4 * MAX_SHIFT
_LEVEL: Final = 0.25
"""-12 dBFS: below what a limiter holds back at its default, above what a gate shuts out."""
_FLOOR: Final = 1e-5
"""-100 dB below the peak counts as nothing."""
_ABRUPT: Final = 0.1
"""A delayed sound begins at once; a filter's response swells, and its slow start is no latency."""
_SYMMETRIC: Final = 1e-3
"""How equal both halves of a linear-phase response are, as a share of the whole."""


def measure(run: Callable[[Samples], Samples], channels: int) -> int | None:
    """Samples by which `run` (`(channel, sample)` in, as many out, from rest) is late; negative where it is early.

    None where an impulse does not tell: nothing comes out, or what comes out swells like a filter's response.
    """
    impulse = np.zeros((channels, _LENGTH), np.float32)
    quiet = run(impulse.copy())
    impulse[:, _AT] = _LEVEL
    return _offset((run(impulse) - quiet)[0].astype(np.float64))


def _offset(response: np.ndarray) -> int | None:
    size = np.abs(response)
    peak_at = int(np.argmax(size))
    peak = float(size[peak_at])
    noise = float(size[: _AT - MAX_SHIFT - 1].max())
    if peak < 1e-6 or peak < 10 * noise:
        return None
    first = int(np.argmax(size > max(_FLOOR * peak, 4 * noise)))
    if first < peak_at and _symmetric(response, peak_at, peak_at - first):
        return peak_at - _AT
    if size[first] >= _ABRUPT * peak and abs(first - _AT) <= MAX_SHIFT:
        return first - _AT
    return None


def _symmetric(response: np.ndarray, centre: int, width: int) -> bool:
    before = response[centre - width : centre][::-1]
    after = response[centre + 1 : centre + 1 + width]
    if len(after) < len(before) or abs(centre - _AT) > MAX_SHIFT:
        return False
    return bool(np.linalg.norm(before - after) <= _SYMMETRIC * np.linalg.norm(response))
