"""REAPER's `.rpp`: read into the model, and written anew beside the old one with the stems on tracks of their own."""

from __future__ import annotations

import math
import os
import uuid
from pathlib import Path
from typing import Final

from bridge.sessions.media import find_media, number, read_session_bytes, time_obstacle, whole
from bridge.sessions.model import Clip, Marker, Media, NewTrack, Obstacle, Session, TempoMap, TempoPoint, Track
from bridge.sessions.rpp_text import Node, quoted, read_tree

MEDIA_FOLDERS: Final = ("Audio", "Media", "Audio Files")
_COPIED: Final = frozenset(("FADEIN", "FADEOUT", "VOLPAN", "TAKEVOLPAN", "CHANMODE", "MUTE", "BEAT"))
"""Lines of an item that are linear in its samples, so that they hold for its stems as they stand."""


def read_rpp(path: Path) -> Session:
    """Raises `StembridgeError`: `file_not_found`, `file_unreadable`, `bad_session`."""
    _, root = read_tree(_decode(read_session_bytes(path)), path)
    tracks = tuple(_track(node, n, path.parent) for n, node in enumerate(root.all("TRACK"), 1))
    rate = root.one("SAMPLERATE")
    rate_hz = 0 if rate is None else whole(rate.word(1), 0)
    return Session(path, "rpp", path.stem, tracks, _markers(root), _tempo(root), rate_hz or None)


def write_rpp(session: Session, new: tuple[NewTrack, ...], path: Path) -> None:
    """The session with tracks added behind its last one (sends name tracks by number, so none may move); all other
    lines are copied byte for byte. Raises `StembridgeError` as `read_rpp`, and `OSError`.
    """
    lines, root = read_tree(_decode(read_session_bytes(session.path)), session.path)
    items = {item.first: item for track in root.all("TRACK") for item in track.all("ITEM")}
    ends = [track.last for track in root.all("TRACK")]
    at = ends[-1] + 1 if ends else root.last
    newline = "\r\n" if lines[0].endswith("\r\n") else "\n"
    added = [f"{line}{newline}" for track in new for line in _track_lines(track, items, path)]
    path.write_bytes(_encode("".join([*lines[:at], *added, *lines[at:]])))


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


# Reading


def _track(node: Node, n: int, folder: Path) -> Track:
    name, mute = node.one("NAME"), node.one("MUTESOLO")
    clips = tuple(_clip(item, folder) for item in node.all("ITEM"))
    muted = mute is not None and mute.word(1) not in (None, "0")
    return Track(((name.word(1) if name else None) or f"Track {n}"), clips, muted, node.first)


def _clip(item: Node, folder: Path) -> Clip:
    def value(tag: str, n: int = 1, default: float = 0.0, among: list[Node] = item.children) -> float:
        node = next((child for child in among if child.tag == tag), None)
        return default if node is None else number(node.word(n), default)

    take = _active_take(item)
    name = next((child.word(1) for child in take if child.tag == "NAME"), None) or ""
    source = next((child for child in take if child.chunk and child.tag == "SOURCE"), None)
    media, offset_s, section_s, obstacle = _source(source, folder)
    position_s, length_s = value("POSITION"), value("LENGTH")
    repeats, skipped_s = value("LOOP") != 0, value("SOFFS", among=take)
    source_start_s = offset_s + skipped_s
    rate, pitch = value("PLAYRATE", 1, 1.0, take), value("PLAYRATE", 3, 0.0, take)
    if not obstacle and (rate != 1.0 or pitch != 0.0 or any(child.tag == "SM" for child in take)):
        obstacle = "stretched"
    if not obstacle:
        obstacle = time_obstacle(position_s, length_s, source_start_s)
    if not obstacle and skipped_s + length_s > section_s:  # behind a section's end it begins anew, or is silent
        left_s = section_s - skipped_s
        obstacle = "looped" if repeats else "" if left_s > 0 else "no_media"
        length_s = length_s if obstacle else left_s
    first = next((child for child in take if child.tag in ("VOLPAN", "TAKEVOLPAN")), None)
    take_gain = 1.0
    if first is not None:
        take_gain = number(first.word(3 if first.tag == "VOLPAN" else 2), 1.0)
    return Clip(
        name,
        position_s,
        length_s,
        media,
        source_start_s,
        rate,
        value("VOLPAN", 1, 1.0) * take_gain,
        value("FADEIN", 2),
        value("FADEOUT", 2),
        value("MUTE") != 0,
        repeats,
        obstacle,
        item.first,
    )


def _active_take(item: Node) -> list[Node]:
    """The lines of the take that sounds: the first one's stand in the item itself, the others behind TAKE lines."""
    takes: list[list[Node]] = [[]]
    chosen = 0
    for child in item.children:
        if child.tag == "TAKE":
            if "SEL" in child.words:
                chosen = len(takes)
            takes.append([])
        else:
            takes[-1].append(child)
    return takes[chosen]


def _source(source: Node | None, folder: Path) -> tuple[tuple[Media, ...], float, float, Obstacle]:
    """The files, the offset in them and the length from there that may be played in seconds, and what is in the way.
    Sections may stand in sections."""
    offset_s, length_s = 0.0, math.inf
    while source is not None and source.word(1) == "SECTION":
        mode = source.one("MODE")
        if mode is not None and (mode.word(1) or "0") not in ("0", "1"):
            return (), 0.0, length_s, "reversed"
        start, length = source.one("STARTPOS"), source.one("LENGTH")
        begin_s = 0.0 if start is None else number(start.word(1), 0.0)
        own_s = math.inf if length is None else number(length.word(1), math.inf)
        length_s = min(length_s, max(0.0, own_s - offset_s) if math.isfinite(own_s) else math.inf)
        offset_s += begin_s
        source = source.one("SOURCE")
    kind = "" if source is None else source.word(1) or ""
    if source is None or kind in ("EMPTY", ""):
        return (), 0.0, length_s, "no_media"
    if kind.startswith("MIDI"):
        return (), 0.0, length_s, "midi"
    if kind in ("RPP_PROJECT", "VIDEO", "VIDEOEFFECT", "CLICK", "LTC"):
        return (), 0.0, length_s, "nested" if kind == "RPP_PROJECT" else "no_media"
    file = source.one("FILE")
    reference = None if file is None else file.word(1)
    if not reference:
        return (), 0.0, length_s, "no_media"
    return (find_media(reference, folder, also=MEDIA_FOLDERS),), offset_s, length_s, ""


def _markers(root: Node) -> tuple[Marker, ...]:
    """A region is two MARKER lines of one number whose flags are odd; the second tells its end."""
    found: list[Marker] = []
    open_at: dict[str, int] = {}
    for line in root.all("MARKER"):
        number_, at_s, name = line.word(1) or "", number(line.word(2), 0.0), line.word(3) or ""
        flags = whole(line.word(4), 0)
        if flags & 1 and number_ in open_at:
            begun = open_at.pop(number_)
            found[begun] = Marker(found[begun].name, found[begun].position_s, at_s)
            continue
        if flags & 1:
            open_at[number_] = len(found)
        found.append(Marker(name, at_s))
    return tuple(found)


def _tempo(root: Node) -> TempoMap:
    """`TEMPO bpm …`, or the points of TEMPOENVEX: second, bpm, and a shape that is 0 for a ramp."""
    envelope = root.one("TEMPOENVEX")
    points: list[TempoPoint] = []
    before: tuple[float, TempoPoint] | None = None
    for line in [] if envelope is None else envelope.all("PT"):
        at_s, bpm = number(line.word(1), 0.0), number(line.word(2), 120.0)
        if not (bpm > 0 and at_s >= (before[0] if before else 0.0)):
            continue
        beat = 0.0
        if before is not None:  # both shapes: beats are the mean tempo times the time
            mean = (before[1].bpm + bpm) / 2 if before[1].ramp else before[1].bpm
            beat = before[1].beat + (at_s - before[0]) * mean / 60
        point = TempoPoint(beat, bpm, line.word(3) == "0")
        points.append(point)
        before = at_s, point
    if points:
        return TempoMap(tuple(points))
    line_ = root.one("TEMPO")
    bpm = 120.0 if line_ is None else number(line_.word(1), 120.0)
    return TempoMap((TempoPoint(0.0, bpm if bpm > 0 else 120.0),))


# Writing


def _track_lines(track: NewTrack, items: dict[int, Node], path: Path) -> list[str]:
    lines = [
        f"  <TRACK {_guid(path, track.name)}",
        f"    NAME {quoted(track.name)}",
        "    PEAKCOL 16576",
        f"    MUTESOLO {int(track.muted)} 0 0",
        "    ISBUS 0 0",
        f"    NCHAN {max([2, *(clip.channels + clip.channels % 2 for clip in track.clips)])}",
    ]
    for clip in track.clips:
        item = items[clip.of.mark]
        own = [f"      {child.text}" for child in _kept(item) if child.tag in _COPIED and not child.chunk]
        lines += [
            "    <ITEM",
            f"      POSITION {_seconds(clip.of.position_s)}",
            f"      LENGTH {_seconds(clip.length_s)}",
            "      LOOP 0",
            *own,
            f"      IGUID {_guid(path, track.name, str(clip.file))}",
            f"      NAME {quoted(clip.file.name)}",
            "      SOFFS 0",
            "      PLAYRATE 1 1 0 -1 0 0.0025",
            f"      GUID {_guid(path, track.name, str(clip.file), 'take')}",
            "      <SOURCE WAVE",
            f"        FILE {quoted(_reference(clip.file, path.parent))}",
            "      >",
            "    >",
        ]
    return [*lines, "  >"]


def _kept(item: Node) -> list[Node]:
    """The item's own lines, with the take's volume only where there is one take to mean."""
    if any(child.tag == "TAKE" for child in item.children):
        return [child for child in item.children if child.tag in ("FADEIN", "FADEOUT", "MUTE", "BEAT")]
    return item.children


def _reference(file: Path, folder: Path) -> str:
    """Relative where the stem lies beside or below the session, as REAPER does it; else absolute."""
    absolute = Path(os.path.abspath(file))
    base = Path(os.path.abspath(folder))
    return str(absolute.relative_to(base)) if absolute.is_relative_to(base) else str(absolute)


def _guid(*parts: object) -> str:
    text = "\n".join(str(part) for part in parts).encode("utf-8", "backslashreplace").decode()
    return f"{{{str(uuid.uuid5(uuid.NAMESPACE_URL, text)).upper()}}}"


def _seconds(time_s: float) -> str:
    """15 digits hold a sample at every rate and any length."""
    return f"{time_s:.14f}".rstrip("0").rstrip(".")
