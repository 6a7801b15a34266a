"""One queued request: what it is, where it stands, and what is told of it. Plain frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from engine.request import Draft, Progress, Separation, SeparationRequest

PREVIEW_PRIORITY: Final = 10
INTERACTIVE_PRIORITY: Final = 0
BATCH_PRIORITY: Final = -10


class JobState(StrEnum):
    """Where a job stands. `done`, `failed` and `cancelled` are final."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """True when the job will not change any more."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True)
class Job:
    """A snapshot of one job; the queue makes a new one at each change."""

    id: str
    request: SeparationRequest
    state: JobState = JobState.QUEUED
    priority: int = INTERACTIVE_PRIORITY
    """Higher runs first; equal priorities run in the order they were submitted."""
    client: str = ""
    """Who asked: text that only the caller understands, kept as it is, also across a restart."""
    created_s: float = 0.0
    """Unix time of the submit."""
    attempts: int = 0
    """How often the job was started and not put back by an orderly stop."""
    progress: Progress | None = None
    """The latest progress; not kept across a restart."""
    draft: Draft | None = None
    """Stems to use while the job runs on; not kept across a restart."""
    result: Separation | None = None
    """Set when the job is done."""
    error: tuple[str, str] | None = None
    """(code, text) when the job failed or was cancelled."""


@dataclass(frozen=True)
class JobEvent:
    """One change of one job, in the order the changes happened."""

    kind: Literal["queued", "progress", "draft", "done", "failed", "cancelled"]
    job: Job


ENDS: Final[dict[JobState, Literal["done", "failed", "cancelled"]]] = {
    JobState.DONE: "done",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled",
}
"""Final state → the kind of event that tells it."""
