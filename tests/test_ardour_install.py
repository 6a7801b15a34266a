"""Installing Ardour's scripts: the right folders, nobody else's scripts harmed, and a clean way back."""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import lupa.lua53 as lua
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.install import ardour, ardour_slots
from bridge.install import scheme as install
from bridge.install.ardour import HOST
from engine.errors import StembridgeError

ACTIONS = [
    "Stembridge: Extract selection",
    "Stembridge: Extract by example",
    "Stembridge: Remove …",
    "Stembridge: Cancel",
    "Stembridge: Show progress",
]
HOOK = "Stembridge: Bring in results"
# As Ardour writes it: Lua's %q, bytes above 127 and NUL in compiled functions, a name with quotes.
OTHERS = (
    b'scripts = {} scripts[2] = {} scripts[2]["n"] = "Mine \\"2\\"" scripts[2]["s"] = "x = \\"scripts[3][\'n\'] = 1\\""'
    b' scripts[2]["f"] = "\\27Lua\\0\xff\xfe\\\n" scripts[2]["a"] = {} '
)
UI_SCRIPTS = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<UIScripts><ActionScript lua="Lua 5.3">'
    + base64.b64encode(OTHERS).decode()
    + '</ActionScript><ActionHooks><LuaCallback lua="Lua 5.3" id="41" name="My hook" signals="1">eA==</LuaCallback>'
    "</ActionHooks></UIScripts>\n"
)


def run(chunk: bytes) -> dict[int, dict[bytes, bytes]]:
    """What Ardour's own loading of an action chunk leaves: slot → fields."""
    runtime = lua.LuaRuntime(encoding=None, unpack_returned_tuples=True)
    runtime.execute(chunk)
    scripts = runtime.globals()[b"scripts"].items()
    return {slot: {key: v for key, v in script.items() if isinstance(v, bytes)} for slot, script in scripts}


def chunk_of(text: str) -> bytes:
    return base64.b64decode(ET.fromstring(text).findtext("ActionScript") or "")


def config_dir(parent: Path, ui_scripts: str | None = UI_SCRIPTS) -> Path:
    folder = parent / "ardour7"
    folder.mkdir(parents=True)
    if ui_scripts is not None:
        (folder / "ui_scripts").write_text(ui_scripts)
    return folder


@pytest.mark.parametrize(
    ("platform", "env", "place"),
    [
        ("linux", {}, ".config/ardour8"),
        ("linux", {"XDG_CONFIG_HOME": "@/xdg"}, "xdg/ardour8"),
        ("darwin", {}, "Library/Preferences/Ardour8"),
        ("win32", {"LOCALAPPDATA": "@/Local"}, "Local/Ardour8"),
        ("win32", {}, "AppData/Local/Ardour8"),
    ],
)
def test_ardour_s_folders_are_found(tmp_path: Path, platform: str, env: dict[str, str], place: str) -> None:
    newest = tmp_path / place
    older = newest.with_name(newest.name.replace("8", "7"))
    for folder in (newest, older, newest.with_name("ardour5"), newest.with_name("ardour-notes")):
        folder.mkdir(parents=True)
    here = {key: value.replace("@", str(tmp_path)) for key, value in env.items()}
    assert ardour.config_dirs(tmp_path, here, platform) == [newest, older]
    assert ardour.config_dirs(tmp_path / "nobody", {}, platform) == []


def test_a_plan_says_what_is_then_written_and_nothing_else_is(tmp_path: Path) -> None:
    folder = config_dir(tmp_path)
    plan = install.planned(HOST, folder, tmp_path / "mailbox")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [folder / "ui_scripts"]
    written = install.install(HOST, folder, tmp_path / "mailbox")
    assert written == [file.path for file in plan]
    assert all(file.path.read_bytes() == file.content for file in plan)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == set(written)
    assert all((tmp_path / "mailbox" / name).is_dir() for name in ("requests", "status", "clients"))


def test_other_people_s_scripts_stay_as_they_are(tmp_path: Path) -> None:
    folder = config_dir(tmp_path)
    install.install(HOST, folder, tmp_path / "mailbox")
    text = (folder / "ui_scripts").read_text()
    before, after = run(OTHERS), run(chunk_of(text))
    assert after[2] == before[2]
    assert chunk_of(text).startswith(OTHERS)
    assert ardour.slots_in_use(folder) == dict(zip(ACTIONS, (1, 3, 4, 5, 6), strict=True))
    assert {slot: after[slot][b"n"].decode() for slot in (1, 3, 4, 5, 6)} == dict(
        zip((1, 3, 4, 5, 6), ACTIONS, strict=True)
    )
    hooks = {hook.get("name"): hook for hook in ET.fromstring(text).iter("LuaCallback")}
    assert list(hooks) == ["My hook", HOOK]
    assert hooks["My hook"].text == "eA=="
    assert hooks[HOOK].get("id") not in (None, "41")
    signals = hooks[HOOK].get("signals") or ""
    assert (len(signals), signals[::-1].index("1"), signals.count("1")) == (49, 47, 1)
    assert (folder / "ui_scripts.before-stembridge").read_text() == UI_SCRIPTS


def test_what_ardour_is_given_to_run_compiles_and_is_the_installed_script(tmp_path: Path) -> None:
    folder = config_dir(tmp_path, None)
    install.install(HOST, folder, tmp_path / 'mail’box "quoted" \\ backslash')
    runtime = lua.LuaRuntime(encoding=None)
    load = runtime.globals()[b"load"]
    sources = {path.read_bytes() for path in (folder / "scripts").glob("*.lua")}
    scripts = run(chunk_of((folder / "ui_scripts").read_text()))
    assert len(scripts) == len(ACTIONS)
    for script in scripts.values():
        assert script[b"s"] in sources
        assert load(script[b"f"]) is not None
    for path in (folder / "stembridge").glob("*.lua"):
        assert load(path.read_bytes()) is not None, path
    settings = lua.LuaRuntime().execute((folder / "stembridge" / "config.lua").read_text())
    assert settings["mailbox"] == str(tmp_path / 'mail’box "quoted" \\ backslash')
    assert install.installed_version(HOST, folder) == settings["version"]


def test_installing_again_keeps_slots_and_the_first_backup(tmp_path: Path) -> None:
    folder = config_dir(tmp_path)
    install.install(HOST, folder, tmp_path / "mailbox")
    slots = ardour.slots_in_use(folder)
    install.install(HOST, folder, tmp_path / "mailbox")
    assert ardour.slots_in_use(folder) == slots
    text = (folder / "ui_scripts").read_text()
    assert [hook.get("name") for hook in ET.fromstring(text).iter("LuaCallback")] == ["My hook", HOOK]
    assert (folder / "ui_scripts.before-stembridge").read_text() == UI_SCRIPTS


@pytest.mark.parametrize("ui_scripts", [None, UI_SCRIPTS])
def test_uninstall_takes_away_exactly_what_install_wrote(tmp_path: Path, ui_scripts: str | None) -> None:
    folder = config_dir(tmp_path, ui_scripts)
    mine = folder / "scripts" / "mine.lua"
    mine.parent.mkdir()
    mine.write_text("-- mine")
    written = install.install(HOST, folder, tmp_path / "mailbox")
    assert set(install.uninstall(HOST, folder)) == set(written)
    assert not (folder / "stembridge").exists()
    assert install.installed_version(HOST, folder) is None
    assert install.uninstall(HOST, folder) == []
    left = {path for path in folder.rglob("*") if path.is_file()}
    assert left == ({mine, folder / "ui_scripts"} if ui_scripts else {mine})
    if not ui_scripts:  # the list was made for ours
        return
    text = (folder / "ui_scripts").read_text()
    assert run(chunk_of(text)) == run(OTHERS)
    assert [h.get("name") for h in ET.fromstring(text).iter("LuaCallback")] == ["My hook"]


def test_a_list_that_others_use_by_now_stays(tmp_path: Path) -> None:
    folder = config_dir(tmp_path, None)
    install.install(HOST, folder, tmp_path / "mailbox")
    text = (folder / "ui_scripts").read_text()
    hook = '<LuaCallback lua="Lua 5.3" id="77" name="My hook" signals="0">cw==</LuaCallback></ActionHooks>'
    (folder / "ui_scripts").write_text(text.replace("</ActionHooks>", hook))
    install.uninstall(HOST, folder)
    left = ET.fromstring((folder / "ui_scripts").read_text())
    assert [element.get("name") for element in left.iter("LuaCallback")] == ["My hook"]


@pytest.mark.parametrize(
    "rubbish", ["", "<UIScripts>", "<Other/>", "<UIScripts><ActionScript>é!</ActionScript></UIScripts>"]
)
def test_a_file_that_is_not_ardour_s_is_refused_and_kept(tmp_path: Path, rubbish: str) -> None:
    folder = config_dir(tmp_path, rubbish)
    with pytest.raises(StembridgeError) as caught:
        install.install(HOST, folder, tmp_path / "mailbox")
    assert caught.value.code == "daw_not_found"
    assert [path for path in folder.rglob("*") if path.is_file()] == [folder / "ui_scripts"]
    assert (folder / "ui_scripts").read_text() == rubbish


def test_no_free_slot_is_said(tmp_path: Path) -> None:
    full = "scripts = {}" + "".join(f' scripts[{n}] = {{}} scripts[{n}]["n"] = "x{n}"' for n in range(1, 30))
    text = f"<UIScripts><ActionScript>{base64.b64encode(full.encode()).decode()}</ActionScript></UIScripts>"
    folder = config_dir(tmp_path, text)
    with pytest.raises(StembridgeError, match="slots"):
        install.install(HOST, folder, tmp_path / "mailbox")
    assert (folder / "ui_scripts").read_text() == text


def test_versions_whose_list_we_do_not_know_get_the_files_only(tmp_path: Path) -> None:
    folder = tmp_path / "ardour9"
    folder.mkdir()
    install.install(HOST, folder, tmp_path / "mailbox")
    assert not (folder / "ui_scripts").exists()
    assert len(list((folder / "scripts").glob("*.lua"))) == len(ACTIONS) + 1


@pytest.mark.parametrize("name", ["reaper", "ardour", "ardour7x"])
def test_a_folder_that_is_not_ardour_s_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    for call in (
        lambda: install.install(HOST, tmp_path / name, tmp_path / "m"),
        lambda: install.uninstall(HOST, tmp_path / name),
    ):
        with pytest.raises(StembridgeError) as caught:
            call()
        assert caught.value.code == "daw_not_found"


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    folder = config_dir(tmp_path)
    (folder / "scripts").write_text("a file where the folder should be")
    with pytest.raises(StembridgeError) as caught:
        install.install(HOST, folder, tmp_path / "mailbox")
    assert caught.value.code == "output_not_writable"
    assert (folder / "ui_scripts").read_text() == UI_SCRIPTS


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_a_quoted_text_is_the_same_text_in_lua(text: str) -> None:
    runtime = lua.LuaRuntime(encoding=None)
    assert runtime.execute(b"return " + ardour_slots.quoted(text).encode()) == text.encode()


def test_every_script_has_the_name_its_slot_shows() -> None:
    folder = Path(install.__file__).parents[2] / "daw_scripts" / "ardour"
    names = [re.search(r'name = "([^"]+)"', path.read_text())[1] for path in folder.glob("*.lua")]  # type: ignore[index]
    assert sorted(names) == sorted([*ACTIONS, HOOK])
