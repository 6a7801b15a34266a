"""Source files in: opened, checked and read in blocks; the only seconds → samples arithmetic.

A source is one file with all its channels, or several files whose channels are stacked (Ardour keeps a stereo take
as two mono files). Nothing here reads a whole file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np
import numpy.typing as npt
import soundfile

from engine.errors import StembridgeError
from engine.request import SeparationRequest
from engine.riff import missing_bytes

Samples = npt.NDArray[np.float32]

MIN_RATE_HZ: Final = 8_000
MAX_RATE_HZ: Final = 192_000
MAX_CHANNELS: Final = 64
MAX_REGION_S: Final = 12 * 3600.0
READ_BLOCK_SAMPLES: Final = 1 << 16


@dataclass(frozen=True)
class SourceInfo:
    """What a source is, without its samples."""

    paths: tuple[Path, ...]
    sample_rate: int
    """Hz."""
    channels: int
    samples: int
    """Per channel."""
    formats: tuple[str, ...]
    """libsndfile's names, such as `WAV/PCM_24`."""


@dataclass(frozen=True)
class Region:
    """Sample counts in the file: what is read (with context) and what of it is returned."""

    read_start: int
    start: int
    end: int
    read_end: int

    @property
    def samples(self) -> int:
        """Length of what is returned."""
        return self.end - self.start

    def returned(self, sample_rate: int, at_rate: int) -> tuple[int, int]:
        """First and end of what is returned, counted from what is read, in samples of another rate."""
        first, end = self.start - self.read_start, self.end - self.read_start
        return first * at_rate // sample_rate, -(-end * at_rate // sample_rate)


def sample_at(time_s: float, sample_rate: int) -> int:
    """The sample nearest to a time; exact for every time that was made from a sample count at this rate."""
    return round(time_s * sample_rate)


def inspect(paths: tuple[Path, ...]) -> SourceInfo:
    """Read the headers of a source.

    Raises `StembridgeError`: `file_not_found`, `file_unreadable`, `not_audio`, `empty_audio`, `bad_source`.
    """
    with Source(paths) as source:
        return source.info


def resolve(request: SeparationRequest, info: SourceInfo) -> Region:
    """The request's times as sample counts of this source.

    Raises `StembridgeError`: `bad_region` outside the file, `bad_span` outside what is heard, `too_long`.
    """
    rate = info.sample_rate
    item_start = min(sample_at(request.item_start_s, rate), info.samples)
    item_end = info.samples if request.item_end_s is None else min(sample_at(request.item_end_s, rate), info.samples)
    start = sample_at(request.start_s, rate)
    end = item_end if request.end_s is None else sample_at(request.end_s, rate)
    length_s = info.samples / rate
    if not item_start <= start < end <= item_end:
        raise StembridgeError(
            "bad_region",
            f"The region {start / rate:.6g} to {end / rate:.6g} s does not lie inside the "
            f"{'item' if (item_start, item_end) != (0, info.samples) else 'file'} "
            f"({item_start / rate:.6g} to {item_end / rate:.6g} s of {length_s:.6g} s).",
            "Give a start before the end, both inside it.",
        )
    if end - start > MAX_REGION_S * rate:
        raise StembridgeError(
            "too_long", f"The region is {(end - start) / rate:.0f} s long.", f"Use at most {MAX_REGION_S:.0f} s."
        )
    context = sample_at(request.context_s, rate)
    region = Region(max(item_start, start - context), start, end, min(item_end, end + context))
    for span in request.spans:
        if sample_at(span.end_s, rate) <= region.read_start or sample_at(span.start_s, rate) >= region.read_end:
            raise StembridgeError(
                "bad_span",
                f"The span {span.sign}{span.start_s:g}:{span.end_s:g} lies outside what is heard "
                f"({region.read_start / rate:.6g} to {region.read_end / rate:.6g} s of the file).",
                "Spans are in seconds from the start of the file; they must touch the region or its context.",
            )
    return region


class Source:
    """An open source. A context manager; reads are exact, in the source's own rate and channel order."""

    def __init__(self, paths: tuple[Path, ...]) -> None:
        self._files: list[soundfile.SoundFile] = []
        try:
            for path in paths:
                self._files.append(_open(path))
            self.info = self._describe(paths)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every file; safe to call twice."""
        for file in self._files:
            file.close()

    def blocks(self, start: int, end: int, size: int = READ_BLOCK_SAMPLES) -> Iterator[Samples]:
        """Yield `(channel, sample)` float32 blocks that cover `start` to `end` (sample counts) in order.

        Raises `StembridgeError`: `bad_samples` for NaN or infinity, `not_audio` when the file ends too early.
        """
        for file, path in zip(self._files, self.info.paths, strict=True):
            try:
                file.seek(start)
            except (soundfile.LibsndfileError, OSError) as e:
                raise _broken(path, f"cannot be read at sample {start}: {e}") from e
        for block_start in range(start, end, size):
            n = min(size, end - block_start)
            parts = [self._read(i, block_start, n) for i in range(len(self._files))]
            block = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
            if not np.isfinite(block).all():
                where = block_start + int(np.argmin(np.isfinite(block).all(axis=1)))
                raise StembridgeError(
                    "bad_samples",
                    f"{self.info.paths[0].name} holds NaN or infinity at {where / self.info.sample_rate:.3f} s.",
                    "Render the clip again in the DAW, or repair it with an audio editor.",
                )
            yield np.ascontiguousarray(block.T)

    def _read(self, index: int, start: int, n: int) -> Samples:
        path = self.info.paths[index]
        try:
            part: Samples = self._files[index].read(n, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, OSError) as e:
            raise _broken(path, f"cannot be decoded at sample {start}: {e}") from e
        if len(part) < n:
            raise _broken(path, f"ends after {start + len(part)} of {self.info.samples} samples")
        return part

    def _describe(self, paths: tuple[Path, ...]) -> SourceInfo:
        rates = {file.samplerate for file in self._files}
        lengths = {file.frames for file in self._files}
        channels = sum(file.channels for file in self._files)
        if len(rates) > 1 or len(lengths) > 1:
            shown = ", ".join(f"{f.samplerate} Hz/{f.frames} samples" for f in self._files)
            raise StembridgeError(
                "bad_source",
                f"The source's files differ in rate or length: {shown}.",
                "Give files that were recorded or bounced together.",
            )
        (rate,), (samples,) = rates, lengths
        if not MIN_RATE_HZ <= rate <= MAX_RATE_HZ or channels > MAX_CHANNELS:
            raise StembridgeError(
                "bad_source",
                f"{paths[0].name} has {channels} channels at {rate} Hz.",
                f"Use {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz and at most {MAX_CHANNELS} channels.",
            )
        if samples <= 0:
            raise StembridgeError("empty_audio", f"{paths[0].name} holds no samples.", "Choose a file with audio.")
        formats = tuple(f"{file.format}/{file.subtype}" for file in self._files)
        return SourceInfo(paths, rate, channels, samples, formats)


def _open(path: Path) -> soundfile.SoundFile:
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as e:
        raise StembridgeError(
            "file_not_found", f"There is no file {path}.", "Check the path; save or bounce the clip first."
        ) from e
    except (OSError, ValueError) as e:
        raise StembridgeError("file_unreadable", f"{path} cannot be read: {e}.", "Check its permissions.") from e
    if not stat.S_ISREG(mode):
        raise StembridgeError("file_unreadable", f"{path} is not a regular file.", "Give the path of an audio file.")
    try:
        missing = missing_bytes(path)  # it opens the file: libsndfile's own message hides a lack of permission
        if missing > 0:
            raise _broken(path, f"is truncated: {missing} bytes that its header promises are not there")
        # bytes on systems whose file names are bytes: they need not be Unicode
        return soundfile.SoundFile(path if os.name == "nt" else os.fsencode(path))
    except soundfile.LibsndfileError as e:
        if path.stat().st_size == 0:
            raise StembridgeError("empty_audio", f"{path.name} is empty (0 bytes).", "Choose a file with audio.") from e
        raise _broken(path, f"is not audio that can be decoded: {e.error_string.rstrip('.')}") from e
    except OSError as e:
        raise StembridgeError("file_unreadable", f"{path} cannot be read: {e}.", "Check its permissions.") from e


def _broken(path: Path, what: str) -> StembridgeError:
    return StembridgeError(
        "not_audio", f"{path.name} {what}.", "Use WAV, AIFF, FLAC, OGG or MP3; bounce the clip again if it is damaged."
    )
