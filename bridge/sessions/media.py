"""Where a session's audio lies: references as they are written, relative, absolute, or of another system."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from bridge.sessions.model import Media, Obstacle
from engine.errors import StembridgeError

MAX_SESSION_BYTES: Final = 256 << 20
"""Above any session we know: those with tens of thousands of clips have some tens of megabytes."""
MAX_TIME_S: Final = 1e7
_COUNT: Final = re.compile("[0-9]{1,18}")
_DRIVE: Final = re.compile(r"[A-Za-z]:[\\/]")


def find_media(reference: str, folder: Path, *, also: Iterable[str] = (), channel: int | None = None) -> Media:
    """A reference of a session in `folder`, looked for where it says, then by its file name in the session's folder and
    in the folders `also` inside it (a session that moved, or came from another system).
    """
    plain = reference.replace("\\", "/") if _DRIVE.match(reference) or "/" not in reference else reference
    name = plain.rsplit("/", 1)[-1]
    places = []
    if not _DRIVE.match(reference) and not reference.startswith(("\\\\", "//")):
        places.append(folder / plain)  # an absolute reference wins over the folder
    if name not in ("", ".", ".."):
        places += [folder / name, *(folder / each / name for each in also)]
    for place in places:
        try:
            if place.is_file():
                return Media(reference, place.absolute(), channel)
        except (OSError, ValueError):  # a name that no file system here can hold
            continue
    return Media(reference, None, channel)


def read_session_bytes(path: Path) -> bytes:
    """The bytes of a session file. Raises `StembridgeError`: `file_not_found`, `file_unreadable`, `bad_session`."""
    try:
        if path.stat().st_size > MAX_SESSION_BYTES:
            raise bad_session(path, f"is larger than {MAX_SESSION_BYTES >> 20} MiB")
        return path.read_bytes()
    except FileNotFoundError as e:
        raise StembridgeError("file_not_found", f"There is no session {path}.", "Check the path.") from e
    except OSError as e:
        raise StembridgeError("file_unreadable", f"{path} cannot be read: {e.strerror}.", "Check it.") from e


def bad_session(path: Path, what: str) -> StembridgeError:
    """The error for a session that cannot be read."""
    return StembridgeError(
        "bad_session", f"{path.name} {what}.", "Open it in the DAW and save it again; or bounce its tracks to a folder."
    )


def number(text: str | None, default: float) -> float:
    """A number as sessions write it; NaN for what is none, so that the clip is named and not guessed."""
    if text is None:
        return default
    try:
        return float(text)
    except ValueError:
        return math.nan


def whole(text: str | None, default: int = -1) -> int:
    """A count of at most 18 plain digits; the default for what is none."""
    return int(text) if text is not None and _COUNT.fullmatch(text) else default


def time_obstacle(position_s: float, length_s: float, source_start_s: float) -> Obstacle:
    """`bad_time` unless all three are times, with some length."""
    sound = all(math.isfinite(t) and 0 <= t <= MAX_TIME_S for t in (position_s, length_s, source_start_s))
    return "" if sound and length_s > 0 else "bad_time"
