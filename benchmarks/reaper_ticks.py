"""How long REAPER's thread is kept by one tick of the scripts: `python -m benchmarks.reaper_ticks`.

Measured in the tests' stand-in for REAPER, in processor time of that thread. The stand-in's own work (checking every
argument, reading samples) is part of it; what REAPER itself takes to make a track or to draw is not.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.table import Figure, save, show

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from reaper_desk import Desk, open_desk

RESULTS = Path(__file__).parent / "results" / "reaper_ticks.json"
BOUND_MS = 1.0
N_TICKS = 500
N_ITEMS = 40
N_GESTURES = 20
LONG_S = 120.0
READ_S = 15.0


def figures(folder: Path) -> Iterator[Figure]:
    """One situation after the other, each in a project of its own; then all of them together."""
    situations: dict[str, Callable[[Desk], None]] = {
        f"{N_ITEMS} requests under way": _waiting,
        "reading a take": _reading,
        "copying two stems": _copying,
        f"{N_GESTURES} short gestures": _gestures,
    }
    every: list[float] = []
    for number, (what, run) in enumerate(situations.items()):
        place = folder / str(number)
        place.mkdir()
        with open_desk(place) as desk:
            run(desk)
            every += desk.host.tick_s
            yield from _of(what, desk.host.tick_s)
    yield from _of("all of these", every)


def _of(what: str, tick_s: list[float]) -> Iterator[Figure]:
    ticks_ms = 1000 * np.array(tick_s)
    for name, percentile in (("p50", 50), ("p99", 99), ("worst", 100)):
        value = float(np.percentile(ticks_ms, percentile))
        bound = BOUND_MS if name == "p99" else None
        conditions = f"{len(ticks_ms)} ticks, processor time, the stand-in's own included"
        yield Figure(f"one tick in REAPER, {what}, {name}", value, "ms", bound, "<=", conditions)


def _waiting(desk: Desk) -> None:
    for n in range(1, N_ITEMS):
        desk.add(desk.track, 10.0 + 4 * n)
    desk.host.select(desk.track)
    desk.hold("batch_tracks", N_ITEMS)
    for _ in range(N_TICKS):
        desk.host.tick()
    desk.host.press("cancel")
    desk.release()


def _long(desk: Desk, seconds: float) -> None:
    """The item plays so many seconds of a stereo file."""
    soundfile.write(desk.path, np.full((round(seconds * 44_100), 2), 0.1, np.float32), 44_100, subtype="FLOAT")
    desk.item.takes[0].source._audio = None
    desk.item.values["D_LENGTH"] = seconds - 0.5
    desk.host.select(desk.item)


def _reading(desk: Desk) -> None:
    _long(desk, READ_S)
    desk.item.takes[0].values["D_PLAYRATE"] = 1.25
    desk.item.values["D_LENGTH"] /= 1.25
    desk.host.press("extract_selection")
    desk.host.settle()


def _copying(desk: Desk) -> None:
    _long(desk, LONG_S)
    desk.host.press("extract_selection")
    desk.host.settle()


def _gestures(desk: Desk) -> None:
    for n in range(N_GESTURES):
        item = desk.add(desk.track, 20.0 + 4 * n)
        desk.host.select(item)
        desk.host.press("extract_selection")
        desk.host.settle()


def main() -> None:
    """Measure, print and save."""
    with tempfile.TemporaryDirectory(prefix="stembridge-reaper-") as name:
        found = list(figures(Path(name)))
    show(found, "Time in REAPER's thread")
    save(found, RESULTS)


if __name__ == "__main__":
    main()
