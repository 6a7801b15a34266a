"""Stems and their manifest on disk: written beside, then renamed, so that a result appears whole or not at all.

While it is written a stem is `<name>.target.wav.<random>.part`, locked by its writer. A part file whose lock is free
was left by an engine that died; the next separation into that folder removes it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np

from engine.audio import Samples, SourceInfo
from engine.errors import StembridgeError
from engine.request import Keep
from engine.wav import WavWriter

PART: Final = ".part"
MAX_NAME_BYTES: Final = 200
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
        self._parts: dict[str, Path] = {}
        self._writers: dict[str, WavWriter] = {}
        self._locks: list[int] = []
        self.null_peak = 0.0
        self.target_peak = 0.0
        self.mixture_peak = 0.0
        with file_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            remove_dead_parts(folder)
            try:
                for stem in (keep,) if keep != "both" else STEMS if generated else STEMS[:2]:
                    part = folder / f"{name}.{stem}.wav.{secrets.token_hex(4)}{PART}"
                    self._parts[stem] = part
                    self._writers[stem] = WavWriter(
                        part, info.sample_rate, info.channels, time_reference=time_reference, description=description
                    )
                    self._locks.append(_lock(part))
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

    def publish(self, manifest: dict[str, Any]) -> tuple[dict[str, Path], Path]:
        """Give the stems their names and write the manifest last; returns the stems' paths and the manifest's.

        A name that another result holds is not overwritten: ` 2`, ` 3` … is appended. The same result
        (`result_key`) replaces its older copy.
        """
        with file_errors(self._folder):
            for writer in self._writers.values():
                writer.finish()
            name = free_name(self._folder, self._name, manifest["result_key"])
            paths = {stem: self._folder / f"{name}.{stem}.wav" for stem in self._parts}
            described = manifest | {stem: path.name for stem, path in paths.items()}
            text = json.dumps(described, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
            manifest_part = self._folder / f"{name}.json.{secrets.token_hex(4)}{PART}"
            self._parts["manifest"] = manifest_part
            with manifest_part.open("x", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            self._unlock()
            for stem, path in paths.items():
                os.replace(self._parts.pop(stem), path)
            manifest_path = self._folder / f"{name}.json"
            os.replace(self._parts.pop("manifest"), manifest_path)
            _sync_folder(self._folder)
        return paths, manifest_path

    def _unlock(self) -> None:
        while self._locks:
            os.close(self._locks.pop())

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
    return name.rstrip(". ")


def free_name(folder: Path, name: str, result_key: str) -> str:
    """`name`, or `name 2`, `name 3` …: the first that is free or holds the same result."""
    for n in range(1, 10_000):
        candidate = name if n == 1 else f"{name} {n}"
        manifest = folder / f"{candidate}.json"
        stems = [folder / f"{candidate}.{stem}.wav" for stem in STEMS]
        if not manifest.exists() and not any(path.exists() for path in stems):
            return candidate
        if _key_of(manifest) == result_key:
            return candidate
    raise StembridgeError(
        "output_not_writable", f"{folder} holds 10,000 results named {name}.", "Choose another output folder."
    )


def remove_dead_parts(folder: Path) -> list[Path]:
    """Remove the part files of writers that are gone; returns what was removed."""
    removed = []
    for part in folder.glob(f"*{PART}"):
        try:
            descriptor = _lock(part)
        except OSError:
            continue  # its writer lives, or it is gone already
        os.close(descriptor)
        with contextlib.suppress(OSError):
            part.unlink()
            removed.append(part)
    return removed


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


def _key_of(manifest: Path) -> str | None:
    try:
        key = json.loads(manifest.read_text(encoding="utf-8"))["result_key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(key)


if os.name == "nt":
    # Windows itself refuses to unlink an open file: an open descriptor is lock enough.

    def _lock(path: Path) -> int:
        return os.open(path, os.O_RDWR)

    def _sync_folder(folder: Path) -> None:
        pass
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
