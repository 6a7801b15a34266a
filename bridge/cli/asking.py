"""The options that describe a separation, the same for `extract` and `submit`, and the fields they make."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bridge.cli.ranges import parse_range

Source = Annotated[
    list[Path], typer.Argument(help="The audio file; or several mono files, whose channels are put together.")
]
Prompt = Annotated[str | None, typer.Option(help="What to take out: 'vocals', 'dialogue', 'accompaniment' …")]
Track = Annotated[str | None, typer.Option(help="A track's name; it is made into a prompt when there is none.")]
Spans = Annotated[
    list[str] | None, typer.Option("--span", help="Where it sounds: 12:20 (seconds) or 1:05-1:20.5. Repeats.")
]
NotSpans = Annotated[list[str] | None, typer.Option("--not-span", help="Where it does not sound. Repeats.")]
RegionRange = Annotated[str | None, typer.Option("--region", help="Separate and return only this part of the file.")]
Keep = Annotated[str | None, typer.Option(help="Which stems are written: target, residual or both.")]
PresetName = Annotated[str | None, typer.Option("--preset", help="A preset's name; the other options win over it.")]
ModelName = Annotated[str | None, typer.Option("--model", help="A model (`stembridge models list`).")]
Quality = Annotated[str | None, typer.Option(help="draft, fast, best, or progressive: a draft first.")]
Nfe = Annotated[int | None, typer.Option(help="Velocity evaluations of a flow model.")]
Schedule = Annotated[
    str | None, typer.Option(help="auto, uniform, sway, epss or fitted: how a flow model spends its evaluations.")
]
Seed = Annotated[int | None, typer.Option(help="The same seed gives the same result.")]
Candidates = Annotated[int | None, typer.Option(help="Seeds a generative model tries; the best is kept.")]
Context = Annotated[float | None, typer.Option(help="Seconds heard around the region and not returned.")]
Playhead = Annotated[
    float | None,
    typer.Option(help="Where you listen, in seconds of the file: a long region's drafts grow from there."),
]
Output = Annotated[str | None, typer.Option(help="faithful (the mixture, masked) or generative (the model's own).")]
Name = Annotated[str | None, typer.Option(help="The stems' file name before .target.wav.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Port = Annotated[int, typer.Option(help="The engine's port.")]


def source_fields(
    source: list[Path], spans: list[str] | None, not_spans: list[str] | None, region: str | None
) -> dict[str, Any]:
    """The fields of `bridge.api.fields` that need translation: absolute paths, times in seconds.

    Raises `StembridgeError` (`bad_value`).
    """
    paths = [str(path.expanduser().absolute()) for path in source]
    fields: dict[str, Any] = {"path": paths[0]} if len(paths) == 1 else {"path+": paths}
    if region is not None:
        start_s, end_s = parse_range(region, "--region", open_end=True)
        fields |= {"start": start_s} if end_s is None else {"start": start_s, "end": end_s}
    for key, option, texts in (("span+", "--span", spans), ("span-", "--not-span", not_spans)):
        if texts:
            fields[key] = [list(parse_range(text, option)) for text in texts]
    return fields


def given(**values: Any) -> dict[str, Any]:
    """The options that were given."""
    return {key: value for key, value in values.items() if value is not None}
