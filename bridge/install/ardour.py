"""Where Ardour's scripts go. Its list of scripts in use, `ui_scripts`, is shared with other people's: all that is not
ours stays in it, and its earlier state is kept beside it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bridge.install import ardour_slots
from bridge.install.lua_files import settings, sources
from bridge.install.scheme import Host, PlannedFile, text_of
from engine.errors import StembridgeError

VERSIONS_SWITCHED_ON: Final = (7, 8)
"""Ardour versions whose list of switched-on scripts we know how to write; in others a person adds the scripts."""

_ACTIONS: Final = ("extract_selection", "extract_by_example", "remove", "cancel", "show_progress")
"""The scripts a person triggers, `stembridge_<this>.lua`, in the order of their buttons in Ardour."""
_HOOKS: Final = ("results",)
_PARTS: Final = "stembridge"
"""The folder in Ardour's configuration that holds what the scripts load."""
_LIST: Final = "ui_scripts"
_BACKUP: Final = "ui_scripts.before-stembridge"


def config_dirs(
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
    known = [path for path in found if major_version(path) >= min(VERSIONS_SWITCHED_ON)]
    return sorted(known, key=major_version, reverse=True)


def major_version(config_dir: Path) -> int:
    """The major version a configuration folder belongs to. Raises `StembridgeError` (`daw_not_found`)."""
    match = re.fullmatch(r"(?i)ardour(\d+)", config_dir.name)
    if match is None:
        raise StembridgeError(
            "daw_not_found",
            f"{config_dir} is not one of Ardour's configuration folders.",
            "Name a folder such as ~/.config/ardour7.",
        )
    return int(match[1])


def plan(config_dir: Path, mailbox: Path) -> list[PlannedFile]:
    """Every file an installation writes. Raises `StembridgeError` (`daw_not_found`) when it cannot be done."""
    version = major_version(config_dir)
    scripts = sources("ardour")
    parts = sources(f"ardour/{_PARTS}") | {"config.lua": settings(mailbox)}
    files = [
        *(PlannedFile(config_dir / "scripts" / name, text.encode(), "a script") for name, text in scripts.items()),
        *(PlannedFile(config_dir / _PARTS / name, text.encode(), "what it loads") for name, text in parts.items()),
    ]
    if version in VERSIONS_SWITCHED_ON:
        actions, hooks = (
            {_script_name(scripts[f"stembridge_{name}.lua"]): scripts[f"stembridge_{name}.lua"] for name in names}
            for names in (_ACTIONS, _HOOKS)
        )
        old = text_of(config_dir / _LIST)
        new = ardour_slots.activated(old, actions, hooks)
        backup = text_of(config_dir / _BACKUP) or old
        if backup is not None:
            files.append(PlannedFile(config_dir / _BACKUP, backup.encode(), "a copy of the next file as it was"))
        what = "Ardour's list of scripts in use, with ours added"
        files.append(PlannedFile(config_dir / _LIST, new.encode(), what, shared=True))
    return files


def restored(config_dir: Path) -> list[PlannedFile]:
    """The list of scripts in use without ours, where ours are in it; empty where it was made for them and nobody else's
    are in it now. Raises `StembridgeError` (`daw_not_found`).
    """
    major_version(config_dir)
    text = text_of(config_dir / _LIST)
    if text is None or not (ardour_slots.slots(text) or ardour_slots.PREFIX in text):
        return []
    without = ardour_slots.deactivated(text)
    if ardour_slots.is_empty(without) and not (config_dir / _BACKUP).exists():
        return [PlannedFile(config_dir / _LIST, b"", "the list, which holds nothing but ours", shared=True)]
    return [PlannedFile(config_dir / _LIST, without.encode(), "the list without ours", shared=True)]


def slots_in_use(config_dir: Path) -> dict[str, int]:
    """The names of our actions in this Ardour → the number of the slot each lies in (LuaAction/script-N)."""
    return ardour_slots.slots(text_of(config_dir / _LIST))


def _script_name(text: str) -> str:
    match = re.search(r'\bname = "([^"]+)"', text)
    assert match is not None, "a script of ours has no name"
    return match[1]


HOST: Final = Host(
    key="ardour",
    name="Ardour",
    folders=lambda: config_dirs(),
    plan=plan,
    own=_PARTS,
    how_to_find="Start Ardour once and close it, or name its folder with --path.",
    next_steps=(
        "Start Ardour. Give the actions keys in Window > Keyboard Shortcuts (look for Lua actions).",
        "The engine starts with the first gesture, or now, with: stembridge serve",
    ),
    label=lambda folder: f"Ardour {major_version(folder)}",
    restored=restored,
    actions=slots_in_use,
)
