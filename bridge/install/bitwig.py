"""Where Bitwig Studio's script goes: into a folder of its own under `Controller Scripts`. Nothing shared is written."""

from __future__ import annotations

import sys
from importlib import metadata, resources
from pathlib import Path
from typing import Final

from bridge.install.scheme import Host, PlannedFile
from engine.errors import StembridgeError

FOLDER: Final = "Stembridge"
"""Inside Bitwig's `Controller Scripts`."""
SCRIPT: Final = "Stembridge.control.js"
"""Bitwig takes files of this ending for scripts."""
_SCRIPTS: Final = "Controller Scripts"
_VERSION: Final = '"0.1.0"'
"""As the script says it in the source tree."""


def script_dirs(home: Path | None = None, platform: str = sys.platform) -> list[Path]:
    """The folder of Bitwig's own scripts and the user's on this machine; empty where Bitwig was never started.

    Bitwig's own rule: `Bitwig Studio` in the home folder on Linux, in Documents on macOS and Windows.
    """
    home = home or Path.home()
    parent = home / "Documents" if platform in ("darwin", "win32") else home
    usual = parent / "Bitwig Studio" / _SCRIPTS
    return [usual] if usual.is_dir() else []


def plan(folder: Path, mailbox: Path) -> list[PlannedFile]:
    """The one file. Raises `StembridgeError` (`daw_not_found`) for a folder that is not Bitwig's."""
    if folder.name != _SCRIPTS or not folder.is_dir():
        raise StembridgeError(
            "daw_not_found",
            f"{folder} is not Bitwig's folder of controller scripts.",
            f"Name the folder {_SCRIPTS!r}; Settings > Locations in Bitwig shows where it is.",
        )
    text = resources.files("daw_scripts").joinpath("bitwig", SCRIPT).read_text(encoding="utf-8")
    assert text.count(_VERSION) == 2, "the script does not say its version"
    text = text.replace(_VERSION, f'"{metadata.version("stembridge")}"')
    return [PlannedFile(folder / FOLDER / SCRIPT, text.encode(), "the script")]


HOST: Final = Host(
    key="bitwig",
    name="Bitwig Studio",
    folders=lambda: script_dirs(),
    plan=plan,
    own=FOLDER,
    how_to_find="Start Bitwig Studio once and close it, or name its folder “Controller Scripts” with --path.",
    next_steps=(
        "In Bitwig Studio: Settings > Controllers > Add controller > Stembridge. Its panel is in the Studio I/O panel.",
        "Start the engine with: stembridge serve",
    ),
    needs_mailbox=False,
)
