"""The engine's side of a worker: asked with a deadline, watched for memory, and ended when a plugin misbehaves."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty, Queue
from typing import IO, Any, Final

from bridge.plugins.chain import Chain, PluginUse
from bridge.plugins.places import find_plugin, require_host
from bridge.plugins.shared import SharedAudio
from engine.errors import StembridgeError

COMMAND: Final = (sys.executable, "-m", "bridge.plugins.worker")
_ROOT: Final = Path(__file__).resolve().parents[2]
START_LIMIT_S: Final = 120.0
"""For Python and the host's own package on a cold, busy machine; no plugin is to blame for it."""
_LOOK_S: Final = 0.1
"""Between two looks at the worker's memory and at whether the job is still wanted."""
_END_S: Final = 2.0
_TAIL_LINES: Final = 8
_KEEP: Final = {"MALLOC_TRIM_THRESHOLD_": str(1 << 26), "MALLOC_MMAP_THRESHOLD_": str(1 << 25)}
"""glibc gives a block's memory back to the system and asks for it again, block by block; that cost more than copying
the audio. Other systems do not know these."""


@dataclass(frozen=True)
class Limits:
    """What a plugin may take before it counts as broken."""

    load_s: float = 120.0
    """Some take most of a minute to start."""
    block_s: float = 60.0
    """For 65,536 samples: forty times slower than they sound."""
    memory_bytes: int = 4 << 30
    """Of the whole chain's process."""


class PluginFailure(StembridgeError):
    """What went wrong with one plugin of a chain; `place` says which, counted from 0."""

    def __init__(self, code: str, text: str, remedy: str, place: int) -> None:
        super().__init__(code, text, remedy)
        self.place = place


class Worker:
    """A process that hosts one chain, or looks into plugins. A context manager; leaving it ends the process.

    `give_up` is called while a plugin is waited for, and may raise. Raises `StembridgeError` (`plugin_missing`) where
    nothing can host plugins.
    """

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        command: Sequence[str] = COMMAND,
        give_up: Callable[[], None] = lambda: None,
    ) -> None:
        require_host()
        self._limits, self._give_up = limits or Limits(), give_up
        self._titles: list[str] = []
        self.audio: SharedAudio | None = None
        self._lines: Queue[str | None] = Queue()
        self._said: deque[str] = deque(maxlen=_TAIL_LINES)
        path = os.pathsep.join(part for part in (str(_ROOT), os.environ.get("PYTHONPATH", "")) if part)
        try:
            self._process = subprocess.Popen(
                [*command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                env={**os.environ, **_KEEP, "PYTHONPATH": path},
            )
        except OSError as e:
            raise StembridgeError(
                "plugin_failed", f"The process for plugins cannot be started: {e}.", "Close other programs."
            ) from e
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        for stream, take in ((self._process.stdout, self._lines.put), (self._process.stderr, self._hear)):
            threading.Thread(target=_read, args=(stream, take), name="plugin-worker", daemon=True).start()

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self, chain: Chain, sample_rate: int, channels: int, buffer_size: int = 8192) -> list[dict[str, Any]]:
        """Load a chain, in the place of an earlier one; answers each plugin's facts. Raises `PluginFailure` naming the
        one that cannot be used."""
        self._let_go()
        self._titles = []
        self.audio = SharedAudio.create(channels)
        told = {"sample_rate": sample_rate, "channels": channels, "buffer_size": buffer_size}
        memory = {"memory_bytes": self._limits.memory_bytes}
        self.ask({"do": "start", "path": str(self.audio.path), **told, **memory}, START_LIMIT_S)
        found = []
        for place, use in enumerate(chain):
            self._titles.append(use.title)
            try:
                placed = asdict(use) | {"plugin": find_plugin(use.plugin)}
            except StembridgeError as e:
                raise PluginFailure(e.code, e.text, e.remedy, place) from e
            answer = self.ask({"do": "load", "use": placed}, self._limits.load_s, place)
            found.append(answer["facts"])
        return found

    def describe(self, plugin: str, name: str | None = None) -> dict[str, Any]:
        """What `bridge.plugins.host.describe` says of a built-in or a plugin file."""
        use = PluginUse(plugin=plugin, name=name)
        self._titles = [use.title]
        facts: dict[str, Any] = self.ask({"do": "describe", "use": asdict(use)}, self._limits.load_s, 0)["facts"]
        return facts

    def names(self, path: str) -> list[str]:
        """The plugins in a file."""
        self._titles = [Path(path).stem]
        return [str(name) for name in self.ask({"do": "names", "path": path}, self._limits.load_s, 0)["names"]]

    def ask(self, message: dict[str, Any], limit_s: float, place: int | None = None) -> dict[str, Any]:
        """Send and wait."""
        self.send(message, limit_s)
        return self.answer(limit_s, place)

    def send(self, message: dict[str, Any], limit_s: float | None = None) -> None:
        """Ask without waiting; each is answered in its turn."""
        limit_s = self._limits.block_s if limit_s is None else limit_s
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it died: the wait for its answer says of what
            self._process.stdin.write(json.dumps(message | {"limit_s": limit_s}) + "\n")
            self._process.stdin.flush()

    def answer(self, limit_s: float | None = None, place: int | None = None) -> dict[str, Any]:
        """The next answer. Raises `PluginFailure`: `plugin_failed` for a crash, a hang or too much memory, and what
        the worker itself says of a plugin; and what `give_up` raises. The worker is of no use after any of them."""
        limit_s = self._limits.block_s if limit_s is None else limit_s
        deadline_s = time.monotonic() + limit_s
        while True:
            try:
                line = self._lines.get(timeout=_LOOK_S)
            except Empty:
                self._give_up()
                self._require_modest(_memory_of(self._process.pid), place)
                if time.monotonic() > deadline_s:
                    self._kill()
                    raise self._failure(f"did not answer within {limit_s:g} s", place) from None
                continue
            if line is None:
                self._process.wait()
                raise self._failure(f"crashed ({_how(self._process.returncode)})", place)
            told: dict[str, Any] = json.loads(line)
            if place is None and told.get("place", -1) >= 0:
                place = told["place"]
            if "error" in told:
                code, text, remedy = told["error"]
                raise PluginFailure(code, text, remedy, self._place(place))
            if "broke" in told:
                raise self._failure(f"failed ({told['broke'][:300]})", place)
            self._require_modest(told.get("memory_bytes", 0), place)
            return told

    def close(self) -> None:
        """End the process, whatever it does."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._kill()
        self._let_go()

    def _let_go(self) -> None:
        if self.audio is not None:
            self.audio.close()
            self.audio = None

    def _hear(self, line: str | None) -> None:
        if line and line.strip():
            self._said.append(line.strip()[:200])

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _require_modest(self, n_bytes: int, place: int | None) -> None:
        if n_bytes > self._limits.memory_bytes:
            self._kill()
            most = self._limits.memory_bytes / 1e9
            raise self._failure(f"took {n_bytes / 1e9:.1f} GB of memory, of {most:.1f} GB it may take", place)

    def _place(self, place: int | None) -> int:
        at_work = self.audio.at_work if self.audio is not None else -1
        return place if place is not None else at_work if at_work >= 0 else max(0, len(self._titles) - 1)

    def _failure(self, what: str, place: int | None) -> PluginFailure:
        at = self._place(place)
        title = self._titles[at] if at < len(self._titles) else "process"
        said = f" Its last words: {self._said[-1]}" if self._said else ""
        return PluginFailure(
            "plugin_failed",
            f"The plugin {title} {what}.{said}",
            "Update it, or leave it out; with required = false in the preset the job goes on without it.",
            at,
        )


def _read(stream: IO[str], take: Callable[[str | None], None]) -> None:
    """Every line, and None at the end."""
    with stream:
        for line in stream:
            take(line)
    take(None)


def _memory_of(pid: int) -> int:
    """Bytes that a process holds; 0 where the system does not say."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return 0


def _how(code: int) -> str:
    if code >= 0:
        return f"exit status {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"
