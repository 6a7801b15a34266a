"""The real Audacity as a test host: a home of its own, a virtual screen, and its pipes.

Nothing of the person's own Audacity is read or written, but the pipes have one place for each user: no other Audacity
of the same user may run meanwhile.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
from ardour_host import screen, wait_for

from bridge.audacity import project as audacity
from bridge.audacity.pipe import Pipe, argument
from bridge.audacity.project import Piece, Selection, Track
from engine.errors import StembridgeError

DEADLINE_S = 60.0
MODULE = Path("/usr/lib/audacity/modules/mod-script-pipe.so")
SETTINGS = """PrefsVersion=1.1.1r1
WantAssociateFiles=0
[Version]
Major=3
Minor=2
Micro=4
[GUI]
ShowSplashScreen=0
[Update]
DefaultUpdatesChecking=0
UpdateNoticeShown=1
[Module]
mod-script-pipe=1
[ModulePath]
mod-script-pipe={module}
[ModuleDateTime]
mod-script-pipe={module_time}
[Directories]
TempDir={temporary}
"""


def patient() -> Pipe:
    """A line that outwaits a busy machine."""
    return Pipe(open_s=DEADLINE_S, answer_s=DEADLINE_S)


@dataclass
class Host:
    """One Audacity with one window."""

    home: Path
    env: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def settings_dir(self) -> Path:
        return self.home / ".audacity-data"

    def launch(self) -> None:
        """Starts Audacity on an empty project and waits for its window."""
        temporary = self.home / "temporary"  # a project left there is asked about at the next start
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(mode=0o700)
        with (self.home / "audacity.log").open("ab") as log:
            self.process = subprocess.Popen(["audacity"], env=self.env, cwd=self.home, stdout=log, stderr=log)
        wait_for(lambda: self.lives() and "Audacity" in self.windows().values(), "Audacity's window", DEADLINE_S)

    def lives(self) -> bool:
        """True; AssertionError with what Audacity wrote when it has ended."""
        assert self.process is not None
        assert self.process.poll() is None, f"Audacity ended:\n{(self.home / 'audacity.log').read_text()[-2000:]}"
        return True

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()  # what it asks when it is closed well, nobody would answer
            self.process.wait(10)
        self.process = None

    def ask(self, *commands: str) -> str:
        """What Audacity says to the last command."""
        with patient() as pipe:
            return [pipe.ask(command) for command in commands][-1]

    def clear(self) -> None:
        """Takes all tracks away."""
        self.ask("SelectAll:", "RemoveTracks:", "SelectTime: Start=0 End=0")

    def add(self, path: Path, name: str, position_s: float) -> None:
        """A new track, below the others, with a file on it."""
        self.ask(
            f"Import2: Filename={argument(str(path))}",
            f"SetTrackStatus: Name={argument(name)}",
            f"SetClip: Start={position_s!r}",
        )

    def select(self, start_s: float, end_s: float, *tracks: int) -> None:
        self.ask("SelectNone:", f"SelectTime: Start={start_s!r} End={end_s!r}")
        for n, track in enumerate(tracks):
            self.ask(f"SelectTracks: Track={track} TrackCount=1 Mode={'Add' if n else 'Set'}")

    def selection(self) -> Selection:
        with patient() as pipe:
            return audacity.read_selection(pipe)

    def tracks(self) -> list[Track]:
        """All audio tracks, from the top. Selects them."""
        self.ask("SelectAll:")
        return list(self.selection().tracks)

    def samples(self, track: Track, clip: int = 0) -> np.ndarray:
        """What a clip holds, (sample, channel)."""
        whole = track.clips[clip]
        path = self.home / f"{track.index}.{clip}.wav"
        with patient() as pipe:
            audacity.capture(pipe, Piece(track, whole, whole, whole, None), path)
        return soundfile.read(path, dtype="float32", always_2d=True)[0]

    def n_tracks(self) -> int:
        return self.ask("GetInfo: Type=Tracks").count('"kind"')

    def muted(self) -> list[bool]:
        """Of all tracks, from the top."""
        return [part.startswith("1") for part in self.ask("GetInfo: Type=Tracks").split('"mute":')[1:]]

    def windows(self) -> dict[str, str]:
        """Window id → title, of the titled windows on the host's screen."""
        tree = subprocess.run(["xwininfo", "-root", "-tree"], env=self.env, capture_output=True, text=True, check=False)
        rows = (line.strip().split(" ", 1) for line in tree.stdout.splitlines())
        return {row[0]: row[1][1:].split('"', 1)[0] for row in rows if len(row) == 2 and row[1].startswith('"')}

    def screenshot(self, path: Path) -> None:
        subprocess.run(["import", "-window", "root", str(path)], env=self.env, check=True, timeout=DEADLINE_S)


@contextmanager
def turn() -> Iterator[None]:
    """Waits until no other test run of this user has an Audacity: the pipes have one place."""
    with (Path(tempfile.gettempdir()) / f"stembridge-audacity-tests.{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def open_audacity(home: Path) -> Iterator[Host]:
    """A running Audacity with an empty project whose pipes listen."""
    with turn(), screen() as display:
        env = {key: value for key, value in os.environ.items() if not key.startswith("XDG_")}
        runtime_dir = home / "run"
        runtime_dir.mkdir(parents=True, mode=0o700)
        env |= {"HOME": str(home), "XDG_RUNTIME_DIR": str(runtime_dir), "DISPLAY": display, "LC_ALL": "C.UTF-8"}
        env |= {"GTK_MODULES": "", "NO_AT_BRIDGE": "1"}
        host = Host(home, env)
        host.settings_dir.mkdir()
        module_time = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(MODULE.stat().st_mtime))
        settings = SETTINGS.format(module=MODULE, module_time=module_time, temporary=home / "temporary")
        (host.settings_dir / "audacity.cfg").write_text(settings)
        try:
            host.launch()  # it lists its plugins, and its helper spoils the pipes
            wait_for((host.settings_dir / "pluginregistry.cfg").is_file, "Audacity's list of plugins", DEADLINE_S)
            host.stop()
            host.launch()
            wait_for(lambda: listens(host), "an answer from Audacity", DEADLINE_S)
            yield host
        finally:
            host.stop()


def listens(host: Host) -> bool:
    host.lives()
    try:
        with Pipe() as pipe:
            pipe.ask("GetInfo: Type=Tracks")
    except StembridgeError as e:
        if e.code != "daw_not_answering":
            raise
        return False
    return True
