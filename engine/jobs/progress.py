"""What a listener hears of a running job: a fraction that never falls, a calm ETA, not too many events."""

from __future__ import annotations

import math
from typing import Final

from engine.request import Progress

MIN_INTERVAL_S: Final = 0.05
"""Two progress events of a job are at least this far apart; the last one (fraction 1) is always sent."""
ETA_SMOOTHING_S: Final = 3.0
"""Time constant with which the shown ETA follows the estimate."""
_MIN_ELAPSED_S, _MIN_FRACTION = 0.5, 0.02
"""Below these an ETA drawn from the fraction alone would be noise, so none is told."""


class ProgressMeter:
    """Follows one attempt at one job. Not thread-safe: the queue calls it under its lock.

    Every `now_s` is a monotonic time in seconds.
    """

    def __init__(self, started_s: float) -> None:
        self._started_s = started_s
        self._updated_s = started_s
        self._sent_s = -math.inf
        self._fraction = 0.0
        self._eta_s: float | None = None

    def update(self, reported: Progress, now_s: float) -> tuple[Progress, bool]:
        """The progress to show for what the engine reported, and whether an event is due.

        The fraction is held in 0 to 1 and never falls (NaN counts as no news). The engine's own ETA is used where it
        gives one, else elapsed time and fraction make one; either way the shown ETA counts down with the clock and
        moves towards the estimate with a time constant of `ETA_SMOOTHING_S`. None is shown while the engine's is NaN.
        """
        was_complete = self._fraction >= 1.0
        if reported.fraction > self._fraction:
            self._fraction = min(reported.fraction, 1.0)
        misleads = reported.eta_s is not None and math.isnan(reported.eta_s) and self._fraction < 1.0
        self._eta_s = None if misleads else self._smooth(self._estimate(reported.eta_s, now_s), now_s)
        self._updated_s = now_s
        complete = self._fraction >= 1.0
        due = (complete and not was_complete) or now_s - self._sent_s >= MIN_INTERVAL_S
        if due:
            self._sent_s = now_s
        return Progress(self._fraction, reported.stage, self._eta_s), due

    def _estimate(self, reported_eta_s: float | None, now_s: float) -> float | None:
        if self._fraction >= 1.0:
            return 0.0
        if reported_eta_s is not None and math.isfinite(reported_eta_s):
            return max(reported_eta_s, 0.0)
        elapsed_s = now_s - self._started_s
        if elapsed_s < _MIN_ELAPSED_S or self._fraction < _MIN_FRACTION:
            return None
        return elapsed_s * (1.0 - self._fraction) / self._fraction

    def _smooth(self, estimate_s: float | None, now_s: float) -> float | None:
        since_s = max(now_s - self._updated_s, 0.0)
        if self._eta_s is None or self._fraction >= 1.0:
            return estimate_s
        counted_down_s = max(self._eta_s - since_s, 0.0)
        if estimate_s is None:
            return counted_down_s
        weight = 1.0 - math.exp(-since_s / ETA_SMOOTHING_S)
        return counted_down_s + weight * (estimate_s - counted_down_s)
