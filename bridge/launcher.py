"""The command that starts this very engine, for programs that find none running: DAW scripts, the desktop."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path


def command(mailbox: Path | None = None) -> list[str]:
    """The program and its arguments; `mailbox` where it is not the usual one.

    The `stembridge` beside this Python is the one that was installed with it; without it the module is run, with
    the current folder kept off the search path.
    """
    program = Path(sys.executable).with_name("stembridge.exe" if sys.platform == "win32" else "stembridge")
    start = [str(program)] if program.is_file() else [sys.executable, "-P", "-m", "bridge"]
    return [*start, "serve", *([] if mailbox is None else ["--mailbox", str(mailbox)])]


def background_line(arguments: list[str], log: Path, platform: str = sys.platform) -> str:
    """One line for the system's own shell that starts a command and comes back at once.

    The command outlives the program that starts it, and writes what it says to `log`. A DAW that brings libraries of
    its own puts them before the system's (LD_LIBRARY_PATH); the engine must not load those.
    """
    if platform == "win32":
        return f'start "" /min {subprocess.list2cmdline(arguments)}'
    quoted = shlex.join(arguments)
    return f"env -u LD_LIBRARY_PATH nohup {quoted} </dev/null >>{shlex.quote(str(log))} 2>&1 &"
