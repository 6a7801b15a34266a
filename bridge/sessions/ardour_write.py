"""A new `.ardour` beside the old one: the stems as embedded files on copies of their tracks; the rest byte for byte."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path
from typing import Final

from bridge.sessions.ardour import Clock, clock_of
from bridge.sessions.media import bad_session, read_session_bytes, whole
from bridge.sessions.model import NewClip, NewTrack, Session
from bridge.sessions.xml_text import ET, insert, read_xml, serialised

_KEPT: Final = frozenset(("diskwriter", "diskreader", "polarity", "trim", "amp", "meter", "main-outs"))
"""Processors that every track has. Plugins and sends are not copied: what they did to the mixture they would do to
each stem again, and a send needs a bus that expects it."""
_COUNTER: Final = re.compile(rb'(\sid-counter=")(\d+)(")')


def write_ardour(session: Session, new: tuple[NewTrack, ...], path: Path) -> None:
    """The session with tracks added after the others. Stems whose rate is not the session's are left out: Ardour plays
    embedded files at its own rate. Raises `StembridgeError` as the reader, and `OSError`.
    """
    data = read_session_bytes(session.path)
    root = read_xml(data, session.path, "Session")
    clock = clock_of(root, session.path)
    ids = _ids(root)
    regions = {whole(region.get("id")): region for region in root.iterfind("Playlists/Playlist/Region")}
    routes = {whole(route.get("id")): route for route in root.iterfind("Routes/Route")}
    if any(clip.of.mark < 0 or track.of.mark < 0 for track in new for clip in track.clips):
        raise bad_session(session.path, "holds a track or a region without an id")
    names = {route.get("name", "") for route in routes.values()}
    orders = [whole(info.get("order"), 0) for info in root.iter("PresentationInfo")]
    order = count(max(orders, default=0) + 1)
    sources, tracks, playlists = [], [], []
    for track in new:
        placed = [clip for clip in track.clips if clip.rate_hz == clock.rate_hz]
        if not placed:
            continue
        name = _free_name(track.name, names)
        route, playlist = _route(routes[track.of.mark], name, track.muted, next(order), ids)
        for clip in placed:
            made = [_source(clip, channel, next(ids)) for channel in range(clip.channels)]
            playlist.append(_region(regions[clip.of.mark], clip, made, clock, ids))
            sources += made
        tracks.append(route)
        playlists.append(playlist)
    places: dict[tuple[str, ...], list[ET.Element]] = {
        ("Sources",): sources,
        ("Routes",): tracks,
        ("Playlists",): playlists,
    }
    added = {place: "".join(f"{serialised(e)}\n" for e in elements) for place, elements in places.items() if elements}
    end = data.index(b">", data.index(b"<Session"))
    if not _COUNTER.search(data, 0, end):
        raise bad_session(session.path, "has no id-counter")
    counted = _COUNTER.sub(lambda m: m[1] + str(next(ids)).encode() + m[3], data[:end], count=1) + data[end:]
    path.write_bytes(insert(counted, session.path, added))


def _ids(root: ET.Element) -> Iterator[int]:
    """Numbers that nothing in the session has."""
    used = [whole(element.get("id"), 0) for element in root.iter()]
    return count(max([*used, whole(root.get("id-counter"), 0)]) + 1)


def _free_name(wanted: str, names: set[str]) -> str:
    """Ports are named after tracks, so a colon cannot be in a name, and no two may be the same."""
    plain = wanted.replace(":", " ").strip() or "stem"
    name = next(n for n in chain((plain,), (f"{plain} {k}" for k in count(2))) if n not in names)
    names.add(name)
    return name


def _route(old: ET.Element, name: str, muted: bool, order: int, ids: Iterator[int]) -> tuple[ET.Element, ET.Element]:
    """A copy of a track without plugins, sends and inputs, with ids of its own; and its empty playlist."""
    route = copy.deepcopy(old)
    before = route.get("name", "")
    for processor in route.findall("Processor"):
        if processor.get("type") not in _KEPT:
            route.remove(processor)
    for element in route.iter():
        if whole(element.get("id")) >= 0:
            element.set("id", str(next(ids)))
        own = element.tag in ("Route", "IO", "Port", "Processor")
        for key in ("name", "output") if own else ():
            value = element.get(key)
            if value is not None:
                element.set(key, _renamed(value, before, name))
    for io in route.findall("IO[@direction='Input']"):
        for port in io.iter("Port"):
            for connection in port.findall("Connection"):
                port.remove(connection)
    info = route.find("PresentationInfo")
    if info is not None:
        info.set("order", str(order))
    for mute in route.findall("Controllable[@name='mute']"):
        mute.set("value", str(int(muted)))
    for master in route.findall("MuteMaster"):
        master.set("muted", str(int(muted)))
    playlist_id = str(next(ids))
    route.set("audio-playlist", playlist_id)
    attributes = {"id": playlist_id, "name": name, "type": "audio", "orig-track-id": route.get("id", "")}
    return route, ET.Element("Playlist", attributes | {"shared-with-ids": "", "frozen": "0", "combine-ops": "0"})


def _renamed(value: str, before: str, after: str) -> str:
    for ends in ("", "/"):
        if value == before + ends or (ends and value.startswith(before + ends)):
            return after + value[len(before) :]
    return f"{value[: -len(before)]}{after}" if before and value.endswith(f":{before}") else value


def _source(clip: NewClip, channel: int, source_id: int) -> ET.Element:
    attributes = {"name": os.path.abspath(clip.file), "take-id": "", "type": "audio", "flags": "", "id": str(source_id)}
    return ET.Element(
        "Source", attributes | {"natural-position": "a0", "channel": str(channel), "origin": "", "gain": "1"}
    )


def _region(old: ET.Element, clip: NewClip, sources: list[ET.Element], clock: Clock, ids: Iterator[int]) -> ET.Element:
    """A copy of the clip's region, with its gain and fades, on the stem from its first sample."""
    region = copy.deepcopy(old)
    for element in region.iter():
        if whole(element.get("id")) >= 0:
            element.set("id", str(next(ids)))
    for key in [key for key in region.attrib if re.fullmatch(r"(master-)?source-\d+", key)]:
        del region.attrib[key]
    for n, source in enumerate(sources):
        region.set(f"source-{n}", source.get("id", ""))
        region.set(f"master-source-{n}", source.get("id", ""))
    region.set("channels", str(len(sources)))
    region.set("name", clip.file.stem)
    new_style = "@" in region.get("length", "")
    if round(clip.of.length_s * clock.rate_hz) != clip.samples:
        length = f"a{clip.samples * clock.ticks_hz // clock.rate_hz}" if new_style else str(clip.samples)
        region.set("length", f"{length}@{region.get('length', '').partition('@')[2]}" if new_style else length)
    for key in ("start", "ancestral-start"):
        if key in region.attrib:
            region.set(key, "a0" if new_style else "0")
    region.set("whole-file", "0")
    return region
