"""`stembridge live GESTURE`: what a person does in Ableton Live, from a terminal or a key of the desktop."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bridge.cli import console
from bridge.live_commands import GESTURES, ask


def live(
    gesture: Annotated[str, typer.Argument(help=f"One of: {', '.join(GESTURES)}.")],
    prompt: Annotated[
        str | None, typer.Option(help="What to separate, in place of the track's name.", show_default=False)
    ] = None,
    mailbox: Annotated[Path | None, typer.Option(help="The engine's mailbox, if it is not the usual one.")] = None,
) -> None:
    """Do something in the set that is open in Ableton Live; give it a key with your system's keyboard settings."""
    from bridge.install.scheme import default_mailbox

    box = (mailbox or default_mailbox()).expanduser().absolute()
    told = ask(box, gesture.lower(), prompt)
    for line in (*told.said, *told.under_way):
        console.write_line(line)
