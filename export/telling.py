"""How far a long command is, on stderr: one line that is rewritten on a terminal, a line each tenth elsewhere."""

from __future__ import annotations

import sys
import time


class Telling:
    """Called with what is being done, the share that is done, and whether an earlier run had done that part: what is
    only found again says nothing of the time that is left."""

    def __init__(self) -> None:
        self._began_s: float | None = None
        self._free = 0.0
        self._share = 0.0
        self._shown = -1.0
        self._what = ""
        self._terminal = sys.stderr.isatty()

    def __call__(self, what: str, share: float, again: bool) -> None:
        now_s = time.monotonic()
        if self._began_s is None:
            self._began_s = now_s
        if again:
            self._free += share - self._share
        self._share = share
        worked = share - self._free
        left_s = (now_s - self._began_s) * (1 - share) / worked if worked > 0 else None
        line = f"{share:4.0%}  {what}{'' if left_s is None else f', {in_words(left_s)} left at most'}"
        if self._terminal:
            sys.stderr.write(f"\r\x1b[K  {line}")
        elif what.split(",")[0] != self._what or share >= self._shown + 0.1:
            sys.stderr.write(f"  {line}\n")
            self._shown, self._what = share, what.split(",")[0]
        sys.stderr.flush()

    def end(self) -> None:
        """Leave the line."""
        if self._terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def in_words(time_s: float) -> str:
    """A time as a person says it."""
    if time_s < 90:
        return f"{time_s:.0f} s"
    return f"{time_s / 60:.0f} min" if time_s < 5400 else f"{time_s / 3600:.1f} h"
