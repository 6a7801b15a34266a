"""`stembridge install DAW`: put the scripts where the DAW finds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from bridge.cli import console
from bridge.install import PlannedFile
from engine.errors import StembridgeError

DAWS: Final = ("ardour", "reaper", "watch")


@dataclass(frozen=True)
class Target:
    """How one DAW's scripts are put in place."""

    name: str
    found: Callable[[], list[Path]]
    plan: Callable[[Path, Path], list[PlannedFile]]
    install: Callable[[Path, Path], list[Path]]
    uninstall: Callable[[Path], list[Path]]
    actions: Callable[[Path], dict[str, int]]
    """The numbers a DAW gives the actions, where it does so when they are installed."""
    how_to_find: str
    next_steps: tuple[str, ...]


def install(
    daw: Annotated[str, typer.Argument(help=f"One of: {', '.join(DAWS)}.")],
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder", "--path", help="The DAW's folder, if it is not the usual one (portable).", file_okay=False
        ),
    ] = None,
    mailbox: Annotated[Path | None, typer.Option(help="The engine's mailbox, if it is not the usual one.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written, and write nothing.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take the scripts away again.")] = False,
) -> None:
    """Put the scripts where the DAW finds them (close it first), or make a folder for `stembridge watch`."""
    from bridge.install import default_mailbox

    if daw.lower() not in DAWS:
        raise StembridgeError("bad_value", f"There are no scripts for {daw!r}.", f"Use one of: {', '.join(DAWS)}.")
    target = _target(daw.lower())
    folders = [folder.expanduser().absolute()] if folder else target.found()
    if not folders:
        raise StembridgeError(
            "daw_not_found", f"{target.name}'s configuration folder is not on this machine.", target.how_to_find
        )
    box = (mailbox or default_mailbox()).expanduser().absolute()
    for config_dir in folders:
        if remove:
            for path in target.uninstall(config_dir):
                console.write_line(f"removed   {path}")
        elif dry_run:
            for planned in target.plan(config_dir, box):
                console.write_line(f"would write {planned.path} ({planned.what})")
        else:
            for path in target.install(config_dir, box):
                console.write_line(f"wrote {path}")
            for name, slot in target.actions(config_dir).items():
                console.write_line(f"action {slot}: {name}")
    if not remove and not dry_run:
        for line in target.next_steps:
            console.note(line)


def _target(daw: str) -> Target:
    if daw == "reaper":
        from bridge import reaper

        return Target(
            "REAPER",
            reaper.resource_dirs,
            reaper.plan,
            reaper.install,
            reaper.uninstall,
            lambda folder: {},
            "Start REAPER once and close it, or name its resource folder with --path.",
            (
                "Start the engine with `stembridge serve`, then REAPER. In REAPER: Actions > Show action list >",
                "New action > Load ReaScript, choose Scripts/Stembridge/stembridge_setup.lua, and run it once.",
            ),
        )
    if daw == "watch":
        from bridge import watch_install

        return Target(
            "The watch folder",
            watch_install.folders,
            watch_install.plan,
            watch_install.install,
            watch_install.uninstall,
            lambda folder: {},
            "Name a folder with --path.",
            ("Start `stembridge watch FOLDER`, and drop bounces named “name - prompt.wav” in its In.",),
        )
    from bridge import install as ardour

    return Target(
        "Ardour",
        ardour.ardour_config_dirs,
        ardour.plan_ardour,
        ardour.install_ardour,
        ardour.uninstall_ardour,
        ardour.ardour_slots_in_use,
        "Start Ardour once and close it, or name its folder with --folder.",
        (
            "Start the engine with `stembridge serve`, then Ardour. Give the actions keys in",
            "Window > Keyboard Shortcuts (look for Lua actions).",
        ),
    )
