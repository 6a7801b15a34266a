"""A draft is heard first in Live, and the result takes its place where it still lies as it came in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live_desk import Desk, open_live_desk
from live_set import Clip, LiveSet, Track

NAMES = ["Lead Vox", "Lead Vox · vocals", "Lead Vox · no vocals"]
NO_DRAFT_LEFT = "the draft is no longer in the set as it came in"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with open_live_desk(tmp_path) as desk:
        desk.engine.drafting = True
        yield desk


def bring_draft(desk: Desk, gesture: str = "extract") -> None:
    desk.hold(gesture)
    desk.host.run_until(lambda: len(desk.set.undo_steps) == 1, "the draft")


def stem(desk: Desk, n: int = 1) -> Clip:
    (clip,) = desk.set.tracks[n]._state["arrangement_clips"]
    return clip


def share(desk: Desk, clip: Clip, from_sample: int = 66_150) -> float:
    """How much of the source a stem holds; it begins at that sample of the source's file."""
    source, found = desk.clip.samples[0], clip.samples[0]
    return float(np.median(found / source[from_sample : from_sample + len(found)]))


def test_the_result_takes_the_draft_s_place(desk: Desk) -> None:
    bring_draft(desk)
    draft = stem(desk)
    assert desk.asked()[0]["quality"] == "progressive"
    assert share(desk, draft) == 0.25
    assert Path(draft._state["file_path"]).is_relative_to(desk.folder / "project")
    span, before = desk.spans(desk.set.tracks[1]), desk.set.snapshot()
    desk.release()
    assert desk.names() == NAMES
    assert (share(desk, stem(desk)), share(desk, stem(desk, 2))) == (0.5, 0.5)
    assert desk.spans(desk.set.tracks[1]) == span
    assert desk.host.messages == []
    assert len(desk.set.undo_steps) == 2
    desk.set.undo()  # the draft is back
    assert desk.set.snapshot() == before


def test_what_a_person_gave_the_draft_stays(desk: Desk) -> None:
    bring_draft(desk)
    mine = {"name": "Hook", "color": 0xFF0000, "gain": 0.25, "muted": True}
    stem(desk)._state.update(mine)
    desk.release()
    assert {key: stem(desk)._state[key] for key in mine} == mine
    assert share(desk, stem(desk)) == 0.5


@pytest.mark.parametrize("change", [{"start_time": 40.0, "end_time": 42.0}, {"end_marker": 0.5, "end_time": 23.0}])
def test_a_draft_that_was_moved_or_cut_is_left_alone(desk: Desk, change: dict[str, Any]) -> None:
    bring_draft(desk)
    for n in (1, 2):
        stem(desk, n)._state.update(change)
    desk.release()
    (text,) = desk.host.messages
    assert NO_DRAFT_LEFT in text
    assert Path(text.split("It lies at ")[1].rstrip(".")).is_file()
    assert share(desk, stem(desk)) == 0.25
    assert len(desk.set.undo_steps) == 1


def test_one_of_two_drafts_that_is_left_gets_its_result(desk: Desk) -> None:
    bring_draft(desk)
    desk.set.tracks[2]._state["arrangement_clips"].clear()
    desk.release()
    assert desk.host.messages == []
    assert share(desk, stem(desk)) == 0.5
    assert desk.spans(desk.set.tracks[2]) == []


def test_a_draft_that_was_undone_does_not_come_back(desk: Desk) -> None:
    bring_draft(desk)
    desk.set.undo()
    desk.release()
    assert desk.names() == ["Lead Vox"]
    (text,) = desk.host.messages
    assert NO_DRAFT_LEFT in text


def test_cancel_keeps_the_draft_that_is_in(desk: Desk) -> None:
    bring_draft(desk)
    desk.host.press("cancel")
    desk.host.settle()
    assert desk.names() == NAMES
    assert share(desk, stem(desk)) == 0.25
    assert desk.host.messages == []


def test_a_draft_that_is_cancelled_on_its_way_does_not_come_in(desk: Desk) -> None:
    desk.host.module("script").BUDGET_S = -1.0  # one block of a copy in each tick
    desk.hold()
    desk.host.run_until(lambda: desk.host.desk.arriving is not None, "the draft to begin")
    desk.host.press("cancel")
    desk.host.settle()
    assert desk.names() == ["Lead Vox"]
    assert desk.set.undo_steps == []
    assert not list(desk.folder.glob("project/**/*.part"))


def test_a_failure_after_the_draft_is_said_and_the_draft_stays(desk: Desk) -> None:
    bring_draft(desk)
    rid = str(desk.asked()[0]["rid"])
    with desk.engine._lock:
        desk.engine._waiting.clear()
        desk.engine._status(rid, state="failed", code="out_of_memory", text="There is not enough memory.")
    desk.host.settle()
    assert desk.host.messages == ["“Lead Vox”: There is not enough memory."]
    assert share(desk, stem(desk)) == 0.25


def test_the_result_finds_its_draft_after_live_was_closed(desk: Desk) -> None:
    bring_draft(desk)
    desk.host.run_until(lambda: bool(desk.host.desk.entries[0].get("drafted")), "the note of it")
    desk.host.close()
    desk.engine.holding = False
    desk.host.open()
    desk.host.settle()
    assert share(desk, stem(desk)) == 0.5
    assert desk.names() == NAMES


def test_remove_mutes_the_source_once_and_the_result_comes_all_the_same(desk: Desk) -> None:
    desk.no_loop()
    bring_draft(desk, "remove")
    assert desk.clip._state["muted"]
    desk.clip._state["muted"] = False  # the person wants to hear it after all
    desk.release()
    assert not desk.clip._state["muted"]
    assert share(desk, stem(desk), 22_050) == 0.5
    assert desk.host.messages == []


def test_a_session_clip_s_draft_too(desk: Desk) -> None:
    slot = desk.track._state["clip_slots"][3]
    clip = desk.set.make_clip(str(desk.path), canonical_parent=slot, is_arrangement_clip=False)
    clip._state |= {"warping": False, "looping": False, "start_marker": 0.5, "end_marker": 1.5}
    slot._state["clip"] = clip
    desk.set.app_view._state["focused_document_view"] = "Session"
    desk.set.view._state["detail_clip"] = clip
    bring_draft(desk)

    def placed(track: Track) -> Clip:
        return track._state["clip_slots"][3]._state["clip"]

    assert share(desk, placed(desk.set.tracks[1]), 22_050) == 0.25
    desk.release()
    assert [share(desk, placed(track), 22_050) for track in desk.set.tracks[1:]] == [0.5, 0.5]
    assert desk.host.messages == []


def test_a_draft_whose_files_are_gone_already_is_passed_over(desk: Desk) -> None:
    desk.hold()
    with desk.engine._lock:
        for path in desk.folder.glob("out/*.draft*.wav"):
            path.unlink()
    desk.release()
    assert desk.host.messages == []
    assert share(desk, stem(desk)) == 0.5


def test_what_live_refuses_leaves_the_result_s_place_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    bring_draft(desk)

    def refuse(track: Track, path: str, start: float) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(Track, "_do_create_audio_clip", refuse)
    desk.release()
    (text,) = desk.host.messages
    assert "Live could not place the result: no. Undo brings the draft back" in text


def test_a_gesture_of_several_and_a_set_that_was_never_saved_ask_for_none(desk: Desk, tmp_path: Path) -> None:
    desk.add(desk.track, 20.0)
    desk.host.press("tracks")
    desk.host.settle()
    unsaved = LiveSet(None)
    unsaved.add_clip(unsaved.add_track("Bass", is_part_of_selection=True), desk.path, 0.0, 3.0, 0.0)
    unsaved.song._state.update(loop=True, loop_start=0.0, loop_length=2.0)
    desk.host.close()
    desk.host.open(unsaved)
    desk.host.press("extract")
    desk.host.settle()
    assert len(desk.asked()) == 3
    assert not any("quality" in fields for fields in desk.asked())


# Drafts that grow from the playhead

PARTS = [(0.4, 0.6), (0.25, 0.85)]
"""Of a region of one second; the third draft is of all of it."""


@pytest.fixture
def growing(desk: Desk) -> Desk:
    desk.engine.parts = PARTS
    desk.set.song._state["current_song_time"] = 23.0  # 11.5 s
    return desk


def grow(desk: Desk, n: int) -> None:
    """The engine tells of the draft number `n`; returns when it is in."""
    before = len(desk.set.undo_steps)
    desk.engine.grow(n)
    desk.host.run_until(lambda: len(desk.set.undo_steps) > before and desk.host.desk.arriving is None, f"draft {n}")


def check(desk: Desk, share: float, from_s: float, to_s: float) -> None:
    """Both tracks hold one clip: from there to there, and sample by sample that share of the source."""
    for n, expected in ((1, share), (2, 1 - share)):
        clip = stem(desk, n)
        (span,) = desk.spans(desk.set.tracks[n])
        assert span == (pytest.approx(2 * (11 + from_s)), pytest.approx(2 * (11 + to_s)))
        assert (clip._state["start_marker"], clip._state["warping"]) == (0.0, False)
        first, n_samples = round((1.5 + from_s) * 44_100), round((to_s - from_s) * 44_100)
        assert len(clip.samples[0]) == n_samples
        source = desk.clip.samples[0][first : first + n_samples]
        np.testing.assert_allclose(clip.samples[0], np.float32(expected) * source, atol=1e-6)


def test_drafts_grow_from_the_playhead_and_the_result_follows(growing: Desk) -> None:
    desk = growing
    bring_draft(desk)
    assert desk.asked()[0]["playhead"] == 2 * 44_100
    check(desk, 0.25, *PARTS[0])
    grow(desk, 1)
    check(desk, 0.125, *PARTS[1])
    desk.set.undo()
    check(desk, 0.25, *PARTS[0])
    grow(desk, 2)  # in the place of the one that undo brought back
    check(desk, 0.0625, 0.0, 1.0)
    desk.release()
    check(desk, 0.5, 0.0, 1.0)
    assert (desk.names(), desk.host.messages) == (NAMES, [])
    files = [path.name for path in (desk.folder / "project").rglob("*.wav")]
    assert sum(".draft.target" in name for name in files) == sum(".draft.3.target" in name for name in files) == 1


def test_what_a_person_gave_a_part_stays(growing: Desk) -> None:
    bring_draft(growing)
    mine = {"name": "Hook", "color": 0xFF0000, "gain": 0.25, "muted": True}
    stem(growing)._state.update(mine)
    grow(growing, 1)
    growing.release()
    assert {key: stem(growing)._state[key] for key in mine} == mine
    check(growing, 0.5, 0.0, 1.0)


def test_a_part_that_was_moved_is_left_alone_and_the_result_is_said(growing: Desk) -> None:
    desk = growing
    bring_draft(desk)
    for n in (1, 2):
        stem(desk, n)._state.update({"start_time": 40.0, "end_time": 40.4})
    desk.engine.grow(1)
    desk.host.run_until(lambda: str(desk.host.desk.entries[0].get("passed")).endswith("-1.target.wav"), "word of it")
    desk.release()
    (text,) = desk.host.messages
    assert NO_DRAFT_LEFT in text
    assert share(desk, stem(desk), round(1.9 * 44_100)) == 0.25
    assert not list((desk.folder / "project").rglob("*.draft.2.*"))


def test_an_engine_that_was_started_again_does_not_shrink_the_draft(growing: Desk) -> None:
    desk = growing
    bring_draft(desk)
    grow(desk, 1)
    desk.engine.grow(0)
    answers = desk.host.desk.answers
    desk.host.run_until(lambda: any(a.get("draft_samples") == 8_820 for a in answers.values()), "word of it")
    check(desk, 0.125, *PARTS[1])
    desk.host.close()
    desk.engine.grow(1)
    desk.host.open()
    desk.host.run_until(lambda: bool(desk.host.desk.answers), "word of it")
    grow(desk, 2)
    check(desk, 0.0625, 0.0, 1.0)
    assert len(desk.set.undo_steps) == 3


def test_a_draft_that_goes_while_it_is_copied_gives_way_to_the_larger_one(growing: Desk) -> None:
    desk = growing
    desk.host.module("script").BUDGET_S = -1.0  # one block of a copy in each tick
    desk.hold()
    desk.host.run_until(lambda: desk.host.desk.arriving is not None, "the draft to begin")
    desk.engine.grow(1)  # takes the first one's files away: what was not opened is not copied
    desk.host.run_until(lambda: len(desk.set.undo_steps) == 1, "the larger draft")
    check(desk, 0.125, *PARTS[1])
    desk.release()
    check(desk, 0.5, 0.0, 1.0)
    assert desk.host.messages == []
    assert not list(desk.folder.glob("project/**/*.part"))


def test_a_draft_that_may_be_a_part_does_not_come_in_where_the_engine_does_not_say(
    growing: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, status = growing, growing.engine._status

    def older(rid: str, **fields: Any) -> None:
        fields.pop("draft_samples", None)
        status(rid, **fields)

    monkeypatch.setattr(desk.engine, "_status", older)
    desk.hold()
    answers = desk.host.desk.answers
    desk.host.run_until(lambda: any(a.get("draft_target") for a in answers.values()), "word of it")
    desk.host.tick()
    assert desk.host.desk.arriving is None
    desk.release()
    check(desk, 0.5, 0.0, 1.0)
    assert len(desk.set.undo_steps) == 1
    assert desk.host.messages == []


def test_the_playhead_is_told_where_a_part_can_be_placed(desk: Desk) -> None:
    song = desk.set.song._state
    for at in (21.9, 22.5, 24.0):
        song["current_song_time"] = at
        desk.do("extract")
    song["current_song_time"] = 22.5
    desk.no_loop()
    desk.do("remove")  # silences the clip at once, so a part would not do
    desk.clip._state["muted"] = False
    desk.set.tempo_parameter._state["automation_state"] = 1
    desk.do("clips")
    heard = [fields.get("playhead") for fields in desk.asked()]
    assert heard == [None, round(1.75 * 44_100), None, None, None]
