"""How long Ableton Live's thread is kept by one tick of the script: `python -m benchmarks.live_ticks`.

Measured in the tests' stand-in for Live, in processor time of that thread. The stand-in's own work (checking every name
and type) is part of it; what Live itself takes to make a track or a clip is not.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.table import Figure, save, show

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from live_desk import Desk, open_live_desk

RESULTS = Path(__file__).parent / "results" / "live_ticks.json"
BOUND_MS = 2.0
N_TICKS = 500
N_CLIPS = 40
LONG_S = 120.0


def figures(folder: Path) -> Iterator[Figure]:
    """One situation after the other, each in a set of its own."""
    for what, run in (("nothing under way", _idle), (f"{N_CLIPS} requests under way", _waiting), ("copying", _copying)):
        place = folder / what.replace(" ", "-")
        place.mkdir()
        with open_live_desk(place) as desk:
            run(desk)
            ticks_ms = 1000 * np.array(desk.host.tick_s)
        for name, percentile in (("p50", 50), ("p99", 99), ("worst", 100)):
            value = float(np.percentile(ticks_ms, percentile))
            bound = BOUND_MS if name == "p99" else None
            conditions = f"{len(ticks_ms)} ticks, processor time, the stand-in's own included"
            yield Figure(f"one tick in Live, {what}, {name}", value, "ms", bound, "<=", conditions)


def _many(desk: Desk) -> None:
    for n in range(1, N_CLIPS):
        desk.add(desk.track, 10.0 + 4 * n)


def _ticks(desk: Desk, n: int = N_TICKS) -> None:
    for _ in range(n):
        desk.host.tick()


def _idle(desk: Desk) -> None:
    _ticks(desk)


def _waiting(desk: Desk) -> None:
    _many(desk)
    desk.hold("tracks", N_CLIPS)
    _ticks(desk)
    desk.host.press("cancel")
    desk.host.settle()


def _copying(desk: Desk) -> None:
    soundfile.write(desk.path, np.zeros((round(LONG_S * 44_100), 2), np.float32), 44_100, subtype="FLOAT")
    desk.clip._state.update(sample_length=round(LONG_S * 44_100), end_marker=LONG_S, end_time=20.0 + 2 * (LONG_S - 0.5))
    desk.no_loop()
    desk.do("extract")


def main() -> None:
    """Measure, print and save."""
    with tempfile.TemporaryDirectory(prefix="stembridge-live-") as name:
        found = list(figures(Path(name)))
    show(found, "Time in Live's thread")
    save(found, RESULTS)


if __name__ == "__main__":
    main()
