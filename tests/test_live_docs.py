"""Live's page says what is there: every gesture, note, message and limit on it is the script's own."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from live_host import NOTES
from live_limits import LIVE

from bridge import live_commands
from bridge.install import live

PAGE = (Path(__file__).parents[1] / "docs" / "live.md").read_text(encoding="utf-8")
NAMES = ("C", "", "D", "", "E", "F", "", "G", "", "A", "", "B")


def spoken() -> str:
    """All that the script and its command line can say, without the breaks in the source."""
    root = Path(__file__).parents[1]
    texts = [*live.sources().values(), (root / "bridge" / "live_commands.py").read_text(encoding="utf-8")]
    return " ".join(re.sub(r'"\s*f?"', "", "\n".join(texts)).split())


def test_every_gesture_is_on_the_page_with_its_note_and_no_other() -> None:
    rows = re.findall(r"^\| `stembridge live (\w+)` \| (\w\d) \|", PAGE, re.MULTILINE)
    assert dict(rows) == {name: f"{NAMES[note % 12]}{note // 12 - 2}" for name, note in NOTES.items()}
    assert set(re.findall(r"stembridge live (\w+)", PAGE)) == set(live_commands.GESTURES)


def test_the_messages_on_the_page_are_the_script_s_own() -> None:
    said = [part.strip(" …") for part in re.findall(r"“([^”]+)”", PAGE.split("## Troubleshooting")[1])]
    assert len(said) > 6
    of_the_engine = {"lies outside the allowed folders", "names no sound", "was not measured, or not well"}
    for text in set(said) - of_the_engine:
        for part in text.split(" … "):
            assert part in spoken(), part


def test_the_page_says_what_was_not_run() -> None:
    assert "Live itself was not run" in PAGE


def test_what_is_not_possible_in_the_table_is_a_limit_on_the_page() -> None:
    for word in ("cut a clip", "fades", "automated"):
        assert any(word in reason for reason in LIVE)
        assert word in PAGE.split("## Limits")[1]


def test_the_picture_is_there_and_whole() -> None:
    (name,) = re.findall(r"\]\((\w+\.svg)\)", PAGE)
    drawing = ElementTree.parse(Path(__file__).parents[1] / "docs" / name).getroot()
    words = "".join(drawing.itertext())
    assert "stembridge install live" in words
    assert "Control Surface" in words
