"""Drafts and prefetches as clients meet them: over OSC, in the mailbox, on the command line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from fake_engine import LIMIT_S, FakeEngine, fake_engine
from growing_engine import growing_engine
from mixtures import make_mixture
from test_bridge_mailbox import Box, opened
from test_bridge_serve import settings_in
from test_bridge_server import events_of, song, until

from bridge.__main__ import main
from bridge.api import protocol as api
from bridge.api.requests import JobStatus, Prefetch, Subscribe
from bridge.cli import console
from bridge.osc.client import Client
from bridge.serve import serving
from engine.errors import StembridgeError
from engine.masks.intent import read_intent
from engine.request import Draft, Separation, SeparationRequest

OUT = Path("/music/out")
STEMS = Separation(
    *(OUT / f"Lead.draft-0a1b2c3d.{end}" for end in ("target.wav", "residual.wav", "json")),
    48_000, 2, 960_000, -140.0, "fake", "fake", 2, 0, 0.1,
)  # fmt: skip
DRAFT = Draft(STEMS, 480_000)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    with fake_engine(tmp_path) as running:
        running.run.draft = DRAFT
        running.run.hold.clear()
        yield running


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with opened(tmp_path, hold=True) as one:
        one.run.draft = DRAFT
        yield one
        one.run.hold.set()


# OSC


def drafts_in(events: list[api.Event]) -> list[api.JobDraft]:
    return [event for event in events if isinstance(event, api.JobDraft)]


def test_a_draft_is_told_before_the_end_and_only_while_the_job_goes_on(engine: FakeEngine) -> None:
    with Client(engine.port) as client:
        job = client.submit(song(engine, quality="progressive"))
        until(lambda: client.ask(JobStatus("r1", job)).draft_target)
        stands = client.ask(JobStatus("r2", job))
        assert (stands.state, stands.target) == ("running", "")
        assert (stands.draft_target, stands.draft_residual) == (str(STEMS.target), str(STEMS.residual))
        assert (stands.draft_offset, stands.draft_samples) == (480_000, 960_000)
        engine.run.hold.set()
        until(lambda: client.ask(JobStatus("r3", job)).state == "done")
        ended = client.ask(JobStatus("r4", job))
        assert (ended.draft_target, ended.draft_residual, ended.draft_offset, ended.draft_samples) == ("", "", 0, 0)
        assert ended.target
        told: list[api.Event] = []
        while not told or not isinstance(told[-1], api.JobDone):
            event = client.event(LIMIT_S)
            assert event is not None
            told.append(event)
    (draft,) = drafts_in(told)
    assert draft == api.JobDraft(job, str(STEMS.manifest), str(STEMS.target), str(STEMS.residual), 480_000)


def test_drafts_are_a_topic_of_their_own(engine: FakeEngine) -> None:
    with Client(engine.port) as asker, Client(engine.port) as listener:
        listener.ask(Subscribe("s", topics=("draft",)))
        job = asker.submit(song(engine, quality="progressive"))
        event = listener.event(LIMIT_S)
        assert isinstance(event, api.JobDraft)
        assert event.job == job
        engine.run.hold.set()


def test_a_client_that_waits_hears_of_the_draft(engine: FakeEngine) -> None:
    with Client(engine.port) as client:
        heard: list[api.JobDraft] = []

        def on_draft(draft: api.JobDraft) -> None:
            heard.append(draft)
            engine.run.hold.set()

        done = client.wait(client.submit(song(engine)), on_draft=on_draft, timeout_s=LIMIT_S)
    assert done.state == "done"
    assert [draft.target for draft in heard] == [str(STEMS.target)]


def test_a_job_that_is_cancelled_after_its_draft_tells_of_none(engine: FakeEngine) -> None:
    with Client(engine.port) as client:
        job = client.submit(song(engine, quality="progressive"))
        until(lambda: client.ask(JobStatus("r1", job)).draft_target)
        client.cancel(job)
        assert isinstance(events_past_drafts(client, job)[-1], api.JobCancelled)
        assert client.ask(JobStatus("r2", job)).draft_target == ""


def events_past_drafts(client: Client, job: str) -> list[api.Event]:
    """The job's events up to its end; a draft is no end."""
    events = events_of(client, job)
    return events + events_of(client, job) if isinstance(events[-1], api.JobDraft) else events


@pytest.mark.parametrize("options", [(), ("prompt", "vocals"), ("track", "Audio 3"), ("track", "Lead Vox")])
def test_a_prefetch_is_acknowledged_with_or_without_a_prompt(engine: FakeEngine, options: tuple[Any, ...]) -> None:
    with Client(engine.port) as client:
        ack = client.ask(Prefetch("p", str(engine.source), 1.0, 2.0, options))
    assert ack == api.Ack("p", "")
    assert engine.warmed == [str(engine.source.resolve())]
    assert engine.queue.jobs() == []


@pytest.mark.parametrize(
    ("path", "options", "code"),
    [("/etc/passwd", (), "path_refused"), ("", ("quality", "progresive"), "bad_value"), ("", ("x", 1), "unknown_key")],
)
def test_a_prefetch_that_makes_no_sense_is_refused(
    engine: FakeEngine, path: str, options: tuple[Any, ...], code: str
) -> None:
    with Client(engine.port) as client, pytest.raises(StembridgeError) as caught:
        client.ask(Prefetch("p", path or str(engine.source), 1.0, 2.0, options))
    assert caught.value.code == code
    assert engine.warmed == []


# The mailbox


def test_the_status_has_the_draft_while_the_job_goes_on(box: Box) -> None:
    box.submit("r1", position=96_000, rate=48_000, start=48_000, end=2_400_000, quality="progressive")

    def drafted() -> bool:
        box.mailbox.poll()
        return bool((box.status("r1") or {}).get("draft_target"))

    until(drafted)
    status = box.status("r1") or {}
    assert status["state"] == "running"
    assert (status["draft_target"], status["draft_residual"]) == (str(STEMS.target), str(STEMS.residual))
    assert (status["draft_samples"], status["draft_position_samples"]) == (960_000, 96_000 + 480_000)
    assert (status["sample_rate"], status["channels"]) == (48_000, 2)
    assert status["target"] is status["samples"] is status["position_samples"] is None
    box.run.hold.set()
    ended = box.ends("r1")
    assert (ended["state"], ended["draft_target"], ended["draft_samples"]) == ("done", None, None)
    assert ended["position_samples"] == 96_000


def test_the_status_has_the_newest_draft(box: Box) -> None:
    larger = Draft(replace(STEMS, target=OUT / "Lead.draft-0a1b2c3d-2.target.wav", samples=2_880_000), 100_000)
    box.run.more_drafts = [larger]
    box.submit("r1", position=96_000, rate=48_000, start=48_000, end=4_800_000, quality="progressive")

    def newest() -> bool:
        box.mailbox.poll()
        return (box.status("r1") or {}).get("draft_target") == str(larger.stems.target)

    until(newest)
    status = box.status("r1") or {}
    assert (status["draft_samples"], status["draft_position_samples"]) == (2_880_000, 96_000 + 100_000)
    box.run.hold.set()
    assert box.ends("r1")["draft_target"] is None


def test_a_prefetch_in_the_mailbox_is_done_at_once_and_makes_no_job(box: Box) -> None:
    box.post("p1", op="prefetch", path=str(box.song), start=1.0, end=2.0)
    assert box.ends("p1") == {"rid": "p1", "state": "done"}
    box.post("p2", op="prefetch", path="/etc/passwd")
    assert box.ends("p2")["code"] == "path_refused"
    assert box.queue.jobs() == []


# The running engine


def test_a_prefetch_is_encoded_between_jobs_and_its_region_is_the_submits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "song.wav"
    source.write_bytes(b"RIFF")
    heard: list[SeparationRequest] = []
    monkeypatch.setattr("bridge.serve.hear_ahead", lambda request, shelf, cancelled: heard.append(request))
    with serving(settings_in(tmp_path)) as running, Client(running.port) as client:
        client.ask(Prefetch("p", str(source), 1.0, 2.0, ("context", 3)))
        until(lambda: heard)
        assert running.queue.jobs() == []
    (request,) = heard
    assert (request.start_s, request.end_s, request.context_s) == (1.0, 2.0, 3.0)
    assert read_intent(request.prompt) is None  # only a model of any prompt is asked


RATE = 44_100


def test_drafts_grow_around_the_playhead_and_then_the_result_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "song.wav"
    soundfile.write(source, make_mixture(round(3.5 * RATE)), RATE, subtype="FLOAT")
    mixture = soundfile.read(source, dtype="float32")[0]
    heard: list[tuple[int, str]] = []
    with (
        growing_engine(tmp_path, monkeypatch) as (running, go_on),
        Client(running.port) as client,
        Client(running.port) as late,
    ):

        def on_draft(draft: api.JobDraft) -> None:
            stems = [soundfile.read(path, dtype="float32")[0] for path in (draft.target, draft.residual)]
            n_samples = len(stems[0])
            assert np.abs(sum(stems) - mixture[draft.offset :][:n_samples]).max() <= 1e-6
            stands = late.ask(JobStatus(f"s{len(heard)}", draft.job))
            assert (stands.draft_target, stands.draft_residual) == (draft.target, draft.residual)
            assert (stands.draft_offset, stands.draft_samples) == (draft.offset, n_samples)
            until(lambda: not any(Path(target).exists() for _, target in heard))  # soon after it was told
            heard.append((draft.offset, draft.target))
            go_on.release()

        def result(name: str, **fields: Any) -> api.JobAnswer:
            asked = {"path": str(source), "prompt": "vocals", "name": name, "quality": "progressive", **fields}
            job = client.submit(asked)
            go_on.release()
            return client.wait(job, on_draft=on_draft, timeout_s=LIMIT_S)

        done = result("heard", playhead=1.5)
        assert [offset for offset, _ in heard] == [round(1.4 * RATE), round(1.2 * RATE)]
        assert len({target for _, target in heard}) == 2
        plain = result("plain")
        again = result("again", playhead=0.7)
    assert len(heard) == 2  # what is kept is delivered without one
    assert Path(again.target).read_bytes() == Path(done.target).read_bytes() == Path(plain.target).read_bytes()
    assert soundfile.info(done.target).frames == round(3.5 * RATE)
    left = {path.name.split(".", 1)[1] for path in Path(done.target).parent.iterdir()}
    assert left == {"json", "residual.wav", "target.wav"}


def test_each_draft_is_told_and_the_newest_is_what_a_late_client_gets(engine: FakeEngine) -> None:
    larger = Draft(replace(STEMS, target=OUT / "Lead.draft-0a1b2c3d-2.target.wav", samples=2_880_000), 100_000)
    engine.run.more_drafts = [larger]
    with Client(engine.port) as client:
        job = client.submit(song(engine, quality="progressive"))
        told: list[api.JobDraft] = []
        while len(told) < 2:
            event = client.event(LIMIT_S)
            assert event is not None
            told += drafts_in([event])
        stands = client.ask(JobStatus("r1", job))
        engine.run.hold.set()
    assert [(draft.target, draft.offset) for draft in told] == [
        (str(STEMS.target), 480_000),
        (str(larger.stems.target), 100_000),
    ]
    assert (stands.draft_target, stands.draft_offset, stands.draft_samples) == (told[1].target, 100_000, 2_880_000)


# The command line


def test_submit_prints_the_draft_and_then_the_stems(engine: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    told: list[str] = []
    write = console.write_line

    def line(text: str) -> None:
        told.append(text)
        write(text)
        engine.run.hold.set()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console, "write_line", line)
        asked = ["submit", str(engine.source), "--prompt", "vocals", "--quality", "progressive"]
        assert main([*asked, "--port", str(engine.port)]) == 0
    assert [text.split()[0] for text in told] == ["draft", "draft", "target", "residual", "manifest"]
    assert told[0].split()[1] == str(STEMS.target)


@pytest.mark.torch
def test_extract_prints_both_and_leaves_the_result_alone(
    mixture_file: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not os.environ.get("CI"):
        pytest.importorskip("transformers", reason="transformers is not installed")
    from toy_bundle import write_models

    from engine import models

    write_models(models.models_folder())
    source, out = mixture_file(0.5, sample_rate=48_000), tmp_path / "out"
    asked = ["extract", str(source), "--prompt", "tambourine", "--quality", "progressive", "--out", str(out)]
    assert main(asked) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert [label for label, _ in lines] == ["draft", "draft", "target", "residual", "manifest"]
    assert not Path(lines[0][1]).exists()
    assert sorted(path.suffix for path in out.iterdir()) == [".json", ".wav", ".wav"]
    assert main([*asked, "--json", "--name", "again"]) == 0
    (told,) = capsys.readouterr().out.splitlines()
    assert Path(json.loads(told)["target"]).name == "again.target.wav"
