"""`stembridge presets …`: the presets and what is in them."""

from __future__ import annotations

import typer

presets = typer.Typer(name="presets", help="Presets: requests with a name.", no_args_is_help=True)


@presets.callback()
def _group() -> None:
    """Presets: requests with a name."""
