"""Jobs and their events as messages of the API."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bridge.api import protocol as api
from engine.errors import StembridgeError
from engine.jobs.job import Job, JobEvent

MAX_TEXT_CHARS: Final = 1_000
"""Of an error's text on the wire, so that the answer stays below `MAX_ANSWER_BYTES` in any script."""
_PROMPT_CHARS: Final = 60


def clip(text: str) -> str:
    """An error's text, short enough for the wire."""
    return text if len(text) <= MAX_TEXT_CHARS else text[: MAX_TEXT_CHARS - 1] + "…"


def error(rid: str, e: StembridgeError) -> api.Error:
    """The refusal of a request."""
    return api.Error(rid, e.code, clip(str(e)))


def event_message(event: JobEvent) -> api.Event:
    """What is told of a job's event."""
    job = event.job
    if event.kind == "queued":
        return api.JobQueued(job.id)
    if event.kind == "progress":
        return api.JobProgress(job.id, fraction(job), _stage(job), _eta_s(job))
    if event.kind == "draft" and job.draft is not None:
        stems = job.draft.stems
        return api.JobDraft(job.id, str(stems.manifest), *draft_paths(job), job.draft.offset_samples)
    if event.kind == "done":
        return api.JobDone(job.id, *_paths(job), note(job))
    if event.kind == "failed":
        return api.JobFailed(job.id, *_error(job))
    return api.JobCancelled(job.id)


def snapshot(rid: str, job: Job) -> api.JobAnswer:
    """How a job stands."""
    stands = (job.id, job.state.value, fraction(job), _stage(job), _eta_s(job))
    return api.JobAnswer(rid, *stands, *_error(job), *_paths(job), note(job), *draft_paths(job), *_draft_place(job))


def session_stem(session: str, track: str, job: Job) -> api.SessionStem:
    """What is told of a session's job that has ended."""
    prompt = job.request.prompt[:_PROMPT_CHARS]
    return api.SessionStem(session, track[:_PROMPT_CHARS], prompt, *_paths(job), *_error(job))


def row(job: Job) -> tuple[api.Value, ...]:
    """A job in a list: job, state, fraction, prompt."""
    return (job.id, job.state.value, fraction(job), job.request.prompt[:_PROMPT_CHARS])


def fraction(job: Job) -> float:
    """How much of a job is done, 0 to 1."""
    return 1.0 if job.result is not None else job.progress.fraction if job.progress is not None else 0.0


def note(job: Job) -> str:
    """What the model has to say of a job's stems; empty when nothing."""
    return "" if job.result is None else clip(job.result.note)


def draft_paths(job: Job) -> tuple[str, str]:
    """The newest draft's target and residual, while the job goes on; empty where there is none."""
    if job.draft is None or job.state.final:
        return ("", "")
    return _path(job.draft.stems.target), _path(job.draft.stems.residual)


def _draft_place(job: Job) -> tuple[int, int]:
    """Where in the region the newest draft begins and how long it is, in samples; zeros where there is none."""
    if job.draft is None or job.state.final:
        return (0, 0)
    return job.draft.offset_samples, job.draft.stems.samples


def _stage(job: Job) -> str:
    return job.progress.stage if job.progress is not None else job.state.value


def _eta_s(job: Job) -> float:
    return -1.0 if job.progress is None or job.progress.eta_s is None else job.progress.eta_s


def _error(job: Job) -> tuple[str, str]:
    return ("", "") if job.error is None else (job.error[0], clip(job.error[1]))


def _paths(job: Job) -> tuple[str, str, str]:
    if job.result is None:
        return ("", "", "")
    return (str(job.result.manifest), _path(job.result.target), _path(job.result.residual))


def _path(path: Path | None) -> str:
    return "" if path is None else str(path)
