"""What the queue does between jobs, and the drafts it tells of: work that gives way to every job."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from queue_process import make_request, make_separation
from test_engine_jobs import DEADLINE_S, FOLDER, Gate, Transcript

from engine.drafts import draft_name
from engine.errors import Cancelled, StembridgeError
from engine.jobs.job import JobState
from engine.jobs.journal import Journal
from engine.jobs.queue import JobQueue
from engine.request import Draft, Progress, Separation, SeparationRequest


class Spare:
    """Work in spare time that goes on until it is told to give way."""

    def __init__(self, *, endless: bool = True) -> None:
        self.began, self.ended, self.gave_way = threading.Event(), threading.Event(), False
        self.endless = endless

    def __call__(self, cancelled: Callable[[], bool]) -> None:
        self.began.set()
        while self.endless:
            if cancelled():
                self.gave_way = True
                self.ended.set()
                raise Cancelled
            threading.Event().wait(0.001)
        self.ended.set()


def test_work_in_spare_time_gives_way_to_a_job() -> None:
    gate, spare = Gate(), Spare()
    gate.open.set()
    with Journal(None) as journal, JobQueue(gate, journal) as queue:
        queue.when_idle(spare)
        assert spare.began.wait(DEADLINE_S)
        job = queue.submit(make_request(FOLDER))
        assert queue.wait(job.id, DEADLINE_S).state is JobState.DONE
        assert spare.gave_way


def test_the_newest_takes_the_place_of_the_one_before() -> None:
    first, second = Spare(), Spare(endless=False)
    with Journal(None) as journal, JobQueue(Gate(), journal) as queue:
        queue.when_idle(first)
        assert first.began.wait(DEADLINE_S)
        queue.when_idle(second)
        assert second.ended.wait(DEADLINE_S)
        assert first.gave_way


def test_it_waits_for_the_running_job_and_never_runs_beside_one() -> None:
    gate, spare = Gate(), Spare(endless=False)
    with Journal(None) as journal, JobQueue(gate, journal) as queue:
        job = queue.submit(make_request(FOLDER))
        assert gate.entered.wait(DEADLINE_S)
        queue.when_idle(spare)
        assert not spare.began.is_set()
        gate.open.set()
        queue.wait(job.id, DEADLINE_S)
        assert spare.ended.wait(DEADLINE_S)


def test_what_fails_in_spare_time_stops_nothing() -> None:
    gate, told = Gate(), threading.Event()
    gate.open.set()

    def broken(cancelled: Callable[[], bool]) -> None:
        told.set()
        raise ZeroDivisionError("a defect")

    with Journal(None) as journal, JobQueue(gate, journal) as queue:
        queue.when_idle(broken)
        assert told.wait(DEADLINE_S)
        assert queue.wait(queue.submit(make_request(FOLDER)).id, DEADLINE_S).state is JobState.DONE


def test_closing_ends_it() -> None:
    spare = Spare()
    with Journal(None) as journal:
        queue = JobQueue(Gate(), journal)
        queue.when_idle(spare)
        assert spare.began.wait(DEADLINE_S)
        queue.close()
    assert spare.gave_way


# Drafts


def drafting(gate: threading.Event, end: BaseException | None = None) -> Callable[..., Separation]:
    """A run that tells of a draft, waits at the gate, and ends."""

    def run(
        request: SeparationRequest, on_progress: Callable[[Progress], None], cancelled: Callable[[], bool]
    ) -> Separation:
        on_progress(Progress(0.3, "refining", None, Draft(make_separation(FOLDER, "draft"), 7)))
        while not gate.wait(0.001):
            if cancelled():
                raise Cancelled
        on_progress(Progress(0.9, "refining", None))
        if end is not None:
            raise end
        return make_separation(FOLDER, "final")

    return run


def test_a_draft_is_an_event_of_its_own_and_stays_on_the_job_until_it_ends() -> None:
    gate, told = threading.Event(), Transcript()
    with Journal(None) as journal, JobQueue(drafting(gate), journal, on_event=told) as queue:
        job = queue.submit(make_request(FOLDER))
        told.wait_for(1, "draft")
        stands = queue.job(job.id)
        assert stands.state is JobState.RUNNING
        assert stands.draft == Draft(make_separation(FOLDER, "draft"), 7)
        gate.set()
        done = queue.wait(job.id, DEADLINE_S)
        told.wait_for(1, "done")
    assert (done.draft, done.result) == (None, make_separation(FOLDER, "final"))
    kinds = [kind for kind in told.of(job) if kind != "progress"]
    assert kinds == ["queued", "draft", "done"]


@pytest.mark.parametrize("end", [StembridgeError("disk_full", "The disk is full."), ZeroDivisionError()])
def test_a_job_that_fails_after_its_draft_has_none(end: BaseException) -> None:
    gate = threading.Event()
    gate.set()
    with Journal(None) as journal, JobQueue(drafting(gate, end), journal) as queue:
        job = queue.wait(queue.submit(make_request(FOLDER)).id, DEADLINE_S)
    assert (job.state, job.draft) == (JobState.FAILED, None)


def leave_a_draft(request: SeparationRequest) -> Path:
    """As an engine that was killed between draft and result."""
    request.out_dir.mkdir(exist_ok=True)
    path = request.out_dir / f"{draft_name(request)}.target.wav"
    path.write_bytes(b"RIFF")
    return path


def test_a_job_given_up_or_cancelled_after_a_kill_leaves_no_draft(tmp_path: Path) -> None:
    request = replace(make_request(tmp_path), quality="progressive", out_dir=tmp_path / "out")
    gate = Gate()
    with Journal(tmp_path / "jobs") as journal, JobQueue(gate, journal) as queue:
        queue.submit(replace(request, name="first"))
        assert gate.entered.wait(DEADLINE_S)
        waiting = queue.submit(request)
        left = leave_a_draft(request)
        queue.cancel(waiting.id)
        assert not left.exists()
        gate.open.set()
    with Journal(tmp_path / "jobs") as journal:
        dead = replace(waiting, state=JobState.RUNNING, attempts=2)
        journal.write([dead])
        left = leave_a_draft(request)
        with JobQueue(gate, journal) as again:
            assert again.job(waiting.id).state is JobState.FAILED
            assert not left.exists()
