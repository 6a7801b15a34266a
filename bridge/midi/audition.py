"""Plays a stem to whoever sits at this machine, with the system's own player."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from engine.errors import StembridgeError

PLAYERS: Final = (
    ("pw-play",),
    ("paplay",),
    ("afplay",),
    ("ffplay", "-nodisp", "-autoexit", "-loglevel", "error"),
    ("aplay", "-q"),
)
"""Commands that take a WAV file's path, the first that is installed: PipeWire, PulseAudio, macOS, FFmpeg, ALSA."""
_WINDOWS: Final = "(New-Object Media.SoundPlayer $args[0]).PlaySync()"


def player() -> tuple[str, ...] | None:
    """The command that plays a file; None where there is none."""
    if sys.platform == "win32":
        return ("powershell", "-NoProfile", "-Command", _WINDOWS)
    return next((command for command in PLAYERS if shutil.which(command[0])), None)


class Audition:
    """One stem at a time; a context manager that ends silent."""

    def __init__(self, command: tuple[str, ...] | None) -> None:
        self._command = command
        self._playing: tuple[Path, subprocess.Popen[bytes]] | None = None

    def __enter__(self) -> Audition:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def toggle(self, path: Path) -> bool:
        """Plays a file instead of what plays; the file that plays already stops. Answers whether it plays now.

        Raises `StembridgeError`: `runtime_missing` without a player, `file_not_found`.
        """
        same = self._playing is not None and self._playing[0] == path and self._playing[1].poll() is None
        self.stop()
        if same:
            return False
        if self._command is None:
            raise StembridgeError(
                "runtime_missing",
                "There is no program here that plays sound files.",
                f"Install one of {', '.join(command[0] for command in PLAYERS)}, or listen in the DAW.",
            )
        if not path.is_file():
            raise StembridgeError("file_not_found", f"The stem {path} is no longer on the disk.", "Ask for it again.")
        silent = subprocess.DEVNULL
        process = subprocess.Popen([*self._command, str(path)], stdin=silent, stdout=silent, stderr=silent)
        self._playing = (path, process)
        return True

    def stop(self) -> None:
        """Silence; harmless when nothing plays."""
        if self._playing is not None:
            self._playing[1].terminate()
            try:
                self._playing[1].wait(2.0)
            except subprocess.TimeoutExpired:
                self._playing[1].kill()
                self._playing[1].wait()
            self._playing = None
