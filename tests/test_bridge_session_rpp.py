"""REAPER projects: read into the model, written beside the old one, and hostile ones refused."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import rpp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rpp_material import item, project, track

from bridge.sessions.model import Marker, NewClip, NewTrack, Session
from bridge.sessions.reading import read_session
from bridge.sessions.rpp import read_rpp, write_rpp
from bridge.sessions.rpp_text import quoted, read_tree, split_words
from engine.errors import StembridgeError

NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=20).filter(
    lambda name: name.strip() and not all(q in name for q in "\"'`") and name[0] != "|"
)
TIMES = st.integers(0, 48_000 * 3_600).map(lambda n: n / 48_000)


@pytest.fixture
def song(tmp_path: Path) -> Path:
    (tmp_path / "Audio").mkdir()
    for name in ("a.wav", "Audio/b.wav"):
        (tmp_path / name).write_bytes(b"RIFF")
    path = tmp_path / "Song.rpp"
    path.write_text(
        project(
            track("Lead Vox", item("1.5", 2, "a.wav", soffs="0.25"), item(9, 1, "/elsewhere/b.wav")),
            track("Slow", item(0, 2, "a.wav", rate="0.5"), item(0, 2, "a.wav", "SM 0.1 0.2"), mute=1),
            track("Keys", "    <ITEM\n      POSITION 0\n      LENGTH 4\n      <SOURCE MIDI\n      >\n    >\n"),
            markers='  MARKER 1 2 "lead vocals" 1 0\n  MARKER 2 3.5 "a mark" 0 0\n  MARKER 1 4 "" 1\n',
        ),
        encoding="utf-8",
    )
    return path


def test_a_project_is_read_as_it_is(song: Path) -> None:
    read = read_session(song)
    assert (read.format, read.rate_hz, [t.name for t in read.tracks]) == ("rpp", 48_000, ["Lead Vox", "Slow", "Keys"])
    first, second = read.tracks[0].clips
    assert (first.position_s, first.length_s, first.source_start_s, first.gain) == (1.5, 2.0, 0.25, 0.5)
    assert (first.fade_in_s, first.fade_out_s, first.muted, first.obstacle) == (0.01, 0.02, False, "")
    assert first.media[0].path == song.parent / "a.wav"
    assert second.media[0].path == song.parent / "Audio" / "b.wav"
    assert [clip.obstacle for clip in read.tracks[1].clips] == ["stretched", "stretched"]
    assert read.tracks[1].muted
    assert read.tracks[2].clips[0].obstacle == "midi"
    assert read.markers == (Marker("lead vocals", 2.0, 4.0), Marker("a mark", 3.5))
    assert read.tempo.seconds(4) == 2.0


def test_takes_sections_and_reversed_sources(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    section = (
        "<SOURCE SECTION\nLENGTH 4\nSTARTPOS 1.5\n{}<SOURCE SECTION\nSTARTPOS 2\n<SOURCE WAVE\nFILE a.wav\n>\n>\n>\n"
    )
    takes = f"NAME one\nSOFFS 9\n<SOURCE WAVE\nFILE gone.wav\n>\nTAKE SEL\nNAME two\nSOFFS 0.5\n{section.format('')}"
    body = (
        f"<ITEM\nPOSITION 0\nLENGTH 1\n{takes}>\n<ITEM\nPOSITION 0\nLENGTH 1\n{section.format('MODE 2' + chr(10))}>\n"
    )
    path = tmp_path / "takes.rpp"
    path.write_text(f"<REAPER_PROJECT 0.1\n<TRACK\nNAME x\n{body}>\n>\n")
    taken, back = read_rpp(path).tracks[0].clips
    assert (taken.name, taken.source_start_s, taken.obstacle) == ("two", 4.0, "")
    assert taken.media[0].path == tmp_path / "a.wav"
    assert back.obstacle == "reversed"


@pytest.mark.parametrize(
    ("loop", "soffs", "length", "expected"),
    [(0, 0.5, 1, (1.0, "")), (0, 0.5, 9, (1.5, "")), (0, 3, 1, (1.0, "no_media")), (1, 0.5, 9, (9.0, "looped"))],
)
def test_nothing_is_played_behind_a_sections_end(tmp_path: Path, loop: int, soffs: float, length: float, expected):
    (tmp_path / "a.wav").write_bytes(b"")
    # the outer section plays 10 s of the inner one from 1 s on, and that ends after 3 s
    sections = (
        "<SOURCE SECTION\nLENGTH 10\nSTARTPOS 1\n<SOURCE SECTION\nLENGTH 3\nSTARTPOS 2\n<SOURCE WAVE\n"
        "FILE a.wav\n>\n>\n>\n"
    )
    item = f"<ITEM\nPOSITION 0\nLENGTH {length}\nLOOP {loop}\nSOFFS {soffs}\n{sections}>\n"
    path = tmp_path / "sections.rpp"
    path.write_text(f"<REAPER_PROJECT 0.1\n<TRACK\nNAME x\n{item}>\n>\n")
    (clip,) = read_rpp(path).tracks[0].clips
    assert (clip.length_s, clip.obstacle) == expected
    assert clip.repeats == bool(loop)
    assert clip.obstacle == "no_media" or clip.source_start_s == 3 + soffs


def test_a_tempo_envelope_ramps(tmp_path: Path) -> None:
    path = tmp_path / "tempo.rpp"
    path.write_text("<REAPER_PROJECT 0.1\n<TEMPOENVEX\nPT 0 120 1\nPT 10 120 0\nPT 20 60 1\n>\n>\n")
    tempo = read_rpp(path).tempo
    assert [point.beat for point in tempo.points] == [0, 20, 35]
    assert tempo.seconds(20) == pytest.approx(10)
    assert tempo.seconds(36) > tempo.seconds(35) > 10


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "does not begin"),
        ("hello\n", "does not begin"),
        ("<OTHER\n>\n", "does not begin"),
        ("<REAPER_PROJECT 0.1\n<TRACK\n", "ends inside the chunk TRACK"),
        (">\n", "closes a chunk"),
        ("<REAPER_PROJECT 0.1\n" + "<A\n" * 1_000, "nests more than"),
    ],
)
def test_what_is_no_project_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "bad.rpp"
    path.write_text(text)
    with pytest.raises(StembridgeError, match=says) as caught:
        read_rpp(path)
    assert caught.value.code == "bad_session"


@pytest.mark.parametrize(("position", "length"), [("-1", "2"), ("nan", "2"), ("0", "inf"), ("0", "-3"), ("x", "1")])
def test_times_that_are_none_name_the_clip(tmp_path: Path, position: str, length: str) -> None:
    path = tmp_path / "bad.rpp"
    path.write_text(project(track("x", item(position, length, "a.wav"))))
    assert read_rpp(path).tracks[0].clips[0].obstacle == "bad_time"


@pytest.mark.parametrize("reference", ["C:\\Users\\me\\a.wav", "D:/x/a.wav", "..\\media\\a.wav", "gone/a.wav"])
def test_files_of_another_system_are_found_beside_the_session(tmp_path: Path, reference: str) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    path = tmp_path / "moved.rpp"
    path.write_text(project(track("x", item(0, 1, reference))))
    assert read_rpp(path).tracks[0].clips[0].media[0].path == tmp_path / "a.wav"


def write_stems(read: Session, path: Path) -> None:
    added = []
    for track_ in read.tracks:
        clips = tuple(
            NewClip(clip, path.parent / f"{n}.target.wav", clip.length_s, 48_000, 2, round(clip.length_s * 48_000))
            for n, clip in enumerate(track_.clips)
            if not clip.obstacle
        )
        if clips:
            added.append(NewTrack(f"{track_.name} · vocals", track_, clips, muted=True))
    write_rpp(read, tuple(added), path)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(NAMES, st.lists(st.tuples(TIMES, TIMES.map(lambda t: t + 0.01), NAMES), max_size=3)), max_size=4)
)
def test_what_was_written_reads_as_the_same_model(tmp_path: Path, tracks: list) -> None:
    old, new = tmp_path / "old.rpp", tmp_path / "new.rpp"
    text = project(*(track(name, *(item(at, length, file) for at, length, file in items)) for name, items in tracks))
    old.write_bytes(text.replace("\n", "\r\n").encode())
    digest = hashlib.sha256(old.read_bytes()).hexdigest()
    before = read_rpp(old)
    assert [t.name for t in before.tracks] == [name for name, _ in tracks]
    write_stems(before, new)
    after = read_rpp(new)
    assert hashlib.sha256(old.read_bytes()).hexdigest() == digest
    assert after.tracks[: len(tracks)] == before.tracks
    assert (after.markers, after.tempo, after.rate_hz) == (before.markers, before.tempo, before.rate_hz)
    made = [t for t in before.tracks if any(not clip.obstacle for clip in t.clips)]
    for source, stems in zip(made, after.tracks[len(tracks) :], strict=True):
        assert (stems.name, stems.muted) == (f"{source.name} · vocals", True)
        for clip, stem in zip((c for c in source.clips if not c.obstacle), stems.clips, strict=True):
            assert (stem.position_s, stem.length_s) == pytest.approx((clip.position_s, clip.length_s), abs=1e-12)
            assert (stem.gain, stem.fade_in_s, stem.fade_out_s) == (clip.gain, clip.fade_in_s, clip.fade_out_s)
            assert (stem.source_start_s, stem.rate) == (0, 1)
    lines = new.read_bytes().split(b"\n")
    kept = iter(lines)
    assert all(line in kept for line in old.read_bytes().split(b"\n"))  # every old line, in order, byte for byte


def test_an_independent_parser_reads_what_was_written(song: Path) -> None:
    new = song.with_name("new.rpp")
    write_stems(read_rpp(song), new)
    root = rpp.loads(new.read_text(encoding="utf-8"))

    def told(element: rpp.Element, tag: str) -> str:
        return next(line[1] for line in element.children if line[0] == tag)

    tracks = root.findall("TRACK")
    assert [told(each, "NAME") for each in tracks] == ["Lead Vox", "Slow", "Keys", "Lead Vox · vocals"]
    before, stems = (
        [
            [float(told(each, tag)) for tag in ("POSITION", "LENGTH", "SOFFS")] + [each.find("SOURCE").children[0][1]]
            for each in (item for item in of.children if isinstance(item, rpp.Element) and item.tag == "ITEM")
        ]
        for of in (tracks[0], tracks[3])
    )
    assert before == [[1.5, 2.0, 0.25, "a.wav"], [9.0, 1.0, 0.0, "/elsewhere/b.wav"]]
    assert stems == [[1.5, 2.0, 0.0, "0.target.wav"], [9.0, 1.0, 0.0, "1.target.wav"]]
    # and what the other parser writes of it is the same model again
    other = song.with_name("other.rpp")
    other.write_text(rpp.dumps(root), encoding="utf-8")
    again, ours = read_rpp(other), read_rpp(new)
    assert [replace(track_, mark=0, clips=()) for track_ in again.tracks] == [
        replace(track_, mark=0, clips=()) for track_ in ours.tracks
    ]
    for one, two in zip(again.tracks, ours.tracks, strict=True):
        assert [replace(clip, mark=0) for clip in one.clips] == [replace(clip, mark=0) for clip in two.clips]
    assert (again.markers, again.tempo, again.rate_hz) == (ours.markers, ours.tempo, ours.rate_hz)


@given(st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=30))
def test_quoting_is_undone_by_reading(text: str) -> None:
    (word,) = split_words(quoted(text))
    assert word == (text if not all(q in text for q in "\"'`") else text.replace("`", "'"))


@settings(max_examples=300)
@given(st.binary(max_size=400))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    text = (b"<REAPER_PROJECT\n" + data).decode("utf-8", "surrogateescape")
    code = ""
    try:
        lines, _ = read_tree(text, Path("x.rpp"))
    except StembridgeError as e:
        code = e.code
    assert code == "bad_session" or "".join(lines) == text
