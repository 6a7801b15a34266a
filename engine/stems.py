"""Stems and their manifest on disk: written beside, then renamed, so that a result appears whole or not at all.

While it is written a stem is `<name>.target.wav.<random>.part`, locked by its writer. A part file whose lock is free
was left by an engine that died; the next separation into that folder removes it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np

from engine.audio import Samples, Source, SourceInfo
from engine.errors import StembridgeError
from engine.request import MAX_NAME_BYTES, RESERVED_NAME, Keep
from engine.wav import WavWriter

PART: Final = ".part"
_OUR_PART: Final = re.compile(r"\.(?:(?:target|residual|generated_residual)\.wav|json)\.[0-9a-f]{8}\.part$")
MAX_SAME_NAME: Final = 10_000
STEMS: Final = ("target", "residual", "generated_residual")
"""The last one is a generative model's own; it is written when the output is generative and both stems are kept."""


class StemFiles:
    """The stems of one separation while they are written. A context manager: leaving it without `publish`
    removes every trace.

    Raises `StembridgeError`: `output_not_writable`, `disk_full`.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        keep: Keep,
        info: SourceInfo,
        *,
        time_reference: int,
        description: str,
        generated: bool = False,
    ) -> None:
        self._folder, self._name = folder, name
        self._info, self._place, self._description = info, time_reference, description
        self._parts: dict[str, Path] = {}
        self._writers: dict[str, WavWriter] = {}
        self._locks: dict[Path, int] = {}
        self.null_peak = 0.0
        self.target_peak = 0.0
        self.mixture_peak = 0.0
        with file_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            remove_dead_parts(folder)
            try:
                with _folder_lock(folder):
                    for stem in (keep,) if keep != "both" else STEMS if generated else STEMS[:2]:
                        self._begin(stem)
            except BaseException:
                self._discard()
                raise

    def __enter__(self) -> StemFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._discard()

    def write(self, mixture: Samples, target: Samples, generated_residual: Samples | None = None) -> None:
        """Append `(channel, sample)` blocks; the residual is the float32 subtraction."""
        residual = mixture - target
        blocks = {"target": target, "residual": residual, "generated_residual": generated_residual}
        # What a DAW hears when it plays both stems: the float32 sum of what is on disk.
        self.null_peak = max(self.null_peak, float(np.max(np.abs(target + residual - mixture), initial=0.0)))
        self.target_peak = max(self.target_peak, float(np.max(np.abs(target), initial=0.0)))
        self.mixture_peak = max(self.mixture_peak, float(np.max(np.abs(mixture), initial=0.0)))
        with file_errors(self._folder):
            for stem, writer in self._writers.items():
                block = blocks[stem]
                assert block is not None
                writer.write(block)

    def _begin(self, stem: str) -> None:
        part = self._folder / f"{self._name}.{stem}.wav.{secrets.token_hex(4)}{PART}"
        self._parts[stem] = part
        self._writers[stem] = WavWriter(
            part,
            self._info.sample_rate,
            self._info.channels,
            time_reference=self._place,
            description=self._description,
        )
        self._locks[part] = _lock(part)

    def finish(self) -> dict[str, Path]:
        """The stems are whole; returns where they lie until they are published. Nothing is written after it."""
        with file_errors(self._folder):
            for stem in [*self._writers]:
                self._writers[stem].finish()
                del self._writers[stem]
        return dict(self._parts)

    def replace(self, stem: str, change: Callable[[Iterator[Samples]], Iterator[Samples]]) -> None:
        """Put what `change` makes of a finished stem's `(channel, sample)` blocks in its place."""
        old = self._parts[stem]
        with Source((old,)) as source, file_errors(self._folder):
            try:
                with _folder_lock(self._folder):
                    self._begin(stem)
                for block in change(source.blocks(0, source.info.samples)):
                    self._writers[stem].write(block)
                self.finish()
            finally:  # Windows removes no file that is open
                source.close()
                os.close(self._locks.pop(old))
                old.unlink(missing_ok=True)

    def publish(self, manifest: dict[str, Any]) -> tuple[dict[str, Path], Path]:
        """Give the stems their names and write the manifest last; returns the stems' paths and the manifest's.

        Nothing is overwritten: where the name is taken ` 2`, ` 3` … is appended.
        """
        self.finish()
        with file_errors(self._folder), _folder_lock(self._folder):
            name = free_name(self._folder, self._name)
            paths = {stem: self._folder / f"{name}.{stem}.wav" for stem in self._parts}
            manifest_part = self._folder / f"{name}.json.{secrets.token_hex(4)}{PART}"
            described = {stem: path.name for stem, path in paths.items()}
            sizes = {stem: part.stat().st_size for stem, part in self._parts.items()}
            self._parts["manifest"] = manifest_part
            _write_manifest(manifest_part, manifest | described | {"bytes": sizes})
            self._unlock()
            for stem, path in paths.items():
                os.replace(self._parts.pop(stem), path)
            manifest_path = self._folder / f"{name}.json"
            os.replace(self._parts.pop("manifest"), manifest_path)
            _sync_folder(self._folder)
        return paths, manifest_path

    def _unlock(self) -> None:
        while self._locks:
            os.close(self._locks.popitem()[1])

    def _discard(self) -> None:
        self._unlock()
        for writer in self._writers.values():
            writer.close()
        while self._parts:
            _, part = self._parts.popitem()
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


def stem_name(source: Path, prompt: str) -> str:
    """`<source>.<prompt>` as a file name every file system takes: no separators, no reserved characters, not long."""
    words = "".join(c if c.isalnum() or c in " -_'" else " " for c in prompt)
    name = f"{source.stem}.{' '.join(words.split()) or 'span'}"
    while len(os.fsencode(name)) > MAX_NAME_BYTES:
        name = name[:-1]
    name = name.rstrip(". ")
    return f"_{name}" if RESERVED_NAME.fullmatch(name) else name


def free_name(folder: Path, name: str) -> str:
    """`name`, or `name 2`, `name 3` …: the first that nothing holds."""
    for candidate in _names(name):
        if not any(path.exists() for path in _files_of(folder, candidate)):
            return candidate
    raise StembridgeError(
        "output_not_writable", f"{folder} holds 10,000 results named {name}.", "Choose another output folder."
    )


def find_delivered(folder: Path, name: str, identity: Mapping[str, Any]) -> Path | None:
    """The manifest of the same result, delivered here before and untouched since; None where there is none.

    `identity` is what its manifest must say. A stem that was edited, by its size or its time, is the user's own now.
    """
    for candidate in _names(name):
        if not any(path.exists() for path in _files_of(folder, candidate)):
            return None
        manifest = folder / f"{candidate}.json"
        try:
            said = json.loads(manifest.read_text(encoding="utf-8"))
            written_ns = manifest.stat().st_mtime_ns
            stems = [((folder / said[stem]).stat(), size) for stem, size in said["bytes"].items()]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        whole = all(stem.st_size == size and stem.st_mtime_ns <= written_ns for stem, size in stems)
        if whole and stems and all(said.get(key) == value for key, value in identity.items()):
            return manifest
    return None


def remove_dead_parts(folder: Path) -> list[Path]:
    """Remove the part files of writers that are gone; returns what was removed. Other programs' are not touched."""
    removed = []
    with _folder_lock(folder):
        for part in folder.glob(f"*{PART}"):
            if _OUR_PART.search(part.name) is None:
                continue
            try:
                descriptor = _lock(part)
            except OSError:
                continue  # its writer lives, or it is gone already
            os.close(descriptor)
            with contextlib.suppress(OSError):
                part.unlink()
                removed.append(part)
    return removed


def _names(name: str) -> Iterator[str]:
    return (name if n == 1 else f"{name} {n}" for n in range(1, MAX_SAME_NAME))


def _files_of(folder: Path, name: str) -> list[Path]:
    return [folder / f"{name}.json", *(folder / f"{name}.{stem}.wav" for stem in STEMS)]


def _write_manifest(path: Path, content: Mapping[str, Any]) -> None:
    # a name that is not Unicode (Linux allows it) is written as JSON's own escape
    with path.open("x", encoding="utf-8", errors="backslashreplace") as file:
        file.write(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def file_errors(folder: Path) -> Iterator[None]:
    """Turn the file system's errors into ours, naming the folder."""
    try:
        yield
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StembridgeError(
                "disk_full", f"There is no room left in {folder}: {e.strerror}.", "Free some space, or choose another."
            ) from e
        raise StembridgeError(
            "output_not_writable",
            f"{folder} cannot be written: {e.strerror or e}.",
            "Choose another output folder, or change its permissions.",
        ) from e


if os.name == "nt":
    # Windows itself refuses to unlink an open file: an open descriptor is lock enough.

    def _lock(path: Path) -> int:
        return os.open(path, os.O_RDWR)

    def _sync_folder(folder: Path) -> None:
        pass

    @contextlib.contextmanager
    def _folder_lock(folder: Path) -> Iterator[None]:
        yield
else:
    import fcntl

    def _lock(path: Path) -> int:
        descriptor = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def _sync_folder(folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _folder_lock(folder: Path) -> Iterator[None]:
        """One writer at a time looks for dead parts, begins, or gives names in a folder; held for milliseconds."""
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # a file system without locks: as before locks were invented
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
