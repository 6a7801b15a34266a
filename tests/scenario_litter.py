"""What lies in a mailbox and is none of a script's own: it is passed over and left there."""

from __future__ import annotations

import json
from pathlib import Path

from scenarios import Scenario

_FILES: dict[str, dict[str, bytes | None]] = {
    "garbage": {"torn.json": b'{"rid": "torn", "state": "do', "noise.json": bytes(range(256))},
    "stale": {"reaper-1.json": b'{"rid": "reaper-1", "job": "j9", "state": "done", "target": "/a.wav"}'},
    "shared": {"other-1.json": None},
}
"""By the scenario's engine, the files among the answers; None: the engine's own answer to another DAW."""


def litter(row: Scenario, mailbox: Path, path: Path) -> set[str]:
    """Puts it there; returns the names that are to be among the answers afterwards. `path` is a file to ask for."""
    files = _FILES.get(row.engine, {})
    for name, content in files.items():
        if content is not None:
            (mailbox / "status" / name).write_bytes(content)
            continue
        request = {"rid": Path(name).stem, "op": "submit", "path": str(path), "rate": row.rate_hz, "prompt": "drums"}
        request |= {"start": 0, "end": 1000, "name": "of another DAW"}
        draft = mailbox / "requests" / "draft"
        draft.write_text(json.dumps(request))
        draft.rename(mailbox / "requests" / name)
    return set(files)
