"""`stembridge extract`: one separation here and now, in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bridge.cli import console
from bridge.cli.ranges import parse_range
from engine.request import Separation


def extract(
    source: Annotated[
        list[Path], typer.Argument(help="The audio file; or several mono files, whose channels are put together.")
    ],
    prompt: Annotated[
        str | None, typer.Option(help="What to take out: 'vocals', 'dialogue', 'accompaniment' …")
    ] = None,
    span: Annotated[
        list[str] | None, typer.Option(help="Where it sounds: START:END in seconds, or 1:05-1:20.5. Repeats.")
    ] = None,
    not_span: Annotated[list[str] | None, typer.Option(help="Where it does not sound. Repeats.")] = None,
    region: Annotated[str | None, typer.Option(help="Separate and return only this part of the file.")] = None,
    out: Annotated[Path, typer.Option(help="The folder the stems are written to.", file_okay=False)] = Path(),
    keep: Annotated[str | None, typer.Option(help="Which stems are written: target, residual or both.")] = None,
    preset: Annotated[
        str | None, typer.Option(help="A preset (`stembridge presets list`); options win over it.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="A model (`stembridge models list`).")] = None,
    quality: Annotated[str | None, typer.Option(help="draft, fast or best.")] = None,
    nfe: Annotated[int | None, typer.Option(help="Velocity evaluations of a flow model.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same result.")] = None,
    context: Annotated[float | None, typer.Option(help="Seconds heard around the region and not returned.")] = None,
    output: Annotated[str | None, typer.Option(help="faithful or generative.")] = None,
    name: Annotated[str | None, typer.Option(help="The stems' file name before .target.wav.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Take what PROMPT names out of a file: writes the target, the residual and a manifest."""
    from bridge.intake import to_request
    from bridge.paths import PathPolicy
    from engine.models import Shelf
    from engine.separate import separate

    folder = out.expanduser().absolute()
    fields = _fields(source, span or [], not_span or [], region)
    given = {
        "prompt": prompt,
        "keep": keep,
        "preset": preset,
        "model": model,
        "quality": quality,
        "nfe": nfe,
        "seed": seed,
        "context": context,
        "output": output,
        "name": name,
    }
    fields |= {key: value for key, value in given.items() if value is not None}
    # The person at the keyboard may read what the system lets them read; the engine's own list is for the network.
    anchors = {Path(path.absolute().anchor) for path in source}
    request = to_request(fields, PathPolicy(tuple(anchors), folder))
    with console.stoppable() as stopped, console.progress_bar(request.prompt or "separating") as on_progress:
        separation = separate(request, Shelf(), on_progress=on_progress, cancelled=stopped)
    if as_json:
        console.write_json(separation.to_dict())
    else:
        write_summary(separation)


def _fields(source: list[Path], spans: list[str], not_spans: list[str], region: str | None) -> dict[str, Any]:
    """The part of a submit's fields that needs translation: paths and times."""
    paths = [str(path.expanduser().absolute()) for path in source]
    fields: dict[str, Any] = {"path": paths[0]} if len(paths) == 1 else {"path+": paths}
    if region is not None:
        start_s, end_s = parse_range(region, "--region", open_end=True)
        fields |= {"start": start_s} if end_s is None else {"start": start_s, "end": end_s}
    for key, option, texts in (("span+", "--span", spans), ("span-", "--not-span", not_spans)):
        if texts:
            fields[key] = [list(parse_range(text, option)) for text in texts]
    return fields


def write_summary(separation: Separation) -> None:
    """The result for a person: the files, the null, what made them."""
    for label, path in (("target", separation.target), ("residual", separation.residual)):
        if path is not None:
            console.write_line(f"{label:<9} {path}")
    console.write_line(f"{'manifest':<9} {separation.manifest}")
    null = "exactly" if separation.null_db == float("-inf") else f"to {separation.null_db:.1f} dBFS"
    seconds = separation.samples / separation.sample_rate
    console.note(
        f"target + residual give the mixture {null}. "
        f"{seconds:.1f} s of audio in {separation.seconds:.1f} s, {separation.model} on {separation.runtime}."
    )
