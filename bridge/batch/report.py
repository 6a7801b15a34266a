"""A batch told: the plan as rows and JSON, and the report that is written beside the stems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bridge.batch.memory import Earlier
from bridge.batch.plan import BatchPlan, PlannedJob
from bridge.batch.room import session_bytes
from bridge.batch.run import Outcome
from engine.errors import StembridgeError
from engine.models import MASKS, installed

REPORT: Final = "stembridge-session.json"
COLUMNS: Final = ("track", "at", "length", "prompt", "spans", "stems, or why there are none")
GUESSED_SPEED: Final = 0.1
"""Seconds of work for one second of audio with a model that ships, before anything was measured: about what two cores
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


def estimate(plan: BatchPlan, earlier: Earlier, n_lanes: int = 1) -> tuple[float | None, str]:
    """(seconds of work that is left, how it is known); None where nothing is known of a model that will be used."""
    audio_s: dict[str, float] = {}
    for job in plan.jobs:
        if not earlier.is_done(job):
            audio_s[job.model] = audio_s.get(job.model, 0.0) + job.length_s
    kinds = {name: bundle.kind for name, bundle in installed().items()}
    guesses = {name: GUESSED_SPEED for name in audio_s if kinds.get(name) in MASKS}
    speeds = {**guesses, **earlier.speeds}
    if any(name not in speeds for name in audio_s):
        return None, "known once the first job is done"
    work_s = sum(heard_s * speeds[name] for name, heard_s in audio_s.items()) / n_lanes
    measured = all(name in earlier.speeds for name in audio_s)
    return work_s, "from the jobs that are done" if measured else "a guess, until jobs of each model are done"


def summary(plan: BatchPlan, earlier: Earlier, n_lanes: int = 1, *, new_session: bool = True) -> str:
    """The plan in one line."""
    n_done = sum(earlier.is_done(job) for job in plan.jobs)
    work_s, how = estimate(plan, earlier, n_lanes)
    time = how if work_s is None else f"about {clock(work_s)} of work ({how})"
    if plan.jobs and n_done == len(plan.jobs):
        time = "nothing left to do"
    problems = sum(skip.problem for skip in plan.skipped)
    done = f" ({n_done} done before)" if n_done else ""
    left = f"; {len(plan.skipped)} left out, {problems} of them to look at" if plan.skipped else ""
    room = f"{plan.n_bytes / 1e6:.1f} MB of stems"
    if plan.jobs and new_session and session_bytes(plan):
        room += f" and {session_bytes(plan) / 1e6:.1f} MB for the session that holds them"
    return f"{counted(len(plan.jobs), 'job')}{done}, {clock(plan.audio_s)} of audio, {time}, {room}{left}."


def counted(n: int, what: str) -> str:
    """`1 job`, `2 jobs`."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def plan_json(plan: BatchPlan, earlier: Earlier, n_lanes: int = 1) -> dict[str, Any]:
    """The plan as plain JSON values."""
    work_s, how = estimate(plan, earlier, n_lanes)
    return {
        "session": str(plan.session.path),
        "format": plan.session.format,
        "rate_hz": plan.session.rate_hz,
        "tracks": len(plan.session.tracks),
        "clips": plan.session.n_clips,
        "jobs": [_job_json(plan, job) | {"done": earlier.is_done(job)} for job in plan.jobs],
        "skipped": [_skip_json(skip) for skip in plan.skipped],
        "audio_s": round(plan.audio_s, 6),
        "bytes": plan.n_bytes,
        "session_bytes": session_bytes(plan),
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


def require_all_planned(plan: BatchPlan, command: str) -> None:
    """Raises `StembridgeError` (`partly_done`) where clips cannot be used; `command` is what renders the others."""
    problems = sum(skip.problem for skip in plan.skipped)
    if problems:
        raise StembridgeError(
            "partly_done",
            f"{counted(problems, 'clip')} cannot be used; the plan above tells why.",
            f"Mend {'it' if problems == 1 else 'them'} in the DAW first, or render the others now: {command}",
        )


def require_all_done(plan: BatchPlan, outcomes: Sequence[Outcome], retry: str) -> None:
    """Raises `StembridgeError` (`partly_done`) naming what failed or cannot be used, and the command."""
    failed = sum(outcome.error is not None for outcome in outcomes)
    problems = sum(skip.problem for skip in plan.skipped)
    if not failed and not problems:
        return
    parts = [f"{failed} of {len(outcomes)} jobs failed"] if failed else []
    parts += [f"{counted(problems, 'clip')} could not be used"] if problems else []
    raise StembridgeError(
        "partly_done", f"{' and '.join(parts)}.", f"What is done stays done. Mend it, then run again: {retry}"
    )


def notes_of(outcomes: Sequence[Outcome]) -> list[str]:
    """What there is to know of the stems, each note once, with how many jobs it is of."""
    notes = Counter(outcome.result.note for outcome in outcomes if outcome.result is not None and outcome.result.note)
    return [f"{counted(n, 'job')}: {note}" for note, n in notes.most_common()]


def _outcome_json(plan: BatchPlan, outcome: Outcome) -> dict[str, Any]:
    told = _job_json(plan, outcome.job)
    state = "done" if outcome.result else "failed" if outcome.error else "not_reached"
    told |= {"state": state, "earlier": outcome.earlier}
    if outcome.result is not None:
        result = outcome.result.to_dict()
        told |= {key: result[key] for key in ("target", "residual", "manifest", "sample_rate", "channels", "samples")}
        told |= {key: result[key] for key in ("null_db", "model", "runtime", "seconds", "note")}
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
        "model": job.model,
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
