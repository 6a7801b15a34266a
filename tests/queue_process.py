"""A job queue in a process of its own, for tests that kill it.

Run as a script: `queue_process.py JOURNAL FOLDER`. Each line on stdin is a JSON list [name, client, priority, prompt];
each line on stdout is a JSON list: ["taken", client, id] once a submit is durable, ["refused", client, code], or
[kind, client, id] for an event. The run writes `<name>.part`, then renames it to `<name>.wav`; the prompt "waiting"
waits for a file `go`, and "deadly" kills the engine.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.errors import Cancelled, StembridgeError
from engine.jobs.journal import Journal
from engine.jobs.queue import JobEvent, JobQueue
from engine.request import Progress, Separation, SeparationRequest

DEADLINE_S = 60.0
N_WINDOWS = 5


def make_request(folder: Path, name: str = "take", prompt: str = "vocals") -> SeparationRequest:
    return SeparationRequest((folder / "source.wav",), prompt, folder, name=name)


def make_separation(folder: Path, name: str = "take") -> Separation:
    target, manifest = folder / f"{name}.wav", folder / f"{name}.json"
    return Separation(target, None, manifest, 44_100, 2, 441, -200.0, "fake", "none", 1, 0, 0.01)


def run(
    request: SeparationRequest, on_progress: Callable[[Progress], None], cancelled: Callable[[], bool]
) -> Separation:
    name = str(request.name)
    part, whole = request.out_dir / f"{name}.part", request.out_dir / f"{name}.wav"
    with (request.out_dir / "runs.log").open("a") as log:
        log.write(f"{name}\n")
    part.unlink(missing_ok=True)  # of an attempt that died
    with part.open("w") as file:
        for window in range(N_WINDOWS):
            if cancelled():
                part.unlink()
                raise Cancelled
            while request.prompt == "waiting" and not (request.out_dir / "go").exists() and not cancelled():
                time.sleep(0.001)
            if request.prompt == "deadly" and window == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            file.write(f"{name} {window}\n")
            file.flush()
            on_progress(Progress(window / N_WINDOWS, "separating", None))
            time.sleep(0.002)
    part.rename(whole)
    return make_separation(request.out_dir, name)


class QueueProcess:
    """The process seen from the test."""

    def __init__(self, journal: Path, folder: Path) -> None:
        self._lines: queue.Queue[list[str] | None] = queue.Queue()
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(journal), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def submit(self, name: str, *, client: str = "", priority: int = 0, prompt: str = "vocals") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([name, client or name, priority, prompt]) + "\n")
        self.process.stdin.flush()

    def next_line(self) -> list[str] | None:
        """The next line, or None when the process has ended."""
        return self._lines.get(timeout=DEADLINE_S)

    def wait_for(self, kind: str, count: int = 1) -> list[list[str]]:
        """All lines up to the `count`-th of that kind."""
        lines: list[list[str]] = []
        while sum(line[0] == kind for line in lines) < count:
            line = self.next_line()
            assert line is not None, f"the process ended before {count} lines of {kind}: {lines}"
            lines.append(line)
        return lines

    def kill(self) -> list[list[str]]:
        """SIGKILL; the lines that were still on their way."""
        self.process.kill()
        return self.rest()

    def rest(self) -> list[list[str]]:
        """The lines until the process ends."""
        lines = []
        while (line := self.next_line()) is not None:
            lines.append(line)
        self.process.wait(DEADLINE_S)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        return lines

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith("\n"):  # a kill may cut one in two
                self._lines.put(json.loads(line))
        self._lines.put(None)


def _say(*words: Any) -> None:
    os.write(1, (json.dumps(words) + "\n").encode())  # one write a line, so that threads do not mix theirs


def main() -> None:
    folder = Path(sys.argv[2])

    def on_event(event: JobEvent) -> None:
        _say(event.kind, event.job.client, event.job.id)

    with Journal(Path(sys.argv[1])) as journal, JobQueue(run, journal, on_event=on_event) as jobs:
        for line in sys.stdin:
            name, client, priority, prompt = json.loads(line)
            try:
                job = jobs.submit(make_request(folder, name, prompt), priority=priority, client=client)
                _say("taken", client, job.id)
            except StembridgeError as e:
                _say("refused", client, e.code)


if __name__ == "__main__":
    main()
