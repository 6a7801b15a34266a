"""The real engine in this process, whose drafts of a short region grow as a long one's do, when a test says so."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from test_bridge_serve import settings_in

import bridge.serve

PART_S = 0.4
"""Of a region of 2.4 to 7.2 s with a mask model: drafts of 0.4 and 1.2 s, then the result."""


@contextmanager
def growing_engine(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[bridge.serve.Running, threading.Semaphore]]:
    """Serves the mailbox and an OSC port; each `release` of the semaphore lets it make one draft, or one result."""
    times_s, go_on = itertools.count(step=1e6), threading.Semaphore(0)
    monkeypatch.setattr("engine.drafts.PART_S", PART_S)
    monkeypatch.setattr("engine.progressive.monotonic", lambda: next(times_s))  # so slow that no part is left out
    separate = bridge.serve.separate

    def gated(*arguments: Any, **options: Any) -> Any:
        assert go_on.acquire(timeout=60)
        return separate(*arguments, **options)

    monkeypatch.setattr(bridge.serve, "separate", gated)
    with bridge.serve.serving(settings_in(folder)) as running:
        try:
            yield running, go_on
        finally:
            for _ in range(9):  # a test that fails leaves nobody waiting
                go_on.release()
