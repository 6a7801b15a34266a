"""Audacity's and Bitwig's pages say what is there: every command, button and message in them is the real one."""

from __future__ import annotations

import re
from pathlib import Path

from bridge.cli.audacity import audacity
from bridge.install import bitwig

ROOT = Path(__file__).parents[1]
AUDACITY, BITWIG = ((ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("audacity", "bitwig"))
SCRIPT = (ROOT / "daw_scripts" / "bitwig" / bitwig.SCRIPT).read_text(encoding="utf-8")


def joined(text: str) -> str:
    """Source text with its string literals put together."""
    return " ".join(re.sub(r'"\s*\+?\s*f?"', "", text).split())


def messages(page: str) -> list[str]:
    rows = page.split("## Troubleshooting")[1]
    return [part.strip(" …") for part in re.findall(r"^\| “([^”]+)”", rows, re.MULTILINE)]


def test_every_command_is_on_audacity_s_page_and_no_other() -> None:
    names = {command.name or command.callback.__name__ for command in audacity.registered_commands if command.callback}
    assert set(re.findall(r"^\| `stembridge audacity ([a-z-]+)`", AUDACITY, re.MULTILINE)) == names


def test_audacity_s_messages_are_the_program_s_own() -> None:
    files = [*(ROOT / "bridge" / "audacity").glob("*.py"), ROOT / "bridge" / "osc" / "client.py"]
    spoken = joined("\n".join(path.read_text(encoding="utf-8") for path in files))
    spoken = spoken.replace("{why}", "")
    assert len(messages(AUDACITY)) > 5
    for text in messages(AUDACITY):
        for part in text.split(": "):
            assert part in spoken, text


def test_bitwig_s_messages_and_buttons_are_the_script_s_own() -> None:
    assert len(messages(BITWIG)) > 5
    for text in messages(BITWIG):
        assert text in joined(SCRIPT), text
    buttons = set(re.findall(r"^\| \*\*([^*]+)\*\*", BITWIG, re.MULTILINE))
    assert buttons == set(re.findall(r'"([A-Z][a-z ]+)": (?:extract|remove|showProgress|cancel)\b', SCRIPT))
    assert all(f"{port}" in SCRIPT for port in re.findall(r"\b9\d{3}\b", BITWIG))


def test_what_was_not_run_is_said() -> None:
    assert "Bitwig Studio itself was not run" in BITWIG
    assert "Audacity 4 cannot be used" in AUDACITY


def test_the_pictures_are_there() -> None:
    for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", AUDACITY + BITWIG):
        assert (ROOT / "docs" / name).is_file()
