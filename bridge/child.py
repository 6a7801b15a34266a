"""An engine as a child process of ours: started on a free port, waited for, stopped. For the demo and benchmarks."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from typing import IO, Final

from engine.errors import StembridgeError

READY_LINE: Final = re.compile(r"Stembridge \S+ is ready on port (\d+)\b")
"""What `stembridge serve` prints when requests are answered (`bridge.cli.serve`)."""
START_LIMIT_S: Final = 60.0
"""A cold start from a slow disk included; usually it takes under a second."""
STOP_LIMIT_S: Final = 15.0


@dataclass(frozen=True)
class Child:
    """A running engine."""

    process: subprocess.Popen[str]
    port: int
    """Of 127.0.0.1, UDP and TCP."""
    ready_s: float
    """From its start to its ready line."""


@contextmanager
def engine(
    out_dir: Path, state_dir: Path, *, roots: Sequence[Path] = (), start_limit_s: float = START_LIMIT_S
) -> Iterator[Child]:
    """A real engine, `python -m bridge serve`, for as long as the block runs. Its journal, mailbox and cache
    lie in `state_dir`.

    Raises `StembridgeError`: what the engine itself says when it does not start; `interrupted` when it is not ready in
    time, or did not stop cleanly though the block ended well.
    """
    command = [sys.executable, "-m", "bridge", "serve", "--port", "0", "--out", str(out_dir), "--state", str(state_dir)]
    command += [item for root in roots for item in ("--root", str(root))]
    # A process group of its own on Windows: only there can it be told to stop without being killed.
    flags = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        began_s = time.monotonic()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            creationflags=flags,
            # Results of earlier runs would be found in the user's own cache, and nothing be separated.
            env={**os.environ, "XDG_CACHE_HOME": str(state_dir / "cache")},
        )
        try:
            port = _wait_ready(process, errors, start_limit_s)
            yield Child(process, port, time.monotonic() - began_s)
        except BaseException:
            _stop(process)
            raise
        if not _stop(process):
            raise StembridgeError(
                "interrupted", f"The engine did not stop cleanly (exit {process.returncode}).", _tail(errors)
            )


def _wait_ready(process: subprocess.Popen[str], errors: IO[str], limit_s: float) -> int:
    """The port of the engine's ready line; its lines are read to the end by a thread, so that it never blocks."""
    lines: Queue[str | None] = Queue()

    def read() -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                lines.put(line)
        lines.put(None)

    threading.Thread(target=read, name="engine-output", daemon=True).start()
    deadline_s = time.monotonic() + limit_s
    while True:
        try:
            line = lines.get(timeout=max(0.0, deadline_s - time.monotonic()))
        except Empty as e:
            raise StembridgeError(
                "interrupted", f"The engine was not ready within {limit_s:g} s.", _tail(errors)
            ) from e
        if line is None:
            process.wait(STOP_LIMIT_S)
            raise StembridgeError(
                "engine_not_running", f"The engine did not start (exit {process.returncode}).", _tail(errors)
            )
        if ready := READY_LINE.search(line):
            return int(ready[1])


def _stop(process: subprocess.Popen[str]) -> bool:
    """Ask the engine to stop, kill it if it will not; whether it ended by itself and well."""
    if process.poll() is None:
        process.send_signal(getattr(signal, "CTRL_BREAK_EVENT", signal.SIGTERM))
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return False
    return process.returncode == 0


def _tail(errors: IO[str], n_lines: int = 6) -> str:
    """The last lines the engine wrote to stderr, for the error message."""
    errors.seek(0)
    return " ".join(line.strip() for line in errors.read().splitlines()[-n_lines:])
