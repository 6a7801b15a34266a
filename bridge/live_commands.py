"""How a gesture reaches the script in Ableton Live: a small file the script takes, and one that it answers with."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.errors import StembridgeError

GESTURES: Final = ("extract", "example", "remove", "clips", "tracks", "repeat", "cancel", "show")
"""As the script names them (`daw_scripts/live/Stembridge/gestures.py`)."""
LIMIT_S: Final = 6.0
"""Live calls the script every 100 ms; the script knows after 2 s whether an engine runs."""
_LOOK_S: Final = 0.05


@dataclass(frozen=True)
class Told:
    """What the script answered."""

    said: tuple[str, ...]
    """What it said of this gesture."""
    under_way: tuple[str, ...]
    """How far each request of the set is."""


def ask(mailbox: Path, gesture: str, prompt: str | None = None, limit_s: float = LIMIT_S) -> Told:
    """Has the script in Live do a gesture, and waits for its answer. A gesture nobody took is withdrawn.

    Raises `StembridgeError`: `bad_value` for another gesture, `daw_not_found` when no script takes it, and
    `output_not_writable`.
    """
    if gesture not in GESTURES:
        raise StembridgeError(
            "bad_value", f"There is no gesture {gesture!r} in Live.", f"Use one of: {', '.join(GESTURES)}."
        )
    tail = f"{secrets.token_hex(8)}.json"
    clients = mailbox / "clients"
    order, answer = clients / f"live-do-{tail}", clients / f"live-said-{tail}"
    draft = order.with_suffix(".tmp")
    values = {"gesture": gesture} | ({} if prompt is None else {"prompt": prompt})
    try:
        clients.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft.write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
        draft.replace(order)
    except OSError as e:
        raise StembridgeError(
            "output_not_writable", f"{order} cannot be written: {e.strerror}.", "Check the folder's owner and the disk."
        ) from e
    deadline_s = time.monotonic() + limit_s
    while time.monotonic() < deadline_s:
        if answer.is_file():
            told = json.loads(answer.read_text(encoding="utf-8"))
            answer.unlink(missing_ok=True)
            return Told(tuple(map(str, told["said"])), tuple(map(str, told["under_way"])))
        time.sleep(_LOOK_S)
    taken = not order.exists()
    order.unlink(missing_ok=True)
    raise StembridgeError(
        "daw_not_found",
        "Live took the gesture but has not answered."
        if taken
        else "No set that is open in Live has taken the gesture.",
        "Start Live, and choose Stembridge as a control surface in its Settings > Link, Tempo & MIDI. "
        "If it is not in the list: stembridge install live",
    )
