"""An engine's queue in a process of its own that makes one of two drafts and says so, and no more: to be killed.

Run as a script: `draft_process.py JOURNAL SONG`.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import SimpleNamespace

from test_engine_progressive import PLAYHEAD_S, Made, ask

from engine import models
from engine.jobs.attempt import Run
from engine.jobs.journal import Journal
from engine.jobs.queue import JobQueue
from engine.progressive import deliver


def run_with(made: Made) -> Run:
    """A queue's run that delivers with `made` in the model's place, and has drafts."""
    models.choose = lambda request: "fake"
    models.find = lambda name: SimpleNamespace(kind="flow")  # type: ignore[assignment,return-value]
    return lambda request, on_progress, cancelled: deliver(request, made, on_progress=on_progress)


class Stuck(Made):
    """Makes one draft, and waits for ever on the way to the next."""

    def __call__(self, *arguments: object) -> object:  # type: ignore[override]
        if self.asked:
            print("drafted", flush=True)
            threading.Event().wait()
        return super().__call__(*arguments)  # type: ignore[arg-type]


if __name__ == "__main__":
    with Journal(Path(sys.argv[1])) as journal, JobQueue(run_with(Stuck()), journal) as queue:
        queue.wait(queue.submit(ask(Path(sys.argv[2]), playhead_s=PLAYHEAD_S)).id, 600)
