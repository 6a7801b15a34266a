"""How Stembridge is put into a DAW and taken out again: one scheme for every host.

A host is one module of this package that holds a `HOST`. To add a DAW:

1. its scripts lie in `daw_scripts/<key>/`;
2. `bridge/<key>.py` has a function that finds the DAW's folders on this machine, a function `plan(folder, mailbox)`
   that returns every file to write (and raises `daw_not_found` for a folder that is not the DAW's), and a `HOST`;
3. its key and module are named in `_MODULES` below.

All else is here: what is announced is what is written, each file beside and renamed, then read back; a record of the
files and folders made lies among them, so that taking away removes exactly those. `stembridge install` and `stembridge
doctor` go through `hosts()` and know no DAW by name. Files that a DAW shares with other people's scripts are planned as
`shared`; `Host.restored` says how they must read without ours.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path, PurePosixPath
from typing import Any, Final

from engine.errors import StembridgeError

RECORD: Final = "installed.json"
"""In the folder that is ours alone: the version, and what an installation wrote and made."""
MAILBOX_FOLDERS: Final = ("requests", "status", "clients")
_MODULES: Final = {
    "ardour": "bridge.install.ardour",
    "bitwig": "bridge.install.bitwig",
    "reaper": "bridge.install.reaper",
    "live": "bridge.install.live",
    "service": "bridge.install.service",
    "watch": "bridge.install.watch_folder",
}


@dataclass(frozen=True)
class PlannedFile:
    """One file an installation writes."""

    path: Path
    content: bytes
    what: str
    """What it is, for a person."""
    shared: bool = False
    """Whether the DAW or other people's scripts use it too: it is never removed, only restored."""


def _nothing(folder: Path) -> Any:
    return ()


@dataclass(frozen=True)
class Host:
    """One DAW (or another place Stembridge is put into), and what is particular to it."""

    key: str
    """What the command line calls it."""
    name: str
    folders: Callable[[], list[Path]]
    """The DAW's folders on this machine that scripts are put under, newest version first; empty where it is not."""
    plan: Callable[[Path, Path], list[PlannedFile]]
    """(folder, mailbox) → every file to write. Writes nothing. Raises `StembridgeError` (`daw_not_found`)."""
    own: str
    """The folder under the DAW's that is ours alone and holds the record, as `a/b`; empty for a host without one."""
    how_to_find: str
    """What to do when `folders` finds none."""
    next_steps: tuple[str, ...]
    """What a person does after the installation, line by line; `{folder}` stands for the folder."""
    needs_mailbox: bool = True
    makes: tuple[str, ...] = ()
    """Further folders made under the DAW's; they are taken away when they are empty."""
    label: Callable[[Path], str] = lambda folder: ""
    """The name with the DAW's version, where its folder tells; empty: the name."""
    restored: Callable[[Path], list[PlannedFile]] = _nothing
    """The shared files as they must read without our part; none that reads so already. Empty content: the file was made
    for ours, and goes."""
    actions: Callable[[Path], dict[str, int]] = lambda folder: {}
    """The numbers the DAW gives our actions, where it does so when they are installed."""
    switched_on: Callable[[Path], list[str]] = _nothing
    """Called when all is written: what else must happen on this machine. Returns what to tell, line by line."""
    switched_off: Callable[[Path], list[str]] = _nothing
    """Called before anything is taken away; as `switched_on`."""


def host(key: str) -> Host:
    """The host of that key. Raises `StembridgeError` (`bad_value`)."""
    if key not in _MODULES:
        raise StembridgeError("bad_value", f"There is nothing to install for {key!r}.", f"Use one of: {names()}.")
    found = import_module(_MODULES[key]).HOST
    assert isinstance(found, Host)
    return found


def hosts() -> list[Host]:
    """All hosts."""
    return [host(key) for key in _MODULES]


def names() -> str:
    """The keys of all hosts, for a person."""
    return ", ".join(_MODULES)


def default_mailbox() -> Path:
    """The folder through which DAWs without sockets talk to the engine."""
    from bridge.mailbox.box import default_folder

    return default_folder()


def planned(target: Host, folder: Path, mailbox: Path) -> list[PlannedFile]:
    """What `install` would write, the record included. Raises `StembridgeError` (`daw_not_found`)."""
    plan = target.plan(folder, mailbox)
    if not target.own:
        return plan
    own = [file.path.relative_to(folder).as_posix() for file in plan if not file.shared]
    made = {parent for file in plan for parent in file.path.relative_to(folder).parents if parent != Path()}
    old = _record(target, folder)
    new = [part.as_posix() for part in made if not (folder / part).is_dir()]
    values = {"version": metadata.version("stembridge"), "files": own, "folders": sorted({*new, *old["folders"]})}
    content = json.dumps(values, ensure_ascii=False, indent=1).encode() + b"\n"
    return [*plan, PlannedFile(folder / target.own / RECORD, content, "a list of these files, for taking them away")]


def install(target: Host, folder: Path, mailbox: Path) -> list[Path]:
    """Writes what is planned, makes the mailbox's folders, and reads all back; returns the files written.

    Files of an earlier version that are no longer part of it are removed. The DAW should not be running.
    Raises `StembridgeError` (`daw_not_found`, `output_not_writable`).
    """
    plan, old = planned(target, folder, mailbox), _record(target, folder)
    try:
        for part in MAILBOX_FOLDERS if target.needs_mailbox else ():
            (mailbox / part).mkdir(parents=True, exist_ok=True, mode=0o700)
        for part in target.makes:
            (folder / part).mkdir(parents=True, exist_ok=True)
        for file in plan:
            _write(file)
        for path in {folder / name for name in old["files"]} - {file.path for file in plan}:
            path.unlink(missing_ok=True)
        wrong = [file.path for file in plan if file.path.read_bytes() != file.content]
    except OSError as e:
        raise _not_writable(e, folder) from e
    if wrong:
        raise StembridgeError(
            "output_not_writable", f"{wrong[0]} does not hold what was written.", "Close the DAW and install again."
        )
    return [file.path for file in plan]


def to_take_away(target: Host, folder: Path) -> list[Path]:
    """The files that `uninstall` would remove. Raises `StembridgeError` (`daw_not_found`)."""
    recorded = [folder / name for name in _record(target, folder)["files"]]
    # Without a record, or with a torn one, what would be written is taken for what was.
    ours = recorded or [file.path for file in target.plan(folder, Path()) if not file.shared]
    return [path for path in [*ours, *([folder / target.own / RECORD] if target.own else [])] if path.exists()]


def uninstall(target: Host, folder: Path) -> list[Path]:
    """Takes away what `install` wrote and restores what it shared; returns the files removed or rewritten. Folders that
    were made for it go when they are empty. The mailbox stays, and so does what others put into our folders.

    Raises `StembridgeError` (`daw_not_found`, `output_not_writable`).
    """
    gone, restored = to_take_away(target, folder), target.restored(folder)
    made = _record(target, folder)["folders"] or [part for part in [target.own] if part]
    places = {folder / part for part in (*made, *target.makes)} | ({folder} if target.makes else set())
    try:
        for file in restored:
            if file.content:
                _write(file)
            else:
                file.path.unlink()
        for path in gone:
            path.unlink()
        for place in sorted(places, key=lambda place: -len(place.parts)):
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()
    except OSError as e:
        raise _not_writable(e, folder) from e
    return [file.path for file in restored] + gone


def installed_version(target: Host, folder: Path) -> str | None:
    """The version of Stembridge that lies in a DAW's folder; None where there is none."""
    version = _record(target, folder)["version"]
    return version if isinstance(version, str) else None


def text_of(path: Path) -> str | None:
    """A small file's text; None when there is no such file. Raises `StembridgeError` (`daw_not_found`)."""
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as e:
        raise StembridgeError("daw_not_found", f"{path} cannot be read: {e}.", "Check who owns the file.") from e


def _record(target: Host, folder: Path) -> dict[str, Any]:
    """What was noted at the installation: version, files, folders; empty where there is none, or none that is ours."""
    nothing: dict[str, Any] = {"version": None, "files": [], "folders": []}
    text = text_of(folder / target.own / RECORD) if target.own else None
    try:
        values = json.loads(text or "{}")
        files, folders = ([_inside(name) for name in values[key]] for key in ("files", "folders"))
        return {"version": values["version"], "files": files, "folders": folders}
    except (ValueError, KeyError, TypeError):  # torn or another's: what is planned is then taken for what is there
        return nothing


def _inside(name: str) -> str:
    """A recorded name, if it leads nowhere but into the DAW's folder. Raises `ValueError`."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or ":" in name or "\\" in name:
        raise ValueError(name)
    return name


def _write(file: PlannedFile) -> None:
    file.path.parent.mkdir(parents=True, exist_ok=True)
    draft = file.path.with_name(file.path.name + ".part")
    draft.write_bytes(file.content)
    draft.replace(file.path)


def _not_writable(error: OSError, folder: Path) -> StembridgeError:
    return StembridgeError(
        "output_not_writable",
        f"{error.filename or folder} cannot be changed: {error.strerror}.",
        "Check who owns the folder and whether the disk is full.",
    )
