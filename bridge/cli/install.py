"""`stembridge install DAW`: put the scripts where the DAW finds them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from bridge.cli import console
from engine.errors import StembridgeError

DAWS: Final = ("ardour",)


def install(
    daw: Annotated[str, typer.Argument(help=f"One of: {', '.join(DAWS)}.")],
    folder: Annotated[
        Path | None, typer.Option(help="The DAW's configuration folder, if it is not the usual one.", file_okay=False)
    ] = None,
    mailbox: Annotated[Path | None, typer.Option(help="The engine's mailbox, if it is not the usual one.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written, and write nothing.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take the scripts away again.")] = False,
) -> None:
    """Put the scripts where the DAW finds them. Close the DAW first."""
    from bridge import install as files

    if daw.lower() not in DAWS:
        raise StembridgeError("bad_value", f"There are no scripts for {daw!r}.", f"Use one of: {', '.join(DAWS)}.")
    folders = [folder.expanduser().absolute()] if folder else files.ardour_config_dirs()
    if not folders:
        raise StembridgeError(
            "daw_not_found",
            "Ardour's configuration folder is not on this machine.",
            "Start Ardour once and close it, or name its folder with --folder.",
        )
    box = (mailbox or files.default_mailbox()).expanduser().absolute()
    for config_dir in folders:
        if remove:
            for path in files.uninstall_ardour(config_dir):
                console.write_line(f"removed   {path}")
        elif dry_run:
            for planned in files.plan_ardour(config_dir, box):
                console.write_line(f"would write {planned.path} ({planned.what})")
        else:
            for path in files.install_ardour(config_dir, box):
                console.write_line(f"wrote {path}")
            for name, slot in files.ardour_slots_in_use(config_dir).items():
                console.write_line(f"action {slot}: {name}")
    if not remove and not dry_run:
        console.note("Start the engine with `stembridge serve`, then Ardour. Give the actions keys in")
        console.note("Window > Keyboard Shortcuts (look for Lua actions).")
