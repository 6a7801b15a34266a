"""A set with one voice in the stand-in for Ableton Live, its script installed, and an engine at the OSC port."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from live_engine import OscStandIn, serving_osc
from live_host import Host, install_live
from live_set import Clip, LiveSet, Track
from test_reaper_scenarios import make_file

RATE_HZ = 44_100


class Desk:
    """A saved set with one clip of three seconds at 10 s, and the loop over its second second."""

    def __init__(self, folder: Path, library: Path, mailbox: Path, engine: OscStandIn) -> None:
        self.folder, self.mailbox, self.engine = folder, mailbox, engine
        project = folder / "project"
        project.mkdir()
        self.set = LiveSet(project / "song.als")
        self.path = make_file(folder / "voice.wav", 8.0, RATE_HZ, 2)
        self.track = self.set.add_track("Lead Vox", is_part_of_selection=True)
        self.clip = self.add(self.track, 10.0)
        self.set.view._state["detail_clip"] = self.clip
        self.loop(11.0, 12.0)
        self.host = Host(library, self.set)

    def add(self, track: Track, start_s: float, length_s: float = 3.0, **state: object) -> Clip:
        return self.set.add_clip(track, self.path, start_s, length_s, 0.5, **state)

    def warp(self, clip: Clip, bpm: float, *, bent: bool = False) -> None:
        """Warps a clip, with markers at a tempo of its own on one straight line, or not."""
        state = clip._state
        per_beat = 60 / bpm * RATE_HZ
        beats = (state["start_marker"] * RATE_HZ / per_beat, state["end_marker"] * RATE_HZ / per_beat)
        markers = [(0.0, 0.0), (4 * per_beat, 4.0), (8 * per_beat, 8.0)]
        if bent:
            markers[1] = (4.1 * per_beat, 4.0)
        state.update(warping=True, markers=markers, start_marker=beats[0], end_marker=beats[1])
        state.update(loop_start=beats[0], loop_end=beats[1], end_time=state["start_time"] + beats[1] - beats[0])

    def loop(self, from_s: float, to_s: float) -> None:
        beats_per_s = self.set.song._state["tempo"] / 60
        length = (to_s - from_s) * beats_per_s
        self.set.song._state.update(loop=True, loop_start=from_s * beats_per_s, loop_length=length)

    def no_loop(self) -> None:
        self.set.song._state["loop"] = False

    def names(self) -> list[str]:
        return [track._state["name"] for track in self.set.tracks]

    def asked(self) -> list[dict[str, object]]:
        return [fields for fields in self.engine.requests if fields["op"] == "submit"]

    def spans(self, track: Track) -> list[tuple[float, float]]:
        """Where a track's clips lie, in beats."""
        return [(c._state["start_time"], c._state["end_time"]) for c in track._state["arrangement_clips"]]

    def do(self, gesture: str) -> None:
        self.host.press(gesture)
        self.host.settle()

    def hold(self, gesture: str = "extract", n: int = 1) -> None:
        """Presses, and stops when the engine has the requests and answers none."""
        self.engine.holding = True
        before = len(self.asked())
        self.host.press(gesture)
        self.host.run_until(lambda: len(self.asked()) == before + n, "the request")

    def release(self) -> None:
        self.engine.holding = False
        self.host.settle()


@contextmanager
def open_live_desk(tmp_path: Path) -> Iterator[Desk]:
    """A desk for as long as the block runs."""
    library, mailbox = install_live(tmp_path)
    with serving_osc(mailbox, tmp_path / "out") as engine:
        desk = Desk(tmp_path, library, mailbox, engine)
        yield desk
        desk.host.close()
