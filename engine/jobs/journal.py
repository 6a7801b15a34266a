"""The jobs on disk: one SQLite file, so that what was accepted survives a kill, a crash and a power cut.

`Journal.write` returns when the jobs are on the disk. Threads that write at once share one commit: whoever gets the
database first writes for all who wait, so the price of a flush to disk is paid once for the group.

One process owns the file while it is open (SQLite's exclusive lock, which dies with the process). Finished jobs are
kept for a while for late readers, then pruned.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.errors import StembridgeError
from engine.jobs.job import Job, JobState
from engine.jobs.journal_file import failure, open_database
from engine.request import Separation, SeparationRequest

MAX_FINISHED: Final = 10_000
MAX_AGE_S: Final = 30 * 24 * 3600.0
_PRUNE_EVERY: Final = 256
"""Finished jobs between two prunings."""

_UPSERT: Final = """
INSERT INTO jobs (id, state, finished_s, document) VALUES (?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET state = excluded.state, finished_s = excluded.finished_s, document = excluded.document
"""
_PRUNE: Final = """
DELETE FROM jobs WHERE finished_s < ? OR seq IN (
    SELECT seq FROM jobs WHERE finished_s IS NOT NULL ORDER BY finished_s DESC, seq DESC LIMIT -1 OFFSET ?)
"""
_Row = tuple[str, str, float | None, str]

logger = logging.getLogger(__name__)


@dataclass
class _Ticket:
    """One thread's rows on their way into a shared commit."""

    rows: list[_Row]
    durable: bool
    committed: bool = False
    error: sqlite3.Error | None = None


class Journal:
    """The table of jobs in the file `path`, or in memory alone when `path` is None. Safe to use from several threads.

    A file that is damaged, or was written by a newer Stembridge, is set aside beside itself (`.corrupt-1`, `.newer-1`)
    with a warning in the log that names both, and a fresh one is started. Raises `StembridgeError`: `engine_running`
    when another process has the file open, `journal_failed` or `disk_full` when it cannot be written.
    """

    def __init__(self, path: Path | None, *, max_finished: int = MAX_FINISHED, max_age_s: float = MAX_AGE_S) -> None:
        self.path = path
        self._max_finished = max_finished
        self._max_age_s = max_age_s
        self._n_finished_since_prune = 0
        self._pending: list[_Ticket] = []
        self._pending_lock = threading.Lock()
        self._database_lock = threading.Lock()
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._database = open_database(path)
            self._prune()
        except (sqlite3.Error, OSError) as e:
            raise failure(path, e) from e

    def write(self, jobs: Sequence[Job], *, durable: bool = True) -> None:
        """Adds new jobs in their order, and replaces those already known, all or none.

        When `durable`, they are on the disk on return; else a power cut, though not a kill, may take them back.
        Raises `StembridgeError` (`disk_full`, `journal_failed`); then nothing was written.
        """
        ticket = _Ticket([to_row(job) for job in jobs], durable)
        with self._pending_lock:
            self._pending.append(ticket)
        with self._database_lock:
            if not ticket.committed and ticket.error is None:
                with self._pending_lock:
                    group, self._pending = self._pending, []
                self._commit(group)
        if ticket.error is not None:
            raise failure(self.path, ticket.error) from ticket.error

    def unfinished(self) -> list[Job]:
        """The queued and running jobs, in the order they were submitted."""
        return self._read("WHERE finished_s IS NULL ORDER BY seq")

    def job(self, job_id: str) -> Job | None:
        """The job of that id, or None."""
        if not job_id.isascii():  # our ids are; and SQLite takes no lone surrogates
            return None
        return next(iter(self._read("WHERE id = ?", job_id)), None)

    def jobs(self, offset: int, limit: int) -> list[Job]:
        """At most `limit` jobs, newest first, without the newest `offset`."""
        return self._read("ORDER BY seq DESC LIMIT ? OFFSET ?", limit, offset)

    def close(self) -> None:
        """Folds the write-ahead log into the file and lets go of it. Harmless when closed before."""
        with self._database_lock:
            self._database.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _commit(self, group: list[_Ticket]) -> None:
        error: sqlite3.Error | None = sqlite3.OperationalError("the write was interrupted")
        try:
            # In write-ahead mode NORMAL leaves out the flush; a later FULL commit flushes all before it.
            synchronous = "FULL" if any(ticket.durable for ticket in group) else "NORMAL"
            self._database.execute(f"PRAGMA synchronous = {synchronous}")
            self._database.execute("BEGIN IMMEDIATE")
            for ticket in group:
                self._database.executemany(_UPSERT, ticket.rows)
            self._database.execute("COMMIT")
            error = None
        except sqlite3.Error as e:
            error = e
        finally:  # whatever happened, no thread may take another's silence for success
            for ticket in group:
                ticket.committed, ticket.error = error is None, error
            if error is not None:
                self._roll_back()
        if error is None:
            self._n_finished_since_prune += sum(row[2] is not None for ticket in group for row in ticket.rows)
            if self._n_finished_since_prune >= _PRUNE_EVERY:
                self._prune_or_log()

    def _roll_back(self) -> None:
        try:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
        except sqlite3.Error:
            logger.exception("The job journal %s could not take back a failed write.", self.path)

    def _prune_or_log(self) -> None:
        try:
            self._prune()
        except sqlite3.Error:
            logger.exception("The job journal %s could not be pruned; it will be tried again.", self.path)
            self._roll_back()

    def _prune(self) -> None:
        self._database.execute(_PRUNE, (time.time() - self._max_age_s, self._max_finished))
        self._n_finished_since_prune = 0

    def _read(self, where: str, *values: object) -> list[Job]:
        try:
            with self._database_lock:
                query = f"SELECT id, state, finished_s, document FROM jobs {where}"
                rows: list[_Row] = self._database.execute(query, values).fetchall()
        except sqlite3.Error as e:
            raise failure(self.path, e) from e
        return [job for row in rows if (job := self._to_job(row)) is not None]

    def _to_job(self, row: _Row) -> Job | None:
        try:
            return _from_row(row)
        except (ValueError, TypeError, KeyError, AttributeError, StembridgeError) as e:
            logger.warning(
                "The job %s in %s cannot be read and is left out: %s: %s", row[0], self.path, type(e).__name__, e
            )
            return None


def to_row(job: Job) -> _Row:
    """A job as plain values for the table. Raises `TypeError` when a field holds something that JSON does not know."""
    document = {
        "request": job.request.to_dict(),
        "priority": job.priority,
        "client": job.client,
        "created_s": job.created_s,
        "attempts": job.attempts,
        "result": None if job.result is None else job.result.to_dict(),
        "error": job.error,
    }
    return job.id, job.state, time.time() if job.state.final else None, json.dumps(document)


def _from_row(row: _Row) -> Job:
    job_id, state, _, text = row
    document = json.loads(text)
    result, error = document["result"], document["error"]
    return Job(
        id=job_id,
        request=SeparationRequest.from_dict(document["request"]),
        state=JobState(state),
        priority=document["priority"],
        client=document["client"],
        created_s=document["created_s"],
        attempts=document["attempts"],
        result=None if result is None else Separation.from_dict(result),
        error=None if error is None else (error[0], error[1]),
    )
