"""How long a plan takes: 40 tracks, an hour long, a thousand clips, in each session format.

Run it: `python -m benchmarks.sessions`.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from benchmarks.table import Figure, show

N_TRACKS: Final = 40
N_CLIPS: Final = 25
"""A track."""
LENGTH_S: Final = 3_600
RATE_HZ: Final = 48_000
MAX_PLAN_S: Final = 2.0
MAX_PLAN_MB: Final = 300.0
TICKS: Final = 282_240_000 // RATE_HZ


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="stembridge-bench-") as folder:
        show(list(figures(Path(folder))), "Plans of sessions")


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


_MAKERS: Final[dict[str, Callable[[Path], Path]]] = {
    "folder": _folder,
    "rpp": _rpp,
    "ardour": _ardour,
    "dawproject": _dawproject,
}

if __name__ == "__main__":
    main()
