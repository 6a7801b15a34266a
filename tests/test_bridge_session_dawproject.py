"""DAWprojects: times, nested clips, warps, hostile archives; written beside the old one."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path

import dawproject_material as material
import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mixtures import make_mixture

from bridge.__main__ import main
from bridge.sessions.archive import extract_member
from bridge.sessions.dawproject import read_dawproject
from bridge.sessions.dawproject_write import write_dawproject
from bridge.sessions.model import Marker, NewClip, NewTrack, Session
from bridge.sessions.reading import read_session
from bridge.sessions.xml_text import ET
from engine.errors import StembridgeError

NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs", "Cn")), min_size=1, max_size=12)
TIMES = st.integers(0, 48_000 * 3_600).map(lambda n: n / 48_000)
CLIPS = st.lists(st.tuples(TIMES, TIMES.map(lambda t: t + 0.01), TIMES), max_size=3)


def warps(*points: tuple[float, float], unit: str = "beats") -> str:
    inside = "".join(f'<Warp time="{time}" contentTime="{content}"/>' for time, content in points)
    return f'<Warps contentTimeUnit="seconds" timeUnit="{unit}">{material.AUDIO}{inside}</Warps>'


def one_clip(tmp_path: Path, clip: str, *, unit: str = "beats", more: str = ""):
    path = material.write(tmp_path / "one.dawproject", material.project([("Vox", [clip])], unit=unit, more=more))
    (found,) = read_dawproject(path).tracks[0].clips
    return found


def test_a_project_is_read_as_it_is(tmp_path: Path) -> None:
    marks = '<Markers timeUnit="beats"><Marker time="4" name="vocals"/><Marker time="8" name="end"/></Markers>'
    text = material.project([("Vox", [material.clip(1.5, 2, play=0.25, fadeInTime=0.1)]), ("Bass", [])], more=marks)
    read = read_session(material.write(tmp_path / "Song.dawproject", text))
    assert [track.name for track in read.tracks] == ["Vox", "Bass", "Master"]
    (clip,) = read.tracks[0].clips
    assert (clip.position_s, clip.length_s, clip.source_start_s, clip.fade_in_s, clip.obstacle) == (
        1.5,
        2,
        0.25,
        0.1,
        "",
    )
    assert (clip.media[0].member, clip.media[0].declared) == ("audio/take.wav", (4.0, 44_100, 2))
    assert (read.rate_hz, read.markers) == (44_100, (Marker("vocals", 2.0, 4.0),))


def test_beats_follow_the_tempo(tmp_path: Path) -> None:
    automation = (
        '<TempoAutomation timeUnit="beats"><Target parameter="tempo"/><RealPoint time="0" value="60"/>'
        '<RealPoint time="4" value="120"/></TempoAutomation>'
    )
    clip = one_clip(tmp_path, material.clip(2, 4, contentTimeUnit="seconds", play=0.5), more=automation)
    assert (clip.position_s, clip.length_s, clip.source_start_s) == (2.0, 3.0, 0.5)


def test_nested_clips_are_laid_out_and_cut(tmp_path: Path) -> None:
    # As Bitwig writes it: a clip of clips, whose inner one holds audio with warps that do not warp (120 bpm).
    inner = material.clip(1, 6, warps((0, 0), (8, 4)), contentTimeUnit="beats")
    clip = one_clip(tmp_path, material.clip(4, 4, f"<Clips>{inner}</Clips>", play=2))
    # content zero lies at beat 2; the inner clip at beat 3, of which the outer shows beats 4 to 8
    assert (clip.position_s, clip.length_s, clip.obstacle) == (2.0, 2.0, "")
    assert clip.source_start_s == pytest.approx(0.5)


def test_an_alias_plays_what_another_clip_holds(tmp_path: Path) -> None:
    audio = material.AUDIO.replace("<Audio", '<Audio id="sound"')
    warped = warps((0, 0), (8, 4)).replace("<Warps", '<Warps id="warped"')
    clips = [
        material.clip(0, 2, audio),
        material.clip(4, 2, warped),
        material.clip(8, 2, "", reference="sound", play=1),
    ]
    clips += [material.clip(12, 2, "", reference=name) for name in ("warped", "gone")]
    text = material.project([("Vox", clips)], unit="beats")
    found = read_dawproject(material.write(tmp_path / "alias.dawproject", text)).tracks[0].clips
    assert [clip.obstacle for clip in found] == ["", "", "", "", "nested"]
    assert [clip.media[0].member for clip in found[:4]] == ["audio/take.wav"] * 4
    assert [(clip.position_s, clip.length_s, clip.source_start_s) for clip in found[2:4]] == [(4, 1, 0.5), (6, 1, 0)]


def test_a_clip_without_a_duration_is_as_long_as_what_it_plays(tmp_path: Path) -> None:
    bare = material.clip(4, "x", contentTimeUnit="seconds", play=0.5, playStop=2.25).replace(' duration="x"', "")
    clip = one_clip(tmp_path, bare)
    assert (clip.position_s, clip.length_s, clip.source_start_s, clip.obstacle) == (2.0, 1.75, 0.5, "")
    assert one_clip(tmp_path, bare.replace(' playStop="2.25"', "")).obstacle == "bad_time"


@pytest.mark.parametrize(
    ("clip", "obstacle"),
    [
        (material.clip(0, 4, warps((0, 0), (8, 5))), "stretched"),
        (material.clip(0, 4, warps((0, 0), (4, 2.01), (8, 4))), "stretched"),
        (material.clip(0, 4, warps((0, 0))), "stretched"),
        (material.clip(0, 4, warps((0, "x"), (8, 4))), "bad_time"),
        (material.clip(0, 4, "<Notes/>"), "midi"),
        (material.clip(0, 4, ""), "no_media"),
        (material.clip(0, 4, "<Video/>"), "nested"),
        (material.clip(0, 8, loopStart=0, loopEnd=4), "looped"),
        (material.clip(-1, 4), "bad_time"),
        (material.clip("nan", 4), "bad_time"),
        (material.clip(0, "inf"), "bad_time"),
    ],
)
def test_what_cannot_be_rendered_is_named(tmp_path: Path, clip: str, obstacle: str) -> None:
    assert one_clip(tmp_path, clip).obstacle == obstacle


@pytest.mark.parametrize(
    "path", ["../take.wav", "/etc/passwd", "audio/../../x.wav", "gone.wav", "C:/x.wav", "audio/", ""]
)
def test_media_outside_the_archive_is_not_reached(tmp_path: Path, path: str) -> None:
    audio = material.AUDIO.replace("audio/take.wav", path)
    members = {"audio/take.wav": b"x", "../take.wav": b"x", "/etc/passwd": b"x", "audio/../../x.wav": b"x"}
    text = material.project([("Vox", [material.clip(0, 4, audio)])])
    (clip,) = read_dawproject(material.write(tmp_path / "evil.dawproject", text, members)).tracks[0].clips
    assert all(media.member is None and media.path is None for media in clip.media)
    assert clip.media or clip.obstacle == "no_media"


def billion_laughs() -> str:
    entities = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9))
    return f'<!DOCTYPE x [<!ENTITY a0 "ha">{entities}]><Project version="1.0">&a9;</Project>'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no XML"),
        ("<Song/>", "begins with"),
        (billion_laughs(), "document type"),
    ],
)
def test_what_is_no_project_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = material.write(tmp_path / "bad.dawproject", text)
    with pytest.raises(StembridgeError, match=says) as caught:
        read_dawproject(path)
    assert caught.value.code == "bad_session"


def test_clips_too_deep_are_refused(tmp_path: Path) -> None:
    inner = material.clip(0, 1)
    for _ in range(40):
        inner = material.clip(0, 1, f"<Clips>{inner}</Clips>")
    with pytest.raises(StembridgeError, match="nests more"):
        one_clip(tmp_path, inner)


def test_a_clip_that_refers_to_itself_ends(tmp_path: Path) -> None:
    loop = '<Clip time="0" duration="1"><Clips id="me"><Clip time="0" duration="1" reference="me"/></Clips></Clip>'
    with pytest.raises(StembridgeError, match="nests more"):
        one_clip(tmp_path, loop)


def test_archives_that_lie_are_refused(tmp_path: Path) -> None:
    (tmp_path / "no.dawproject").write_bytes(b"PK\3\4 no")
    with pytest.raises(StembridgeError, match="no archive"):
        read_dawproject(tmp_path / "no.dawproject")
    with zipfile.ZipFile(tmp_path / "empty.dawproject", "w"):
        pass
    with pytest.raises(StembridgeError, match=r"holds no project\.xml"):
        read_dawproject(tmp_path / "empty.dawproject")
    good = material.write(tmp_path / "bomb.dawproject", material.project([]), {"audio/take.wav": b"\0" * 5_000_000})
    extract_member(good, "audio/take.wav", tmp_path / "out" / "take.wav")
    assert (tmp_path / "out" / "take.wav").stat().st_size == 5_000_000
    data = bytearray(good.read_bytes())
    at = data.index(b"audio/take.wav", data.index(b"PK\1\2")) - 46
    data[at + 24 : at + 28] = (0x7FFFFFFF).to_bytes(4, "little")  # the directory says 2 GiB
    good.write_bytes(data)
    with pytest.raises(StembridgeError, match="not as large as it says"):
        extract_member(good, "audio/take.wav", tmp_path / "out" / "again.wav")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["take.wav"]


def stems_of(read: Session, folder: Path) -> tuple[NewTrack, ...]:
    made = []
    for track in read.tracks:
        clips = [NewClip(c, folder / f"{n}.wav", c.length_s, 44_100, 2, 1) for n, c in enumerate(track.clips)]
        if clips:
            made.append(NewTrack(f"{track.name} · vocals", track, tuple(clips), muted=True))
    return tuple(made)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(NAMES, CLIPS), max_size=3))
def test_what_was_written_reads_as_the_same_model(tmp_path: Path, tracks: list) -> None:
    for n in range(3):
        (tmp_path / f"{n}.wav").write_bytes(b"RIFF")
    text = material.project([(name, [material.clip(at, n, play=off) for at, n, off in own]) for name, own in tracks])
    old, new = material.write(tmp_path / "old.dawproject", text), tmp_path / "new.dawproject"
    digest = hashlib.sha256(old.read_bytes()).hexdigest()
    before = read_dawproject(old)
    assert [[(c.position_s, c.length_s, c.source_start_s) for c in t.clips] for t in before.tracks[:-1]] == [
        [(at, n, off) for at, n, off in own] for _, own in tracks
    ]
    write_dawproject(before, stems_of(before, tmp_path), new)
    after = read_dawproject(new)
    assert hashlib.sha256(old.read_bytes()).hexdigest() == digest

    def plain(session: Session) -> list:
        return [
            (t.name, t.muted, [(c.position_s, c.length_s, c.media, c.obstacle) for c in t.clips])
            for t in session.tracks
        ]

    assert plain(after)[: len(before.tracks)] == plain(before)
    made = [track for track in before.tracks if track.clips]
    for source, stems in zip(made, after.tracks[len(before.tracks) :], strict=True):
        assert (stems.name, stems.muted) == (f"{source.name} · vocals", True)
        for clip, stem in zip(source.clips, stems.clips, strict=True):
            assert (stem.position_s, stem.length_s, stem.source_start_s) == (
                clip.position_s,
                pytest.approx(clip.length_s),
                0,
            )
            assert str(stem.media[0].member).startswith("audio/stembridge/")
    with zipfile.ZipFile(old) as one, zipfile.ZipFile(new) as two:
        assert two.testzip() is None
        assert len(set(two.namelist())) == len(two.namelist())
        for name in one.namelist():
            assert name == "project.xml" or two.read(name) == one.read(name)
        written = two.read("project.xml")
    head, rest = text.split('<Track contentType="tracks"')
    middle, tail = rest.split("</Lanes></Arrangement>")
    at = [
        written.index(part.encode())
        for part in (head, middle.partition("</Structure>")[2], "</Lanes></Arrangement>" + tail)
    ]
    assert at == sorted(at)
    assert at[0] == 0
    require_schema(ET.fromstring(written))


UNITS = {"linear", "normalized", "percent", "decibel", "hertz", "semitones", "seconds", "beats", "bpm"}
TYPES = {
    "int": lambda text: str(int(text)) == text,
    "double": lambda text: np.isfinite(float(text)),
    "bool": lambda text: text in ("true", "false", "1", "0"),
    "time": lambda text: text in ("beats", "seconds"),
    "unit": lambda text: text in UNITS,
    "role": lambda text: text in ("regular", "master", "effect", "submix", "vca"),
    "kinds": lambda text: set(text.split()) <= {"audio", "automation", "notes", "video", "markers", "tracks"},
    "string": lambda text: True,
}
NAMED = {"name": "string", "color": "string", "comment": "string"}
KNOWN = NAMED | {"id": "id"}
LINE = KNOWN | {"timeUnit": "time", "track": "idref"}
REAL = KNOWN | {"unit!": "unit", "value": "string", "min": "string", "max": "string", "parameterID": "int"}
CONTENT = ("Lanes", "Notes", "Clips", "Warps", "Audio", "Video", "Points")
SCHEMA: dict[str, tuple[str, tuple[str, ...], dict[str, str]]] = {
    # element: how its children stand (in this order, any of them, or at most one), and its attributes (! is required)
    "Project": ("order", ("Application", "Transport", "Structure", "Arrangement", "Scenes"), {"version!": "string"}),
    "Application": ("order", (), {"name!": "string", "version!": "string"}),
    "Transport": ("order", ("Tempo", "TimeSignature"), {}),
    "Tempo": ("order", (), REAL),
    "Structure": ("any", ("Track", "Channel"), {}),
    "Track": ("order", ("Channel", "Track"), KNOWN | {"contentType": "kinds", "loaded": "bool"}),
    "Channel": (
        "order",
        ("Devices", "Mute", "Pan", "Sends", "Volume"),
        KNOWN | {"audioChannels": "int", "destination": "idref", "role": "role", "solo": "bool"},
    ),
    "Devices": ("any", (), {}),
    "Mute": ("order", (), KNOWN | {"value": "bool", "parameterID": "int"}),
    "Pan": ("order", (), REAL),
    "Volume": ("order", (), REAL),
    "Arrangement": ("order", ("Lanes", "Markers", "TempoAutomation", "TimeSignatureAutomation"), KNOWN),
    "Lanes": ("any", CONTENT, LINE),
    "Clips": ("any", ("Clip",), LINE),
    "Clip": (
        "one",
        CONTENT,
        NAMED
        | {"time!": "double", "contentTimeUnit": "time", "fadeTimeUnit": "time", "enable": "bool", "reference": "idref"}
        | dict.fromkeys(
            ("duration", "playStart", "playStop", "loopStart", "loopEnd", "fadeInTime", "fadeOutTime"), "double"
        ),
    ),
    "Audio": (
        "order",
        ("File",),
        LINE | {"duration!": "double", "channels!": "int", "sampleRate!": "int", "algorithm": "string"},
    ),
    "File": ("order", (), {"path!": "string", "external": "bool"}),
    "Scenes": ("any", ("Scene",), {}),
}


def require_schema(root: ET.Element) -> None:
    """DAWproject 1.0's schema, for the elements that are written and those of the projects here."""
    elements = list(root.iter())
    ids = [e.get("id") for e in elements if e.get("id")]
    assert len(ids) == len(set(ids))
    for element in elements:
        stand, children, attributes = SCHEMA[element.tag]
        tags = [child.tag for child in element]
        assert set(tags) <= set(children), element.tag
        assert stand != "one" or len(tags) <= 1, element.tag
        assert stand != "order" or tags == sorted(tags, key=children.index), element.tag
        types = {key.removesuffix("!"): kind for key, kind in attributes.items()}
        assert set(element.attrib) <= set(types), element.tag
        assert {key[:-1] for key in attributes if key.endswith("!")} <= set(element.attrib), element.tag
        for key, value in element.attrib.items():
            if types[key] == "idref":
                assert value in ids, (element.tag, key, value)
            elif types[key] != "id":
                assert TYPES[types[key]](value), (element.tag, key, value)


def test_the_command_end_to_end(tmp_path: Path, capsys) -> None:
    samples = make_mixture(44_100 * 2)
    data = io.BytesIO()
    soundfile.write(data, samples, 44_100, format="WAV", subtype="FLOAT")
    text = material.project([("Lead Vox", [material.clip(1.5, 1, play=0.5)]), ("Audio 3", [material.clip(0, 1)])])
    old = material.write(tmp_path / "Song.dawproject", text, {"audio/take.wav": data.getvalue()})
    digest, out = hashlib.sha256(old.read_bytes()).hexdigest(), tmp_path / "out"
    assert main(["session", str(old), "--out", str(out), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    (job,) = report["jobs"]
    target, residual = (soundfile.read(job[stem], dtype="float32")[0] for stem in ("target", "residual"))
    assert np.abs(target.astype(float) + residual - samples[22_050:66_150]).max() <= 1e-6
    assert hashlib.sha256(old.read_bytes()).hexdigest() == digest
    read = read_session(Path(report["new_session"]))
    assert [t.name for t in read.tracks[3:]] == ["Lead Vox · lead vocals", "Lead Vox · no lead vocals"]
    (clip,) = read.tracks[3].clips
    assert (clip.position_s, clip.length_s) == (1.5, 1.0)
    with zipfile.ZipFile(report["new_session"]) as archive:
        assert archive.read(str(clip.media[0].member)) == Path(job["target"]).read_bytes()
