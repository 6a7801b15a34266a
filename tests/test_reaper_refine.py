"""“Refine”: stems that are in the project are made once more at the model's best, and play in the very same items."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from reaper_desk import Desk, open_desk
from reaper_project import Item


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with open_desk(tmp_path) as desk:
        yield desk


def bring_in(desk: Desk, action: str = "extract_selection") -> tuple[Item, Item]:
    desk.host.press(action)
    desk.host.settle()
    return desk.host.tracks[1].items[0], desk.host.tracks[2].items[0]


def refine(desk: Desk, *items: Item) -> None:
    desk.host.select(*items)
    desk.host.press("refine")
    desk.host.settle()


def test_the_same_items_play_the_new_stems(desk: Desk) -> None:
    target, residual = bring_in(desk)
    target.values |= {"D_POSITION": 40.0, "D_VOL": 0.5}  # the person has moved it, and made it softer
    old, first = target.takes[0].source, desk.asked()[0]
    refine(desk, target)
    assert desk.host.messages == []
    again = desk.asked()[1]
    assert (again["quality"], again["prompt"]) == ("best", "vocals")
    assert "track" not in again
    for key in ("path", "rate", "start", "end", "item", "position", "span+", "keep"):
        assert again[key] == first[key]
    assert again["rid"] != first["rid"]
    assert desk.names() == ["Lead Vox", "Lead Vox · vocals", "Lead Vox · no vocals"]
    assert (target.span, target.values["D_VOL"], residual.span) == ((40.0, 1.0), 0.5, (11.0, 1.0))
    new = target.takes[0].source
    assert new is not old
    assert str(again["rid"]).removeprefix("reaper-") in new.path  # type: ignore[union-attr]
    assert str(again["rid"]).removeprefix("reaper-") in residual.takes[0].source.path  # type: ignore[union-attr]
    assert desk.host.undo_points == ["Stembridge: extract vocals", "Stembridge: refine"]
    assert json.loads(target.takes[0].strings["P_EXT:stembridge"])["rid"] == again["rid"]


def test_what_was_refined_can_be_refined_again(desk: Desk) -> None:
    target, _ = bring_in(desk)
    refine(desk, target)
    refine(desk, target)
    assert len(desk.asked()) == 3
    assert desk.host.messages == []


def test_both_stems_of_one_request_are_one_request(desk: Desk) -> None:
    refine(desk, *bring_in(desk))
    assert len(desk.asked()) == 2


def test_what_was_read_from_reaper_is_read_again(desk: Desk) -> None:
    desk.item.takes[0].values["D_PLAYRATE"] = 0.5
    target, residual = bring_in(desk)
    refine(desk, target)
    assert desk.host.messages == []
    assert len(desk.asked()) == 2
    assert not list(desk.mailbox.glob("clients/*.wav"))
    times_s = np.arange(1000) / 44_100
    heard = desk.item.takes[0].heard(1.0 + times_s)
    np.testing.assert_allclose(target.takes[0].heard(times_s), 0.5 * heard, atol=1e-6)
    np.testing.assert_allclose(target.takes[0].heard(times_s) + residual.takes[0].heard(times_s), heard, atol=1e-6)


def test_an_item_that_must_be_read_and_was_changed_is_said(desk: Desk) -> None:
    desk.item.takes[0].values["D_PLAYRATE"] = 0.5
    target, _ = bring_in(desk)
    desk.item.values["D_POSITION"] = 11.0
    refine(desk, target)
    (text,) = desk.host.messages
    assert text == ("“Lead Vox”: the item the stem was made from is no longer as it was. Use “Extract” on it again.")
    assert len(desk.asked()) == 1


def test_a_stem_that_was_deleted_meanwhile_does_not_come_back(desk: Desk) -> None:
    target, residual = bring_in(desk)
    desk.engine.holding = True
    desk.host.select(target)
    desk.host.press("refine")
    desk.host.run_until(lambda: len(desk.asked()) == 2, "the request")
    for item in (target, residual):
        item.track.items.remove(item)
    desk.release()
    (text,) = desk.host.messages
    assert "the stem is no longer in the project" in text
    assert Path(text.split("It lies at ")[1].rstrip(".")).is_file()


def test_a_source_that_was_cut_and_muted_by_remove_does_not_matter(desk: Desk) -> None:
    desk.host.answers = [["drums"]]
    rest, _ = bring_in(desk, "remove")
    cut = [(item.span, item.values["B_MUTE"]) for item in desk.track.items]
    refine(desk, rest)
    assert desk.asked()[1]["prompt"] == "drums"
    assert [(item.span, item.values["B_MUTE"]) for item in desk.track.items] == cut
    assert desk.host.messages == []


def test_what_is_no_stem_is_said(desk: Desk) -> None:
    refine(desk)
    refine(desk, desk.item)
    desk.item.takes[0].strings["P_EXT:stembridge"] = "{torn"
    refine(desk, desk.item)
    assert desk.host.messages[0].startswith("Nothing is selected.")
    assert desk.host.messages[1:] == ["None of the selected items is a stem of Stembridge's."] * 2
    assert desk.asked() == []


def test_without_an_engine_nothing_is_sent(desk: Desk) -> None:
    target, _ = bring_in(desk)
    desk.engine.fall_silent()
    refine(desk, target)
    assert "The Stembridge engine is not running" in desk.host.messages[0]
    desk.engine.alive = True
    assert len(desk.asked()) == 1


def test_repeat_last_is_kept_in_the_project(desk: Desk) -> None:
    desk.host.answers = [["drums"]]
    bring_in(desk, "remove")
    desk.host.quit()
    other = desk.host.add_track("Bass")
    desk.add(other, 10.0)
    desk.host.select(other, range_s=(10.5, 11.0))
    desk.host.press("repeat_last")
    desk.host.settle()
    assert desk.host.messages == []
    assert desk.names()[-2:] == ["Bass · no drums", "Bass · drums"]
