"""The queue: order, cancel, progress, failures, and what is left after a kill."""

from __future__ import annotations

import itertools
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from queue_process import N_WINDOWS, QueueProcess, make_request, make_separation

from engine.errors import Cancelled, StembridgeError
from engine.jobs.journal import Journal
from engine.jobs.outbox import Outbox
from engine.jobs.progress import ETA_SMOOTHING_S, MIN_INTERVAL_S, ProgressMeter
from engine.jobs.queue import (
    BATCH_PRIORITY,
    INTERACTIVE_PRIORITY,
    PREVIEW_PRIORITY,
    Job,
    JobEvent,
    JobQueue,
    JobState,
    Run,
)
from engine.jobs.waiting import WaitingLine
from engine.request import Progress, Separation, SeparationRequest

DEADLINE_S = 60.0
FOLDER = Path("/music")
REQUEST = make_request(FOLDER)


def done_at_once(request: SeparationRequest, *_: object) -> Separation:
    return make_separation(FOLDER, str(request.name))


class Gate:
    """A run that waits at a gate, in windows, and notes the order of the names it was asked for."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()
        self.names: list[str | None] = []

    def __call__(
        self, request: SeparationRequest, on_progress: Callable[[Progress], None], cancelled: Callable[[], bool]
    ) -> Separation:
        self.names.append(request.name)
        self.entered.set()
        deadline = time.monotonic() + DEADLINE_S
        while not self.open.wait(0.001):
            assert time.monotonic() < deadline
            if cancelled():
                raise Cancelled
        return make_separation(FOLDER, str(request.name))


class Transcript:
    """A listener that keeps every event and can be waited for."""

    def __init__(self) -> None:
        self.events: list[JobEvent] = []
        self._counts: Counter[str] = Counter()
        self._changed = threading.Condition()

    def __call__(self, event: JobEvent) -> None:
        with self._changed:
            self.events.append(event)
            self._counts[event.kind] += 1
            self._changed.notify_all()

    def wait_for(self, count: int, *kinds: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: sum(self._counts[kind] for kind in kinds) >= count, DEADLINE_S)

    def of(self, job: Job) -> list[str]:
        return [event.kind for event in self.events if event.job.id == job.id]


def failing(error: BaseException) -> Run:
    def run(request: SeparationRequest, *_: object) -> Separation:
        if request.name == "bad":
            raise error
        return make_separation(FOLDER)

    return run


def failing_listener(error: BaseException) -> Callable[[JobEvent], None]:
    def listener(event: JobEvent) -> None:
        raise error

    return listener


# Order

ACTIONS = st.lists(st.tuples(st.integers(0, 30), st.sampled_from([-10, 0, 10]), st.sampled_from("aaafr")))


@given(ACTIONS)
def test_the_line_is_a_stable_sort(actions):
    """Against a model: a list, sorted when asked. a: add, f: add at the front, r: remove."""
    line, model = WaitingLine(), []
    for number, priority, action in actions:
        name = str(number)
        known = next((entry for entry in model if entry[1] == name), None)
        if action == "r" and known:
            line.remove(name, known[0])
            model.remove(known)
        elif action == "a" and not known:
            line.add(name, priority)
            model.append((priority, name))
        elif action == "f" and not known:
            line.add(name, priority, at_front=True)
            model.insert(0, (priority, name))
        assert len(line) == len(model)
        if model:
            assert line.first() == sorted(model, key=lambda entry: -entry[0])[0][1]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([BATCH_PRIORITY, 0, 3, PREVIEW_PRIORITY]), st.booleans()), max_size=30))
def test_jobs_run_by_priority_then_in_order_without_the_cancelled(asked):
    gate = Gate()
    with Journal(None) as journal, JobQueue(gate, journal) as queue:
        queue.submit(make_request(FOLDER, "first"))
        assert gate.entered.wait(DEADLINE_S)
        jobs = [queue.submit(make_request(FOLDER, f"{n}"), priority=p) for n, (p, _) in enumerate(asked)]
        for job, (_, cancel) in zip(jobs, asked, strict=True):
            if cancel:
                assert queue.cancel(job.id).state is JobState.CANCELLED
        gate.open.set()
        states = [queue.wait(job.id, DEADLINE_S).state for job in jobs]
    kept = [(-priority, n) for n, (priority, cancel) in enumerate(asked) if not cancel]
    assert gate.names == ["first", *(str(n) for _, n in sorted(kept))]
    assert states == [JobState.CANCELLED if cancel else JobState.DONE for _, cancel in asked]


def test_a_preview_passes_a_batch():
    assert PREVIEW_PRIORITY > INTERACTIVE_PRIORITY > BATCH_PRIORITY


def submit_from_threads(queue: JobQueue, n_clients: int, n_each: int) -> dict[str, list[str]]:
    """client → the ids it was given, in its order."""
    answers: dict[str, list[str]] = {}

    def client(name: str) -> None:
        answers[name] = [queue.submit(make_request(FOLDER, f"{n}"), client=name).id for n in range(n_each)]

    threads = [threading.Thread(target=client, args=(f"client {k}",)) for k in range(n_clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    return answers


def by_client(jobs: list[Job]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for job in jobs:
        found.setdefault(job.client, []).append(job.id)
    return found


def test_eight_clients_with_a_thousand_requests_each(tmp_path):
    transcript = Transcript()
    with Journal(tmp_path / "jobs.sqlite") as journal, JobQueue(Gate(), journal, on_event=transcript) as queue:
        answers = submit_from_threads(queue, 8, 1000)
        assert sorted(len(ids) for ids in answers.values()) == [1000] * 8
        assert by_client(journal.unfinished()) == answers
        transcript.wait_for(8000, "queued")
        assert by_client([event.job for event in transcript.events if event.kind == "queued"]) == answers
        queue.cancel_all()
        transcript.wait_for(8000, "cancelled")
        assert journal.unfinished() == []
    assert len({event.job.id for event in transcript.events if event.kind == "cancelled"}) == 8000


def test_every_client_is_served_in_its_order():
    transcript = Transcript()
    with Journal(None) as journal, JobQueue(done_at_once, journal, on_event=transcript) as queue:
        answers = submit_from_threads(queue, 8, 100)
        transcript.wait_for(800, "done")
    assert by_client([event.job for event in transcript.events if event.kind == "done"]) == answers


def test_many_at_once_are_all_or_none():
    gate = Gate()
    with Journal(None) as journal, JobQueue(gate, journal, max_waiting=5) as queue:
        queue.submit(REQUEST)
        assert gate.entered.wait(DEADLINE_S)
        jobs = queue.submit_all([(REQUEST, 0, "a"), (REQUEST, 10, "b"), (REQUEST, 0, "c")])
        assert [job.client for job in queue.jobs(0, 3)] == ["c", "b", "a"]
        with pytest.raises(StembridgeError, match="3 jobs") as caught:
            queue.submit_all([(REQUEST, 0, "")] * 3)
        assert caught.value.code == "queue_full"
        assert len(queue.jobs()) == 4
        queue.submit_all([(REQUEST, 0, "")] * 2)
        with pytest.raises(StembridgeError):
            queue.submit(REQUEST)
        queue.cancel(jobs[0].id)
        queue.submit(REQUEST)
        assert queue.submit_all([]) == []
        queue.cancel_all()


# What is told


def test_the_life_of_a_job_is_told_in_order():
    transcript = Transcript()

    def run(request, on_progress, cancelled):
        on_progress(Progress(1.0, "writing", None))
        return done_at_once(request)

    with Journal(None) as journal, JobQueue(run, journal, on_event=transcript) as queue:
        job = queue.submit(make_request(FOLDER, "mine"), client="reaper 7", priority=3)
        done = queue.wait(job.id, DEADLINE_S)
        transcript.wait_for(1, "done")
        assert queue.job(job.id) == journal.job(job.id) == queue.jobs()[0]
    assert transcript.of(job) == ["queued", "progress", "progress", "done"]
    assert [event.job.state for event in transcript.events] == ["queued", "running", "running", "done"]
    assert [event.job.progress for event in transcript.events] == [
        None,
        Progress(0.0, "starting", None),
        Progress(1.0, "writing", 0.0),
        Progress(1.0, "writing", 0.0),
    ]
    assert all(
        (e.job.client, e.job.priority, e.job.created_s) == ("reaper 7", 3, job.created_s) for e in transcript.events
    )
    assert done.result == make_separation(FOLDER, "mine")
    assert (job.state, job.attempts, done.attempts) == ("queued", 0, 1)


@pytest.mark.parametrize("error", [RuntimeError("listener"), KeyboardInterrupt(), SystemExit(1)])
def test_a_listener_that_raises_stops_nothing(error, caplog):
    transcript = Transcript()

    def listener(event: JobEvent) -> None:
        transcript(event)
        if isinstance(error, Exception) or threading.current_thread() is not threading.main_thread():
            raise error

    with Journal(None) as journal, JobQueue(done_at_once, journal, on_event=listener) as queue:
        for _ in range(3):
            assert queue.wait(queue.submit(REQUEST).id, DEADLINE_S).state is JobState.DONE
        transcript.wait_for(3, "done")
    assert "The listener failed" in caplog.text


def test_ctrl_c_in_a_listener_reaches_the_main_thread():
    outbox = Outbox(failing_listener(KeyboardInterrupt()))
    for _ in range(2):  # twice: the first must not leave the outbox locked
        outbox.put(JobEvent("queued", Job("a1", REQUEST)))
        with pytest.raises(KeyboardInterrupt):
            outbox.deliver()


def test_a_listener_may_call_the_queue():
    """Each finished job cancels one and submits one: no deadlock, and events stay in order."""
    transcript = Transcript()
    names = itertools.count()

    def listener(event: JobEvent) -> None:
        transcript(event)
        if event.kind == "done" and (n := next(names)) < 5:
            extra = queue.submit(make_request(FOLDER, f"follow {n}"), priority=BATCH_PRIORITY)
            if n % 2 == 0:
                queue.cancel(extra.id)
            assert queue.job(extra.id).client == ""

    with Journal(None) as journal:
        gate = Gate()
        queue = JobQueue(gate, journal, on_event=listener)
        with queue:
            queue.submit_all([(REQUEST, 0, "")] * 5)
            gate.open.set()
            transcript.wait_for(10, "done", "cancelled")
    for job in {event.job.id: event.job for event in transcript.events}.values():
        kinds = transcript.of(job)
        assert kinds[0] == "queued"
        assert kinds[-1] in ("done", "cancelled")
        assert set(kinds[1:-1]) <= {"progress"}


def test_events_come_one_at_a_time_and_off_the_lock():
    inside = threading.Lock()
    transcript = Transcript()

    def listener(event: JobEvent) -> None:
        assert inside.acquire(blocking=False)
        queue.jobs(0, 1)  # would block for ever under the queue's lock
        transcript(event)
        inside.release()

    with Journal(None) as journal:
        gate = Gate()
        queue = JobQueue(gate, journal, on_event=listener)
        with queue:
            threads = [threading.Thread(target=lambda: [queue.submit(REQUEST) for _ in range(50)]) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(DEADLINE_S)
            gate.open.set()
            transcript.wait_for(200, "done")
    assert Counter(event.kind for event in transcript.events)["queued"] == 200


REPORTS = st.lists(
    st.tuples(st.floats(0, 2), st.floats(allow_nan=True, allow_infinity=True), st.none() | st.floats()), max_size=50
)


@given(REPORTS)
def test_progress_never_falls_and_is_not_told_too_often(reports):
    meter, now_s, shown, sent_s = ProgressMeter(100.0), 100.0, 0.0, []
    for since_s, fraction, eta_s in reports:
        now_s += since_s
        progress, due = meter.update(Progress(fraction, "separating", eta_s), now_s)
        assert shown <= progress.fraction <= 1
        assert progress.eta_s is None or 0 <= progress.eta_s < math.inf
        if due and not (progress.fraction == 1 and shown < 1):
            assert not sent_s or now_s - sent_s[-1] >= MIN_INTERVAL_S
        if progress.fraction == 1 and shown < 1:
            assert due
        if due:
            sent_s.append(now_s)
        shown = progress.fraction


def test_an_eta_is_drawn_from_the_fraction_where_the_engine_gives_none():
    meter = ProgressMeter(0.0)
    told = {t: meter.update(Progress(t / 1000, "separating", None), t / 10)[0].eta_s for t in range(1, 1000)}
    assert told[4] is None  # after 0.4 s nothing can be said
    assert all(told[t] == pytest.approx(100 - t / 10, abs=0.5) for t in (100, 300, 999))
    assert meter.update(Progress(1.0, "done", None), 100.0)[0].eta_s == 0.0


def test_the_eta_counts_down_and_follows_a_new_estimate_calmly():
    """The engine's estimate jumps from 50 to 80 s at 1 s and stays there."""
    meter = ProgressMeter(0.0)
    told = [
        meter.update(Progress(0.3, "separating", 50.0 - t / 10 if t < 10 else 80.0), t / 10)[0].eta_s or 0.0
        for t in range(1, round(100 * ETA_SMOOTHING_S))
    ]
    assert told[8] == pytest.approx(50.0 - 0.9)
    steps = [after - before for before, after in itertools.pairwise(told)]
    assert steps[:8] == pytest.approx([-0.1] * 8)
    assert 0 < max(steps) < 1.5
    assert told[-1] == pytest.approx(80.0, abs=3.1)  # it counts down while the estimate does not: one time constant off


def test_every_report_counts_though_not_every_one_is_told():
    transcript, reported, go_on = Transcript(), threading.Event(), threading.Event()

    def run(request, on_progress, cancelled):
        for n in range(1000):
            on_progress(Progress(n / 1000, "separating", None))
        reported.set()
        assert go_on.wait(DEADLINE_S)
        on_progress(Progress(1.0, "writing", None))
        return done_at_once(request)

    with Journal(None) as journal, JobQueue(run, journal, on_event=transcript) as queue:
        job = queue.submit(REQUEST)
        assert reported.wait(DEADLINE_S)
        running = queue.job(job.id)
        assert running.progress is not None
        assert running.progress.fraction == 0.999
        assert queue.jobs() == [running]
        go_on.set()
        transcript.wait_for(1, "done")
    told = [
        event.job.progress.fraction for event in transcript.events if event.kind == "progress" and event.job.progress
    ]
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) < 500


def test_a_straggling_report_changes_nothing():
    reports = []

    def run(request, on_progress, cancelled):
        reports.append(on_progress)
        return done_at_once(request)

    with Journal(None) as journal, JobQueue(run, journal) as queue:
        job = queue.wait(queue.submit(REQUEST).id, DEADLINE_S)
        reports[0](Progress(0.5, "separating", None))
        assert queue.job(job.id).state is JobState.DONE


# Cancel


def test_cancel_waiting_is_at_once_and_running_at_the_next_window():
    gate, transcript = Gate(), Transcript()
    with Journal(None) as journal, JobQueue(gate, journal, on_event=transcript) as queue:
        running, waiting, last = (queue.submit(make_request(FOLDER, name)) for name in "abc")
        assert gate.entered.wait(DEADLINE_S)
        cancelled = queue.cancel(waiting.id)
        assert cancelled.state is JobState.CANCELLED
        assert cancelled.error is not None
        assert cancelled.error[0] == "cancelled"
        assert queue.cancel(waiting.id) == cancelled == journal.job(waiting.id)
        assert queue.cancel(running.id).state is JobState.RUNNING
        ended = queue.wait(running.id, DEADLINE_S)
        assert ended.state is JobState.CANCELLED
        assert queue.cancel(running.id) == queue.cancel(running.id) == ended
        gate.open.set()
        assert queue.wait(last.id, DEADLINE_S).state is JobState.DONE
        assert queue.cancel(last.id).state is JobState.DONE
        transcript.wait_for(1, "done")
    assert gate.names == ["a", "c"]
    assert transcript.of(waiting) == ["queued", "cancelled"]
    assert transcript.of(running)[-1] == "cancelled"


def test_cancel_all_answers_what_it_cancelled():
    gate, transcript = Gate(), Transcript()
    with Journal(None) as journal, JobQueue(gate, journal, on_event=transcript) as queue:
        jobs = queue.submit_all([(REQUEST, 0, str(n)) for n in range(20)])
        assert gate.entered.wait(DEADLINE_S)
        assert {job.id for job in queue.cancel_all()} == {job.id for job in jobs}
        assert all(queue.wait(job.id, DEADLINE_S).state is JobState.CANCELLED for job in jobs)
        transcript.wait_for(20, "cancelled")
        assert queue.cancel_all() == []
        assert journal.unfinished() == []
    assert len(gate.names) == 1


def test_a_cancel_that_comes_too_late_changes_nothing():
    def run(request, on_progress, cancelled):
        assert queue.cancel(queue.jobs()[0].id).state is JobState.RUNNING
        assert cancelled()
        return done_at_once(request)

    with Journal(None) as journal:
        queue = JobQueue(run, journal)
        with queue:
            job = queue.wait(queue.submit(REQUEST).id, DEADLINE_S)
    assert job.state is JobState.DONE
    assert job.result is not None


@pytest.mark.parametrize("seed", range(3))
def test_cancels_that_race_with_the_worker(seed):
    """Every job ends once, whoever wins; and what ran to its end is not called cancelled."""
    transcript, ended = Transcript(), []

    def run(request, on_progress, cancelled):
        for _ in range(3):
            on_progress(Progress(0.5, "separating", None))
            if cancelled():
                raise Cancelled
        ended.append(request.name)
        return done_at_once(request)

    with Journal(None) as journal, JobQueue(run, journal, on_event=transcript) as queue:
        jobs = [queue.submit(make_request(FOLDER, f"{n}")) for n in range(150)]

        def cancel_some(chance: random.Random) -> None:
            for job in chance.sample(jobs, 100):
                assert queue.cancel(job.id).id == job.id

        threads = [threading.Thread(target=cancel_some, args=(random.Random(10 * seed + k),)) for k in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_S)
        transcript.wait_for(150, "done", "cancelled")
        states = {str(job.request.name): queue.wait(job.id, DEADLINE_S).state for job in jobs}
    assert {name for name, state in states.items() if state is JobState.DONE} == set(ended)
    assert set(states.values()) <= {JobState.DONE, JobState.CANCELLED}
    for job in jobs:
        assert [kind for kind in transcript.of(job) if kind != "progress"] == ["queued", states[str(job.request.name)]]
        assert transcript.of(job)[-1] != "progress"


@pytest.mark.parametrize("call", ["cancel", "job"])
def test_an_unknown_job_is_named(call):
    with Journal(None) as journal, JobQueue(done_at_once, journal) as queue:
        with pytest.raises(StembridgeError, match="deadbeef") as caught:
            getattr(queue, call)("deadbeef")
        assert caught.value.code == "unknown_job"
        with pytest.raises(StembridgeError):
            queue.wait("deadbeef", 1.0)


# Failures


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (
            StembridgeError("not_audio", "a.wav is no audio.", "Choose another."),
            "not_audio",
            "a.wav is no audio. Choose",
        ),
        (ValueError("odd"), "internal", "ValueError: odd"),
        (MemoryError(), "out_of_memory", "memory"),
        (KeyboardInterrupt(), "internal", "KeyboardInterrupt"),
        (SystemExit(3), "internal", "SystemExit"),
        (RecursionError("deep"), "internal", "RecursionError"),
    ],
)
def test_a_failed_job_says_why_and_the_next_one_runs(error, code, text, caplog):
    transcript = Transcript()
    with Journal(None) as journal, JobQueue(failing(error), journal, on_event=transcript) as queue:
        bad, good = queue.submit(make_request(FOLDER, "bad")), queue.submit(REQUEST)
        failed = queue.wait(bad.id, DEADLINE_S)
        assert queue.wait(good.id, DEADLINE_S).state is JobState.DONE
        assert journal.job(bad.id) == failed
        transcript.wait_for(1, "done")
    assert failed.state is JobState.FAILED
    assert failed.error is not None
    assert failed.error[0] == code
    assert text in failed.error[1]
    assert transcript.of(bad)[-1] == "failed"
    assert ("Traceback" in caplog.text) == (code != "not_audio")


@pytest.mark.parametrize("made", [None, "stem.wav", {"target": 1}])
def test_a_run_that_answers_nonsense_fails_alone(made):
    with Journal(None) as journal, JobQueue(lambda *_: made, journal) as queue:
        job = queue.wait(queue.submit(REQUEST).id, DEADLINE_S)
    assert job.error is not None
    assert job.error[0] == "internal"


def test_a_result_that_json_cannot_hold_fails_alone():
    bad = Separation(None, None, Path("m"), 44_100, 2, object(), 0.0, "m", "r", 1, 0, 0.1)  # type: ignore[arg-type]
    with Journal(None) as journal, JobQueue(lambda *_: bad, journal) as queue:
        job = queue.wait(queue.submit(REQUEST).id, DEADLINE_S)
    assert job.error is not None
    assert job.error[0] == "internal"


def test_a_cancelled_that_nobody_asked_for_ends_the_job():
    with Journal(None) as journal, JobQueue(failing(Cancelled()), journal) as queue:
        job = queue.wait(queue.submit(make_request(FOLDER, "bad")).id, DEADLINE_S)
    assert job.state is JobState.CANCELLED


def test_a_full_journal_refuses_submits_and_forgets_no_end(tmp_path, caplog):
    """SQLite's own full disk: what runs goes on and is told; its end is written when there is room again."""
    gate, transcript = Gate(), Transcript()
    with Journal(tmp_path / "jobs.sqlite") as journal, JobQueue(gate, journal, on_event=transcript) as queue:
        first, second = queue.submit_all([(REQUEST, 0, "x" * 100)] * 2)
        assert gate.entered.wait(DEADLINE_S)
        with journal._database_lock:
            (n_pages,) = journal._database.execute("PRAGMA page_count").fetchone()
            journal._database.execute(f"PRAGMA max_page_count = {n_pages}")
        with pytest.raises(StembridgeError) as caught:
            queue.submit(REQUEST, client="x" * 100_000)
        assert caught.value.code == "disk_full"
        assert len(queue.jobs()) == 2

        def refuse(*_: object, **__: object) -> None:
            raise StembridgeError("disk_full", "There is no room left.", "Free some space.")

        write, journal.write = journal.write, refuse  # type: ignore[method-assign]
        gate.open.set()
        transcript.wait_for(2, "done")
        assert [queue.wait(job.id, DEADLINE_S).state for job in (first, second)] == ["done", "done"]
        assert [job.state for job in queue.jobs()] == ["done", "done"]
        assert {job.state for job in journal.unfinished()} <= {JobState.QUEUED, JobState.RUNNING}
        assert len(journal.unfinished()) == 2
        journal.write = write  # type: ignore[method-assign]
        with journal._database_lock:
            journal._database.execute("PRAGMA max_page_count = 1000000")
        third = queue.submit(REQUEST)
        queue.wait(third.id, DEADLINE_S)
        transcript.wait_for(3, "done")
        assert journal.unfinished() == []
    assert "could not take" in caplog.text


# Stop and start


def test_close_puts_the_running_job_back_and_the_next_life_ends_it(tmp_path):
    path = tmp_path / "jobs.sqlite"
    first, second = Transcript(), Transcript()
    gate = Gate()
    with Journal(path) as journal:
        queue = JobQueue(gate, journal, on_event=first)
        jobs = [queue.submit(make_request(FOLDER, f"{n}"), client=f"c{n}") for n in range(4)]
        for _ in range(5):  # an orderly stop is no attempt: it never wears a job out
            assert gate.entered.wait(DEADLINE_S)
            gate.entered.clear()
            queue.close()
            queue.close()
            assert [(job.id, job.state, job.attempts) for job in journal.unfinished()] == [
                (job.id, "queued", 0) for job in jobs
            ]
            assert first.of(jobs[0])[-1] == "queued"
            with pytest.raises(StembridgeError) as caught:
                queue.submit(REQUEST)
            assert caught.value.code == "engine_not_running"
            queue = JobQueue(gate, journal, on_event=first)
        queue.close()
    with Journal(path) as journal, JobQueue(done_at_once, journal, on_event=second) as queue:
        second.wait_for(4, "done")
    assert [e.job.id for e in second.events if e.kind == "queued"] == [job.id for job in jobs]
    assert [(e.job.id, e.job.client) for e in second.events if e.kind == "done"] == [(j.id, j.client) for j in jobs]


def test_a_job_put_back_can_still_be_cancelled():
    gate = Gate()
    with Journal(None) as journal:
        queue = JobQueue(gate, journal)
        job = queue.submit(REQUEST)
        assert gate.entered.wait(DEADLINE_S)
        queue.close()
        assert queue.cancel(job.id).state is JobState.CANCELLED
        assert journal.unfinished() == []


def test_a_cancel_while_the_job_is_put_back_is_not_lost(monkeypatch):
    gate, transcript = Gate(), Transcript()
    with Journal(None) as journal:
        queue = JobQueue(gate, journal, on_event=transcript)
        job = queue.submit(REQUEST)
        assert gate.entered.wait(DEADLINE_S)
        write = journal.write

        def cancel_in_between(jobs, *, durable=True):
            if jobs[0].state is JobState.QUEUED:
                assert queue.cancel(job.id).state is JobState.RUNNING
            write(jobs, durable=durable)

        monkeypatch.setattr(journal, "write", cancel_in_between)
        queue.close()
        assert queue.job(job.id).state is JobState.CANCELLED
        assert journal.unfinished() == []
    assert transcript.of(job)[-1] == "cancelled"


def test_a_run_that_ends_during_close_is_done():
    def run(request, on_progress, cancelled):
        deadline = time.monotonic() + DEADLINE_S
        entered.set()
        while not cancelled():
            assert time.monotonic() < deadline
            time.sleep(0.001)
        return done_at_once(request)

    entered = threading.Event()
    with Journal(None) as journal:
        with JobQueue(run, journal) as queue:
            job = queue.submit(REQUEST)
            assert entered.wait(DEADLINE_S)
        assert queue.job(job.id).state is JobState.DONE


def test_wait_has_a_deadline():
    gate = Gate()
    with Journal(None) as journal, JobQueue(gate, journal) as queue:
        job = queue.submit(REQUEST)
        with pytest.raises(TimeoutError, match=job.id):
            queue.wait(job.id, 0.01)


def test_pages_are_checked():
    with Journal(None) as journal, JobQueue(done_at_once, journal) as queue:
        for page in ((-1, 1), (0, -1)):
            with pytest.raises(StembridgeError, match="-1"):
                queue.jobs(*page)


# Kills


@pytest.mark.parametrize("seed", range(4))
def test_kills_at_any_moment_lose_no_job_and_leave_no_part(tmp_path, seed):
    """Killed again and again, a little after some job has ended: every job is done, once, in order, as it was asked."""
    chance = random.Random(seed)
    asked = [(f"job{n:02d}", chance.choice([BATCH_PRIORITY, 0, PREVIEW_PRIORITY])) for n in range(14)]
    engine = QueueProcess(tmp_path / "jobs.sqlite", tmp_path)
    engine.submit("first", client="client of first", prompt="waiting")
    lines = engine.wait_for("progress")
    for name, priority in asked:
        engine.submit(name, client=f"client of {name}", priority=priority)
    n_taken = sum(line[0] == "taken" for line in lines)
    lines += engine.wait_for("taken", 1 + len(asked) - n_taken)
    ids = {client: job_id for kind, client, job_id in lines if kind == "taken"}
    (tmp_path / "go").touch()
    while len(done := {line[1] for line in lines if line[0] == "done"}) < 15:
        n_more = min(chance.randint(1, 4), 15 - len(done))
        lines += engine.wait_for("done", n_more)
        time.sleep(chance.uniform(0, 0.02))  # any moment of the next job, or of its journaling
        lines += engine.kill()
        with Journal(tmp_path / "jobs.sqlite") as journal:
            unfinished = journal.unfinished()
            lines += [["done", job.client, job.id] for job in journal.jobs(0, 99) if job.state is JobState.DONE]
        assert all(job.attempts <= 1 for job in unfinished)
        if unfinished:
            engine = QueueProcess(tmp_path / "jobs.sqlite", tmp_path)
    assert all(ids[client] == job_id for _, client, job_id in lines)
    with Journal(tmp_path / "jobs.sqlite") as journal:
        jobs = journal.jobs(0, 99)
    assert {(job.client, job.id, job.state) for job in jobs} == {(c, i, "done") for c, i in ids.items()}
    assert len(jobs) == 15
    assert sorted(path.name for path in tmp_path.glob("*.wav")) == sorted(f"{n}.wav" for n in ["first", *dict(asked)])
    for path in tmp_path.glob("*.wav"):
        assert path.read_text() == "".join(f"{path.stem} {window}\n" for window in range(N_WINDOWS))
    assert list(tmp_path.glob("*.part")) == []
    runs = list(dict.fromkeys((tmp_path / "runs.log").read_text().split()))
    assert runs == ["first", *(name for name, _ in sorted(asked, key=lambda job: -job[1]))]


def test_a_job_that_kills_its_engine_twice_is_given_up(tmp_path):
    path = tmp_path / "jobs.sqlite"
    engine = QueueProcess(path, tmp_path)
    engine.submit("deadly", client="ardour 3", prompt="deadly")
    assert engine.rest()[0][:2] == ["queued", "ardour 3"]
    with Journal(path) as journal:
        (job,) = journal.unfinished()
    assert (job.state, job.attempts, job.client) == ("running", 1, "ardour 3")
    assert QueueProcess(path, tmp_path).rest()[0] == ["queued", "ardour 3", job.id]
    engine = QueueProcess(path, tmp_path)
    assert engine.next_line() == ["failed", "ardour 3", job.id]
    engine.submit("healthy")
    assert engine.wait_for("done")[-1][1] == "healthy"
    engine.kill()
    with Journal(path) as journal:
        given_up = journal.job(job.id)
    assert given_up is not None
    assert given_up.state is JobState.FAILED
    assert given_up.error is not None
    assert given_up.error[0] == "interrupted"
    assert "2 times" in given_up.error[1]


@pytest.mark.parametrize("seed", range(3))
def test_what_was_taken_is_there_after_a_kill(tmp_path, seed):
    chance = random.Random(seed)
    engine = QueueProcess(tmp_path / "jobs.sqlite", tmp_path)
    engine.submit("first")
    lines = engine.wait_for("taken")
    writer = threading.Thread(target=lambda: _submit_until_it_dies(engine), daemon=True)
    writer.start()
    lines += engine.wait_for("taken", chance.randint(1, 80))
    lines += engine.kill()
    writer.join(DEADLINE_S)
    taken = [(client, job_id) for kind, client, job_id in lines if kind == "taken"]
    with Journal(tmp_path / "jobs.sqlite") as journal:
        kept = [(job.client, job.id) for job in reversed(journal.jobs(0, 10_000))]
    assert kept[: len(taken)] == taken
    assert len(kept) <= len(taken) + 1  # one may be durable and not yet answered


def _submit_until_it_dies(engine: QueueProcess) -> None:
    try:
        for n in range(10_000):
            engine.submit(f"n{n}")
    except (BrokenPipeError, ValueError, OSError):
        return
