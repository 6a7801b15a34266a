"""What an output folder remembers of a batch's earlier runs: which jobs are done, and how fast each model worked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bridge.batch.plan import PlannedJob
from engine.errors import StembridgeError
from engine.jobs.job import Job
from engine.jobs.journal import Journal
from engine.request import Separation

STATE: Final = ".stembridge"
"""The folder in the output folder that holds all of a batch's own."""
_JOURNAL: Final = "batch.sqlite3"
_KEPT_S: Final = 100 * 365 * 24 * 3600.0
KEPT_JOBS: Final = 10_000_000


@dataclass(frozen=True)
class Earlier:
    """What is known of earlier runs."""

    done: Mapping[str, Separation] = field(default_factory=dict)
    """Key of a job → what was made of it, where all of that is still there."""
    speeds: Mapping[str, float] = field(default_factory=dict)
    """Model → seconds of work for one second of audio."""

    def is_done(self, job: PlannedJob) -> bool:
        """Whether its stems are there."""
        return bool(self.done) and key_of(job) in self.done


def key_of(job: PlannedJob) -> str:
    """The same for the same request of the same files, in this run and the next. A file that was saved since, by its
    size or its time, is another; what lies in an archive is told by its path already."""
    lying = [media.path for media in job.media if media.path is not None]
    files = [_stamp(path) for path in dict.fromkeys(lying)]
    text = json.dumps([job.request.to_dict(), files], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def open_journal(out_dir: Path) -> Journal:
    """The folder's journal. Raises `StembridgeError` (`engine_running`, `journal_failed`)."""
    return Journal(out_dir / STATE / _JOURNAL, max_finished=KEPT_JOBS, max_age_s=_KEPT_S)


def look(out_dir: Path) -> Earlier:
    """What earlier runs did in the folder; nothing where there were none, or one is under way. Changes nothing."""
    if not (out_dir / STATE / _JOURNAL).exists():
        return Earlier()
    try:
        with open_journal(out_dir) as journal:
            return earlier(journal.jobs(0, KEPT_JOBS))
    except StembridgeError:
        return Earlier()  # it is in use, or damaged: the run itself will say so


def earlier(jobs: Iterable[Job]) -> Earlier:
    """What the journal's jobs, newest first, come to."""
    made = [(job.client, job.result) for job in jobs if job.result is not None]
    audio_s: dict[str, float] = {}
    work_s: dict[str, float] = {}
    for _, result in made:
        if not result.cached:
            audio_s[result.model] = audio_s.get(result.model, 0.0) + result.samples / result.sample_rate
            work_s[result.model] = work_s.get(result.model, 0.0) + result.seconds
    speeds = {model: work_s[model] / heard_s for model, heard_s in audio_s.items() if heard_s > 0}
    return Earlier({key: result for key, result in reversed(made) if _is_there(result)}, speeds)


def _is_there(result: Separation) -> bool:
    return all(path is None or path.exists() for path in (result.target, result.residual, result.manifest))


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None  # gone since the plan was made: the job will say so
    return stat.st_size, stat.st_mtime_ns
