"""In Ableton Live: things changed while the engine worked, lost datagrams, Live closed meanwhile, full disks."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live_desk import Desk, open_live_desk
from live_host import Host, engine_starts_with
from live_set import LiveSet

from bridge.api import requests


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with open_live_desk(tmp_path) as desk:
        yield desk


def ticks(desk: Desk, n: int = 20) -> None:
    for _ in range(n):
        desk.host.tick()


def ledgers(desk: Desk) -> list[Path]:
    return list((desk.mailbox / "clients").glob("*.jsonl"))


@pytest.mark.parametrize("lost", [requests.Ping, requests.Submit, requests.JobStatus, requests.Cancel])
def test_a_lost_datagram_is_sent_again(desk: Desk, lost: type[Any]) -> None:
    desk.engine.deaf_to.append(lost)
    if lost is requests.Cancel:
        desk.hold()
        desk.host.press("cancel")
        desk.host.settle()
        assert [fields["op"] for fields in desk.engine.requests] == ["submit", "cancel"]
    else:
        desk.do("extract")
        assert len(desk.asked()) == 1
        assert len(desk.set.undo_steps) == 1
    assert desk.engine.deaf_to == []
    assert desk.host.messages == []


def test_an_engine_that_forgot_the_job_is_asked_anew(desk: Desk) -> None:
    desk.hold()
    desk.engine.statuses.clear()
    desk.engine._waiting.clear()
    desk.release()
    assert len(desk.asked()) == 2
    assert len(desk.set.undo_steps) == 1


def test_an_engine_that_comes_back_at_another_port_is_found(desk: Desk, tmp_path: Path) -> None:
    from live_engine import serving_osc

    desk.hold()
    desk.engine.fall_silent()
    desk.host.run_until(lambda: desk.host.messages != [], "the message")
    assert "1 of this session's requests wait for it" in desk.host.messages[0]
    with serving_osc(desk.mailbox, tmp_path / "out") as other:
        desk.host.settle()
        assert len(other.requests) == 1
    assert len(desk.set.undo_steps) == 1
    assert len(desk.host.messages) == 1


def test_what_comes_after_live_was_closed_comes_in_later(desk: Desk) -> None:
    desk.hold()
    desk.host.run_until(lambda: "job" in desk.host.desk.entries[0], "the job")
    desk.host.close()
    desk.engine.holding = False
    desk.host.open()
    desk.host.settle()
    assert desk.names() == ["Lead Vox", "Lead Vox · vocals", "Lead Vox · no vocals"]
    assert len(desk.asked()) == 1
    assert ledgers(desk) == []


def test_what_was_cancelled_before_live_was_closed_does_not_come(desk: Desk) -> None:
    desk.hold()
    desk.host.run_until(lambda: "job" in desk.host.desk.entries[0], "the job")
    desk.engine.alive = False
    desk.host.press("cancel")
    desk.host.close()
    desk.engine.alive = True
    desk.engine.holding = False
    desk.host.open()
    desk.host.settle()
    assert desk.names() == ["Lead Vox"]
    assert desk.host.messages == []


def test_another_set_gets_nothing(desk: Desk, tmp_path: Path) -> None:
    desk.hold()
    mine = desk.set
    desk.host.close()
    desk.engine.holding = False
    theirs = LiveSet(tmp_path / "project" / "other.als")
    theirs.add_track("Lead Vox")
    desk.host.open(theirs)
    ticks(desk)
    assert len(theirs.tracks) == 1
    assert len(ledgers(desk)) == 1
    desk.host.close()
    desk.host.open(mine)
    desk.host.settle()
    assert desk.names() == ["Lead Vox", "Lead Vox · vocals", "Lead Vox · no vocals"]


def test_two_sets_at_once_share_one_engine(desk: Desk, tmp_path: Path) -> None:
    desk.hold()
    first = desk.host
    other = LiveSet(tmp_path / "project" / "other.als")
    other.add_clip(other.add_track("Bass", is_part_of_selection=True), desk.path, 0.0, 3.0, 0.0)
    other.song._state.update(loop=True, loop_start=0.0, loop_length=2.0)
    second = Host(first.library, other)
    second.press("extract")
    second.run_until(lambda: len(desk.asked()) == 2, "the request")
    second.press("cancel")
    second.settle()
    desk.engine.holding = False
    first.settle()
    assert [len(live_set.tracks) for live_set in (desk.set, other)] == [3, 1]
    second.close()


@pytest.mark.parametrize("state", [{"record_mode": True, "is_playing": True}, {"session_record_status": 1}])
def test_a_running_take_is_not_disturbed(desk: Desk, state: dict[str, Any]) -> None:
    desk.set.song._state.update(state)
    desk.host.press("extract")
    copies = desk.folder / "project" / "Samples" / "Stembridge"
    desk.host.run_until(lambda: len(list(copies.glob("*.wav"))) == 2, "the copies")
    ticks(desk)
    assert desk.set.undo_steps == []
    desk.set.song._state.update(record_mode=False, session_record_status=0)
    desk.host.settle()
    assert len(desk.set.undo_steps) == 1


def test_a_source_track_that_was_deleted_does_not_lose_the_stem(desk: Desk) -> None:
    desk.hold()
    desk.set.tracks.remove(desk.track)
    desk.set.add_track("Bass")
    desk.release()
    assert desk.names() == ["Bass", "Lead Vox · vocals", "Lead Vox · no vocals"]


def test_a_source_track_that_was_moved_and_renamed_is_found(desk: Desk) -> None:
    desk.hold()
    desk.set.tracks.insert(0, desk.set.make_track("Drums"))
    desk.set.rename(desk.track, "Voice")
    desk.release()
    assert desk.names() == ["Drums", "Voice", "Lead Vox · vocals", "Lead Vox · no vocals"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda desk: desk.clip._state.update(start_time=22.0, end_time=28.0), "was changed meanwhile"),
        (lambda desk: desk.track._state["arrangement_clips"].clear(), "was changed meanwhile"),
        (lambda desk: desk.track._state.update(is_frozen=True), "is frozen"),
    ],
)
def test_remove_leaves_a_clip_alone_that_it_cannot_mute(desk: Desk, change: Any, says: str) -> None:
    desk.no_loop()
    desk.hold("remove")
    change(desk)
    desk.release()
    (message,) = desk.host.messages
    assert says in message
    assert not desk.clip._state["muted"]
    assert desk.names()[1:] == ["Lead Vox · no vocals", "Lead Vox · vocals"]


def test_an_older_live_is_told_where_the_stems_are(desk: Desk) -> None:
    desk.set.missing = {"create_audio_clip"}
    before = desk.set.snapshot()
    desk.do("extract")
    (message,) = desk.host.messages
    assert "12.0.5 and later do" in message
    target, residual = message.split("Drag the stems in: ")[1].split(" and ")
    assert Path(target).is_file()
    assert Path(residual).is_file()
    assert desk.set.snapshot() == before


@pytest.mark.parametrize("n_more", [0, 1])
def test_an_edition_with_too_few_tracks_changes_nothing(desk: Desk, n_more: int) -> None:
    desk.set.max_tracks = 1 + n_more
    before = desk.set.snapshot()
    desk.do("extract")
    (message,) = desk.host.messages
    assert "Live could not place the stems: this edition of Live has no more tracks" in message
    assert desk.set.snapshot() == before


def test_clips_that_were_put_on_tracks_of_before_are_taken_back(desk: Desk) -> None:
    desk.do("extract")
    desk.loop(12.0, 13.0)
    desk.track._state["color"] = "not a colour"  # what Live refuses comes late: at the tracks of the second source
    other = desk.set.add_track("Bass", is_part_of_selection=True, color="not a colour")
    desk.add(other, 10.0)
    before = desk.set.snapshot()
    desk.hold(n=2)
    desk.release()
    assert "could not place" in desk.host.messages[-1]
    assert desk.set.snapshot() == before


def test_a_full_disk_is_said(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.hold()
    real = Path.open

    def full(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name.endswith(".part"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", full)
    desk.release()
    (message,) = desk.host.messages
    assert "cannot be copied into the project's folder: No space left on device" in message
    assert Path(message.split("It stays at ")[1].removesuffix(".")).is_file()
    assert desk.names() == ["Lead Vox"]


def test_a_question_ends_with_the_next_cancel(desk: Desk) -> None:
    desk.set.rename(desk.track, "Audio 7")
    desk.do("extract")
    assert "Rename it after the sound" in desk.host.messages[0]
    desk.host.press("cancel")
    assert desk.track._state["listeners"] == []
    desk.set.rename(desk.track, "drums")
    ticks(desk)
    assert len(desk.asked()) == 1


def test_a_question_survives_its_track_s_end(desk: Desk) -> None:
    desk.set.rename(desk.track, "Audio 7")
    desk.do("extract")
    desk.set.tracks.remove(desk.track)
    desk.track._state["alive"] = False
    desk.set.add_track("Bass")
    ticks(desk)
    desk.host.press("cancel")
    assert len(desk.host.messages) == 1


@pytest.mark.parametrize(
    "rubbish", [b"", b"{", b"[]", b"\xff\xfe", b'{"closed": 7}', b'{"rid": "x"}', b'{"of": "x", "with": 1}']
)
def test_rubbish_in_the_ledger_and_among_the_commands_is_passed_over(desk: Desk, rubbish: bytes) -> None:
    desk.hold()
    (ledger,) = ledgers(desk)
    with ledger.open("ab") as file:
        file.write(rubbish + b"\n")
    (desk.mailbox / "clients" / "live-do-0.json").write_bytes(rubbish)
    (desk.mailbox / "clients" / "live-do-x").mkdir()
    desk.host.close()
    desk.host.open()
    ticks(desk)
    desk.release()
    assert len(desk.set.undo_steps) == 1
    assert desk.host.messages == []
    assert not list((desk.mailbox / "clients").glob("live-do-*.json*"))


def test_a_script_without_its_settings_says_what_to_do(desk: Desk) -> None:
    (desk.host.library / "Remote Scripts" / "Stembridge" / "config.json").write_text("{")
    with pytest.raises(RuntimeError, match="stembridge install live"):
        desk.host.open()


def test_many_clips_come_in_together_in_one_undo_step(desk: Desk) -> None:
    for n in range(1, 12):
        desk.add(desk.track, 10.0 + 4 * n)
    desk.host.press("tracks")
    desk.host.settle()
    assert len(desk.set.undo_steps) == 1
    assert [len(track._state["arrangement_clips"]) for track in desk.set.tracks] == [12, 12, 12]


def without_engine(desk: Desk, line: str) -> None:
    desk.engine.fall_silent()
    engine_starts_with(desk.host.library, line)
    desk.host.close()
    desk.host.open()


def test_a_gesture_that_finds_no_engine_starts_one(desk: Desk, tmp_path: Path) -> None:
    without_engine(desk, f"echo started >> '{tmp_path / 'started'}'")
    told = desk.host.command("extract")
    assert told["said"] == ["The Stembridge engine is being started; the request goes out when it is there."]
    assert told["under_way"] == ["“Lead Vox”: waits for the engine to start"]
    assert (tmp_path / "started").read_text() == "started\n"
    ticks(desk)
    desk.engine.alive = True
    desk.host.settle()
    assert len(desk.set.undo_steps) == 1
    assert not (desk.mailbox / "clients" / "engine.started").exists()


def test_an_engine_that_does_not_come_is_given_up(desk: Desk) -> None:
    without_engine(desk, "true")
    mark = desk.mailbox / "clients" / "engine.started"
    mark.write_text(str(int(time.time())))  # another program has just started one
    desk.host.press("extract")
    desk.host.run_until(lambda: desk.host.messages != [], "the message")
    mark.write_text(str(int(time.time()) - 61))
    desk.host.settle()
    assert "was started but does not answer" in desk.host.messages[-1]
    assert desk.host.messages[-1].endswith("Nothing was sent.")


def test_a_line_that_cannot_be_run_is_as_none(desk: Desk) -> None:
    without_engine(desk, "false")
    desk.do("extract")
    (message,) = desk.host.messages
    assert message.startswith("The Stembridge engine is not running.")
    assert not (desk.mailbox / "clients" / "engine.started").exists()


def test_a_defect_of_the_script_is_told_once_with_its_place(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.hold()
    monkeypatch.setattr(desk.host.module("rounds"), "ready", lambda desk: 1 / 0)
    for _ in range(5):
        desk.host.script.update_display()
    (message,) = desk.host.messages
    assert "defect of its own (division by zero)" in message
    assert "ZeroDivisionError" in (desk.mailbox / "clients" / "live.log").read_text(encoding="utf-8")
    monkeypatch.undo()
    desk.host.script.defect = ""
    desk.release()
    assert len(desk.set.undo_steps) == 1


@pytest.mark.parametrize("wrong", [{"fraction": float("nan")}, {"target": 7}, {"state": None}])
def test_an_answer_of_the_wrong_kind_is_passed_over(desk: Desk, wrong: dict[str, Any]) -> None:
    desk.hold()
    desk.host.run_until(lambda: "job" in desk.host.desk.entries[0], "the job")
    entry = desk.host.desk.entries[0]
    fields = {"fraction": 0.5, "eta_s": 1.0} | dict.fromkeys(("stage", "code", "text", "manifest"), "")
    fields |= {"job": entry["job"], "state": "running", "target": "", "residual": ""} | wrong
    order = ("job", "state", "fraction", "stage", "eta_s", "code", "text", "manifest", "target", "residual")
    before = dict(desk.host.desk.answers)
    desk.host.module("rounds")._take(desk.host.desk, "job", [f"q.{entry['rid']}", *(fields[key] for key in order)])
    assert desk.host.desk.answers == before
    desk.release()
