"""All the script knows between two ticks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import ledger, messages
from .link import Link

FINAL = ("done", "failed", "cancelled", "refused")


@dataclass(frozen=True)
class Settings:
    """What the installer wrote into `config.json`."""

    mailbox: Path
    version: str
    start_line: str
    """What starts the engine, for the system's shell; empty where it is not known."""

    @property
    def clients(self) -> Path:
        """The folder in which the scripts keep what they must not forget."""
        return self.mailbox / "clients"


@dataclass
class Question:
    """Requests whose tracks' names said nothing; the person answers by renaming a track."""

    entries: list[dict[str, Any]]
    until_s: float
    renamed: set[str] = field(default_factory=set)
    """Keys of tracks that were renamed since the last tick."""
    forget: list[Callable[[], None]] = field(default_factory=list)
    """Called to stop listening."""


@dataclass
class Desk:
    """One set that is open in Live."""

    c_instance: Any
    song: Any
    application: Any
    settings: Settings
    link: Link
    screen: messages.Screen
    entries: list[dict[str, Any]] = field(default_factory=list)
    """Requests under way, as they stand in the ledger."""
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    """rid → what the engine last said of it."""
    asked_s: dict[str, float] = field(default_factory=dict)
    """rid → when the engine was last asked about it."""
    unsent: list[dict[str, Any]] = field(default_factory=list)
    """Requests that wait for a sign of the engine."""
    last: dict[str, Any] | None = None
    """The last gesture, for “Repeat last”."""
    question: Question | None = None
    arriving: Any = None
    told_stopped: bool = False
    starting: bool = False
    """Whether the unsent requests wait for an engine that is being started."""
    sought_s: float = 0.0
    show_until_s: float = 0.0
    """Until when the progress is shown in the status bar."""


def open_desk(c_instance: Any, song: Any, application: Any, folder: Path) -> Desk:
    """The desk for the set that is open, with what is still under way for it. `folder` is the script's own."""
    try:
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        settings = Settings(Path(values["mailbox"]), str(values["version"]), str(values.get("start_line", "")))
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise RuntimeError(f"{folder / 'config.json'} is missing or torn. Type: stembridge install live") from e
    screen = messages.Screen(c_instance, settings.clients / "live.log", name_of(song))
    desk = Desk(c_instance, song, application, settings, Link(settings.mailbox), screen)
    song_id = ledger.set_id(song, make=False)
    if song_id:
        desk.entries = ledger.read(ledger.path_of(settings.clients, song_id))
    return desk


def name_of(song: Any) -> str:
    """The set's name; empty while it was never saved, and in a Live too old to tell."""
    return str(getattr(song, "name", ""))


def ledger_path(desk: Desk) -> Path:
    """The ledger of this set; the set gets an id if it has none."""
    return ledger.path_of(desk.settings.clients, ledger.set_id(desk.song, make=True))


def close_entries(desk: Desk, entries: list[dict[str, Any]]) -> None:
    """Takes entries out of the ledger: they are answered, and the answer was acted on."""
    path = ledger_path(desk)
    try:
        ledger.note(path, *({"closed": entry["rid"]} for entry in entries))
    except OSError as e:
        messages.write_log(desk.screen, f"The ledger cannot be written: {e}.")
    for entry in entries:
        rid = entry["rid"]
        if entry in desk.entries:
            desk.entries.remove(entry)
        desk.answers.pop(rid, None)
        desk.asked_s.pop(rid, None)
    if not desk.entries:
        path.unlink(missing_ok=True)


def note(desk: Desk, fact: dict[str, Any]) -> None:
    """Adds a fact to the set's ledger."""
    try:
        ledger.note(ledger_path(desk), fact)
    except OSError as e:
        messages.write_log(desk.screen, f"The ledger cannot be written: {e}.")


def open_requests(desk: Desk) -> list[dict[str, Any]]:
    """The entries that wait for stems."""
    return [entry for entry in desk.entries if not entry.get("cancelled")]


def say(desk: Desk, *lines: str) -> None:
    """Tells the person."""
    if lines:
        desk.screen.set_name = name_of(desk.song)
        messages.tell(desk.screen, list(lines))
