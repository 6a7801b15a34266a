"""`stembridge extract`: one separation here and now, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer

from bridge.cli import asking, console
from engine.request import Progress, Separation, SeparationRequest


def extract(
    source: asking.Source,
    prompt: asking.Prompt = None,
    span: asking.Spans = None,
    not_span: asking.NotSpans = None,
    region: asking.RegionRange = None,
    out: Annotated[Path, typer.Option(help="The folder the stems are written to.", file_okay=False)] = Path(),
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
    as_json: asking.AsJson = False,
) -> None:
    """Take what PROMPT names out of a file: writes the target, the residual and a manifest."""
    from bridge.asking.intake import to_request
    from bridge.asking.paths import local_policy
    from bridge.plugins.rendering import separate
    from engine.known import at_hand
    from engine.models import Shelf
    from engine.progressive import deliver

    fields = asking.source_fields(source, span, not_span, region)
    fields |= asking.given(prompt=prompt, keep=keep, preset=preset, model=model, quality=quality, nfe=nfe, seed=seed)
    fields |= asking.given(context=context, output=output, name=name, candidates=candidates, schedule=schedule)
    fields |= asking.given(playhead=playhead)
    request = to_request(fields, local_policy(source, out.expanduser().absolute()))
    with (
        _empty_folders_removed(request.out_dir),
        console.stoppable() as stopped,
        console.progress_bar(request.prompt or "separating") as on_progress,
    ):
        shelf = Shelf()

        def one(asked: SeparationRequest, told: Callable[[Progress], None]) -> Separation:
            return separate(asked, shelf, on_progress=told, cancelled=stopped)

        def tell(progress: Progress) -> None:
            on_progress(progress)
            if progress.draft is not None and not as_json:
                write_draft(progress.draft.stems)

        separation = deliver(
            request, one, on_progress=tell, at_hand=lambda asked: at_hand(asked, shelf, cancelled=stopped)
        )
    if as_json:
        console.write_json(separation.to_dict())
    else:
        write_summary(separation)


def write_draft(stems: Separation) -> None:
    """Where a draft is to be heard until the result takes its place."""
    for path in (stems.target, stems.residual):
        if path is not None:
            console.write_line(f"{'draft':<9} {path}")


def write_summary(separation: Separation) -> None:
    """The result for a person: the files, the null, what made them."""
    for label, path in (("target", separation.target), ("residual", separation.residual)):
        if path is not None:
            console.write_line(f"{label:<9} {path}")
    console.write_line(f"{'manifest':<9} {separation.manifest}")
    if separation.note:
        console.note(separation.note)
    null = "exactly" if separation.null_db == float("-inf") else f"to {separation.null_db:.1f} dBFS"
    seconds = separation.samples / separation.sample_rate
    changed = f"before plugins changed the {' and the '.join(separation.treated)}, " if separation.treated else ""
    console.note(
        f"{changed}target + residual give the mixture {null}. "
        f"{seconds:.1f} s of audio in {separation.seconds:.1f} s, {separation.model} on {separation.runtime}."
    )


@contextmanager
def _empty_folders_removed(folder: Path) -> Iterator[None]:
    """When the block fails, takes `folder` and those above it away again that it made, if nothing lies in them."""
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        yield
    except BaseException:
        for one in made:
            with suppress(OSError):  # never made, or something lies in it
                one.rmdir()
        raise
