"""Ableton Live's `.als` (gzip, XML): read only. The arrangement's clips; what Live stretches is named and left alone.

The format is not documented. Read are: tracks' names, clips' places (beats), the stretch of the file they play, warp
markers, the tempo, locators. Writing would be guessing, so there is no writer.
"""

from __future__ import annotations

import gzip
import io
import math
import zlib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Final

from bridge.sessions.archive import MAX_XML_BYTES
from bridge.sessions.folder import regions
from bridge.sessions.media import bad_session, find_media, number, read_session_bytes, time_obstacle
from bridge.sessions.model import Clip, Media, Obstacle, Session, TempoMap, TempoPoint, Track
from bridge.sessions.xml_text import ET, read_xml

MEDIA_FOLDERS: Final = ("Samples/Recorded", "Samples/Imported", "Samples/Processed/Consolidate")
WARP_TOLERANCE_S: Final = 1e-4
"""Live rounds warp markers; within this they do not warp."""
_TEMPO_TRACKS: Final = ("MainTrack", "MasterTrack")
"""Live 12 and those before it."""
_ARRANGED: Final = "DeviceChain/MainSequencer//ArrangerAutomation/Events"


def read_als(path: Path) -> Session:
    """Raises `StembridgeError`: `file_not_found`, `file_unreadable`, `bad_session`."""
    root = read_xml(_unpacked(read_session_bytes(path), path), path, "Ableton")
    live = root.find("LiveSet")
    if live is None:
        raise bad_session(path, "holds no LiveSet")
    tempo, ramps = _tempo(live)
    tracks = []
    for n, element in enumerate(live.iterfind("Tracks/*"), 1):
        if element.tag not in ("AudioTrack", "MidiTrack"):
            continue
        found = element.findall(f"{_ARRANGED}/AudioClip") + element.findall(f"{_ARRANGED}/MidiClip")
        clips = tuple(_clip(clip, tempo, ramps, path.parent) for clip in found)
        name = _value(element, "Name/EffectiveName") or _value(element, "Name/UserName") or f"Track {n}"
        muted = _value(element, "DeviceChain/Mixer/Speaker/Manual") == "false"
        tracks.append(Track(name, clips, muted, n))
    marks = [
        (_value(locator, "Name") or "", tempo.seconds(beat))
        for locator in live.iterfind("Locators/Locators/Locator")
        if math.isfinite(beat := number(_value(locator, "Time"), math.nan)) and beat >= 0
    ]
    markers = regions(sorted(marks, key=lambda mark: mark[1]))
    return Session(path, "als", path.stem, tuple(tracks), markers, tempo)


def _unpacked(data: bytes, path: Path) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            text = file.read(MAX_XML_BYTES + 1)
    except (OSError, EOFError, zlib.error) as e:
        raise bad_session(path, f"is no Live set that can be unpacked: {e}") from e
    if len(text) > MAX_XML_BYTES:
        raise bad_session(path, f"unpacks to more than {MAX_XML_BYTES >> 20} MiB")
    return text


def _value(element: ET.Element, place: str) -> str | None:
    found = element.find(place)
    return None if found is None else found.get("Value")


def _tempo(live: ET.Element) -> tuple[TempoMap, bool]:
    """(the tempo, whether it ramps anywhere): how Live lays out a ramp is not known well enough to place a clip."""
    for name in _TEMPO_TRACKS:
        track = live.find(name)
        tempo = None if track is None else track.find("DeviceChain/Mixer/Tempo")
        if track is None or tempo is None:
            continue
        manual = number(_value(tempo, "Manual"), 120.0)
        events = [(0.0, manual if math.isfinite(manual) and manual > 0 else 120.0)]
        target = tempo.find("AutomationTarget")
        if target is not None:
            events = _automation(track, target.get("Id", "")) or events
        ramps = any(after[0] > this[0] and after[1] != this[1] for this, after in pairwise(events))
        points = dict(events)  # of two events at one beat, a step, the second holds from there on
        return TempoMap(tuple(TempoPoint(beat, bpm) for beat, bpm in points.items())), ramps
    return TempoMap(), False


def _automation(track: ET.Element, target: str) -> list[tuple[float, float]]:
    """The tempo's events (beat, bpm); the first lies long before beat 0 and tells where it begins."""
    events: list[tuple[float, float]] = []
    for envelope in track.iterfind("AutomationEnvelopes/Envelopes/AutomationEnvelope"):
        if _value(envelope, "EnvelopeTarget/PointeeId") != target:
            continue
        for event in envelope.iterfind("Automation/Events/FloatEvent"):
            beat, bpm = number(event.get("Time"), math.nan), number(event.get("Value"), math.nan)
            if math.isfinite(beat) and math.isfinite(bpm) and bpm > 0:
                events.append((max(beat, 0.0), bpm))
    return sorted(events, key=lambda event: event[0])


def _clip(clip: ET.Element, tempo: TempoMap, ramps: bool, folder: Path) -> Clip:
    begin = number(_value(clip, "CurrentStart") or clip.get("Time"), math.nan)
    end = number(_value(clip, "CurrentEnd"), math.nan)
    sound = math.isfinite(begin) and math.isfinite(end)
    position_s = tempo.seconds(begin) if sound else math.nan
    length_s = tempo.seconds(end) - position_s if sound else math.nan
    made = Clip(_value(clip, "Name") or "", position_s, length_s, (), muted=_value(clip, "Disabled") == "true")
    if clip.tag == "MidiClip":
        return replace(made, obstacle="midi")
    media = _media(clip, folder)
    loop_start = number(_value(clip, "Loop/LoopStart"), 0.0) + number(_value(clip, "Loop/StartRelative"), 0.0)
    loop_end = number(_value(clip, "Loop/LoopEnd"), math.inf)
    warped = _value(clip, "IsWarped") == "true"
    pitched = any(number(_value(clip, key), 0.0) != 0 for key in ("PitchCoarse", "PitchFine"))
    obstacle: Obstacle = "no_media" if not media else "ramped" if ramps else ""
    start_s = loop_start
    if warped and not obstacle:
        start_s, obstacle = _warped(clip, loop_start, tempo)
    played = end - begin if warped else length_s
    if not obstacle and _value(clip, "Loop/LoopOn") == "true" and loop_start + played > loop_end + 1e-6:
        obstacle = "looped"
    if not obstacle and pitched:
        obstacle = "stretched"
    gain = number(_value(clip, "SampleVolume"), 1.0)
    obstacle = obstacle or time_obstacle(position_s, length_s, start_s)
    return replace(made, media=media, source_start_s=start_s, gain=gain, obstacle=obstacle)


def _warped(clip: ET.Element, at_beat: float, tempo: TempoMap) -> tuple[float, Obstacle]:
    """The file's second at a beat of the content; `stretched` unless a beat is as long in the file as in the song."""
    steady = len({point.bpm for point in tempo.points}) <= 1
    markers = [
        (number(marker.get("BeatTime"), math.nan), number(marker.get("SecTime"), math.nan))
        for marker in clip.iterfind("WarpMarkers/WarpMarker")
    ]
    if not steady or not markers or not all(math.isfinite(t) for marker in markers for t in marker):
        return math.nan, "stretched"
    beat_s = 60.0 / (tempo.points[0].bpm if tempo.points else 120.0)
    offset_s = markers[0][1] - markers[0][0] * beat_s
    if any(abs(second - beat * beat_s - offset_s) > WARP_TOLERANCE_S for beat, second in markers):
        return math.nan, "stretched"
    start_s = at_beat * beat_s + offset_s
    return (0.0 if -WARP_TOLERANCE_S < start_s < 0 else start_s), ""


def _media(clip: ET.Element, folder: Path) -> tuple[Media, ...]:
    """The file, by its place in the project, else by its absolute path."""
    reference = clip.find("SampleRef/FileRef")
    if reference is None:
        return ()
    relative, absolute = _value(reference, "RelativePath"), _value(reference, "Path")
    if not relative:  # Live 10 and before: a list of folders, and a name
        parts = [each.get("Dir", "") for each in reference.iterfind("RelativePath/RelativePathElement")]
        name = _value(reference, "Name")
        relative = "/".join([*(part or ".." for part in parts), name]) if name else None
    found = [find_media(text, folder, also=MEDIA_FOLDERS) for text in (relative, absolute) if text]
    here = next((media for media in found if media.path is not None), None)
    return (here,) if here is not None else tuple(found[:1])
