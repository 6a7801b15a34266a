"""What is selected in Audacity 3, its samples as files, and stems on new tracks: everything said through the pipe.

`GetInfo` tells times to six digits, a millisecond beyond a minute and a half. So times, names and samples are
read with one line of Nyquist, Audacity's own Lisp, which knows them to the microsecond, and writes what each track
holds to a float WAV: unmixed, at the track's rate, before its gain, pan and effects, and without dither.
"""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

import soundfile

from bridge.audacity.pipe import Pipe, argument
from engine.errors import StembridgeError

Gesture = Literal["extract", "by-example", "items", "remove"]
CAPTURE_S: Final = 600.0
"""How long Audacity may take to write a track's samples."""
TICK_S: Final = 1e-6
"""What Nyquist is told of a time: six decimals."""
NOTHING: Final = "Nothing is selected. Select a time range on a track, and try again."
NO_AUDIO: Final = (
    "There is no audio region in the selected range on the selected tracks. Select the track as well as the range."
)
HOLDS_MIDI: Final = "The selected track holds MIDI, not audio."
NO_EXAMPLE: Final = (
    "Select a time range in which the sound is heard: it is the example, and the whole region is searched for it."
)
NO_TRACKS: Final[Mapping[int, int]] = MappingProxyType({})
_STATUS: Final = re.compile(r'"focused":\s*(\d),\s*"selected":\s*(\d),\s*"kind":\s*"(\w+)"')
_NUMBER: Final = r"-?\d+(?:\.\d+)?"
_READ: Final = (
    '(progn (setf *float-format* "%.9f") (let ((f (open (format nil "{folder}/~a" (get \'*track* \'index)) '
    ":direction :output))) (print (list (get '*selection* 'start) (get '*selection* 'end) (get '*track* 'rate) "
    "(get '*track* 'gain) (get '*track* 'pan) (get '*track* 'channels) (get '*track* 'clips) (get '*track* 'name)) f) "
    '(close f) ""))'
)
_CAPTURE: Final = (
    '(progn (setf s *track* *track* nil) (s-save s ny:all "{path}" :format snd-head-wave :mode snd-mode-float '
    ':bits 32 :play nil) "")'
)


@dataclass(frozen=True)
class Track:
    """A selected audio track. `clips` are (first sample, end) at the track's rate, from the start of the project."""

    index: int
    """Its place among all tracks, from 0 at the top."""
    name: str
    rate_hz: int
    n_channels: int
    gain: float
    pan: float
    clips: tuple[tuple[int, int], ...]

    @property
    def shown(self) -> str:
        """Its name, or what a person would call it."""
        return self.name.strip() or f"Track {self.index + 1}"


@dataclass(frozen=True)
class Selection:
    """The selected range in seconds, empty where start and end are one, and the selected audio tracks."""

    start_s: float
    end_s: float
    tracks: tuple[Track, ...]


@dataclass(frozen=True)
class Piece:
    """One request's part of a track, in samples at its rate: `region` comes back, `heard` is read for it."""

    track: Track
    clip: tuple[int, int]
    region: tuple[int, int]
    heard: tuple[int, int]
    span: tuple[int, int] | None


@dataclass(frozen=True)
class Stem:
    """A file to bring in, and how its track is to be."""

    path: Path
    name: str
    position: int
    muted: bool
    of: Track


def read_selection(pipe: Pipe) -> Selection:
    """What is selected. The selection is as before afterwards, and nothing in the project is changed.

    Raises `StembridgeError`: `nothing_to_do` where the project has no audio track, or only MIDI is selected; those of
    `Pipe`.
    """
    tracks = _tracks(pipe)
    chosen = [n for n, (selected, kind) in enumerate(tracks) if selected and kind == "wave"]
    if not chosen and (True, "note") in tracks:
        raise StembridgeError("nothing_to_do", HOLDS_MIDI)
    if not chosen:
        # The time is selected all the same, and told only together with a track.
        others = [n for n, (_, kind) in enumerate(tracks) if kind == "wave"]
        if not others:
            raise StembridgeError("nothing_to_do", NOTHING)
        pipe.ask(f"SelectTracks: Track={others[0]} TrackCount=1 Mode=Set")
        try:
            return replace(_read(pipe, others[:1]), tracks=())
        finally:
            pipe.ask(f"SelectTracks: Track={others[0]} TrackCount=1 Mode=Remove")
    return _read(pipe, chosen)


def _read(pipe: Pipe, chosen: list[int]) -> Selection:
    """The selection, with these tracks selected."""
    # Nyquist over an empty range is a dialog that blocks the pipe; this makes the range longer by exactly a second.
    pipe.ask("SelectTime: Start=0 End=1 RelativeTo=Selection")
    try:
        told = _nyquist_told(pipe)
    finally:
        pipe.ask("SelectTime: Start=0 End=-1 RelativeTo=Selection")
    if len(told) != len(chosen):
        raise StembridgeError(
            "daw_refused", f"Audacity told of {len(told)} tracks, not of {len(chosen)}.", "Try again."
        )
    read = [_track(index, text) for index, text in zip(chosen, told, strict=True)]
    start_s, end_s, _ = read[0]
    return Selection(start_s, end_s - 1.0, tuple(track for _, _, track in read))


def pieces(selection: Selection, gesture: Gesture, context_s: float) -> list[Piece]:
    """The parts of the tracks that a gesture asks for, in their order. Raises `StembridgeError` (`nothing_to_do`)."""
    if selection.end_s - selection.start_s < TICK_S:
        raise StembridgeError("nothing_to_do", NO_EXAMPLE if gesture == "by-example" else NOTHING)
    found = []
    for track in selection.tracks:
        start, end = (_samples(time_s, track.rate_hz) for time_s in (selection.start_s, selection.end_s))
        for clip in track.clips:
            within = max(start, clip[0]), min(end, clip[1])
            if within[0] >= within[1]:
                continue
            region = within if gesture in ("extract", "remove") else clip
            context = math.ceil(context_s * track.rate_hz)
            heard = max(clip[0], region[0] - context), min(clip[1], region[1] + context)
            found.append(Piece(track, clip, region, heard, None if gesture == "items" else within))
    if not found:
        raise StembridgeError("nothing_to_do", NO_AUDIO)
    return found


def refuse_envelopes(pipe: Pipe, asked: list[Piece]) -> None:
    """Raises `StembridgeError` (`bad_source`) where a volume envelope makes a clip sound unlike its samples."""
    for entry in json.loads(pipe.ask("GetInfo: Type=Envelopes Format=JSON") or "[]"):
        track = next((piece.track for piece in asked if piece.track.index == entry["track"]), None)
        if track is not None and any(abs(point["y"] - 1) > TICK_S for point in entry["points"]):
            raise StembridgeError(
                "bad_source",
                f"“{track.shown}” has a volume envelope, so its samples are not what is heard.",
                "Select it, choose Tracks > Mix > Mix and Render, and try again.",
            )


def capture(pipe: Pipe, piece: Piece, path: Path) -> Path:
    """Writes the samples that are heard of a piece to `path`. The selection changes.

    Raises `StembridgeError` (`daw_refused`) when Audacity does not write them all.
    """
    rate_hz = piece.track.rate_hz
    pipe.ask(f"SelectTracks: Track={piece.track.index} TrackCount=1 Mode=Set")
    select_time(pipe, piece.heard[0] / rate_hz, piece.heard[1] / rate_hz)
    _nyquist(pipe, _CAPTURE.format(path=_lisp(path)), CAPTURE_S)
    wanted = piece.heard[1] - piece.heard[0], piece.track.n_channels, rate_hz
    try:
        info = soundfile.info(path)
    except soundfile.SoundFileError as e:
        raise StembridgeError("daw_refused", f"Audacity did not write {path}.", "Is there space on the disk?") from e
    if (info.frames, info.channels, info.samplerate) != wanted:
        raise StembridgeError(
            "daw_refused",
            f"Audacity wrote {info.frames} samples of “{piece.track.shown}” and not {wanted[0]}.",
            "Try again, and let its progress window end.",
        )
    return path


def bring_in(pipe: Pipe, stem: Stem, above: int, n_tracks: int) -> None:
    """Puts a stem on a new track with its first sample at its position; `above` of the `n_tracks` then lie above it."""
    pipe.ask(f"Import2: Filename={argument(str(stem.path))}")
    if len(_tracks(pipe)) != n_tracks + 1:
        raise StembridgeError("daw_refused", f"Audacity did not import {stem.path}.", "File > Import > Audio does it.")
    pipe.ask(f"SetTrackStatus: Name={argument(stem.name)} Focused=1")
    gain_db = 20 * math.log10(max(stem.of.gain, 1e-6))
    pipe.ask(f"SetTrackAudio: Mute={int(stem.muted)} Gain={gain_db:.4f} Pan={stem.of.pan * 100:.2f}")
    pipe.ask(f"SetClip: Start={stem.position / stem.of.rate_hz:.12f}")
    for _ in range(n_tracks - above):
        pipe.ask("TrackMoveUp:")


def set_aside(pipe: Pipe, piece: Piece, above: int, n_tracks: int) -> None:
    """Takes the region out of its track and puts it, muted, on a track of its own at the same place."""
    rate_hz = piece.track.rate_hz
    pipe.ask(f"SelectTracks: Track={piece.track.index} TrackCount=1 Mode=Set")
    select_time(pipe, piece.region[0] / rate_hz, piece.region[1] / rate_hz)
    pipe.ask("SplitNew:")
    pipe.ask(f"SelectTracks: Track={n_tracks} TrackCount=1 Mode=Set")
    pipe.ask(f"SetTrackStatus: Name={argument(f'{piece.track.shown} · original')} Focused=1")
    pipe.ask("SetTrackAudio: Mute=1")
    for _ in range(n_tracks - above):
        pipe.ask("TrackMoveUp:")


def unchanged(pipe: Pipe, asked: list[Piece], known: tuple[Track, ...]) -> list[bool]:
    """Of each piece, whether its clip still lies on the track where it was read. `known` tracks are not read again."""
    tracks = {track.index: track for track in known}
    missing = sorted({piece.track.index for piece in asked} - set(tracks))
    if missing:
        for n, index in enumerate(missing):
            pipe.ask(f"SelectTracks: Track={index} TrackCount=1 Mode={'Add' if n else 'Set'}")
        try:
            tracks |= {track.index: track for track in read_selection(pipe).tracks}
        except StembridgeError as e:
            if e.code != "nothing_to_do":  # there are fewer tracks now, or of another kind
                raise
    there = [tracks.get(piece.track.index) for piece in asked]
    return [
        track is not None and track.name == piece.track.name and piece.clip in track.clips
        for track, piece in zip(there, asked, strict=True)
    ]


def count_tracks(pipe: Pipe) -> int:
    """How many tracks the project has, of every kind."""
    return len(_tracks(pipe))


def select(pipe: Pipe, selection: Selection, n_new: Mapping[int, int] = NO_TRACKS) -> None:
    """Selects again what was selected; `n_new` tracks were made under the track of that place since."""
    select_time(pipe, selection.start_s, selection.end_s)
    for n, track in enumerate(selection.tracks):
        index = track.index + sum(count for under, count in n_new.items() if under < track.index)
        pipe.ask(f"SelectTracks: Track={index} TrackCount=1 Mode={'Add' if n else 'Set'}")


def select_time(pipe: Pipe, start_s: float, end_s: float) -> None:
    """Selects a range of time from the project's start."""
    pipe.ask(f"SelectTime: Start={start_s:.12f} End={end_s:.12f} RelativeTo=ProjectStart")


def show(pipe: Pipe, text: str, *, answer_s: float = CAPTURE_S) -> None:
    """Shows a message in Audacity and waits until it is closed. Without any audio track nothing is shown.

    Raises as `Pipe.ask` does.
    """
    tracks = [(n, selected) for n, (selected, kind) in enumerate(_tracks(pipe)) if kind == "wave"]
    chosen = [n for n, selected in tracks if selected]
    if not tracks:
        return
    spoken = (chosen or [n for n, _ in tracks])[0]  # the message comes once for each selected track
    pipe.ask(f"SelectTracks: Track={spoken} TrackCount=1 Mode=Set")
    pipe.ask("SelectTime: Start=0 End=1 RelativeTo=Selection")
    try:
        _nyquist(pipe, f'(strcat "{_lisp(text[:400])}")', answer_s)
    finally:
        pipe.ask("SelectTime: Start=0 End=-1 RelativeTo=Selection")
    for n in chosen[1:]:
        pipe.ask(f"SelectTracks: Track={n} TrackCount=1 Mode=Add")
    if not chosen:
        pipe.ask(f"SelectTracks: Track={spoken} TrackCount=1 Mode=Remove")


def _tracks(pipe: Pipe) -> list[tuple[bool, str]]:
    """(selected, kind) of every track. Names are not looked at: Audacity writes a backslash in them unescaped."""
    told = pipe.ask("GetInfo: Type=Tracks Format=JSON")
    return [(selected == "1", kind) for _, selected, kind in _STATUS.findall(told)]


def _nyquist(pipe: Pipe, code: str, answer_s: float) -> None:
    pipe.ask(f"NyquistPrompt: Command={argument(code)} Version=4", answer_s=answer_s)


def _nyquist_told(pipe: Pipe) -> list[str]:
    """What Nyquist writes of each selected audio track, from the top."""
    with tempfile.TemporaryDirectory(prefix="stembridge-") as folder:
        _nyquist(pipe, _READ.format(folder=_lisp(Path(folder))), CAPTURE_S)
        files = sorted(Path(folder).iterdir(), key=lambda path: int(path.name))
        return [path.read_text(encoding="ascii") for path in files]


def _track(index: int, told: str) -> tuple[float, float, Track]:
    """`(start end rate gain pan channels clips "name")` → the selection's start and end, and the track."""
    head, _, rest = told.strip().partition('"')
    numbers = [float(text) for text in re.findall(_NUMBER, head.split("(", 2)[1])]
    start_s, end_s, rate_hz, gain, pan, n_channels = numbers[:6]
    pairs = re.findall(rf"\(({_NUMBER}) ({_NUMBER})\)", head)
    clips = [(_samples(float(a), rate_hz), _samples(float(b), rate_hz)) for a, b in pairs]
    # Of a stereo track both channels are told. Clips may lie before the project's start: that part is left out.
    one = [(max(a, 0), b) for a, b in clips[: len(clips) // int(n_channels)] if b > 0]
    name = _decoded(rest.rpartition('"')[0])
    return start_s, end_s, Track(index, name, round(rate_hz), int(n_channels), gain, pan, tuple(one))


def _samples(time_s: float, rate_hz: float) -> int:
    """The sample nearest to a time: Audacity's own rule."""
    return math.floor(time_s * rate_hz + 0.5)


def _decoded(lisp: str) -> str:
    """A string as Nyquist prints it (UTF-8 bytes beyond ASCII as `\\ooo`) → text."""
    octal = re.compile(rb"\\([0-7]{3}|\\|\")")
    plain = octal.sub(lambda m: bytes([int(m[1], 8)]) if len(m[1]) == 3 else m[1], lisp.encode())
    return plain.decode("utf-8", "replace")


def _lisp(text: str | Path) -> str:
    """A text inside the quotes of a Lisp string; of a path, with the slashes that Nyquist takes everywhere."""
    plain = text.as_posix() if isinstance(text, Path) else text
    return plain.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
