"""A batch that is killed over and over: what is left when it has come to its end, held against an undisturbed run.

Run it: `python -m benchmarks.kills` (60 jobs, 20 kills; a few minutes on two cores). It counts and measures no time:
whatever else the machine does is welcome, for it moves the moments.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import soundfile

from benchmarks.table import Figure, save, show

RATE_HZ: Final = 44_100
CLIP_S: Final = 0.5
OFFSET_S: Final = 0.125
LIMIT_S: Final = 900.0
"""For one life of the process, and for each wait: only a defect takes that long."""
_LATE_S: Final = 0.15
"""A kill comes up to this long after a job has begun: through its work, its end, and the begin of the next."""
_COMMAND: Final = """
import sys
from bridge.batch import run as batch_run
from bridge.__main__ import main
real = batch_run._Publisher
def note(*words):
    with open(sys.argv[1], "a") as log:
        log.write(" ".join(words) + "\\n")
class Noted(real):
    def open(self, key, request):
        note("again" if self.finished(key) else "open", key)
        return super().open(key, request)
    def finish(self, key, *rest):
        made = super().finish(key, *rest)
        note("finish", key)
        return made
batch_run._Publisher = Noted
sys.exit(main(sys.argv[2:]))
"""
"""`stembridge`, which writes down in a file when a job begins and when it has ended."""


def main() -> None:
    """Kill, count and print; save where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=60)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="stembridge-kills-") as folder:
        counted = figures(Path(folder), options.jobs, options.kills, options.seed)
    show(counted, "A batch that is killed")
    if options.out is not None:
        save(counted, options.out)
    if not all(figure.holds for figure in counted):
        sys.exit(1)


@dataclass
class _Lives:
    """What was seen of the process while it was killed and started again."""

    n_killed: int = 0
    moments: list[int] = field(default_factory=list)
    """How many jobs had ended when each kill came."""


def figures(folder: Path, n_jobs: int, n_kills: int, seed: int) -> list[Figure]:
    """Each a count with the only value that is right. Raises `AssertionError` where the batch comes to no end."""
    song = _song(folder / "song", n_jobs)
    before = song.read_bytes()
    _run_whole(song, folder / "undisturbed", folder / "undisturbed.log")
    out, log = folder / "killed", folder / "killed.log"
    lives = _killed(song, out, log, n_kills, random.Random(seed))
    events = [tuple(line.split()) for line in log.read_text().splitlines()]
    ended: set[str] = set()
    n_again = 0
    for what, key in events:
        n_again += what == "again" or (what == "open" and key in ended)
        if what == "finish":
            ended.add(key)
    report = json.loads((out / "stembridge-session.json").read_text(encoding="utf-8"))
    same = _digests(folder / "undisturbed")
    made = _digests(out)
    moments = ", ".join(map(str, lives.moments))
    conditions = f"{n_jobs} jobs, embedded models, seed {seed}; jobs done at each kill: {moments}"
    return [
        Figure("kill -9 at random moments", lives.n_killed, "", n_kills, ">=", conditions),
        Figure("jobs done in the end", report["done"], "", n_jobs, ">=", ""),
        Figure("stems that are there, whole, and null", sum(_nulls(report)), "", 2 * n_jobs, ">=", "-120 dB"),
        Figure("stems with the bytes of an undisturbed run", _n_alike(made, same), "", 2 * n_jobs, ">=", "SHA-256"),
        Figure("stems too many", len(made) - len(same), "", 0, "<=", ""),
        Figure("jobs begun again after they had ended", n_again, "", 0, "<=", ""),
        Figure("files left over", len(_left_over(out)), "", 0, "<=", "parts, work folders"),
        Figure("bytes of the session changed", int(song.read_bytes() != before), "", 0, "<=", ""),
    ]


def _song(folder: Path, n_jobs: int) -> Path:
    """A REAPER project: clips of a few files on two tracks, each prompt another model's."""
    folder.mkdir()
    random_ = np.random.default_rng(0)
    n_samples = round((CLIP_S + OFFSET_S) * RATE_HZ)
    for n in range(4):
        samples = 0.1 * random_.standard_normal((n_samples, 2))
        soundfile.write(folder / f"{n}.wav", samples, RATE_HZ, subtype="PCM_16")
    lines = ["<REAPER_PROJECT 0.1"]
    for name, first in (("Lead Vox", 0), ("Drums", 1)):
        lines += ["<TRACK", f'NAME "{name}"']
        for n in range(first, n_jobs, 2):
            lines += ["<ITEM", f"POSITION {n}", f"LENGTH {CLIP_S}", f"SOFFS {OFFSET_S}"]
            lines += ["<SOURCE WAVE", f'FILE "{n % 4}.wav"', ">", ">"]
        lines.append(">")
    path = folder / "Song.rpp"
    path.write_text("\n".join([*lines, ">\n"]))
    return path


def _start(song: Path, out: Path, log: Path) -> subprocess.Popen[bytes]:
    root = str(Path(__file__).resolve().parents[1])
    command = [sys.executable, "-c", _COMMAND, str(log), "session", str(song), "--out", str(out), "--no-new-session"]
    silent = subprocess.DEVNULL
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": root}, stdout=silent, stderr=silent)


def _run_whole(song: Path, out: Path, log: Path) -> None:
    code = _start(song, out, log).wait(LIMIT_S)
    assert code == 0, f"the batch ended with {code}"


def _killed(song: Path, out: Path, log: Path, n_kills: int, moment: random.Random) -> _Lives:
    """Start and kill the batch until the kills are spent, then let it come to its end."""
    lives = _Lives()
    n_jobs = song.read_text().count("<ITEM")
    startup_s = 1.0
    log.touch()
    for n_ended in sorted(moment.randrange(n_jobs - n_jobs // 10) for _ in range(n_kills)):
        began_s, n_before = time.monotonic(), _count(log, "open")
        process = _start(song, out, log)
        if moment.random() < 0.25:  # while it starts, reads and plans
            time.sleep(moment.uniform(0, startup_s))
        else:
            while _count(log, "open") == n_before and process.poll() is None:
                assert time.monotonic() - began_s < LIMIT_S, "no job begins"
                time.sleep(0.002)
            startup_s = min(startup_s, time.monotonic() - began_s)
            while _count(log, "finish") < n_ended and process.poll() is None:
                assert time.monotonic() - began_s < LIMIT_S, "no job ends"
                time.sleep(0.002)
            time.sleep(moment.uniform(0, _LATE_S))
        process.send_signal(signal.SIGKILL)
        if process.wait(LIMIT_S) != -signal.SIGKILL:
            break  # it had come to its end already
        lives.n_killed += 1
        lives.moments.append(len({line.split()[1] for line in log.read_text().splitlines() if "finish" in line}))
    _run_whole(song, out, log)
    return lives


def _count(log: Path, what: str) -> int:
    return log.read_text().count(f"{what} ")


def _nulls(report: dict[str, object]) -> Iterator[int]:
    """2 for a job whose stems are as long as its clip and add up to it, else 0."""
    jobs = report["jobs"]
    assert isinstance(jobs, list)
    begin, n = round(OFFSET_S * RATE_HZ), round(CLIP_S * RATE_HZ)
    for job in jobs:
        mixture = soundfile.read(job["sources"][0], start=begin, frames=n)[0]
        target, residual = (soundfile.read(job[stem])[0] for stem in ("target", "residual"))
        whole = target.shape == residual.shape == mixture.shape
        yield 2 if whole and float(np.abs(target + residual - mixture).max()) <= 1e-6 else 0


def _digests(out: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in out.glob("*.wav")}


def _n_alike(one: dict[str, str], other: dict[str, str]) -> int:
    return sum(other.get(name) == digest for name, digest in one.items())


def _left_over(out: Path) -> list[Path]:
    parts = [path for path in out.rglob("*") if path.suffix in (".part", ".new")]
    return [*parts, *(out / ".stembridge" / "work").iterdir()]


if __name__ == "__main__":
    main()
