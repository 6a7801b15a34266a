"""The job queue: one worker thread, priorities, cancel, progress, and a journal that outlives the process.

Life of a job: `submit` writes it to the journal, then it waits; the worker runs it; its end is written to the journal,
then told. A job that was running when the engine died runs again, at most `MAX_ATTEMPTS` times.

Shutdown, in this order (`close`): no more submits are taken; the running job is told to stop and does so after its
current window; it goes back to the journal as queued, not counted as an attempt; the worker thread ends. The journal is
closed by whoever opened it: `with Journal(path) as journal, JobQueue(run, journal) as queue: ...`.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from engine.drafts import discard_drafts
from engine.errors import Cancelled, StembridgeError
from engine.jobs.attempt import Run as Run
from engine.jobs.attempt import SpareWork, attempt, begun, ended, given_up, in_spare_time
from engine.jobs.job import BATCH_PRIORITY, ENDS, INTERACTIVE_PRIORITY, PREVIEW_PRIORITY, Job, JobEvent, JobState
from engine.jobs.journal import Journal
from engine.jobs.outbox import Outbox
from engine.jobs.progress import ProgressMeter
from engine.jobs.waiting import WaitingLine
from engine.request import Progress, SeparationRequest

__all__ = ["BATCH_PRIORITY", "INTERACTIVE_PRIORITY", "PREVIEW_PRIORITY", "Job", "JobEvent", "JobQueue", "JobState"]

MAX_ATTEMPTS: Final = 2
"""A job that was running this often when its engine died is not tried again."""

logger = logging.getLogger(__name__)


class JobQueue:
    """Runs separations one at a time, highest priority first, equal priorities in order of submission.

    The worker thread starts at once, with the journal's unfinished jobs. `on_event` is called from whichever thread
    made the change, never under the queue's lock, one event at a time and in the order of the changes; it may call the
    queue (not `close`), must be quick, and what it raises is logged. The `queued` event of a job may arrive before its
    `submit` returns. After a restart each job taken over is announced by `queued` (or `failed`, when given up).
    """

    def __init__(
        self,
        run: Run,
        journal: Journal,
        *,
        max_waiting: int = 10_000,
        on_event: Callable[[JobEvent], None] = lambda event: None,
    ) -> None:
        self._run = run
        self._journal = journal
        self._max_waiting = max_waiting
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._live: dict[str, Job] = {}
        """Queued and running jobs, and those whose end is on its way into the journal."""
        self._overdue: dict[str, Job] = {}
        """Jobs whose end the journal could not take yet."""
        self._waiting = WaitingLine()
        self._n_arriving = 0
        """Jobs on their way into the journal."""
        self._cancel_asked: set[str] = set()
        self._closing = False
        self._spare: SpareWork | None = None
        self._events = Outbox(on_event)
        self._take_over(journal.unfinished())
        self._worker = threading.Thread(target=self._work, name="stembridge-worker", daemon=True)
        self._worker.start()

    def submit(self, request: SeparationRequest, *, priority: int = INTERACTIVE_PRIORITY, client: str = "") -> Job:
        """Takes a job; on return it is on the disk and will survive the engine's death.

        Raises `StembridgeError`: `queue_full`, `disk_full`, `journal_failed`, or `engine_not_running` after `close`.
        """
        return self.submit_all([(request, priority, client)])[0]

    def submit_all(self, asked: Sequence[tuple[SeparationRequest, int, str]]) -> list[Job]:
        """Takes several (request, priority, client) in their order with one write to the disk: all of them or none.

        Raises as `submit` does.
        """
        created_s = time.time()
        jobs = [Job(secrets.token_hex(8), r, priority=p, client=c, created_s=created_s) for r, p, c in asked]
        with self._lock:
            if self._closing:
                raise StembridgeError("engine_not_running", "The engine is stopping.", "Start it again.")
            n_waiting = len(self._waiting) + self._n_arriving
            if n_waiting + len(jobs) > self._max_waiting:
                raise StembridgeError(
                    "queue_full",
                    f"{n_waiting} jobs are waiting; at most {self._max_waiting} may.",
                    "Wait for some to finish, or cancel some.",
                )
            self._n_arriving += len(jobs)
        written = False
        try:
            self._journal.write(jobs)
            written = True
        finally:
            with self._changed:
                self._n_arriving -= len(jobs)
                if written:
                    for job in jobs:
                        self._enter(job)
                self._changed.notify_all()
        self._events.deliver()
        return jobs

    def cancel(self, job_id: str) -> Job:
        """Cancels a waiting job at once and a running one at its next window; a finished one stays as it is.

        The answer is the job as it stands: a running job still says `running`, and its end is told by an event
        (`done`, if the cancel came too late). Raises `StembridgeError` (`unknown_job`, `journal_failed`).
        """
        cancelled = self._cancel([job_id])
        return cancelled[0] if cancelled else self.job(job_id)

    def cancel_all(self) -> list[Job]:
        """Cancels every waiting and running job; answers them as `cancel` does."""
        return self._cancel(None)

    def job(self, job_id: str) -> Job:
        """The job as it stands now. Raises `StembridgeError` (`unknown_job`, `journal_failed`)."""
        with self._lock:
            job = self._live.get(job_id) or self._overdue.get(job_id)
        job = job or self._journal.job(job_id)
        if job is None:
            raise StembridgeError(
                "unknown_job", f"There is no job {job_id[:64]!r}.", "Ask for the list of jobs; old ones are forgotten."
            )
        return job

    def jobs(self, offset: int = 0, limit: int = 100) -> list[Job]:
        """At most `limit` jobs of every state, newest first, without the newest `offset`.

        Raises `StembridgeError` (`bad_value`, `journal_failed`).
        """
        if offset < 0 or limit < 0:
            raise StembridgeError("bad_value", f"The page is {offset}, {limit}.", "Use numbers of 0 or more.")
        written = self._journal.jobs(offset, limit)
        with self._lock:
            return [self._live.get(job.id) or self._overdue.get(job.id, job) for job in written]

    def wait(self, job_id: str, timeout_s: float) -> Job:
        """Blocks until the job is final. Raises `TimeoutError`, or `StembridgeError` (`unknown_job`)."""

        def settled() -> bool:
            return job_id not in self._live or self._live[job_id].state.final

        with self._changed:
            if not self._changed.wait_for(settled, timeout_s):
                raise TimeoutError(f"the job {job_id} is still {self._live[job_id].state} after {timeout_s:g} s")
        return self.job(job_id)

    def when_idle(self, work: SpareWork) -> None:
        """Has something done once no job waits or runs. Any job, and any newer work, takes its place."""
        with self._changed:
            self._spare = work
            self._changed.notify_all()

    def close(self) -> None:
        """Stops in the order the module's text gives. Harmless when closed before; not to be called by `on_event`."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._n_arriving == 0)
        self._worker.join()
        self._settle([])
        self._events.deliver()

    def __enter__(self) -> JobQueue:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Below: who holds the lock is said in each docstring; the journal and the listener are never called under it.

    def _take_over(self, unfinished: list[Job]) -> None:
        """Before the worker starts: queues the jobs of an earlier life, gives up those that keep killing it."""
        lost = []
        for job in unfinished:
            if job.state is JobState.RUNNING and job.attempts >= MAX_ATTEMPTS:
                lost.append(given_up(job))
            else:
                self._enter(replace(job, state=JobState.QUEUED))
        self._settle(lost)

    def _enter(self, job: Job, *, at_front: bool = False) -> None:
        """Under the lock: a job begins to wait."""
        self._live[job.id] = job
        self._waiting.add(job.id, job.priority, at_front=at_front)
        self._events.put(JobEvent("queued", job))

    def _cancel(self, wanted: Iterable[str] | None) -> list[Job]:
        answers = []
        with self._lock:
            for job_id in list(self._live) if wanted is None else wanted:
                job = self._live.get(job_id)
                if job is None or job.state.final:
                    continue
                if job.state is JobState.QUEUED:
                    self._waiting.remove(job.id, job.priority)
                    error = ("cancelled", "The job was cancelled.")
                    job = self._live[job_id] = replace(job, state=JobState.CANCELLED, error=error)
                else:
                    self._cancel_asked.add(job_id)
                answers.append(job)
        self._settle([job for job in answers if job.state.final])
        self._events.deliver()
        return answers

    def _work(self) -> None:
        """The worker thread, from start to `close`."""
        self._events.deliver()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._waiting or self._spare)
                if self._closing:
                    return
                spare, self._spare = self._spare, None
                job = self._begin_next() if self._waiting else None
            if job is None:
                if spare is not None:
                    in_spare_time(spare, self._has_work)
                continue
            self._write_or_log([job], durable=False)  # a kill must not lose the count of attempts; a power cut may
            self._events.deliver()
            self._settle([self._attempt(job)])
            self._events.deliver()

    def _has_work(self) -> bool:
        return bool(self._closing or self._waiting or self._n_arriving or self._spare)

    def _begin_next(self) -> Job:
        """Under the lock: the job whose turn it is begins to run."""
        job = self._live[self._waiting.first()]
        self._waiting.remove(job.id, job.priority)
        job = self._live[job.id] = begun(job)
        self._events.put(JobEvent("progress", job))
        return job

    def _attempt(self, job: Job) -> Job:
        """Runs the job in the worker thread; answers how it ended, whatever was raised."""
        meter = ProgressMeter(time.monotonic())

        def on_progress(reported: Progress) -> None:
            with self._lock:
                current = self._live.get(job.id)
                if current is None or current.attempts != job.attempts or current.state is not JobState.RUNNING:
                    return  # a straggler of a run that has ended
                progress, due = meter.update(reported, time.monotonic())
                current = replace(current, progress=progress, draft=reported.draft or current.draft)
                self._live[job.id] = current
                if due or reported.draft is not None:
                    self._events.put(JobEvent("progress" if reported.draft is None else "draft", current))
            self._events.deliver()

        def cancelled() -> bool:
            return self._closing or job.id in self._cancel_asked

        outcome = attempt(self._run, job.request, on_progress, cancelled)
        if isinstance(outcome, Cancelled) and self._closing and job.id not in self._cancel_asked:
            return replace(job, state=JobState.QUEUED, attempts=job.attempts - 1, progress=None)
        with self._lock:
            return ended(replace(job, progress=self._live[job.id].progress), outcome)

    def _settle(self, jobs: Sequence[Job]) -> None:
        """Journals jobs that ended or were put back, then makes it known.

        The end counts even when the journal cannot take it now (disk full): it stays in memory and is written again
        with the next.
        """
        for job in (job for job in jobs if job.error is not None):
            discard_drafts(job.request)
        with self._lock:
            overdue = list(self._overdue.values())
        written = self._write_or_log([*overdue, *jobs])
        with self._changed:
            if written:
                for job in overdue:
                    self._overdue.pop(job.id, None)
            too_late = [job.id for job in jobs if not job.state.final and job.id in self._cancel_asked]
            for job in jobs:
                self._cancel_asked.discard(job.id)
                if not job.state.final:
                    self._enter(job, at_front=True)
                    continue
                self._live.pop(job.id, None)
                if not written:
                    self._overdue[job.id] = job
                self._events.put(JobEvent(ENDS[job.state], job))
            self._changed.notify_all()
        if too_late:  # cancelled while it was being put back: it must not run in the next life
            self._cancel(too_late)

    def _write_or_log(self, jobs: Sequence[Job], *, durable: bool = True) -> bool:
        try:
            if jobs:
                self._journal.write(jobs, durable=durable)
        except StembridgeError:
            logger.exception("The journal could not take %d jobs; the queue goes on.", len(jobs))
            return False
        return True
