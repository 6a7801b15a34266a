"""OSC 1.0 bytes ↔ addresses and values, strictly: what does not fit is refused with a reason, never guessed.

python-osc reads and writes the single values. Bundles and argument lists are walked here, because its own walkers
loop for ever on a negative element size, recurse as deep as a sender likes, skip tags they do not know (and so misread
all that follows) and fill a truncated float with zeros. Each of these has a test.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any, Final

from pythonosc.osc_message_builder import BuildError, OscMessageBuilder
from pythonosc.parsing import osc_types

from bridge.api.protocol import MAX_PACKET_BYTES, MAX_RID_CHARS, Value
from engine.errors import StembridgeError

MAX_MESSAGES: Final = 64
"""Messages in one bundle."""
MAX_DEPTH: Final = 4
"""Bundles within bundles."""
_BUNDLE: Final = b"#bundle\0"
_BUNDLE_HEAD: Final = len(_BUNDLE) + 8


class Rejected(StembridgeError):
    """A packet that is not a request we can carry out. `rid` is empty where none could be read."""

    def __init__(self, rid: str, code: str, text: str, remedy: str = "") -> None:
        super().__init__(code, text, remedy)
        self.rid = rid


class NotForUs(Exception):
    """A packet that must not be answered: it is no request of this API, and answering could start an endless echo."""


def messages(packet: bytes) -> list[bytes]:
    """The messages of a packet in order: itself, or all that its bundles hold, however nested. Time tags are ignored.

    Raises `Rejected`: `too_long` over `MAX_PACKET_BYTES` or `MAX_MESSAGES`, `bad_message` when a bundle is malformed
    or nested deeper than `MAX_DEPTH`. Nothing of a malformed bundle is carried out. Raises `NotForUs` for other bytes.
    """
    if len(packet) > MAX_PACKET_BYTES:
        raise Rejected(
            peek_rid(packet),
            "too_long",
            f"The packet has {len(packet)} bytes.",
            f"Send at most {MAX_PACKET_BYTES}; send paths, never audio.",
        )
    found: list[bytes] = []
    waiting = [(packet, 0)]
    while waiting:
        element, depth = waiting.pop()
        if element.startswith(b"/"):
            found.append(element)
            if len(found) > MAX_MESSAGES:
                raise Rejected(
                    peek_rid(packet), "too_long", "The bundle is too long.", f"Send at most {MAX_MESSAGES} messages."
                )
        elif element.startswith(_BUNDLE):
            if depth >= MAX_DEPTH:
                raise bad(peek_rid(packet), f"bundles are nested deeper than {MAX_DEPTH}")
            waiting.extend((inner, depth + 1) for inner in reversed(_elements(element, peek_rid(packet))))
        elif depth == 0:
            raise NotForUs(f"{len(packet)} bytes that are neither an OSC message nor a bundle")
        else:
            raise bad(peek_rid(packet), "an element of the bundle is neither a message nor a bundle")
    return found


def _elements(bundle: bytes, rid: str) -> list[bytes]:
    found = []
    at = _BUNDLE_HEAD
    if len(bundle) < at:
        raise bad(rid, "the bundle ends within its time tag")
    while at < len(bundle):
        size = int.from_bytes(bundle[at : at + 4], "big", signed=True) if at + 4 <= len(bundle) else -1
        at += 4
        if size <= 0 or size % 4 or at + size > len(bundle):
            raise bad(rid, "an element of the bundle has an impossible size")
        found.append(bundle[at : at + size])
        at += size
    return found


def read(datagram: bytes) -> tuple[str, list[Value]]:
    """The address and the arguments (tags i h f d s T F N) of one message.

    Raises `Rejected` (`bad_message`) with the rid where it can be read.
    """
    rid = peek_rid(datagram)
    try:
        address, at = osc_types.get_string(datagram, 0)
        tags, at = osc_types.get_string(datagram, at) if at < len(datagram) else (",", at)
    except (osc_types.ParseError, UnicodeDecodeError) as e:
        raise bad(rid, "its address or its type tags cannot be read") from e
    if not tags.startswith(","):
        raise bad(rid, "its type tags do not begin with a comma")
    values: list[Value] = []
    for tag in tags[1:]:
        if tag in _CONSTANTS:
            values.append(_CONSTANTS[tag])
            continue
        if tag not in _READERS:
            raise bad(rid, f"its type tag {tag!r} is not one of {' '.join([*_READERS, *_CONSTANTS])}")
        if at >= len(datagram) or (tag == "f" and at + 4 > len(datagram)):
            raise bad(rid, "it is shorter than its type tags say")
        try:
            value, at = _READERS[tag](datagram, at)
        except (osc_types.ParseError, UnicodeDecodeError) as e:
            raise bad(rid, f"its argument {len(values) + 1} is truncated or not UTF-8") from e
        values.append(value)
    if at != len(datagram):
        raise bad(rid, "it is longer than its type tags say")
    return address, values


_READERS: Final[dict[str, Callable[[bytes, int], tuple[Any, int]]]] = {
    "i": osc_types.get_int,
    "h": osc_types.get_int64,
    "f": osc_types.get_float,
    "d": osc_types.get_double,
    "s": osc_types.get_string,
}
_CONSTANTS: Final[dict[str, Value]] = {"T": True, "F": False, "N": None}


def peek_rid(packet: bytes) -> str:
    """The request id of a packet that may be damaged further on; empty where it cannot be read."""
    for _ in range(MAX_DEPTH):
        packet = packet[_BUNDLE_HEAD + 4 :] if packet.startswith(_BUNDLE) else packet
    try:
        _address, at = osc_types.get_string(packet, 0)
        tags, at = osc_types.get_string(packet, at)
        rid = osc_types.get_string(packet, at)[0] if tags.startswith(",s") else ""
    except (osc_types.ParseError, UnicodeDecodeError):
        return ""
    return rid[:MAX_RID_CHARS] if rid.isprintable() else ""


def write(address: str, wire: Iterable[tuple[str, Value]]) -> bytes:
    """The datagram of an address and (tag, value) pairs. NUL and lone surrogates, which OSC cannot carry, become `?`.

    Raises `StembridgeError` (`bad_value`) for a number that its tag cannot hold.
    """
    builder = OscMessageBuilder(address)
    try:
        for tag, value in wire:
            clean = value.replace("\0", "?").encode(errors="replace").decode() if isinstance(value, str) else value
            builder.add_arg(clean, tag)
        return bytes(builder.build().dgram)
    except (BuildError, osc_types.BuildError, struct.error, OverflowError) as e:
        raise StembridgeError("bad_value", f"A value of {address} does not fit its OSC type: {e}.") from e


def bad(rid: str, what: str, remedy: str = "Send a well-formed OSC 1.0 message.") -> Rejected:
    return Rejected(rid, "bad_message", f"The message cannot be read: {what}.", remedy)
