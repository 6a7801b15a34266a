"""What the scenario table has no row for: more than one gesture, time passing, things changed meanwhile, bad files."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
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


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    scripts, mailbox = install(tmp_path)
    with serving(mailbox, tmp_path / "out") as engine:
        deadline_s = time.monotonic() + 10
        while not (mailbox / "engine.json").exists():
            assert time.monotonic() < deadline_s
            time.sleep(0.005)
        yield Desk(tmp_path, engine, mailbox, scripts)


def test_setup_takes_every_action_into_the_list(desk: Desk) -> None:
    desk.host.press("setup")
    installed = {path.name for path in desk.host.scripts.glob("stembridge_*.lua")}
    listed = {Path(path).name for path in desk.host._commands}
    assert listed == installed - {"stembridge_setup.lua"}
    (message,) = desk.host.messages
    assert "are in the action list" in message


def test_a_folder_is_kept_intact(desk: Desk) -> None:
    parent = desk.host.add_track("Choir", I_FOLDERDEPTH=1)
    last = desk.host.add_track("Alto", I_FOLDERDEPTH=-1)
    desk.host.add_track("Outside")
    desk.add(last, 10.0)
    desk.host.select(last, range_s=(11.0, 12.0))
    desk.host.press("extract_selection")
    desk.host.settle()
    depth = {track.name: track.values["I_FOLDERDEPTH"] for track in desk.host.tracks}
    assert depth[parent.name] == 1
    assert [depth[name] for name in ("Alto", "Alto · vocals", "Alto · no vocals", "Outside")] == [0, 0, -1, 0]


def test_the_same_tracks_are_used_while_they_are_free(desk: Desk) -> None:
    desk.host.press("extract_selection")
    desk.host.settle()
    desk.host.select(desk.track, range_s=(12.0, 12.5))
    desk.host.press("extract_selection")
    desk.host.settle()
    assert desk.names() == ["Lead Vox", "Lead Vox · vocals", "Lead Vox · no vocals"]
    assert sorted(item.span for item in desk.host.tracks[1].items) == [(11.0, 1.0), (12.0, 0.5)]
    desk.host.press("extract_selection")  # the same place again: it is taken
    desk.host.settle()
    assert len(desk.host.tracks) == 5
    assert len(desk.host.undo_points) == 3


def test_a_person_s_track_of_that_name_is_left_alone(desk: Desk) -> None:
    theirs = desk.host.add_track("Lead Vox · vocals")
    desk.host.press("extract_selection")
    desk.host.settle()
    assert theirs.items == []


def test_a_stem_selected_with_its_source_is_not_asked_for(desk: Desk) -> None:
    desk.host.press("extract_selection")
    desk.host.settle()
    desk.host.select(*desk.host.tracks, range_s=(11.0, 12.0))
    desk.host.press("extract_selection")
    desk.host.settle()
    assert [fields["track"] for fields in desk.asked()] == ["Lead Vox", "Lead Vox"]


def test_selected_items_say_which_are_meant_by_a_range(desk: Desk) -> None:
    other = desk.host.add_track("Bass")
    item = desk.add(other, 10.0)
    desk.host.select(item, desk.track, range_s=(11.0, 12.0))
    desk.host.press("extract_selection")
    desk.host.settle()
    assert [fields["track"] for fields in desk.asked()] == ["Bass"]


def test_repeat_last_uses_the_same_words(desk: Desk) -> None:
    desk.host.press("repeat_last")
    assert desk.host.messages == ["There is nothing to repeat yet."]
    desk.host.answers = [["drums"]]
    desk.host.press("remove")
    desk.host.settle()
    other = desk.host.add_track("Bass")
    desk.add(other, 10.0)
    desk.host.select(other, range_s=(10.5, 11.0))
    desk.host.press("repeat_last")
    desk.host.settle()
    assert [fields["prompt"] for fields in desk.asked()] == ["drums", "drums"]
    assert desk.names()[-2:] == ["Bass · no drums", "Bass · drums"]
    assert len(desk.host.asked) == 1


def test_progress_is_said_in_words(desk: Desk) -> None:
    desk.host.press("show_progress")
    assert desk.host.messages == ["No request of this session is under way."]
    desk.hold()
    rid = desk.asked()[0]["rid"]
    with desk.engine._lock:  # after what the engine itself says of it
        desk.engine._status(rid, state="running", stage="separating", fraction=0.426, eta_s=71.2)
    desk.host.press("show_progress")
    assert desk.host.window_lines == ["“Lead Vox”: separating, 42 %, 1:12 left", "Cancel"]
    desk.host.press("show_progress")  # again: the window is opened anew, and nothing is asked
    desk.release()
    assert desk.host.window is None
    assert len(desk.host.undo_points) == 1


@pytest.mark.parametrize("key", [-1, 27])
def test_the_progress_window_can_be_closed(desk: Desk, key: int) -> None:
    desk.hold()
    desk.host.press("show_progress")
    desk.host.window_key = key
    desk.host.tick()
    assert desk.host.window is None
    desk.release()
    assert len(desk.host.undo_points) == 1


def test_the_progress_window_s_button_cancels(desk: Desk) -> None:
    desk.hold()
    desk.host.press("show_progress")
    window = desk.host.window
    window["mouse_x"], window["mouse_y"] = 20, window["h"] - 20
    desk.host.tick()
    assert desk.host.window is not None  # the mouse is on it, and nothing is pressed
    window["mouse_cap"] = 1
    desk.host.settle()
    assert desk.host.window is None
    assert desk.names() == ["Lead Vox"]
    assert [fields["op"] for fields in desk.engine.requests] == ["submit", "cancel"]


def test_many_requests_fit_the_progress_window(desk: Desk) -> None:
    for n in range(1, 40):
        desk.add(desk.track, 10.0 + 4 * n)
    desk.host.select(desk.track)
    desk.hold("batch_tracks", 40)
    desk.host.press("show_progress")
    assert desk.host.window_lines[-2:] == ["… and 20 more", "Cancel"]
    desk.release()


def test_what_comes_after_reaper_was_closed_comes_in_later(desk: Desk) -> None:
    desk.hold()
    desk.host.quit()
    assert desk.host.running == []
    desk.engine.holding = False
    desk.host.run_until(lambda: any(desk.folder.glob("out/*.wav")), "the stems")
    assert desk.names() == ["Lead Vox"]
    desk.host.press("show_progress")
    desk.host.settle()
    assert desk.names() == ["Lead Vox", "Lead Vox · vocals", "Lead Vox · no vocals"]


def test_another_project_gets_nothing(desk: Desk) -> None:
    desk.hold()
    mine, theirs = dict(desk.host.project_ext), {}
    desk.host.project_ext = theirs
    desk.engine.holding = False
    desk.host.run_until(lambda: any(desk.folder.glob("out/*.wav")), "the stems")
    for _ in range(20):
        desk.host.tick()
    assert desk.host.undo_points == []
    assert desk.host.running  # it waits for the first project to come back
    desk.host.project_ext = mine
    desk.host.settle()
    assert len(desk.host.undo_points) == 1


def test_a_running_take_is_not_disturbed(desk: Desk) -> None:
    desk.host.play_state = 5
    desk.host.press("extract_selection")
    desk.host.run_until(lambda: len(list(desk.folder.glob("project/Stembridge/*.wav"))) == 2, "the copies")
    for _ in range(20):
        desk.host.tick()
    assert desk.host.undo_points == []
    desk.host.play_state = 0
    desk.host.settle()
    assert len(desk.host.undo_points) == 1


def test_remove_leaves_an_item_that_was_changed_alone(desk: Desk) -> None:
    desk.host.answers = [["drums"]]
    desk.hold("remove")
    desk.item.values["D_POSITION"] = 11.0
    desk.release()
    assert [(item.span, item.values["B_MUTE"]) for item in desk.track.items] == [((11.0, 3.0), 0)]
    (message,) = desk.host.messages
    assert "was changed meanwhile" in message
    assert desk.names()[1:] == ["Lead Vox · no drums", "Lead Vox · drums"]


def test_a_source_track_that_was_deleted_does_not_lose_the_stem(desk: Desk) -> None:
    desk.hold()
    desk.host.tracks.remove(desk.track)
    desk.host.add_track("Bass")
    desk.release()
    assert desk.names() == ["Bass", "Lead Vox · vocals", "Lead Vox · no vocals"]


def start_reading(desk: Desk) -> None:
    """Presses on a half-speed item of a long file and stops in the middle of reading it."""
    samples, rate_hz = np.tile(soundfile.read(desk.path, dtype="float32")[0], (8, 1)), 44_100
    soundfile.write(desk.path, samples, rate_hz, subtype="FLOAT")
    desk.item.takes[0].source = Source(str(desk.path))
    desk.item.takes[0].values["D_PLAYRATE"] = 0.5
    desk.item.values["D_LENGTH"] = 60.0
    desk.host.select(desk.item)
    desk.host.press("extract_selection")
    desk.host.run_until(lambda: any(desk.mailbox.glob("clients/*.part")), "the reading")


def test_an_item_changed_while_it_is_read_is_said(desk: Desk) -> None:
    start_reading(desk)
    desk.item.takes[0].values["D_PLAYRATE"] = 0.75
    desk.host.settle()
    (message,) = desk.host.messages
    assert "was changed while it was read" in message
    assert desk.asked() == []
    assert not list(desk.mailbox.glob("clients/*.wav*"))


def test_reading_can_be_cancelled(desk: Desk) -> None:
    start_reading(desk)
    desk.host.press("cancel")
    desk.host.settle()
    assert (desk.host.messages, desk.engine.requests) == ([], [])
    assert not list(desk.mailbox.glob("clients/*.wav*"))


def test_reading_that_was_broken_off_is_begun_again(desk: Desk) -> None:
    start_reading(desk)
    desk.host.quit()
    assert not list(desk.mailbox.glob("clients/*.part"))
    desk.host.press("show_progress")
    assert "is being read from REAPER" in desk.host.window_lines[0]
    desk.host.settle()
    assert len(desk.host.undo_points) == 1
    assert desk.host.tracks[1].items[0].span == (10.0, 60.0)


def test_a_project_folder_that_cannot_be_written_is_said(desk: Desk) -> None:
    (desk.folder / "project" / "Stembridge").write_text("a file where the folder should be")
    desk.host.press("extract_selection")
    desk.host.settle()
    assert desk.names() == ["Lead Vox"]
    assert desk.host.undo_points == []
    text = desk.host.messages[0]
    assert "cannot be copied into the project's folder" in text
    assert Path(text.rsplit("It stays at ", 1)[1].split(".wav")[0] + ".wav").exists()


def test_a_stem_that_is_no_sound_file_is_said(desk: Desk) -> None:
    desk.hold()
    request = desk.asked()[0]
    rubbish = desk.folder / "rubbish.wav"
    rubbish.write_bytes(b"no sound")
    with desk.engine._lock:
        desk.engine._waiting.clear()
        desk.engine._status(request["rid"], state="done", prompt="vocals", target=str(rubbish), residual=str(rubbish))
    desk.release()
    assert "could not open" in desk.host.messages[0]
    assert desk.names() == ["Lead Vox"]


@pytest.mark.parametrize(
    "rubbish",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"state": "done"}',
        b'{"rid": "someone-else", "state": "done", "target": "/etc/passwd"}',
    ],
)
def test_rubbish_in_the_mailbox_is_passed_over(desk: Desk, rubbish: bytes) -> None:
    desk.hold()
    rid = desk.asked()[0]["rid"]
    with desk.engine._lock:
        (desk.mailbox / "status" / f"{rid}.json").write_bytes(rubbish)
        (desk.mailbox / "status" / "stray.json").write_bytes(rubbish)
    (ledger,) = desk.mailbox.glob("clients/*.jsonl")
    with ledger.open("ab") as file:
        file.write(rubbish.replace(b"\n", b"") + b"\n")
    for _ in range(20):
        desk.host.tick()
    assert (desk.host.messages, desk.host.undo_points) == ([], [])
    desk.release()
    assert len(desk.host.undo_points) == 1


def test_many_items_come_in_together_in_one_undo_point(desk: Desk) -> None:
    for n in range(1, 30):
        desk.add(desk.track, 10.0 + 4 * n)
    desk.host.select(desk.track)
    desk.host.press("batch_tracks")
    desk.host.settle()
    assert len(desk.host.undo_points) == 1
    assert len(desk.host.tracks) == 3
    assert len(desk.host.tracks[1].items) == 30
    assert len(desk.host.built_peaks) == 60


def test_what_is_known_of_a_stem_lies_on_it(desk: Desk) -> None:
    desk.host.press("extract_selection")
    desk.host.settle()
    take = desk.host.tracks[1].items[0].takes[0]
    known = json.loads(take.strings["P_EXT:stembridge"])
    assert (known["kind"], known["op"], known["prompt"], known["job"]) == ("target", "extract", "vocals", "j1")
    assert take.strings["P_NAME"] == "Lead Vox · vocals"


@pytest.mark.parametrize("playrate", [1.0, 0.5])
def test_regions_say_what_sounds_where(desk: Desk, playrate: float) -> None:
    desk.item.takes[0].values["D_PLAYRATE"] = playrate
    desk.host.select(desk.track)
    desk.host.markers = [
        (True, 9.0, 10.5, " Lead Vocals "),
        (False, 11.0, 0.0, "vocals"),
        (True, 11.0, 11.5, "lead vocals"),
        (True, 11.25, 12.0, "drums"),
        (True, 12.0, 12.5, "no drums"),
        (True, 12.5, 12.75, "-"),
        (True, 12.5, 12.75, ""),
        (True, 20.0, 21.0, "bass"),
    ]
    desk.host.press("regions_to_jobs")
    desk.host.settle()
    base = 22_050 if playrate == 1 else 0  # the item's own file, or one that begins with the item

    def at(*times_s: float) -> list[int]:
        return [base + round((time_s - 10.0) * 44_100) for time_s in times_s]

    asked = {fields["prompt"]: fields for fields in desk.asked()}
    assert list(asked) == ["lead vocals", "drums"]
    assert asked["lead vocals"]["span+"] == [at(10.0, 10.5), at(11.0, 11.5)]
    assert asked["lead vocals"]["span-"] == [at(12.5, 12.75)]
    assert asked["drums"]["span+"] == [at(11.25, 12.0)]
    assert asked["drums"]["span-"] == [at(12.0, 12.5), at(12.5, 12.75)]
    assert len(desk.host.undo_points) == 1
    assert {"Lead Vox · lead vocals", "Lead Vox · drums"} < set(desk.names())
    assert all(item.span == (10.0, 3.0) for track in desk.host.tracks for item in track.items)


def test_no_region_over_the_items_is_said(desk: Desk) -> None:
    desk.host.markers = [(True, 20.0, 21.0, "bass"), (True, 10.0, 11.0, "no drums")]
    desk.host.press("regions_to_jobs")
    assert "No named region" in desk.host.messages[0]
    assert desk.asked() == []
