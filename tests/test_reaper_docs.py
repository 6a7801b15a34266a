"""REAPER's page and the watch folder's say what is there: every action, file and code in them is the real one."""

from __future__ import annotations

import re
from pathlib import Path

from bridge import watch
from bridge.install import reapack
from bridge.install import watch_folder as watch_install
from engine.errors import CODES

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "daw_scripts" / "reaper"
REAPER, WATCH = (ROOT / "docs" / f"{name}.md" for name in ("reaper", "watch-folder"))


def spoken() -> str:
    text = "\n".join(file.text for file in reapack.files())
    return " ".join(re.sub(r'"\s*\.\.\s*"', "", text).split())


def test_every_action_is_on_the_page_and_no_other() -> None:
    actions = {path.stem for path in SCRIPTS.glob("stembridge_*.lua")} - {"stembridge_results"}
    named = set(re.findall(r"stembridge_[a-z_]+", REAPER.read_text(encoding="utf-8")))
    assert named == actions


def test_the_messages_on_the_page_are_the_scripts_own() -> None:
    page = REAPER.read_text(encoding="utf-8").split("## Troubleshooting")[1]
    said = [part.strip(" …") for part in re.findall(r"“([^”]+)”", page)]
    of_others = {"lies outside the allowed folders", "names no sound", "was not measured, or not well", "New instance"}
    assert len(said) > 5
    for text in set(said) - of_others:
        assert text in spoken(), text


def test_the_page_says_what_was_not_run() -> None:
    assert "REAPER itself was not run" in REAPER.read_text(encoding="utf-8")


def test_the_watch_folder_s_names_and_codes_are_real() -> None:
    page = WATCH.read_text(encoding="utf-8")
    assert watch.LEDGER in page
    assert f"{watch.SETTLE_S:.0f} s" in page
    assert f"{watch.UNREADABLE_S:.0f} s" in page
    assert all(f"`{key}`" in page for key in watch.OURS)
    codes = re.findall(r"^\| `([a-z_]+)`", page.split("## Troubleshooting")[1], re.MULTILINE)
    assert codes
    assert set(codes) <= set(CODES)
    assert watch_install.folders()[0].name in page
