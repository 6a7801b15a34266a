"""Whole `stembridge extract` processes: speed, memory, and the torch original on the same file in the same run."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import soundfile

from benchmarks.table import Figure

EXCERPT: Final = Path(__file__).parent.parent / "engine" / "demo" / "mixture.flac"
REPEATS: Final = 3


def long_file(folder: Path, seconds: float) -> Path:
    """The demo's excerpt, stereo at 44.1 kHz, repeated to a length; written once, in blocks."""
    path = folder / f"mixture-{seconds:.0f}s.wav"
    if not path.exists():
        excerpt, rate = soundfile.read(EXCERPT, dtype="float32")
        left = round(seconds * rate)
        with soundfile.SoundFile(path, "w", rate, excerpt.shape[1], "PCM_16", format="WAV") as file:
            while left > 0:
                file.write(excerpt[:left])
                left -= min(left, len(excerpt))
    return path


def run_measured(command: list[str]) -> tuple[float, float]:
    """Run a process to its end: wall seconds and its peak resident memory in MB. Raises when it fails."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return wall_s, usage.ru_maxrss / 1024


def extract(source: Path, out: Path) -> tuple[float, float]:
    """`stembridge extract` as a user calls it; it keeps no cache."""
    for stale in out.glob("*"):
        stale.unlink()
    command = [sys.executable, "-m", "bridge", "extract", str(source), "--prompt", "vocals", "--out", str(out)]
    return run_measured(command)


def original(source: Path) -> float:
    """Seconds the torch original takes for the same file, by its own account."""
    command = [sys.executable, "-m", "benchmarks.spleeter_torch", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[0])


def figures(folder: Path, *, with_hour: bool = True) -> Iterator[Figure]:
    """Every figure of this module, as it is measured. Reads and writes below `folder`."""
    song, out = long_file(folder, 240), folder / "out"
    out.mkdir(exist_ok=True)
    runs = [extract(song, out) for _ in range(REPEATS)]
    song_s, song_mb = statistics.median(run[0] for run in runs), max(run[1] for run in runs)
    shown = f"4 min stereo 44.1 kHz, whole process, median of {REPEATS}"
    yield Figure("extract, end to end", 240 / song_s, "× real time", 25, ">=", shown)
    yield Figure("extract, peak memory", song_mb, "MB", 700, "<=", f"the same, largest of {REPEATS}")
    original_s = statistics.median(original(song) for _ in range(REPEATS))
    shown = f"same file, same run, medians of {REPEATS}: {original_s:.1f} s, its imports not counted, to {song_s:.1f} s"
    yield Figure("speed over the torch original", original_s / song_s, "×", 2, ">=", shown)
    if with_hour:
        hour_s, hour_mb = extract(long_file(folder, 3600), out)
        yield Figure("1 hour, peak memory over 4 min", hour_mb / song_mb, "×", 1.15, "<=", f"{hour_mb:.0f} MB, one run")
        yield Figure("1 hour, end to end", 3600 / hour_s, "× real time", None, ">=", "stereo 44.1 kHz, one run")


def noise_file(path: Path, seconds: float, seed: int) -> Path:
    """A short seeded file, different for every seed, so that no cache knows it."""
    rng = np.random.default_rng(seed)
    excerpt, rate = soundfile.read(EXCERPT, dtype="float32")
    n = round(seconds * rate)
    soundfile.write(path, excerpt[:n] + 1e-3 * rng.standard_normal((n, 2)), rate, subtype="PCM_24")
    return path
