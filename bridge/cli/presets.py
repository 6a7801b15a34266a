"""`stembridge presets …`: the presets, what is in them, and what is wrong with yours."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from bridge.cli import asking, console
from engine.errors import ExitCode

presets = typer.Typer(name="presets", help="Presets: requests with a name.", no_args_is_help=True)


@presets.command("list")
def list_presets(as_json: asking.AsJson = False) -> None:
    """All presets: those that came with Stembridge and your own."""
    from bridge.asking.presets import load_presets, model_for, user_folder

    found = [(name, preset, model_for(preset)) for name, preset in sorted(load_presets().items())]
    if as_json:
        told = [{"name": n, "title": p.title, "description": p.description, "model": model} for n, p, model in found]
        console.write_json(told)
        return
    rows = [(n, p.title, "none here" if m is None else m or "as the track", p.description) for n, p, m in found]
    console.write_table(("name", "title", "model", "what it does"), rows, wide=3)
    if any(model is None for _, _, model in found):
        console.note("none here: no model of this machine answers it.")
    console.note(f"Your own go into {user_folder()}.")


@presets.command()
def show(name: Annotated[str, typer.Argument(help="The preset's name.")], as_json: asking.AsJson = False) -> None:
    """Everything one preset sets."""
    from bridge.asking.presets import find_preset, load_presets
    from bridge.plugins.chain import described

    preset = find_preset(name, load_presets())
    if as_json:
        console.write_json(asdict(preset))
    else:
        values = asdict(preset) | {"pre": described(preset.pre), "post": described(preset.post)}
        rows = [(key, str(value)) for key, value in values.items() if value not in (None, "")]
        console.write_table(("key", "value"), rows, wide=1)


@presets.command()
def check(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Preset or vocabulary files, or folders of them; all in use when absent."),
    ] = None,
) -> None:
    """Say everything that is wrong in preset files. Exit status 2 when something is."""
    from bridge.asking.presets import check_presets

    wrong = check_presets(paths or ())
    for error in wrong:
        console.report(error)
    if wrong:
        raise typer.Exit(int(ExitCode.BAD_REQUEST))
    console.write_line("Nothing is wrong.")
