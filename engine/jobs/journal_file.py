"""Opening the journal's SQLite file, and telling a damaged one from one that is locked, full or out of reach."""

from __future__ import annotations

import logging
import shutil
import sqlite3
from pathlib import Path
from typing import Final

from engine.errors import StembridgeError

SCHEMA_VERSION: Final = 1
_SCHEMA: Final = (
    """
    CREATE TABLE jobs (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order of submission
        id TEXT NOT NULL UNIQUE,
        state TEXT NOT NULL,
        finished_s REAL,                        -- Unix time; NULL while the job is queued or running
        document TEXT NOT NULL                  -- JSON of the other fields
    )
    """,
    "CREATE INDEX jobs_finished ON jobs (finished_s) WHERE finished_s IS NOT NULL",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)
_BUSY_TIMEOUT_S: Final = 2.0
"""How long to wait for an engine that is just closing."""
_LOW_SPACE_BYTES: Final = 1 << 20
"""With less than this left, a failed write is blamed on the full disk, whatever the system called it."""

logger = logging.getLogger(__name__)


class _NewerSchema(Exception):
    """The file was written by a later version of Stembridge."""


def open_database(path: Path | None) -> sqlite3.Connection:
    """The open database with our schema in it; a file we cannot use is set aside first."""
    if path is None:
        return _connect(None)
    try:
        if path.exists() and path.stat().st_size == 0 and _size(Path(f"{path}-wal")) > 0:
            raise sqlite3.DatabaseError("the file is empty but its write-ahead log is not")
        return _connect(path)
    except _NewerSchema as e:
        reason, suffix = str(e), "newer"
    except sqlite3.DatabaseError as e:
        if not _is_damage(e):
            raise
        reason, suffix = str(e), "corrupt"
    aside = _set_aside(path, suffix)
    logger.warning(
        "The job journal %s cannot be used (%s). It was kept as %s and a new one was started.", path, reason, aside
    )
    return _connect(path)


def _connect(path: Path | None) -> sqlite3.Connection:
    database = sqlite3.connect(
        ":memory:" if path is None else path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA journal_size_limit = 16777216")
        database.execute("BEGIN IMMEDIATE")  # takes the lock now, so that a second engine learns of it now
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise _NewerSchema(f"its version is {version}, this Stembridge knows {SCHEMA_VERSION}")
        if version == 0:
            for statement in _SCHEMA:
                database.execute(statement)
        findings = [row[0] for row in database.execute("PRAGMA quick_check(1)")]
        if findings != ["ok"]:
            raise sqlite3.DatabaseError(f"malformed: {findings[0]}")
        database.execute("SELECT seq, id, state, finished_s, document FROM jobs LIMIT 1").fetchall()
        database.execute("COMMIT")
    except BaseException:
        database.close()
        raise
    return database


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """True for a file that is no sound database of ours; false for one that is locked, full or out of reach."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # raised by our own checks
        return type(error) is sqlite3.DatabaseError
    schema_missing = code == sqlite3.SQLITE_ERROR and ("no such" in str(error) or "already exists" in str(error))
    return schema_missing or code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _set_aside(path: Path, suffix: str) -> Path:
    n = 1
    while (aside := Path(f"{path}.{suffix}-{n}")).exists():
        n += 1
    for part in ("-shm", "-wal", ""):  # the file itself last: a kill in between leaves it to be found again
        if Path(f"{path}{part}").exists():
            Path(f"{path}{part}").rename(f"{aside}{part}")
    return aside


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def failure(path: Path | None, error: sqlite3.Error | OSError) -> StembridgeError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StembridgeError("engine_running", f"Another engine has the job journal {path} open.", "Stop it first.")
    low = path is not None and path.parent.exists() and shutil.disk_usage(path.parent).free < _LOW_SPACE_BYTES
    if code == sqlite3.SQLITE_FULL or low:
        return StembridgeError("disk_full", f"There is no room left for the job journal {path}.", "Free some space.")
    return StembridgeError(
        "journal_failed",
        f"The job journal {path} cannot be read or written: {error}.",
        "Check that its folder exists and is writable, then restart the engine.",
    )
