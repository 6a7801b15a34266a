"""Installing Live's script: the right folder, what was announced and nothing else, and a clean way back."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from live_host import Host
from live_set import LiveSet

from bridge import doctor
from bridge.__main__ import main
from bridge.install import live
from bridge.install import scheme as install
from bridge.install.live import HOST
from engine.errors import ExitCode, StembridgeError


def library_in(folder: Path) -> Path:
    (folder / "Remote Scripts").mkdir(parents=True)
    return folder


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("platform", "place"),
    [("darwin", "Music/Ableton/User Library"), ("win32", "Documents/Ableton/User Library"), ("linux", "")],
)
def test_the_user_library_is_found(tmp_path: Path, platform: str, place: str) -> None:
    assert live.user_libraries(tmp_path, platform) == []
    if place:
        library = library_in(tmp_path / place)
        assert live.user_libraries(tmp_path, platform) == [library]
    else:
        assert live.user_libraries(tmp_path, platform) == []  # Live does not run there


def test_what_is_announced_is_written_and_taken_away_again(tmp_path: Path) -> None:
    library, mailbox = library_in(tmp_path / "User Library"), tmp_path / "mail’box"
    theirs = library / "Remote Scripts" / "Theirs" / "__init__.py"
    theirs.parent.mkdir()
    theirs.write_text("# theirs")
    before = files(library)
    plan = install.planned(HOST, library, mailbox)
    assert files(library) == before
    written = install.install(HOST, library, mailbox)
    assert written == [file.path for file in plan]
    assert files(library) == before | set(written)
    settings = json.loads((library / live.FOLDER / "config.json").read_text(encoding="utf-8"))
    assert settings["mailbox"] == str(mailbox)
    assert settings["version"] == install.installed_version(HOST, library)
    assert "serve --mailbox" in settings["start_line"]
    assert set(install.uninstall(HOST, library)) == set(written)
    assert files(library) == before
    assert not (library / live.FOLDER).exists()


def test_what_live_compiled_goes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = library_in(tmp_path / "User Library")
    install.install(HOST, library, tmp_path / "mailbox")
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    live_set = LiveSet(None)
    live_set.add_track("1-Audio")
    Host(library, live_set).close()
    assert list((library / live.FOLDER / "__pycache__").glob("script.*.pyc"))
    assert main(["install", "live", "--path", str(library), "--uninstall"]) == ExitCode.DONE
    assert not (library / live.FOLDER).exists()


def test_a_folder_that_is_not_a_user_library_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StembridgeError) as caught:
        install.install(HOST, tmp_path, tmp_path / "mailbox")
    assert caught.value.code == "daw_not_found"
    assert files(tmp_path) == set()


def test_the_command_line_installs_where_it_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library = library_in(tmp_path / "moved" / "User Library")
    where = ["--path", str(library), "--mailbox", str(tmp_path / "mailbox")]
    assert main(["install", "live", *where, "--dry-run"]) == ExitCode.DONE
    assert "would write" in capsys.readouterr().out
    assert files(library) == set()
    assert main(["install", "live", *where]) == ExitCode.DONE
    assert "choose Stembridge as a control surface" in capsys.readouterr().err
    assert main(["install", "live", *where, "--uninstall"]) == ExitCode.DONE
    assert files(library) == set()
    assert main(["install", "live"]) == ExitCode.NOT_READY


def test_the_doctor_lists_live_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = library_in(tmp_path / "User Library")

    def finding() -> doctor.Finding:
        (found,) = (one for one in doctor._daws() if one.what == "Ableton Live")
        return found

    monkeypatch.setattr(live, "user_libraries", lambda: [library])
    assert (finding().state, finding().remedy) == ("note", "stembridge install live")
    install.install(HOST, library, tmp_path / "mailbox")
    assert finding().state == "ok"


def test_a_terminal_without_live_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bridge import live_commands

    monkeypatch.setattr(live_commands.ask, "__defaults__", (None, 0.1))
    assert main(["live", "extract", "--mailbox", str(tmp_path)]) == ExitCode.NOT_READY
    assert main(["live", "exhale", "--mailbox", str(tmp_path)]) == ExitCode.BAD_REQUEST
