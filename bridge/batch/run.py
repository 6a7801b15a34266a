"""A plan rendered: a journal in the output folder, so that the same command goes on where a crash or a kill stopped it.

The plan is the truth and the journal remembers what is done. A job renders into a folder of its own,
`.stembridge/work/<key>/`; once `result.json` stands there it is finished, whatever dies afterwards, and its files are
moved to the output folder. So a stem appears there whole, once, and is never rendered twice.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from bridge.batch.memory import KEPT_JOBS, STATE, Earlier, earlier, key_of, open_journal
from bridge.batch.plan import BatchPlan, PlannedJob
from bridge.plugins.rendering import separate
from bridge.sessions.archive import extract_member
from engine import models
from engine.errors import Cancelled, StembridgeError
from engine.jobs.job import BATCH_PRIORITY, Job, JobEvent, JobState
from engine.jobs.journal import Journal
from engine.jobs.queue import JobQueue
from engine.request import Progress, Separation, SeparationRequest
from engine.separate import shares_region, solve_ahead
from engine.stems import STEMS, file_errors

MAX_LANES: Final = 128

Render = Callable[
    [SeparationRequest, models.Shelf, Callable[[Progress], None], Callable[[], bool], Sequence[SeparationRequest]],
    Separation,
]
"""(request, shelf, on_progress, cancelled, what waits behind it) → what was made."""


@dataclass(frozen=True)
class Outcome:
    """What became of one planned job: a result, or an error (code, text), or neither when it was not reached."""

    job: PlannedJob
    result: Separation | None = None
    error: tuple[str, str] | None = None
    earlier: bool = False
    """Whether it was done before this run."""


def is_part(request: SeparationRequest) -> bool:
    """Whether a request renders into a batch's work folder: its files move on as soon as they are whole."""
    return STATE in request.out_dir.parts


def media_folder(out_dir: Path) -> Path:
    """Where media out of a session's archive lies while a batch runs."""
    return out_dir / STATE / "media"


def render_with_engine(
    request: SeparationRequest,
    shelf: models.Shelf,
    on_progress: Callable[[Progress], None],
    cancelled: Callable[[], bool],
    waiting: Sequence[SeparationRequest],
) -> Separation:
    """The engine's own separation; prompts that wait for the same region share what they can."""
    alike = [other for other in waiting if shares_region(other, request)][:7]
    if alike:
        solve_ahead([request, *alike], shelf, on_progress=on_progress, cancelled=cancelled)
    return separate(request, shelf, on_progress=on_progress, cancelled=cancelled)


def run_batch(
    plan: BatchPlan,
    out_dir: Path,
    *,
    n_lanes: int = 1,
    on_event: Callable[[PlannedJob, JobEvent], None] = lambda job, event: None,
    stopped: Callable[[], bool] = lambda: False,
    render: Render = render_with_engine,
) -> list[Outcome]:
    """Render what is not done yet; answers one outcome for each planned job, in the plan's order.

    `n_lanes` jobs run at once, each with models of its own. When `stopped()` turns true the running jobs end at their
    next window and the others come back without result. `on_event` is called from the lanes' threads, one at a time.
    Raises `StembridgeError`: `engine_running` when another batch works in the folder, `journal_failed`,
    `output_not_writable`, `disk_full`, `bad_session` (media in an archive that cannot be unpacked).
    """
    state_dir = out_dir / STATE
    with file_errors(out_dir):
        (state_dir / "work").mkdir(parents=True, exist_ok=True)
    with open_journal(out_dir) as journal:
        before, last = _remember(journal)
        by_key = {key_of(job): job for job in plan.jobs}
        done = {key: result for key, result in before.done.items() if key in by_key}
        todo = sorted((key for key in by_key if key not in done), key=lambda key: key in last)
        _unpack(plan, [by_key[key] for key in todo])
        publisher = _Publisher(out_dir, state_dir / "work", keep=set(todo))
        ended = _run(todo, by_key, journal, publisher, n_lanes, on_event, stopped, render)
    outcomes = []
    for key, job in by_key.items():
        if key in done:
            outcomes.append(Outcome(job, done[key], earlier=True))
        else:
            end = ended.get(key)
            outcomes.append(Outcome(job, end.result, end.error) if end is not None else Outcome(job))
    return outcomes


def _remember(journal: Journal) -> tuple[Earlier, set[str]]:
    """What earlier runs did, and what was running when one of them died (it goes last: it may be why).

    Jobs left over are closed; those that are still in the plan are asked for anew.
    """
    before = earlier(journal.jobs(0, KEPT_JOBS))
    left = journal.unfinished()
    reason = ("interrupted", "The batch was stopped before this job was done.")
    journal.write([replace(job, state=JobState.CANCELLED, error=reason) for job in left])
    return before, {job.client for job in left if job.state is JobState.RUNNING}


def _unpack(plan: BatchPlan, jobs: Iterable[PlannedJob]) -> None:
    """Put the media that lies inside the session's archive where the requests expect it."""
    wanted: dict[Path, str] = {}
    for job in jobs:
        for path, media in zip(job.request.source, job.media, strict=False):
            if media.member is not None:
                wanted[path] = media.member
    for path, member in wanted.items():
        if not path.exists():
            with file_errors(path.parent):
                extract_member(plan.session.path, member, path)


def _run(
    todo: Sequence[str],
    by_key: dict[str, PlannedJob],
    journal: Journal,
    publisher: _Publisher,
    n_lanes: int,
    on_event: Callable[[PlannedJob, JobEvent], None],
    stopped: Callable[[], bool],
    render: Render,
) -> dict[str, Job]:
    """Final state of every job that came to one, by key."""
    ended: dict[str, Job] = {}
    changed = threading.Condition()

    def heard(event: JobEvent) -> None:
        with changed:
            key = event.job.client
            on_event(by_key[key], event)
            if event.job.state.final:
                ended[key] = event.job
                if event.job.state is JobState.DONE:
                    publisher.forget(key)
                changed.notify_all()

    with ExitStack() as stack:
        lanes = []
        for keys in _deal(todo, by_key, n_lanes):
            lane = _Lane({by_key[key].request: key for key in keys}, publisher, render)
            queue = stack.enter_context(JobQueue(lane.run, journal, max_waiting=len(keys), on_event=heard))
            lanes.append((queue, keys))
        for queue, keys in lanes:
            queue.submit_all([(by_key[key].request, BATCH_PRIORITY, key) for key in keys])
        with changed:
            while len(ended) < len(todo) and not stopped():
                changed.wait(0.1)
    return ended


def _deal(todo: Sequence[str], by_key: dict[str, PlannedJob], n_lanes: int) -> list[list[str]]:
    """The jobs for each lane: what shares a clip stays together, long ones first to the lane that has least."""
    if n_lanes <= 1 or len(todo) < 2:
        return [list(todo)] if todo else []
    groups: dict[tuple[int, int], list[str]] = {}
    for key in todo:
        groups.setdefault((by_key[key].track, by_key[key].clip), []).append(key)
    lanes: list[list[str]] = [[] for _ in range(min(n_lanes, MAX_LANES, len(groups)))]
    load_s = [0.0] * len(lanes)
    for keys in sorted(groups.values(), key=lambda keys: -sum(by_key[key].length_s for key in keys)):
        least = load_s.index(min(load_s))
        lanes[least] += keys
        load_s[least] += sum(by_key[key].length_s for key in keys)
    return lanes


@dataclass
class _Lane:
    """One worker's run: its models, and what still waits in it."""

    keys: Mapping[SeparationRequest, str]
    publisher: _Publisher
    render: Render
    shelf: models.Shelf = field(default_factory=models.Shelf)

    def __post_init__(self) -> None:
        self.waiting = [*self.keys]

    def run(
        self, request: SeparationRequest, on_progress: Callable[[Progress], None], cancelled: Callable[[], bool]
    ) -> Separation:
        if request in self.waiting:
            self.waiting.remove(request)
        key = self.keys[request]
        finished = self.publisher.finished(key)
        if finished is None:
            inside = self.publisher.open(key, request)
            made = self.render(inside, self.shelf, on_progress, cancelled, [*self.waiting])
            finished = self.publisher.finish(key, request, made)
        return self.publisher.publish(key, finished)


class _Publisher:
    """Moves finished results out of their work folders, under names that are free. Used by several lanes at once."""

    def __init__(self, out_dir: Path, work_dir: Path, *, keep: set[str]) -> None:
        self._out_dir, self._work_dir = out_dir, work_dir
        self._lock = threading.Lock()
        self._names: dict[str, str] = {}
        with file_errors(out_dir):
            for folder in work_dir.iterdir():
                if folder.name not in keep:
                    shutil.rmtree(folder, ignore_errors=True)  # done, or of a plan that changed
                elif (folder / "name").is_file():
                    self._names[folder.name] = (folder / "name").read_text(encoding="utf-8")

    def open(self, key: str, request: SeparationRequest) -> SeparationRequest:
        """The request as it is rendered: into an empty work folder, under the name its files will have."""
        folder = self._work_dir / key
        with file_errors(self._out_dir):
            shutil.rmtree(folder, ignore_errors=True)  # of an attempt that died
            folder.mkdir(parents=True)
            name = self._reserve(key, str(request.name))
            write_whole(folder / "name", name)
        return replace(request, out_dir=folder, name=name)

    def _reserve(self, key: str, wanted: str) -> str:
        with self._lock:
            taken = {name.casefold() for other, name in self._names.items() if other != key}
            for n in range(1, 100_000):
                name = wanted if n == 1 else f"{wanted} {n}"
                files = [self._out_dir / f"{name}{end}" for end in (".json", *(f".{stem}.wav" for stem in STEMS))]
                if name.casefold() not in taken and not any(file.exists() for file in files):
                    self._names[key] = name
                    return name
        raise StembridgeError("output_not_writable", f"{self._out_dir} is full of results named {wanted}.", "Empty it.")

    def finished(self, key: str) -> dict[str, Any] | None:
        """The result that an earlier run finished and may not have published."""
        try:
            found: dict[str, Any] = json.loads((self._work_dir / key / "result.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found

    def finish(self, key: str, request: SeparationRequest, made: Separation) -> dict[str, Any]:
        """From here on the job counts as done."""
        folder = self._work_dir / key
        paths = {n: p for n, p in (("target", made.target), ("residual", made.residual)) if p is not None}
        result = made.to_dict() | {name: path.name for name, path in paths.items()} | {"manifest": made.manifest.name}
        with file_errors(self._out_dir):
            manifest = json.loads(made.manifest.read_text(encoding="utf-8"))
            manifest["request"] = manifest.get("request", {}) | {"out_dir": str(request.out_dir)}
            write_whole(made.manifest, json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
            write_whole(folder / "result.json", json.dumps(result))
        return result

    def publish(self, key: str, result: dict[str, Any]) -> Separation:
        """The files in the output folder, the manifest last. Done again after a kill it moves what is left."""
        folder = self._work_dir / key
        with file_errors(self._out_dir):
            stems = sorted(path for path in folder.glob("*.wav"))
            for path in [*stems, folder / result["manifest"]]:
                if path.exists():
                    os.replace(path, self._out_dir / path.name)
        named = {n: None if result[n] is None else str(self._out_dir / result[n]) for n in ("target", "residual")}
        return Separation.from_dict(result | named | {"manifest": str(self._out_dir / result["manifest"])})

    def forget(self, key: str) -> None:
        """The journal has it: the work folder is not needed any more."""
        shutil.rmtree(self._work_dir / key, ignore_errors=True)


def write_whole(path: Path, text: str) -> None:
    """A small file, whole or not at all. Raises `OSError`."""
    part = path.with_name(f"{path.name}.new")
    with part.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def raise_if_stopped(outcomes: Sequence[Outcome], retry: str) -> None:
    """Raises `Cancelled` with the command that goes on, where jobs were not reached."""
    left = sum(outcome.result is None and outcome.error is None for outcome in outcomes)
    if left:
        done = sum(outcome.result is not None for outcome in outcomes)
        raise Cancelled(f"Stopped: {done} of {len(outcomes)} are done. The same command goes on from there: {retry}")
