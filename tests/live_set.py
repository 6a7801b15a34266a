"""A set of Ableton Live, as far as Stembridge's script sees one: tracks, slots, clips and what they give to hear.

Every name and type is checked against Live's stubs, and nothing may be changed but in an undo step. What the stubs
leave open is taken so that a careless script fails: Live guesses a tempo and a loop for a clip that is put in.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from live_stubs import check, checked, member

GUESSED_BPM = 87.0
"""What Live takes a new clip's tempo for."""


class Vector:
    """Live's read-only lists: no `index`, no equality."""

    def __init__(self, items: list[Any]) -> None:
        self._items = list(items)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, value: object) -> bool:
        return value in self._items


class Lom:
    """An object of Live's model: `_state` holds its properties, `_do_<name>` are its methods."""

    _stub = ""

    def __init__(self, live_set: LiveSet, **state: Any) -> None:
        self._set = live_set
        self._state = {"alive": True, "listeners": [], "data": {}, **state}
        live_set.objects.append(self)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if not self._state["alive"]:
            raise RuntimeError("the object is no longer there")
        if name in self._set.missing:
            raise AttributeError(f"this version of Live has no {name!r}")
        found = member(self._stub, name)
        if found.parameters is not None:
            return checked(self._stub, name, getattr(type(self), f"_do_{name}").__get__(self))
        if hasattr(type(self), f"_get_{name}"):
            return getattr(type(self), f"_get_{name}")(self)
        assert name in self._state, f"the stand-in has no {self._stub}.{name}"
        value = self._state[name]
        return Vector(value) if isinstance(value, list) else value

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            self.__dict__[name] = value
            return
        assert self._state["alive"], "the object is no longer there"
        kind = member(self._stub, name).takes
        if kind is None:
            raise AttributeError(f"{self._stub}.{name} cannot be set")
        if not check(kind, value):
            raise TypeError(f"{self._stub}.{name} = {value!r}, which is not {kind}")
        self._set.changing(f"{self._stub}.{name}")
        setter = getattr(type(self), f"_set_{name}", None)
        if setter is not None:
            setter(self, value)
        else:
            self._state[name] = value

    def _do_get_data(self, key: str, default: Any) -> Any:
        return self._state["data"].get(key, default)

    def _do_set_data(self, key: str, value: Any) -> None:
        self._state["data"] = {**self._state["data"], key: value}

    def _do_add_name_listener(self, callback: Any) -> None:
        assert callback not in self._state["listeners"]
        self._state["listeners"].append(callback)

    def _do_remove_name_listener(self, callback: Any) -> None:
        self._state["listeners"].remove(callback)

    def _do_name_has_listener(self, callback: Any) -> bool:
        return callback in self._state["listeners"]


class Plain(Lom):
    """An object with properties only."""

    def __init__(self, live_set: LiveSet, stub: str, **state: Any) -> None:
        super().__init__(live_set, **state)
        self._stub = stub


class Clip(Lom):
    """An audio or MIDI clip. `_state["markers"]` are its warp markers as (sample, beat)."""

    _stub = "Clip.Clip"

    @property
    def samples(self) -> tuple[np.ndarray, int]:
        """(sample, channel), rate; read once."""
        if "_audio" not in self.__dict__:
            self._audio = soundfile.read(self._state["file_path"], dtype="float32", always_2d=True)
        return self._audio

    def _get_is_midi_clip(self) -> bool:
        return not self._state["is_audio_clip"]

    def _get_is_session_clip(self) -> bool:
        return not self._state["is_arrangement_clip"]

    def _get_warp_markers(self) -> Vector:
        stub = "Clip.WarpMarker"
        unit = self._state["sample_rate"] if self._set.markers_in_seconds else 1.0
        return Vector([Plain(self._set, stub, sample_time=s / unit, beat_time=b) for s, b in self._markers()])

    def _markers(self) -> list[tuple[float, float]]:
        """With Live's own behind the last, a 32nd of a beat on."""
        markers = self._state["markers"]
        if len(markers) == 2 and _is_own(*markers):
            return markers  # a person sees only the first
        (s0, b0), (s1, b1) = markers[-2:]
        return [*markers, (s1 + (s1 - s0) / (b1 - b0) / 32, b1 + 1 / 32)]

    def _do_remove_warp_marker(self, beat: float) -> None:
        self._set.changing("remove_warp_marker")
        own = self._state["markers"]
        (s0, b0), (s1, b1) = own[-2:]
        kept = [marker for marker in own if marker[1] != beat]
        assert 1 <= len(kept) == len(own) - 1, "a marker that cannot be removed"
        if len(kept) == 1:
            s, b = kept[0]
            kept.append((s + (s1 - s0) / (b1 - b0) / 32, b + 1 / 32))
        self._state["markers"] = kept

    def _do_add_warp_marker(self, marker: Any) -> None:
        self._set.changing("add_warp_marker")
        unit = self._state["sample_rate"] if self._set.markers_in_seconds else 1.0
        new = (marker.sample_time * unit * self._set.warps_otherwise, marker.beat_time)
        own = self._state["markers"]
        if len(own) == 2 and _is_own(*own):
            own = own[:1]
        if not (own[-1][0] < new[0] <= self._state["sample_length"] + 1e-6 and own[-1][1] < new[1]):
            raise RuntimeError("a warp marker cannot lie there")
        self._state["markers"] = [*own, new]

    def _do_beat_to_sample_time(self, beat: float) -> float:
        if not self._state["warping"]:
            raise RuntimeError("the clip is not warped")
        return self.sample_at(beat)

    def sample_at(self, beat: float) -> float:
        """By the warp markers; beyond the outer ones their segments go on."""
        markers = self._state["markers"]
        n = max(1, min(sum(b <= beat for _, b in markers), len(markers) - 1))
        (s0, b0), (s1, b1) = markers[n - 1 : n + 1]
        return s0 + (beat - b0) * (s1 - s0) / (b1 - b0)

    def _set_warping(self, value: bool) -> None:
        """What plays stays the same stretch of the file; its length on the timeline follows."""
        if self._state["warping"] and not value:
            rate_hz = self._state["sample_rate"]
            for key in ("start_marker", "end_marker", "loop_start", "loop_end"):
                self._state[key] = self.sample_at(self._state[key]) / rate_hz
        self._state["warping"] = value
        self._settle()

    def _set_looping(self, value: bool) -> None:
        assert self._state["warping"] or not value, "only warped clips loop"
        self._state["looping"] = value

    def _set_start_marker(self, value: float) -> None:
        self._state["start_marker"] = value
        self._settle()

    def _set_end_marker(self, value: float) -> None:
        self._state["end_marker"] = value
        self._settle()

    def _settle(self) -> None:
        """The length on the timeline follows the markers."""
        if self._state["is_arrangement_clip"]:
            length = self._state["end_marker"] - self._state["start_marker"]
            beats = 1.0 if self._state["warping"] else self._set.song._state["tempo"] / 60
            self._state["end_time"] = self._state["start_time"] + length * beats

    def heard(self, times_s: np.ndarray) -> np.ndarray:
        """What an arrangement clip gives at times of the timeline, between samples on the line that joins them."""
        state, beats_per_s = self._state, self._set.song._state["tempo"] / 60
        beats = times_s * beats_per_s
        inside = (beats > state["start_time"] - 1e-9) & (beats < state["end_time"] - 1e-9)
        content = state["start_marker"] + beats - state["start_time"]
        if state["looping"]:
            length = state["loop_end"] - state["loop_start"]
            content = np.where(
                content >= state["loop_end"] - 1e-12,
                state["loop_start"] + (content - state["loop_start"]) % length,
                content,
            )
        samples, rate_hz = self.samples
        if state["warping"]:
            at = np.array([self.sample_at(beat) for beat in content])
        else:
            at = (state["start_marker"] + (beats - state["start_time"]) / beats_per_s) * rate_hz
        at = np.round(at, 5)  # what is a sample but for rounding is that sample
        inside &= (at > -1e-4) & (at < len(samples))
        before = np.clip(np.floor(at).astype(int), 0, len(samples) - 1)
        after = np.minimum(before + 1, len(samples) - 1)
        part = (at - np.floor(at))[:, None].astype(np.float32)
        found = samples[before] * (1 - part) + samples[after] * part
        return np.where(inside[:, None], found, np.float32(0))


def _is_own(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether a marker is Live's own, a 32nd of a beat behind the only one a person sees."""
    return abs(other[1] - one[1] - 1 / 32) < 1e-9


class WarpMode(int):
    """Live's ways of stretching."""

    _stub = "Clip.WarpMode"
    beats: WarpMode
    complex: WarpMode


for _number, _name in enumerate(("beats", "tones", "texture", "repitch", "complex", "rex", "complex_pro")):
    setattr(WarpMode, _name, WarpMode(_number))


class Slot(Lom):
    _stub = "ClipSlot.ClipSlot"

    def _get_has_clip(self) -> bool:
        return self._state["clip"] is not None

    def _do_create_audio_clip(self, path: str) -> Clip:
        if self._state["clip"] is not None:
            raise RuntimeError("the slot is not empty")
        self._set.changing("create_audio_clip")
        clip = self._set.make_clip(path, canonical_parent=self, is_arrangement_clip=False)
        self._state["clip"] = clip
        return clip

    def _do_delete_clip(self) -> None:
        self._set.changing("delete_clip")
        self._state["clip"]._state["alive"] = False
        self._state["clip"] = None


class Track(Lom):
    _stub = "Track.Track"

    def _get_group_track(self) -> Any:
        if self._state["group"] is None:
            raise RuntimeError("the track is not in a group")
        return self._state["group"]

    def _get_is_grouped(self) -> bool:
        return self._state["group"] is not None

    def _do_create_audio_clip(self, path: str, position: float) -> Clip:
        if self._state["is_frozen"] or not self._state["has_audio_input"]:
            raise RuntimeError("clips cannot be put on this track")
        if not 0 <= position <= 1_576_800:
            raise RuntimeError(f"{position} is no place in the arrangement")
        if not Path(path).is_absolute():
            raise RuntimeError("the path is not absolute")
        self._set.changing("create_audio_clip")
        clip = self._set.make_clip(path, canonical_parent=self, is_arrangement_clip=True)
        clip._state["start_time"] = position
        clip._state["end_time"] = position + clip._state["end_marker"]
        self._state["arrangement_clips"].append(clip)
        return clip

    def _do_delete_clip(self, clip: Clip) -> None:
        self._set.changing("delete_clip")
        self._state["arrangement_clips"].remove(clip)
        clip._state["alive"] = False


class Song(Lom):
    _stub = "Song.Song"

    def _do_begin_undo_step(self) -> None:
        assert not self._set.in_step
        self._set.in_step, self._set.n_changes = True, 0
        self._set.before = self._set.snapshot()

    def _do_end_undo_step(self) -> None:
        assert self._set.in_step
        self._set.in_step = False
        if self._set.n_changes:
            self._set.undo_steps.append(self._set.before)

    def _do_create_audio_track(self, index: int | None = None) -> Track:
        assert index is not None
        self._set.changing("create_audio_track")
        if len(self._state["tracks"]) >= self._set.max_tracks:
            raise self._set.LimitationError("this edition of Live has no more tracks")
        assert -1 <= index < len(self._state["tracks"])
        track = self._set.make_track(f"{len(self._state['tracks']) + 1}-Audio")
        tracks = self._state["tracks"]
        tracks.insert(len(tracks) if index == -1 else index, track)
        at = tracks.index(track)
        # A track that is put between two of a group is in it.
        if 0 < at < len(tracks) - 1 and tracks[at + 1]._state["group"] is not None:
            above = tracks[at - 1]
            if tracks[at + 1]._state["group"] in (above, above._state["group"]):
                track._state["group"] = tracks[at + 1]._state["group"]
        return track

    def _do_delete_track(self, index: int) -> None:
        self._set.changing("delete_track")
        track = self._state["tracks"].pop(index)
        for gone in (track, *track._state["clip_slots"], *track._state["arrangement_clips"]):
            gone._state["alive"] = False


class LiveSet:
    """One open set, and what a person does in it (straight in `_state`: no script is asked)."""

    class LimitationError(Exception):
        """Live's own: an edition with fewer tracks."""

    def __init__(self, path: Path | None, tempo: float = 120.0) -> None:
        self.objects: list[Lom] = []
        self.missing: set[str] = set()
        """Names that this version of Live does not have yet."""
        self.markers_in_seconds, self.warps_otherwise = False, 1.0
        self.in_step, self.n_changes, self.max_tracks = False, 0, 1000
        self.undo_steps: list[Any] = []
        self.before: Any = None
        tempo_parameter = Plain(self, "DeviceParameter.DeviceParameter", automation_state=0)
        mixer = Plain(self, "MixerDevice.MixerDevice", song_tempo=tempo_parameter)
        self.tempo_parameter = tempo_parameter
        self.view = Plain(self, "Song.Song.View", detail_clip=None, highlighted_clip_slot=None)
        self.song = Song(
            self,
            tempo=tempo,
            tracks=[],
            loop=False,
            loop_start=0.0,
            loop_length=16.0,
            record_mode=False,
            current_song_time=0.0,
            is_playing=False,
            session_record_status=0,
            file_path="" if path is None else str(path),
            name="" if path is None else path.stem,
            master_track=Plain(self, "Track.Track", mixer_device=mixer),
            view=self.view,
        )
        self.app_view = Plain(self, "Application.Application.View", focused_document_view="Arranger")
        self.application = Plain(self, "Application.Application", view=self.app_view)

    @property
    def tracks(self) -> list[Track]:
        return self.song._state["tracks"]

    def changing(self, what: str) -> None:
        assert self.in_step, f"{what} outside an undo step"
        self.n_changes += 1

    def make_track(self, name: str, **state: Any) -> Track:
        values = {"name": name, "color": 0xFFAA00, "mute": False, "group": None, "is_frozen": False, "arm": False}
        values |= {"has_audio_input": True, "is_part_of_selection": False, "arrangement_clips": []}
        track = Track(self, canonical_parent=self.song, **values | state)
        track._state["clip_slots"] = [Slot(self, clip=None, canonical_parent=track) for _ in range(8)]
        return track

    def add_track(self, name: str, **state: Any) -> Track:
        self.tracks.append(self.make_track(name, **state))
        return self.tracks[-1]

    def make_clip(self, path: str, **state: Any) -> Clip:
        """As Live puts a file in: warped at a tempo it has guessed, and looped."""
        info = soundfile.info(path)
        beats = info.duration * GUESSED_BPM / 60
        values = {"file_path": path, "sample_rate": float(info.samplerate), "sample_length": info.frames}
        values |= {"is_audio_clip": True, "muted": False, "is_recording": False, "name": Path(path).stem, "color": 1}
        values |= {"gain": 0.4, "pitch_coarse": 0, "pitch_fine": 0.0, "has_groove": False, "warping": True}
        values |= {"looping": True, "start_marker": 0.0, "end_marker": beats, "loop_start": 0.0, "loop_end": beats}
        guessed = [(0.0, 0.0), (info.frames / 2, beats / 2)]
        values |= {"start_time": 0.0, "end_time": 0.0, "markers": guessed, "warp_mode": WarpMode.beats}
        return Clip(self, **values | state)

    def add_clip(
        self, track: Track, path: Path, start_s: float, length_s: float, offset_s: float, **state: Any
    ) -> Clip:
        """An un-warped clip at a time of the timeline, from `offset_s` of its file."""
        beats_per_s = self.song._state["tempo"] / 60
        clip = self.make_clip(str(path), canonical_parent=track, is_arrangement_clip=True)
        clip._state |= {"warping": False, "looping": False, "start_marker": offset_s, "end_marker": offset_s + length_s}
        clip._state |= {"start_time": start_s * beats_per_s, "end_time": (start_s + length_s) * beats_per_s}
        clip._state |= {"gain": 0.5, "color": 0x336699, **state}
        track._state["arrangement_clips"].append(clip)
        return clip

    def rename(self, track: Track, name: str) -> None:
        """As a person does; what listens is told at once, as Live does."""
        track._state["name"] = name
        for callback in list(track._state["listeners"]):
            callback()

    def snapshot(self) -> list[tuple[Lom, dict[str, Any]]]:
        """All there is, but for what no person sees (listeners, the script's own notes)."""
        hidden = ("data", "listeners")
        return [
            (o, {k: list(v) if isinstance(v, list) else v for k, v in o._state.items() if k not in hidden})
            for o in self.objects
            if not o._stub.endswith("WarpMarker") and o._state["alive"]
        ]

    def undo(self) -> None:
        """Takes the last undo step back."""
        before = self.undo_steps.pop()
        kept = {id(o) for o, _ in before}
        for o in self.objects:
            o._state["alive"] = id(o) in kept
        for o, state in before:
            o._state.update({k: list(v) if isinstance(v, list) else v for k, v in state.items()})
