"""Sessions that are damaged, lie, or are larger than any person makes: told or read, and never an accident."""

from __future__ import annotations

import gzip
import json
import random
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import ardour_material
import dawproject_material
import pytest
import rpp_material
import soundfile
from mixtures import make_mixture

from bridge.batch.memory import Earlier
from bridge.batch.plan import Options, plan_batch
from bridge.batch.report import plan_json, rows
from bridge.sessions import archive
from bridge.sessions.model import Clip, NewClip, NewTrack, Session
from bridge.sessions.reading import WRITERS, read_session
from engine.errors import StembridgeError

RATE_HZ = 48_000


def rpp_of(n: int) -> bytes:
    tracks = [rpp_material.track(f"Lead Vox {k}", rpp_material.item(k, 0.5, "a.wav", soffs=0.1)) for k in range(n)]
    return rpp_material.project(*tracks, markers='  MARKER 1 2 "vocals" 1 0\n  MARKER 1 4 "" 1\n').encode()


def dawproject_of(n: int) -> bytes:
    alias = dawproject_material.clip(3, 1, "", reference="lanes0")
    more = '<Markers timeUnit="beats"><Marker time="4" name="vocals"/><Marker time="8" name="end"/></Markers>'
    tracks = [(f"Lead Vox {k}", [dawproject_material.clip(k, 0.5, fadeInTime=0.1)]) for k in range(n)]
    tracks[0][1].append(alias)
    return dawproject_material.project(tracks, more=more).encode()


def ardour_of(n: int) -> bytes:
    place = '<Location name="vocals" start="a0" end="a28224000" flags="IsRangeMarker"/>'
    tracks = [(f"Vox {k}", [(100 * k, 24_000, 2_401)]) for k in range(n)]
    return ardour_material.session(tracks, locations=place).encode()


def als_of(n: int) -> bytes:
    tracks = "".join(
        f'<AudioTrack><Name><EffectiveName Value="Lead Vox {k}"/></Name><DeviceChain><MainSequencer><Sample>'
        '<ArrangerAutomation><Events><AudioClip Time="4"><CurrentStart Value="4"/><CurrentEnd Value="8"/><Loop>'
        '<LoopStart Value="0"/><LoopEnd Value="9"/><StartRelative Value="0"/><LoopOn Value="false"/></Loop>'
        '<Name Value="c"/><SampleRef><FileRef><RelativePath Value="a.wav"/></FileRef></SampleRef>'
        '<IsWarped Value="true"/><WarpMarkers><WarpMarker SecTime="0" BeatTime="0"/></WarpMarkers></AudioClip>'
        "</Events></ArrangerAutomation></Sample></MainSequencer></DeviceChain></AudioTrack>"
        for k in range(n)
    )
    tempo = '<MainTrack><DeviceChain><Mixer><Tempo><Manual Value="120"/></Tempo></Mixer></DeviceChain></MainTrack>'
    return f"<Ableton><LiveSet><Tracks>{tracks}</Tracks>{tempo}</LiveSet></Ableton>".encode()


FORMATS: dict[str, Callable[[int], bytes]] = {
    "song.rpp": rpp_of,
    "song.dawproject": dawproject_of,
    "song.ardour": ardour_of,
    "song.als": als_of,
}


def written(path: Path, data: bytes) -> Path:
    if path.suffix == ".dawproject":
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr("project.xml", data)
            packed.writestr("audio/take.wav", b"RIFF")
    else:
        path.write_bytes(gzip.compress(data, 1) if path.suffix == ".als" else data)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "interchange" / "Song" / "audiofiles"
    place.mkdir(parents=True)
    soundfile.write(tmp_path / "a.wav", make_mixture(2 * RATE_HZ, RATE_HZ), RATE_HZ)
    for name in ("take%L.wav", "take%R.wav"):
        soundfile.write(place / name, make_mixture(2 * RATE_HZ, RATE_HZ, 1), RATE_HZ)
    return tmp_path


def stems_of(read: Session, folder: Path) -> tuple[NewTrack, ...]:
    def stem(clip: Clip) -> NewClip:
        return NewClip(clip, folder / "a.wav", clip.length_s, RATE_HZ, 2, round(clip.length_s * RATE_HZ))

    of_tracks = [(track, tuple(stem(clip) for clip in track.clips if not clip.obstacle)) for track in read.tracks]
    return tuple(NewTrack(f"{track.name} · vocals", track, stems) for track, stems in of_tracks if stems)


SPLINTERS = ("", "-1", "nan", "inf", "1e308", "1e-320", "9" * 20, "9" * 5000, "0", "\0", "\udc80", "é", "<", ">", '"')
SPLINTERS += ("&amp;", "&x;", "/", "..", "true", "b5", "a-5", f"a{'9' * 20}", "0:0", "1:", "@", "²", "٣", "½", "1_0")


def damaged(text: str, chance: random.Random) -> str:
    for _ in range(chance.randint(1, 4)):
        kind = chance.random()
        at = chance.randrange(len(text))
        if kind < 0.6:
            word = chance.choice(list(re.finditer(r'[-\d.]+|"[^"]*"|\w+', text)) or [re.search("", text)])
            splinter = chance.choice(SPLINTERS)
            if word[0].startswith('"') and chance.random() < 0.9:
                splinter = '"' + re.sub('[<"]', "", splinter) + '"'
            text = text[: word.start()] + splinter + text[word.end() :]
        elif kind < 0.8:
            text = text[:at] + text[at + chance.randint(1, 60) :] + " "
        else:
            to = chance.randrange(len(text))
            text = text[:to] + text[at : at + chance.randint(1, 200)] + text[to:]
    return text


@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_session_is_read_planned_and_written_or_refused(folder: Path, name: str) -> None:
    whole, refused = FORMATS[name](2).decode(), []
    for seed in range(150):
        data = damaged(whole, random.Random(seed)).encode("utf-8", "surrogateescape")
        path = written(folder / name, data)
        try:
            read = read_session(path)
            plan = plan_batch(read, Options(), folder / "out", folder / "media")
            json.dumps(plan_json(plan, Earlier()), allow_nan=False).encode()
            assert all(row[0].isprintable() for row in rows(plan))
            stems = stems_of(read, folder)
            if stems and read.format in WRITERS:
                WRITERS[read.format](read, stems, folder / f"new {name}")
                again = read_session(folder / f"new {name}")
                assert len(again.tracks) == len(read.tracks) + len(stems)
        except StembridgeError as e:
            refused.append(e.code)
    assert set(refused) == {"bad_session"}
    assert len(refused) < 150


@pytest.mark.parametrize("name", FORMATS)
def test_ten_thousand_tracks(folder: Path, name: str) -> None:
    path = written(folder / name, FORMATS[name](10_000))
    read = read_session(path)
    assert sum(bool(track.clips) for track in read.tracks) == 10_000
    few = Options(tracks=tuple(track.name for track in read.tracks[9_000:9_010]))
    plan = plan_batch(read, few, folder / "out", folder / "media")
    assert len(plan.jobs) + len(plan.skipped) == 10
    if read.format in WRITERS and read.format != "dawproject":  # that would hold the stems ten thousand times
        WRITERS[read.format](read, stems_of(read, folder), folder / f"new {name}")
        tag = {"rpp": b"<TRACK ", "ardour": b"<Route "}[read.format]
        assert (folder / f"new {name}").read_bytes().count(tag) == 20_000


def test_elements_in_a_hundred_thousand_others_are_no_accident(folder: Path) -> None:
    data = b"<Project>" + b"<a>" * 100_000 + b"</a>" * 100_000 + b"</Project>"
    assert read_session(written(folder / "deep.dawproject", data)).tracks == ()


def test_a_project_that_unpacks_to_too_much_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_XML_BYTES", 1 << 16)
    path = folder / "bomb.dawproject"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("project.xml", b" " * (1 << 20))
    with pytest.raises(StembridgeError, match="larger than"):
        read_session(path)
    monkeypatch.setattr(archive, "MAX_MEMBERS", 3)
    with zipfile.ZipFile(path, "a") as packed:
        for n in range(4):
            packed.writestr(f"{n}.wav", b"")
    with pytest.raises(StembridgeError, match="holds 5 files"):
        read_session(path)


@pytest.mark.parametrize("reference", ["/Volumes/Gone Drive/a b.wav", "E:\\Takes\\a.flac", "\\\\nas\\audio\\b.wav"])
def test_media_on_drives_that_are_not_there_is_listed(folder: Path, reference: str) -> None:
    text = rpp_material.project(rpp_material.track("Vox", rpp_material.item(0, 1, reference)))
    plan = plan_batch(read_session(written(folder / "song.rpp", text.encode())), Options(), folder, folder)
    assert [(skip.code, skip.problem) for skip in plan.skipped] == [("file_not_found", True)]
    assert reference in plan.skipped[0].text
