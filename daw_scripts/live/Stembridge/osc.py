"""OSC 1.0 messages ↔ bytes, as far as Stembridge's API needs them: requests carry strings, answers plain values."""

from __future__ import annotations

import struct

Value = str | int | float | bool | None

_NUMBERS = {"i": ">i", "h": ">q", "f": ">f", "d": ">d"}
_CONSTANTS: dict[str, Value] = {"T": True, "F": False, "N": None}


def write(address: str, *texts: str) -> bytes:
    """One message of strings."""
    return b"".join(map(_padded, (address, "," + "s" * len(texts), *texts)))


def read(packet: bytes) -> tuple[str, list[Value]]:
    """The address and arguments of one message. Raises `ValueError` for everything else, bundles too."""
    address, at = _text(packet, 0)
    tags, at = _text(packet, at)
    if not address.startswith("/") or not tags.startswith(","):
        raise ValueError("not an OSC message")
    values: list[Value] = []
    for tag in tags[1:]:
        if tag == "s":
            text, at = _text(packet, at)
            values.append(text)
        elif tag in _NUMBERS:
            size = struct.calcsize(_NUMBERS[tag])
            if at + size > len(packet):
                raise ValueError("a number is cut off")
            values.append(struct.unpack_from(_NUMBERS[tag], packet, at)[0])
            at += size
        elif tag in _CONSTANTS:
            values.append(_CONSTANTS[tag])
        else:
            raise ValueError(f"an argument of the type {tag!r}")
    return address, values


def _padded(text: str) -> bytes:
    data = text.replace("\0", "").encode("utf-8", "replace") + b"\0"
    return data + b"\0" * (-len(data) % 4)


def _text(packet: bytes, at: int) -> tuple[str, int]:
    end = packet.find(b"\0", at)
    if end < 0:
        raise ValueError("a text without an end")
    return packet[at:end].decode("utf-8"), end + 4 - end % 4
