"""The mailbox's files: taking a request in whatever state it is, and writing a status that is never seen half-written.

Everything in the folder may have been left by a program that crashed, or by one that means harm.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from bridge.api.forms import parse_object
from bridge.api.protocol import MAX_PACKET_BYTES
from engine.errors import StembridgeError
from engine.jobs.journal import MAX_AGE_S as JOURNAL_MAX_AGE_S

RID: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
MAX_AGE_S: Final = 7 * 86_400.0
"""Requests, and drafts of them, that nobody has taken for this long are removed."""
STATUS_MAX_AGE_S: Final = JOURNAL_MAX_AGE_S
"""Statuses wait for their reader as long as the journal keeps the job: a session may be opened again after weeks."""
SETTLE_S: Final = 1.0
"""A request that cannot be read and is younger than this may still be on its way: it is looked at again."""


class NotYet(Exception):
    """The request may not be complete; it is to be read again later."""


def waiting(folder: Path) -> list[Path]:
    """The request files in order of arrival. Raises `OSError` when the folder cannot be listed."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".json") and RID.fullmatch(entry.name[:-5]):
                try:
                    found.append((entry.stat(follow_symlinks=False).st_mtime_ns, entry.name))
                except FileNotFoundError:  # withdrawn meanwhile
                    continue
    return [folder / name for _, name in sorted(found)]


def take(path: Path) -> dict[str, Any]:
    """The JSON object of a request file, whose `rid` is the file's name.

    Raises `NotYet`, `FileNotFoundError` when it was withdrawn, or `StembridgeError`: `bad_message`, `too_long`,
    `file_unreadable`, `path_refused`.
    """
    # No symlink is followed and a pipe does not block, so only a regular file is ever read.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags)
    except FileNotFoundError:
        raise
    except OSError as e:
        raise StembridgeError("file_unreadable", f"The request {path.name} cannot be opened: {e.strerror}.") from e
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise StembridgeError("bad_message", f"The request {path.name} is not a file.", "Write a JSON file.")
        if os.name == "posix" and status.st_uid != os.geteuid():
            raise StembridgeError(
                "path_refused", f"The request {path.name} belongs to another user.", "Send it as the engine's user."
            )
        if status.st_size > MAX_PACKET_BYTES:
            raise StembridgeError(
                "too_long", f"The request has {status.st_size} bytes.", f"Use at most {MAX_PACKET_BYTES}."
            )
        data = os.read(handle, MAX_PACKET_BYTES + 1)
    finally:
        os.close(handle)
    try:
        fields = parse_object(data.decode("utf-8-sig"))
        if fields.get("rid") != path.stem:
            raise StembridgeError(
                "bad_message", f"The request {path.name} has the rid {str(fields.get('rid'))[:64]!r}.", "Name it so."
            )
    except (StembridgeError, UnicodeDecodeError) as e:
        if 0 <= time.time() - status.st_mtime < SETTLE_S:
            raise NotYet from e
        if isinstance(e, StembridgeError):
            raise
        raise StembridgeError("bad_message", "The request is not UTF-8.", "Write UTF-8 JSON.") from e
    return fields


def write_whole(path: Path, values: Mapping[str, Any]) -> None:
    """Writes a JSON object so that a reader sees it whole or not at all. Raises `OSError`."""
    text = json.dumps(dict(values), ensure_ascii=False, allow_nan=False)
    handle, name = tempfile.mkstemp(prefix=f"{path.stem}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode("utf-8", "replace"))
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def require_private(folder: Path) -> None:
    """Raises `StembridgeError` (`path_refused`) where another user owns the folder or may write to it.

    Who can put a file there gives the engine orders in our name. Windows keeps the user's folders private itself.
    """
    if os.name != "posix":
        return
    found = folder.stat()
    if found.st_uid != os.geteuid():
        raise StembridgeError(
            "path_refused", f"The mailbox folder {folder} belongs to another user.", "Choose another with --mailbox."
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StembridgeError(
            "path_refused", f"Other users may write to the mailbox folder {folder}.", f"Run: chmod 700 '{folder}'"
        )


def sweep(folder: Path, now_s: float, max_age_s: float) -> Iterator[Path]:
    """Removes files older than `max_age_s` at `now_s` (seconds of `time.time`) and yields them; not folders."""
    for path in list(folder.iterdir()) if folder.is_dir() else []:
        try:
            status = path.lstat()
            if not stat.S_ISDIR(status.st_mode) and now_s - status.st_mtime > max_age_s:
                path.unlink()
                yield path
        except OSError:  # gone, or not ours to remove: the next sweep comes
            continue
