"""Which files a request may read and where it may write. A path from the wire is hostile until it has passed here."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

import platformdirs

from engine.errors import StembridgeError

MAX_PATH_BYTES: Final = 4_096
"""Linux's PATH_MAX; the longest of the systems we run on."""
MAX_PATH_PARTS: Final = 256
"""Folders in one path: far above any real one, far below what making them one inside the other can bear."""
MEDIA_ROOTS: Final = ("/media", "/mnt", "/Volumes")
_DOS_DEVICES: Final = frozenset(
    ("CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(10)))
)


@dataclass(frozen=True)
class PathPolicy:
    """Reads lie under one of `read_roots`, writes under `out_root`; both are compared after symlinks are resolved."""

    read_roots: tuple[Path, ...]
    out_root: Path
    typed: bool = False
    """Whether the paths were typed at this machine's keyboard, by a person who may read what the system lets them read:
    network paths (`//server/share`) too, which are never taken from elsewhere."""


def default_out_root() -> Path:
    """The folder `Stembridge` in the user's music folder."""
    return Path(platformdirs.user_music_dir()) / "Stembridge"


def default_policy(roots: Iterable[Path] = (), out_root: Path | None = None) -> PathPolicy:
    """The home folder, the current folder (unless it is the file system's root), mounted media, `roots` and the output.

    A missing folder allows nothing and does no harm.
    """
    out = (out_root or default_out_root()).absolute()
    usual = [Path.home(), Path.cwd(), *(Path(root) for root in MEDIA_ROOTS)]
    allowed = [root.resolve() for root in usual]
    chosen = [root.resolve() for root in roots]
    every = (*(root for root in allowed if root != Path(root.anchor)), *chosen, out.resolve())
    return PathPolicy(tuple(dict.fromkeys(every)), out)


def local_policy(sources: Iterable[Path], out_root: Path) -> PathPolicy:
    """What the person at the keyboard may read: whatever the system lets them. `sources` are the files they named.

    A mapped drive's real path lies on another root than the path typed, so both count.
    """
    absolute = [path.expanduser().absolute() for path in sources]
    roots = {Path(each.anchor) for path in absolute for each in (path, _followed(path))}
    return PathPolicy(tuple(roots), out_root, typed=True)


def is_device_name(name: str) -> bool:
    """Whether Windows takes a file of this name for a device: CON, NUL.wav, com1 …, whatever follows the first dot."""
    return name.split(".")[0].split(":")[0].rstrip(" ").upper() in _DOS_DEVICES


def readable(text: str, policy: PathPolicy, *, folders: bool = False) -> Path:
    """The real path of a regular file, or with `folders` of a folder, that may be read.

    Raises `StembridgeError`: `path_refused` outside the roots and for anything but a regular file; `file_not_found`;
    `file_unreadable` where the system says no. Nothing is opened, so a FIFO or a device cannot block or act.
    """
    path = _plain(text, network=policy.typed)
    try:
        real = path.resolve(strict=True)
    except FileNotFoundError as e:
        _require_inside(path.resolve(), policy.read_roots, text)  # do not tell what exists elsewhere
        raise StembridgeError("file_not_found", f"There is no file {_show(text)}.", "Check the path.") from e
    except (OSError, RuntimeError) as e:  # RuntimeError: a symlink loop, in Python 3.11 and 3.12
        raise StembridgeError(
            "file_unreadable", f"The path {_show(text)} cannot be followed: {e}.", "Check the path and its links."
        ) from e
    _require_inside(real, policy.read_roots, text)
    try:
        mode = real.stat().st_mode
    except OSError as e:
        raise StembridgeError(
            "file_unreadable", f"The file {_show(text)} cannot be looked at: {e.strerror}.", "Check its permissions."
        ) from e
    if not stat.S_ISREG(mode) and not (folders and stat.S_ISDIR(mode)):
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "something else")
        raise StembridgeError("path_refused", f"{_show(text)} is {kind}, not a file.", "Name an audio file.")
    return real


_KINDS: Final = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def writable(text: str | None, policy: PathPolicy) -> Path:
    """The real path of a folder to write stems to: `text`, relative to or inside the output root; None is the root.

    It need not exist yet. Raises `StembridgeError`: `path_refused` outside the root, `output_not_writable` where a file
    is in the way or the nearest existing folder cannot be written.
    """
    root = policy.out_root.resolve()
    try:
        folder = root if text is None else (root / _plain(text, may_be_relative=True)).resolve()
        if text is not None:
            _require_inside(folder, (root,), text, "The output folder")
        nearest = next(p for p in (folder, *folder.parents) if p.exists())
        obstacle = "is a file" if not nearest.is_dir() else "is read-only"
        free = nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
    except (OSError, RuntimeError) as e:  # RuntimeError: a symlink loop, in Python 3.11 and 3.12
        folder, nearest, obstacle, free = root, root, f"cannot be reached ({e})", False
    if not free:
        raise StembridgeError(
            "output_not_writable",
            f"The output folder {_show(text or str(root))} cannot be written: {nearest} {obstacle}.",
            "Choose another folder with --out."
            if policy.typed
            else "Choose another folder with `out`, or start the engine with --out.",
        )
    return folder


def _plain(text: str, *, may_be_relative: bool = False, network: bool = False) -> Path:
    """A path as text that no system reads as anything but a path on a local disk, or with `network` on any.

    Raises `path_refused`.
    """
    if not text:
        raise _refuse(text, "is empty", "Name a file.")
    if "\0" in text:
        raise _refuse(text, "holds a NUL character", "Send a plain path.")
    if len(text.encode(errors="surrogatepass")) > MAX_PATH_BYTES:
        raise _refuse(text, "is too long", f"Use at most {MAX_PATH_BYTES} bytes.")
    try:
        os.fsencode(text)  # half a surrogate pair names no file; a real name that is not UTF-8 passes
    except UnicodeEncodeError as e:
        raise _refuse(text, "holds characters that no file's name can have", "Send a plain path.") from e
    if not network and text.startswith(("\\\\", "//", "\\/", "/\\")):
        raise _refuse(text, "is a network or device path", "Copy the file to a local disk or mount the share.")
    if "://" in text:
        raise _refuse(text, "is a URL", "Send a plain path.")
    if len(PureWindowsPath(text).parts) > MAX_PATH_PARTS:
        raise _refuse(text, "has too many folders", f"Use at most {MAX_PATH_PARTS}.")
    parts = {*PurePosixPath(text).parts, *PureWindowsPath(text).parts}
    if os.name == "nt" and any(map(is_device_name, parts)):
        raise _refuse(text, "names a device", "Name a file.")
    path = Path(text)
    if not path.is_absolute() and not may_be_relative:
        raise _refuse(text, "is relative, and the engine's folder is not yours", "Send the absolute path.")
    return path


def _followed(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a loop of links: `readable` says so
        return path


def _require_inside(real: Path, roots: Iterable[Path], text: str, what: str = "The file") -> None:
    if not any(real.is_relative_to(root) for root in roots):
        where = f" (it leads to {real})" if str(real) != text else ""
        raise _refuse(
            text,
            f"lies outside the allowed folders{where}",
            f"Allowed: {', '.join(str(root) for root in roots)}."
            + (" Start the engine with --root to add a folder." if what == "The file" else " --out sets the folder."),
            what,
        )


def _refuse(text: str, why: str, remedy: str, what: str = "The path") -> StembridgeError:
    return StembridgeError("path_refused", f"{what} {_show(text)} {why}.", remedy)


def _show(text: str) -> str:
    return repr(text if len(text) <= 200 else f"{text[:120]}…{text[-60:]}")
