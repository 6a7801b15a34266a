"""What the person can do: each gesture reads the selection and hands requests over. None waits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from . import asking, drafts, ledger, messages, rounds, selection
from .desk import Desk, open_requests, say

_MAX_NAME = 60
SHOW_S = 10.0
"""How long the progress is shown in the status bar, after a gesture too."""


def extract(desk: Desk, now_s: float, prompt: str | None = None) -> None:
    """Extract selection."""
    _gesture(desk, now_s, "extract", "selection", prompt)


def clips(desk: Desk, now_s: float, prompt: str | None = None) -> None:
    """Extract the whole clip in view, whatever the loop is."""
    _gesture(desk, now_s, "extract", "clips", prompt)


def tracks(desk: Desk, now_s: float, prompt: str | None = None) -> None:
    """Batch: every audio clip on the selected tracks."""
    _gesture(desk, now_s, "extract", "tracks", prompt)


def example(desk: Desk, now_s: float, prompt: str | None = None) -> None:
    """Extract by example."""
    _gesture(desk, now_s, "example", "selection", prompt)


def remove(desk: Desk, now_s: float, prompt: str | None = None) -> None:
    """Remove from selection: what is left comes first."""
    _gesture(desk, now_s, "remove", "selection", prompt)


def again(desk: Desk, now_s: float, prompt: str | None = None) -> None:
    """The last gesture once more, with its words, for what is selected now."""
    if desk.last is None:
        say(desk, messages.NOTHING_TO_REPEAT)
        return
    last = desk.last
    _gesture(desk, now_s, last["op"], last["what"], prompt or last["prompt"])


def cancel(desk: Desk, now_s: float, prompt: str | None = None) -> None:
    """Ends the unfinished requests of this set."""
    entries = open_requests(desk)
    if not entries and not desk.unsent and desk.question is None:
        say(desk, messages.NOTHING_OPEN)
        return
    rounds.forget_question(desk)
    desk.unsent.clear()
    desk.starting = False
    rounds.cancel(desk, entries, now_s)
    messages.write_log(desk.screen, f"cancelled {len(entries)} requests")


def show(desk: Desk, now_s: float, prompt: str | None = None) -> None:
    """Says of each request how far it is, for a while."""
    if not open_requests(desk) and not desk.unsent:
        say(desk, messages.NOTHING_OPEN)
        return
    desk.show_until_s = now_s + SHOW_S


GESTURES: dict[str, Callable[[Desk, float, str | None], None]] = {
    "extract": extract,
    "example": example,
    "remove": remove,
    "clips": clips,
    "tracks": tracks,
    "repeat": again,
    "cancel": cancel,
    "show": show,
}
"""By the name that keys and the command line use, in the order of their MIDI notes."""


def progress_of(desk: Desk, entry: dict[str, Any]) -> str:
    """How far one request is."""
    status = desk.answers.get(entry["rid"], {})
    state = status.get("state")
    text = "waits for its turn" if state == "queued" else "is being sent"
    if entry in desk.unsent:
        text = "waits for the engine to start"
    if state == "running":
        text = f"{status['stage'] or 'running'}, {math.floor(100 * status['fraction'])} %"
        if status["eta_s"] >= 0:
            left_s = math.ceil(status["eta_s"])
            text += f", {left_s // 60}:{left_s % 60:02d} left"
    name = entry["piece"]["track"]
    return f"“{name if len(name) <= _MAX_NAME else name[: _MAX_NAME - 1] + '…'}”: {text}"


def _gesture(desk: Desk, now_s: float, op: asking.Op, what: selection.What, prompt: str | None) -> None:
    messages.clear(desk.screen)
    found = selection.find(desk.application, desk.song, what)
    problems = found.problems or ([] if found.pieces else found.passed_over)
    if not found.pieces and not problems:
        problems = [messages.NO_AUDIO_IN_RANGE if found.kind == "range" else messages.NOTHING_SELECTED]
    pieces = found.pieces
    if op == "example" and pieces:
        if not any(piece["in_range"] for piece in pieces):
            say(desk, messages.NEED_RANGE)
            return
        problems += [f"A clip on “{piece['track']}” {piece['only_part']}." for piece in pieces if "only_part" in piece]
        pieces = [piece for piece in pieces if "only_part" not in piece]
    say(desk, *problems)
    if not pieces:
        return
    desk.last = {"op": op, "what": what, "prompt": prompt}
    gesture = ledger.new_id()
    entries = [asking.entry_of(p, op, gesture, prompt, desk.song.tempo) for p in pieces]
    if len(entries) == 1 and drafts.can_show(desk.song):  # of several, the first would not be heard sooner
        entries[0]["request"]["quality"] = "progressive"
        playhead = drafts.playhead_of(desk.song, entries[0])
        if playhead is not None:
            entries[0]["request"]["playhead"] = playhead
    rounds.hand_over(desk, entries, now_s)
    desk.show_until_s = now_s + SHOW_S  # so that a press on a pad is seen to have done something
