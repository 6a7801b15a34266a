"""A project with one voice in the stand-in for REAPER, its scripts installed, and an engine at the mailbox."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ardour_stand_in import StandIn, serving
from reaper_host import Host
from reaper_project import Item, Source, Track
from test_reaper_scenarios import install, make_file


class Desk:
    """A project with one voice, REAPER's scripts and an engine."""

    def __init__(self, folder: Path, engine: StandIn, mailbox: Path, scripts: Path) -> None:
        self.folder, self.engine, self.mailbox = folder, engine, mailbox
        self.host = Host(scripts, folder / "project")
        self.path = make_file(folder / "voice.wav", 4.0, 44_100, 2)
        self.track = self.host.add_track("Lead Vox")
        self.item = self.add(self.track, 10.0)
        self.host.select(self.track, range_s=(11.0, 12.0))

    def add(self, track: Track, position_s: float, **values: float) -> Item:
        return track.add(Source(str(self.path)), position_s, 3.0, 0.5, **values)

    def names(self) -> list[str]:
        return [track.name for track in self.host.tracks]

    def asked(self) -> list[dict[str, object]]:
        return [fields for fields in self.engine.requests if fields["op"] == "submit"]

    def hold(self, action: str = "extract_selection", n: int = 1) -> None:
        """Presses, and stops when the engine has the requests and answers none."""
        self.engine.holding = True
        before = len(self.asked())
        self.host.press(action)
        self.host.run_until(lambda: len(self.asked()) == before + n, "the request")

    def release(self) -> None:
        self.engine.holding = False
        self.host.settle()


@contextmanager
def open_desk(tmp_path: Path) -> Iterator[Desk]:
    """A desk for as long as the block runs, with its engine's sign of life there."""
    scripts, mailbox = install(tmp_path)
    with serving(mailbox, tmp_path / "out") as engine:
        deadline_s = time.monotonic() + 60
        while not (mailbox / "engine.json").exists():
            assert time.monotonic() < deadline_s
            time.sleep(0.005)
        yield Desk(tmp_path, engine, mailbox, scripts)
