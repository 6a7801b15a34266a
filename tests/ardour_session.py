"""What a saved Ardour session says, and Lua snippets that build and select things in an open one."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from ardour_host import Host, wait_for

TICKS_HZ = 282_240_000
"""Ardour 7 writes times as `a<ticks>` of this clock (the session file's TempoMap says so)."""


@dataclass(frozen=True)
class SavedRegion:
    name: str
    position: int
    """Timeline samples, as all times here."""
    length: int
    start: int
    muted: bool
    files: tuple[Path, ...]
    gain: float

    def audio(self) -> np.ndarray:
        """The samples of the region's files, (channel, sample)."""
        parts = [soundfile.read(path, start=self.start, frames=self.length, dtype="float32")[0] for path in self.files]
        return np.stack(parts)


@dataclass(frozen=True)
class SavedTrack:
    name: str
    order: int
    colour: int
    muted: bool
    group: str | None
    regions: tuple[SavedRegion, ...]
    """In order of position."""
    comment: str


def saved_tracks(host: Host) -> dict[str, SavedTrack]:
    """Saves the session and reads its tracks back, in the order they are shown in."""
    root = ET.fromstring(host.save())
    rate_hz = int(root.attrib["sample-rate"])

    def samples(text: str) -> int:
        ticks, rest = divmod(int(text.split("@")[0].removeprefix("a")) * rate_hz, TICKS_HZ)
        assert rest == 0, f"{text} is not a whole number of samples"
        return ticks

    def region(element: ET.Element, sources: dict[str, Path]) -> SavedRegion:
        length, position = element.attrib["length"].split("@")
        ids = [element.attrib[f"source-{n}"] for n in range(int(element.attrib["channels"]))]
        return SavedRegion(
            element.attrib["name"],
            samples(position),
            samples(length),
            samples(element.attrib["start"]),
            element.attrib["muted"] == "1",
            tuple(sources[i] for i in ids),
            float(element.get("scale-amplitude", "1")),
        )

    media = host.session / "interchange" / host.session.name / "audiofiles"
    sources = {s.attrib["id"]: media / s.attrib["name"] for s in root.iterfind("Sources/Source")}
    groups = {i: g.attrib["name"] for g in root.iterfind("RouteGroups/RouteGroup") for i in g.get("routes", "").split()}
    playlists = {p.attrib["id"]: p for p in root.iterfind("Playlists/Playlist")}
    tracks = []
    for route in root.iterfind("Routes/Route"):
        info = route.find("PresentationInfo")
        mute = route.find("Controllable[@name='mute']")
        assert info is not None
        assert mute is not None
        playlist = playlists.get(route.get("audio-playlist", ""))
        regions = [region(r, sources) for r in playlist.iterfind("Region")] if playlist is not None else []
        tracks.append(
            SavedTrack(
                route.attrib["name"],
                int(info.attrib["order"]),
                int(info.attrib["color"]),
                float(mute.attrib["value"]) > 0.5,
                groups.get(route.attrib["id"]),
                tuple(sorted(regions, key=lambda r: r.position)),
                route.findtext("Comment", ""),
            )
        )
    return {track.name: track for track in sorted(tracks, key=lambda track: track.order)}


def tracks_after(host: Host, before: Collection[str]) -> dict[str, SavedTrack]:
    """The saved tracks once one of those that are new is muted: Ardour's audio thread does that a moment later than its
    script asks for it. Without new tracks, as they are.
    """

    def settled() -> dict[str, SavedTrack] | None:
        tracks = saved_tracks(host)
        new = [track for name, track in tracks.items() if name not in before]
        return tracks if not new or any(track.muted for track in new) else None

    found: dict[str, SavedTrack] = wait_for(settled, "a new track to be muted")
    return found


def q(value: object) -> str:
    """A Lua literal."""
    return json.dumps(value, ensure_ascii=False)


def add_track(host: Host, name: str, path: Path, *positions: int, colour: int = 0x33CC66FF, group: str = "") -> None:
    """Imports a file onto a new track, once at each position."""
    host.lua(f"""
        local before = {{}}
        for r in Session:get_tracks():iter() do before[r:to_stateful():id():to_s()] = true end
        local files = C.StringVector()
        files:push_back({q(str(path))})
        Editor:do_import(files, Editing.ImportDistinctFiles, Editing.ImportAsTrack, ARDOUR.SrcQuality.SrcBest,
            ARDOUR.MidiTrackNameSource.SMFTrackName, ARDOUR.MidiTempoMapDisposition.SMFTempoIgnore,
            Temporal.timepos_t({positions[0]}), ARDOUR.PluginInfo(), ARDOUR.Track(), false)
        for r in Session:get_tracks():iter() do
            if not before[r:to_stateful():id():to_s()] then
                local track, region = r:to_track(), nil
                track:set_name({q(name)})
                r:presentation_info_ptr():set_color({colour})
                for each in track:playlist():region_list():iter() do region = each end
                for _, position in ipairs({{ {", ".join(map(str, positions[1:]))} }}) do
                    local copy = ARDOUR.RegionFactory.clone_region(region, true, false)
                    track:playlist():add_region(copy, Temporal.timepos_t(position), 1, false)
                end
                if {q(group)} ~= "" then Session:new_route_group({q(group)}):add(r) end
            end
        end
    """)


def add_midi(host: Host, path: Path, position: int) -> None:
    """Imports a MIDI file onto a new track."""
    host.lua(f"""
        local files = C.StringVector()
        files:push_back({q(str(path))})
        Editor:do_import(files, Editing.ImportDistinctFiles, Editing.ImportAsTrack, ARDOUR.SrcQuality.SrcBest,
            ARDOUR.MidiTrackNameSource.SMFTrackName, ARDOUR.MidiTempoMapDisposition.SMFTempoIgnore,
            Temporal.timepos_t({position}), ARDOUR.PluginInfo(), ARDOUR.Track(), false)
    """)


def move_regions(host: Host, track: str, position: int) -> None:
    """Moves all regions of a track, as a person who goes on working does."""
    host.lua(f"""
        for region in Session:route_by_name({q(track)}):to_track():playlist():region_list():iter() do
            region:set_position(Temporal.timepos_t({position}))
        end
    """)


def select_range(host: Host, start: int, end: int, track: str | None = None) -> None:
    """Selects a time range on one track (Ardour adds the others of its group), or on all."""
    host.lua(f"""
        Editor:set_loop_range(Temporal.timepos_t({start}), Temporal.timepos_t({end}), "loop")
        Editor:get_selection():clear_all()
        if {q(track or "")} ~= "" then
            local function is_selected()
                for r in Editor:get_selection().tracks:routelist():iter() do
                    if r:name() == {q(track or "")} then return true end
                end
            end
            for _ = 1, 100 do
                if is_selected() then break end
                Editor:access_action("Editor", "select-next-stripable")
            end
            assert(is_selected(), "the track cannot be selected")
        end
        Editor:access_action("Editor", "select-loop-range")
        local time = Editor:get_selection().time
        assert(time:start_sample() == {start} and time:end_sample() == {end}, "the range cannot be selected")
    """)


def select_regions(host: Host, *names: str) -> None:
    """Selects regions by name, and no range."""
    host.lua(f"""
        Editor:get_selection():clear_all()
        local wanted, views = {{ {", ".join(f"[{q(name)}] = true" for name in names)} }}, ArdourUI.SelectionList()
        for r in Session:get_tracks():iter() do
            for region in r:to_track():playlist():region_list():iter() do
                if wanted[region:name()] then views:push_back(Editor:regionview_from_region(region)) end
            end
        end
        Editor:set_selection(views, ArdourUI.SelectionOp.Set)
        local n = 0
        for _ in Editor:get_selection().regions:regionlist():iter() do n = n + 1 end
        assert(n == {len(names)}, n .. " regions selected")
    """)


def select_nothing(host: Host) -> None:
    host.lua("Editor:get_selection():clear_all()")
