"""Ardour's `ui_scripts` file: which Lua action lies in which slot, and which hooks run.

Ardour 7 and 8 keep the scripts that are switched on in one XML file in their configuration folder. Actions are one
base64 text, a Lua chunk that fills a table `scripts` (slots 1 to 32); each hook is a `LuaCallback` element. Ours are
appended to that chunk, so whatever else it holds stays as it is, byte for byte.

Sources: Ardour's `gtk2_ardour/luainstance.cc` (the format) and `gtk2_ardour/luasignal_syms.h` (the order of the
signals, the same in every release from 7.0 to 8.12).
"""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import Final

from engine.errors import StembridgeError

N_SLOTS: Final = 32
PREFIX: Final = "Stembridge: "
"""What the names of all our scripts begin with; how ours are told from a person's own."""

_TIMER_SIGNALS: Final = "0" + "1" + "0" * 47
"""49 signals, the last first; LuaTimerDS (ten times a second) is number 47."""

_NAME: Final = re.compile(rb"""scripts\[(\d+)\]\[["']n["']\] = "((?:[^"\\]|\\.)*)\"""", re.DOTALL)
_SLOT: Final = re.compile(rb"scripts\[(\d+)\] = (\{\}|nil)")


def slots(text: str | None) -> dict[str, int]:
    """The names of our actions → their slots (1 to 32), in a `ui_scripts` text; None stands for no file.

    Raises `StembridgeError` (`daw_not_found`) when the text is not what Ardour writes.
    """
    return {name: slot for slot, name in _names(_actions(_parse(text))).items() if name.startswith(PREFIX)}


def activated(text: str | None, actions: Mapping[str, str], hooks: Mapping[str, str]) -> str:
    """A `ui_scripts` text with our scripts (name → Lua source) switched on, each in its old slot or the next free one.

    Raises `StembridgeError` (`daw_not_found`) when the text is not what Ardour writes or has no free slot.
    """
    root = ET.fromstring(deactivated(text))
    old_slots = slots(text)
    chunk = _actions(root)
    free = [n for n in range(1, N_SLOTS + 1) if n not in _used(chunk) and n not in old_slots.values()]
    for name, source in actions.items():
        if name not in old_slots and not free:
            raise StembridgeError(
                "daw_not_found",
                f"All {N_SLOTS} script slots of Ardour are taken.",
                "Remove one in Ardour: Edit > Lua Scripts > Script Manager.",
            )
        chunk += f" {_assignments(f'scripts[{old_slots.get(name) or free.pop(0)}]', name, source)}".encode()
    _set_actions(root, chunk)
    parent = root.find("ActionHooks")
    parent = ET.SubElement(root, "ActionHooks") if parent is None else parent
    used_ids = {int(element.get("id", "0")) for element in root.iter() if element.get("id", "0").isdecimal()}
    for number, (name, source) in enumerate(hooks.items(), 1):
        attributes = {"lua": "Lua 5.3", "id": str(max(used_ids, default=0) + number), "name": name}
        hook = ET.SubElement(parent, "LuaCallback", attributes | {"signals": _TIMER_SIGNALS})
        hook.text = base64.b64encode(_assignments("s", name, source).encode()).decode()
    return _text(root)


def deactivated(text: str | None) -> str:
    """A `ui_scripts` text without our scripts; everything else as it was. Raises as `slots` does."""
    root = _parse(text)
    chunk = _actions(root)
    ours = slots(text).values()
    _set_actions(root, chunk + b"".join(b" scripts[%d] = nil" % slot for slot in ours) if ours else chunk)
    for parent in root.iter("ActionHooks"):
        for hook in list(parent):
            if hook.get("name", "").startswith(PREFIX):
                parent.remove(hook)
    return _text(root)


def is_empty(text: str) -> bool:
    """Whether no script at all is switched on in a `ui_scripts` text. Raises as `slots` does."""
    root = _parse(text)
    return not _used(_actions(root)) and next(root.iter("LuaCallback"), None) is None


def _parse(text: str | None) -> ET.Element:
    if text is None:
        return ET.fromstring("<UIScripts><ActionScript lua='Lua 5.3'/><ActionHooks/></UIScripts>")
    try:
        root = ET.fromstring(text)
    except ET.ParseError as e:
        raise _not_ardours(str(e)) from e
    if root.tag != "UIScripts":
        raise _not_ardours(f"its root is {root.tag}")
    return root


def _actions(root: ET.Element) -> bytes:
    element = root.find("ActionScript")
    try:
        return base64.b64decode("".join(element.itertext()) if element is not None else "") or b"scripts = {}"
    except ValueError as e:  # binascii.Error among them
        raise _not_ardours("its actions are not base64") from e


def _set_actions(root: ET.Element, chunk: bytes) -> None:
    element = root.find("ActionScript")
    if element is None:
        element = ET.Element("ActionScript", {"lua": "Lua 5.3"})
        root.insert(0, element)
    element.text = base64.b64encode(chunk).decode()


def _names(chunk: bytes) -> dict[int, str]:
    """Slot → name, of the slots that are filled when the whole chunk has run."""
    names = {int(m[1]): m[2].decode("utf-8", "replace") for m in _NAME.finditer(chunk)}
    return {slot: re.sub(r"\\(.)", r"\1", names[slot]) for slot in _used(chunk) if slot in names}


def _used(chunk: bytes) -> set[int]:
    last = {int(match[1]): match[2] for match in _SLOT.finditer(chunk)}
    return {slot for slot, value in last.items() if value != b"nil"}


def _assignments(table: str, name: str, source: str) -> str:
    """Lua statements that make `table` one script: n its name, s its source, f the function Ardour runs, a its options.

    Ardour hands f to Lua's `load`, which takes source as well as bytecode, so nothing need be compiled here.
    """
    function = (
        "local _params = ...\nlocal function ardour() end\nlocal factory, signals\n"
        + source
        + "\nreturn factory(_params)\n"
    )
    fields = {"n": name, "s": source, "f": function}
    return (
        f"{table} = {{}} "
        + " ".join(f'{table}["{key}"] = {quoted(value)}' for key, value in fields.items())
        + f' {table}["c"] = "" {table}["a"] = {{}}'
    )


def quoted(text: str) -> str:
    """A Lua string literal for any text without NUL."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


def _text(root: ET.Element) -> str:
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _not_ardours(why: str) -> StembridgeError:
    return StembridgeError(
        "daw_not_found",
        f"Ardour's ui_scripts file cannot be read: {why}.",
        "Start Ardour once, open a session and quit, then try again; or move the file away.",
    )
