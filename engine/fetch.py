"""Files from a model hub to this disk: bytes that continue where they stopped, hashes that must fit.

The hub's own library finds the files, carries the token and knows its errors. The bytes are streamed here, into
`NAME.ETAG.part`, because a download of many gigabytes must go on where an earlier run was stopped.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from engine.errors import StembridgeError
from engine.hub import TIMEOUT_S, Remote, check_token, understood

CHUNK_BYTES: Final = 1 << 20
ATTEMPTS: Final = 5
"""In a row that bring no byte, before a download is given up."""
RETRY_WAIT_S = 1.0
"""After the first attempt that fails; doubled after each."""

OnBytes = Callable[[str, int], None]
"""Called with a file's name and the bytes of it that are here; what it raises ends the fetch, and the bytes stay."""


def missing_bytes(remotes: Sequence[Remote], folder: Path) -> int:
    """How much of some files is still to be transferred into `folder`."""
    return sum(max(0, (remote.n_bytes or 0) - _n_here(remote, folder)) for remote in remotes)


def check_space(folder: Path, n_bytes: int) -> None:
    """Raises `StembridgeError` (`disk_full`) unless that much is free where `folder` is or will be."""
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(nearest).free
    if free < n_bytes:
        raise StembridgeError(
            "disk_full",
            f"{n_bytes / 1e9:.1f} GB are needed in {folder} and {free / 1e9:.1f} GB are free.",
            "Free space, or put the models on another disk: XDG_DATA_HOME says where they lie.",
        )


def fetch(
    remotes: Sequence[Remote],
    folder: Path,
    *,
    token: str | None = None,
    sha256: Mapping[str, str] | None = None,
    on_bytes: OnBytes = lambda name, n: None,
) -> None:
    """Bring files into `folder`. What an earlier call left is used: whole files after a look at their hash, parts from
    where they end. `sha256` names hashes that are known beforehand, by file name.

    Raises `StembridgeError` as `engine.hub.look_up` does, and: `fetch_failed` when the connection keeps breaking or the
    bytes are not what the hub or `sha256` says, `disk_full`, `output_not_writable`. Bytes that may be right stay for
    the next call; wrong ones are removed.
    """
    token, known = check_token(token), sha256 or {}
    for remote in remotes:
        _refuse_other(remote, known.get(remote.name))
    for remote in remotes:
        path = folder / remote.name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _alone(folder):
                if not (path.is_file() and _fits(path, remote, known.get(remote.name))):
                    part = _part(remote, folder)
                    _drop_other_parts(part, remote)
                    with part.open("r+b" if part.exists() else "w+b") as file:
                        _transfer(remote, file, token, on_bytes)
                    if not _fits(part, remote, known.get(remote.name)):
                        part.unlink()
                        raise StembridgeError(
                            "fetch_failed",
                            f"{remote.name} of {remote.repository} came through damaged: its hash is not the one that "
                            "the hub names.",
                            "Run the command again: it starts this file anew.",
                        )
                    part.replace(path)
        except OSError as e:
            raise _disk_error(path, e) from e
        on_bytes(remote.name, path.stat().st_size)


def _transfer(remote: Remote, file: IO[bytes], token: str | None, on_bytes: OnBytes) -> None:
    """Stream the rest of a file behind what `file` holds."""
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status  # type: ignore[attr-defined]

    fruitless = 0
    while True:
        have = file.seek(0, os.SEEK_END)
        on_bytes(remote.name, have)
        if remote.n_bytes is not None and have >= remote.n_bytes:
            return
        try:
            with understood(remote.repository, remote.name, token):
                headers = build_hf_headers(token=token, library_name="stembridge")
                headers |= {"Range": f"bytes={have}-", "Accept-Encoding": "identity"}
                with get_session().stream("GET", remote.url, headers=headers, timeout=TIMEOUT_S) as response:
                    hf_raise_for_status(response)
                    if response.status_code != 206:  # the whole file, whatever was asked for
                        have = file.seek(0)
                        file.truncate()
                    for chunk in response.iter_bytes(CHUNK_BYTES):
                        with _on_disk(file):
                            file.write(chunk)
                        have, fruitless = have + len(chunk), 0
                        on_bytes(remote.name, have)
            if remote.n_bytes in (None, have):
                return
        except StembridgeError as e:
            status = e.__cause__.response.status_code if isinstance(e.__cause__, HfHubHTTPError) else 500
            if e.code != "fetch_failed" or (status < 500 and status not in (408, 429)) or fruitless + 1 >= ATTEMPTS:
                raise
        fruitless += 1
        if fruitless >= ATTEMPTS:
            raise StembridgeError(
                "fetch_failed",
                f"{remote.name} of {remote.repository} ends after {have} of {remote.n_bytes} bytes, again and again.",
                "Run the command again later: it goes on from there.",
            )
        time.sleep(RETRY_WAIT_S * 2 ** (fruitless - 1))


def _part(remote: Remote, folder: Path) -> Path:
    return folder / f"{remote.name}.{re.sub(r'[^0-9A-Za-z]', '', remote.etag)[:16]}.part"


def _n_here(remote: Remote, folder: Path) -> int:
    return next((p.stat().st_size for p in (folder / remote.name, _part(remote, folder)) if p.is_file()), 0)


def _drop_other_parts(part: Path, remote: Remote) -> None:
    """Parts of another revision are of no use."""
    for other in part.parent.glob(f"{remote.name}.*.part"):
        if other != part:
            other.unlink()


def _refuse_other(remote: Remote, sha256: str | None) -> None:
    """Refuse before the transfer what the hub itself says is another file than the one that is known."""
    if sha256 and len(remote.etag) == 64 and remote.etag != sha256:
        raise StembridgeError(
            "fetch_failed",
            f"{remote.name} of {remote.repository} has changed: its sha256 is {remote.etag[:12]}…, and this version of "
            f"Stembridge knows {sha256[:12]}….",
            "Update Stembridge; or fetch the folder yourself, look at it, and use `stembridge models import`.",
        )


def _fits(path: Path, remote: Remote, sha256: str | None) -> bool:
    """Whether a file is what the hub, and what is known beforehand, says it is."""
    n_bytes = path.stat().st_size
    if remote.n_bytes not in (None, n_bytes):
        return False
    with path.open("rb") as file:
        if re.fullmatch("[0-9a-f]{40}", remote.etag):  # the hash of a git blob
            blob = hashlib.sha1(b"blob %d\0" % n_bytes, usedforsecurity=False)
            blob.update(file.read())
            if blob.hexdigest() != remote.etag:
                return False
            file.seek(0)
        wanted = {sha256, remote.etag if re.fullmatch("[0-9a-f]{64}", remote.etag) else None} - {None}
        return not wanted or wanted == {hashlib.file_digest(file, "sha256").hexdigest()}


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other fetch into the folder meanwhile; the lock goes with the process. Raises `fetch_failed`."""
    from filelock import Timeout
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    lock = WeakFileLock(folder / ".lock", timeout=0.2)
    try:
        lock.__enter__()
    except Timeout as e:
        raise StembridgeError(
            "fetch_failed", f"Another fetch into {folder} is under way.", "Wait for it to end."
        ) from e
    try:
        yield
    finally:
        lock.__exit__(None, None, None)


@contextmanager
def _on_disk(file: IO[bytes]) -> Iterator[None]:
    """An error of the disk, told from one of the network: the hub's own errors are `OSError` too."""
    try:
        yield
    except OSError as e:
        raise _disk_error(Path(file.name), e) from e


def _disk_error(path: Path, error: OSError) -> StembridgeError:
    if error.errno == errno.ENOSPC:
        return StembridgeError(
            "disk_full", f"The disk is full: {path}.", "Free space and run the command again: it goes on from there."
        )
    return StembridgeError(
        "output_not_writable", f"{path} cannot be written: {error.strerror or error}.", "Mend its folder's permissions."
    )
