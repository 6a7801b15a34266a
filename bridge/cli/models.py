"""`stembridge models …`: what this machine can separate with."""

from __future__ import annotations

from typing import Annotated

import typer

from bridge.cli import console

models = typer.Typer(name="models", help="The models on this machine.", no_args_is_help=True)


@models.callback()
def _group() -> None:
    """The models on this machine."""


@models.command("list")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list.")] = False,
) -> None:
    """The installed models: name, kind, version, licence, and where they lie."""
    from engine.models import installed

    bundles = [bundle for _, bundle in sorted(installed().items())]
    if as_json:
        keys = ("name", "title", "kind", "version", "licence")
        console.write_json([{**{k: getattr(b, k) for k in keys}, "folder": str(b.folder)} for b in bundles])
        return
    rows = [(b.name, b.title, b.kind, b.version, b.licence, str(b.folder)) for b in bundles]
    console.write_table(("name", "title", "kind", "version", "licence", "folder"), rows, wide=5)
