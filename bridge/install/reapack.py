"""The list that ReaPack, REAPER's package manager, installs from: `python -m bridge.install.reapack [BASE_URL]`.

It is one package: every action and what the actions load. ReaPack fetches each file from a URL, so the list names the
place the repository is published at: `BASE_URL` is the address under which `daw_scripts/` is served for this version.
Without one the address in the list is kept; as it is committed it is a placeholder that leads nowhere. A test holds all
else current.

Source of the format: ReaPack's index, version 1, as its `reapack-index` tool writes it.
"""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from bridge.install.lua_files import sources
from bridge.install.reaper import PARTS, SHARED, parts

ROOT: Final = Path(__file__).parents[2] / "daw_scripts"
INDEX: Final = ROOT / "reaper" / "index.xml"
PACKAGE: Final = "stembridge_setup.lua"
"""The file whose header describes the package."""
CATEGORY: Final = "Separation"
NOWHERE: Final = "https://stembridge.invalid/daw_scripts"
_BACKGROUND: Final = ("stembridge_results.lua",)
"""Scripts that other scripts start: not for the action list."""


@dataclass(frozen=True)
class Listed:
    """One file of the package."""

    name: str
    """Where it is put, under the category's folder."""
    place: str
    """Where it is, under `daw_scripts`."""
    text: str
    is_action: bool


def files() -> list[Listed]:
    """All files of the package: the actions, then what they load."""
    actions = [
        Listed(name, f"reaper/{name}", text, name not in _BACKGROUND) for name, text in sources("reaper").items()
    ]
    loaded = [
        Listed(f"{PARTS}/{name}", f"{'ardour' if name in SHARED else 'reaper'}/{PARTS}/{name}", text, False)
        for name, text in parts().items()
    ]
    return actions + loaded


def header(name: str) -> str:
    """What the package's header says of `@name`; its first line only. `ValueError` when it says nothing."""
    match = re.search(rf"^-- @{name} (.+)$", sources("reaper")[PACKAGE], re.MULTILINE)
    if match is None:
        raise ValueError(f"{PACKAGE} has no @{name}")
    return match[1]


def index(base_url: str) -> str:
    """The list, as text."""
    root = ET.Element("index", {"version": "1", "name": "Stembridge"})
    category = ET.SubElement(root, "category", {"name": CATEGORY})
    about = {"name": PACKAGE, "type": "script", "desc": header("description")}
    package = ET.SubElement(category, "reapack", about)
    version = ET.SubElement(package, "version", {"name": metadata.version("stembridge"), "author": header("author")})
    for file in files():
        values = {"file": file.name} | ({"main": "main"} if file.is_action else {})
        ET.SubElement(version, "source", values).text = f"{base_url.rstrip('/')}/{file.place}"
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def base_url_of(text: str) -> str:
    """The address that a list was written for."""
    first = ET.fromstring(text).findtext(".//source") or NOWHERE
    return first.rsplit("/reaper/", 1)[0]


def main(arguments: list[str]) -> None:
    """Write `index.xml`."""
    base_url = arguments[0] if arguments else base_url_of(INDEX.read_text(encoding="utf-8"))
    INDEX.write_text(index(base_url), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
