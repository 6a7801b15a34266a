"""The scheme all installers share: what is announced is written, and taking away takes exactly that."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bridge import doctor
from bridge.__main__ import main
from bridge.install import elsewhere
from bridge.install import scheme as install
from bridge.install.scheme import RECORD, Host, PlannedFile
from engine.errors import ExitCode, StembridgeError
from engine.separate import stembridge_version

LIST = "shared.txt"


def plan(folder: Path, mailbox: Path) -> list[PlannedFile]:
    """Two scripts of ours, and a line in a list that others use."""
    old = install.text_of(folder / LIST) or ""
    lines = [line for line in old.splitlines() if line != "ours"] + ["ours"]
    return [
        PlannedFile(folder / "Scripts" / "Ours" / "a.py", b"a", "a script"),
        PlannedFile(folder / "Scripts" / "Ours" / "parts" / "b.py", str(mailbox).encode(), "a part"),
        PlannedFile(folder / LIST, "\n".join(lines).encode(), "the list", shared=True),
    ]


def restored(folder: Path) -> list[PlannedFile]:
    lines = (install.text_of(folder / LIST) or "").splitlines()
    if "ours" not in lines:
        return []
    return [PlannedFile(folder / LIST, "\n".join(line for line in lines if line != "ours").encode(), "", shared=True)]


HOST = Host("x", "X", lambda: [], plan, "Scripts/Ours", "Name it.", (), restored=restored)


def tree(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture
def daw(tmp_path: Path) -> Path:
    folder = tmp_path / "daw"
    (folder / "Scripts").mkdir(parents=True)
    (folder / "Scripts" / "theirs.py").write_text("theirs")
    (folder / LIST).write_text("theirs")
    return folder


def test_a_folder_is_as_it_was_after_install_and_uninstall(daw: Path, tmp_path: Path) -> None:
    before = tree(daw)
    announced = install.planned(HOST, daw, tmp_path / "box")
    assert tree(daw) == before
    assert install.install(HOST, daw, tmp_path / "box") == [file.path for file in announced]
    assert all(file.path.read_bytes() == file.content for file in announced)
    install.install(HOST, daw, tmp_path / "box")
    assert install.installed_version(HOST, daw) is not None
    install.uninstall(HOST, daw)
    assert tree(daw) == before
    assert install.installed_version(HOST, daw) is None


def test_a_file_of_an_earlier_version_goes_when_the_next_comes(daw: Path, tmp_path: Path) -> None:
    def earlier(folder: Path, mailbox: Path) -> list[PlannedFile]:
        return [*plan(folder, mailbox), PlannedFile(folder / "Scripts" / "Ours" / "old.py", b"old", "a script")]

    before = tree(daw)
    install.install(replace(HOST, plan=earlier), daw, tmp_path / "box")
    old = daw / "Scripts" / "Ours" / "old.py"
    assert old.exists()
    install.install(HOST, daw, tmp_path / "box")
    assert not old.exists()
    install.uninstall(HOST, daw)
    assert tree(daw) == before


def test_what_others_put_into_our_folder_stays(daw: Path, tmp_path: Path) -> None:
    install.install(HOST, daw, tmp_path / "box")
    theirs = daw / "Scripts" / "Ours" / "mine.txt"
    theirs.write_text("mine")
    install.uninstall(HOST, daw)
    assert [path for path in (daw / "Scripts" / "Ours").rglob("*") if path.is_file()] == [theirs]


@pytest.mark.parametrize("name", ["../outside.txt", "/etc/outside.txt", "a/../../outside.txt", "C:\\outside.txt", ""])
def test_a_record_that_leads_outside_is_not_followed(daw: Path, tmp_path: Path, name: str) -> None:
    install.install(HOST, daw, tmp_path / "box")
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    record = daw / HOST.own / RECORD
    record.write_text(json.dumps({"version": "1", "files": [name], "folders": []}))
    install.uninstall(HOST, daw)
    assert outside.exists()
    assert not (daw / "Scripts" / "Ours" / "a.py").exists()


@pytest.mark.parametrize(
    "torn", ["", "{", "[]", '{"version": 1}', "null", '{"version": "1", "files": 3, "folders": 4}']
)
def test_a_torn_record_still_lets_all_be_taken_away(daw: Path, tmp_path: Path, torn: str) -> None:
    before = tree(daw)
    install.install(HOST, daw, tmp_path / "box")
    (daw / HOST.own / RECORD).write_text(torn)
    install.uninstall(HOST, daw)
    assert {path for path, content in tree(daw).items() if content is not None} == {
        path for path, content in before.items() if content is not None
    }


def test_what_cannot_be_written_is_said(daw: Path, tmp_path: Path) -> None:
    (daw / "Scripts" / "Ours").write_text("a file where the folder should be")
    with pytest.raises(StembridgeError) as caught:
        install.install(HOST, daw, tmp_path / "box")
    assert caught.value.code == "output_not_writable"
    assert (daw / LIST).read_text() == "theirs"


def test_every_host_is_whole() -> None:
    hosts = install.hosts()
    assert [host.key for host in hosts] == install.names().split(", ")
    for host in hosts:
        assert host.name
        assert host.how_to_find


def test_the_command_line_shows_before_it_takes_away(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "ardour7"
    folder.mkdir()
    where = ["ardour", "--path", str(folder), "--mailbox", str(tmp_path / "box")]
    assert main(["install", *where]) == ExitCode.DONE
    there = tree(folder)
    capsys.readouterr()
    assert main(["install", *where, "--uninstall", "--dry-run"]) == ExitCode.DONE
    announced = {line.removeprefix("would remove ").split(" (")[0] for line in capsys.readouterr().out.splitlines()}
    assert tree(folder) == there
    assert main(["install", *where, "--uninstall"]) == ExitCode.DONE
    removed = {line.removeprefix("removed ") for line in capsys.readouterr().out.splitlines()}
    assert removed == announced
    assert str(folder / "ui_scripts") in removed
    assert list(folder.iterdir()) == []
    assert main(["install", *where, "--uninstall"]) == ExitCode.DONE
    assert f"Nothing of Stembridge's is in {folder}." in capsys.readouterr().err
    assert main(["install", "cubase"]) == ExitCode.BAD_REQUEST
    assert install.names() in capsys.readouterr().err


def test_a_folder_that_was_named_is_known_from_then_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    portable = tmp_path / "stick" / "REAPER"
    portable.mkdir(parents=True)
    (portable / "reaper.ini").write_text("")
    box = ["--mailbox", str(tmp_path / "box")]
    assert main(["install", "reaper", *box]) == ExitCode.NOT_READY  # no REAPER is found by itself
    assert main(["install", "reaper", "--path", str(portable), *box]) == ExitCode.DONE
    capsys.readouterr()
    assert [f.detail for f in doctor._daws() if f.what == "REAPER"] == [
        f"scripts of version {stembridge_version()} in {portable}"
    ]
    record = next(portable.rglob(RECORD))
    record.write_text(record.read_text().replace(f'"{stembridge_version()}"', '"0.0.1"'))
    assert [f.state for f in doctor._daws() if f.what == "REAPER"] == ["note"]
    assert main(["install", "reaper", *box]) == ExitCode.DONE  # it is brought up to date with the others
    assert [f.state for f in doctor._daws() if f.what == "REAPER"] == ["ok"]
    assert main(["install", "reaper", "--uninstall"]) == ExitCode.DONE
    assert [f.detail for f in doctor._daws() if f.what == "REAPER"] == ["not found on this machine"]


@pytest.mark.parametrize("torn", ["", "{", "[]", "null", '{"reaper": 3}', '{"reaper": [4, "/nowhere"]}'])
def test_a_torn_note_of_named_folders_is_passed_over(torn: str, tmp_path: Path) -> None:
    elsewhere._path().parent.mkdir(parents=True)
    elsewhere._path().write_text(torn)
    reaper = install.host("reaper")
    assert elsewhere.all_folders(reaper) == []
    elsewhere.remember("reaper", tmp_path)
    elsewhere.forget("reaper", tmp_path)
    assert elsewhere.all_folders(reaper) == []
