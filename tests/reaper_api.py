"""REAPER's functions on a project: reading it, hearing it, changing it. Each takes the calling script first."""

from __future__ import annotations

from typing import Any

import numpy as np
import soundfile
from reaper_project import Item, Source, Take, Track
from reaper_signatures import SIGNATURES, SINCE_7_62, Accessor, Array, Marker

WHAT_IS_SAID = ("P_EXT:stembridge", "P_NOTES")
WHAT_IT_PLAYS = ("D_POSITION", "D_LENGTH", "D_STARTOFFS", "D_FADEINLEN", "D_FADEOUTLEN")


class ProjectFunctions:
    """What `reaper.*` does to `tracks`; nothing is changed outside an undo block."""

    tracks: list[Track]
    markers: list[tuple[bool, float, float, str]]
    """Whether it is a region, from, to, name."""
    range_s: tuple[float, float]
    undo_points: list[str]
    built_peaks: list[str]
    version = (7, 78)
    _in_block = 0

    n_marked_dirty = 0
    _unmarked = False

    def _changes(self, take: Take | None = None) -> None:
        """Without an undo step only what a take that plays already plays, and what is said of it, may change; and
        REAPER must be told."""
        if self._in_block == 0 and take is not None and take.source is not None:
            self._unmarked = True
            return
        assert self._in_block == 1, "the project is changed outside an undo block"

    def _MarkProjectDirty(self, _: Any, project: int) -> None:
        self._unmarked = False
        self.n_marked_dirty += 1

    def _all_items(self) -> list[Item]:
        return [item for track in self.tracks for item in track.items]

    def _GetSet_LoopTimeRange2(
        self, _: Any, project: int, is_set: bool, is_loop: bool, start: float, end: float, seek: bool
    ) -> tuple[float, float]:
        assert not is_set
        assert not is_loop
        return self.range_s

    def _EnumProjectMarkers3(self, _: Any, project: int, index: int) -> tuple[Any, ...]:
        if index >= len(self.markers):
            return 0, False, 0.0, 0.0, "", 0, 0
        return int(index) + 1, *self.markers[int(index)], int(index) + 1, 0

    def _APIExists(self, script: Any, name: str) -> bool:
        return name in self.functions()

    def _GetNumRegionsOrMarkers(self, _: Any, project: int) -> int:
        return len(self.markers)

    def _GetRegionOrMarker(self, _: Any, project: int, index: int, guid: str) -> Marker | None:
        assert guid == ""
        return Marker(*self.markers[int(index)]) if 0 <= index < len(self.markers) else None

    def _GetRegionOrMarkerInfo_Value(self, _: Any, project: int, marker: Marker, key: str) -> float:
        return float({"B_ISREGION": marker.is_region, "D_STARTPOS": marker.from_s, "D_ENDPOS": marker.to_s}[key])

    def _GetSetRegionOrMarkerInfo_String(
        self, _: Any, project: int, marker: Marker, key: str, value: str, is_set: bool
    ) -> tuple[bool, str]:
        assert (key, is_set) == ("P_NAME", False)
        return True, marker.name

    def functions(self) -> set[str]:
        """The names of REAPER's functions in this version."""
        return set(SIGNATURES) - (SINCE_7_62 if self.version < (7, 62) else set())

    def _CountTracks(self, _: Any, project: int) -> int:
        return len(self.tracks)

    def _GetTrack(self, _: Any, project: int, index: int) -> Track | None:
        return self.tracks[int(index)] if 0 <= index < len(self.tracks) else None

    def _CountSelectedTracks(self, _: Any, project: int) -> int:
        return sum(track.selected for track in self.tracks)

    def _GetSelectedTrack(self, _: Any, project: int, index: int) -> Track:
        return [track for track in self.tracks if track.selected][int(index)]

    def _CountSelectedMediaItems(self, _: Any, project: int) -> int:
        return sum(item.selected for item in self._all_items())

    def _GetSelectedMediaItem(self, _: Any, project: int, index: int) -> Item:
        return [item for item in self._all_items() if item.selected][int(index)]

    def _CountTrackMediaItems(self, _: Any, track: Track) -> int:
        return len(track.items)

    def _GetTrackMediaItem(self, _: Any, track: Track, index: int) -> Item:
        return sorted(track.items, key=lambda item: item.span)[int(index)]

    def _GetMediaItem_Track(self, _: Any, item: Item) -> Track:
        return item.track

    def _GetTrackName(self, _: Any, track: Track) -> tuple[bool, str]:
        return True, track.name or f"Track {self.tracks.index(track) + 1}"

    def _strings(self, holder: Any, key: str, value: str, is_set: bool) -> tuple[bool, str]:
        if is_set:
            assert key != "GUID"
            take = holder.takes[0] if isinstance(holder, Item) else holder
            self._changes(take if isinstance(take, Take) and key in WHAT_IS_SAID else None)
            holder.strings[key] = value
        assert key in holder.strings or key.startswith("P_EXT:"), key
        found = holder.strings.get(key, "")
        return bool(found), found

    def _GetSetMediaTrackInfo_String(self, _: Any, track: Track, *rest: Any) -> tuple[bool, str]:
        return self._strings(track, *rest)

    def _GetSetMediaItemTakeInfo_String(self, _: Any, take: Take, *rest: Any) -> tuple[bool, str]:
        return self._strings(take, *rest)

    def _GetSetMediaItemInfo_String(self, _: Any, item: Item, *rest: Any) -> tuple[bool, str]:
        return self._strings(item, *rest)

    def _GetMediaTrackInfo_Value(self, _: Any, track: Track, key: str) -> float:
        return float(self.tracks.index(track) + 1) if key == "IP_TRACKNUMBER" else track.values[key]

    def _set(self, holder: Any, key: str, value: float) -> bool:
        take = holder.takes[0] if isinstance(holder, Item) and holder.takes else holder
        self._changes(take if isinstance(take, Take) and key in WHAT_IT_PLAYS else None)
        assert key in holder.values, key
        holder.values[key] = float(value)
        return True

    def _SetMediaTrackInfo_Value(self, _: Any, track: Track, key: str, value: float) -> bool:
        return self._set(track, key, value)

    def _GetMediaItemInfo_Value(self, _: Any, item: Item, key: str) -> float:
        return item.values[key]

    def _SetMediaItemInfo_Value(self, _: Any, item: Item, key: str, value: float) -> bool:
        return self._set(item, key, value)

    def _GetMediaItemTakeInfo_Value(self, _: Any, take: Take, key: str) -> float:
        return take.values[key]

    def _SetMediaItemTakeInfo_Value(self, _: Any, take: Take, key: str, value: float) -> bool:
        return self._set(take, key, value)

    def _GetActiveTake(self, _: Any, item: Item) -> Take | None:
        return item.takes[0] if item.takes else None

    def _TakeIsMIDI(self, _: Any, take: Take) -> bool:
        return take.source is not None and take.source.midi

    def _GetMediaItemTake_Source(self, _: Any, take: Take) -> Source | None:
        return take.source

    def _GetMediaItemTake_Item(self, _: Any, take: Take) -> Item:
        return take.item

    def _GetMediaItemTakeByGUID(self, _: Any, project: int, guid: str) -> Take | None:
        takes = [take for item in self._all_items() for take in item.takes]
        return next((take for take in takes if take.strings["GUID"] == guid), None)

    def _GetTakeNumStretchMarkers(self, _: Any, take: Take) -> int:
        return take.n_stretch_markers

    def _GetMediaSourceParent(self, _: Any, source: Source) -> Source | None:
        return source.parent

    def _GetMediaSourceType(self, _: Any, source: Source, text: str) -> str:
        return source.kind

    def _GetMediaSourceFileName(self, _: Any, source: Source, text: str) -> str:
        return "" if source.parent is not None else source.path

    def _GetMediaSourceLength(self, _: Any, source: Source) -> tuple[float, bool]:
        return source.length_s, False

    def _GetMediaSourceSampleRate(self, _: Any, source: Source) -> int:
        return source.audio[1]

    def _GetMediaSourceNumChannels(self, _: Any, source: Source) -> int:
        return source.audio[0].shape[1]

    def _ValidatePtr2(self, _: Any, project: int, pointer: Any, kind: str) -> bool:
        assert kind == "MediaItem_Take*"
        return pointer.item in self._all_items()

    def _state(self, take: Take) -> tuple[Any, ...]:
        return (*take.values.items(), *take.item.span, take.item.values["B_LOOPSRC"])

    def _CreateTakeAudioAccessor(self, _: Any, take: Take) -> Accessor:
        return Accessor(take, self._state(take))

    def _DestroyAudioAccessor(self, _: Any, accessor: Accessor) -> None:
        assert accessor.open
        accessor.open = False

    def _AudioAccessorStateChanged(self, _: Any, accessor: Accessor) -> bool:
        return self._state(accessor.take) != accessor.state

    def _GetAudioAccessorStartTime(self, _: Any, accessor: Accessor) -> float:
        return 0.0

    def _GetAudioAccessorSamples(
        self, _: Any, accessor: Accessor, rate: int, n_channels: int, start: float, n: int, buffer: Array
    ) -> int:
        assert accessor.open
        assert 1 <= n * n_channels <= len(buffer.values)
        heard = accessor.take.heard(start + np.arange(int(n)) / rate)
        assert heard.shape[1] == n_channels
        buffer.values[: heard.size] = heard.ravel()
        return int(np.any(heard))

    def _new_array(self, script: Any, n: int) -> Array:
        return Array(int(n), script.runtime)

    def _Undo_BeginBlock2(self, _: Any, project: int) -> None:
        self._in_block += 1

    def _Undo_EndBlock2(self, _: Any, project: int, name: str, flags: int) -> None:
        self._in_block -= 1
        assert self._in_block == 0
        assert flags == -1
        self.undo_points.append(name)

    def _PreventUIRefresh(self, _: Any, by: int) -> None:
        pass

    def _UpdateArrange(self, _: Any) -> None:
        pass

    def _TrackList_AdjustWindows(self, _: Any, minor: bool) -> None:
        pass

    def _InsertTrackAtIndex(self, _: Any, index: int, defaults: bool) -> None:
        self._changes()
        self.tracks.insert(int(index), Track())

    def _AddMediaItemToTrack(self, _: Any, track: Track) -> Item:
        self._changes()
        item = Item(track)
        item.values["B_LOOPSRC"] = 1.0  # REAPER's default
        track.items.append(item)
        return item

    def _AddTakeToMediaItem(self, _: Any, item: Item) -> Take:
        self._changes()
        item.takes.append(Take(None, item))
        return item.takes[-1]

    def _SetMediaItemTake_Source(self, _: Any, take: Take, source: Source) -> bool:
        self._changes(take)
        assert not source.destroyed
        take.source = source
        return True

    def _PCM_Source_Destroy(self, _: Any, source: Source) -> None:
        assert not source.destroyed
        source.destroyed = all(take.source is not source for item in self._all_items() for take in item.takes)

    def _PCM_Source_CreateFromFile(self, _: Any, path: str) -> Source | None:
        try:
            soundfile.info(path)
        except (OSError, soundfile.LibsndfileError):
            return None
        return Source(path)

    def _PCM_Source_BuildPeaks(self, _: Any, source: Source, mode: int) -> int:
        if mode == 2:
            self.built_peaks.append(source.path)
        return int(mode == 0)

    def _SplitMediaItem(self, _: Any, item: Item, position: float) -> Item | None:
        self._changes()
        start, length = item.span
        if not start < position < start + length:
            return None
        right = Item(item.track, values={**item.values, "D_POSITION": position, "D_LENGTH": start + length - position})
        for take in item.takes:
            other = Take(take.source, right, values=dict(take.values))
            other.values["D_STARTOFFS"] += (position - start) * take.values["D_PLAYRATE"]
            right.takes.append(other)
        item.values["D_LENGTH"] = position - start
        item.track.items.append(right)
        return right
