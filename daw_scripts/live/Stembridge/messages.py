"""What the person reads: Live's status bar, which has one line, and a log that has them all."""

from __future__ import annotations

import re
import textwrap
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NOTHING_SELECTED = (
    "Nothing is selected. Select a time range on a track and loop it (Ctrl/Cmd+L), or click one audio clip, "
    "and try again."
)
NO_AUDIO_IN_RANGE = (
    "There is no audio clip in the selected range on the selected tracks. Select the track as well as the range, "
    "or switch the loop off to use the clip in view."
)
NEED_RANGE = (
    "Select a time range in which the sound is heard, and loop it (Ctrl/Cmd+L): it is the example, and the whole clip "
    "is searched for it."
)
NOTHING_OPEN = "No request of this session is under way."
NOTHING_TO_REPEAT = "There is nothing to repeat yet."
STARTING = "The Stembridge engine is being started; the request goes out when it is there."
NOT_STARTED = "The Stembridge engine was started but does not answer. In a terminal, this says why:  stembridge serve"
STOPPED = "The Stembridge engine is not running. Open a terminal and type:  stembridge serve"

SHOW_S = 6.0
"""How long one line stays in the status bar."""
_AGAIN_S = 1.0
"""Live's own hints push a line out of the status bar; it is put there again."""
_MAX_CHARS = 140
_MAX_LOG_BYTES = 200_000
_MAX_KEPT = 200


@dataclass
class Screen:
    """The status bar, and all that was said since the script was loaded."""

    c_instance: Any
    log: Path
    set_name: str = ""
    said: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    until_s: float = 0.0
    again_s: float = 0.0


def tell(screen: Screen, lines: list[str]) -> None:
    """Says some lines, each once with how often it came: one after the other in the status bar, all in the log."""
    for line in dict.fromkeys(lines):
        n = lines.count(line)
        text = line if n == 1 else f"{line} ({n} times)"
        screen.said.append(text)
        del screen.said[:-_MAX_KEPT]
        write_log(screen, text)
        screen.waiting.extend(_pieces(text))


def clear(screen: Screen) -> None:
    """Forgets what has not been shown: the person has gone on."""
    screen.waiting.clear()
    screen.until_s = 0.0


def refresh(screen: Screen, now_s: float) -> None:
    """Called every tick: puts the next line, or the same again, into the status bar."""
    if screen.waiting and screen.until_s and now_s >= screen.until_s:
        del screen.waiting[0]
        screen.until_s = 0.0
    if not screen.waiting:
        return
    if not screen.until_s:
        screen.until_s, screen.again_s = now_s + SHOW_S, now_s
    if now_s >= screen.again_s:
        screen.c_instance.show_message(f"Stembridge: {screen.waiting[0]}")
        screen.again_s = now_s + _AGAIN_S


def write_log(screen: Screen, text: str) -> None:
    """Adds a line to the log; the message itself is shown, so that its copy cannot be written is not worth another."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    try:
        if screen.log.is_file() and screen.log.stat().st_size > _MAX_LOG_BYTES:
            screen.log.replace(screen.log.with_suffix(".log.1"))
        with screen.log.open("a", encoding="utf-8") as file:
            file.write(f"{stamp} {screen.set_name or 'unsaved set'}: {text.replace(chr(10), ' / ')}\n")
    except OSError:
        return


def other_engine(version: str, ours: str) -> str:
    """Said when the engine speaks another API."""
    return (
        f"The Stembridge engine (version {version}) and this script (version {ours}) do not fit together, so nothing "
        "was sent. Type in a terminal:  stembridge install live  and start Live again."
    )


def stopped_meanwhile(n_open: int) -> str:
    """Said once when the engine stops with requests open."""
    return (
        f"The Stembridge engine has stopped; {n_open} of this session's requests wait for it. They go on when it runs "
        "again:  stembridge serve"
    )


def _pieces(text: str) -> list[str]:
    """A long text in parts that the status bar has room for, cut between sentences or words."""
    parts: list[str] = []
    phrases = re.split(r"(?<=[.:;?!,]) +|\n+", text)
    for word in (piece for phrase in phrases for piece in textwrap.wrap(phrase, _MAX_CHARS)):
        if parts and len(parts[-1]) + len(word) < _MAX_CHARS:
            parts[-1] += " " + word
        else:
            parts.append(word)
    return parts
