"""Starts the engine where a gesture finds none: once for all programs of this machine, and without waiting for it."""

from __future__ import annotations

import os
import time
from pathlib import Path

MARK = "engine.started"
"""In the clients' folder: when a program of this machine last began to start the engine. All scripts look there."""
START_S = 60
"""How long an engine may take to start."""


def is_starting(clients: Path) -> bool:
    """Whether one is on its way."""
    try:
        age_s = time.time() - float((clients / MARK).read_text())
    except (OSError, ValueError):  # nobody has started one, or the mark is torn
        return False
    return 0 <= age_s < START_S


def begin(clients: Path, line: str) -> bool:
    """Runs the installer's line in the background, unless another program just did; whether one is on its way then."""
    if is_starting(clients):
        return True
    if not line:
        return False
    mark = clients / MARK
    try:
        mark.write_text(str(int(time.time())))
    except OSError:  # the folder that the engine needs too cannot be written
        return False
    if os.system(line) == 0:  # noqa: S605  (the installer's own line, not a person's words)
        return True
    mark.unlink(missing_ok=True)
    return False


def forget(clients: Path) -> None:
    """It runs."""
    (clients / MARK).unlink(missing_ok=True)
