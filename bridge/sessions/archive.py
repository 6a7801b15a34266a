"""A session's archive (zip): members read and unpacked within limits, and never outside the folder they belong in."""

from __future__ import annotations

import os
import secrets
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Final

from bridge.sessions.media import bad_session
from engine.errors import StembridgeError

MAX_MEMBERS: Final = 100_000
MAX_XML_BYTES: Final = 256 << 20
MAX_MEDIA_BYTES: Final = 64 << 30
MAX_RATIO: Final = 1_200
"""Deflate reaches about 1,030 on zeros; more is no deflate but a lie in the directory."""
_BLOCK: Final = 1 << 20


def open_archive(path: Path) -> zipfile.ZipFile:
    """The archive, its directory looked through. Raises `StembridgeError`: `file_not_found`, `bad_session`."""
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError as e:
        raise StembridgeError("file_not_found", f"There is no session {path}.", "Check the path.") from e
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as e:
        raise bad_session(path, f"is no archive that can be opened: {e}") from e
    if len(archive.infolist()) > MAX_MEMBERS:
        archive.close()
        raise bad_session(path, f"holds {len(archive.infolist())} files; at most {MAX_MEMBERS} are read")
    return archive


def read_member(archive: zipfile.ZipFile, path: Path, name: str) -> bytes:
    """A small member, whole. Raises `StembridgeError` (`bad_session`) when it is absent, damaged or too large."""
    try:
        with archive.open(name) as file:
            data = file.read(MAX_XML_BYTES + 1)
    except KeyError as e:
        raise bad_session(path, f"holds no {name}") from e
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError) as e:
        raise bad_session(path, f"holds a {name} that cannot be unpacked: {e}") from e
    if len(data) > MAX_XML_BYTES:
        raise bad_session(path, f"holds a {name} larger than {MAX_XML_BYTES >> 20} MiB")
    return data


def safe_member(archive: zipfile.ZipFile, reference: str) -> str | None:
    """The member that a reference names, or None when there is none or its name leads out of a folder."""
    name = reference.replace("\\", "/")
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or ":" in parts[0] or "\0" in name:
        return None
    try:
        info = archive.getinfo(str(PurePosixPath(name)))
    except KeyError:
        return None
    return None if info.is_dir() else info.filename


def extract_member(path: Path, name: str, to: Path) -> None:
    """Unpack one member to the file `to`, whole or not at all.

    Raises `StembridgeError` (`bad_session`), and `OSError` where the disk says no.
    """
    with open_archive(path) as archive:
        info = archive.getinfo(name)
        if info.file_size > MAX_MEDIA_BYTES or info.file_size > MAX_RATIO * max(info.compress_size, 1):
            raise bad_session(path, f"holds {name}, which is not as large as it says ({info.file_size} bytes)")
        to.parent.mkdir(parents=True, exist_ok=True)
        part = to.with_name(f"{to.name}.{secrets.token_hex(4)}.part")
        try:
            with part.open("xb") as file:
                _copy(archive, info, file.fileno(), path)
            os.replace(part, to)
        finally:
            part.unlink(missing_ok=True)


def _copy(archive: zipfile.ZipFile, info: zipfile.ZipInfo, descriptor: int, path: Path) -> None:
    left = info.file_size
    try:
        source = archive.open(info)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError) as e:
        raise bad_session(path, f"holds {info.filename}, which cannot be unpacked: {e}") from e
    with source:
        while True:
            try:
                block = source.read(_BLOCK)
            except (zipfile.BadZipFile, zlib.error, EOFError) as e:
                raise bad_session(path, f"holds {info.filename}, which cannot be unpacked: {e}") from e
            if not block:
                return
            left -= len(block)
            if left < 0:
                raise bad_session(path, f"holds {info.filename}, which is larger than it says")
            at = 0
            while at < len(block):
                at += os.write(descriptor, block[at:])
