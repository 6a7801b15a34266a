"""A batch told: the plan as rows and JSON, and the report that is written beside the stems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bridge.batch import BatchPlan, PlannedJob
from bridge.batch_run import Outcome
from engine.errors import StembridgeError
from engine.models import DEFAULT, choose
from engine.request import SeparationRequest

REPORT: Final = "stembridge-session.json"
COLUMNS: Final = ("track", "at", "length", "prompt", "spans", "stems, or why there are none")
GUESSED_SPEED: Final = 0.1
"""Seconds of work for one second of audio with the embedded model, before anything was measured: about what two cores
of a laptop take."""


def clock(time_s: float) -> str:
    """`1:02:03.4` or `2:03.4`."""
    tenths = round(time_s * 10)
    hours, rest = divmod(tenths, 36_000)
    minutes, rest = divmod(rest, 600)
    return f"{hours}:{minutes:02d}:{rest / 10:04.1f}" if hours else f"{minutes}:{rest / 10:04.1f}"


def rows(plan: BatchPlan) -> list[tuple[str, ...]]:
    """One row a stem and one for each thing left out, under `COLUMNS`."""
    found = [
        (
            _printable(plan.session.tracks[job.track].name),
            clock(plan.session.tracks[job.track].clips[job.clip].position_s),
            clock(job.length_s),
            job.request.prompt,
            " ".join(f"{n}{sign}" for sign in "+-" if (n := sum(s.sign == sign for s in job.request.spans))),
            str(job.request.name),
        )
        for job in plan.jobs
    ]
    left = [
        (
            _printable(skip.track),
            "" if skip.position_s is None else _maybe_clock(skip.position_s),
            "",
            "",
            "",
            f"left out: {skip.text} [{skip.code}]",
        )
        for skip in plan.skipped
    ]
    return [*found, *left]


def estimate(plan: BatchPlan, measured: float | None, n_lanes: int = 1) -> tuple[float | None, str]:
    """(seconds of work, how it is known); None where nothing is known of the model that will be used."""
    if measured is not None:
        return plan.audio_s * measured / n_lanes, "from the jobs that are done"
    if all(_model(request) == DEFAULT for request in _kinds(plan)):
        return plan.audio_s * GUESSED_SPEED, "a guess, until the first job is done"
    return None, "known once the first job is done"


def _kinds(plan: BatchPlan) -> list[SeparationRequest]:
    """One request for each prompt, model and output."""
    return list({(j.request.prompt, j.request.model, j.request.output): j.request for j in plan.jobs}.values())


def _model(request: SeparationRequest) -> str:
    return choose(request)


def summary(plan: BatchPlan, measured: float | None, n_lanes: int = 1) -> str:
    """The plan in one line."""
    work_s, how = estimate(plan, measured, n_lanes)
    time = how if work_s is None else f"about {clock(work_s)} of work ({how})"
    problems = sum(skip.problem for skip in plan.skipped)
    left = f"; {len(plan.skipped)} left out, {problems} of them to look at" if plan.skipped else ""
    return f"{len(plan.jobs)} jobs, {clock(plan.audio_s)} of audio, {time}, {plan.n_bytes / 1e6:.1f} MB of stems{left}."


def plan_json(plan: BatchPlan, measured: float | None, n_lanes: int = 1) -> dict[str, Any]:
    """The plan as plain JSON values."""
    work_s, how = estimate(plan, measured, n_lanes)
    return {
        "session": str(plan.session.path),
        "format": plan.session.format,
        "rate_hz": plan.session.rate_hz,
        "tracks": len(plan.session.tracks),
        "clips": plan.session.n_clips,
        "jobs": [_job_json(plan, job) for job in plan.jobs],
        "skipped": [_skip_json(skip) for skip in plan.skipped],
        "audio_s": round(plan.audio_s, 6),
        "bytes": plan.n_bytes,
        "estimate_s": None if work_s is None else round(work_s, 1),
        "estimate": how,
    }


def report_json(
    plan: BatchPlan,
    outcomes: Sequence[Outcome],
    new_session: Path | StembridgeError | None,
    not_placed: Sequence[Path],
    seconds: float,
    retry: str,
) -> dict[str, Any]:
    """What was done, as plain JSON values; also written to `REPORT`. `new_session`: its path, or why there is none."""
    failed = new_session if isinstance(new_session, StembridgeError) else None
    return {
        "session": str(plan.session.path),
        "format": plan.session.format,
        "new_session": str(new_session) if isinstance(new_session, Path) else None,
        "new_session_error": None if failed is None else {"code": failed.code, "text": failed.text},
        "not_placed": [str(path) for path in not_placed],
        "done": sum(outcome.result is not None for outcome in outcomes),
        "failed": sum(outcome.error is not None for outcome in outcomes),
        "not_reached": sum(outcome.result is None and outcome.error is None for outcome in outcomes),
        "seconds": round(seconds, 3),
        "retry": retry,
        "jobs": [_outcome_json(plan, outcome) for outcome in outcomes],
        "skipped": [_skip_json(skip) for skip in plan.skipped],
    }


def require_all_done(plan: BatchPlan, outcomes: Sequence[Outcome], retry: str) -> None:
    """Raises `StembridgeError` (`partly_done`) naming what failed or cannot be used, and the command."""
    failed = sum(outcome.error is not None for outcome in outcomes)
    problems = sum(skip.problem for skip in plan.skipped)
    if not failed and not problems:
        return
    parts = [f"{failed} of {len(outcomes)} jobs failed"] if failed else []
    parts += [f"{problems} clip{'s' * (problems > 1)} could not be used"] if problems else []
    raise StembridgeError(
        "partly_done", f"{' and '.join(parts)}.", f"What is done stays done. Mend it, then run again: {retry}"
    )


def _outcome_json(plan: BatchPlan, outcome: Outcome) -> dict[str, Any]:
    told = _job_json(plan, outcome.job)
    state = "done" if outcome.result else "failed" if outcome.error else "not_reached"
    told |= {"state": state, "earlier": outcome.earlier}
    if outcome.result is not None:
        result = outcome.result.to_dict()
        told |= {key: result[key] for key in ("target", "residual", "manifest", "sample_rate", "channels", "samples")}
        told |= {key: result[key] for key in ("null_db", "model", "runtime", "seconds")}
    if outcome.error is not None:
        told |= {"code": outcome.error[0], "text": outcome.error[1]}
    return told


def _job_json(plan: BatchPlan, job: PlannedJob) -> dict[str, Any]:
    track = plan.session.tracks[job.track]
    return {
        "track": _printable(track.name),
        "clip": _printable(track.clips[job.clip].name),
        "position_s": track.clips[job.clip].position_s,
        "length_s": job.length_s,
        "prompt": job.request.prompt,
        "spans": [[span.sign, span.start_s, span.end_s] for span in job.request.spans],
        "name": job.request.name,
        "sources": [str(path) for path in job.request.source],
    }


def _skip_json(skip: Any) -> Mapping[str, Any]:
    sound = skip.position_s is not None and abs(skip.position_s) < 1e12
    return {
        "track": _printable(skip.track),
        "clip": _printable(skip.clip),
        "position_s": skip.position_s if sound else None,
        "code": skip.code,
        "text": _printable(skip.text),
        "problem": skip.problem,
    }


def _maybe_clock(time_s: float) -> str:
    return clock(time_s) if 0 <= time_s < 1e9 else "?"


def _printable(text: str) -> str:
    """A session's text as a terminal and JSON take it: no control characters, no half characters."""
    seen = "".join(c if c.isprintable() or "\udc80" <= c <= "\udcff" else " " for c in text)
    return seen.encode("utf-8", "replace").decode("utf-8")
