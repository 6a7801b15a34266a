"""`stembridge submit`, `jobs`, `cancel`: talk to a running engine, as a DAW does."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any, Final

import typer

from bridge.api.protocol import DEFAULT_PORT, JobAnswer, JobDraft, JobProgress
from bridge.cli import asking, console
from engine.errors import Cancelled, StembridgeError
from engine.jobs.job import JobState
from engine.request import Progress

NEWEST: Final = 50
"""Jobs that are listed when nobody asks for all."""
CANCEL_S: Final = 10.0
"""How long a cancelled job is waited for."""


def submit(
    source: asking.Source,
    prompt: asking.Prompt = None,
    track: asking.Track = None,
    span: asking.Spans = None,
    not_span: asking.NotSpans = None,
    region: asking.RegionRange = None,
    out: Annotated[
        str | None, typer.Option(help="A folder inside the engine's output folder, or relative to it.")
    ] = None,
    keep: asking.Keep = None,
    preset: asking.PresetName = None,
    model: asking.ModelName = None,
    quality: asking.Quality = None,
    nfe: asking.Nfe = None,
    schedule: asking.Schedule = None,
    seed: asking.Seed = None,
    candidates: asking.Candidates = None,
    context: asking.Context = None,
    playhead: asking.Playhead = None,
    output: asking.Output = None,
    name: asking.Name = None,
    preview: Annotated[bool, typer.Option("--preview", help="At most 10 s, draft quality, before all others.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait for the stems, or return as soon as the job is queued.")] = True,
    port: asking.Port = DEFAULT_PORT,
    as_json: asking.AsJson = False,
) -> None:
    """Give a running engine a job. Ctrl-C while it is waited for cancels it."""
    from bridge.osc.client import Client

    fields = asking.source_fields(source, span, not_span, region)
    fields |= asking.given(prompt=prompt, track=track, out=out, keep=keep, preset=preset, model=model, quality=quality)
    fields |= asking.given(nfe=nfe, seed=seed, context=context, output=output, name=name, candidates=candidates)
    fields |= asking.given(schedule=schedule, playhead=playhead)
    with Client(port) as client:
        job = client.submit(fields, preview=preview)
        if not wait:
            if as_json:
                console.write_json({"job": job})
            else:
                console.write_line(job)
            return
        try:
            with console.progress_bar(prompt or track or "separating") as on_progress:
                done = client.wait(
                    job,
                    on_progress=lambda event: on_progress(progress_of(event)),
                    on_draft=lambda event: None if as_json else _write_draft(event),
                )
        except KeyboardInterrupt as e:
            client.cancel(job)
            raise Cancelled(f"The job {job} was cancelled.") from e
    if as_json:
        console.write_json(_told(done))
        return
    for label, path in (("target", done.target), ("residual", done.residual), ("manifest", done.manifest)):
        if path:
            console.write_line(f"{label:<9} {path}")
    if done.note:
        console.note(done.note)


def jobs(
    job: Annotated[str | None, typer.Argument(help="One job's id; the newest jobs when absent.")] = None,
    everything: Annotated[bool, typer.Option("--all", help=f"Every job, not only the newest {NEWEST}.")] = False,
    port: asking.Port = DEFAULT_PORT,
    as_json: asking.AsJson = False,
) -> None:
    """What a running engine has done, does, and will do. With --json every job is told."""
    from bridge.api.requests import JobStatus
    from bridge.osc.client import Client, new_rid

    with Client(port) as client:
        if job is not None:
            stands: JobAnswer = client.ask(JobStatus(new_rid(), job))
            told = _told(stands)
            if as_json:
                console.write_json(told)
            else:
                console.write_table(
                    ("", ""), [(key, str(value)) for key, value in told.items() if value not in ("", None)]
                )
            return
        rows = _all_jobs(client)
    if as_json:
        keys = ("job", "state", "fraction", "prompt")
        console.write_json([dict(zip(keys, row, strict=True)) for row in rows])
    elif rows:
        newest = rows if everything else rows[:NEWEST]
        shown = [(str(row[0]), str(row[1]), f"{float(row[2]):.0%}", str(row[3])) for row in newest]
        console.write_table(("job", "state", "done", "prompt"), shown, wide=3)
        if len(rows) > len(newest):
            console.note(f"{len(rows) - len(newest)} older jobs are not shown; --all shows them.")
    else:
        console.note("There are no jobs.")


def cancel(
    job: Annotated[list[str] | None, typer.Argument(help="The jobs' ids.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Cancel every job that waits or runs.")] = False,
    port: asking.Port = DEFAULT_PORT,
) -> None:
    """Cancel jobs of a running engine. A job that has ended stays as it is."""
    from bridge.api.requests import CancelAll
    from bridge.osc.client import Client, new_rid

    if bool(job) == everything:
        raise StembridgeError("bad_value", "Name the jobs to cancel, or give --all.", "`stembridge jobs` lists them.")
    with Client(port) as client:
        if everything:
            console.write_line(f"{client.ask(CancelAll(new_rid())).count} cancelled")
        for one in job or []:
            client.cancel(one)
            console.write_line(f"{one} {_end_of(client, one)}")


def _write_draft(draft: JobDraft) -> None:
    for path in filter(None, (draft.target, draft.residual)):
        console.write_line(f"{'draft':<9} {path}")


def _end_of(client: Any, job: str) -> str:
    """How a job ended that was told to stop: it may have ended before."""
    from bridge.api.requests import JobStatus
    from bridge.osc.client import new_rid

    with suppress(StembridgeError, TimeoutError):  # however it ended, the engine is asked for it below
        client.wait(job, timeout_s=CANCEL_S)
    state = client.ask(JobStatus(new_rid(), job)).state
    if state == JobState.CANCELLED:
        return "cancelled"
    return f"{state}: it had ended before" if JobState(state).final else "stops at its next step"


def _all_jobs(client: Any) -> list[tuple[Any, ...]]:
    """(job, state, fraction, prompt) of every job, page after page."""
    from bridge.api.requests import Jobs
    from bridge.osc.client import new_rid

    rows: list[tuple[Any, ...]] = []
    page, more = 0, True
    while more:
        answer = client.ask(Jobs(new_rid(), page))
        rows += [tuple(answer.jobs[at : at + 4]) for at in range(0, len(answer.jobs), 4)]
        page, more = page + 1, answer.more
    return rows


def _told(stands: JobAnswer) -> dict[str, Any]:
    """A job's answer as plain values; an unknown time left is None."""
    keys = ("job", "state", "fraction", "stage", "eta_s", "code", "text", "target", "residual", "manifest", "note")
    values = {key: getattr(stands, key) for key in keys}
    values["fraction"] = round(stands.fraction, 4)
    values["eta_s"] = round(stands.eta_s, 2) if stands.eta_s >= 0 else None
    return values


def progress_of(event: JobProgress) -> Progress:
    """An engine's event as the bar takes it."""
    return Progress(event.fraction, event.stage, event.eta_s if event.eta_s >= 0 else None)
