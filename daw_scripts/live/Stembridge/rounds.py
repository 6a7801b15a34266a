"""The talk with the engine, a little in each tick: requests go out until they are answered, and each is asked for until
it has ended. Datagrams may be lost, the engine may be started again: nothing here depends on one answer.
"""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

from . import ledger, messages, starting
from .desk import FINAL, Desk, Question, close_entries, ledger_path, note, open_requests, say
from .link import API
from .osc import Value
from .selection import track_key

ASK_S = 0.5
"""How often the engine is asked about one request."""
SEEK_S = 1.0
QUESTION_S = 600.0
"""How long a track may be renamed in answer to a question."""
_SENDS_PER_TICK = 4
_NEWS = ("job/draft", "job/done", "job/failed", "job/cancelled")
"""What the engine tells by itself. Such a message may be lost, so it only hurries the next question."""
_JOB_FIELDS = ("job", "state", "fraction", "stage", "eta_s", "code", "text", "manifest", "target", "residual")
_TEXT_PLACES = {"note": 11, "draft_target": 12, "draft_residual": 13}
"""Where they stand in the answer, behind those that every engine gives; `note` is for a person."""
_DRAFT_SAMPLES = {"draft_offset": 14, "draft_samples": 15}


def hand_over(desk: Desk, entries: list[dict[str, Any]], now_s: float) -> None:
    """Sends requests as soon as the engine gives a sign of life."""
    desk.unsent.extend(entries)
    desk.link.seek()
    desk.link.send(now_s, "ping", "ping")
    desk.asked_s["ping"] = now_s


def cancel(desk: Desk, entries: list[dict[str, Any]], now_s: float) -> None:
    """Ends requests: what was never sent at once, the rest when the engine says so."""
    for entry in entries:
        entry["cancelled"] = True
        note(desk, {"of": entry["rid"], "with": {"cancelled": True}})
    never_sent = [entry for entry in entries if entry["rid"] not in desk.asked_s and "job" not in entry]
    close_entries(desk, never_sent)
    for entry in entries:
        desk.asked_s.pop(entry["rid"], None)


def listen(desk: Desk) -> None:
    """Takes in what has come from the engine."""
    messages_in = desk.link.receive()
    if messages_in:
        desk.told_stopped = False
    for name, values in messages_in:
        if values and isinstance(values[0], str):
            _take(desk, name, values)


def ask(desk: Desk, now_s: float) -> None:
    """Sends what is due, and notices an engine that does not answer."""
    if desk.link.is_silent(now_s):
        _notice_silence(desk, now_s)
    n_sent = 0
    if desk.unsent and now_s - desk.asked_s.get("ping", 0.0) >= ASK_S:
        desk.link.send(now_s, "ping", "ping")
        desk.asked_s["ping"] = now_s
        n_sent += 1
    for entry in desk.entries:
        rid = entry["rid"]
        if n_sent >= _SENDS_PER_TICK:
            return
        if desk.answers.get(rid, {}).get("state") in FINAL or now_s - desk.asked_s.get(rid, -ASK_S) < ASK_S:
            continue
        desk.asked_s[rid] = now_s
        n_sent += 1
        if "job" not in entry:
            desk.link.send(now_s, "submit", rid, json.dumps(entry["request"], ensure_ascii=False))
            continue
        if entry.get("cancelled"):
            desk.link.send(now_s, "cancel", f"c.{rid}", entry["job"])
        desk.link.send(now_s, "job", f"q.{rid}", entry["job"])


def ready(desk: Desk) -> list[dict[str, Any]]:
    """The requests of the first gesture whose every request has ended; empty while there is none."""
    gestures: dict[str, list[dict[str, Any]]] = {}
    for entry in desk.entries:
        gestures.setdefault(entry["gesture"], []).append(entry)
    for entries in gestures.values():
        if all(desk.answers.get(entry["rid"], {}).get("state") in FINAL for entry in entries):
            return entries
    return []


def put_question(desk: Desk, entries: list[dict[str, Any]], now_s: float) -> None:
    """Asks for the prompts of tracks whose names say nothing: the person answers by renaming them."""
    forget_question(desk)
    names = dict.fromkeys(entry["piece"]["track"] for entry in entries)
    listed = ", ".join(f"“{name}”" for name in names)
    what = "removed" if entries[0]["op"] == "remove" else "extracted"
    say(
        desk,
        f"What should be {what}? The name of the track {listed} does not say. "
        "Rename it after the sound (Ctrl/Cmd+R), and it goes on by itself.",
    )
    question = Question(entries, now_s + QUESTION_S)
    keys = {entry["piece"]["track_key"] for entry in entries}
    for track in desk.song.tracks:
        key = track_key(track)
        if key in keys:
            _listen_to_name(question, track, key)
    desk.question = question


def take_answers(desk: Desk, now_s: float) -> None:
    """Sends again what was renamed. Called in a tick: while Live tells of a change, a script must change nothing."""
    question = desk.question
    if question is None:
        return
    if now_s > question.until_s:
        forget_question(desk)
        return
    if not question.renamed:
        return
    names = {track_key(track): track.name for track in desk.song.tracks}
    again, gesture = [], ledger.new_id()
    for entry in list(question.entries):
        key = entry["piece"]["track_key"]
        if key in question.renamed and names.get(key, "").strip():
            question.entries.remove(entry)
            rid = ledger.new_id()
            piece = entry["piece"] | {"track": names[key]}
            request = entry["request"] | {"track": names[key], "name": f"{entry['request']['name']}b"}
            again.append(entry | {"rid": rid, "gesture": gesture, "piece": piece, "request": request})
    question.renamed.clear()
    if not question.entries:
        forget_question(desk)
    if again:
        hand_over(desk, again, now_s)


def forget_question(desk: Desk) -> None:
    """Waits for no answer any more."""
    if desk.question is not None:
        for forget in desk.question.forget:
            forget()
    desk.question = None


def _listen_to_name(question: Question, track: Any, key: str) -> None:
    def renamed() -> None:
        question.renamed.add(key)

    def forget() -> None:
        with contextlib.suppress(RuntimeError):  # the track was deleted, and its listeners with it
            if track.name_has_listener(renamed):
                track.remove_name_listener(renamed)

    track.add_name_listener(renamed)
    question.forget.append(forget)


def _take(desk: Desk, name: str, values: list[Value]) -> None:
    rid = str(values[0])
    if name in _NEWS:
        for told in desk.entries:
            if told.get("job") == rid:  # it is asked for in this tick
                desk.asked_s.pop(told["rid"], None)
    elif name == "pong" and len(values) >= 3:
        _take_pong(desk, str(values[1]), values[2])
    elif name == "ack" and len(values) >= 2:
        entry = _entry(desk, rid)
        if entry is not None and "job" not in entry:
            entry["job"] = str(values[1])
            note(desk, {"of": rid, "with": {"job": entry["job"]}})
            desk.asked_s.pop(rid, None)
    elif name == "error" and len(values) >= 3:
        _take_error(desk, rid, str(values[1]), str(values[2]))
    elif name == "job" and len(values) > len(_JOB_FIELDS) and rid.startswith("q."):
        entry = _entry(desk, rid[2:])
        status = dict(zip(_JOB_FIELDS, values[1:], strict=False))
        status |= {key: _later_text(values, place) for key, place in _TEXT_PLACES.items()}
        status |= {key: _draft_samples(values, place) for key, place in _DRAFT_SAMPLES.items()}
        if entry is not None and entry.get("job") == status["job"] and _is_status(status):
            desk.answers[rid[2:]] = status


def _later_text(values: list[Value], place: int) -> str:
    """Empty where there is no draft or no note, and from an engine that tells of none."""
    text = values[place] if len(values) > place else ""
    return text if isinstance(text, str) else ""


def _draft_samples(values: list[Value], place: int) -> int:
    """0 where there is no draft, and from an engine that does not say it."""
    n = values[place] if len(values) > place else 0
    return n if isinstance(n, int) else 0


def _is_status(status: dict[str, Value]) -> bool:
    numbers = ("fraction", "eta_s")
    sound = all(isinstance(status[key], int | float) and math.isfinite(float(status[key] or 0)) for key in numbers)
    return sound and all(isinstance(status[key], str) for key in _JOB_FIELDS if key not in numbers)


def _take_pong(desk: Desk, version: str, api: Value) -> None:
    entries, desk.unsent = desk.unsent, []
    if not entries:
        return
    if desk.starting:
        desk.starting = False
        starting.forget(desk.settings.clients)
    if api != API:
        say(desk, messages.other_engine(version, desk.settings.version))
        return
    try:
        ledger.note(ledger_path(desk), *entries)
    except OSError as e:
        say(desk, f"The requests could not be written: {e}. Check the disk, or type:  stembridge install live")
        return
    desk.entries.extend(entries)


def _take_error(desk: Desk, rid: str, code: str, text: str) -> None:
    entry = _entry(desk, rid)
    if entry is not None and "job" not in entry:
        desk.answers[rid] = {"state": "refused", "code": code, "text": text}
        return
    asked = _entry(desk, rid[2:])
    if asked is None or code != "unknown_job":
        return
    if asked.get("cancelled"):
        desk.answers[rid[2:]] = {"state": "cancelled", "code": code, "text": text}
    elif rid.startswith("q."):  # an engine without that job: it is asked for anew
        del asked["job"]


def _notice_silence(desk: Desk, now_s: float) -> None:
    if desk.unsent:
        _start_engine(desk)
    n_open = len(open_requests(desk))
    if n_open and not desk.told_stopped:
        desk.told_stopped = True
        say(desk, messages.stopped_meanwhile(n_open))
    if not desk.entries and not desk.unsent:
        desk.link.owes_since_s = None
    if now_s - desk.sought_s >= SEEK_S:
        desk.sought_s = now_s
        desk.link.seek()


def _start_engine(desk: Desk) -> None:
    """Starts one for the requests that wait, or gives them up."""
    clients = desk.settings.clients
    if desk.starting and starting.is_starting(clients):
        return
    if not desk.starting and starting.begin(clients, desk.settings.start_line):
        desk.starting = True
        say(desk, messages.STARTING)
        return
    desk.unsent.clear()
    say(desk, f"{messages.NOT_STARTED if desk.starting else messages.STOPPED}  Nothing was sent.")
    desk.starting = False


def _entry(desk: Desk, rid: str) -> dict[str, Any] | None:
    return next((entry for entry in desk.entries if entry["rid"] == rid), None)
