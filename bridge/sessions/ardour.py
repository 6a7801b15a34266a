"""Ardour's `.ardour`: read into the model. Version 7 counts in superclock ticks or beats, version 6 in samples."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bridge.sessions.media import bad_session, find_media, number, read_session_bytes, time_obstacle, whole
from bridge.sessions.model import Clip, Marker, Media, Obstacle, Session, TempoMap, TempoPoint, Track
from bridge.sessions.xml_text import ET, read_xml

TICKS_HZ: Final = 282_240_000
"""Superclock ticks a second, where the session does not say."""
TICKS_PER_BEAT: Final = 1_920
OLDEST: Final = 6_000
"""Session version; before it tracks kept their regions elsewhere."""
_SOURCE: Final = re.compile(r"source-(\d+)")


@dataclass(frozen=True)
class Clock:
    """What a session's times count in."""

    rate_hz: int
    ticks_hz: int
    tempo: TempoMap

    def seconds(self, text: str) -> float:
        """`a<ticks>`, `b<ticks of a beat>` or samples; NaN for what is none."""
        kind, count = text[:1], text.lstrip("ab")
        if not re.fullmatch(r"-?\d{1,18}", count):
            return math.nan
        if kind == "a":
            return int(count) / self.ticks_hz
        if kind == "b":
            return self.tempo.seconds(int(count) / TICKS_PER_BEAT)
        return int(count) / self.rate_hz

    def place(self, region: ET.Element) -> tuple[float, float]:
        """(position, length) of a region: `LENGTH@POSITION` in version 7, two attributes before."""
        length, at, position = region.get("length", "").partition("@")
        position = position if at else region.get("position", "")
        position_s = self.seconds(position)
        beats = whole(length.removeprefix("b"))
        if length.startswith("b") and position.startswith("b") and math.isfinite(position_s):
            end_s = self.seconds(f"b{beats + int(position[1:])}") if beats >= 0 else math.nan
            return position_s, end_s - position_s
        return position_s, self.seconds(length)


def read_ardour(path: Path) -> Session:
    """Raises `StembridgeError`: `file_not_found`, `file_unreadable`, `bad_session`."""
    root = read_xml(read_session_bytes(path), path, "Session")
    clock = clock_of(root, path)
    sources = _sources(root, path.parent)
    playlists = {p.get("id", ""): p for p in root.iterfind("Playlists/Playlist")}
    tracks = []
    for route in root.iterfind("Routes/Route"):
        playlist = playlists.get(route.get("audio-playlist", "")) or playlists.get(route.get("midi-playlist", ""))
        if route.get("audio-playlist") is None and route.get("midi-playlist") is None:
            continue  # a bus
        midi = route.get("audio-playlist") is None
        regions = [] if playlist is None else playlist.findall("Region")
        clips = tuple(_clip(region, clock, sources, midi) for region in regions)
        mute = route.find("Controllable[@name='mute']")
        muted = mute is not None and number(mute.get("value"), 0) > 0.5
        tracks.append(Track(route.get("name", ""), clips, muted, _id(route)))
    return Session(path, "ardour", path.stem, tuple(tracks), _markers(root, clock), clock.tempo, clock.rate_hz)


def clock_of(root: ET.Element, path: Path) -> Clock:
    """Raises `StembridgeError` (`bad_session`) for sessions that are too old or without a rate."""
    version, rate = root.get("version", ""), root.get("sample-rate", "")
    if whole(version) < OLDEST:
        raise bad_session(path, f"was saved by an old Ardour (session version {version[:20]!r})")
    if not 1_000 <= whole(rate) <= 1_000_000:
        raise bad_session(path, f"has a sample rate of {rate[:20]!r}")
    tempo_map = root.find("TempoMap")
    ticks = "" if tempo_map is None else tempo_map.get("superclocks-per-second", "")
    return Clock(whole(rate), whole(ticks, 0) or TICKS_HZ, _tempo(tempo_map))


def _tempo(tempo_map: ET.Element | None) -> TempoMap:
    points: list[TempoPoint] = []
    for tempo in () if tempo_map is None else tempo_map.iterfind("Tempos/Tempo"):
        whole, _, ticks = tempo.get("quarters", "0:0").partition(":")
        beat = number(whole, 0) + number(ticks or "0", 0) / TICKS_PER_BEAT
        bpm = number(tempo.get("npm"), 120) * 4 / number(tempo.get("note-type"), 4)
        ramp = tempo.get("continuing") == "1" or tempo.get("type") == "Tempo::Ramped"
        if math.isfinite(beat) and math.isfinite(bpm) and bpm > 0 and (not points or beat > points[-1].beat):
            points.append(TempoPoint(beat, bpm, ramp))
    return TempoMap(tuple(points))


def _sources(root: ET.Element, folder: Path) -> dict[str, Media]:
    """Source id → file: a base name in one of the session's folders of audio files, or an absolute path."""
    own = (root.get("name") or "").replace("/", "-")
    listed: dict[str, Path] = {}
    try:
        inside = sorted(p.name for p in (folder / "interchange").iterdir())
    except OSError:
        inside = []
    for name in sorted(inside, key=lambda name: name == own):  # the session's own folder wins
        place = folder / "interchange" / name / "audiofiles"
        try:
            listed |= {entry.name: Path(entry.path).absolute() for entry in os.scandir(place) if entry.is_file()}
        except OSError:
            continue
    found = {}
    for source in root.iterfind("Sources/Source"):
        name, channel = source.get("name", ""), source.get("channel", "0")
        if source.get("type") not in (None, "audio"):
            continue
        n = whole(channel, 0)
        path = listed.get(name)
        found[source.get("id", "")] = Media(name, path, n) if path else find_media(name, folder, channel=n)
    return found


def _clip(region: ET.Element, clock: Clock, sources: dict[str, Media], midi: bool) -> Clip:
    position_s, length_s = clock.place(region)
    start_s = clock.seconds(region.get("start", ""))
    numbered = sorted((int(m[1]), value) for key, value in region.attrib.items() if (m := _SOURCE.fullmatch(key)))
    media = tuple(sources[value] for _, value in numbered if value in sources)
    obstacle: Obstacle = "midi" if midi or region.get("type") == "midi" else ""
    if not obstacle and (not media or len(media) < len(numbered)):
        obstacle = "nested" if numbered else "no_media"
    in_beats = any("b" in region.get(key, "") for key in ("length", "position"))
    if not obstacle and in_beats and any(point.ramp for point in clock.tempo.points):
        obstacle = "ramped"
    return Clip(
        region.get("name", ""),
        position_s,
        length_s,
        media,
        start_s,
        1.0,
        number(region.get("scale-amplitude"), 1.0),
        _fade(region, "FadeIn", clock),
        _fade(region, "FadeOut", clock),
        muted=region.get("muted") == "1",
        obstacle=obstacle or time_obstacle(position_s, length_s, start_s),
        mark=_id(region),
    )


def _fade(region: ET.Element, tag: str, clock: Clock) -> float:
    """How long a fade is: the time of its list's last event."""
    active = "fade-in-active" if tag == "FadeIn" else "fade-out-active"
    events = region.findtext(f"{tag}/AutomationList/events", "").split()
    if region.get(active, "1") != "1" or len(events) < 2:
        return 0.0
    last_s = clock.seconds(events[-2].split(".")[0])
    return last_s if math.isfinite(last_s) else 0.0


def _markers(root: ET.Element, clock: Clock) -> tuple[Marker, ...]:
    markers = []
    for location in root.iterfind("Locations/Location"):
        flags = location.get("flags", "").split(",")
        start_s, end_s = clock.seconds(location.get("start", "")), clock.seconds(location.get("end", ""))
        if not math.isfinite(start_s) or not {"IsMark", "IsRangeMarker"} & set(flags):
            continue
        region = "IsRangeMarker" in flags and math.isfinite(end_s) and end_s > start_s
        markers.append(Marker(location.get("name", ""), start_s, end_s if region else None))
    return tuple(markers)


def _id(element: ET.Element) -> int:
    return whole(element.get("id"))
