"""Where REAPER's scripts go: into one folder of their own, `Scripts/Stembridge`. Nothing shared is written."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bridge.install.lua_files import settings, sources
from bridge.install.scheme import Host, PlannedFile
from engine.errors import StembridgeError

FOLDER: Final = "Scripts/Stembridge"
"""Inside REAPER's resource folder."""
SHARED: Final = ("json.lua", "mailbox.lua", "engine.lua")
"""Parts that are the same for every DAW that uses the mailbox; they lie with Ardour's."""
PARTS: Final = "stembridge"


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


def parts() -> dict[str, str]:
    """File name → text of what the actions load, but for `config.lua`."""
    shared = {name: text for name, text in sources(f"ardour/{PARTS}").items() if name in SHARED}
    return dict(sorted((shared | sources(f"reaper/{PARTS}")).items()))


def plan(resource_dir: Path, mailbox: Path) -> list[PlannedFile]:
    """Every file an installation writes. Raises `StembridgeError` (`daw_not_found`) for a folder not REAPER's."""
    if not is_resource_dir(resource_dir):
        raise StembridgeError(
            "daw_not_found",
            f"{resource_dir} is not a REAPER resource folder: there is no reaper.ini in it.",
            "In REAPER, Options > Show REAPER resource path shows the folder; name it with --path.",
        )
    folder = resource_dir / FOLDER
    loaded = parts() | {"config.lua": settings(mailbox)}
    return [
        *(PlannedFile(folder / name, text.encode(), "an action") for name, text in sources("reaper").items()),
        *(PlannedFile(folder / PARTS / name, text.encode(), "what it loads") for name, text in loaded.items()),
    ]


HOST: Final = Host(
    key="reaper",
    name="REAPER",
    folders=lambda: resource_dirs(),
    plan=plan,
    own=f"{FOLDER}/{PARTS}",
    how_to_find="Start REAPER once and close it, or name its resource folder with --path.",
    next_steps=(
        "Start REAPER. In it: Actions > Show action list > New action > Load ReaScript, choose",
        "Scripts/Stembridge/stembridge_setup.lua, and run it once.",
        "The engine starts with the first gesture, or now, with: stembridge serve",
    ),
)
