"""Finished results by content: the same samples asked the same way are not separated twice.

A result is one file, `<key>.<digest of its bytes>.wav`, that appears by a rename and leaves by an unlink, so several
processes can share the folder. Its modification time says when it was last used. Files are copied in and only read
afterwards: what a user does to a delivered stem never reaches the cache. Losing the cache loses nothing but time, so no
trouble with it ever fails a job: it is logged, and the result counts as not cached.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

DEFAULT_MAX_BYTES: Final = 4 << 30
KEEP_FREE_BYTES: Final = 1 << 30
"""The cache leaves this much of the disk to others."""
RESULT_VERSION: Final = 1
"""To be raised when the engine makes other samples of the same request."""
_STALE_PART_S: Final = 3600.0
"""A part file older than this was left by a process that died."""
_CHUNK_BYTES: Final = 1 << 20
_KEY: Final = re.compile(r"[0-9a-f]{40}")

logger = logging.getLogger(__name__)


def result_key(source_digest: str, parameters: Mapping[str, Any]) -> str:
    """The name of a result: 40 hex digits of everything that its samples depend on.

    `source_digest` stands for the decoded samples that were heard, `parameters` (JSON values; the order of keys does
    not matter) for all else. Raises `TypeError` or `ValueError` for a parameter that JSON cannot hold.
    """
    content = {"version": RESULT_VERSION, "source": source_digest, "parameters": dict(parameters)}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()


@dataclass(frozen=True)
class CachedResult:
    """A result that was found, and whose bytes are those that were stored."""

    key: str
    path: Path
    """Only to be read, and soon: another process may evict it. A file that is gone when opened counts as not found."""


class ResultCache:
    """The results in `folder`, the least recently used leaving first; together they never exceed `max_bytes`."""

    def __init__(
        self, folder: Path, max_bytes: int = DEFAULT_MAX_BYTES, *, keep_free_bytes: int = KEEP_FREE_BYTES
    ) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._keep_free_bytes = keep_free_bytes

    def find(self, key: str) -> CachedResult | None:
        """The result of that key, with its bytes verified, or None. A damaged one is removed."""
        home = self._home(key)
        try:
            paths = [path for _, _, path in sorted(_files(home), reverse=True) if path.name.startswith(f"{key}.")]
        except OSError as e:
            logger.warning("The cache %s cannot be read: %s", self.folder, e)
            return None
        for path in paths:  # more than one when two processes stored different bytes; the newest first
            try:
                if _digest(path) != path.name.split(".")[1]:
                    logger.warning("The cached result %s is damaged; it was removed.", path)
                    path.unlink(missing_ok=True)
                    continue
                _touch(path)
            except FileNotFoundError:
                continue  # evicted by another process just now
            except OSError as e:
                logger.warning("The cached result %s cannot be read: %s", path, e)
                continue
            return CachedResult(key, path)
        return None

    def holds_one_of(self, least_bytes: int, most_bytes: int) -> bool:
        """Whether any result has that many bytes: none of another size need be looked for by key."""
        try:
            homes = [entry for entry in self.folder.iterdir() if entry.is_dir() and not entry.is_symlink()]
            return any(least_bytes <= size <= most_bytes for home in homes for _, size, _ in _files(home))
        except OSError:  # no cache yet, or none that can be read
            return False

    def store(self, key: str, source: Path) -> bool:
        """Copies the file `source` into the cache; True when it is there now.

        False, with the reason in the log, when it is larger than the whole cache, when the disk has no room, or when a
        file cannot be read or written. Never raises for these.
        """
        part = self.folder / f"{secrets.token_hex(8)}.part"
        try:
            n_bytes = source.stat().st_size
            if n_bytes > self.max_bytes:
                logger.info("%s (%d bytes) is too large for the cache of %d.", source, n_bytes, self.max_bytes)
                return False
            home = self._home(key)
            home.mkdir(parents=True, exist_ok=True)
            self._evict(self.max_bytes - n_bytes)
            free_bytes = shutil.disk_usage(self.folder).free
            if free_bytes - n_bytes < self._keep_free_bytes:
                logger.warning("%s was not cached: only %d bytes are free on the disk.", source, free_bytes)
                return False
            path = home / f"{key}.{_copy(source, part)}.wav"
            _touch(part)
            os.replace(part, path)
        except OSError as e:
            logger.warning("%s could not be cached: %s", source, e)
            return False
        finally:
            _remove(part)
        return True

    def _home(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} is no result key; use result_key()")
        return self.folder / key[:2]

    def _evict(self, max_bytes: int) -> None:
        """Removes the least recently used files until the rest have at most `max_bytes`, and all stale part files."""
        oldest_ns = time.time_ns() - int(_STALE_PART_S * 1e9)
        for used_ns, _, part in _files(self.folder):
            if part.suffix == ".part" and used_ns < oldest_ns:
                _remove(part)
        homes = [self.folder, *(entry for entry in self.folder.iterdir() if entry.is_dir() and not entry.is_symlink())]
        files = sorted(file for home in homes for file in _files(home))
        n_bytes = sum(size for _, size, _ in files)
        for _, size, path in files:
            if n_bytes <= max_bytes:
                break
            if path.suffix == ".wav" and _remove(path):
                n_bytes -= size


def _files(folder: Path) -> Iterator[tuple[int, int, Path]]:
    """(last used in ns, bytes, path) of the cache's files in a folder; nothing when there is no such folder."""
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        try:
            if entry.name.endswith((".wav", ".part")) and entry.is_file(follow_symlinks=False):
                stat = entry.stat(follow_symlinks=False)
                yield stat.st_mtime_ns, stat.st_size, Path(entry.path)
        except FileNotFoundError:
            continue


def _copy(source: Path, destination: Path) -> str:
    """Copies the bytes and answers their digest."""
    digest = hashlib.sha256()
    with source.open("rb") as read, destination.open("xb") as write:
        while chunk := read.read(_CHUNK_BYTES):
            digest.update(chunk)
            write.write(chunk)
    return digest.hexdigest()[:40]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:40]


def _touch(path: Path) -> None:
    """Marks the file as used now, in full nanoseconds: the file system's own clock ticks too coarsely for an order."""
    now_ns = time.time_ns()
    os.utime(path, ns=(now_ns, now_ns))


def _remove(path: Path) -> bool:
    try:
        path.unlink(missing_ok=True)
    except OSError as e:  # on Windows, a file that somebody reads
        logger.info("%s stays for now: %s", path, e)
        return False
    return True
