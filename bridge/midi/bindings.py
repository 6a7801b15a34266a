"""Which MIDI message does what: a table of actions, and the user's file that binds messages to them."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import platformdirs

from bridge.toml_file import read_toml
from engine.errors import StembridgeError
from engine.stems import file_errors

if TYPE_CHECKING:
    import mido

ACTIONS: Final[Mapping[str, str]] = {
    "run": "separate the region of the newest job again, with the chosen preset and quality",
    "cancel": "cancel every job that waits or runs",
    "target": "play the newest target; again: stop",
    "residual": "play the newest residual; again: stop",
    "silence": "stop playing",
    "draft": "choose the quality draft",
    "fast": "choose the quality fast",
    "best": "choose the quality best",
    "quality": "a controller's low, middle and high third choose draft, fast and best",
    "plain": "forget the preset: run with the newest job's own words",
}
"""action → what it does. A program change always chooses a preset."""
QUALITIES: Final = ("draft", "fast", "best")
_KINDS: Final[Mapping[str, str]] = {"note": "note_on", "control": "control_change"}


def require_action(action: str) -> None:
    """Raises `StembridgeError` (`bad_preset`) naming the nearest action where there is none of that name."""
    if action not in ACTIONS:
        near = difflib.get_close_matches(str(action), ACTIONS, n=1)
        raise _wrong(f"There is no action {action!r}.", near, ACTIONS)


@dataclass(frozen=True)
class Binding:
    """One note or controller that does something. `channel` is 1 to 16 as people count; None is every channel.

    Raises `StembridgeError` (`bad_preset`) for what MIDI does not have.
    """

    action: str
    kind: str
    """`note` or `control`."""
    number: int
    channel: int | None = None

    def __post_init__(self) -> None:
        require_action(self.action)
        if self.kind not in _KINDS:
            raise _wrong(f"A binding's kind is {self.kind!r}.", (), _KINDS)
        for what, value, low, high in (("number", self.number, 0, 127), ("channel", self.channel, 1, 16)):
            if (value is not None or what == "number") and not (type(value) is int and low <= value <= high):
                raise _wrong(f"A binding's {what} is {value!r}.", (), [f"{low} to {high}"])

    def matches(self, message: mido.Message) -> bool:
        """Whether a message presses it: a note that begins, or its controller."""
        if message.type != _KINDS[self.kind] or self.channel not in (None, message.channel + 1):
            return False
        if self.kind == "note":
            return bool(message.note == self.number and message.velocity > 0)
        return bool(message.control == self.number)


@dataclass(frozen=True)
class MidiMap:
    """What a controller does."""

    bindings: tuple[Binding, ...]
    programs: Mapping[int, str]
    """Program number, 0 to 127 → a preset's name. One that is not named chooses nothing."""

    def learned(self, binding: Binding) -> MidiMap:
        """With one binding more. What the same note or controller did before, and what did the same, goes."""
        place = (binding.kind, binding.number, binding.channel)
        kept = (b for b in self.bindings if (b.kind, b.number, b.channel) != place and b.action != binding.action)
        return replace(self, bindings=(*kept, binding))


_NOTES: Final = ("run", "target", "residual", "silence", "cancel", "draft", "fast", "best", "plain")
DEFAULT: Final = MidiMap(
    (*(Binding(action, "note", 60 + n) for n, action in enumerate(_NOTES)), Binding("quality", "control", 1)), {}
)
"""Notes from middle C up, and the modulation wheel; programs are the presets in the order of their names."""


def default_file() -> Path:
    """Where the map lies: `midi.toml` in the user's configuration folder."""
    return Path(platformdirs.user_config_dir("stembridge", appauthor=False)) / "midi.toml"


def with_programs(found: MidiMap, presets: Iterable[str]) -> MidiMap:
    """The presets in the order of their names as programs 0, 1, …, where the map names none."""
    return found if found.programs else replace(found, programs=dict(enumerate(sorted(presets)[:128])))


def load_map(path: Path) -> MidiMap:
    """The map in a file; the default where there is none.

    Raises `StembridgeError` (`bad_preset`) naming what is wrong.
    """
    if not path.exists():
        return DEFAULT
    told = read_toml(path)
    unknown = [key for key in told if key not in ("binding", "programs")]
    if unknown:
        raise _wrong(f"{path}: there is no key {unknown[0]!r}.", (), ("binding", "programs"))
    try:
        bindings = tuple(Binding(**{"channel": None, **each}) for each in told.get("binding", []))
        programs = {int(number): str(name) for number, name in told.get("programs", {}).items()}
    except (TypeError, ValueError, AttributeError) as e:
        raise StembridgeError(
            "bad_preset",
            f"{path}: a binding or program is not understood: {e}.",
            'A [[binding]] has action, kind, number and perhaps channel; [programs] has lines such as 0 = "karaoke".',
        ) from e
    except StembridgeError as e:
        raise StembridgeError(e.code, f"{path}: {e.text}", e.remedy) from e
    if wrong := [number for number in programs if not 0 <= number <= 127]:
        raise _wrong(f"{path}: the program {wrong[0]} does not exist.", (), ["0 to 127"])
    return MidiMap(bindings, programs)


def save_map(found: MidiMap, path: Path) -> None:
    """Write a map, whole or not at all. Raises `StembridgeError` (`output_not_writable`, `disk_full`)."""
    lines = ["# What a MIDI controller does; `stembridge midi actions` lists the actions.", ""]
    for binding in found.bindings:
        lines += [
            "[[binding]]",
            f'action = "{binding.action}"',
            f'kind = "{binding.kind}"',
            f"number = {binding.number}",
        ]
        lines += [f"channel = {binding.channel}"] * (binding.channel is not None) + [""]
    if found.programs:
        lines += ["[programs]", *(f"{n} = {_quoted(name)}" for n, name in sorted(found.programs.items())), ""]
    part = path.with_name(f"{path.name}.new")
    with file_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text("\n".join(lines), encoding="utf-8")
        os.replace(part, path)


def binding_of(action: str, message: mido.Message) -> Binding | None:
    """The binding that a pressed note or a moved controller makes; None for other messages."""
    if message.type == "note_on" and message.velocity > 0:
        return Binding(action, "note", message.note, message.channel + 1)
    if message.type == "control_change":
        return Binding(action, "control", message.control, message.channel + 1)
    return None


def _quoted(text: str) -> str:
    """A TOML string: JSON's, which leaves only one control character as it is."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _wrong(text: str, near: Iterable[str], valid: Iterable[Any]) -> StembridgeError:
    close = "".join(f" Did you mean {each!r}?" for each in near)
    return StembridgeError("bad_preset", f"{text}{close}", f"Use one of {', '.join(map(str, valid))}.")
