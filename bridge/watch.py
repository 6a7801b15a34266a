"""A folder for DAWs without scripts: audio dropped in `In/` comes back as stems in `Out/`.

`name - prompt.wav` is separated by what stands after the last ` - `, read as a track's name; a file without one by its
whole name. A `.json` of the same name carries any other fields of a submit. What was done is written down by content,
so that it is done once; whatever goes wrong lies as a text beside the stems.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bridge.api.forms import parse_object
from bridge.asking.intake import to_request
from bridge.asking.paths import PathPolicy
from engine import audio
from engine.errors import Cancelled, ExitCode, StembridgeError, internal
from engine.request import Separation, SeparationRequest
from engine.riff import read_time_reference

IN: Final = "In"
OUT: Final = "Out"
LEDGER: Final = ".stembridge-done.jsonl"
SUFFIXES: Final = (".wav", ".flac", ".aif", ".aiff", ".ogg", ".mp3", ".w64", ".caf", ".bwf")
SETTLE_S: Final = 2.0
"""A file is taken when size and time have not changed for this long: a DAW that writes one changes it more often."""
UNREADABLE_S: Final = 30.0
"""How long a settled file that is no audio is given to become one, before that is said."""
OURS: Final = ("path", "path+", "out", "name")
"""Fields that the folder itself decides."""

Run = Callable[[SeparationRequest, Callable[[], bool]], Separation]
Look = tuple[int, int, int, int]
"""Size and time (ns) of a file and of its `.json` (0 where there is none)."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What came of one file."""

    source: Path
    result: Separation | None
    error: StembridgeError | None


@dataclass
class Watch:
    """The state of one watched folder; `open_folder` makes it."""

    folder: Path
    run: Run
    clock: Callable[[], float] = time.monotonic
    done: set[str] = field(default_factory=set)
    """Keys of the ledger."""
    seen: dict[Path, tuple[Look, float]] = field(default_factory=dict)
    """How each file looked, and since when (s of `clock`)."""
    handled: dict[Path, Look] = field(default_factory=dict)
    """Files with which there is nothing to do as long as they look so."""


def open_folder(folder: Path, run: Run, *, clock: Callable[[], float] = time.monotonic) -> Watch:
    """Makes `In` and `Out` and reads what was done before. Raises `StembridgeError` (`output_not_writable`)."""
    try:
        for name in (IN, OUT):
            (folder / name).mkdir(parents=True, exist_ok=True)
        lines = _lines(folder / LEDGER)
    except OSError as e:
        raise StembridgeError(
            "output_not_writable", f"The folder {folder} cannot be used: {e.strerror}.", "Choose another folder."
        ) from e
    return Watch(folder, run, clock, {line["key"] for line in lines if isinstance(line.get("key"), str)})


def look(watch: Watch, *, stopped: Callable[[], bool] = lambda: False) -> Iterator[Outcome]:
    """One round over `In`: separates every file that is complete and new, in order of name. Returns early when
    `stopped`. Raises `StembridgeError` (`output_not_writable`) when the folder or its ledger is gone.
    """
    try:
        paths = sorted(path for path in (watch.folder / IN).iterdir() if _is_audio(path))
    except OSError as e:
        raise StembridgeError(
            "output_not_writable", f"{watch.folder / IN} cannot be listed: {e.strerror}.", "Is the disk mounted?"
        ) from e
    for gone in watch.seen.keys() - set(paths):
        del watch.seen[gone]
        watch.handled.pop(gone, None)
    for path in paths:
        if stopped():
            return
        looks = _look(path)
        if looks is None or watch.handled.get(path) == looks or not _settled(watch, path, looks):
            continue
        outcome = _take(watch, path, looks, stopped)
        if outcome is not None:
            yield outcome


def unsettled(watch: Watch) -> bool:
    """Whether a file lies in `In` with which something may still be to do."""
    return any(path not in watch.handled for path in watch.seen)


def fields_of(path: Path) -> dict[str, Any]:
    """The fields of the submit that a dropped file means.

    Raises `StembridgeError`: `bad_message`, `bad_value`, `file_unreadable`, all about its `.json`.
    """
    _, dash, said = path.stem.rpartition(" - ")
    fields: dict[str, Any] = {"track": said.strip() if dash and said.strip() else path.stem}
    sidecar = path.with_suffix(".json")
    if sidecar.exists():
        try:
            fields |= parse_object(sidecar.read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError) as e:
            raise StembridgeError("file_unreadable", f"{sidecar.name} cannot be read: {e}.", "Write UTF-8 JSON.") from e
        for key in OURS:
            if key in fields:
                raise StembridgeError(
                    "bad_value", f"{sidecar.name} has the key {key!r}.", "The folder decides that; leave it out."
                )
    return fields | {"path": str(path), "name": path.stem}


def _take(watch: Watch, path: Path, looks: Look, stopped: Callable[[], bool]) -> Outcome | None:
    """Separates one settled file. None when it was done before, is not complete yet, or was stopped."""
    try:
        key = _key(path)
        if key in watch.done:
            watch.handled[path] = looks
            return None
        info = audio.inspect((path,))
        fields = fields_of(path)
        reference = read_time_reference(path)
        if reference is not None and "position" not in fields:
            fields["position"] = str(reference / info.sample_rate)
        request = to_request(fields, PathPolicy(((watch.folder / IN).resolve(),), watch.folder / OUT))
        if _look(path) != looks:  # it went on growing while it was read
            return None
        result = watch.run(request, stopped)
    except Cancelled:
        return None  # not written down: it is done at the next start
    except FileNotFoundError:
        return None  # taken away meanwhile
    except StembridgeError as e:
        still_coming = e.code in ("not_audio", "empty_audio", "file_unreadable", "file_not_found")
        if still_coming and watch.clock() - watch.seen[path][1] < UNREADABLE_S:
            return None
        return _failed(watch, path, looks, e)
    except Exception as e:
        logger.exception("The file %s failed.", path)
        return _failed(watch, path, looks, internal(e))
    watch.handled[path] = looks
    (watch.folder / OUT / f"{path.stem}.error.txt").unlink(missing_ok=True)
    _write_down(watch, {"key": key, "file": path.name, "manifest": result.manifest.name})
    return Outcome(path, result, None)


def _failed(watch: Watch, path: Path, looks: Look, error: StembridgeError) -> Outcome:
    """Says what is wrong beside the stems. A wrong request is written down; one that the machine was not ready for is
    tried again at the next start.
    """
    watch.handled[path] = looks
    note = watch.folder / OUT / f"{path.stem}.error.txt"
    text = f"{path.name}: {error.text}\n{error.remedy}\n[{error.code}]\n"
    try:
        draft = note.with_name(note.name + ".part")
        draft.write_text(text, encoding="utf-8")
        draft.replace(note)
    except OSError as e:
        logger.warning("%s cannot be written: %s.", note, e)
    if error.exit_code is ExitCode.BAD_REQUEST:
        try:
            _write_down(watch, {"key": _key(path), "file": path.name, "error": error.code})
        except OSError:  # the file itself is gone: nothing is left to be done twice
            logger.info("%s was taken away.", path)
    return Outcome(path, None, error)


def _is_audio(path: Path) -> bool:
    hidden = path.name.startswith((".", "~"))
    return path.suffix.lower() in SUFFIXES and not hidden and not path.is_symlink() and path.is_file()


def _look(path: Path) -> Look | None:
    try:
        audio_file = path.stat()
    except OSError:
        return None
    try:
        sidecar = path.with_suffix(".json").stat()
    except OSError:
        return audio_file.st_size, audio_file.st_mtime_ns, 0, 0
    return audio_file.st_size, audio_file.st_mtime_ns, sidecar.st_size, sidecar.st_mtime_ns


def _settled(watch: Watch, path: Path, looks: Look) -> bool:
    before = watch.seen.get(path)
    if before is None or before[0] != looks:
        watch.seen[path] = (looks, watch.clock())
        return False
    return looks[0] > 0 and watch.clock() - before[1] >= SETTLE_S


def _key(path: Path) -> str:
    """What makes a drop the same drop: its name, its content and its `.json`. Raises `OSError`."""
    digest = hashlib.sha256(path.name.encode("utf-8", "surrogateescape") + b"\0")
    with path.open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
    sidecar = path.with_suffix(".json")
    if sidecar.exists():
        digest.update(sidecar.read_bytes())
    return digest.hexdigest()


def _lines(path: Path) -> list[dict[str, Any]]:
    """The ledger's lines; a torn one is passed over. Raises `OSError`."""
    lines = []
    try:
        texts = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    for text in texts:
        try:
            line = json.loads(text)
        except ValueError:
            continue  # the machine went down while it was written: that file is done again
        if isinstance(line, dict):
            lines.append(line)
    return lines


def _write_down(watch: Watch, line: dict[str, Any]) -> None:
    """Adds a line to the ledger, on the disk before this returns. Raises `StembridgeError` (`output_not_writable`)."""
    try:
        with (watch.folder / LEDGER).open("ab") as file:
            file.write(b"\n" * _is_torn(watch.folder / LEDGER) + json.dumps(line, ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as e:
        raise StembridgeError(
            "output_not_writable", f"{watch.folder / LEDGER} cannot be written: {e.strerror}.", "Free some space."
        ) from e
    watch.done.add(line["key"])


def _is_torn(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"
