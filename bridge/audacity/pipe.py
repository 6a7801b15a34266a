"""Audacity 3's pair of pipes (mod-script-pipe): one command in, its answer out, never longer than a deadline.

Audacity makes the pipes when it starts with the module enabled. Facts that this file is built on, seen in 3.2.4:
its thread opens `to` first and `from` second, each waiting for a partner; when a caller hangs up it makes both pipes
anew; a command is one line of at most 1023 bytes; an answer ends with an empty line; while a dialog is open nothing
is answered. The answer to a caller who has hung up goes to the next one if that was let in meanwhile, so each caller
begins with words that only its own answer holds. On its first start after a change of plugins a helper process of its
own replaces the pipes, and that Audacity never listens: it must be started once more.
"""

from __future__ import annotations

import os
import select
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Final

from engine.errors import StembridgeError

OPEN_S: Final = 5.0
"""How long Audacity may take to listen: it opens the pipes anew after every caller."""
ANSWER_S: Final = 20.0
"""How long an ordinary command may take; they take about 0.1 s."""
MAX_COMMAND_BYTES: Final = 1_023
FINISHED: Final = "BatchCommand finished: "
_POLL_S: Final = 0.02
_WINDOWS_PIPES: Final = (r"\\.\pipe\ToSrvPipe", r"\\.\pipe\FromSrvPipe")


def default_pipes() -> tuple[Path, Path]:
    """The pipes to and from this user's Audacity."""
    if sys.platform == "win32":
        return Path(_WINDOWS_PIPES[0]), Path(_WINDOWS_PIPES[1])
    folder = Path("/tmp")  # fixed in Audacity, whatever TMPDIR says
    return folder / f"audacity_script_pipe.to.{os.getuid()}", folder / f"audacity_script_pipe.from.{os.getuid()}"


class Pipe:
    """A line to one running Audacity; a context manager. Not thread-safe.

    Everything raises `StembridgeError` (`daw_not_answering`) when nobody listens, when another program of ours holds
    the line, and when no answer comes in time.
    """

    def __init__(
        self, pipes: tuple[Path, Path] | None = None, *, open_s: float = OPEN_S, answer_s: float = ANSWER_S
    ) -> None:
        self._answer_s = answer_s
        to_path, from_path = pipes or default_pipes()
        if sys.platform == "win32":
            self._to, self._from = _opened_windows(to_path, from_path)
        else:
            self._to, self._from = _opened(to_path, from_path, open_s)
        self._broken = self._greeted = False

    def __enter__(self) -> Pipe:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hangs up; Audacity then waits for the next caller."""
        os.close(self._to)
        os.close(self._from)

    def ask(self, command: str, *, answer_s: float | None = None) -> str:
        """Sends a command and returns what Audacity says to it, without its last line; `answer_s` where it may take
        longer than others.

        Raises `StembridgeError` too (`daw_refused`) when Audacity does not carry the command out.
        """
        packet, answer_s = f"{command}\n".encode(), answer_s or self._answer_s
        if len(packet) > MAX_COMMAND_BYTES:
            raise StembridgeError(
                "daw_refused",
                f"Audacity takes commands of at most {MAX_COMMAND_BYTES} bytes, and this one has {len(packet)}: "
                f"{command[:60]} …",
                "Use shorter names of tracks and folders.",
            )
        if self._broken:
            raise _silent("it still owes the answer to an earlier command")
        self._broken = True  # until the whole answer is here, the next one could not be told from it
        try:
            if not self._greeted:
                self._greet(answer_s)
            os.write(self._to, packet)
            answer = self._answer(command, answer_s)
        except BrokenPipeError as e:
            raise _silent("it hung up") from e
        self._broken = False
        text, _, state = answer.rstrip().rpartition(FINISHED)
        if state != "OK":
            raise StembridgeError(
                "daw_refused", f"Audacity did not carry out {command[:80]!r}: {answer.strip()[:200]}", "Try again."
            )
        return text.strip()

    def _greet(self, answer_s: float) -> None:
        """Everything up to the answer to this was meant for an earlier caller."""
        word = f"stembridge {os.getpid()} {time.monotonic_ns()}"
        os.write(self._to, f"Message: Text={argument(word)}\n".encode())
        self._answer("Message", answer_s, after=word.encode())
        self._greeted = True

    def _answer(self, command: str, answer_s: float, after: bytes = b"") -> str:
        deadline_s = time.monotonic() + answer_s
        received = answer = b""
        while not (FINISHED.encode() in answer and answer.endswith(b"\n\n")):
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise _silent(f"no answer to {command.split(':')[0]!r} within {answer_s:g} s")
            received += self._more(min(left_s, 0.2))
            answer = received.partition(after)[2] if after else received
        return answer.decode("utf-8", "replace").replace("\r", "").replace("\0", "")

    def _more(self, wait_s: float) -> bytes:
        if sys.platform == "win32":
            return os.read(self._from, 65_536)
        ready, _, _ = select.select([self._from], [], [], wait_s)
        if not ready:
            return b""
        try:
            part = os.read(self._from, 65_536)
        except BlockingIOError:  # it hung up, which `select` saw, and opened the pipe again before it was read
            part = b""
        if not part:  # nobody has the other end open: Audacity has ended, or makes its pipes anew
            time.sleep(_POLL_S)
        return part


def argument(text: str) -> str:
    """A text as an argument of a command, in quotes. Control characters, which a command cannot hold, are dropped."""
    kept = "".join(c for c in text if c >= " " and c != "\x7f")
    return '"' + kept.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _opened(to_path: Path, from_path: Path, open_s: float) -> tuple[int, int]:
    """Both pipes open and not those of an earlier round. Waiting for Audacity is done here, never in `open`."""
    import fcntl

    deadline_s = time.monotonic() + open_s
    why = ""
    while True:
        reading = writing = -1
        try:
            reading = os.open(from_path, os.O_RDONLY | os.O_NONBLOCK)
            fcntl.flock(reading, fcntl.LOCK_EX | fcntl.LOCK_NB)
            writing = os.open(to_path, os.O_WRONLY | os.O_NONBLOCK)
            if os.path.samestat(os.fstat(reading), os.stat(from_path)):
                os.set_blocking(writing, True)
                return writing, reading
        except FileNotFoundError:
            why = "there is no pipe"
        except BlockingIOError:
            why = "another command of Stembridge is talking to it"
        except OSError as e:  # ENXIO: the pipe lies there, and nobody reads it
            why = f"nobody listens on {to_path}" if e.filename == str(to_path) else str(e)
        for descriptor in (reading, writing):
            if descriptor >= 0:
                os.close(descriptor)
        if time.monotonic() >= deadline_s:
            raise _absent(why)
        time.sleep(_POLL_S)


def _opened_windows(to_path: Path, from_path: Path) -> tuple[int, int]:
    try:
        return os.open(to_path, os.O_WRONLY), os.open(from_path, os.O_RDONLY)
    except OSError as e:
        raise _absent(str(e)) from e


def _absent(why: str) -> StembridgeError:
    remedy = (
        "Start Audacity 3 with Preferences > Modules > mod-script-pipe set to Enabled. If it runs, close it and start "
        "it once more: on the first start after a change of plugins it does not listen. Audacity 4 has no such module."
    )
    if why.startswith("another"):
        remedy = "Wait until it has ended."
    return StembridgeError("daw_not_answering", f"Audacity does not listen: {why}.", remedy)


def _silent(why: str) -> StembridgeError:
    return StembridgeError(
        "daw_not_answering", f"Audacity does not answer: {why}.", "Close the dialog that is open in Audacity."
    )
