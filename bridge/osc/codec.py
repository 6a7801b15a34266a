"""The messages of the table ↔ OSC bytes. A string is taken where another type is usual; misfits are refused."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from typing import Any, Final, TypeVar

from bridge.api.protocol import ANSWERS, EVENTS, MAX_RID_CHARS, PREFIX, Arg, Kind, Message, Request, Value
from bridge.api.requests import REQUESTS
from bridge.osc.packets import NotForUs, Rejected, bad, read, write

WILDCARDS: Final = frozenset("?*[]{}")
REQUEST_TABLE: Final[dict[str, type[Request]]] = {message.address: message for message in REQUESTS}
FROM_ENGINE_TABLE: Final[dict[str, type[Message]]] = {m.address: m for m in (*ANSWERS, *EVENTS)}

M = TypeVar("M", bound=Message)


def decode_request(datagram: bytes) -> Request:
    """The request that one message holds.

    Raises `Rejected` with the code and text to answer with; raises `NotForUs` for addresses outside `/stembridge/`
    and for our own answers and events come back to us.
    """
    address, values = read(datagram)
    rid = str(values[0])[:MAX_RID_CHARS] if values and isinstance(values[0], str | int) else ""
    if not address.startswith(PREFIX) and not WILDCARDS & set(address):
        raise NotForUs(f"the address {address[:80]!r}")
    if WILDCARDS & set(address):
        raise Rejected(
            rid, "wildcard_refused", f"The address {address[:80]!r} is a pattern.", "Send to one plain address."
        )
    kind = REQUEST_TABLE.get(address)
    if kind is None:
        if address in FROM_ENGINE_TABLE:
            raise NotForUs(f"our own message {address}")
        # Every address begins alike, so only what follows says how near two are.
        names = {known.removeprefix(PREFIX): known for known in REQUEST_TABLE}
        near = difflib.get_close_matches(address.removeprefix(PREFIX), names, n=1, cutoff=0.7)
        raise Rejected(
            rid,
            "unknown_address",
            f"There is no address {address[:80]!r}.",
            f"Did you mean {names[near[0]]}?" if near else f"The addresses are {', '.join(REQUEST_TABLE)}.",
        )
    request = _build(kind, rid, values)
    if not 1 <= len(request.rid) <= MAX_RID_CHARS or not request.rid.isprintable():
        raise bad(rid, f"its request id is not 1 to {MAX_RID_CHARS} plain characters")
    return request


def decode_answer(datagram: bytes) -> Message:
    """The answer or event that one message holds. Raises `Rejected` (`unknown_address`, `bad_message`)."""
    address, values = read(datagram)
    kind = FROM_ENGINE_TABLE.get(address)
    if kind is None:
        raise Rejected("", "unknown_address", f"The engine does not send {address[:80]!r}.")
    return _build(kind, "", values, newer=True)


def _build(kind: type[M], rid: str, values: list[Value], *, newer: bool = False) -> M:
    """`newer`: what comes after the arguments we know is from a newer version, and left alone."""
    given: dict[str, Any] = {}
    rest = list(values)
    for name, argument, required in kind.args():
        if argument.kind == "rest":
            given[name], rest = tuple(rest), []
        elif rest:
            given[name] = _coerce(rest.pop(0), name, argument, rid)
        elif required:
            raise bad(rid, f"the argument {name!r} is missing", f"Send {usage(kind)}.")
    if rest and not newer:
        raise bad(rid, f"it has {len(rest)} arguments too many", f"Send {usage(kind)}.")
    return kind(**given)


def usage(kind: type[Message]) -> str:
    """How a message is written: its address and the names of its arguments, optional ones in brackets."""
    words = [f"{n} …" if a.kind == "rest" else n if required else f"[{n}]" for n, a, required in kind.args()]
    return " ".join([kind.address, *words])


def _coerce(value: Value, name: str, argument: Arg, rid: str) -> Value:
    try:
        return _CHECKS[argument.kind](value)
    except (ValueError, TypeError) as e:
        wanted = _WANTED[argument.kind]
        raise bad(rid, f"the argument {name!r} is {_short(value)}", f"Send {wanted}: {argument.doc}.") from e


def _text(value: Value) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError
    return str(value)


def _integer(bits: int) -> Callable[[Value], int]:
    def check(value: Value) -> int:
        if isinstance(value, bool) or value is None:
            raise TypeError
        number = int(value) if not isinstance(value, float) or value.is_integer() else None
        if number is None or not -(2 ** (bits - 1)) <= number < 2 ** (bits - 1):
            raise ValueError
        return number

    return check


def _real(value: Value) -> float:
    if isinstance(value, bool) or value is None or not math.isfinite(float(value)):
        raise ValueError
    return float(value)


def _flag(value: Value) -> bool:
    return {True: True, False: False, "true": True, "false": False, "1": True, "0": False}[value]


def _time(value: Value) -> Value:
    if isinstance(value, bool):
        raise TypeError
    return value


_CHECKS: Final[dict[Kind, Callable[[Value], Value]]] = {
    "s": _text,
    "i": _integer(32),
    "h": _integer(64),
    "f": _real,
    "d": _real,
    "flag": _flag,
    "time": _time,
}
_WANTED: Final[dict[Kind, str]] = {
    "s": "a string (s)",
    "i": "a whole number (i, h or a string)",
    "h": "a whole number (h, i or a string)",
    "f": "a number (f, d or a string)",
    "d": "a number (d, f or a string)",
    "flag": "true or false (T, F, 1 or 0)",
    "time": "a time (d, h or a string)",
}


def encode(message: Message) -> bytes:
    """The datagram of a message; the reverse of `decode_request` and `decode_answer`.

    Raises `StembridgeError` (`bad_value`) for an integer that its tag cannot hold.
    """
    wire: list[tuple[str, Value]] = []
    for name, argument, _required in message.args():
        value = getattr(message, name)
        if argument.kind in ("i", "h", "f", "d", "s"):
            wire.append((argument.kind, value))
        else:
            wire.extend(_tagged(v) for v in (value if argument.kind == "rest" else [value]))
    return write(message.address, wire)


def _tagged(value: Value) -> tuple[str, Value]:
    if isinstance(value, bool):
        return ("T" if value else "F", value)
    if value is None:
        return ("N", value)
    return ("s" if isinstance(value, str) else "h" if isinstance(value, int) else "d", value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
