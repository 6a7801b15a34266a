"""The mailbox as a DAW's script meets it: whatever lies in the folder, whenever the engine dies."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fake_engine import LIMIT_S, NOTE, Rehearsal, fake_backend
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.api.protocol import MAX_PACKET_BYTES
from bridge.mailbox import files as mailbox_files
from bridge.mailbox.box import Mailbox, default_folder, rid_of
from bridge.mailbox.files import MAX_AGE_S, SETTLE_S, STATUS_MAX_AGE_S, NotYet, take, write_whole
from engine.errors import StembridgeError
from engine.jobs.job import PREVIEW_PRIORITY
from engine.jobs.journal import MAX_AGE_S as JOURNAL_MAX_AGE_S
from engine.jobs.journal import Journal
from engine.jobs.queue import JobQueue

KEYS = (
    *("rid", "job", "state", "fraction", "stage", "eta_s", "code", "text", "target", "residual", "manifest"),
    *("sample_rate", "channels", "samples", "position_samples", "null_db", "prompt", "name", "note"),
    *("draft_target", "draft_residual", "draft_samples", "draft_position_samples"),
)


@dataclass
class Box:
    """A mailbox whose rounds a test runs itself."""

    folder: Path
    mailbox: Mailbox
    queue: JobQueue
    run: Rehearsal
    song: Path

    def post(self, rid: str, /, **fields: Any) -> Path:
        """As a script does: written beside, then renamed."""
        draft = self.folder / "requests" / f"{rid}.tmp"
        draft.write_text(json.dumps({"rid": rid, "op": "submit", **fields}))
        return draft.rename(draft.with_suffix(".json"))

    def submit(self, rid: str, /, **fields: Any) -> Path:
        return self.post(rid, **{"path": str(self.song), "start": 1.0, "end": 2.0, "prompt": "vocals", **fields})

    def status(self, rid: str) -> dict[str, Any] | None:
        path = self.folder / "status" / f"{rid}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def ends(self, rid: str) -> dict[str, Any]:
        """Polls until the request has a final state."""
        deadline_s = time.monotonic() + LIMIT_S
        while True:
            self.mailbox.poll()
            status = self.status(rid)
            if status is not None and status["state"] not in ("queued", "running"):
                return status
            assert time.monotonic() < deadline_s, f"{rid} stays {status}"
            time.sleep(0.005)

    def left(self) -> list[str]:
        return sorted(os.listdir(self.folder / "requests"))


@contextmanager
def opened(folder: Path, *, journal: Path | None = None, hold: bool = False) -> Iterator[Box]:
    song = folder / "song.wav"
    song.write_bytes(b"RIFF")
    run = Rehearsal()
    if hold:
        run.hold.clear()
    boxes: list[Mailbox] = []
    early: list[Any] = []
    with Journal(journal) as kept:
        with JobQueue(run, kept, on_event=lambda e: boxes[0].notify(e) if boxes else early.append(e)) as queue:
            boxes.append(Mailbox(folder / "mailbox", fake_backend(queue, folder), port=9129))
            for event in early:
                boxes[0].notify(event)
            yield Box(folder / "mailbox", boxes[0], queue, run, song)
            queue.close()
        boxes[0].close()


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with opened(tmp_path) as one:
        yield one
        one.run.hold.set()


def test_a_request_becomes_a_job_and_its_status_is_flat_and_complete(box: Box) -> None:
    box.submit("r1", name="Lead", position=96_000 * 3, rate=48_000, start=48_000, end=96_000)
    status = box.ends("r1")
    assert tuple(status) == KEYS
    assert all(value is None or isinstance(value, str | int | float) for value in status.values())
    out = box.song.parent.resolve() / "out" / "Lead"
    assert status == {
        "rid": "r1",
        "job": box.queue.jobs()[0].id,
        "state": "done",
        "fraction": 1.0,
        "stage": status["stage"],
        "eta_s": status["eta_s"],
        "code": None,
        "text": None,
        "target": f"{out}.target.wav",
        "residual": f"{out}.residual.wav",
        "manifest": f"{out}.json",
        "sample_rate": 48_000,
        "channels": 2,
        "samples": 480_000,
        "position_samples": 96_000 * 3,
        "null_db": -140.5,
        "prompt": "vocals",
        "name": "Lead",
        "note": NOTE,
        "draft_target": None,
        "draft_residual": None,
        "draft_samples": None,
        "draft_position_samples": None,
    }
    assert box.left() == []


def test_without_a_position_the_place_in_the_file_is_told(box: Box) -> None:
    box.submit("r1", start="0:01.5", end=2)
    assert box.ends("r1")["position_samples"] == 72_000


def test_progress_is_told_and_a_status_is_never_half_written(box: Box) -> None:
    box.run.hold.clear()
    box.submit("r1")
    box.mailbox.poll()
    assert (box.status("r1") or {})["state"] in ("queued", "running")
    assert box.run.started.wait(LIMIT_S)
    stop, torn = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            try:
                assert box.status("r1") is not None
            except (ValueError, AssertionError) as e:
                torn.append(e)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(300):
        box.mailbox._due["r1"] = {"rid": "r1", "state": "running", "text": "x" * 3000}
        box.mailbox.poll()
    stop.set()
    reader.join()
    assert torn == []
    box.run.hold.set()
    assert box.ends("r1")["state"] == "done"


def test_a_failed_job_says_why(box: Box) -> None:
    box.run.fails = StembridgeError("disk_full", "The disk is full.", "Make room.")
    box.submit("r1")
    status = box.ends("r1")
    assert (status["state"], status["code"], status["text"]) == ("failed", "disk_full", "The disk is full. Make room.")
    assert status["target"] is None


def test_a_preview_goes_first(box: Box) -> None:
    box.submit("r1", op="preview")
    box.ends("r1")
    assert box.queue.jobs()[0].priority == PREVIEW_PRIORITY
    assert box.run.ran[0].quality == "draft"


def test_ping(box: Box) -> None:
    box.post("p", op="ping")
    assert box.ends("p") == {"rid": "p", "state": "done", "version": "1.2.3", "api": 1}


def test_cancel_by_rid_by_job_and_all(box: Box) -> None:
    box.run.hold.clear()
    for rid in ("r1", "r2", "r3", "r4"):
        box.submit(rid)
        box.mailbox.poll()
    box.post("c1", op="cancel", of="r1")
    assert box.ends("c1")["job"] == (box.status("r1") or {})["job"]
    assert box.ends("r1")["state"] == "cancelled"
    box.post("c2", op="cancel", job=(box.status("r2") or {})["job"])
    box.post("c3", op="cancel", all=True)
    assert box.ends("c2")["state"] == box.ends("c3")["state"] == "done"
    assert {box.ends(rid)["code"] for rid in ("r2", "r3", "r4")} == {"cancelled"}
    box.post("c4", op="cancel", of="r1")  # idempotent
    assert box.ends("c4")["state"] == "done"
    for rid, fields in {"c5": {"of": "nobody"}, "c6": {"job": "nobody"}, "c7": {}, "c8": {"all": "yes"}}.items():
        box.post(rid, op="cancel", **fields)
        assert box.ends(rid)["state"] == "refused"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"prompt": "didgeridoo"}, "unsupported_prompt"),
        ({"prompt": "defect"}, "internal"),
        ({"promt": "vocals"}, "unknown_key"),
        ({"path": "/etc/passwd"}, "path_refused"),
        ({"span+": [[2, 1]]}, "bad_span"),
        ({"op": "remove"}, "bad_value"),
        ({"op": None}, "bad_value"),
        ({"op": ["submit"]}, "bad_value"),
    ],
)
def test_a_wrong_request_is_refused_with_code_and_text(box: Box, fields: dict[str, Any], code: str) -> None:
    box.submit("r1", **fields)
    status = box.ends("r1")
    assert (status["state"], status["code"], status["job"]) == ("refused", code, None)
    assert status["text"]
    assert box.left() == []
    box.submit("r2")
    assert box.ends("r2")["state"] == "done"


# What may lie in the folder


def old(path: Path, age_s: float = SETTLE_S + 1) -> Path:
    os.utime(path, (time.time() - age_s,) * 2, follow_symlinks=False)
    return path


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "bad_message"),
        (b"{", "bad_message"),
        (b'{"rid": "r1", "op": "ping"', "bad_message"),
        (b"\xff\xfe\x00", "bad_message"),
        (b"[]", "bad_message"),
        (b"null", "bad_message"),
        (b"[" * 30_000, "bad_message"),
        (b'{"rid": "other", "op": "ping"}', "bad_message"),
        (b'{"op": "ping"}', "bad_message"),
        (b'{"rid": "r1", "op": "ping", "op": "cancel", "all": true}', "bad_message"),
        (b'{"rid": "r1", "op": "submit", "start": NaN}', "bad_message"),
        (b"x" * (MAX_PACKET_BYTES + 1), "too_long"),
    ],
)
def test_garbage_is_refused_and_removed(box: Box, content: bytes, code: str) -> None:
    path = box.folder / "requests" / "r1.json"
    path.write_bytes(content)
    old(path)
    status = box.ends("r1")
    assert (status["state"], status["code"]) == ("refused", code)
    assert box.left() == []


def test_a_request_that_is_still_being_written_is_waited_for(box: Box) -> None:
    path = box.folder / "requests" / "p.json"
    whole = json.dumps({"rid": "p", "op": "ping"})
    for length in (0, 1, 10, len(whole) - 1):
        path.write_text(whole[:length])
        box.mailbox.poll()
        assert box.status("p") is None
        assert box.left() == ["p.json"]
    path.write_text(whole)
    assert box.ends("p")["state"] == "done"


def test_a_byte_order_mark_does_no_harm(box: Box) -> None:
    (box.folder / "requests" / "p.json").write_bytes(b'\xef\xbb\xbf{"rid": "p", "op": "ping"}')
    assert box.ends("p")["state"] == "done"


def test_no_link_is_followed_and_no_pipe_waited_on(box: Box, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text('{"rid": "link", "op": "cancel", "all": true}')
    requests = box.folder / "requests"
    (requests / "link.json").symlink_to(secret)
    os.mkfifo(requests / "pipe.json")
    (requests / "folder.json").mkdir()
    for rid in ("link", "pipe", "folder"):
        assert box.ends(rid)["state"] == "refused"
    assert box.left() == ["folder.json"]  # not ours to remove, and answered once only
    (box.folder / "status" / "folder.json").unlink()
    box.mailbox.poll()
    assert box.status("folder") is None
    assert secret.exists()


def test_files_that_are_no_requests_are_left_alone(box: Box) -> None:
    names = ["draft.tmp", "note.txt", ".json", "a b.json", "é.json", "x" * 65 + ".json"]
    for name in names:
        (box.folder / "requests" / name).write_text("{}")
    box.mailbox.poll()
    assert box.left() == sorted(names)
    assert os.listdir(box.folder / "status") == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_content_is_answered_and_ends_nothing(box: Box, content: bytes) -> None:
    path = box.folder / "requests" / "fuzz.json"
    path.write_bytes(content)
    old(path)
    box.mailbox.poll()
    assert box.left() == []
    assert (box.status("fuzz") or {})["state"] == "refused"


def test_stale_files_are_removed(box: Box) -> None:
    for part, age_s in (("requests", MAX_AGE_S), ("status", STATUS_MAX_AGE_S)):
        for name in ("old.tmp", "old.txt", "new.tmp"):
            path = box.folder / part / name
            path.write_text("{}")
            old(path, age_s + 10 if name.startswith("old") else age_s - 60)
    box.mailbox._sweep_s = float("-inf")
    box.mailbox.poll()
    assert box.left() == ["new.tmp"]
    assert os.listdir(box.folder / "status") == ["new.tmp"]


def test_a_result_waits_for_its_reader_as_long_as_the_journal_keeps_the_job(box: Box) -> None:
    box.submit("r1")
    box.ends("r1")
    for age_s, there in ((MAX_AGE_S + 60, True), (MAX_AGE_S * 4, True), (31 * 86_400.0, False)):
        old(box.folder / "status" / "r1.json", age_s)
        box.mailbox._sweep_s = float("-inf")
        box.mailbox.poll()
        assert (box.status("r1") is not None) is there
    assert STATUS_MAX_AGE_S == JOURNAL_MAX_AGE_S


@pytest.mark.skipif(os.name != "posix", reason="owners and modes are POSIX's")
@pytest.mark.parametrize("part", ["", "requests", "status"])
def test_a_mailbox_that_others_may_write_to_is_refused(tmp_path: Path, part: str) -> None:
    folder = tmp_path / "mailbox" / part
    folder.mkdir(parents=True)
    for mode in (0o777, 0o770, 0o702):
        folder.chmod(mode)
        with pytest.raises(StembridgeError, match=f"chmod 700 '{folder}'") as caught, opened(tmp_path):
            pass
        assert caught.value.code == "path_refused"
    folder.chmod(0o755)
    with opened(tmp_path) as box:
        box.submit("r1")
        assert box.ends("r1")["state"] == "done"


@pytest.mark.skipif(os.name != "posix", reason="owners and modes are POSIX's")
def test_another_users_mailbox_and_requests_are_refused(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    with pytest.raises(StembridgeError, match="belongs to another user"):
        mailbox_files.require_private(box.folder)
    box.submit("r1")
    box.mailbox.poll()
    told = box.status("r1") or {}
    assert (told["state"], told["code"]) == ("refused", "path_refused")
    assert box.left() == []
    assert box.queue.jobs() == []


def test_a_folder_that_vanishes_is_made_again(box: Box) -> None:
    import shutil

    shutil.rmtree(box.folder)
    box.mailbox.poll()
    box.mailbox._heartbeat_s = float("-inf")
    box.mailbox.poll()
    box.submit("r1")
    assert box.ends("r1")["state"] == "done"


def test_a_full_disk_delays_the_answer_and_loses_nothing(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    real = mailbox_files.write_whole

    def full(path: Path, values: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bridge.mailbox.box.write_whole", full)
    box.submit("r1")
    for _ in range(3):
        box.mailbox.poll()
    assert box.left() == ["r1.json"]
    monkeypatch.setattr("bridge.mailbox.box.write_whole", real)
    assert box.ends("r1")["state"] == "done"
    assert box.left() == []
    assert len(box.queue.jobs()) == 1


def test_a_write_that_fails_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_whole(tmp_path / "x.json", {"null_db": float("-inf")})
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_whole(tmp_path / "folder.json", {})
    assert os.listdir(tmp_path) == ["folder.json"]


def test_a_young_file_is_not_judged_and_one_from_the_future_is(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("{")
    with pytest.raises(NotYet):
        take(path)
    old(path, -3600)
    with pytest.raises(StembridgeError):
        take(path)


# Life and death of the engine


def test_the_sign_of_life(tmp_path: Path) -> None:
    with opened(tmp_path) as box:
        box.mailbox.poll()
        sign = json.loads((box.folder / "engine.json").read_text())
        assert {"pid", "version", "api", "time_s", "port"} == set(sign)
        assert (sign["pid"], sign["port"], sign["api"]) == (os.getpid(), 9129, 1)
        (box.folder / "engine.json").unlink()
        box.mailbox.poll()
        assert not (box.folder / "engine.json").exists()  # not yet due
        box.mailbox._heartbeat_s = float("-inf")
        box.mailbox.poll()
    assert not (box.folder / "engine.json").exists()


def test_the_thread_serves_by_itself_and_stops(tmp_path: Path) -> None:
    with opened(tmp_path) as box:
        box.mailbox.start()
        box.submit("r1")
        deadline_s = time.monotonic() + LIMIT_S
        while (box.status("r1") or {}).get("state") != "done":
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
    assert not box.mailbox._thread.is_alive()


def test_a_job_goes_on_after_a_restart_and_is_told_under_its_rid(tmp_path: Path) -> None:
    journal = tmp_path / "journal.sqlite3"
    with opened(tmp_path, journal=journal, hold=True) as first:
        first.submit("r1")
        first.submit("r2")
        first.mailbox.poll()
        assert first.run.started.wait(LIMIT_S)
        # Killed: the queue goes down without a word to the mailbox, and a status is lost.
        first.mailbox.notify = lambda event: None  # type: ignore[method-assign]
        (first.folder / "status" / "r2.json").unlink()
    with opened(tmp_path, journal=journal) as second:
        assert second.ends("r1")["state"] == second.ends("r2")["state"] == "done"
        second.post("c", op="cancel", of="r1")
        assert second.ends("c")["state"] == "done"


def test_killed_before_the_request_was_removed_it_is_still_one_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "journal.sqlite3"
    with opened(tmp_path, journal=journal, hold=True) as first, monkeypatch.context() as dying:
        request = first.submit("r1")
        dying.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(OSError(5, "killed here")))
        first.mailbox.poll()
        assert request.exists()
    with opened(tmp_path, journal=journal) as second:
        assert second.ends("r1")["state"] == "done"
        assert second.left() == []
        assert len(second.queue.jobs()) == 1


def test_what_the_reader_has_taken_is_not_told_again(tmp_path: Path) -> None:
    journal = tmp_path / "journal.sqlite3"
    with opened(tmp_path, journal=journal) as first:
        for rid in ("taken", "waiting", "running", "torn"):
            first.submit(rid)
            first.ends(rid)
        (first.folder / "status" / "taken.json").unlink()
        (first.folder / "status" / "torn.json").write_bytes(b"")
        (first.folder / "status" / "running.json").write_text('{"rid": "running", "state": "running"}')
    with opened(tmp_path, journal=journal) as second:
        second.mailbox.poll()
        assert second.status("taken") is None
        assert (second.status("waiting") or {})["state"] == "done"
        assert (second.status("running") or {})["state"] == "done"  # it ended just before the engine did
        assert (second.status("torn") or {})["state"] == "done"  # a power cut left it empty


def test_only_our_own_client_texts_are_read() -> None:
    assert rid_of('{"via": "mailbox", "rid": "r-1"}') == "r-1"
    for text in (
        "",
        "x",
        "[]",
        "{}",
        '{"via": "udp", "rid": "r"}',
        '{"via": "mailbox", "rid": "../x"}',
        '{"via": "mailbox"}',
    ):
        assert rid_of(text) is None
    assert rid_of('{"via": "mailbox", "rid": 5}') is None


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "mailbox").write_text("a file is in the way")
    with pytest.raises(StembridgeError) as caught, opened(tmp_path):
        pass
    assert caught.value.code == "output_not_writable"


def test_the_default_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "stembridge" / "mailbox"


def test_an_idle_round_touches_one_folder_only(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.mailbox.poll()
    touched: list[Any] = []
    real: Callable[[Any], Any] = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (touched.append(Path(path).name), real(path))[1])
    monkeypatch.setattr(os, "open", lambda *args, **kwargs: pytest.fail("an idle round opens nothing"))
    for _ in range(10):
        box.mailbox._heartbeat_s = box.mailbox._sweep_s = time.monotonic()
        box.mailbox.poll()
    assert touched == ["requests"] * 10
