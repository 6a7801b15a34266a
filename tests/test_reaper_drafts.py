"""A draft comes into REAPER first; the result takes its place in the same items, whatever was done to them since."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ardour_host import wait_for
from ardour_stand_in import DRAFT
from reaper_desk import Desk, open_desk
from reaper_project import Item, Source
from test_reaper_scenarios import heard_at, stem_times

STEMS = ["Lead Vox", "Lead Vox · vocals", "Lead Vox · no vocals"]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with open_desk(tmp_path) as desk:
        desk.engine.drafting = True
        yield desk


def bring_draft(desk: Desk, action: str = "extract_selection") -> Item:
    """Presses, and stops when the draft is in and the result is not; the target's item."""
    desk.hold(action)
    desk.host.run_until(lambda: len(desk.host.undo_points) == 1, "the draft")
    (item,) = desk.host.tracks[1].items
    return item


def share_of(item: Item, desk: Desk) -> float:
    """How much of the source's sound an item plays."""
    times_s = stem_times(item.takes[0])
    assert len(times_s) > 100
    source = desk.item.takes[0].heard(times_s - 10.0)
    return float(np.median(heard_at(item, times_s) / source))


def mark(item: Item) -> dict[str, object]:
    values: dict[str, object] = json.loads(item.takes[0].strings["P_EXT:stembridge"])
    return values


def test_the_same_item_plays_the_draft_and_then_the_result(desk: Desk) -> None:
    item = bring_draft(desk)
    assert desk.names() == STEMS
    assert share_of(item, desk) == 0.25
    assert mark(item)["draft"] is True
    draft = Path(item.takes[0].source.path)  # type: ignore[union-attr]
    assert draft.is_relative_to(desk.host.project_dir)
    desk.release()
    assert (desk.names(), desk.host.messages, len(desk.host.undo_points)) == (STEMS, [], 1)
    assert desk.host.tracks[1].items == [item]
    assert share_of(item, desk) == 0.5
    assert "draft" not in mark(item)
    assert desk.host.n_marked_dirty == 1
    assert draft.exists()  # Redo of the gesture needs it
    (rest,) = desk.host.tracks[2].items
    assert share_of(rest, desk) == 0.5
    assert not list(desk.mailbox.glob("clients/*.jsonl"))
    assert not list(desk.mailbox.glob("status/*"))


def test_a_draft_of_remove_silences_the_source_once(desk: Desk) -> None:
    desk.host.answers = [["Lead Vox"]]
    item = bring_draft(desk, "remove")
    desk.release()
    assert [part.values["B_MUTE"] for part in sorted(desk.track.items, key=lambda i: i.span)] == [0, 1, 0]
    assert desk.names()[1:] == ["Lead Vox · no vocals", "Lead Vox · vocals"]
    assert item.takes[0].source.path.endswith(".residual.wav")  # type: ignore[union-attr]
    assert ".draft." not in item.takes[0].source.path  # type: ignore[union-attr]
    assert (len(desk.host.undo_points), desk.host.messages) == (1, [])


def test_what_was_done_to_the_draft_stays(desk: Desk) -> None:
    item = bring_draft(desk)
    item.values |= {"D_POSITION": 30.0, "D_LENGTH": 0.25, "D_VOL": 0.7}
    item.takes[0].values["D_STARTOFFS"] += 0.5
    before = dict(item.values), dict(item.takes[0].values)
    desk.release()
    assert (item.values, item.takes[0].values) == before
    assert ".draft." not in item.takes[0].source.path  # type: ignore[union-attr]
    assert desk.host.messages == []


def test_what_is_to_know_of_the_result_comes_behind_what_a_person_wrote_of_the_draft(desk: Desk) -> None:
    desk.engine.note = "This source was not found: vocals."
    item = bring_draft(desk)
    item.strings["P_NOTES"] = "Comp this one"
    desk.release()
    assert item.strings["P_NOTES"] == "Comp this one\nThis source was not found: vocals."
    assert desk.host.tracks[2].items[0].strings["P_NOTES"] == "This source was not found: vocals."
    assert desk.item.strings["P_NOTES"] == ""


def test_every_part_of_a_draft_that_was_cut_up_gets_the_result(desk: Desk) -> None:
    item = bring_draft(desk)
    desk.host._in_block = 1
    other = desk.host._SplitMediaItem(None, item, 11.5)
    desk.host._in_block = 0
    assert other is not None
    desk.release()
    paths = {part.takes[0].source.path for part in (item, other)}  # type: ignore[union-attr]
    assert len(paths) == 1
    assert ".draft." not in paths.pop()


def test_a_draft_that_was_thrown_away_does_not_come_back(desk: Desk) -> None:
    bring_draft(desk)
    for track in desk.host.tracks[1:]:
        track.items.clear()
    desk.release()
    assert [track.items for track in desk.host.tracks[1:]] == [[], []]
    (message,) = desk.host.messages
    assert "the draft is no longer in the project" in message
    assert Path(message.rsplit("It lies at ", 1)[1].removesuffix(".")).exists()
    assert len(desk.host.undo_points) == 1


def test_an_item_that_plays_something_else_by_now_is_left_alone(desk: Desk) -> None:
    item = bring_draft(desk)
    glued = desk.folder / "glued.wav"
    glued.write_bytes(desk.path.read_bytes())
    item.takes[0].source = type(item.takes[0].source)(str(glued))  # type: ignore[misc]
    desk.release()
    assert item.takes[0].source.path == str(glued)  # type: ignore[union-attr]
    (rest,) = desk.host.tracks[2].items
    assert share_of(rest, desk) == 0.5
    assert desk.host.messages == []


def test_cancel_keeps_the_draft_that_is_in(desk: Desk) -> None:
    item = bring_draft(desk)
    desk.host.press("cancel")
    desk.host.settle()
    assert desk.names() == STEMS
    assert share_of(item, desk) == 0.25
    assert desk.host.messages == []
    assert not list(desk.mailbox.glob("clients/*.jsonl"))


def test_a_failure_after_the_draft_is_said_and_the_draft_stays(desk: Desk) -> None:
    item = bring_draft(desk)
    rid = desk.asked()[0]["rid"]
    with desk.engine._lock:
        desk.engine._waiting.clear()
        desk.engine._status(rid, state="failed", code="out_of_memory", text="There is not enough memory.")
    desk.release()
    assert desk.host.messages == ["“Lead Vox”: There is not enough memory."]
    assert share_of(item, desk) == 0.25


def test_the_result_finds_its_draft_after_reaper_was_closed(desk: Desk) -> None:
    item = bring_draft(desk)
    desk.host.quit()
    desk.engine.holding = False
    desk.host.run_until(lambda: not any(desk.folder.glob(f"out/*{DRAFT}*")), "the result")
    assert share_of(item, desk) == 0.25
    desk.host.press("show_progress")
    desk.host.settle()
    assert (share_of(item, desk), desk.names(), len(desk.host.undo_points)) == (0.5, STEMS, 1)


@pytest.mark.parametrize("n_ticks", [0, 1, 2])
def test_a_draft_whose_files_are_gone_already_is_passed_over(desk: Desk, n_ticks: int) -> None:
    """Gone before it is read of, or between that and the first copy: what the next tick does is tried at each."""
    desk.host.play_state = 5  # while a take is recorded nothing comes in
    desk.hold()
    told = desk.mailbox / "status" / f"{desk.asked()[0]['rid']}.json"
    wait_for(lambda: told.exists() and "draft_target" in told.read_text(), "word of the draft")
    for _ in range(n_ticks):
        desk.host.tick()
    for path in desk.folder.glob(f"out/*{DRAFT}*"):
        path.unlink()
    for _ in range(20):
        desk.host.tick()
    desk.host.play_state = 0
    desk.release()
    assert (desk.names(), desk.host.messages, len(desk.host.undo_points)) == (STEMS, [], 1)
    assert share_of(desk.host.tracks[1].items[0], desk) == 0.5


def test_several_pieces_come_in_together_and_without_drafts(desk: Desk) -> None:
    desk.add(desk.track, 20.0)
    desk.host.select(desk.track)
    desk.host.press("batch_tracks")
    desk.host.settle()
    assert [fields.get("quality") for fields in desk.asked()] == [None, None]
    assert len(desk.host.undo_points) == 1


# Drafts that grow from the playhead

PARTS = [(0.4, 0.6), (0.25, 0.85)]
"""Of a region of one second; the third draft is of all of it."""
FADES_S = (0.1, 0.2)


@pytest.fixture
def growing(desk: Desk) -> Desk:
    """The range begins between two samples, so that whatever is counted from a wrong one shows."""
    desk.engine.parts = PARTS
    desk.host.cursor_s = 11.5
    desk.host.select(desk.track, range_s=(11.0 + 0.3 / 44_100, 12.0))
    return desk


def grow(desk: Desk, n: int, item: Item) -> None:
    """The engine tells of the draft number `n`; returns when the item plays it."""
    assert item.takes[0].source is not None
    before = item.takes[0].source.path
    desk.engine.grow(n)
    desk.host.run_until(lambda: item.takes[0].source.path != before, f"draft {n}")  # type: ignore[union-attr]


def check(desk: Desk, item: Item, share: float, from_s: float, to_s: float) -> None:
    """The item lies there and plays that share of what the source gives at the very same times."""
    start_s = 11.0 + 0.3 / 44_100
    low, high = max(11.0 + from_s, start_s), min(11.0 + to_s, 12.0)
    assert item.span == pytest.approx((low, high - low), abs=1e-9)
    times_s = stem_times(item.takes[0])
    assert abs(len(times_s) - (high - low) * 44_100) <= 1
    source = desk.item.takes[0].heard(times_s - 10.0)
    np.testing.assert_allclose(heard_at(item, times_s), share * source, atol=1e-6)


def test_drafts_grow_in_the_same_items_and_the_result_follows(growing: Desk) -> None:
    desk = growing
    item = bring_draft(desk)
    (rest,) = desk.host.tracks[2].items
    request = desk.asked()[0]
    assert request["playhead"] == round(2.0 * 44_100)  # of the file, whose second 0.5 lies at 10
    check(desk, item, 0.25, *PARTS[0])
    check(desk, rest, 0.75, *PARTS[0])
    grow(desk, 1, item)
    check(desk, item, 0.125, *PARTS[1])
    check(desk, rest, 0.875, *PARTS[1])
    grow(desk, 2, item)
    check(desk, item, 0.0625, 0.0, 1.0)
    assert len(list((desk.host.project_dir / "Stembridge").glob("*.draft*.wav"))) == 6
    desk.release()
    check(desk, item, 0.5, 0.0, 1.0)
    check(desk, rest, 0.5, 0.0, 1.0)
    assert (desk.names(), desk.host.messages) == (STEMS, [])
    assert len(desk.host.undo_points) == 1  # the last draft was of the whole: the result changes no item
    assert [len(track.items) for track in desk.host.tracks] == [1, 1, 1]
    assert not list(desk.mailbox.glob("clients/*.jsonl"))


def test_the_result_takes_the_place_of_a_part(growing: Desk) -> None:
    item = bring_draft(growing)
    growing.release()
    check(growing, item, 0.5, 0.0, 1.0)
    assert growing.host.messages == []
    assert growing.host.undo_points[1:] == ["Stembridge: the whole stem"]


def test_a_draft_that_an_undo_brought_back_gets_what_follows(growing: Desk) -> None:
    """REAPER's undo of something else restores the items as the gesture's own undo point has them."""
    desk = growing
    item = bring_draft(desk)
    values, take_values, path = dict(item.values), dict(item.takes[0].values), item.takes[0].source.path  # type: ignore[union-attr]

    def undo_something_else() -> None:
        item.values, item.takes[0].values, item.takes[0].source = dict(values), dict(take_values), Source(path)

    grow(desk, 1, item)
    undo_something_else()
    grow(desk, 2, item)
    check(desk, item, 0.0625, 0.0, 1.0)
    undo_something_else()
    desk.release()
    check(desk, item, 0.5, 0.0, 1.0)


def test_fades_stand_at_the_pieces_edges_alone(growing: Desk) -> None:
    desk = growing
    desk.engine.parts = [(1.0, 1.5), (0.0, 2.0)]
    desk.item.values |= {"D_FADEINLEN": FADES_S[0], "D_FADEOUTLEN": FADES_S[1]}
    desk.host.select(desk.item, range_s=(0.0, 0.0))
    item = bring_draft(desk, "extract_items")
    assert (item.values["D_FADEINLEN"], item.values["D_FADEOUTLEN"]) == (0, 0)
    grow(desk, 1, item)
    assert (item.span, item.values["D_FADEINLEN"], item.values["D_FADEOUTLEN"]) == ((10.0, 2.0), FADES_S[0], 0)
    desk.release()
    assert (item.span, item.values["D_FADEINLEN"], item.values["D_FADEOUTLEN"]) == ((10.0, 3.0), *FADES_S)


def test_a_part_that_was_moved_or_cut_stays_so_and_plays_the_same_of_what_follows(growing: Desk) -> None:
    desk = growing
    item = bring_draft(desk)
    (rest,) = desk.host.tracks[2].items
    offset_s = item.takes[0].values["D_STARTOFFS"]
    item.values["D_POSITION"] = 30.0
    rest.values["D_LENGTH"] -= 0.05
    for n, end_s in ((1, None), (2, None), (3, 0.55)):
        if n < 3:
            grow(desk, n, item)
        else:
            desk.release()
        assert item.span == (30.0, pytest.approx(0.2, abs=1e-9))
        part_s = PARTS[n][0] if n < len(PARTS) else 0.0
        assert item.takes[0].values["D_STARTOFFS"] == pytest.approx(offset_s + PARTS[0][0] - part_s, abs=1e-9)
        if end_s:
            check(desk, rest, 0.5, 0.0, end_s)  # its other edge was left, and grew
    assert desk.host.messages == []


def test_the_halves_of_a_part_that_was_split_grow_outward(growing: Desk) -> None:
    desk = growing
    item = bring_draft(desk)
    desk.host._in_block = 1
    other = desk.host._SplitMediaItem(None, item, 11.5)
    desk.host._in_block = 0
    assert other is not None
    grow(desk, 1, item)
    check(desk, item, 0.125, PARTS[1][0], 0.5)
    check(desk, other, 0.125, 0.5, PARTS[1][1])
    desk.release()
    check(desk, item, 0.5, 0.0, 0.5)
    check(desk, other, 0.5, 0.5, 1.0)


def test_a_part_that_was_thrown_away_does_not_come_back_larger(growing: Desk) -> None:
    desk = growing
    bring_draft(desk)
    for track in desk.host.tracks[1:]:
        track.items.clear()
    desk.engine.grow(1)
    for _ in range(100):
        desk.host.tick()
    assert desk.host.messages == []
    assert not list((desk.host.project_dir / "Stembridge").glob("*.draft.2.*"))
    desk.release()
    assert [track.items for track in desk.host.tracks[1:]] == [[], []]
    (message,) = desk.host.messages
    assert "the draft is no longer in the project" in message


@pytest.mark.parametrize("n_ticks", [1, 2, 3, 4, 6])
def test_a_draft_that_goes_while_it_is_copied_gives_way_to_the_larger_one(growing: Desk, n_ticks: int) -> None:
    """The engine tells of the next, and takes this one away, at each stage of the copy."""
    desk = growing
    desk.hold()
    told = desk.mailbox / "status" / f"{desk.asked()[0]['rid']}.json"
    wait_for(lambda: told.exists() and "draft_target" in told.read_text(), "word of the draft")
    for _ in range(n_ticks):
        desk.host.tick()
    desk.engine.grow(1)
    desk.host.run_until(
        lambda: any(t.name == STEMS[1] and t.items and ".draft" in t.items[0].takes[0].source.path  # type: ignore[union-attr]
                    and t.items[0].values["D_LENGTH"] > 0.5 for t in desk.host.tracks), "the larger draft")  # fmt: skip
    (item,) = desk.host.tracks[1].items
    check(desk, item, 0.125, *PARTS[1])
    assert desk.host.messages == []
    desk.release()
    check(desk, item, 0.5, 0.0, 1.0)
    assert not list(desk.host.project_dir.rglob("*.part"))


def test_an_engine_that_was_started_again_does_not_shrink_the_draft(growing: Desk) -> None:
    desk = growing
    item = bring_draft(desk)
    grow(desk, 1, item)
    desk.engine.grow(0)
    for _ in range(50):
        desk.host.tick()
    check(desk, item, 0.125, *PARTS[1])
    desk.host.quit()
    desk.engine.grow(1)
    desk.host.press("show_progress")
    for _ in range(50):
        desk.host.tick()
    check(desk, item, 0.125, *PARTS[1])
    grow(desk, 2, item)
    check(desk, item, 0.0625, 0.0, 1.0)


def test_a_part_that_a_cancelled_request_left_can_be_refined(growing: Desk) -> None:
    desk = growing
    item = bring_draft(desk)
    desk.host.press("cancel")
    desk.host.settle()
    check(desk, item, 0.25, *PARTS[0])
    desk.engine.holding = False
    desk.host.select(item)
    desk.host.press("refine")
    desk.host.settle()
    check(desk, item, 0.5, 0.0, 1.0)
    check(desk, desk.host.tracks[2].items[0], 0.5, 0.0, 1.0)
    assert "playhead" not in desk.asked()[-1]
    assert desk.host.undo_points[1:] == ["Stembridge: refine"]
    assert desk.host.messages == []


def test_the_playhead_is_told_where_it_is_heard(desk: Desk) -> None:
    desk.host.cursor_s, desk.host.play_s, desk.host.play_state = 11.25, 11.75, 1
    desk.host.press("extract_selection")
    desk.host.settle()
    desk.host.play_state = 0
    for cursor_s in (10.9, 11.25, 12.0):
        desk.host.cursor_s = cursor_s
        desk.host.press("extract_selection")
        desk.host.settle()
    assert [fields.get("playhead") for fields in desk.asked()] == [
        round(2.25 * 44_100), None, round(1.75 * 44_100), None
    ]  # fmt: skip
    desk.host.cursor_s = 11.25
    desk.host.answers = [["Lead Vox"]]
    desk.host.press("remove")  # mutes what it was made from at once, so a part would not do
    desk.host.settle()
    assert "playhead" not in desk.asked()[-1]
