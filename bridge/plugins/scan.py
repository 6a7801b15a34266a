"""Every plugin of this machine, each tried in a process of its own; what was found is kept until its file changes."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import platformdirs

from bridge.plugins.chain import BUILT_INS
from bridge.plugins.places import find_plugin, plugin_files, stamp
from bridge.plugins.process import COMMAND, Limits, PluginFailure, Worker
from engine.errors import StembridgeError

SCHEMA: Final = 1
SCAN_LIMIT_S: Final = 120.0
"""For one file; the slowest known start takes 42 s on a machine that does nothing else."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """One plugin of one file, or why the file gave none."""

    path: str
    """Of the file; a built-in's name."""
    name: str
    stamp: str = ""
    """Of the file as it was looked at."""
    facts: dict[str, Any] = field(default_factory=dict)
    """As `bridge.plugins.host.describe` tells them; empty for a file that failed."""
    error: str = ""

    @property
    def usable(self) -> bool:
        """Whether a preset can use it: an effect that takes audio."""
        return not self.error and not self.facts.get("instrument") and bool(self.facts.get("channels"))


def cache_file() -> Path:
    """Where the last scan lies."""
    return Path(platformdirs.user_cache_dir("stembridge", appauthor=False)) / "plugins.json"


def scanned() -> list[Found]:
    """What the last scan found, less the files that are gone or changed since. A damaged cache is an empty one."""
    try:
        kept = json.loads(cache_file().read_text(encoding="utf-8"))
        found = [Found(**each) for each in kept["plugins"]] if kept["schema"] == SCHEMA else []
    except (OSError, ValueError, TypeError, KeyError):
        return []
    return [each for each in found if Path(each.path).exists() and stamp(each.path) == each.stamp]


def scan(
    files: Iterable[Path] | None = None,
    *,
    again: bool = False,
    limit_s: float = SCAN_LIMIT_S,
    on_found: Callable[[Found], None] = lambda found: None,
    stopped: Callable[[], bool] = lambda: False,
    command: Sequence[str] = COMMAND,
) -> list[Found]:
    """Look into plugin files (all of this machine's when None) that were not looked into since they changed.

    A file that crashes or hangs is listed with its error, and not tried again until it changes, or `again`. Raises
    `StembridgeError`: `plugin_missing` where nothing can host plugins.
    """
    known = {} if again else _by_file(scanned())
    wanted = [str(path) for path in (plugin_files() if files is None else files)]
    results: dict[str, list[Found]] = {}
    for path in wanted:
        if stopped():
            break
        results[path] = known.get(path) or list(_look(path, limit_s, command))
        for found in results[path]:
            on_found(found)
    # what was not asked for now stays known
    _keep([each for group in (_by_file(scanned()) | results).values() for each in group])
    return [each for group in results.values() for each in group]


def describe(plugin: str, *, limit_s: float = SCAN_LIMIT_S, command: Sequence[str] = COMMAND) -> list[Found]:
    """One plugin, by a built-in's name, its name on this machine, or its path; several where a file holds several.

    Raises `StembridgeError`: `plugin_missing`, and what became of the plugin (`plugin_failed`, `bad_plugin`).
    """
    for each in scanned():
        if each.usable and plugin.casefold() == each.name.casefold():
            return [each]
    path = find_plugin(plugin)
    if path in BUILT_INS:
        with Worker(limits=Limits(load_s=limit_s), command=command) as worker:
            return [Found(path, path, "", worker.describe(path))]
    found = list(_look(path, limit_s, command))
    if all(each.error for each in found):
        raise StembridgeError("plugin_failed", found[0].error, "Update it, or choose another.")
    return found


def _look(path: str, limit_s: float, command: Sequence[str]) -> Iterator[Found]:
    """What a file holds. A worker that died over one plugin is followed by a fresh one for the next."""
    limits = Limits(load_s=limit_s)
    nothing = Found(path, Path(path).stem, stamp(path))
    try:
        with Worker(limits=limits, command=command) as worker:
            names = worker.names(path)
    except PluginFailure as e:
        yield replace(nothing, error=e.text)
        return
    for name in names:
        try:
            with Worker(limits=limits, command=command) as worker:
                yield replace(nothing, name=name, facts=worker.describe(path, name))
        except PluginFailure as e:
            yield replace(nothing, name=name, error=e.text)


def _by_file(found: Iterable[Found]) -> dict[str, list[Found]]:
    groups: dict[str, list[Found]] = {}
    for each in found:
        groups.setdefault(each.path, []).append(each)
    return groups


def _keep(found: list[Found]) -> None:
    path = cache_file()
    part = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps({"schema": SCHEMA, "plugins": [asdict(each) for each in found]}), encoding="utf-8")
        part.replace(path)
    except OSError as e:
        logger.warning("What the scan found could not be kept in %s: %s", path, e)
