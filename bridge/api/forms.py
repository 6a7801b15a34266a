"""The forms a submit's fields come in: alternating keys and values, or a JSON object. Both give one mapping."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bridge.api.fields import FIELDS, Field, check_key
from bridge.api.protocol import MAX_PACKET_BYTES, Value
from bridge.api.requests import Submit
from engine.errors import StembridgeError


def from_submit(message: Submit) -> dict[str, Any]:
    """The fields of a submit or preview: its positional arguments and its options, in either form.

    Raises `StembridgeError` (`unknown_key`, `bad_value`, `bad_message`).
    """
    positional = {"path": message.path, "start": message.start, "end": message.end}
    if message.path.startswith("{") and not message.options and message.start is None and message.end is None:
        return from_json(message.path)
    fields = from_options(message.options)
    for key, value in positional.items():
        if value in (None, ""):
            continue
        if key in fields:
            raise StembridgeError("bad_value", f"{key} is given twice.", "Give it by position or by key.")
        fields[key] = value
    return fields


def from_options(words: Sequence[Value], known: Mapping[str, Field] = FIELDS) -> dict[str, Any]:
    """The fields of a message's options: alternating keys and values, or one JSON object. Raises as those two do."""
    if len(words) == 1 and isinstance(words[0], str) and words[0].lstrip().startswith("{"):
        return from_json(words[0], known)
    return from_pairs(words, known)


def from_pairs(words: Sequence[Value], known: Mapping[str, Field] = FIELDS) -> dict[str, Any]:
    """The fields of `key, value, key, value …`; keys that take two values have them one after the other.

    Raises `StembridgeError` (`unknown_key`, `bad_value`).
    """
    fields: dict[str, Any] = {}
    at = 0
    while at < len(words):
        key = words[at]
        if not isinstance(key, str):
            raise StembridgeError("bad_value", f"{key!r} stands where a key should.", "Send key, value, key, value.")
        field = check_key(key, known)
        values = list(words[at + 1 : at + 1 + field.n_values])
        if len(values) < field.n_values:
            what = "a value" if field.n_values == 1 else f"{field.n_values} values"
            raise StembridgeError("bad_value", f"{key} stands without {what}.", f"Send {key} {field.example}.")
        value = values if field.n_values > 1 else values[0]
        if field.repeats:
            fields.setdefault(key, []).append(value)
        elif key in fields:
            raise StembridgeError("bad_value", f"{key} is given twice.", "Give it once.")
        else:
            fields[key] = value
        at += 1 + field.n_values
    return fields


def from_json(text: str, known: Mapping[str, Field] = FIELDS) -> dict[str, Any]:
    """The fields of a JSON object. Raises `StembridgeError` (`bad_message`, `too_long`, `unknown_key`)."""
    fields = parse_object(text)
    for key in fields:
        check_key(key, known)
    return fields


def parse_object(text: str) -> dict[str, Any]:
    """A JSON object from a client, whatever it sends.

    Raises `StembridgeError`: `too_long`; `bad_message` for what is not JSON, nested too deeply, not an object, or has a
    key twice.
    """
    if len(text) > MAX_PACKET_BYTES:
        raise StembridgeError("too_long", f"The JSON has {len(text)} characters.", f"Use at most {MAX_PACKET_BYTES}.")
    try:
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_once)
    except (ValueError, RecursionError) as e:
        raise StembridgeError("bad_message", f"The JSON cannot be read: {e}.", "Send one JSON object.") from e
    if not isinstance(value, dict):
        raise StembridgeError("bad_message", f"The JSON is {type(value).__name__}.", "Send one JSON object.")
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number in JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice")
    return found
