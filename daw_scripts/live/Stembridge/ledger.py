"""What is under way, written down outside Live: one file a set, one line a fact, only ever appended to."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

_n_made = 0


def new_id() -> str:
    """Unique on this machine: process, clock and a count."""
    global _n_made
    _n_made += 1
    return f"live-{os.getpid():x}-{time.time_ns() // 1000:x}-{_n_made}"


def set_id(song: Any, *, make: bool) -> str:
    """An id that is kept in the set itself, so that it stays when the set is renamed or first saved; empty where there
    is none and none is to be made.
    """
    found = song.get_data("stembridge", "")
    if isinstance(found, str) and re.fullmatch(r"[\w-]{1,64}", found):
        return found
    if not make:
        return ""
    made = new_id()
    song.set_data("stembridge", made)
    return made


def path_of(clients: Path, song_id: str) -> Path:
    """The ledger of a set."""
    return clients / f"{song_id}.jsonl"


def note(path: Path, *facts: dict[str, Any]) -> None:
    """Appends facts. Raises `OSError`."""
    with path.open("ab") as file:
        file.write(b"".join(json.dumps(fact, ensure_ascii=False).encode() + b"\n" for fact in facts))


def read(path: Path) -> list[dict[str, Any]]:
    """The open entries, oldest first. A line that is torn or not ours is passed over; a ledger without open entries is
    taken away.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError:  # nothing was ever asked, or all of it has come
        return []
    found: dict[str, dict[str, Any]] = {}
    for line in lines:
        try:
            fact = json.loads(line)
        except ValueError:
            continue
        if not isinstance(fact, dict):
            continue
        if _is_entry(fact):
            found[fact["rid"]] = fact
        elif fact.get("closed") in found:
            del found[fact["closed"]]
        elif fact.get("of") in found and isinstance(fact.get("with"), dict):
            found[fact["of"]].update(fact["with"])
    if not found:
        path.unlink(missing_ok=True)
    return list(found.values())


def _is_entry(fact: dict[str, Any]) -> bool:
    parts = {"rid": str, "gesture": str, "op": str, "piece": dict, "request": dict}
    return all(isinstance(fact.get(key), kind) for key, kind in parts.items())
