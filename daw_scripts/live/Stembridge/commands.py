"""Gestures from outside Live: `stembridge live <gesture>` lays a small file, the script takes it and answers."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PREFIX, SUFFIX = "live-do-", ".json"
_MAX_BYTES = 20_000


@dataclass(frozen=True)
class Command:
    """One gesture, and where the answer goes."""

    gesture: str
    prompt: str | None
    answer: Path


def take(clients: Path) -> Command | None:
    """The next command, if there is one; it is this script's alone then. What is none is thrown away."""
    try:
        with os.scandir(clients) as found:
            names = sorted(
                entry.name for entry in found if entry.name.startswith(PREFIX) and entry.name.endswith(SUFFIX)
            )
    except OSError:  # the mailbox is gone: the log, the ledger and the engine will say so
        return None
    for name in names:
        mine = clients / f"{name}.taken"
        try:
            (clients / name).rename(mine)  # of two sets that are open at once, one gets it
            text = mine.read_bytes()[:_MAX_BYTES]
            mine.unlink()
            values = json.loads(text)
        except (OSError, ValueError):
            continue
        if isinstance(values, dict) and isinstance(values.get("gesture"), str):
            prompt = values.get("prompt")
            tail = name.removeprefix(PREFIX)
            return Command(
                values["gesture"], prompt if isinstance(prompt, str) and prompt else None, clients / f"live-said-{tail}"
            )
    return None


def answer(place: Path, values: dict[str, Any]) -> None:
    """Writes what there is to say, whole or not at all. Raises `OSError`."""
    draft = place.with_suffix(".tmp")
    draft.write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
    draft.replace(place)
