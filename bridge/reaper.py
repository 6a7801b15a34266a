"""Puts the REAPER scripts where REAPER finds them, and takes them away again.

All of them go into one folder of their own, `Scripts/Stembridge`; nothing that is shared with other scripts is written.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from importlib import metadata, resources
from pathlib import Path
from typing import Final

from bridge.ardour_slots import quoted
from bridge.install import PlannedFile
from engine.errors import StembridgeError

FOLDER: Final = "Scripts/Stembridge"
"""Inside REAPER's resource folder."""
SHARED: Final = ("json.lua", "mailbox.lua")
"""Parts that are the same for every DAW that uses the mailbox; they lie with Ardour's."""
_PARTS: Final = "stembridge"


def resource_dirs(
    home: Path | None = None, env: Mapping[str, str] = os.environ, platform: str = sys.platform
) -> list[Path]:
    """REAPER's resource folders on this machine (“Options > Show REAPER resource path”); empty where it was never
    started. A portable REAPER's is its own folder, and must be named.
    """
    home = home or Path.home()
    if platform == "darwin":
        usual = home / "Library" / "Application Support" / "REAPER"
    elif platform == "win32":
        usual = Path(env.get("APPDATA") or home / "AppData" / "Roaming") / "REAPER"
    else:
        usual = Path(env.get("XDG_CONFIG_HOME") or home / ".config") / "REAPER"
    return [usual] if is_resource_dir(usual) else []


def is_resource_dir(folder: Path) -> bool:
    """Whether a folder is REAPER's: it keeps its settings there."""
    return (folder / "reaper.ini").is_file() or (folder / "REAPER.ini").is_file()


def plan(resource_dir: Path, mailbox: Path) -> list[PlannedFile]:
    """What `install` would write. Raises `StembridgeError` (`daw_not_found`) for a folder that is not REAPER's."""
    _require_resource_dir(resource_dir)
    folder = resource_dir / FOLDER
    settings = f"return {{ mailbox = {quoted(str(mailbox))}, version = {quoted(metadata.version('stembridge'))} }}\n"
    shared = {name: text for name, text in _sources(f"ardour/{_PARTS}").items() if name in SHARED}
    parts = shared | _sources(f"reaper/{_PARTS}") | {"config.lua": settings}
    return [
        *(PlannedFile(folder / name, text.encode(), "an action") for name, text in _sources("reaper").items()),
        *(PlannedFile(folder / _PARTS / name, text.encode(), "what it loads") for name, text in sorted(parts.items())),
    ]


def install(resource_dir: Path, mailbox: Path) -> list[Path]:
    """Installs the scripts and makes the mailbox's folders; returns the files written.

    Raises `StembridgeError` (`daw_not_found`, `output_not_writable`).
    """
    planned = plan(resource_dir, mailbox)
    try:
        for name in ("requests", "status", "clients"):
            (mailbox / name).mkdir(parents=True, exist_ok=True)
        for file in planned:
            file.path.parent.mkdir(parents=True, exist_ok=True)
            draft = file.path.with_name(file.path.name + ".part")
            draft.write_bytes(file.content)
            draft.replace(file.path)
    except OSError as e:
        raise _not_writable(e, resource_dir) from e
    return [file.path for file in planned]


def uninstall(resource_dir: Path) -> list[Path]:
    """Takes away what `install` wrote and returns it. The mailbox stays, and so does what others put in the folder.

    Raises `StembridgeError` (`daw_not_found`, `output_not_writable`).
    """
    removed = []
    try:
        for file in plan(resource_dir, Path()):
            if file.path.exists():
                file.path.unlink()
                removed.append(file.path)
        for folder in (resource_dir / FOLDER / _PARTS, resource_dir / FOLDER):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
    except OSError as e:
        raise _not_writable(e, resource_dir) from e
    return removed


def installed_version(resource_dir: Path) -> str | None:
    """The version of Stembridge whose scripts lie there; None where there are none."""
    try:
        text = (resource_dir / FOLDER / _PARTS / "config.lua").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    match = re.search(r'version = "([^"]*)"', text)
    return match[1] if match else None


def _sources(folder: str) -> dict[str, str]:
    root = resources.files("daw_scripts").joinpath(*folder.split("/"))
    files = sorted((item for item in root.iterdir() if item.name.endswith(".lua")), key=lambda item: item.name)
    return {item.name: item.read_text(encoding="utf-8") for item in files}


def _require_resource_dir(folder: Path) -> None:
    if not is_resource_dir(folder):
        raise StembridgeError(
            "daw_not_found",
            f"{folder} is not a REAPER resource folder: there is no reaper.ini in it.",
            "In REAPER, Options > Show REAPER resource path shows the folder; name it with --path.",
        )


def _not_writable(error: OSError, folder: Path) -> StembridgeError:
    return StembridgeError(
        "output_not_writable",
        f"{error.filename or folder} cannot be changed: {error.strerror}.",
        "Check who owns the folder and whether the disk is full.",
    )
