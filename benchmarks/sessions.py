"""What a batch costs: plans of 40 tracks, an hour long, a thousand clips, in each session format; and how much of the
engine's own speed a batch keeps.

Run it: `python -m benchmarks.sessions`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import soundfile

from benchmarks.table import Figure, save, show
from bridge.batch.plan import Options, plan_batch
from bridge.batch.run import media_folder, render_with_engine, run_batch
from bridge.sessions.reading import read_session
from engine import models
from engine.separate import separate

N_TRACKS: Final = 40
N_CLIPS: Final = 25
"""A track."""
LENGTH_S: Final = 3_600
RATE_HZ: Final = 48_000
MAX_PLAN_S: Final = 2.0
MAX_PLAN_MB: Final = 300.0
N_BATCH: Final = 12
BATCH_CLIP_S: Final = 30.0
MIN_THROUGHPUT: Final = 0.95
TICKS: Final = 282_240_000 // RATE_HZ


def main() -> None:
    """Measure and print; save where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="stembridge-bench-") as folder:
        measured = [*figures(Path(folder)), *throughput(Path(folder))]
    show(measured, "Sessions")
    if options.out is not None:
        save(measured, options.out)


def figures(folder: Path) -> Iterator[Figure]:
    """The whole command, `session --dry-run --json`, in a process of its own: wall time and peak memory."""
    conditions = f"{N_TRACKS} tracks of {LENGTH_S // 60} min, {N_TRACKS * N_CLIPS} clips; the whole command"
    for name, make in _MAKERS.items():
        place = folder / name
        place.mkdir()
        wall_s, peak_mb, n_jobs = _plan(make(place), place / "out")
        expected = N_TRACKS if name == "folder" else N_TRACKS * N_CLIPS
        assert n_jobs == expected, f"{name}: {n_jobs} of {expected} jobs"
        yield Figure(f"plan, {name}", wall_s, "s", MAX_PLAN_S, "<=", conditions)
        yield Figure(f"plan, {name}: memory", peak_mb, "MB", MAX_PLAN_MB, "<=", conditions)


def throughput(folder: Path) -> Iterator[Figure]:
    """A batch of clips against the same requests given to the engine one after the other, models warm in both."""
    clips = folder / "throughput"
    clips.mkdir()
    noise = np.random.default_rng(0).standard_normal((round(BATCH_CLIP_S * 44_100), 2)).astype(np.float32)
    for n in range(N_BATCH):
        soundfile.write(clips / f"Lead Vox {n:02d}.wav", 0.1 * np.roll(noise, n, axis=0), 44_100, subtype="PCM_16")
    session = read_session(clips)
    raw_dir, out_dir = folder / "raw", folder / "batch"
    shelf = models.Shelf()
    shelf.open(models.DEFAULT)

    def raw_once() -> float:
        began_s = time.perf_counter()
        for job in plan_batch(session, Options(), raw_dir, raw_dir / "media").jobs:
            separate(job.request, shelf)
        return time.perf_counter() - began_s

    def batch_once() -> float:
        plan = plan_batch(session, Options(), out_dir, media_folder(out_dir))
        began_s = time.perf_counter()
        outcomes = run_batch(plan, out_dir, render=lambda request, _, *rest: render_with_engine(request, shelf, *rest))
        assert all(outcome.result is not None for outcome in outcomes)
        return time.perf_counter() - began_s

    raws: list[float] = []
    batches: list[float] = []
    for _ in range(3):  # in turn, so that what else the machine does meets both
        for run, times, out in ((raw_once, raws, raw_dir), (batch_once, batches, out_dir)):
            times.append(run())
            shutil.rmtree(out)
    conditions = f"{N_BATCH} clips of {BATCH_CLIP_S:g} s, stereo, embedded model; best of 3 runs each"
    yield Figure("batch, of the engine's own speed", min(raws) / min(batches), "", MIN_THROUGHPUT, ">=", conditions)
    yield Figure("batch, x real time", N_BATCH * BATCH_CLIP_S / min(batches), "x", None, ">=", conditions)


def _plan(session: Path, out: Path) -> tuple[float, float, int]:
    command = [sys.executable, "-m", "bridge", "session", str(session), "--out", str(out), "--dry-run", "--json"]
    began_s = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - began_s
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{session} could not be planned (exit {process.returncode})"
    return wall_s, used.ru_maxrss / 1024, len(json.loads(told)["jobs"])


def _hour(path: Path) -> Path:
    """An hour of mono silence that takes no room on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = LENGTH_S * RATE_HZ * 2
    form = struct.pack("<HHIIHH", 1, 1, RATE_HZ, RATE_HZ * 2, 2, 16)
    parts = [b"RIFF", struct.pack("<I", size + 36), b"WAVEfmt ", struct.pack("<I", 16), form, b"data"]
    path.write_bytes(b"".join([*parts, struct.pack("<I", size)]))
    os.truncate(path, 44 + size)
    return path


def _places() -> Iterator[tuple[int, list[int]]]:
    """Track by track, the seconds its clips begin at; each is as long as it is to the next."""
    step = LENGTH_S // N_CLIPS
    for track in range(N_TRACKS):
        yield track, [step * n for n in range(N_CLIPS)]


def _folder(place: Path) -> Path:
    for track, _ in _places():
        _hour(place / "in" / f"Lead Vox {track}.wav")
    return place / "in"


def _rpp(place: Path) -> Path:
    step = LENGTH_S // N_CLIPS
    lines = ["<REAPER_PROJECT 0.1"]
    for track, starts in _places():
        _hour(place / f"{track}.wav")
        lines.append(f'<TRACK\nNAME "Lead Vox {track}"')
        for at in starts:
            times = f"POSITION {at}\nLENGTH {step}\nSOFFS {at}"
            lines.append(f'<ITEM\n{times}\n<SOURCE WAVE\nFILE "{track}.wav"\n>\n>')
        lines.append(">")
    path = place / "song.rpp"
    path.write_text("\n".join([*lines, ">\n"]))
    return path


def _ardour(place: Path) -> Path:
    step = LENGTH_S // N_CLIPS * RATE_HZ * TICKS
    sources, routes, playlists = [], [], []
    for track, starts in _places():
        _hour(place / "interchange" / "song" / "audiofiles" / f"{track}.wav")
        sources.append(f'<Source name="{track}.wav" type="audio" id="{track + 1}" channel="0"/>')
        routes.append(f'<Route name="Lead Vox {track}" id="{track + 1000}" audio-playlist="{track + 2000}"/>')
        regions = [
            f'<Region name="r" type="audio" id="{10_000 + 100 * track + n}" start="a{at * RATE_HZ * TICKS}" '
            f'length="a{step}@a{at * RATE_HZ * TICKS}" source-0="{track + 1}" channels="1"/>'
            for n, at in enumerate(starts)
        ]
        playlists.append(f'<Playlist id="{track + 2000}">{"".join(regions)}</Playlist>')
    path = place / "song.ardour"
    path.write_text(
        f'<Session version="7002" name="song" sample-rate="{RATE_HZ}" id-counter="99999"><Sources>{"".join(sources)}'
        f"</Sources><Routes>{''.join(routes)}</Routes><Playlists>{''.join(playlists)}</Playlists></Session>"
    )
    return path


def _dawproject(place: Path) -> Path:
    step = LENGTH_S // N_CLIPS
    tracks, lanes = [], []
    for track, starts in _places():
        tracks.append(f'<Track id="t{track}" name="Lead Vox {track}"/>')
        clips = [
            f'<Clip time="{at}" duration="{step}" playStart="{at}"><Audio channels="1" duration="{LENGTH_S}" '
            f'sampleRate="{RATE_HZ}"><File path="audio/{track}.wav"/></Audio></Clip>'
            for at in starts
        ]
        lanes.append(f'<Lanes track="t{track}"><Clips>{"".join(clips)}</Clips></Lanes>')
    path = place / "song.dawproject"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "project.xml",
            f'<Project version="1.0"><Structure>{"".join(tracks)}</Structure><Arrangement><Lanes timeUnit="seconds">'
            f"{''.join(lanes)}</Lanes></Arrangement></Project>",
        )
        for track, _ in _places():
            archive.writestr(f"audio/{track}.wav", b"RIFF")
    return path


def _als(place: Path) -> Path:
    step = LENGTH_S // N_CLIPS
    tracks = []
    for track, starts in _places():
        _hour(place / f"{track}.wav")
        file = f'<SampleRef><FileRef><RelativePath Value="{track}.wav"/></FileRef></SampleRef>'
        clips = [  # at 60 bpm a beat is a second
            f'<AudioClip Time="{at}"><CurrentStart Value="{at}"/><CurrentEnd Value="{at + step}"/><Loop><LoopStart '
            f'Value="{at}"/><LoopEnd Value="{LENGTH_S}"/><StartRelative Value="0"/><LoopOn Value="false"/></Loop>'
            f'<Name Value="c"/>{file}<IsWarped Value="false"/></AudioClip>'
            for at in starts
        ]
        tracks.append(
            f'<AudioTrack><Name><EffectiveName Value="Lead Vox {track}"/></Name><DeviceChain><MainSequencer><Sample>'
            f"<ArrangerAutomation><Events>{''.join(clips)}</Events></ArrangerAutomation></Sample></MainSequencer>"
            "</DeviceChain></AudioTrack>"
        )
    path = place / "song.als"
    text = (
        f'<Ableton MajorVersion="5"><LiveSet><Tracks>{"".join(tracks)}</Tracks><MainTrack><DeviceChain><Mixer><Tempo>'
        '<Manual Value="60"/></Tempo></Mixer></DeviceChain></MainTrack></LiveSet></Ableton>'
    )
    path.write_bytes(gzip.compress(text.encode()))
    return path


_MAKERS: Final[dict[str, Callable[[Path], Path]]] = {
    "folder": _folder,
    "rpp": _rpp,
    "ardour": _ardour,
    "dawproject": _dawproject,
    "als": _als,
}

if __name__ == "__main__":
    main()
