"""The Lua scripts as they are shipped, and the one file that is written for each installation."""

from __future__ import annotations

from importlib import metadata, resources
from pathlib import Path

from bridge import launcher
from bridge.install.ardour_slots import quoted
from bridge.install.scheme import default_mailbox


def sources(folder: str) -> dict[str, str]:
    """File name → text of the Lua files in a folder of `daw_scripts`, in order."""
    root = resources.files("daw_scripts").joinpath(*folder.split("/"))
    files = sorted((item for item in root.iterdir() if item.name.endswith(".lua")), key=lambda item: item.name)
    return {item.name: item.read_text(encoding="utf-8") for item in files}


def settings(mailbox: Path) -> str:
    """`config.lua`: the mailbox, the version, and the line that starts the engine."""
    arguments = launcher.command(None if mailbox == default_mailbox() else mailbox)
    start = launcher.background_line(arguments, mailbox / "clients" / "engine.log")
    values = {"mailbox": str(mailbox), "version": metadata.version("stembridge"), "start_line": start}
    return f"return {{ {', '.join(f'{key} = {quoted(value)}' for key, value in values.items())} }}\n"
