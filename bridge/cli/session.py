"""`stembridge session`: the stems of a whole session, resumable."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.cli import asking, console
from engine.errors import StembridgeError

if TYPE_CHECKING:
    from bridge.batch.memory import Earlier
    from bridge.batch.plan import BatchPlan, PlannedJob
    from bridge.batch.run import Render
    from engine.jobs.job import JobEvent


def session(
    file: Annotated[Path, typer.Argument(help="A DAW's session file, or a folder of audio files.")],
    out: Annotated[Path, typer.Option(help="The folder for the stems; run again, it goes on there.", file_okay=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and render nothing.")] = False,
    track: Annotated[list[str] | None, typer.Option(help="Only this track. Repeats.")] = None,
    prompt: Annotated[list[str] | None, typer.Option(help="For every track, instead of its name. Repeats.")] = None,
    preset: Annotated[list[str] | None, typer.Option(help="A preset for every track. Repeats.")] = None,
    keep: asking.Keep = None,
    model: asking.ModelName = None,
    quality: asking.Quality = None,
    nfe: asking.Nfe = None,
    seed: asking.Seed = None,
    candidates: asking.Candidates = None,
    output: asking.Output = None,
    jobs: Annotated[int, typer.Option(help="Jobs at once; each takes the memory of a model.", min=1, max=16)] = 1,
    cluster: Annotated[str | None, typer.Option(help="A Dask scheduler's address: its workers do the jobs.")] = None,
    new_session: Annotated[bool, typer.Option(help="Write a session with the stems beside the old one.")] = True,
    as_json: asking.AsJson = False,
) -> None:
    """Render stems of a whole session: each track's name is the prompt. The same command goes on after a stop."""
    from bridge.batch import memory as batch_memory
    from bridge.batch import plan as batch
    from bridge.batch import report as batch_report
    from bridge.batch import run as batch_run
    from bridge.batch import session as batch_session
    from bridge.batch import whole as batch_whole
    from bridge.sessions.reading import read_session

    out_dir = out.expanduser().absolute()
    fields = asking.given(keep=keep, model=model, quality=quality, nfe=nfe, seed=seed, output=output)
    options = batch.options_of(track, prompt, preset, fields | asking.given(candidates=candidates))
    path = file.expanduser()
    read_as = batch_session.stamp(path) if path.exists() else (0, 0)
    read = read_session(path)
    plan = batch.plan_batch(read, options, out_dir, batch_run.media_folder(out_dir))
    earlier = batch_memory.look(out_dir)
    if not as_json:
        console.write_table(batch_report.COLUMNS, batch_report.rows(plan), wide=5)
        console.note(batch_report.summary(plan, earlier, jobs, new_session=new_session))
    repeated: dict[str, Any] = {"track": track, "prompt": prompt, "preset": preset, "cluster": cluster}
    repeated["jobs"] = None if jobs == 1 else jobs
    retry = _command(file, out, repeated | fields | asking.given(candidates=candidates), new_session=new_session)
    if dry_run:
        if as_json:
            console.write_json(batch_report.plan_json(plan, earlier, jobs))
        batch_report.require_all_planned(plan, retry)
        return
    with (
        _workers(cluster, jobs, plan, out_dir) as (render, n_lanes),
        console.stoppable() as stopped,
        _progress(plan, earlier, as_json) as on_event,
    ):
        made = batch_whole.render_session(
            plan,
            out_dir,
            read_as,
            retry,
            n_lanes=n_lanes,
            new_session=new_session,
            on_event=on_event,
            stopped=stopped,
            render=render,
        )
    if as_json:
        console.write_json(made.report)
    else:
        for outcome in made.outcomes:
            if outcome.error is not None:
                console.note(f"failed: {outcome.job.request.name}: {outcome.error[1]} [{outcome.error[0]}]")
        for text in batch_report.notes_of(made.outcomes):
            console.note(text)
        console.write_line(f"{'stems':<8} {made.report['done']} of {len(made.outcomes)} in {out_dir}")
        if isinstance(made.session, Path):
            console.write_line(f"{'session':<8} {made.session}")
        for stem in made.not_placed:
            console.note(f"not in the session, whose rate is {read.rate_hz} Hz: {stem.name}")
    if isinstance(made.session, StembridgeError):
        raise made.session
    batch_run.raise_if_stopped(made.outcomes, retry)
    batch_report.require_all_done(plan, made.outcomes, retry)


def _command(file: Path, out: Path, options: dict[str, Any], *, new_session: bool) -> str:
    """What to type to go on."""
    words = ["stembridge", "session", str(file), "--out", str(out)]
    for name, value in options.items():
        for each in value if isinstance(value, list) else [value]:
            if each is not None:
                words += [f"--{name}", str(each)]
    return shlex.join([*words, *(["--no-new-session"] if not new_session else [])])


@contextmanager
def _workers(cluster: str | None, jobs: int, plan: BatchPlan, out_dir: Path) -> Iterator[tuple[Render, int]]:
    """What renders a job, and how many at once."""
    if cluster is None:
        from bridge.batch.run import render_with_engine

        yield render_with_engine, jobs
        return
    from bridge.batch.cluster import cluster_at

    with_plugins = any(job.request.pre or job.request.post for job in plan.jobs)
    with cluster_at(cluster, out_dir, with_plugins=with_plugins) as found:
        yield found.render, found.n_slots if jobs == 1 else jobs


@contextmanager
def _progress(plan: BatchPlan, earlier: Earlier, quiet: bool) -> Iterator[Callable[[PlannedJob, JobEvent], None]]:
    """Two bars on a terminal, the whole and the job that runs; elsewhere a line a job, where JSON is not wanted."""
    done = [job for job in plan.jobs if earlier.is_done(job)]
    n_done = len(done)
    total_s = max(plan.audio_s, 1e-9)

    def count(event: JobEvent) -> bool:
        nonlocal n_done
        n_done += event.job.state.final
        return event.job.state.final

    if not sys.stderr.isatty():

        def tell(job: PlannedJob, event: JobEvent) -> None:
            if count(event) and not quiet:
                console.note(f"{event.kind} {n_done} of {len(plan.jobs)}: {job.request.name}")

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    bars = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=40),
        TaskProgressColumn(),
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
        transient=True,
    )
    with bars:
        whole, running = bars.add_task("all", total=total_s), bars.add_task("", total=1.0)
        finished_s = sum(job.length_s for job in done)

        def show(job: PlannedJob, event: JobEvent) -> None:
            nonlocal finished_s
            if count(event):
                finished_s += job.length_s
            fraction = event.job.progress.fraction if event.job.progress and not event.job.state.final else 0.0
            bars.update(whole, completed=finished_s + fraction * job.length_s)
            if event.kind == "progress":
                bars.update(running, description=str(job.request.name)[:40], completed=fraction)

        yield show
