"""Ardour's sessions: read, written beside the old one, and the written one opened by the real Ardour."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import ardour_material as material
import ardour_session as song
import numpy as np
import pytest
import soundfile
from ardour_host import Host, open_ardour
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mixtures import make_mixture

from bridge.__main__ import main
from bridge.sessions.ardour import read_ardour
from bridge.sessions.ardour_write import write_ardour
from bridge.sessions.model import Marker, NewClip, NewTrack, Session
from bridge.sessions.reading import read_session
from bridge.sessions.xml_text import ET, insert, read_xml
from engine.errors import StembridgeError

NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs", "Cn")), min_size=1, max_size=12)
COUNTS = st.integers(0, 48_000 * 3_600)
REGIONS = st.lists(st.tuples(COUNTS, COUNTS.map(lambda n: n + 1), COUNTS), max_size=3)


def add_files(folder: Path) -> Path:
    place = folder / "interchange" / "Song" / "audiofiles"
    place.mkdir(parents=True, exist_ok=True)
    for name in ("take%L.wav", "take%R.wav"):
        (place / name).write_bytes(b"")
    return place


@pytest.mark.parametrize("version", [6000, 7002])
def test_a_session_is_read_as_it_is(tmp_path: Path, version: int) -> None:
    place = add_files(tmp_path)
    path = tmp_path / "Song.ardour"
    tick = material.TICKS if version >= 7000 else 1
    a = "a" if version >= 7000 else ""
    locations = (
        f'<Location name="vocals" start="{a}{48_000 * tick}" end="{a}{96_000 * tick}" flags="IsRangeMarker"/>'
        f'<Location name="here" start="{a}{24_000 * tick}" end="{a}{24_000 * tick}" flags="IsMark"/>'
        f'<Location name="session" start="{a}0" end="{a}1" flags="IsSessionRange"/>'
    )
    path.write_text(material.session([("Vox", [(48_000, 96_000, 24_001)])], version=version, locations=locations))
    read = read_session(path)
    (track,) = read.tracks
    (clip,) = track.clips
    assert (read.format, read.rate_hz, track.name, clip.gain, clip.obstacle) == ("ardour", 48_000, "Vox", 0.5, "")
    assert (clip.position_s, clip.length_s, round(clip.source_start_s * 48_000)) == (1.0, 2.0, 24_001)
    assert [(media.path, media.channel) for media in clip.media] == [(place / f"take%{s}.wav", 0) for s in "LR"]
    assert read.markers == (Marker("vocals", 1.0, 2.0), Marker("here", 0.5))


def test_beats_need_a_steady_tempo(tmp_path: Path) -> None:
    path = tmp_path / "Song.ardour"
    ticks = f'length="a{48_000 * material.TICKS}@a0"'
    text = material.session([("Vox", [(0, 48_000, 0)])])
    path.write_text(text.replace(ticks, 'length="b3840@b1920"'))
    clip = read_ardour(path).tracks[0].clips[0]
    assert (clip.position_s, clip.length_s, clip.obstacle) == (0.5, 1.0, "no_media" if not clip.media else "")
    ramp = (
        '<Tempo npm="120" note-type="4" continuing="1" quarters="0:0"/><Tempo npm="60" note-type="4" quarters="8:0"/>'
    )
    path.write_text(material.session([("Vox", [(0, 48_000, 0)])], tempo=ramp).replace(ticks, 'length="b3840@b1920"'))
    assert read_ardour(path).tracks[0].clips[0].obstacle == "ramped"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no XML"),
        ("<Session", "no XML"),
        ("<Other/>", "begins with"),
        ('<Session version="3002" sample-rate="48000"/>', "old Ardour"),
        ('<Session version="7002" sample-rate="0"/>', "sample rate"),
        ('<Session version="7002"/>', "sample rate"),
        ('<!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><Session version="7002">&b;</Session>', "document type"),
        ('<!DOCTYPE x SYSTEM "file:///etc/passwd"><Session version="7002"/>', "document type"),
    ],
)
def test_what_is_no_session_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "bad.ardour"
    path.write_text(text)
    with pytest.raises(StembridgeError, match=says) as caught:
        read_ardour(path)
    assert caught.value.code == "bad_session"


def stems_of(read: Session, folder: Path) -> tuple[NewTrack, ...]:
    return tuple(
        NewTrack(
            f"{track.name} · vocals",
            track,
            tuple(
                NewClip(clip, folder / f"{n}.wav", clip.length_s, 48_000, 2, round(clip.length_s * 48_000))
                for n, clip in enumerate(track.clips)
            ),
            muted=True,
        )
        for track in read.tracks
    )


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(NAMES, REGIONS), max_size=3, unique_by=lambda track: track[0]), st.sampled_from([6000, 7002]))
def test_what_was_written_reads_as_the_same_model(tmp_path: Path, tracks: list, version: int) -> None:
    add_files(tmp_path)
    old, new = tmp_path / "Song.ardour", tmp_path / "Song stems.ardour"
    old.write_text(material.session(tracks, version=version), encoding="utf-8")
    digest = hashlib.sha256(old.read_bytes()).hexdigest()
    before = read_ardour(old)
    write_ardour(before, stems_of(before, tmp_path), new)
    after = read_ardour(new)
    assert hashlib.sha256(old.read_bytes()).hexdigest() == digest
    assert after.tracks[: len(tracks)] == before.tracks
    assert (after.markers, after.tempo, after.rate_hz) == (before.markers, before.tempo, before.rate_hz)
    made = [track for track in before.tracks if track.clips]
    for source, stems in zip(made, after.tracks[len(tracks) :], strict=True):
        assert stems.muted
        for n, (clip, stem) in enumerate(zip(source.clips, stems.clips, strict=True)):
            assert (stem.position_s, stem.length_s, stem.gain) == (clip.position_s, clip.length_s, clip.gain)
            assert stem.source_start_s == 0
            assert [(m.reference, m.channel) for m in stem.media] == [(str(tmp_path / f"{n}.wav"), c) for c in (0, 1)]
    elements = list(ET.parse(new).iter())
    ids = [e.get("id") for e in elements if e.get("id")]
    assert len(ids) == len(set(ids))
    assert len({route.get("name") for route in elements if route.tag == "Route"}) == len(tracks) + len(made)
    counter = int(elements[0].get("id-counter", ""))
    assert all(int(each) < counter for each in ids if each) or not made
    kept = iter(new.read_bytes().split(b"\n")[2:])
    lines = [line for line in old.read_bytes().split(b"\n")[2:] if b"</" not in line or b"<Source " in line]
    assert all(line in kept for line in lines)


def test_stems_of_another_rate_are_left_out_and_named(tmp_path: Path, capsys) -> None:
    place = add_files(tmp_path)
    for n, name in enumerate(("take%L.wav", "take%R.wav")):
        soundfile.write(place / name, make_mixture(44_100, 44_100, 1, n), 44_100)
    path = tmp_path / "Song.ardour"
    path.write_text(material.session([("Vox", [(0, 24_000, 0)])]))
    assert main(["session", str(path), "--out", str(tmp_path / "out"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [Path(stem).name for stem in report["not_placed"]] == [
        "Vox.vocals.target.wav",
        "Vox.vocals.residual.wav",
    ]
    assert [track.name for track in read_ardour(Path(report["new_session"])).tracks] == ["Vox"]


def test_insertion_changes_nothing_else() -> None:
    data = b"<?xml version='1.0' encoding='ISO-8859-1'?><a><b x='>/'/><c>\xe4</c><b/></a>"
    added = insert(data, Path("x"), {("b",): "<n/>é", ("c",): "<m/>"})
    assert added == data.replace(b"<b x='>/'/>", b"<b x='>/'><n/>&#233;</b>").replace(b"</c>", b"<m/></c>")
    assert read_xml(added, Path("x"), "a")[0].findtext("n") == ""
    with pytest.raises(StembridgeError, match="holds no d"):
        insert(data, Path("x"), {("d",): "<n/>"})


# The real Ardour

LOAD = """
AudioEngine:set_backend("None (Dummy)", "stembridge", ""):set_device_name("Silence")
local s = assert(load_session(arg[1], arg[2]))
for r in s:get_tracks():iter() do
    local t = r:to_track()
    for g in t:playlist():region_list():iter() do
        local audio = g:to_audioregion()
        local shm, peak = ARDOUR.DSP.DspShm(8192), 0
        for channel = 0, audio:n_channels() - 1 do
            local d = shm:to_float(0)
            local n = audio:to_readable():read(d, 4096, 8192, channel)
            for _, v in ipairs(d:get_table(n)) do peak = math.max(peak, math.abs(v)) end
        end
        io.stderr:write(string.format("region\\t%s\\t%d\\t%d\\t%d\\t%d\\t%.9g\\n", r:name(), g:position():samples(),
            g:start():samples(), g:length():samples(), audio:n_channels(), peak))
    end
end
s:save_state("", false, false, false, false, false)
s:close()
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A closed session of the real Ardour: one take at two places, and a track that says nothing."""
    home = tmp_path_factory.mktemp("home")
    take = home / "take.wav"
    soundfile.write(take, make_mixture(96_000, 48_000), 48_000, subtype="FLOAT")
    with open_ardour(home, "My Song", 48_000) as host:
        song.add_track(host, "Lead Vox", take, 48_001, 480_000)
        song.add_track(host, "Audio 3", take, 0)
        host.save()
        host.stop()
        yield host


@pytest.mark.ardour
def test_the_real_ardour_opens_the_session_with_its_stems(host: Host, tmp_path: Path, capsys) -> None:
    old = host.session / "My Song.ardour"
    digest, out = hashlib.sha256(old.read_bytes()).hexdigest(), tmp_path / "out"
    assert main(["session", str(old), "--out", str(out), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    new = Path(report["new_session"])
    assert (report["done"], new.name) == (2, "My Song stems.ardour")
    written = read_ardour(new)
    script = tmp_path / "load.lua"
    script.write_text(LOAD)
    command = ["ardour7-lua", str(script), str(host.session), "My Song stems"]
    done = subprocess.run(command, env=host.env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    regions = [line.split("\t")[1:] for line in done.stderr.splitlines() if line.startswith("region\t")]
    stems = [region for region in regions if "·" in region[0]]
    assert len(regions) == 7
    assert sorted((name, int(at), int(start), int(n), int(channels)) for name, at, start, n, channels, _ in stems) == [
        (f"Lead Vox · {kind}lead vocals", at, 0, 96_000, 2) for kind in ("", "no ") for at in (48_001, 480_000)
    ]
    for job in report["jobs"]:
        for stem, name in (("target", "Lead Vox · lead vocals"), ("residual", "Lead Vox · no lead vocals")):
            samples = soundfile.read(job[stem], dtype="float32", start=4096, frames=8192)[0]
            heard = [float(r[5]) for r in stems if r[0] == name and int(r[1]) == round(job["position_s"] * 48_000)]
            assert heard == pytest.approx([float(np.abs(samples).max())], rel=1e-6)
    # What Ardour saved again is what we wrote; and the first session is as it was.
    saved = read_ardour(new)
    assert [track.name for track in saved.tracks] == [track.name for track in written.tracks]
    places = [[(c.position_s, c.length_s, c.source_start_s) for c in t.clips] for t in written.tracks]
    assert [[(c.position_s, c.length_s, c.source_start_s) for c in t.clips] for t in saved.tracks] == places
    assert [track.muted for track in saved.tracks] == [track.muted for track in written.tracks]
    assert hashlib.sha256(old.read_bytes()).hexdigest() == digest
