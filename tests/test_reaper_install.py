"""Installing REAPER's scripts: the right folder, what was announced and nothing else, and a clean way back."""

from __future__ import annotations

from pathlib import Path

import lupa.lua54 as lua
import pytest

from bridge import doctor
from bridge.__main__ import main
from bridge.install import reaper
from bridge.install import scheme as install
from bridge.install.reaper import HOST
from engine.errors import ExitCode, StembridgeError


def resource_dir(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "reaper.ini").write_text("[REAPER]\n")
    return folder


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("platform", "env", "place"),
    [
        ("linux", {}, ".config/REAPER"),
        ("linux", {"XDG_CONFIG_HOME": "@/xdg"}, "xdg/REAPER"),
        ("darwin", {}, "Library/Application Support/REAPER"),
        ("win32", {"APPDATA": "@/Roaming"}, "Roaming/REAPER"),
        ("win32", {}, "AppData/Roaming/REAPER"),
    ],
)
def test_reaper_s_folder_is_found(tmp_path: Path, platform: str, env: dict[str, str], place: str) -> None:
    here = {key: value.replace("@", str(tmp_path)) for key, value in env.items()}
    assert reaper.resource_dirs(tmp_path, here, platform) == []
    resource_dir(tmp_path / place)
    assert reaper.resource_dirs(tmp_path, here, platform) == [tmp_path / place]


def test_what_is_announced_is_written_and_taken_away_again(tmp_path: Path) -> None:
    folder = resource_dir(tmp_path / "REAPER")
    theirs = folder / "Scripts" / "theirs.lua"
    theirs.parent.mkdir()
    theirs.write_text("-- theirs")
    before = files(folder)
    plan = install.planned(HOST, folder, tmp_path / "mailbox")
    assert files(folder) == before
    written = install.install(HOST, folder, tmp_path / "mailbox")
    assert written == [file.path for file in plan]
    assert files(folder) == before | set(written)
    assert all(file.path.read_bytes() == file.content for file in plan)
    assert all((tmp_path / "mailbox" / name).is_dir() for name in ("requests", "status", "clients"))
    assert install.install(HOST, folder, tmp_path / "mailbox") == written
    assert set(install.uninstall(HOST, folder)) == set(written)
    assert files(folder) == before
    assert not (folder / reaper.FOLDER).exists()
    assert install.uninstall(HOST, folder) == []


def test_what_others_put_into_our_folder_stays(tmp_path: Path) -> None:
    folder = resource_dir(tmp_path / "REAPER")
    install.install(HOST, folder, tmp_path / "mailbox")
    theirs = folder / reaper.FOLDER / "my own.lua"
    theirs.write_text("-- theirs")
    install.uninstall(HOST, folder)
    assert files(folder) == {folder / "reaper.ini", theirs}


def test_every_script_compiles_and_every_part_is_there(tmp_path: Path) -> None:
    folder = resource_dir(tmp_path / "REAPER")
    mailbox = tmp_path / 'mail’box "quoted" \\ backslash'
    written = install.install(HOST, folder, mailbox)
    load = lua.LuaRuntime(encoding=None).globals()[b"load"]
    for path in written:
        assert load(path.read_bytes()) is not None, path
    parts = folder / reaper.FOLDER / "stembridge"
    main_text = (parts / "main.lua").read_text(encoding="utf-8")
    for path in parts.glob("*.lua"):
        assert path.stem in ("main", "config") or f'"{path.stem}"' in main_text
    settings = lua.LuaRuntime().execute((parts / "config.lua").read_text(encoding="utf-8"))
    assert settings["mailbox"] == str(mailbox)
    assert settings["version"] == install.installed_version(HOST, folder)


def test_a_folder_that_is_not_reaper_s_is_refused(tmp_path: Path) -> None:
    for call in (lambda: install.install(HOST, tmp_path, tmp_path / "m"), lambda: install.uninstall(HOST, tmp_path)):
        with pytest.raises(StembridgeError) as caught:
            call()
        assert caught.value.code == "daw_not_found"
    assert files(tmp_path) == set()


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    folder = resource_dir(tmp_path / "REAPER")
    (folder / "Scripts").write_text("a file where the folder should be")
    with pytest.raises(StembridgeError) as caught:
        install.install(HOST, folder, tmp_path / "mailbox")
    assert caught.value.code == "output_not_writable"


def test_the_command_line_installs_a_portable_reaper(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = resource_dir(tmp_path / "Portable")
    where = ["--path", str(folder), "--mailbox", str(tmp_path / "mailbox")]
    assert main(["install", "reaper", *where, "--dry-run"]) == ExitCode.DONE
    announced = [line.removeprefix("would write ") for line in capsys.readouterr().out.splitlines()]
    assert files(folder) == {folder / "reaper.ini"}
    assert main(["install", "reaper", *where]) == ExitCode.DONE
    told = capsys.readouterr()
    *written, counted = told.out.splitlines()
    assert [line.removeprefix("writing ") for line in written] == announced
    assert counted == f"{len(announced)} files written and read back."
    assert "stembridge_setup.lua" in told.err
    assert main(["install", "reaper", *where, "--uninstall"]) == ExitCode.DONE
    assert files(folder) == {folder / "reaper.ini"}
    assert main(["install", "reaper"]) == ExitCode.NOT_READY


def test_the_doctor_lists_reaper_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = resource_dir(tmp_path / "config" / "REAPER")

    def finding() -> doctor.Finding:
        (found,) = (one for one in doctor._daws() if one.what == "REAPER")
        return found

    monkeypatch.setattr(reaper, "resource_dirs", lambda: [folder])
    assert (finding().state, finding().remedy) == ("note", "stembridge install reaper")
    install.install(HOST, folder, tmp_path / "mailbox")
    assert finding().state == "ok"
