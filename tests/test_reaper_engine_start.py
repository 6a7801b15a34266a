"""A gesture that finds no engine starts one, and waits for it without standing still; never are there two."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from ardour_stand_in import forget_engine_start, serving
from reaper_host import Host
from reaper_project import Source
from test_reaper_scenarios import install, make_file

import engine as engine_package
from bridge import launcher
from bridge.install import reaper

EXCERPT = Path(engine_package.__file__).parent / "demo" / "mixture.flac"
DOES_NOTHING = "true"


class Start:
    """REAPER with one voice, no engine, and a line that starts one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scripts, self.mailbox = install(folder)
        self.line_is(DOES_NOTHING)
        self.host = self.open_reaper(make_file(folder / "voice.wav", 4.0, 44_100, 2))

    def line_is(self, line: str) -> None:
        forget_engine_start(self.scripts / reaper.PARTS, line)

    def open_reaper(self, path: Path, name: str = "project") -> Host:
        host = Host(self.scripts, self.folder / name)
        host.add_track("Lead Vox").add(Source(str(path)), 10.0, 3.0, 0.5)
        host.select(host.tracks[0], range_s=(11.0, 12.0))
        return host

    def held(self) -> list[Path]:
        return list(self.mailbox.glob("clients/*.json"))

    def sent(self) -> list[Path]:
        return list(self.mailbox.glob("requests/*.json"))

    def mark(self) -> Path:
        return self.mailbox / "clients" / "engine.started"

    def ticks(self, n: int = 40) -> None:
        for _ in range(n):
            self.host.tick()
            time.sleep(0.02)


@pytest.fixture
def start(tmp_path: Path) -> Start:
    return Start(tmp_path)


@pytest.fixture
def real_line(start: Start) -> Iterator[str]:
    """What the installer writes down, on any free port; the engine that it starts is ended afterwards."""
    command = [*launcher.command(start.mailbox), "--port", "0", "--root", str(start.folder)]
    command += ["--out", str(start.folder / "stems"), "--state", str(start.folder / "state")]
    yield launcher.background_line(command, start.mailbox / "clients" / "engine.log")
    sign = start.mailbox / "engine.json"
    if sign.exists():
        os.kill(json.loads(sign.read_text())["pid"], signal.SIGTERM)
        deadline_s = time.monotonic() + 60
        while sign.exists() and time.monotonic() < deadline_s:
            time.sleep(0.05)


def test_the_real_engine_starts_and_the_stems_come(start: Start, real_line: str) -> None:
    samples, rate_hz = soundfile.read(EXCERPT, dtype="float32", always_2d=True, stop=4 * 44_100)
    song = start.folder / "song.wav"
    soundfile.write(song, samples, rate_hz)
    start.line_is(real_line)
    host, other = start.open_reaper(song), start.open_reaper(song, "another project")
    host.press("extract_selection")
    other.press("extract_selection")
    assert len(start.held()) == 2
    assert start.sent() == []
    host.settle()
    other.settle()
    for one in (host, other):
        assert one.messages == []
        assert [track.name for track in one.tracks] == [
            "Lead Vox",
            "Lead Vox · lead vocals",
            "Lead Vox · no lead vocals",
        ]
    assert not start.mark().exists()
    pid = json.loads((start.mailbox / "engine.json").read_text())["pid"]
    assert (start.mailbox / "clients" / "engine.log").read_text().count("is ready") == 1
    # Were a second started all the same, it would end at once and leave the first alone.
    second = subprocess.run(real_line.removesuffix("&"), shell=True, timeout=60, check=False)
    assert second.returncode != 0
    assert json.loads((start.mailbox / "engine.json").read_text())["pid"] == pid


def test_the_installer_writes_the_line_down(tmp_path: Path) -> None:
    mailbox = tmp_path / "a box"
    (tmp_path / "reaper.ini").touch()
    config = next(file for file in reaper.plan(tmp_path, mailbox) if file.path.name == "config.lua")
    line = launcher.background_line(launcher.command(mailbox), mailbox / "clients" / "engine.log")
    assert line in config.content.decode()


def test_windows_gets_a_line_that_opens_no_window_in_front() -> None:
    line = launcher.background_line([r"C:\Program Files\py\stembridge.exe", "serve"], Path("log"), "win32")
    assert line == r'start "" /min "C:\Program Files\py\stembridge.exe" serve'


def test_one_start_serves_all_gestures(start: Start) -> None:
    count = start.folder / "count"
    start.line_is(f"echo >>'{count}'")
    start.host.press("extract_selection")
    start.host.tick()
    start.host.press("extract_selection")
    start.open_reaper(start.folder / "voice.wav", "another project").press("extract_selection")
    assert len(start.held()) == 3
    assert count.read_text() == "\n"


def test_what_was_held_goes_to_the_engine_when_it_runs(start: Start) -> None:
    start.host.press("extract_selection")
    start.ticks()
    assert (len(start.held()), start.sent(), start.host.messages) == (1, [], [])
    with serving(start.mailbox, start.folder / "out"):
        start.host.settle()
    assert len(start.host.tracks) == 3
    assert start.host.messages == []
    assert not start.mark().exists()


def test_what_must_be_read_from_reaper_is_held_too(start: Start) -> None:
    start.host.tracks[0].items[0].takes[0].values["D_PLAYRATE"] = 1.25
    start.host.press("extract_selection")
    start.host.run_until(lambda: start.held() != [], "the reading")
    assert start.sent() == []
    with serving(start.mailbox, start.folder / "out"):
        start.host.settle()
    assert len(start.host.tracks) == 3


def test_a_line_that_cannot_be_run_is_said(start: Start) -> None:
    start.line_is("false")
    start.host.press("extract_selection")
    (message,) = start.host.messages
    assert "stembridge serve" in message
    assert "Nothing was sent" in message
    assert (start.held(), start.sent(), start.mark().exists()) == ([], [], False)


def test_an_engine_that_never_comes_is_said_once_and_the_request_waits(start: Start) -> None:
    start.host.press("extract_selection")
    start.ticks()
    assert start.host.messages == []
    start.mark().write_text(str(int(time.time()) - 3600))
    start.host.run_until(lambda: start.host.messages != [], "the message")
    start.ticks(60)
    (message,) = start.host.messages
    assert "was started but does not answer" in message
    assert "stembridge serve" in message
    with serving(start.mailbox, start.folder / "out"):
        start.host.settle()
    assert len(start.host.tracks) == 3


def test_an_engine_that_does_not_fit_gets_nothing(start: Start) -> None:
    start.host.press("extract_selection")
    with serving(start.mailbox, start.folder / "out", api=99) as engine:
        start.host.settle()
        assert engine.requests == []
    (message,) = start.host.messages
    assert "do not fit together" in message
    assert (start.held(), start.sent(), len(start.host.tracks)) == ([], [], 1)
    assert not list(start.mailbox.glob("clients/*.jsonl"))


def test_cancel_while_the_engine_starts(start: Start) -> None:
    start.host.press("extract_selection")
    start.host.press("show_progress")
    assert start.host.window_lines[0] == "The Stembridge engine is being started."
    start.host.press("cancel")
    start.host.settle()
    assert (start.held(), start.sent(), start.host.messages) == ([], [], [])
    assert not list(start.mailbox.glob("clients/*.jsonl"))
