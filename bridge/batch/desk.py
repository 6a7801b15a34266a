"""Whole sessions, rendered by the running engine: one at a time, each job through the engine's own queue.

So a preview or a region still passes between two jobs of a batch, and whoever asked hears of each stem. A session
under way is written down: after the engine's death the next one goes on with it, where `bridge.batch.run` remembers.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from bridge.api import protocol as api
from bridge.api import telling
from bridge.api.session_fields import SessionWish, to_wish
from bridge.asking.paths import PathPolicy, readable
from bridge.batch.memory import STATE, look
from bridge.batch.plan import BatchPlan, PlannedJob, plan_batch
from bridge.batch.report import plan_json
from bridge.batch.run import media_folder, write_whole
from bridge.batch.session import stamp
from bridge.batch.whole import render_session
from bridge.sessions.reading import read_session
from engine import models
from engine.errors import Cancelled, StembridgeError, internal
from engine.jobs.job import BATCH_PRIORITY, Job, JobEvent, JobState
from engine.request import Progress, Separation, SeparationRequest
from engine.stems import file_errors

PLAN: Final = "stembridge-plan.json"
MAX_WAITING: Final = 100
"""Sessions that wait; each is hours of work."""
LOOK_S: Final = 0.2
"""How often a job of the queue is looked at for progress and a stop."""

logger = logging.getLogger(__name__)


class Queue(Protocol):
    """What is asked of `engine.jobs.queue.JobQueue`."""

    def submit(self, request: SeparationRequest, *, priority: int = ..., client: str = ...) -> Job: ...
    def cancel(self, job_id: str) -> Job: ...
    def job(self, job_id: str) -> Job: ...
    def jobs(self, offset: int = ..., limit: int = ...) -> list[Job]: ...
    def wait(self, job_id: str, timeout_s: float) -> Job: ...


@dataclass(frozen=True)
class Asked:
    """One session that somebody asked for, as it is written down."""

    id: str
    client: str
    path: str
    fields: Mapping[str, Any]


@dataclass
class _Run:
    """How far the session that is rendered has come."""

    plan: BatchPlan
    began_s: float = field(default_factory=time.monotonic)
    n_done: int = 0
    finished_s: float = 0.0
    """Seconds of audio in the jobs that ended."""

    def progress(self, job_id: str, running_s: float) -> api.SessionProgress:
        fraction = min(1.0, (self.finished_s + running_s) / max(self.plan.audio_s, 1e-9))
        spent_s = time.monotonic() - self.began_s
        eta_s = spent_s / fraction - spent_s if fraction > 0.01 else -1.0
        return api.SessionProgress(job_id, self.n_done, len(self.plan.jobs), fraction, eta_s)


class SessionDesk:
    """Takes sessions and renders them on a thread of its own, while `working`."""

    def __init__(self, queue: Queue, policy: PathPolicy, folder: Path) -> None:
        """`folder` keeps what is under way. Raises `StembridgeError` (`output_not_writable`)."""
        self._queue, self._policy, self._folder = queue, policy, folder
        self._tell: Callable[[api.Event, str], None] = lambda event, client: None
        self._changed = threading.Condition()
        self._waiting: list[Asked] = []
        self._running: Asked | None = None
        self._cancelled: set[str] = set()
        self._closing = False
        with file_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            left = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        for path in left:
            try:
                self._waiting.append(Asked(**json.loads(path.read_text(encoding="utf-8"))))
            except (OSError, ValueError, TypeError):
                logger.exception("%s cannot be read, so its session does not go on.", path)

    @contextmanager
    def working(self, tell: Callable[[api.Event, str], None]) -> Iterator[None]:
        """Renders for as long as the block runs. `tell` is called with each event and the client's text.

        To be left before the queue is closed. The session that is under way then goes on with the next engine.
        """
        self._tell = tell
        thread = threading.Thread(target=self._work, name="stembridge-sessions", daemon=True)
        thread.start()
        try:
            yield
        finally:
            with self._changed:
                self._closing = True
                self._changed.notify_all()
            thread.join()

    def submit(self, path: str, fields: Mapping[str, Any], client: str) -> str:
        """Takes a session; its id. On return it is on the disk. Raises as `to_wish`, and `queue_full`."""
        to_wish(path, fields, self._policy)
        asked = Asked(f"s{secrets.token_hex(8)}", client, path, fields)
        with self._changed:
            if len(self._waiting) >= MAX_WAITING:
                raise StembridgeError("queue_full", f"{MAX_WAITING} sessions are waiting.", "Wait, or cancel some.")
            with file_errors(self._folder):
                write_whole(self._path(asked.id), json.dumps(asked.__dict__))
            self._waiting.append(asked)
            self._changed.notify_all()
        self._tell(api.JobQueued(asked.id), client)
        return asked.id

    def cancel(self, session_id: str) -> bool:
        """Cancels a session, waiting or running; whether there is one of that id. What is done stays done."""
        with self._changed:
            known = [*self._waiting, *([self._running] if self._running else [])]
            if session_id not in {asked.id for asked in known}:
                return False
            self._cancelled.add(session_id)
            return True

    def cancel_all(self) -> int:
        """Cancels every session; how many there were."""
        with self._changed:
            known = [*self._waiting, *([self._running] if self._running else [])]
            self._cancelled |= {asked.id for asked in known}
            return len(known)

    def _path(self, session_id: str) -> Path:
        return self._folder / f"{session_id}.json"

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._waiting)
                if self._closing:
                    return
                asked = self._running = self._waiting.pop(0)
            try:
                told: api.Event | None = self._serve(asked)
            except StembridgeError as e:
                told = None if self._closing else api.SessionFailed(asked.id, e.code, str(e))
            except Exception as e:
                logger.exception("The session %s failed.", asked.path)
                told = api.SessionFailed(asked.id, "internal", str(internal(e)))
            with self._changed:
                self._running = None
                self._cancelled.discard(asked.id)
            if told is not None:
                self._path(asked.id).unlink(missing_ok=True)
                self._tell(told, asked.client)

    def _stopped(self, asked: Asked) -> bool:
        return self._closing or asked.id in self._cancelled

    def _serve(self, asked: Asked) -> api.Event | None:
        """Plans and renders; the event that ends it, or None where it was stopped with the engine."""
        if asked.id in self._cancelled:
            raise Cancelled("The session was cancelled.")
        wish = to_wish(asked.path, asked.fields, self._policy)
        with file_errors(wish.path.parent):
            read_as = stamp(wish.path)
        plan = plan_batch(
            read_session(wish.path),
            wish.options,
            wish.out_dir,
            media_folder(wish.out_dir),
            readable_media=lambda path: readable(str(path), self._policy),
        )
        plan_path = wish.out_dir / PLAN
        with file_errors(wish.out_dir):
            wish.out_dir.mkdir(parents=True, exist_ok=True)
            write_whole(plan_path, json.dumps(plan_json(plan, look(wish.out_dir)), indent=2, ensure_ascii=False) + "\n")
        counts = (len(plan.jobs), len(plan.skipped), plan.audio_s, plan.n_bytes)
        self._tell(api.SessionPlanned(asked.id, *counts, str(plan_path)), asked.client)
        if wish.dry_run:
            return api.SessionDone(asked.id, 0, 0, str(plan_path), "")
        return self._render(asked, wish, plan, read_as)

    def _render(self, asked: Asked, wish: SessionWish, plan: BatchPlan, read_as: tuple[int, int]) -> api.Event | None:
        self._clear(wish.out_dir)
        run = _Run(plan)

        def on_event(job: PlannedJob, event: JobEvent) -> None:
            ended = event.job.state.final
            run.n_done += ended
            run.finished_s += job.length_s if ended else 0.0
            fraction = event.job.progress.fraction if event.job.progress and not ended else 0.0
            self._tell(run.progress(asked.id, fraction * job.length_s), asked.client)
            if ended and event.job.state is not JobState.CANCELLED:
                track = plan.session.tracks[job.track].name
                self._tell(telling.session_stem(asked.id, track, event.job), asked.client)

        retry = "Send the same /stembridge/session again."
        made = render_session(
            plan,
            wish.out_dir,
            read_as,
            retry,
            new_session=wish.new_session,
            on_event=on_event,
            stopped=lambda: self._stopped(asked),
            render=self._through_the_queue,
        )
        report = made.report
        if report["not_reached"]:
            if self._closing:
                return None
            raise Cancelled(f"The session was cancelled: {report['done']} of {len(plan.jobs)} jobs are done. {retry}")
        if isinstance(made.session, StembridgeError):
            raise made.session
        new_session = "" if made.session is None else str(made.session)
        return api.SessionDone(asked.id, report["done"], report["failed"], str(made.report_path), new_session)

    def _clear(self, out_dir: Path) -> None:
        """End the jobs that an engine left in its journal when it died: the batch asks for them anew."""
        work = out_dir / STATE / "work"
        left = [job for job in self._queue.jobs(0, 10_000) if not job.state.final]
        for job in left:
            if work in job.request.out_dir.parents:
                self._queue.cancel(job.id)
                self._wait(job.id, lambda progress: None, lambda: False)

    def _through_the_queue(
        self,
        request: SeparationRequest,
        shelf: models.Shelf,
        on_progress: Callable[[Progress], None],
        cancelled: Callable[[], bool],
        waiting: Sequence[SeparationRequest],
    ) -> Separation:
        """A `bridge.batch.run.Render` that is a job of the engine's queue."""
        job = self._queue.submit(request, priority=BATCH_PRIORITY)
        ended = self._wait(job.id, on_progress, cancelled)
        if ended.result is not None:
            return ended.result
        code, text = ended.error or ("cancelled", "")
        raise Cancelled if code == "cancelled" else StembridgeError(code, text)

    def _wait(self, job_id: str, on_progress: Callable[[Progress], None], stopped: Callable[[], bool]) -> Job:
        """The job when it has ended. On a stop it is cancelled; at the engine's own end it is left to its journal."""
        asked_to_end = False
        while True:
            try:
                return self._queue.wait(job_id, LOOK_S)
            except TimeoutError:
                if self._closing:
                    raise Cancelled from None
                if stopped() and not asked_to_end:
                    asked_to_end = True
                    self._queue.cancel(job_id)
                progress = self._queue.job(job_id).progress
                if progress is not None:
                    on_progress(progress)
