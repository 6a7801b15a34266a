"""The types of the arguments of REAPER's functions, as its API help gives them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lupa.lua54 as lua
import numpy as np
from reaper_project import Item, Source, Take, Track


@dataclass(eq=False)
class Accessor:
    take: Take
    state: tuple[Any, ...]
    open: bool = True


@dataclass(eq=False)
class Marker:
    is_region: bool
    from_s: float
    to_s: float
    name: str


class Array:
    """reaper.array, as far as it is used."""

    def __init__(self, n: int, runtime: Any) -> None:
        self.values, self._runtime = np.zeros(n), runtime

    def clear(self) -> None:
        self.values[:] = 0

    def table(self, offset: int, size: int) -> Any:
        assert offset >= 1
        assert offset + size - 1 <= len(self.values)
        return self._runtime.table_from(self.values[offset - 1 : offset - 1 + size].tolist())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


CHECKS: dict[str, Callable[[Any], bool]] = {
    "proj": lambda value: value == 0 and _is_number(value),
    "num": _is_number,
    "int": lambda value: _is_number(value) and value == int(value),
    "str": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "fn": lambda value: lua.lua_type(value) == "function",
    "track": lambda value: isinstance(value, Track),
    "item": lambda value: isinstance(value, Item),
    "take": lambda value: isinstance(value, Take),
    "source": lambda value: isinstance(value, Source),
    "accessor": lambda value: isinstance(value, Accessor),
    "marker": lambda value: isinstance(value, Marker),
    "array": lambda value: isinstance(value, Array),
    "any": lambda value: True,
}

SIGNATURES = {
    "get_action_context": "",
    "defer": "fn",
    "atexit": "fn",
    "set_action_options": "int",
    "AddRemoveReaScript": "bool int str bool",
    "Main_OnCommand": "int int",
    "time_precise": "",
    "genGuid": "str",
    "ShowMessageBox": "str str int",
    "GetUserInputs": "str int str str",
    "SetExtState": "str str str bool",
    "GetExtState": "str str",
    "DeleteExtState": "str str bool",
    "GetProjExtState": "proj str str",
    "SetProjExtState": "proj str str str",
    "EnumProjects": "int str?",
    "GetProjectPathEx": "proj str?",
    "RecursiveCreateDirectory": "str int",
    "GetPlayState": "",
    "GetPlayPositionEx": "proj",
    "GetCursorPositionEx": "proj",
    "ExecProcess": "str int",
    "GetOS": "",
    "GetSet_LoopTimeRange2": "proj bool bool num num bool",
    "APIExists": "str",
    "EnumProjectMarkers3": "proj int",
    "GetNumRegionsOrMarkers": "proj",
    "GetRegionOrMarker": "proj int str",
    "GetRegionOrMarkerInfo_Value": "proj marker str",
    "GetSetRegionOrMarkerInfo_String": "proj marker str str bool",
    "CountTracks": "proj",
    "GetTrack": "proj int",
    "CountSelectedTracks": "proj",
    "GetSelectedTrack": "proj int",
    "CountSelectedMediaItems": "proj",
    "GetSelectedMediaItem": "proj int",
    "CountTrackMediaItems": "track",
    "GetTrackMediaItem": "track int",
    "GetMediaItem_Track": "item",
    "GetTrackName": "track",
    "GetSetMediaTrackInfo_String": "track str str bool",
    "GetSetMediaItemTakeInfo_String": "take str str bool",
    "GetSetMediaItemInfo_String": "item str str bool",
    "GetMediaTrackInfo_Value": "track str",
    "SetMediaTrackInfo_Value": "track str num",
    "GetMediaItemInfo_Value": "item str",
    "SetMediaItemInfo_Value": "item str num",
    "GetMediaItemTakeInfo_Value": "take str",
    "SetMediaItemTakeInfo_Value": "take str num",
    "GetActiveTake": "item",
    "TakeIsMIDI": "take",
    "GetMediaItemTake_Source": "take",
    "GetMediaItemTake_Item": "take",
    "GetMediaItemTakeByGUID": "proj str",
    "GetTakeNumStretchMarkers": "take",
    "GetMediaSourceParent": "source",
    "GetMediaSourceType": "source str",
    "GetMediaSourceFileName": "source str",
    "GetMediaSourceLength": "source",
    "GetMediaSourceSampleRate": "source",
    "GetMediaSourceNumChannels": "source",
    "ValidatePtr2": "proj any str",
    "CreateTakeAudioAccessor": "take",
    "DestroyAudioAccessor": "accessor",
    "AudioAccessorStateChanged": "accessor",
    "GetAudioAccessorStartTime": "accessor",
    "GetAudioAccessorSamples": "accessor int int num int array",
    "new_array": "int",
    "Undo_BeginBlock2": "proj",
    "Undo_EndBlock2": "proj str int",
    "PreventUIRefresh": "int",
    "UpdateArrange": "",
    "TrackList_AdjustWindows": "bool",
    "InsertTrackAtIndex": "int bool",
    "AddMediaItemToTrack": "track",
    "AddTakeToMediaItem": "item",
    "SetMediaItemTake_Source": "take source",
    "PCM_Source_Destroy": "source",
    "MarkProjectDirty": "proj",
    "PCM_Source_CreateFromFile": "str",
    "PCM_Source_BuildPeaks": "source int",
    "SplitMediaItem": "item num",
}
"""Function → the types of its arguments as REAPER's API help gives them; `?` marks one that may be left out."""

SINCE_7_62 = {
    "GetNumRegionsOrMarkers",
    "GetRegionOrMarker",
    "GetRegionOrMarkerInfo_Value",
    "GetSetRegionOrMarkerInfo_String",
}
"""Functions that an older REAPER lacks."""
