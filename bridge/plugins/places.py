"""Where plugins lie on this machine, and the one that a name means. Loads none of them."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from bridge.plugins.chain import BUILT_INS
from engine.errors import StembridgeError

SUFFIXES: Final = (".vst3", ".component") if sys.platform == "darwin" else (".vst3",)
_FOREIGN: Final = {
    ".clap": "a CLAP plugin, which cannot be hosted",
    ".lv2": "an LV2 plugin, which cannot be hosted",
    **dict.fromkeys((".vst", ".dll", ".so"), "a VST2 plugin, which cannot be hosted"),
    **({} if sys.platform == "darwin" else {".component": "an Audio Unit, which macOS alone can host"}),
}
"""Suffix → what such a plugin is, for those that cannot be used here."""
_MAX_DEPTH: Final = 4
"""Makers put their plugins into folders of their own, and these into others."""
INSTALL: Final = "pip install 'stembridge[plugins]'"


def require_host() -> None:
    """Raises `StembridgeError` (`plugin_missing`) where the package that hosts plugins is not installed."""
    if find_spec("pedalboard") is None:
        raise StembridgeError(
            "plugin_missing",
            "pedalboard, the package that hosts plugins, is not installed.",
            f"Install it (it is under the GPL, version 3): {INSTALL}",
        )


def host_version() -> str:
    """Of the package that hosts plugins; empty where it is not installed."""
    try:
        return version("pedalboard")
    except PackageNotFoundError:
        return ""


def folders() -> list[Path]:
    """Where this system keeps VST3 plugins and Audio Units, the user's own first."""
    if sys.platform == "darwin":
        roots = [Path.home() / "Library/Audio/Plug-Ins", Path("/Library/Audio/Plug-Ins")]
        return [root / kind for root in roots for kind in ("VST3", "Components")]
    if os.name == "nt":
        local = os.environ.get("LOCALAPPDATA")
        common = os.environ.get("COMMONPROGRAMFILES", r"C:\Program Files\Common Files")
        return [*([Path(local, "Programs", "Common", "VST3")] if local else []), Path(common, "VST3")]
    return [Path.home() / ".vst3", Path("/usr/local/lib/vst3"), Path("/usr/lib/vst3")]


def plugin_files(roots: list[Path] | None = None) -> list[Path]:
    """Every plugin file or bundle in the folders (this system's own when None), by name."""
    found = [path for root in (folders() if roots is None else roots) for path in _below(root, _MAX_DEPTH)]
    return sorted(found, key=lambda path: (path.stem.casefold(), str(path)))


def find_plugin(plugin: str) -> str:
    """A built-in's name as it is written, or the path of the plugin that is meant.

    Raises `StembridgeError` (`plugin_missing`) naming the nearest.
    """
    for name in BUILT_INS:
        if name.casefold() == plugin.casefold():
            return name
    kind = _FOREIGN.get(Path(plugin).suffix.casefold())
    if kind is not None:
        raise StembridgeError("plugin_missing", f"{Path(plugin).name} is {kind}.", "Install and name its VST3 instead.")
    if plugin.casefold().endswith(SUFFIXES) or "/" in plugin or "\\" in plugin:
        path = Path(plugin).expanduser()
        if not path.exists():
            raise StembridgeError("plugin_missing", f"There is no plugin {path}.", "Check the path, or install it.")
        return str(path.absolute())
    files = plugin_files()
    for path in files:
        if path.stem.casefold() == plugin.casefold():
            return str(path)
    names = [*BUILT_INS, *(path.stem for path in files)]
    near = difflib.get_close_matches(plugin, names, 1, cutoff=0.5)
    raise StembridgeError(
        "plugin_missing",
        f"There is no plugin {plugin[:60]!r} on this machine." + (f" Did you mean {near[0]!r}?" if near else ""),
        "See them with: stembridge plugins list",
    )


def stamp(plugin: str) -> str:
    """Changes when the plugin's file does."""
    if plugin in BUILT_INS:
        return ""
    path = Path(plugin)
    parts = [path, *sorted(path.rglob("*"))] if path.is_dir() else [path]
    found = [part.stat() for part in parts if part.is_file()]
    return f"{sum(each.st_size for each in found)}:{max((each.st_mtime_ns for each in found), default=0)}"


def _below(folder: Path, depth: int) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return  # not there, or not ours to read
    for entry in entries:
        if entry.suffix.casefold() in SUFFIXES:
            yield entry
        elif depth > 1 and entry.is_dir() and not entry.is_symlink():
            yield from _below(entry, depth - 1)
