"""A folder as a session, with a MIDI file that tells tempo and regions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mido
import pytest

from bridge.sessions.folder import read_midi
from bridge.sessions.model import Marker
from bridge.sessions.reading import read_session
from engine.errors import StembridgeError


def write_midi(path: Path, *events: tuple[int, mido.MetaMessage]) -> None:
    score = mido.MidiFile(ticks_per_beat=480, charset="utf-8")
    track = mido.MidiTrack()
    at = 0
    for tick, message in sorted(events, key=lambda each: each[0]):
        track.append(message.copy(time=tick - at))
        at = tick
    score.tracks.append(track)
    score.save(path)


def tempo(bpm: float) -> mido.MetaMessage:
    return mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(bpm))


def mark(text: str, kind: str = "marker") -> mido.MetaMessage:
    return mido.MetaMessage(kind, text=text)


def test_each_file_is_a_track_by_name(mixture_file: Callable[..., Path], tmp_path: Path) -> None:
    for name in ("in/Lead Vox.wav", "in/Bass.wav", "in/Bass.vocals.target.wav", "in/.hidden.wav"):
        mixture_file(0.1, name=name)
    (tmp_path / "in" / "notes.txt").touch()
    (tmp_path / "in" / "broken.wav").write_bytes(b"RIFFxxxx")
    write_midi(tmp_path / "in" / "song.mid", (0, tempo(60)), (960, tempo(120)), (1920, mark("Gitarre · Süß")))
    read = read_session(tmp_path / "in")
    assert [track.name for track in read.tracks] == ["Bass", "Lead Vox", "broken"]
    assert [clip.length_s for track in read.tracks for clip in track.clips] == [0.1, 0.1, 0.0]
    assert read.markers == (Marker("Gitarre · Süß", 3.0),)
    assert [read.tempo.seconds(beat) for beat in (0, 1, 2, 3, 4)] == [0, 1, 2, 2.5, 3]


def test_marker_pairs_are_regions(tmp_path: Path) -> None:
    path = tmp_path / "marks.mid"
    write_midi(
        path,
        (0, mark("vocals")),
        (480, mark("end")),
        (960, mark("no vocals", "cue_marker")),
        (1440, mark("no vocals")),
        (1920, mark("verse")),
        (2400, mark("chorus")),
        (2880, mark("stop chorus")),
    )
    _, markers = read_midi(path)
    assert markers == (
        Marker("vocals", 0.0, 0.5),
        Marker("no vocals", 1.0, 1.5),
        Marker("verse", 2.0),
        Marker("chorus", 2.5, 3.0),
    )


def test_a_latin_name_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "old.mid"
    score = mido.MidiFile(charset="latin-1")
    score.tracks.append(mido.MidiTrack([mark("Flöte")]))
    score.save(path)
    assert read_midi(path)[1] == (Marker("Flöte", 0.0),)


@pytest.mark.parametrize("data", [b"", b"MThd", b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk\0\0\0\4\0\xff", b"RIFF1234"])
def test_what_is_no_midi_is_said(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "bad.mid"
    path.write_bytes(data)
    with pytest.raises(StembridgeError) as caught:
        read_midi(path)
    assert caught.value.code == "bad_session"


def test_two_midi_files_are_one_too_many(tmp_path: Path) -> None:
    for name in ("a.mid", "b.mid"):
        write_midi(tmp_path / name)
    with pytest.raises(StembridgeError, match="2 MIDI files"):
        read_session(tmp_path)


@pytest.mark.parametrize(("name", "code"), [("gone", "file_not_found"), ("gone.rpp", "file_not_found")])
def test_what_is_not_there_is_said(tmp_path: Path, name: str, code: str) -> None:
    with pytest.raises(StembridgeError) as caught:
        read_session(tmp_path / name)
    assert caught.value.code == code


def test_another_kind_of_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "song.ptx").touch()
    with pytest.raises(StembridgeError, match="no session that can be read") as caught:
        read_session(tmp_path / "song.ptx")
    assert caught.value.code == "bad_value"
