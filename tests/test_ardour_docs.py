"""The pages say what the scripts do: every action, message and file name in them is the real one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SPECIFICATION, PAGE = ROOT / "daw_scripts" / "README.md", ROOT / "docs" / "ardour.md"
SCRIPTS = ROOT / "daw_scripts" / "ardour"


def lua_texts() -> str:
    """All that Ardour's scripts may say, with the pieces of a sentence joined."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in SCRIPTS.rglob("*.lua"))
    return " ".join(re.sub(r'"\s*\.\.\s*"', "", text).split())


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.lua")), ids=lambda path: path.stem)
def test_every_action_is_on_the_page(path: Path) -> None:
    name = re.search(r'name = "Stembridge: ([^"]+)"', path.read_text(encoding="utf-8"))
    assert name is not None
    assert name[1] in PAGE.read_text(encoding="utf-8")


def test_the_messages_of_the_specification_are_the_scripts_own() -> None:
    section = SPECIFICATION.read_text(encoding="utf-8").split("## Messages")[1].split("## Never")[0]
    rows = re.findall(r"^\| [^|]+ \| ([^|]+) \|$", section, re.MULTILINE)[2:]
    parts = [part.strip(" .") for row in rows for part in re.split(r"…|\*[a-z]+\*|“|”:|\(.*?\)", row)]
    said = [part for part in parts if len(part) > 12 and not part.startswith("the engine's text")]
    assert len(said) > 8
    spoken = lua_texts().replace("\\n", " ")
    for part in said:
        assert part in spoken, part


def test_the_pictures_of_the_page_exist_and_are_small() -> None:
    for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", PAGE.read_text(encoding="utf-8")):
        assert (PAGE.parent / name).stat().st_size <= 150_000
