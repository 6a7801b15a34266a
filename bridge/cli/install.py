"""`stembridge install DAW`: put the scripts where the DAW finds them, or take them away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bridge.cli import console
from bridge.install import elsewhere, scheme
from engine.errors import StembridgeError


def install(
    what: Annotated[str, typer.Argument(help=f"One of: {scheme.names()}.", metavar="DAW")],
    folder: Annotated[
        Path | None,
        typer.Option(
            "--path", "--folder", help="The DAW's folder, if it is not the usual one (portable).", file_okay=False
        ),
    ] = None,
    mailbox: Annotated[Path | None, typer.Option(help="The engine's mailbox, if it is not the usual one.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written, and write nothing.")] = False,
    remove: Annotated[
        bool, typer.Option("--uninstall", help="Take away again what was written, and only that.")
    ] = False,
) -> None:
    """Put the scripts where the DAW finds them (close it first), or make a folder for `stembridge watch`."""
    target = scheme.host(what.lower())
    folders = [folder.expanduser().absolute()] if folder else elsewhere.all_folders(target)
    if not folders:
        raise StembridgeError("daw_not_found", f"{target.name} was not found on this machine.", target.how_to_find)
    box = (mailbox or scheme.default_mailbox()).expanduser().absolute()
    for place in folders:
        if remove and dry_run:
            for file in target.restored(place):
                console.write_line(f"would {'rewrite' if file.content else 'remove'} {file.path} ({file.what})")
            for path in scheme.to_take_away(target, place):
                console.write_line(f"would remove {path}")
        elif remove:
            for line in target.switched_off(place):
                console.note(line)
            gone = scheme.uninstall(target, place)
            elsewhere.forget(target.key, place)
            for path in gone:
                console.write_line(f"{'rewrote' if path.exists() else 'removed'} {path}")
            if not gone:
                console.note(f"Nothing of Stembridge's is in {place}.")
        else:
            for file in scheme.planned(target, place, box):
                console.write_line(f"{'would write' if dry_run else 'writing'} {file.path} ({file.what})")
            if dry_run:
                continue
            n_written = len(scheme.install(target, place, box))
            console.write_line(f"{n_written} file{'s' * (n_written != 1)} written and read back.")
            if folder and target.own:
                elsewhere.remember(target.key, place)
            for name, slot in target.actions(place).items():
                console.write_line(f"action {slot}: {name}")
            for line in target.switched_on(place):
                console.note(line)
    if not remove and not dry_run:
        for line in target.next_steps:
            console.note(line.replace("{folder}", str(folders[0])))
