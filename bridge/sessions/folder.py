"""A plain folder of audio files as a session: a file a track, all from the start; a `.mid` tells tempo and markers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from bridge.sessions.media import bad_session
from bridge.sessions.model import Clip, Marker, Media, Session, TempoMap, TempoPoint, Track
from engine.audio import inspect
from engine.errors import StembridgeError

AUDIO: Final = frozenset((".wav", ".wave", ".bwf", ".aif", ".aiff", ".aifc", ".flac", ".ogg", ".mp3", ".w64", ".rf64"))
MAX_FILES: Final = 20_000
MAX_MIDI_BYTES: Final = 16 << 20
_ENDS: Final = frozenset(("end", "stop"))
_OURS: Final = re.compile(r"\.(target|residual|generated_residual)\.wav$", re.I)


def read_folder(path: Path) -> Session:
    """The audio files of a folder (not of folders in it) by name; stems that Stembridge made are left out.

    Raises `StembridgeError`: `file_not_found`, `file_unreadable`, `bad_session`.
    """
    try:
        files = sorted(p for p in path.iterdir() if not p.name.startswith(".") and p.is_file())
    except FileNotFoundError as e:
        raise StembridgeError("file_not_found", f"There is no folder {path}.", "Check the path.") from e
    except OSError as e:
        raise StembridgeError("file_unreadable", f"{path} cannot be listed: {e.strerror}.", "Check it.") from e
    audio = [p for p in files if p.suffix.lower() in AUDIO and not _OURS.search(p.name)]
    scores = [p for p in files if p.suffix.lower() in (".mid", ".midi")]
    if len(audio) > MAX_FILES:
        raise bad_session(path, f"holds {len(audio)} audio files; at most {MAX_FILES} can be batched")
    if len(scores) > 1:
        names = ", ".join(p.name for p in scores[:5])
        raise bad_session(path, f"holds {len(scores)} MIDI files ({names}); which one tells the tempo is not clear")
    tempo, markers = read_midi(scores[0]) if scores else (TempoMap(), ())
    tracks = tuple(Track(p.stem, (_clip(p),), mark=n) for n, p in enumerate(audio))
    return Session(path, "folder", path.resolve().name, tracks, markers, tempo)


def _clip(path: Path) -> Clip:
    media = Media(path.name, path.absolute())
    try:
        info = inspect((path,))
    except StembridgeError:
        return Clip(path.stem, 0.0, 0.0, (media,))  # the plan opens it again and tells why it cannot be used
    return Clip(path.stem, 0.0, info.samples / info.sample_rate, (media,))


def read_midi(path: Path) -> tuple[TempoMap, tuple[Marker, ...]]:
    """Tempo and markers of a MIDI file. A marker named `end` or `stop` (or `end …`) ends the one before it, which so is
    a region; a marker of the same name as the open one closes it too. Names are read as UTF-8, else as Latin-1.

    Raises `StembridgeError` (`bad_session`, `file_unreadable`).
    """
    import mido

    try:
        if path.stat().st_size > MAX_MIDI_BYTES:
            raise bad_session(path, f"is larger than {MAX_MIDI_BYTES >> 20} MiB")
        score = mido.MidiFile(path, charset="latin-1", clip=True)
    except StembridgeError:
        raise
    except OSError as e:  # also what mido raises for a file that ends too early
        raise bad_session(path, f"cannot be read as MIDI: {e or type(e).__name__}") from e
    except (ValueError, KeyError, IndexError, EOFError, TypeError) as e:
        raise bad_session(path, f"cannot be read as MIDI: {e or type(e).__name__}") from e
    if score.ticks_per_beat <= 0:
        raise bad_session(path, "counts time in frames, not in beats")
    events = _events(score)
    tempi = {0: 120.0} | {tick: mido.tempo2bpm(m.tempo) for tick, m in events if m.type == "set_tempo" and m.tempo > 0}
    points = tuple(TempoPoint(tick / score.ticks_per_beat, bpm) for tick, bpm in sorted(tempi.items()))
    tempo = TempoMap(points)
    marks = [
        (_text(m.text), tempo.seconds(tick / score.ticks_per_beat))
        for tick, m in events
        if m.type in ("marker", "cue_marker")
    ]
    return tempo, regions(marks)


def _events(score: Any) -> list[tuple[int, Any]]:
    found = []
    for track in score.tracks:
        tick = 0
        for message in track:
            tick += message.time
            if message.is_meta:
                found.append((tick, message))
    return sorted(found, key=lambda each: each[0])


def _text(text: str) -> str:
    raw = text.encode("latin-1")
    try:
        return raw.decode("utf-8").strip()
    except UnicodeDecodeError:
        return text.strip()


def regions(marks: list[tuple[str, float]]) -> tuple[Marker, ...]:
    """Points of (name, second) paired where a name is `end`, `stop`, `end …`, or the one before it again."""
    markers: list[Marker] = []
    for name, at_s in marks:
        first = name.casefold().split(" ")[0]
        last = markers[-1] if markers else None
        if last is not None and last.end_s is None and at_s > last.position_s:
            same = name.casefold() == last.name.casefold()
            if same or first in _ENDS:
                markers[-1] = Marker(last.name, last.position_s, at_s)
                continue
        if first not in _ENDS:
            markers.append(Marker(name, at_s))
    return tuple(markers)
