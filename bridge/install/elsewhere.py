"""The folders that people named with `install --path`: portable DAWs, and those that lie where nobody looks.

They are written down, so that `doctor` lists them, and the next `install` without a folder brings them up to date too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import platformdirs

from bridge.install.scheme import Host, installed_version
from engine.errors import StembridgeError

_FILE: Final = "installed-elsewhere.json"


def all_folders(host: Host) -> list[Path]:
    """The folders of a DAW on this machine: the usual ones, then the named ones in which its scripts still are."""
    usual = host.folders()
    named = [Path(text) for text in _read().get(host.key, [])]
    return usual + [folder for folder in named if folder not in usual and _is_there(host, folder)]


def remember(key: str, folder: Path) -> None:
    """Writes a folder down. Raises `StembridgeError` (`output_not_writable`)."""
    known = _read()
    if str(folder) not in known.get(key, []):
        _write(known | {key: [*known.get(key, []), str(folder)]})


def forget(key: str, folder: Path) -> None:
    """The scripts are no longer there. Raises `StembridgeError` (`output_not_writable`)."""
    known = _read()
    if str(folder) in known.get(key, []):
        _write(known | {key: [text for text in known[key] if text != str(folder)]})


def _is_there(host: Host, folder: Path) -> bool:
    """A disk that is not plugged in, and a record that cannot be read, count as not there."""
    try:
        return installed_version(host, folder) is not None
    except StembridgeError:
        return False


def _path() -> Path:
    return Path(platformdirs.user_state_dir("stembridge", appauthor=False)) / _FILE


def _read() -> dict[str, list[str]]:
    """Host → folders; what is torn or not ours is passed over."""
    try:
        values = json.loads(_path().read_text(encoding="utf-8"))
        return {key: [text for text in texts if isinstance(text, str)] for key, texts in values.items()}
    except (OSError, ValueError, AttributeError, TypeError):  # nothing was named, or the note is torn
        return {}


def _write(known: dict[str, list[str]]) -> None:
    path = _path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(path.name + ".part")
        draft.write_text(json.dumps(known, ensure_ascii=False, indent=1), encoding="utf-8")
        draft.replace(path)
    except OSError as e:
        raise StembridgeError(
            "output_not_writable", f"{path} cannot be written: {e.strerror}.", "Check who owns the folder."
        ) from e
