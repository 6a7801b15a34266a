"""Where Ableton Live's script goes: into a folder of its own, `Remote Scripts/Stembridge` in the User Library."""

from __future__ import annotations

import json
import sys
from importlib import metadata, resources
from pathlib import Path
from typing import Final

from bridge import launcher
from bridge.install.scheme import Host, PlannedFile, default_mailbox
from engine.errors import StembridgeError

FOLDER: Final = "Remote Scripts/Stembridge"
"""Inside the User Library."""
_SOURCE: Final = ("live", "Stembridge")
_MARKS: Final = ("Ableton Folder Info", "Remote Scripts", "Presets", "Samples", "Clips", "Templates")
"""Folders Live makes in a User Library."""


def user_libraries(home: Path | None = None, platform: str = sys.platform) -> list[Path]:
    """Live's User Library on this machine; empty where it is not in its usual place, as when a person moved it
    (Live's Settings > Library tell where it is), and on Linux, where Live does not run.
    """
    home = home or Path.home()
    usual = {"darwin": home / "Music", "win32": home / "Documents"}.get(platform)
    library = usual / "Ableton" / "User Library" if usual else None
    return [library] if library is not None and is_user_library(library) else []


def is_user_library(folder: Path) -> bool:
    """Whether Live keeps its own things there."""
    return any((folder / mark).is_dir() for mark in _MARKS)


def sources() -> dict[str, str]:
    """File name → text of the script's files, but for `config.json`."""
    root = resources.files("daw_scripts").joinpath(*_SOURCE)
    files = sorted((item for item in root.iterdir() if item.name.endswith(".py")), key=lambda item: item.name)
    return {item.name: item.read_text(encoding="utf-8") for item in files}


def plan(library: Path, mailbox: Path) -> list[PlannedFile]:
    """Every file an installation writes. Raises `StembridgeError` (`daw_not_found`) for a folder not Live's."""
    if not is_user_library(library):
        raise StembridgeError(
            "daw_not_found",
            f"{library} is not a User Library of Ableton Live: there is no folder Remote Scripts in it.",
            "Live's Settings > Library show where the User Library is; name it with --path.",
        )
    files = {**sources(), "config.json": settings(mailbox)}
    return [PlannedFile(library / FOLDER / name, text.encode(), _what(name)) for name, text in files.items()]


def settings(mailbox: Path) -> str:
    """`config.json`: the mailbox, the version, and the line that starts the engine."""
    arguments = launcher.command(None if mailbox == default_mailbox() else mailbox)
    start = launcher.background_line(arguments, mailbox / "clients" / "engine.log")
    values = {"mailbox": str(mailbox), "version": metadata.version("stembridge"), "start_line": start}
    return json.dumps(values, ensure_ascii=False) + "\n"


def _what(name: str) -> str:
    return "where the engine is found" if name == "config.json" else "the script"


def _forget_compiled(library: Path) -> list[str]:
    """Live compiles what it loads, beside it; a folder with nothing else would still be offered as a script."""
    ours = {Path(name).stem for name in sources()}
    cache = library / FOLDER / "__pycache__"
    for path in cache.glob("*.pyc"):
        if path.name.split(".")[0] in ours:
            path.unlink(missing_ok=True)
    if cache.is_dir() and not any(cache.iterdir()):
        cache.rmdir()
    return []


HOST: Final = Host(
    key="live",
    name="Ableton Live",
    folders=lambda: user_libraries(),
    plan=plan,
    own=FOLDER,
    how_to_find="Live's Settings > Library show where the User Library is; name it with --path.",
    next_steps=(
        "Start Live. In its Settings > Link, Tempo & MIDI, choose Stembridge as a control surface.",
        "The engine starts with the first gesture, or now, with: stembridge serve",
    ),
    switched_off=_forget_compiled,
)
