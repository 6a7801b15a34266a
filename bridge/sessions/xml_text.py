"""XML of a session: read without trusting it, and added to without changing a byte of what was there."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from bridge.sessions.media import bad_session

__all__ = ["ET", "escape", "insert", "quoteattr", "read_xml", "serialised"]

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def read_xml(data: bytes, path: Path, root: str) -> ET.Element:
    """The root element. Entities and document types are refused: sessions have none, and attacks do.

    Raises `StembridgeError` (`bad_session`) for what is no XML, or has another root than `root`.
    """
    import defusedxml
    from defusedxml.ElementTree import fromstring

    try:
        element: ET.Element = fromstring(data, forbid_dtd=True)
    except defusedxml.DefusedXmlException as e:
        raise bad_session(path, f"declares a document type or entities, which no session does ({e})") from e
    except (ET.ParseError, ValueError, LookupError, RecursionError) as e:
        raise bad_session(path, f"is no XML that can be read: {e}") from e
    if element.tag != root:
        raise bad_session(path, f"begins with <{element.tag[:40]}>, not with <{root}>")
    return element


def serialised(element: ET.Element) -> str:
    """An element as text; characters that XML cannot hold become spaces."""
    for each in element.iter():
        for key, value in each.attrib.items():
            each.set(key, _NOT_XML.sub(" ", value))
        if each.text:
            each.text = _NOT_XML.sub(" ", each.text)
    return ET.tostring(element, encoding="unicode")


def insert(data: bytes, path: Path, additions: Mapping[tuple[str, ...], str]) -> bytes:
    """`data` with a text put before the end tag of the first element at each place (its tags from below the root).

    Raises `StembridgeError` (`bad_session`) when there is no element at a place, or the file is in UTF-16.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data[:4]:
        raise bad_session(path, "is in UTF-16, which cannot be added to")
    found: dict[tuple[str, ...], tuple[int, int]] = {}
    above: list[tuple[str, int]] = []
    parser = expat.ParserCreate()

    def start(name: str, attributes: dict[str, str]) -> None:
        above.append((name, parser.CurrentByteIndex))

    def end(name: str) -> None:
        place = tuple(each for each, _ in above[1:])
        if place in additions and place not in found:
            found[place] = above[-1][1], parser.CurrentByteIndex
        above.pop()

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.Parse(data, True)
    missing = next((place for place in additions if place not in found), None)
    if missing is not None:
        raise bad_session(path, f"holds no {'/'.join(missing)}")
    for place, text in sorted(additions.items(), key=lambda each: -found[each[0]][1]):
        raw = text.encode("ascii", "xmlcharrefreplace")  # the same in every encoding that XML files here have
        begun, at = found[place]
        close = _tag_end(data, begun)
        if data[close - 1 : close] == b"/":  # `<Tag/>` becomes `<Tag>…</Tag>`
            data = data[: close - 1] + b">" + raw + f"</{place[-1]}>".encode() + data[close + 1 :]
        else:
            data = data[:at] + raw + data[at:]
    return data


def _tag_end(data: bytes, at: int) -> int:
    """The place of the `>` that ends the tag; one in quotes does not."""
    quote = 0
    for n in range(at, len(data)):
        c = data[n]
        if quote:
            quote = 0 if c == quote else quote
        elif c in b"\"'":
            quote = c
        elif c == ord(">"):
            return n
    raise AssertionError("a parsed tag without an end")
