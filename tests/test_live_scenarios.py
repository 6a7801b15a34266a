"""Every scenario that can arise in Ableton Live, in its own script, against stand-ins for Live and for the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from live_engine import OscStandIn, serving_osc
from live_host import Host, install_live
from live_set import Clip, LiveSet, Track
from scenarios import PARTS_S, Scenario, rows_for
from test_reaper_scenarios import make_file

COLOUR = 0x3366CC
ANOTHER_API = 99
GESTURES = {
    "extract_selection": "extract",
    "extract_by_example": "example",
    "extract_items": "clips",
    "remove": "remove",
    "batch_tracks": "tracks",
}


def open_set(folder: Path, library: Path, row: Scenario) -> tuple[Host, Track]:
    project = folder / "project"
    project.mkdir()
    if row.project == "read only":
        (project / "Samples").write_text("a file where the folder should be")
    live_set = LiveSet(None if row.project == "unsaved" else project / "song.als")
    live_set.add_track("Drums")
    group = live_set.add_track("Voices", has_audio_input=False) if row.grouped else None
    track = live_set.add_track(row.track, color=COLOUR, is_frozen=row.frozen, arm=row.armed, group=group)
    if group is not None:
        live_set.add_track("Choir", group=group)
    live_set.add_track("Bass")
    path = make_file(folder / row.file, 4.0 * max(1.0, row.playrate), row.rate_hz, row.n_channels)
    for n in range(row.n_items):
        start_s = row.position_s + n * (row.length_s + 0.5)
        clip = live_set.add_clip(track, path, start_s, row.length_s, row.start_s, gain=0.5 * row.volume)
        clip._state |= {"muted": row.muted, "is_audio_clip": not row.midi}
        if row.playrate != 1:
            stretch(clip, row)
    if row.range_s:
        loop(live_set, row.range_s)
    if row.select != "nothing":
        track._state["is_part_of_selection"] = True
        live_set.view._state["detail_clip"] = track._state["arrangement_clips"][0]
    if row.offline:
        path.unlink()
    return Host(library, live_set), track


def loop(live_set: LiveSet, range_s: tuple[float, float]) -> None:
    beats = [2 * second for second in range_s]
    live_set.song._state |= {"loop": True, "loop_start": beats[0], "loop_length": beats[1] - beats[0]}


def stretch(clip: Clip, row: Scenario) -> None:
    """Warped on one line, so that it plays at another speed."""
    per_beat = row.playrate * row.rate_hz / 2
    begin = clip._state["start_marker"] * row.rate_hz / per_beat
    markers = [(0.0, 0.0), (2 * per_beat, 2.0)]
    clip._state |= {"warping": True, "markers": markers, "start_marker": begin, "end_marker": begin + 2 * row.length_s}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Callable[[Scenario, Path], OscStandIn]]:
    with ExitStack() as stack:

        def start(row: Scenario, mailbox: Path) -> OscStandIn:
            api = ANOTHER_API if row.engine == "other api" else 1
            stand_in = stack.enter_context(serving_osc(mailbox, tmp_path / "out", api))
            stand_in.losing, stand_in.garbage = row.engine == "loses stems", row.engine in ("garbage", "stale")
            stand_in.drafting, stand_in.parts = row.engine in ("drafts", "grows"), PARTS_S * (row.engine == "grows")
            stand_in.holding = stand_in.drafting or row.engine in ("dies", "holds")
            if row.engine == "shared":
                theirs = {"rid": "reaper-1", "op": "submit", "name": "theirs", "path": "", "rate": 1}
                stand_in.requests.append(theirs)
                stand_in._status("reaper-1", state="running")
            return stand_in

        yield start


def act(row: Scenario, host: Host, track: Track) -> None:
    """The gesture, with the person's answer: words on the command line, or the track renamed when it is asked."""
    gesture = GESTURES[row.gesture]
    words = row.answers[0][0] if row.answers and row.answers[0] else None
    if row.gesture == "remove" and words != track._state["name"]:
        host.command(gesture, words)
        return
    host.press(gesture)
    if row.gesture != "remove" and row.answers:
        host.run_until(lambda: any("does not say" in text for text in host.messages), "the question")
        host.messages.clear()
        if words:
            host.set.rename(track, words)
            host.run_until(lambda: bool(host.desk.entries), "the new request")


@pytest.mark.parametrize("row", rows_for("live"), ids=lambda row: row.name)
def test_in_live(row: Scenario, tmp_path: Path, engine: Callable[[Scenario, Path], OscStandIn]) -> None:
    library, mailbox = install_live(tmp_path)
    host, track = open_set(tmp_path, library, row)
    before, files = host.set.snapshot(), {p: p.read_bytes() for p in tmp_path.glob("take*")}
    stand_in = engine(row, mailbox) if row.engine != "stopped" else None
    act(row, host, track)
    if row.engine == "dies":
        assert stand_in is not None
        host.run_until(lambda: len(stand_in.requests) == 1, "the request")
        stand_in.fall_silent()
        host.run_until(lambda: host.messages != [], "the message")
        stand_in.holding, stand_in.alive = False, True
    if row.engine in ("drafts", "grows"):
        assert stand_in is not None
        host.run_until(lambda: len(host.set.undo_steps) == 1, "the draft")
        if row.engine == "grows":
            stand_in.grow(1)
            host.run_until(lambda: len(host.set.undo_steps) == 2, "more of it")
        stand_in.holding = False
    if row.engine == "holds":
        assert stand_in is not None
        host.run_until(lambda: len(stand_in.requests) == 1, "the request")
        host.press("cancel")
    host.settle()
    if row.again_s:
        loop(host.set, row.again_s)
        host.press("repeat")
        host.settle()

    if row.says:
        assert any(row.says in text for text in host.messages), host.messages
    else:
        assert host.messages == []
    assert not list(mailbox.glob("clients/*.jsonl")), "requests are left open"
    assert not list(tmp_path.glob("project/**/*.part"))
    assert {p: p.read_bytes() for p in files if p.exists()} == {p: b for p, b in files.items() if p.exists()}
    if not row.stems:
        assert host.set.snapshot() == before
        assert host.set.undo_steps == []
        return
    assert stand_in is not None
    asked = [fields for fields in stand_in.requests if fields["op"] == "submit" and fields["rid"] != "reaper-1"]
    for fields in asked[-len(row.stems) :]:
        assert fields.get("prompt", fields.get("track")) == (row.prompt or track._state["name"])
        assert fields["path"] == str(tmp_path / row.file)
        assert ("span+" in fields) == row.has_example
    # Each draft, and the result in its place.
    n_steps = {"drafts": 2, "grows": 3}.get(row.engine, row.n_gestures)
    assert len(host.set.undo_steps) == n_steps
    check_tracks(row, host, track)
    check_stems(row, host, track)
    for _ in range(n_steps):
        host.set.undo()
    after = host.set.snapshot()
    renamed = bool(row.answers) and row.gesture != "remove"
    assert renamed or after == before


def stem_tracks(host: Host, track: Track) -> list[Track]:
    at = host.set.tracks.index(track)
    return host.set.tracks[at + 1 : at + 3]


def names_of(row: Scenario, track: Track) -> list[str]:
    prompt = "vocals" if row.prompt is None or (row.answers and row.gesture != "remove") else row.prompt
    names = [f"{track._state['name']} · {prompt}", f"{track._state['name']} · no {prompt}"]
    return names[::-1] if row.gesture == "remove" else names


def check_tracks(row: Scenario, host: Host, track: Track) -> None:
    around = ["Voices", "Choir"] if row.grouped else []
    expected = ["Drums", *around[:1], track._state["name"], *names_of(row, track), *around[1:], "Bass"]
    assert [t._state["name"] for t in host.set.tracks] == expected
    for stem_track, muted in zip(stem_tracks(host, track), (False, True), strict=True):
        assert stem_track._state["mute"] == muted
        assert stem_track._state["color"] == COLOUR
        assert stem_track._state["group"] is track._state["group"]
        assert "job" in stem_track._state["data"]["stembridge"]


def stem_times(clip: Clip, playrate: float) -> np.ndarray:
    """The timeline times of a stem's own samples."""
    samples, rate_hz = clip.samples
    return clip._state["start_time"] / 2 + np.arange(len(samples)) / (rate_hz * playrate)


def check_stems(row: Scenario, host: Host, track: Track) -> None:
    pairs = zip(*(t._state["arrangement_clips"] for t in stem_tracks(host, track)), strict=True)
    sources = track._state["arrangement_clips"]
    for (from_s, to_s), (one, other) in zip(row.stems, pairs, strict=True):
        for clip in (one, other):
            state = clip._state
            assert state["warping"] == (row.playrate != 1)
            assert not state["looping"]
            assert state["gain"] == 0.5 * row.volume
            assert state["color"] == 0x336699
            # A stem is whole samples of the source, so it may begin and end less than one beyond the range.
            span_s = state["start_time"] / 2, state["end_time"] / 2
            assert -1e-9 <= from_s - span_s[0] + 1e-9 < 1 / (row.rate_hz * row.playrate) + 2e-9
            assert -1e-9 <= span_s[1] - to_s + 1e-9 < 1 / (row.rate_hz * row.playrate) + 2e-9
            in_project = Path(state["file_path"]).is_relative_to(host.set_folder)
            assert in_project == (row.project == "saved")
        # Half of what the source gives at the very times of the stem's samples: not one sample off.
        source = next(c for c in sources if c._state["start_time"] / 2 <= from_s + 1e-9 < c._state["end_time"] / 2)
        times_s = stem_times(one, row.playrate)
        inside = (times_s > from_s - 1e-9) & (times_s < to_s - 1e-9)
        times_s = times_s[inside]
        assert len(times_s) >= int((to_s - from_s) * row.rate_hz * row.playrate) - 2
        heard = source.heard(times_s)
        np.testing.assert_allclose(one.heard(times_s) + other.heard(times_s), heard, atol=1e-6)
        np.testing.assert_allclose(one.heard(times_s), 0.5 * heard, atol=1e-6)
    muted = [(c._state["start_time"] / 2, c._state["end_time"] / 2) for c in sources if c._state["muted"]]
    assert muted == [pytest.approx(span) for span in (row.stems if row.gesture == "remove" else ())]
