"""What the scenario table has no row for: more than one gesture, time passing, things changed meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from reaper_desk import Desk, open_desk


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with open_desk(tmp_path) as desk:
        yield desk


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


@pytest.mark.parametrize(("playrate", "version"), [(1.0, (7, 78)), (0.5, (7, 78)), (1.0, (6, 9))])
def test_regions_say_what_sounds_where(desk: Desk, playrate: float, version: tuple[int, int]) -> None:
    desk.host.version = version
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
