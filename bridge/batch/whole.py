"""A whole session rendered: stems, the new session beside the old one, and the report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.batch import memory as batch_memory
from bridge.batch import report as batch_report
from bridge.batch import run as batch_run
from bridge.batch import session as batch_session
from bridge.batch.plan import BatchPlan, PlannedJob
from bridge.batch.room import require_room
from engine.errors import StembridgeError
from engine.jobs.job import JobEvent


@dataclass(frozen=True)
class Rendered:
    """What became of a plan. `session` is the new session's path, why there is none, or None where none was to be."""

    outcomes: list[batch_run.Outcome]
    session: Path | StembridgeError | None
    not_placed: list[Path]
    report: dict[str, Any]
    report_path: Path


def render_session(
    plan: BatchPlan,
    out_dir: Path,
    read_as: tuple[int, int],
    retry: str,
    *,
    n_lanes: int = 1,
    new_session: bool = True,
    on_event: Callable[[PlannedJob, JobEvent], None] = lambda job, event: None,
    stopped: Callable[[], bool] = lambda: False,
    render: batch_run.Render = batch_run.render_with_engine,
) -> Rendered:
    """Render what is not done yet, write the new session and the report; `retry` says in it how to go on.

    Raises as `bridge.batch.run.run_batch` does; `nothing_to_do` and `disk_full` before anything is rendered. That a
    session cannot be written is no failure of the stems: it is in the answer.
    """
    began_s = time.monotonic()
    _require_work(plan)
    require_room(plan, out_dir, batch_memory.look(out_dir), new_session=new_session)
    outcomes = batch_run.run_batch(plan, out_dir, n_lanes=n_lanes, on_event=on_event, stopped=stopped, render=render)
    written: Path | StembridgeError | None = None
    left: list[Path] = []
    if new_session:
        try:
            written = batch_session.write_new_session(plan, outcomes, out_dir, read_as)
        except StembridgeError as e:
            written = e
        left = batch_session.not_placed(plan, outcomes)
    report = batch_report.report_json(plan, outcomes, written, left, time.monotonic() - began_s, retry)
    path = out_dir / batch_report.REPORT
    batch_run.write_whole(path, json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    return Rendered(outcomes, written, left, report, path)


def _require_work(plan: BatchPlan) -> None:
    if plan.jobs:
        return
    what = f"{len(plan.skipped)} tracks or clips were left out" if plan.skipped else "The session holds no audio clips"
    raise StembridgeError(
        "nothing_to_do",
        f"Nothing can be rendered from {plan.session.name}: {what}.",
        "The plan tells the reasons (--dry-run); name a prompt, or a preset that has one.",
    )
