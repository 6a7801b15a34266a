"""The running engine, wired: one port, one journal, OSC and mailbox together, and its death by kill -9."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_engine import LIMIT_S, Rehearsal

from bridge import child
from bridge.api.requests import Info, JobStatus, Unload, Warm
from bridge.asking.paths import PathPolicy
from bridge.osc.client import Client, new_rid
from bridge.serve import Hub, Settings, serving
from engine.errors import StembridgeError
from engine.jobs.job import Job, JobEvent
from engine.request import SeparationRequest


def settings_in(folder: Path) -> Settings:
    return Settings(
        port=0,
        policy=PathPolicy((folder.resolve(),), folder / "out"),
        state_dir=folder / "state",
        cache_dir=folder / "cache",
        mailbox=folder / "mailbox",
        preload=False,
    )


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Rehearsal:
    """Takes the separation's place."""
    rehearsal = Rehearsal()

    def separate(request: SeparationRequest, shelf: Any, *, on_progress: Any, cancelled: Any, cache: Any) -> Any:
        return rehearsal(request, on_progress, cancelled)

    monkeypatch.setattr("bridge.serve.separate", separate)
    return rehearsal


def until(condition: Callable[[], Any]) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen"
        time.sleep(0.01)


def test_osc_and_mailbox_share_one_queue(tmp_path: Path, run: Rehearsal) -> None:
    song = tmp_path / "song.wav"
    song.write_bytes(b"RIFF")
    with serving(settings_in(tmp_path)) as engine, Client(engine.port) as client:
        sign = tmp_path / "mailbox" / "engine.json"
        until(sign.exists)
        assert json.loads(sign.read_text())["port"] == engine.port
        request = {"rid": "m1", "op": "submit", "path": str(song), "prompt": "vocals"}
        draft = tmp_path / "mailbox" / "requests" / "m1.tmp"
        draft.write_text(json.dumps(request))
        draft.rename(draft.with_suffix(".json"))
        status = tmp_path / "mailbox" / "status" / "m1.json"
        until(lambda: status.exists() and json.loads(status.read_text())["state"] == "done")
        assert client.wait(client.submit({"path": str(song), "track": "03_LeadVox"}), timeout_s=LIMIT_S).state == "done"
        assert [asked.prompt for asked in run.ran] == ["vocals", "lead vocals"]
        assert client.ask(JobStatus(new_rid(), json.loads(status.read_text())["job"])).state == "done"
        for wrong, code in (({"prompt": "???"}, "unsupported_prompt"), ({"model": "none"}, "unknown_model")):
            with pytest.raises(StembridgeError) as caught:
                client.submit({"path": str(song), "prompt": "vocals", **wrong})
            assert caught.value.code == code
    assert not sign.exists()


def test_info_and_memory(tmp_path: Path, run: Rehearsal) -> None:
    with serving(settings_in(tmp_path)) as engine, Client(engine.port) as client:
        info = client.ask(Info("r1"))
        assert "spleeter-2stems" in info.models.split(",")
        assert info.rate == 44_100
        assert json.loads(info.limits)["max_spans"] == 256
        client.ask(Unload("r2"))
        for request in (Warm("r3", "none"), Unload("r4", "none")):
            with pytest.raises(StembridgeError) as caught:
                client.ask(request)
            assert caught.value.code == "unknown_model"


def test_a_port_or_a_journal_in_use_is_said_and_leaves_nothing_open(tmp_path: Path, run: Rehearsal) -> None:
    settings = settings_in(tmp_path)
    with serving(settings) as engine:
        for other, code in (
            (replace(settings, port=engine.port, state_dir=tmp_path / "other"), "port_in_use"),
            (settings, "engine_running"),
        ):
            with pytest.raises(StembridgeError) as caught, serving(other):
                pass
            assert caught.value.code == code
            assert caught.value.remedy
        assert not (tmp_path / "other").exists()
        with Client(engine.port) as client:
            assert client.ask(Info("r1"))
    with serving(replace(settings, port=engine.port)) as again:
        assert again.port == engine.port


def test_a_clean_stop_keeps_the_jobs_for_the_next_start(tmp_path: Path, run: Rehearsal) -> None:
    song = tmp_path / "song.wav"
    song.write_bytes(b"RIFF")
    run.hold.clear()
    with serving(settings_in(tmp_path)) as engine, Client(engine.port) as client:
        jobs = [client.submit({"path": str(song), "prompt": "vocals"}) for _ in range(3)]
        assert run.started.wait(LIMIT_S)
    run.hold.set()
    with serving(settings_in(tmp_path)) as engine, Client(engine.port) as client:
        assert {client.wait(job, timeout_s=LIMIT_S).state for job in jobs} == {"done"}


def test_early_events_are_kept_in_order_and_told_once() -> None:
    job = Job("j", SeparationRequest(source=(Path("a"),), prompt="x", out_dir=Path()), created_s=0.0)
    hub, heard, also = Hub(), [], []
    for kind in ("queued", "progress"):
        hub.take(JobEvent(kind, job))  # type: ignore[arg-type]
    hub.attach([heard.append, also.append])
    hub.take(JobEvent("done", job))
    assert [event.kind for event in heard] == ["queued", "progress", "done"]
    assert heard == also


def test_kill_9_in_the_middle_of_a_job_loses_neither_it_nor_the_next(
    tmp_path: Path, mixture_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    song = mixture_file(25.0)
    before = hashlib.sha256(song.read_bytes()).hexdigest()
    out, state = tmp_path / "out", tmp_path / "state"
    with (
        pytest.raises(StembridgeError),
        child.engine(out, state, roots=[tmp_path]) as first,
    ):  # it does not stop cleanly
        with Client(first.port) as client:
            jobs = [
                client.submit({"path": str(song), "prompt": prompt, "name": prompt}) for prompt in ("vocals", "music")
            ]
            progress: list[float] = []
            while not progress or progress[-1] < 0.05:
                event = client.event(child.START_LIMIT_S)
                progress.append(getattr(event, "fraction", 0.0))
        first.process.kill()
        first.process.wait()
    assert not list(out.glob("*.wav")), "nothing appears before it is whole"
    with child.engine(out, state, roots=[tmp_path]) as second, Client(second.port) as client:
        for job in jobs:
            done = client.wait(job, timeout_s=120)
            assert Path(done.target).exists()
        assert client.ask(JobStatus("r1", jobs[0])).state == "done"
    assert sorted(os.listdir(out)) == sorted(
        f"{name}.{end}" for name in ("vocals", "music") for end in ("json", "target.wav", "residual.wav")
    )
    assert hashlib.sha256(song.read_bytes()).hexdigest() == before


def test_the_engine_listens_on_this_machine_only(tmp_path: Path, run: Rehearsal) -> None:
    with serving(settings_in(tmp_path)) as engine:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1", 9))  # sends nothing; asks for the address a packet would leave from
                address = probe.getsockname()[0]
            except OSError:
                pytest.skip("this machine has no network")
        if address.startswith("127."):
            pytest.skip("this machine has no network")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((address, engine.port), timeout=LIMIT_S).close()
