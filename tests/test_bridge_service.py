"""Starting the engine with the desktop: the file each system reads, checked by the system's own tool where it is."""

from __future__ import annotations

import os
import plistlib
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from bridge import launcher
from bridge.__main__ import main
from bridge.install import scheme as install
from bridge.install import service
from engine.errors import ExitCode, StembridgeError

ODD = 'a "b" %h $HOME \\ c'
TASKS = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"


@pytest.mark.parametrize(
    ("platform", "env", "place"),
    [
        ("linux", {}, ".config/systemd/user"),
        ("linux", {"XDG_CONFIG_HOME": "@/xdg"}, "xdg/systemd/user"),
        ("darwin", {}, "Library/LaunchAgents"),
        ("win32", {"LOCALAPPDATA": "@/Local"}, "Local/stembridge"),
    ],
)
def test_each_system_s_folder(tmp_path: Path, platform: str, env: dict[str, str], place: str) -> None:
    here = {key: value.replace("@", str(tmp_path)) for key, value in env.items()}
    assert service.folders(tmp_path, here, platform) == [tmp_path / place]


def test_the_command_is_this_engine_and_runs() -> None:
    start = launcher.command()
    assert start[-1] == "serve"
    answer = subprocess.run([*start, "--help"], capture_output=True, text=True, timeout=60, check=True)
    assert "Run the engine" in answer.stdout


def test_launchd_reads_the_same_words(tmp_path: Path) -> None:
    (file,) = service.plan(tmp_path, tmp_path / ODD, "darwin")
    agent = plistlib.loads(file.content)
    assert agent["ProgramArguments"] == launcher.command(tmp_path / ODD)
    assert file.path.stem == agent["Label"]
    assert agent["RunAtLoad"] is True


def test_windows_reads_the_same_words(tmp_path: Path) -> None:
    box = tmp_path / "a & <b>"
    (file,) = service.plan(tmp_path, box, "win32", {"USERDOMAIN": "DESK", "USERNAME": "Zoë & Co"})
    root = ET.fromstring(file.content.decode("utf-16"))
    start = launcher.command(box)
    assert root.findtext(f".//{TASKS}Command") == start[0]
    assert root.findtext(f".//{TASKS}Arguments") == subprocess.list2cmdline(start[1:])
    assert {element.text for element in root.iter(f"{TASKS}UserId")} == {"DESK\\Zoë & Co"}


def test_another_system_is_told_the_command(tmp_path: Path) -> None:
    with pytest.raises(StembridgeError, match="serve"):
        service.plan(tmp_path, tmp_path, "plan9")


@pytest.mark.systemd
@pytest.mark.parametrize("name", ["mailbox", ODD])
def test_systemd_takes_the_unit(tmp_path: Path, name: str) -> None:
    (file,) = service.plan(tmp_path, tmp_path / name, "linux")
    file.path.write_bytes(file.content)
    env = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    command = ["systemd-analyze", "--user", "verify", str(file.path)]
    told = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (told.returncode, told.stderr) == (0, "")
    file.path.write_bytes(file.content.replace(b"ExecStart=", b"ExecStart=relative/"))
    told = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert told.stderr != "", "a wrong unit is not told from a right one"


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for systemctl and systemd-analyze that writes down how it was called; returns that list."""
    programs, calls = tmp_path / "bin", tmp_path / "calls"
    programs.mkdir()
    for name in ("systemctl", "systemd-analyze"):
        (programs / name).write_text(f'#!/bin/sh\necho "{name} $*" >>"{calls}"\n')
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    return calls


@pytest.mark.skipif(sys.platform != "linux", reason="the systemd way")
def test_the_command_line_shows_writes_checks_and_takes_away(
    tmp_path: Path, system: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(os.environ["XDG_CONFIG_HOME"]) / "systemd" / "user"
    folder.mkdir(parents=True)
    (folder / "theirs.service").write_text("[Unit]\n")
    assert main(["install", "service", "--dry-run"]) == ExitCode.DONE
    assert str(folder / service.UNIT) in capsys.readouterr().out
    assert not system.exists()
    assert main(["install", "service"]) == ExitCode.DONE
    told = capsys.readouterr()
    assert "1 file written" in told.out
    assert "done: systemctl --user enable --now" in told.err
    assert "from now on" in told.err
    assert [call.split(" ")[0] for call in system.read_text().splitlines()] == [
        "systemd-analyze",
        "systemctl",
        "systemctl",
    ]
    assert main(["install", "service", "--uninstall"]) == ExitCode.DONE
    assert system.read_text().splitlines()[-1] == f"systemctl --user disable --now {service.UNIT}"
    assert [path.name for path in folder.iterdir()] == ["theirs.service"]
    assert main(["install", "service", "--uninstall"]) == ExitCode.DONE


@pytest.mark.skipif(sys.platform != "linux", reason="the systemd way")
def test_a_desktop_without_systemd_is_told_what_to_type(
    tmp_path: Path, system: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (system.parent / "bin" / "systemctl").write_text("#!/bin/sh\necho 'Failed to connect to bus' >&2\nexit 1\n")
    assert main(["install", "service"]) == ExitCode.DONE
    told = capsys.readouterr().err
    assert "Failed to connect to bus" in told
    assert f"systemctl --user daemon-reload && systemctl --user enable --now {service.UNIT}" in told
    assert "from now on" not in told
    shutil.rmtree(system.parent / "bin")
    assert main(["install", "service", "--uninstall"]) == ExitCode.DONE
    assert not (service.folders()[0] / service.UNIT).exists()


def test_service_is_one_of_the_hosts() -> None:
    assert install.host("service") is service.HOST
