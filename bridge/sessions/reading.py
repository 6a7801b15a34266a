"""A path → the session there, by what it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from bridge.sessions.als import read_als
from bridge.sessions.ardour import read_ardour
from bridge.sessions.ardour_write import write_ardour
from bridge.sessions.dawproject import read_dawproject
from bridge.sessions.dawproject_write import write_dawproject
from bridge.sessions.folder import read_folder
from bridge.sessions.model import NewTrack, Session
from bridge.sessions.rpp import read_rpp, write_rpp
from engine.errors import StembridgeError

READERS: Final[dict[str, Callable[[Path], Session]]] = {
    ".rpp": read_rpp,
    ".rpp-bak": read_rpp,
    ".ardour": read_ardour,
    ".dawproject": read_dawproject,
    ".als": read_als,
}
"""Suffix → reader; a folder is read by `read_folder`."""
WRITERS: Final[dict[str, Callable[[Session, tuple[NewTrack, ...], Path], None]]] = {
    "rpp": write_rpp,
    "ardour": write_ardour,
    "dawproject": write_dawproject,
}
"""Format → writer, for the formats that can be written."""
HOLDING_STEMS: Final = frozenset(("dawproject",))
"""Formats whose new session holds the stems themselves."""


def read_session(path: Path) -> Session:
    """The session at `path`: a file of a DAW, or a folder of audio files.

    Raises `StembridgeError`: `file_not_found`, `file_unreadable`, `bad_session`, `bad_value` for another kind of file.
    """
    if path.is_dir():
        return read_folder(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        if not path.exists():
            raise StembridgeError("file_not_found", f"There is no session {path}.", "Check the path.")
        raise StembridgeError(
            "bad_value",
            f"{path.name} is no session that can be read.",
            f"Use a folder of audio files, or a file that ends in {', '.join(sorted(READERS))}.",
        )
    return reader(path)
