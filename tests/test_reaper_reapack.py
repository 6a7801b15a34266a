"""ReaPack's list names every file of the package, as it is, and the package works where ReaPack put it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from importlib import metadata
from pathlib import Path

import pytest
from ardour_stand_in import serving
from reaper_host import Host
from reaper_project import Source
from test_reaper_scenarios import make_file

from bridge.install import reapack
from bridge.install import scheme as install
from bridge.install.reaper import FOLDER, HOST

SCRIPTS = reapack.ROOT / "reaper"


def test_the_list_is_current() -> None:
    text = reapack.INDEX.read_text(encoding="utf-8")
    assert text == reapack.index(reapack.base_url_of(text)), "run: python -m bridge.install.reapack"


def test_the_list_is_as_reapack_reads_it() -> None:
    root = ET.fromstring(reapack.index("https://somewhere.invalid/a/"))
    assert (root.tag, root.get("version"), root.get("name")) == ("index", "1", "Stembridge")
    (package,) = root.findall("category/reapack")
    assert package.get("type") == "script"
    (version,) = package.findall("version")
    assert version.get("name") == metadata.version("stembridge")
    assert re.fullmatch(r"\d+(\.\d+)+", version.get("name") or "")
    sources = version.findall("source")
    for source in sources:
        url = source.text or ""
        assert url.startswith("https://somewhere.invalid/a/")
        path = reapack.ROOT / url.removeprefix("https://somewhere.invalid/a/")
        assert path.is_file()
        assert Path(source.get("file") or "").name == path.name
    actions = {source.get("file") for source in sources if source.get("main")}
    assert actions == {path.name for path in SCRIPTS.glob("stembridge_*.lua")} - {"stembridge_results.lua"}
    assert package.get("name") in actions


def test_the_package_has_what_the_installer_writes(tmp_path: Path) -> None:
    (tmp_path / "reaper.ini").touch()
    plan = {file.path.relative_to(tmp_path / FOLDER).as_posix() for file in HOST.plan(tmp_path, tmp_path)}
    assert {file.name for file in reapack.files()} == plan - {"stembridge/config.lua"}


def test_versions_agree_everywhere() -> None:
    version = metadata.version("stembridge")
    assert reapack.header("version") == version
    assert f'version = "{version}"' in (SCRIPTS / "stembridge" / "main.lua").read_text(encoding="utf-8")


def test_every_header_says_what_reapack_needs() -> None:
    for name, text in ((path.name, path.read_text(encoding="utf-8")) for path in SCRIPTS.glob("*.lua")):
        if name != reapack.PACKAGE:
            assert text.startswith("-- @noindex\n"), name
    for wanted in ("description", "author", "version"):
        assert reapack.header(wanted)
    shared = {file.place for file in reapack.files() if file.place.startswith("ardour/")}
    assert {f"../{place}" for place in shared} == set(
        re.findall(r"\[nomain\] (\.\./\S+)", (SCRIPTS / reapack.PACKAGE).read_text(encoding="utf-8"))
    )


def test_what_reapack_puts_in_place_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    mailbox = install.default_mailbox()
    assert mailbox.is_relative_to(tmp_path)
    for part in install.MAILBOX_FOLDERS:
        (mailbox / part).mkdir(parents=True)
    folder = tmp_path / "Scripts" / "Stembridge" / reapack.CATEGORY
    for file in reapack.files():
        (folder / file.name).parent.mkdir(parents=True, exist_ok=True)
        (folder / file.name).write_text(file.text, encoding="utf-8")
    host = Host(folder, tmp_path / "project")
    path = make_file(tmp_path / "voice.wav", 4.0, 44_100, 2)
    host.add_track("Lead Vox").add(Source(str(path)), 10.0, 3.0, 0.5)
    host.select(host.tracks[0], range_s=(11.0, 12.0))
    host.press("extract_selection")
    assert "stembridge serve" in host.messages.pop()
    host.tick()
    with serving(mailbox, tmp_path / "out"):
        while not (mailbox / "engine.json").exists():
            pass
        host.press("extract_selection")
        host.settle()
    assert (host.messages, len(host.tracks)) == ([], 3)
