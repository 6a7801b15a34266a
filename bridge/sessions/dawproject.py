"""DAWproject 1.0 (`.dawproject`): a zip with `project.xml`. Read into the model; times may count in beats or seconds,
nested clips are laid out, and warps are honoured where they do not warp.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Final
from zipfile import ZipFile

from bridge.sessions.archive import open_archive, read_member, safe_member
from bridge.sessions.media import bad_session, find_media, number, time_obstacle, whole
from bridge.sessions.model import Clip, Marker, Media, Obstacle, Session, TempoMap, TempoPoint, Track
from bridge.sessions.xml_text import ET, read_xml

PROJECT: Final = "project.xml"
MAX_DEPTH: Final = 32
MAX_CLIPS: Final = 200_000
_TIMELINES: Final = frozenset(("Lanes", "Clips", "Warps", "Audio", "Video", "Notes", "Points", "ClipSlot", "Timeline"))
WARP_TOLERANCE_S: Final = 1e-4
"""Bitwig writes clips that are not stretched with warps in rounded beats: within this they are straight."""


def read_dawproject(path: Path) -> Session:
    """Raises `StembridgeError`: `file_not_found`, `bad_session`."""
    with open_archive(path) as archive:
        root = read_xml(read_member(archive, path, PROJECT), path, "Project")
        return _Reader(path, archive, root).session()


class _Reader:
    """What is the same for every element of one project."""

    def __init__(self, path: Path, archive: ZipFile, root: ET.Element) -> None:
        self.path, self.archive, self.root = path, archive, root
        self.tempo = _tempo(root)
        self.marks = {element: n for n, element in enumerate(root.iter())}
        self.timelines = {e.get("id", ""): e for e in root.iter() if e.tag in _TIMELINES and e.get("id")}
        self.n_clips = 0

    def session(self) -> Session:
        clips: dict[str, list[Clip]] = {}
        arrangement = self.root.find("Arrangement")
        lanes = None if arrangement is None else arrangement.find("Lanes")
        if lanes is not None:
            self._lanes(lanes, "", True, clips, 0)
        tracks = []
        for element in self.root.iterfind("Structure//Track"):
            own = clips.get(element.get("id", ""), [])
            mute = element.find("Channel/Mute")
            muted = mute is not None and mute.get("value") in ("true", "1")
            tracks.append(Track(element.get("name", ""), tuple(own), muted, self.marks[element]))
        rates = {c.media[0].declared[1] for own in clips.values() for c in own if c.media and c.media[0].declared}
        rate_hz = rates.pop() if len(rates) == 1 else None
        markers = tuple(self._markers(arrangement)) if arrangement is not None else ()
        return Session(self.path, "dawproject", self.path.stem, tuple(tracks), markers, self.tempo, rate_hz)

    def _lanes(self, element: ET.Element, track: str, beats: bool, clips: dict[str, list[Clip]], depth: int) -> None:
        """Lanes in lanes; `timeUnit` and `track` hold for what is inside until said anew."""
        if depth > MAX_DEPTH:
            raise bad_session(self.path, f"nests more than {MAX_DEPTH} lanes")
        track = element.get("track", track)
        beats = _in_beats(element.get("timeUnit"), beats)
        for child in element:
            if child.tag == "Lanes":
                self._lanes(child, track, beats, clips, depth + 1)
            elif child.tag == "Clips":
                found = clips.setdefault(child.get("track", track), [])
                found += self._clips(child, beats, _Window(0.0, math.inf), depth + 1)

    def _clips(self, element: ET.Element, beats: bool, window: _Window, depth: int) -> Iterator[Clip]:
        if depth > MAX_DEPTH:
            raise bad_session(self.path, f"nests more than {MAX_DEPTH} clips")
        beats = _in_beats(element.get("timeUnit"), beats)
        for clip in element.iterfind("Clip"):
            self.n_clips += 1
            if self.n_clips > MAX_CLIPS:
                raise bad_session(self.path, f"holds more than {MAX_CLIPS} clips")
            yield from self._clip(clip, beats, window, depth)

    def _clip(self, clip: ET.Element, beats: bool, window: _Window, depth: int) -> Iterator[Clip]:
        begin_s = self._after(window.content_s, number(clip.get("time"), math.nan), beats)
        content = _in_beats(clip.get("contentTimeUnit"), beats)
        play_start = number(clip.get("playStart"), 0.0)
        duration, long_in_beats = number(clip.get("duration"), math.nan), beats
        if clip.get("duration") is None:  # then it is as long as what it plays
            duration, long_in_beats = number(clip.get("playStop"), math.nan) - play_start, content
        end_s = self._after(begin_s, duration, long_in_beats)
        whole = window.begin_s <= begin_s and end_s <= window.end_s
        position_s = max(begin_s, window.begin_s)
        length_s = self._span(begin_s, duration, long_in_beats) if whole else min(end_s, window.end_s) - position_s
        made = Clip(
            clip.get("name", ""),
            position_s,
            length_s,
            (),
            fade_in_s=self._fade(clip, "fadeInTime", beats, begin_s),
            fade_out_s=self._fade(clip, "fadeOutTime", beats, begin_s),
            muted=clip.get("enable") in ("false", "0"),
            mark=self.marks[clip],
        )
        cut_s = made.position_s - begin_s
        bad = time_obstacle(begin_s, end_s - begin_s, max(play_start, 0.0))
        if bad or not math.isfinite(play_start) or window.muted:
            yield replace(made, obstacle=bad or "bad_time") if not window.muted else replace(made, muted=True)
            return
        if made.length_s <= 0:
            return  # cut away by the clip around it
        inner = self._content(clip)
        kind = "" if inner is None else inner.tag
        if self._is_looped(clip, play_start, duration, long_in_beats, content):
            yield replace(made, obstacle="looped")
        elif inner is None:
            yield replace(made, obstacle="nested" if clip.get("reference") else "no_media")
        elif kind == "Clips":
            start_s = self._after(begin_s, -play_start, content)
            inside = _Window(start_s, made.end_s, made.position_s, made.muted)
            yield from self._clips(inner, content, inside, depth + 1)
        elif kind == "Warps":
            yield self._warped(made, inner, play_start, content, begin_s)
        elif kind == "Audio":
            yield self._audio(made, inner, self._span(begin_s, play_start, content) + cut_s)
        else:
            yield replace(made, obstacle="midi" if kind == "Notes" else "nested")

    def _content(self, clip: ET.Element) -> ET.Element | None:
        """What a clip plays: the timeline in it, or, of a clip that is another's alias, the one it refers to."""
        own = next((child for child in clip if child.tag in _TIMELINES), None)
        return self.timelines.get(clip.get("reference", "")) if own is None else own

    def _after(self, at_s: float, time: float, beats: bool) -> float:
        """The timeline second that lies `time` (beats or seconds) after another; NaN where there is none."""
        if not beats or not math.isfinite(at_s + time):
            return at_s + time
        return self.tempo.seconds(self.tempo.beat(at_s) + time)

    def _span(self, at_s: float, time: float, beats: bool) -> float:
        """How many seconds `time` is from there on."""
        return self._after(at_s, time, beats) - at_s if beats else time

    def _is_looped(self, clip: ET.Element, play_start: float, duration: float, beats: bool, content: bool) -> bool:
        if clip.get("loopEnd") is None:
            return False
        loop_end = number(clip.get("loopEnd"), math.inf)
        # Units may differ; then whether it comes to the loop's end is not decided here, and it counts as looped.
        return beats != content or play_start + duration > loop_end + 1e-9

    def _fade(self, clip: ET.Element, key: str, beats: bool, begin_s: float) -> float:
        time = number(clip.get(key), 0.0)
        if not math.isfinite(time) or time <= 0 or not math.isfinite(begin_s):
            return 0.0
        return self._span(begin_s, time, _in_beats(clip.get("fadeTimeUnit"), beats))

    def _warped(self, made: Clip, warps: ET.Element, play_start: float, content: bool, begin_s: float) -> Clip:
        """Warps tie the content's time to the file's; straight ones (one second is one second) move, no more."""
        beats = _in_beats(warps.get("timeUnit"), content)
        audio = warps.find("Audio")
        points = [(number(w.get("time"), math.nan), number(w.get("contentTime"), math.nan)) for w in warps.iter("Warp")]
        if audio is None or len(points) < 2 or warps.get("contentTimeUnit") == "beats":
            return replace(made, obstacle="nested" if audio is None else "stretched")
        if not all(math.isfinite(t) for point in points for t in point):
            return replace(made, obstacle="bad_time")
        zero_s = self._after(begin_s, -play_start, content)
        places = [(self._after(zero_s, t, beats), file_s) for t, file_s in points]
        offset_s = places[0][1] - places[0][0]
        if any(abs(file_s - at_s - offset_s) > WARP_TOLERANCE_S for at_s, file_s in places):
            return replace(made, obstacle="stretched")
        if beats and any(p.ramp or q.bpm != p.bpm for p, q in pairwise(self.tempo.points)):
            return replace(made, obstacle="stretched")  # straight at its points, and not between them
        start_s = made.position_s + offset_s
        return self._audio(made, audio, 0.0 if -WARP_TOLERANCE_S < start_s < 0 else start_s)

    def _audio(self, made: Clip, audio: ET.Element, start_s: float) -> Clip:
        file = audio.find("File")
        reference = "" if file is None else file.get("path", "")
        length_s = number(audio.get("duration"), math.nan)
        rate, channels = audio.get("sampleRate", ""), audio.get("channels", "")
        obstacle: Obstacle = time_obstacle(made.position_s, made.length_s, start_s)
        if not reference or file is None:
            return replace(made, obstacle="no_media")
        if file.get("external") in ("true", "1"):
            return replace(
                made, media=(find_media(reference, self.path.parent),), source_start_s=start_s, obstacle=obstacle
            )
        member = safe_member(self.archive, reference)
        sound = math.isfinite(length_s) and length_s > 0 and whole(rate) > 0 and 0 < whole(channels) <= 64
        if member is None or not sound:
            return replace(made, media=(Media(reference, None),), source_start_s=start_s, obstacle=obstacle)
        info = self.archive.getinfo(member)
        declared = length_s, int(rate), int(channels)
        media = Media(reference, None, None, member, f"{info.CRC:08x}-{info.file_size}", declared, info.file_size)
        return replace(made, media=(media,), source_start_s=start_s, obstacle=obstacle)

    def _markers(self, arrangement: ET.Element) -> Iterator[Marker]:
        """Markers have no end here; one named `end` or `stop`, or of the same name, ends the one before it."""
        from bridge.sessions.folder import regions

        lanes = arrangement.find("Lanes")
        default = _in_beats(None if lanes is None else lanes.get("timeUnit"), True)
        found = []
        for markers in arrangement.iterfind("Markers"):
            beats = _in_beats(markers.get("timeUnit"), default)
            for marker in markers.iterfind("Marker"):
                at_s = self._after(0.0, number(marker.get("time"), math.nan), beats)
                if math.isfinite(at_s) and at_s >= 0:
                    found.append((marker.get("name", ""), at_s))
        yield from regions(sorted(found, key=lambda each: each[1]))


@dataclass(frozen=True)
class _Window:
    """What is seen of a clip's content: where its zero lies, and the stretch of the timeline that is not cut away."""

    content_s: float
    end_s: float
    begin_s: float = 0.0
    muted: bool = False


def _in_beats(unit: str | None, default: bool) -> bool:
    return default if unit is None else unit != "seconds"


def _tempo(root: ET.Element) -> TempoMap:
    first = root.find("Transport/Tempo")
    bpm = number(None if first is None else first.get("value"), 120.0)
    bpm = bpm if math.isfinite(bpm) and bpm > 0 else 120.0
    points: list[TempoPoint] = []
    automation = root.find("Arrangement/TempoAutomation")
    lanes = root.find("Arrangement/Lanes")
    default = _in_beats(None if lanes is None else lanes.get("timeUnit"), True)
    if automation is not None and _in_beats(automation.get("timeUnit"), default):
        for point in automation.iterfind("RealPoint"):
            beat, value = number(point.get("time"), math.nan), number(point.get("value"), math.nan)
            ramp = point.get("interpolation") == "linear"
            if math.isfinite(beat) and math.isfinite(value) and value > 0 and (not points or beat > points[-1].beat):
                points.append(TempoPoint(max(beat, 0.0), value, ramp))
    if points and points[0].beat > 0:
        points.insert(0, TempoPoint(0.0, points[0].bpm))
    return TempoMap(tuple(points) or (TempoPoint(0.0, bpm),))
