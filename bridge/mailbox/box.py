"""The mailbox: a folder of JSON files for DAWs whose scripts have no sockets. Same fields as OSC, same queue.

`requests/<rid>.json` comes in and is removed when its job is in the journal; `status/<rid>.json` is rewritten at each
change until the reader removes it; `engine.json` is renewed every two seconds while the engine runs.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, Final

import platformdirs

from bridge.api import telling
from bridge.api.protocol import API
from bridge.handlers import Backend
from bridge.mailbox.files import (
    MAX_AGE_S,
    RID,
    STATUS_MAX_AGE_S,
    NotYet,
    require_private,
    sweep,
    take,
    waiting,
    write_whole,
)
from engine.errors import StembridgeError, internal
from engine.jobs.job import INTERACTIVE_PRIORITY, PREVIEW_PRIORITY, Job, JobEvent

POLL_S: Final = 0.1
HEARTBEAT_S: Final = 2.0
SWEEP_S: Final = 3_600.0
OPS: Final = ("submit", "preview", "prefetch", "cancel", "ping")
_PARTS: Final = ("requests", "status", "clients")
_MAX_A_ROUND: Final = 256

logger = logging.getLogger(__name__)


def default_folder() -> Path:
    """Where the DAW scripts look."""
    return Path(platformdirs.user_state_dir("stembridge", appauthor=False)) / "mailbox"


class Mailbox:
    """Serves the folder on its own thread between `start` and `close`; a context manager."""

    def __init__(self, folder: Path, backend: Backend, *, port: int) -> None:
        """Makes the folder, and writes again how the jobs of an earlier run stand.

        Raises `StembridgeError`: `output_not_writable` when the folder cannot be made, `path_refused` when others may
        write to it.
        """
        self._folder, self._backend, self._port = folder, backend, port
        self._events: deque[JobEvent] = deque()
        self._jobs: dict[str, str] = {}
        """rid → job, of all jobs that came in through the mailbox."""
        self._due: dict[str, dict[str, Any]] = {}
        """rid → status that is not on the disk yet."""
        self._stuck: set[str] = set()
        """Requests that were answered but cannot be removed."""
        self._heartbeat_s = self._sweep_s = -math.inf
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="stembridge-mailbox", daemon=True)
        try:
            self._make_folders()
            for part in ("", *_PARTS):
                require_private(self._folder / part)
        except OSError as e:
            raise StembridgeError(
                "output_not_writable", f"The mailbox {folder} cannot be made: {e.strerror}.", "Check its permissions."
            ) from e
        self._resume()

    def start(self) -> None:
        """Begins to take requests."""
        self._thread.start()

    def close(self) -> None:
        """Stops, after writing what is due, and takes `engine.json` away."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        self._tell()
        with contextlib.suppress(OSError):  # left behind, it grows stale by itself
            (self._folder / "engine.json").unlink(missing_ok=True)

    def __enter__(self) -> Mailbox:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def notify(self, event: JobEvent) -> None:
        """Takes a queue event from any thread."""
        if rid_of(event.job.client) is not None:
            self._events.append(event)
            if event.kind != "progress":
                self._wake.set()

    def poll(self) -> None:
        """One round: heartbeat, sweep, requests, statuses. What fails is logged and tried again in the next."""
        now_s = time.monotonic()
        try:
            if now_s - self._heartbeat_s >= HEARTBEAT_S:
                self._make_folders()
                self._beat()
                self._heartbeat_s = now_s
            if now_s - self._sweep_s >= SWEEP_S:
                self._sweep_s = now_s
                for part, max_age_s in (("requests", MAX_AGE_S), ("status", STATUS_MAX_AGE_S)):
                    for path in sweep(self._folder / part, time.time(), max_age_s):
                        logger.info("Removed the old file %s.", path)
            for path in waiting(self._folder / "requests")[:_MAX_A_ROUND]:
                if path.name not in self._stuck:
                    self._serve(path)
        except OSError as e:
            logger.warning("The mailbox %s: %s.", self._folder, e)
        self._tell()

    def _run(self) -> None:
        while not self._stopping:
            try:
                self.poll()
            except Exception:  # a defect of ours must not end the mailbox
                logger.exception("A round of the mailbox failed; it goes on.")
            self._wake.wait(POLL_S)
            self._wake.clear()

    def _make_folders(self) -> None:
        for part in ("", *_PARTS):
            (self._folder / part).mkdir(parents=True, exist_ok=True, mode=0o700)

    def _beat(self) -> None:
        sign = {"pid": os.getpid(), "version": self._backend.version, "api": API, "time_s": time.time()}
        write_whole(self._folder / "engine.json", {**sign, "port": self._port})

    def _resume(self) -> None:
        """Learns the jobs of an earlier run. One that had ended is told only where its reader still waits for the end:
        without a status file the reader has taken it, and must not get it twice.
        """
        offset = 0
        while page := self._backend.queue.jobs(offset, 500):
            offset += len(page)
            for job in page:
                rid = rid_of(job.client)
                if rid is None or rid in self._jobs:
                    continue
                self._jobs[rid] = job.id
                if not job.state.final or os.path.lexists(self._status(rid)):
                    self._due[rid] = status(rid, job)

    def _serve(self, path: Path) -> None:
        """Carries one request out, writes its status, and only then removes it: killed in between, it is found again,
        and its rid tells that its job is in the journal already.
        """
        rid = path.stem
        try:
            answer = self._answer(rid, take(path))
        except (NotYet, FileNotFoundError):
            return
        except StembridgeError as e:
            answer = refused(rid, e)
        except Exception as e:
            logger.exception("The request %s failed.", path.name)
            answer = refused(rid, internal(e))
        self._due.pop(rid, None)
        write_whole(self._status(rid), answer)
        try:
            path.unlink(missing_ok=True)
        except OSError as e:
            self._stuck.add(path.name)
            logger.warning("The request %s cannot be removed: %s.", path, e)

    def _answer(self, rid: str, fields: dict[str, Any]) -> dict[str, Any]:
        op = fields.pop("op", None)
        del fields["rid"]
        if op == "ping":
            return {"rid": rid, "state": "done", "version": self._backend.version, "api": API}
        if op == "cancel":
            return self._cancel(rid, fields)
        if op == "prefetch":
            self._backend.prefetch(fields)
            return {"rid": rid, "state": "done"}
        if op not in OPS:
            raise StembridgeError("bad_value", f"op is {str(op)[:60]!r}.", f"Use one of {', '.join(OPS)}.")
        if rid in self._jobs:
            return status(rid, self._backend.queue.job(self._jobs[rid]))
        request = self._backend.to_request(fields, op == "preview")
        self._backend.check(request)
        priority = PREVIEW_PRIORITY if op == "preview" else INTERACTIVE_PRIORITY
        client = json.dumps({"via": "mailbox", "rid": rid})
        job = self._backend.queue.submit(request, priority=priority, client=client)
        self._jobs[rid] = job.id
        return status(rid, job)

    def _cancel(self, rid: str, fields: dict[str, Any]) -> dict[str, Any]:
        done = {"rid": rid, "state": "done"}
        if fields.get("all") is True:
            return {**done, "count": len(self._backend.queue.cancel_all())}
        job, of = fields.get("job"), fields.get("of")
        if isinstance(of, str) and job is None:
            job = self._jobs.get(of)
            if job is None:
                raise StembridgeError(
                    "unknown_job", f"There is no job of the request {of[:64]!r}.", "It may have ended."
                )
        if not isinstance(job, str):
            raise StembridgeError("bad_value", "The cancel names no job.", "Give job, of or all.")
        return {**done, "job": self._backend.queue.cancel(job).id}

    def _tell(self) -> None:
        """Writes the newest status of each job that changed."""
        while self._events:
            job = self._events.popleft().job
            rid = rid_of(job.client)
            if rid is not None:
                self._due[rid] = status(rid, job)
        for rid, values in list(self._due.items()):
            try:
                write_whole(self._status(rid), values)
                del self._due[rid]
            except OSError as e:
                logger.warning("The status of %s cannot be written yet: %s.", rid, e)
                return

    def _status(self, rid: str) -> Path:
        return self._folder / "status" / f"{rid}.json"


def rid_of(client: str) -> str | None:
    """The mailbox request a job came from, by its journaled client text; None when it came another way."""
    try:
        values = json.loads(client)
        if values["via"] == "mailbox" and RID.fullmatch(values["rid"]):
            return str(values["rid"])
    except (ValueError, KeyError, TypeError):
        return None  # some other client's text, opaque to us by contract
    return None


def refused(rid: str, error: StembridgeError) -> dict[str, Any]:
    """The status of a request that became no job."""
    return {"rid": rid, "job": None, "state": "refused", "code": error.code, "text": telling.clip(str(error))}


def status(rid: str, job: Job) -> dict[str, Any]:
    """What a script needs to show a job and to place its stems: flat, only strings, numbers and null."""
    result, request, told = job.result, job.request, telling.snapshot(rid, job)
    draft = None if job.state.final else job.draft
    made = result if draft is None else draft.stems
    start_s = request.start_s if request.position_s is None else request.position_s
    return {
        "rid": rid,
        "job": job.id,
        "state": job.state.value,
        "fraction": told.fraction,
        "stage": told.stage,
        "eta_s": None if told.eta_s < 0 else told.eta_s,
        "code": told.code or None,
        "text": told.text or None,
        "target": told.target or None,
        "residual": told.residual or None,
        "manifest": told.manifest or None,
        "sample_rate": None if made is None else made.sample_rate,
        "channels": None if made is None else made.channels,
        "samples": None if result is None else result.samples,
        "position_samples": None if result is None else round(start_s * result.sample_rate),
        "null_db": None if result is None or not math.isfinite(result.null_db) else result.null_db,
        "prompt": request.prompt,
        "name": request.name,
        "note": told.note or None,
        "draft_target": told.draft_target or None,
        "draft_residual": told.draft_residual or None,
        "draft_samples": None if draft is None else draft.stems.samples,
        "draft_position_samples": None
        if draft is None
        else round(start_s * draft.stems.sample_rate) + draft.offset_samples,
    }
