"""`stembridge bench …`: how good is it, on your own material."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from bridge.cli import asking, console
from bridge.cli.demo import NO_PICTURE
from bridge.cli.ranges import parse_counts
from engine.errors import Cancelled, StembridgeError
from engine.request import Progress

bench = typer.Typer(name="bench", help="Measurements on your own material.", no_args_is_help=True)
PROMPTS = "lead vocals,drums,bass,guitar"


@bench.callback()
def _group() -> None:
    """Measurements on your own material."""


@bench.command("quality")
def bench_quality(
    stems: Annotated[
        Path | None,
        typer.Option(help="Songs whose stems are known: a sub-folder a song, a file a stem, its name the prompt."),
    ] = None,
    audio: Annotated[
        Path | None, typer.Option(help="A folder of any music, for a flow model's few evaluations against its 32.")
    ] = None,
    model: asking.ModelName = None,
    nfe: Annotated[str, typer.Option(help="With --audio: the numbers of evaluations.")] = "1,2,4,8,16",
    prompts: Annotated[str, typer.Option(help="With --audio: what is asked for, with commas between.")] = PROMPTS,
    clips: Annotated[int, typer.Option(help="With --audio: pieces of 5 s.", min=1)] = 4,
    seconds: Annotated[
        float | None, typer.Option(help="With --stems: of longer songs the liveliest part of this length.", min=1)
    ] = None,
    out: Annotated[Path, typer.Option(help="Where figures and plots are left.", file_okay=False)] = Path("bench_out"),
    as_json: asking.AsJson = False,
) -> None:
    """How well a model separates, beside simple methods and the best a mask can do (--stems; without a folder, the
    bundled excerpt); and how near a flow model's few evaluations come to its own 32 (--audio)."""
    nfes = parse_counts(nfe, "--nfe")
    out = out.expanduser()
    found: dict[str, Any] = {}
    with console.stoppable() as stopped, console.progress_bar("measuring") as bar:

        def step(share: float, stage: str) -> None:
            if stopped():
                raise Cancelled("The measurement was stopped; nothing was written.")
            bar(Progress(share, stage, None))

        if audio is not None:
            asked = [prompt.strip() for prompt in prompts.split(",") if prompt.strip()]
            found |= _few_steps(audio.expanduser(), model, asked, nfes, clips, step)
        if stems is not None or audio is None:
            found |= _separation(stems.expanduser() if stems else None, model, seconds, step)
    _report(found, out, as_json)


def _few_steps(
    audio: Path, model: str | None, prompts: list[str], nfes: list[int], clips: int, step: Callable[[float, str], None]
) -> dict[str, Any]:
    from engine import models
    from engine.flow.open import open_flow
    from engine.quality.clips import audio_files, cut_clips
    from engine.quality.few_steps import measure

    flows = [bundle.name for bundle in models.installed().values() if bundle.kind == "flow"]
    bundle = models.find(model or (flows[0] if flows else models.DEFAULT))
    if bundle.kind != "flow":
        raise StembridgeError(
            "bad_value",
            f"{bundle.name} makes one evaluation; few evaluations are a matter of flow models.",
            f"Name one: {', '.join(flows)}." if flows else "There is none here. Measure with --stems instead.",
        )
    if not prompts:
        raise StembridgeError("bad_value", "There are no prompts.", "Name some: --prompts 'vocals, drums'.")
    audio_files(audio)  # refused, if so, before a large model is opened
    stages = open_flow(bundle, models.text_folder()).stages
    pieces = cut_clips(audio, stages.sample_rate, clips, 5.0)
    distances = measure(bundle, stages, pieces, prompts, nfes, lambda share: step(share, "few evaluations"))
    about = {"model": bundle.name, "weights": bundle.weights_sha256, "runtime": stages.name, "prompts": prompts}
    return {"few_steps": {**about, "clips": [piece.name for piece in pieces], "distances": distances}}


def _separation(
    folder: Path | None, model: str | None, longest_s: float | None, step: Callable[[float, str], None]
) -> dict[str, Any]:
    from engine import models
    from engine.quality import separation
    from engine.quality.stems import bundled_song, read_song, song_folders

    if model is not None:
        models.find(model)
    folders = song_folders(folder) if folder else []
    songs = (read_song(one, longest_s) for one in folders) if folders else [bundled_song()]
    bands = separation.bands_of(songs)
    shelf, rows, n = models.Shelf(), [], max(len(folders), 1)
    for number in range(n):  # one song in memory at a time
        song = read_song(folders[number], longest_s) if folders else bundled_song()

        def within(share: float, number: int = number, name: str = song.name) -> None:
            step((number + share) / n, name)

        rows += separation.measure_song(song, bands, shelf, model, within)
    about = {"model": model or "as the prompt chooses", "presence": separation.calibration(rows)}
    return {"separation": {**about, "rows": rows, "table": separation.table(rows)}}


def _report(found: dict[str, Any], out: Path, as_json: bool) -> None:
    from engine.quality import report

    values = {
        name: {
            key: [asdict(one) for one in value] if key in ("rows", "distances") else value
            for key, value in part.items()
        }
        for name, part in found.items()
    }
    report.write_json(out / "quality.json", values)
    written = [out / "quality.json"]
    plots = importlib.util.find_spec("matplotlib") is not None
    if plots and "separation" in found:
        written.append(out / "separation.png")
        report.plot_separation(found["separation"]["table"], written[-1])
    if plots and "few_steps" in found:
        written.append(out / "few_steps.png")
        report.plot_few_steps(found["few_steps"]["distances"], written[-1])
    if as_json:
        console.write_line((out / "quality.json").read_text(encoding="utf-8").strip())
        return
    if "few_steps" in found:
        few = found["few_steps"]
        console.write_line(f"{few['model']} on {few['runtime']} against its own 32 evaluations, same noise:")
        heads = ("evaluations", "solver", "latent SNR dB", "SI-SDR dB", "log-mel dB", "MR-STFT")
        console.write_table(heads, report.few_step_rows(found["few_steps"]["distances"]))
    if "separation" in found:
        console.write_line("Against the true stems, dB unless it has no unit:")
        columns = ("prompt", "method", "stems", *report.HEADS.values())
        console.write_table(columns, report.separation_rows(found["separation"]["table"]))
        own = sum(row.method == "band-pass" and bool(row.note) for row in found["separation"]["rows"])
        if own:
            console.write_line(
                f"band-pass  of {own} stems the band is their own, as no other song has one: a kind rival"
            )
        told = found["separation"]["presence"]
        if told is not None:
            means = f"presence   {told['there']:.2f} for sounds that are there, {told['absent']:.2f} for absent ones"
            console.write_line(f"{means}; Brier score {told['brier']:.3f}")
    for path in written:
        console.write_line(str(path))
    if not plots:
        console.note(f"plots      {NO_PICTURE}")
