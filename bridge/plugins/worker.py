"""The process that hosts one chain: `python -m bridge.plugins.worker`. Told what to do in lines of JSON on stdin.

It answers each line with one line on what was its stdout; whatever plugins print goes to stderr. It ends when stdin
does, so it never outlives the engine; when a plugin keeps it from looking, a watchdog that needs no Python ends it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TextIO

from bridge.plugins import host
from bridge.plugins.chain import PluginUse
from bridge.plugins.shared import SharedAudio
from bridge.plugins.stage import Stage
from engine.audio import Samples
from engine.errors import StembridgeError

GRACE_S: Final = 20.0
"""What the watchdog gives beyond the engine's own deadline."""
_LOOK_S: Final = 0.5
"""Between two looks at whether the engine is still there."""
_STATM: Final = Path("/proc/self/statm")


@dataclass
class Hosted:
    """The chain of this process, and the memory it shares with the engine."""

    audio: SharedAudio | None = None
    sample_rate: int = 0
    buffer_size: int = 0
    stages: list[Stage] = field(default_factory=list)
    rest: Iterator[Samples] | None = None
    """What is still to come once the stream has ended."""


def main() -> int:
    """Serve until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the engine's to answer: it ends us in its own time
    if sys.platform != "win32":
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the watchdog's: an engine may have been told to ignore it
    threading.Thread(target=_leave_with, args=(os.getppid(),), name="engine-watch", daemon=True).start()
    answers = _own_stdout()
    hosted = Hosted()
    for line in sys.stdin:
        asked = json.loads(line)
        _watch(asked.get("limit_s", 600) + GRACE_S)
        answer = _answer(hosted, asked)
        _watch(0)
        answers.write(json.dumps(answer | {"memory_bytes": memory_bytes()}) + "\n")
        answers.flush()
    # Not through the interpreter's end: a plugin that crashes while it is taken down has done its work.
    sys.stderr.flush()
    os._exit(0)


def _watch(limit_s: float) -> None:
    """End this process `limit_s` from now, whatever it does then; 0: do not. The system's own timer where there is one:
    the other is a new thread each time, which costs a block of a light chain some percent.
    """
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_REAL, limit_s)
    elif limit_s:
        faulthandler.dump_traceback_later(limit_s, exit=True)
    else:
        faulthandler.cancel_dump_traceback_later()


def _leave_with(engine: int) -> None:
    """End this process when the engine has gone, though a plugin hangs and nobody reads stdin's end. On Windows, where
    a process keeps its parent's number, and where a plugin lets no Python run, the watchdog does it later."""
    while os.getppid() == engine:
        time.sleep(_LOOK_S)
    os._exit(1)


@functools.cache
def _statm() -> int:
    """Held open: it is read with every block."""
    return os.open(_STATM, os.O_RDONLY)


def memory_bytes() -> int:
    """What this process holds of the machine's memory; 0 where the system does not say."""
    with contextlib.suppress(OSError, ValueError, IndexError, AttributeError):  # Windows has no such file or call
        return int(os.pread(_statm(), 128, 0).split()[1]) * os.sysconf("SC_PAGE_SIZE")
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _own_stdout() -> TextIO:
    """What was stdout, for answers alone; plugins that print to it write to stderr from now on."""
    mine = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return mine


def _answer(hosted: Hosted, asked: dict[str, Any]) -> dict[str, Any]:
    try:
        return _TASKS[asked["do"]](hosted, asked)
    except StembridgeError as e:
        return {"error": [e.code, e.text, e.remedy], "place": _place(hosted)}
    except Exception as e:  # noqa: BLE001  a plugin may raise anything; the engine tells it with the plugin's name
        return {
            "broke": "out of memory" if isinstance(e, MemoryError) else f"{type(e).__name__}: {e}",
            "place": _place(hosted),
        }


def _place(hosted: Hosted) -> int:
    """Which plugin it was: told with the answer, since the next block is on its way when that is read."""
    return hosted.audio.at_work if hosted.audio is not None else -1


def _start(hosted: Hosted, asked: dict[str, Any]) -> dict[str, Any]:
    hosted.stages, hosted.rest = [], None
    hosted.audio = SharedAudio(Path(asked["path"]), asked["channels"])
    hosted.audio.unlink()
    hosted.sample_rate, hosted.buffer_size = asked["sample_rate"], asked["buffer_size"]
    host.prepare()  # here, where the time it takes is no plugin's
    _limit_memory(asked["memory_bytes"])
    return {}


def _load(hosted: Hosted, asked: dict[str, Any]) -> dict[str, Any]:
    assert hosted.audio is not None
    with _at_work(hosted, len(hosted.stages)):
        stage = host.load(PluginUse(**asked["use"]), hosted.sample_rate, hosted.audio.channels, hosted.buffer_size)
    hosted.stages.append(stage)
    return {"facts": stage.facts}


def _push(hosted: Hosted, asked: dict[str, Any]) -> dict[str, Any]:
    assert hosted.audio is not None
    block = hosted.audio.view(asked["slot"], asked["n"])
    for place, stage in enumerate(hosted.stages):
        with _at_work(hosted, place):
            block = stage.push(block)
    return _give(hosted, asked["slot"], block)


def _flush(hosted: Hosted, asked: dict[str, Any]) -> dict[str, Any]:
    if hosted.rest is None:
        hosted.rest = _drained(hosted)
    block = next(hosted.rest, None)
    return {"n": 0, "end": True} if block is None else _give(hosted, asked["slot"], block)


def _drained(hosted: Hosted) -> Iterator[Samples]:
    """What the plugins still hold, from the first to the last: each hands its rest to those behind it."""
    for place, stage in enumerate(hosted.stages):
        with _at_work(hosted, place):
            rest = list(stage.flush())
        for block in rest:
            for behind, other in enumerate(hosted.stages[place + 1 :], place + 1):
                with _at_work(hosted, behind):
                    block = other.push(block)
            yield block


def _give(hosted: Hosted, slot: int, block: Samples) -> dict[str, Any]:
    assert hosted.audio is not None
    hosted.audio.view(slot, block.shape[1])[:] = block
    return {"n": block.shape[1]}


@contextlib.contextmanager
def _at_work(hosted: Hosted, place: int) -> Iterator[None]:
    """While it runs the engine can see which plugin it is, and so whom to name if this process dies."""
    assert hosted.audio is not None
    hosted.audio.at_work = place
    yield
    hosted.audio.at_work = -1


def _names(hosted: Hosted, asked: dict[str, Any]) -> dict[str, Any]:
    return {"names": host.names_in(asked["path"])}


def _describe(hosted: Hosted, asked: dict[str, Any]) -> dict[str, Any]:
    return {"facts": host.describe(PluginUse(**asked["use"]))}


def _limit_memory(n_bytes: int) -> None:
    """A last resort between two looks of the engine: far more than the plugins may take is refused by the system."""
    try:
        import resource

        held = int(_STATM.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (ImportError, OSError, ValueError):
        return  # Windows, macOS: there the engine's look alone ends it
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = held + 2 * n_bytes
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


_TASKS: Final[dict[str, Callable[[Hosted, dict[str, Any]], dict[str, Any]]]] = {
    "start": _start,
    "load": _load,
    "push": _push,
    "flush": _flush,
    "names": _names,
    "describe": _describe,
}

if __name__ == "__main__":
    sys.exit(main())
