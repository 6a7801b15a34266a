"""Two DAWs at once on one real engine, REAPER at its mailbox and Live at its OSC port: each gets its own stems."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import live_host
import numpy as np
import pytest
import reaper_host
import test_live_round_trip as in_live
import test_reaper_round_trip as in_reaper

from bridge import child
from bridge.install import reaper
from bridge.install import scheme as install

DEADLINE_S = 120.0


@dataclass
class Room:
    """Both DAWs, with the same song on a track of each."""

    reaper: reaper_host.Host
    live: live_host.Host

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Lets both go on in turn, as they do on one machine."""
        deadline_s = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline_s, f"{what}: {self.reaper.messages} {self.live.messages}"
            self.reaper.tick()
            self.live.tick()
            time.sleep(0.002)

    def idle(self) -> bool:
        desk = self.live.desk
        return not (self.reaper.running or desk.entries or desk.unsent or desk.arriving)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path, Path]]:
    """The folder, REAPER's scripts and Live's library, with an engine that serves both."""
    folder = tmp_path_factory.mktemp("two")
    library, mailbox = live_host.install_live(folder, "state")
    resource_dir = folder / "REAPER"
    resource_dir.mkdir()
    (resource_dir / "reaper.ini").write_text("")
    install.install(reaper.HOST, resource_dir, mailbox)
    with child.engine(folder / "stems", folder / "state", roots=[folder]):
        yield folder, resource_dir / reaper.FOLDER, library


@pytest.fixture
def room(installed: tuple[Path, Path, Path]) -> Iterator[Room]:
    folder, scripts, library = installed
    shutil.rmtree(folder / "project", ignore_errors=True)
    live = in_live.open_song(library, "Lead Vox")
    yield Room(in_reaper.open_song(folder, scripts, "Lead Vox"), live)
    live.close()


def test_each_gets_its_own_stems(room: Room) -> None:
    room.reaper.press("extract_selection")
    room.live.command("extract", "instrumental")
    room.until(room.idle, "both ends")
    assert room.reaper.messages == []
    assert room.live.messages == ["“Lead Vox”: On this model spans had no effect."]
    assert [track.name for track in room.reaper.tracks[1:]] == ["Lead Vox · lead vocals", "Lead Vox · no lead vocals"]
    in_live_now = [track._state["name"] for track in room.live.set.tracks[1:]]
    assert in_live_now == ["Lead Vox · instrumental", "Lead Vox · no instrumental"]
    assert in_reaper.null_dbfs(room.reaper) <= in_reaper.NULL_DBFS
    source, *stems = (track._state["arrangement_clips"][0] for track in room.live.set.tracks)
    samples, rate_hz = stems[0].samples
    times_s = stems[0]._state["start_time"] * 60 / 131 + np.arange(len(samples)) / rate_hz
    parts = [clip.heard(times_s) for clip in stems]
    np.testing.assert_allclose(parts[0] + parts[1], source.heard(times_s), atol=1e-6)


def test_cancel_in_one_leaves_the_other_s_alone(room: Room) -> None:
    for n in range(1, 6):
        room.reaper.tracks[0].add(room.reaper.tracks[0].items[0].takes[0].source, 77.7 + 10 * n, 4.5, 0.5 * n)
    room.reaper.select(room.reaper.tracks[0])
    room.reaper.press("batch_tracks")
    room.live.press("extract")
    room.until(lambda: any("job" in entry for entry in room.live.desk.entries), "Live's request")
    room.live.press("cancel")
    room.until(room.idle, "both ends")
    assert len(room.reaper.tracks[1].items) == len(room.reaper.tracks[2].items) == 6
    assert (room.reaper.messages, room.live.messages) == ([], [])
    assert len(room.live.set.tracks) == 1
