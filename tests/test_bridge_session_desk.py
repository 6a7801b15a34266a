"""A whole session over OSC: planned, rendered through the engine's queue, written; cancelled, and taken up again."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
from mixtures import make_mixture
from rpp_material import item, project, track

from bridge import child
from bridge.api import protocol as api
from bridge.api.requests import Cancel, CancelAll, Ping, Session, Subscribe
from bridge.asking.paths import PathPolicy
from bridge.osc import codec
from bridge.osc.client import Client, new_rid
from bridge.serve import Settings, serving
from bridge.sessions.reading import read_session
from engine.errors import StembridgeError

LIMIT_S = 90.0


@pytest.fixture
def song(tmp_path: Path) -> Path:
    folder = tmp_path / "music"
    folder.mkdir()
    for n in range(3):
        soundfile.write(folder / f"{n}.wav", make_mixture(60_000, seed=n), 44_100, subtype="PCM_16")
    path = folder / "Song.rpp"
    items = [item(2 * n, 1.0, f"{n}.wav") for n in range(3)]
    path.write_text(project(track("Lead Vox", *items[:2]), track("Choir", items[2], item(9, 1, "gone.wav"))))
    return path


def settings_in(folder: Path) -> Settings:
    return Settings(
        port=0,
        policy=PathPolicy(((folder / "music").resolve(),), folder / "out"),
        state_dir=folder / "state",
        cache_dir=folder / "cache",
        mailbox=None,
        preload=False,
    )


class Ear:
    """A subscriber: every event about a session, in order."""

    def __init__(self, client: Client) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(LIMIT_S)
        client.ask(Subscribe(new_rid(), "127.0.0.1", self.socket.getsockname()[1]))
        self.heard: list[api.Message] = []

    def until(self, *kinds: type[api.Event], job: str) -> Any:
        deadline_s = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline_s:
            message = codec.decode_answer(self.socket.recv(65_536))
            self.heard.append(message)
            if isinstance(message, kinds) and message.job == job:
                return message
        raise AssertionError(f"none of {kinds} came; heard: {self.heard}")


def ask(client: Client, path: Path, *options: api.Value) -> str:
    answer = client.ask(Session(new_rid(), str(path), options))
    assert isinstance(answer, api.Ack)
    return answer.job


def test_a_session_is_planned_rendered_and_written(song: Path, tmp_path: Path) -> None:
    digest = hashlib.sha256(song.read_bytes()).hexdigest()
    with serving(settings_in(tmp_path)) as engine, Client(engine.port) as client:
        ear = Ear(client)
        session = ask(client, song, "out", "Song")
        planned = ear.until(api.SessionPlanned, job=session)
        assert (planned.jobs, planned.skipped) == (3, 1)
        assert json.loads(Path(planned.plan).read_text())["skipped"][0]["code"] == "file_not_found"
        done = ear.until(api.SessionDone, api.SessionFailed, job=session)
        assert (done.done, done.failed) == (3, 0)
        stems = [m for m in ear.heard if isinstance(m, api.SessionStem)]
        assert [stem.track for stem in stems] == ["Lead Vox", "Lead Vox", "Choir"]
        assert all(Path(path).exists() for stem in stems for path in (stem.target, stem.residual, stem.manifest))
        assert not any(isinstance(m, api.JobDone | api.JobProgress) for m in ear.heard)
        fractions = [m.fraction for m in ear.heard if isinstance(m, api.SessionProgress)]
        assert fractions == sorted(fractions)
    report = json.loads(Path(done.report).read_text())
    assert all(
        job["null_db"] <= -120 and Path(job["target"]).parent == tmp_path / "out" / "Song" for job in report["jobs"]
    )
    assert [t.name for t in read_session(Path(done.session)).tracks[2:]] == [
        "Lead Vox · lead vocals",
        "Lead Vox · no lead vocals",
        "Choir · choir",
        "Choir · no choir",
    ]
    assert hashlib.sha256(song.read_bytes()).hexdigest() == digest
    assert not list((tmp_path / "state" / "sessions").iterdir())


def test_a_dry_run_renders_nothing_and_json_is_a_form_too(song: Path, tmp_path: Path) -> None:
    with serving(settings_in(tmp_path)) as engine, Client(engine.port) as client:
        ear = Ear(client)
        session = ask(client, song, json.dumps({"dry_run": "yes", "track": ["Choir"], "prompt": ["vocals", "choir"]}))
        done = ear.until(api.SessionDone, api.SessionFailed, job=session)
        assert (done.done, done.session) == (0, "")
        assert [job["prompt"] for job in json.loads(Path(done.report).read_text())["jobs"]] == ["vocals", "choir"]
    assert not list((tmp_path / "out").rglob("*.wav"))


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("promt", "x"), "unknown_key"),
        (("preset", "no such"), "unknown_preset"),
        (("dry_run", "maybe"), "bad_value"),
        (("out", "/etc/x"), "path_refused"),
        (("prompt", 3), "bad_value"),
    ],
)
def test_what_is_wrong_is_refused_at_once(song: Path, tmp_path: Path, options: tuple[Any, ...], code: str) -> None:
    with serving(settings_in(tmp_path)) as engine, Client(engine.port) as client:
        with pytest.raises(StembridgeError) as caught:
            ask(client, song, *options)
        assert caught.value.code == code
        for path, refused in (
            (tmp_path / "elsewhere.rpp", "path_refused"),
            (song.with_name("no.rpp"), "file_not_found"),
        ):
            with pytest.raises(StembridgeError) as caught:
                ask(client, path)
            assert caught.value.code == refused


def test_media_outside_the_allowed_folders_is_not_read(song: Path, tmp_path: Path) -> None:
    outside = tmp_path / "secret.wav"
    soundfile.write(outside, make_mixture(60_000, seed=1), 44_100)
    song.write_text(project(track("Lead Vox", item(0, 1.0, str(outside)))))
    with serving(settings_in(tmp_path)) as engine, Client(engine.port) as client:
        ear = Ear(client)
        session = ask(client, song)
        planned = ear.until(api.SessionPlanned, api.SessionFailed, job=session)
        assert [skip["code"] for skip in json.loads(Path(planned.plan).read_text())["skipped"]] == ["path_refused"]
        assert ear.until(api.SessionDone, api.SessionFailed, job=session).code == "nothing_to_do"


def test_a_damaged_session_fails_with_its_reason(song: Path, tmp_path: Path) -> None:
    song.write_text("<REAPER_PROJECT")
    with serving(settings_in(tmp_path)) as engine, Client(engine.port) as client:
        ear = Ear(client)
        assert ear.until(api.SessionDone, api.SessionFailed, job=ask(client, song)).code == "bad_session"


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Holds each separation until it is set, or the job is cancelled."""
    from bridge import serve

    go, real = threading.Event(), serve.separate

    def separate(request: Any, shelf: Any, *, on_progress: Any, cancelled: Any, cache: Any) -> Any:
        while not go.wait(0.02) and not cancelled():
            pass
        return real(request, shelf, on_progress=on_progress, cancelled=cancelled, cache=cache)

    monkeypatch.setattr(serve, "separate", separate)
    yield go
    go.set()


@pytest.mark.parametrize("everything", [False, True])
def test_cancel_ends_the_session_and_its_job(
    song: Path, tmp_path: Path, slow: threading.Event, everything: bool
) -> None:
    with serving(settings_in(tmp_path)) as engine, Client(engine.port) as client:
        ear = Ear(client)
        session = ask(client, song)
        ear.until(api.SessionPlanned, job=session)
        waiting = ask(client, song, "dry_run", "yes")
        client.ask(CancelAll(new_rid()) if everything else Cancel(new_rid(), session))
        assert ear.until(api.SessionDone, api.SessionFailed, job=session).code == "cancelled"
        last = ear.until(api.SessionDone, api.SessionFailed, job=waiting)
        assert isinstance(last, api.SessionFailed if everything else api.SessionDone)
        assert client.ask(Ping(new_rid())).state == "idle"
    assert not list((tmp_path / "out").rglob("*.wav"))


def test_the_next_engine_goes_on(song: Path, tmp_path: Path, slow: threading.Event) -> None:
    with serving(settings_in(tmp_path)) as engine, Client(engine.port) as client:
        ear = Ear(client)
        session = ask(client, song, "new_session", "no")
        ear.until(api.SessionProgress, job=session)
    assert len(list((tmp_path / "state" / "sessions").iterdir())) == 1
    slow.set()
    with serving(settings_in(tmp_path)) as engine, Client(engine.port) as client:
        until(lambda: not list((tmp_path / "state" / "sessions").iterdir()))
        until(lambda: client.ask(Ping(new_rid())).state == "idle")
    report = json.loads((tmp_path / "out" / "Song stems" / "stembridge-session.json").read_text())
    assert (report["done"], report["failed"], report["new_session"]) == (3, 0, None)
    assert len(list((tmp_path / "out").rglob("*.target.wav"))) == 3


def until(condition: Callable[[], Any]) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen"
        time.sleep(0.02)


def test_a_kill_loses_neither_the_session_nor_what_it_has_done(
    song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    out, state = tmp_path / "out", tmp_path / "state"
    with (
        pytest.raises(StembridgeError),
        child.engine(out, state, roots=[song.parent]) as first,
    ):  # it does not stop cleanly
        with Client(first.port) as client:
            ear = Ear(client)
            session = ask(client, song)
            ear.until(api.SessionPlanned, job=session)
            ear.until(api.SessionStem, job=session)
        first.process.kill()
        first.process.wait()
    assert not list(out.glob("*.wav"))
    report = out / "Song stems" / "stembridge-session.json"
    with child.engine(out, state, roots=[song.parent]):
        until(lambda: not list((state / "sessions").iterdir()))
    told = json.loads(report.read_text())
    assert (told["done"], told["failed"]) == (3, 0)
    stems = sorted(path.name for path in (out / "Song stems").glob("*.wav"))
    assert len(stems) == 6
    assert not list((out / "Song stems" / ".stembridge" / "work").iterdir())
