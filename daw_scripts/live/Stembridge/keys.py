"""MIDI notes → gestures, for a pad, a pedal or a computer keyboard that is chosen as the script's input in Live."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from .gestures import GESTURES

FILE = "live-keys.json"
"""In the folder of the clients: a person's own keys, which an installation leaves alone."""
CHANNEL = 16
FIRST_NOTE = 60
"""C3 in Live's counting; the gestures lie on the white keys from here."""
_WHITE = (0, 2, 4, 5, 7, 9, 11, 12)


@dataclass(frozen=True)
class Keys:
    """Which note is which gesture."""

    channel: int
    """0 to 15, as MIDI counts."""
    notes: dict[int, str]


def default() -> Keys:
    """The keys as they are documented."""
    return Keys(CHANNEL - 1, {FIRST_NOTE + step: name for step, name in zip(_WHITE, GESTURES, strict=True)})


def read(clients: Path) -> tuple[Keys, str]:
    """The person's keys, or the documented ones; and what is wrong with the file, if it is."""
    path = clients / FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        channel, named = values.pop("channel", CHANNEL), values
        fits = 1 <= channel <= 16 and all(0 <= note <= 127 and name in GESTURES for name, note in named.items())
    except FileNotFoundError:
        return default(), ""
    except (OSError, ValueError, TypeError, AttributeError) as e:
        return default(), f"{path} cannot be used: {e}."
    if not fits:
        return (
            default(),
            f"{path} cannot be used: it takes channel 1 to 16, and notes 0 to 127 for {', '.join(GESTURES)}.",
        )
    return Keys(channel - 1, {note: name for name, note in named.items()}), ""


def gesture_of(keys: Keys, midi: tuple[int, ...]) -> str | None:
    """The gesture of a message: a note-on of the channel, with a velocity."""
    if len(midi) == 3 and midi[0] == 0x90 | keys.channel and midi[2] > 0:
        return keys.notes.get(midi[1])
    return None
