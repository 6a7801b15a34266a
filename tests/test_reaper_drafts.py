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
from reaper_project import Item
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
