"""Puts the DAW scripts where the DAW finds them, and takes them away again.

`plan_ardour` says what would be written before anything is; `install_ardour` writes exactly that. Files of other
people are never touched: the one file that is shared with them, Ardour's `ui_scripts`, keeps all that is not ours,
and its earlier state is kept beside it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import Final

from bridge import ardour_slots
from engine.errors import StembridgeError

VERSIONS_SWITCHED_ON: Final = (7, 8)
"""Ardour versions whose list of switched-on scripts we know how to write; in others a person adds the scripts."""

_ACTIONS: Final = ("extract_selection", "extract_by_example", "remove", "cancel", "show_progress")
"""The scripts a person triggers, `stembridge_<this>.lua`, in the order of their buttons in Ardour."""
_HOOKS: Final = ("results",)
_PARTS: Final = "stembridge"
"""The folder in Ardour's configuration that holds what the scripts load."""
_BACKUP: Final = "ui_scripts.before-stembridge"


@dataclass(frozen=True)
class PlannedFile:
    """One file an installation writes."""

    path: Path
    content: bytes
    what: str
    """What it is, for a person."""


def default_mailbox() -> Path:
    """The folder through which DAWs without sockets talk to the engine."""
    from bridge.mailbox import default_folder

    return default_folder()


def ardour_config_dirs(
    home: Path | None = None, env: Mapping[str, str] = os.environ, platform: str = sys.platform
) -> list[Path]:
    """Ardour's configuration folders on this machine, newest version first; empty where it was never started.

    Where they lie is Ardour's own rule (`libs/ardour/filesystem_paths.cc`): XDG_CONFIG_HOME wherever it is set, else
    ~/.config/ardour7 on Linux, ~/Library/Preferences/Ardour7 on macOS, %LOCALAPPDATA%\\Ardour7 on Windows.
    """
    home = home or Path.home()
    if platform == "darwin":
        parent = home / "Library" / "Preferences"
    elif env.get("XDG_CONFIG_HOME"):
        parent = Path(env["XDG_CONFIG_HOME"])
    elif platform == "win32":
        parent = Path(env.get("LOCALAPPDATA") or home / "AppData" / "Local")
    else:
        parent = home / ".config"
    if not parent.is_dir():
        return []
    found = [path for path in parent.iterdir() if path.is_dir() and re.fullmatch(r"(?i)ardour\d+", path.name)]
    return sorted((path for path in found if ardour_version(path) >= min(VERSIONS_SWITCHED_ON)), key=ardour_version)[
        ::-1
    ]


def ardour_version(config_dir: Path) -> int:
    """The major version a configuration folder belongs to. Raises `StembridgeError` (`daw_not_found`)."""
    match = re.fullmatch(r"(?i)ardour(\d+)", config_dir.name)
    if match is None:
        raise StembridgeError(
            "daw_not_found",
            f"{config_dir} is not one of Ardour's configuration folders.",
            "Name a folder such as ~/.config/ardour7.",
        )
    return int(match[1])


def plan_ardour(config_dir: Path, mailbox: Path) -> list[PlannedFile]:
    """What `install_ardour` would write. Raises `StembridgeError` (`daw_not_found`) when it cannot be done."""
    version = ardour_version(config_dir)
    scripts, parts = _sources("ardour"), _sources("ardour/stembridge")
    settings = (
        f"return {{ mailbox = {ardour_slots.quoted(str(mailbox))}, version = {ardour_slots.quoted(_version())} }}\n"
    )
    plan = [
        *(PlannedFile(config_dir / "scripts" / name, text.encode(), "a script") for name, text in scripts.items()),
        *(PlannedFile(config_dir / _PARTS / name, text.encode(), "what it loads") for name, text in parts.items()),
        PlannedFile(config_dir / _PARTS / "config.lua", settings.encode(), "where the mailbox is"),
    ]
    if version in VERSIONS_SWITCHED_ON:
        actions, hooks = (
            {_script_name(scripts[f"stembridge_{name}.lua"]): scripts[f"stembridge_{name}.lua"] for name in names}
            for names in (_ACTIONS, _HOOKS)
        )
        old = _read(config_dir / "ui_scripts")
        new = ardour_slots.activated(old, actions, hooks)
        if old is not None and not (config_dir / _BACKUP).exists():
            plan.append(PlannedFile(config_dir / _BACKUP, old.encode(), "a copy of the file below as it is"))
        plan.append(
            PlannedFile(config_dir / "ui_scripts", new.encode(), "Ardour's list of scripts in use, with ours added")
        )
    return plan


def install_ardour(config_dir: Path, mailbox: Path) -> list[Path]:
    """Installs Ardour's scripts and makes the mailbox's folders; returns the files written.

    Ardour must not be running: it reads its list of scripts when a session is opened and may write it back.
    Raises `StembridgeError` (`daw_not_found`, `output_not_writable`).
    """
    plan = plan_ardour(config_dir, mailbox)
    try:
        for folder in ("requests", "status", "clients"):
            (mailbox / folder).mkdir(parents=True, exist_ok=True)
        for file in plan:
            file.path.parent.mkdir(parents=True, exist_ok=True)
            draft = file.path.with_name(file.path.name + ".part")
            draft.write_bytes(file.content)
            draft.replace(file.path)
    except OSError as e:
        raise StembridgeError(
            "output_not_writable",
            f"{e.filename or config_dir} cannot be written: {e.strerror}.",
            "Check who owns the folder and whether the disk is full.",
        ) from e
    return [file.path for file in plan]


def uninstall_ardour(config_dir: Path) -> list[Path]:
    """Takes away what `install_ardour` wrote; returns the files removed or rewritten. The mailbox stays.

    Raises `StembridgeError` (`daw_not_found`, `output_not_writable`).
    """
    ardour_version(config_dir)
    ours = [config_dir / "scripts" / name for name in _sources("ardour")]
    ours += sorted((config_dir / _PARTS).glob("*.lua"))
    touched = []
    try:
        ui_scripts = config_dir / "ui_scripts"
        text = _read(ui_scripts)
        if text is not None and (ardour_slots.slots(text) or ardour_slots.PREFIX in text):
            draft = ui_scripts.with_name("ui_scripts.part")
            draft.write_text(ardour_slots.deactivated(text), encoding="utf-8")
            draft.replace(ui_scripts)
            touched.append(ui_scripts)
        for path in [*ours, config_dir / _BACKUP]:
            if path.exists():
                path.unlink()
                touched.append(path)
        if (config_dir / _PARTS).is_dir() and not any((config_dir / _PARTS).iterdir()):
            (config_dir / _PARTS).rmdir()
    except OSError as e:
        raise StembridgeError(
            "output_not_writable",
            f"{e.filename or config_dir} cannot be changed: {e.strerror}.",
            "Check who owns the folder.",
        ) from e
    return touched


def ardour_slots_in_use(config_dir: Path) -> dict[str, int]:
    """The names of our actions in this Ardour → the number of the slot each lies in (LuaAction/script-N)."""
    return ardour_slots.slots(_read(config_dir / "ui_scripts"))


def installed_ardour_version(config_dir: Path) -> str | None:
    """The version of Stembridge whose scripts lie in this Ardour; None where there are none."""
    text = _read(config_dir / _PARTS / "config.lua") or ""
    match = re.search(r'version = "([^"]*)"', text)
    return match[1] if match else None


def _sources(folder: str) -> dict[str, str]:
    """File name → text of the Lua files in a folder of daw_scripts."""
    root = resources.files("daw_scripts").joinpath(*folder.split("/"))
    files = sorted((item for item in root.iterdir() if item.name.endswith(".lua")), key=lambda item: item.name)
    return {item.name: item.read_text(encoding="utf-8") for item in files}


def _script_name(text: str) -> str:
    match = re.search(r'\bname = "([^"]+)"', text)
    assert match is not None, "a script of ours has no name"
    return match[1]


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as e:
        raise StembridgeError("daw_not_found", f"{path} cannot be read: {e}.", "Check who owns the file.") from e


def _version() -> str:
    return metadata.version("stembridge")
