"""Live sets: the arrangement as far as it can be rendered, and hostile ones refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from mixtures import make_mixture

from bridge.__main__ import main
from bridge.sessions.als import read_als
from bridge.sessions.model import Marker
from bridge.sessions.reading import read_session
from engine.errors import StembridgeError


def clip(
    begin: float,
    end: float,
    *,
    start: float = 0,
    loop_end: float = 1_000,
    loop: bool = False,
    warped: bool = True,
    markers: tuple[tuple[float, float], ...] = ((0, 0), (64, 30)),
    more: str = "",
) -> str:
    warps = "".join(f'<WarpMarker Id="{n}" SecTime="{s}" BeatTime="{b}"/>' for n, (b, s) in enumerate(markers))
    return (
        f'<AudioClip Id="0" Time="{begin}"><CurrentStart Value="{begin}"/><CurrentEnd Value="{end}"/><Loop>'
        f'<LoopStart Value="{start}"/><LoopEnd Value="{loop_end}"/><StartRelative Value="0"/>'
        f'<LoopOn Value="{str(loop).lower()}"/></Loop><Name Value="c"/><Disabled Value="false"/>'
        '<SampleRef><FileRef><RelativePath Value="Samples/take.wav"/><Path Value="C:/x/Samples/take.wav"/></FileRef>'
        f'</SampleRef><IsWarped Value="{str(warped).lower()}"/><WarpMarkers>{warps}</WarpMarkers>{more}</AudioClip>'
    )


def write(
    folder: Path, *clips: str, name: str = "Lead Vox", tempo: float = 128, main_track: str = "MainTrack", more: str = ""
) -> Path:
    (folder / "Samples").mkdir(exist_ok=True)
    if not (folder / "Samples" / "take.wav").exists():
        soundfile.write(folder / "Samples" / "take.wav", make_mixture(44_100 * 4), 44_100, subtype="FLOAT")
    text = (
        '<?xml version="1.0" encoding="UTF-8"?><Ableton MajorVersion="5" Creator="Ableton Live 11.3"><LiveSet><Tracks>'
        f'<AudioTrack Id="8"><Name><EffectiveName Value="Lead Vox"/></Name><DeviceChain><Mixer><Speaker>'
        '<Manual Value="true"/></Speaker></Mixer><MainSequencer><ClipSlotList><ClipSlot/></ClipSlotList><Sample>'
        f"<ArrangerAutomation><Events>{''.join(clips)}</Events></ArrangerAutomation></Sample></MainSequencer>"
        "</DeviceChain></AudioTrack><ReturnTrack/></Tracks>"
        f'<{main_track}><DeviceChain><Mixer><Tempo><Manual Value="{tempo}"/><AutomationTarget Id="8"/></Tempo></Mixer>'
        f"</DeviceChain>{more}</{main_track}><Locators><Locators>"
        '<Locator><Time Value="16"/><Name Value="vocals"/></Locator>'
        '<Locator><Time Value="32"/><Name Value="end"/></Locator>'
        "</Locators></Locators></LiveSet></Ableton>"
    )
    path = folder / "song.als"
    path.write_bytes(gzip.compress(text.encode()))
    return path


@pytest.mark.parametrize("main_track", ["MainTrack", "MasterTrack"])
def test_a_set_is_read_as_it_is(tmp_path: Path, main_track: str) -> None:
    # 128 bpm: 64 beats are 30 s
    path = write(tmp_path, clip(16, 20, start=2), clip(32, 36, start=1.5, warped=False), main_track=main_track)
    read = read_session(path)
    assert (read.format, [track.name for track in read.tracks]) == ("als", ["Lead Vox"])
    warped, plain = read.tracks[0].clips
    assert (warped.position_s, warped.length_s, warped.obstacle) == (7.5, 1.875, "")
    assert warped.source_start_s == pytest.approx(2 * 60 / 128)
    assert (plain.position_s, plain.source_start_s, plain.obstacle) == (15.0, 1.5, "")
    assert warped.media[0].path == tmp_path / "Samples" / "take.wav"
    assert read.markers == (Marker("vocals", 7.5, 15.0),)


@pytest.mark.parametrize(
    ("made", "obstacle"),
    [
        (clip(0, 4, markers=((0, 0), (64, 32))), "stretched"),
        (clip(0, 4, markers=((0, 0), (32, 15.01), (64, 30))), "stretched"),
        (clip(0, 4, markers=()), "stretched"),
        (clip(0, 4, warped=False, more='<PitchCoarse Value="2"/>'), "stretched"),
        (clip(0, 8, loop=True, loop_end=4), "looped"),
        (clip(0, 4, loop=True, loop_end=4), ""),
        (clip(-4, 4), "bad_time"),
        (clip(4, 4), "bad_time"),
        (clip(float("nan"), 4), "bad_time"),
        (clip(0, 4).replace("AudioClip", "MidiClip"), "midi"),
        (clip(0, 4).replace("SampleRef", "Other"), "no_media"),
    ],
)
def test_what_cannot_be_rendered_is_named(tmp_path: Path, made: str, obstacle: str) -> None:
    assert read_als(write(tmp_path, made)).tracks[0].clips[0].obstacle == obstacle


def automated(*events: tuple[float, float]) -> str:
    told = "".join(f'<FloatEvent Time="{beat}" Value="{bpm}"/>' for beat, bpm in events)
    return (
        '<AutomationEnvelopes><Envelopes><AutomationEnvelope><EnvelopeTarget><PointeeId Value="8"/></EnvelopeTarget>'
        f"<Automation><Events>{told}</Events></Automation></AutomationEnvelope></Envelopes></AutomationEnvelopes>"
    )


def test_a_tempo_that_steps_places_clips_and_warps_them(tmp_path: Path) -> None:
    steps = automated((-63072000, 60), (8, 60), (8, 120))
    path = write(tmp_path, clip(0, 4), clip(4, 10, warped=False), more=steps)
    warped, plain = read_als(path).tracks[0].clips
    assert warped.obstacle == "stretched"
    assert (plain.position_s, plain.length_s, plain.obstacle) == (4.0, 5.0, "")


def test_a_tempo_that_ramps_places_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, clip(4, 10, warped=False), more=automated((-63072000, 60), (8, 120)))
    assert read_als(path).tracks[0].clips[0].obstacle == "ramped"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "holds no|no XML"),
        (b"not gzip", "unpacked"),
        (gzip.compress(b"<Ableton/>")[:-9], "unpacked"),
        (gzip.compress(b"<Ableton/>"), "no LiveSet"),
        (gzip.compress(b"<Other/>"), "begins with"),
        (gzip.compress(b'<!DOCTYPE a [<!ENTITY b "c">]><Ableton>&b;</Ableton>'), "document type"),
    ],
    ids=["empty", "not packed", "cut", "no set in it", "another program", "entities"],
)
def test_what_is_no_set_is_refused(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "bad.als"
    path.write_bytes(data)
    with pytest.raises(StembridgeError, match=says) as caught:
        read_als(path)
    assert caught.value.code == "bad_session"


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bridge.sessions import als

    monkeypatch.setattr(als, "MAX_XML_BYTES", 1 << 20)
    path = tmp_path / "bomb.als"
    path.write_bytes(gzip.compress(b" " * (2 << 20)))
    with pytest.raises(StembridgeError, match="unpacks to more than"):
        read_als(path)


def test_the_command_end_to_end(tmp_path: Path, capsys) -> None:
    path = write(tmp_path, clip(8, 10, start=1))
    assert main(["session", str(path), "--out", str(tmp_path / "out"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    (job,) = report["jobs"]
    assert report["new_session"] is None  # Live's format is read only
    begin = round(60 / 128 * 44_100)
    source = soundfile.read(tmp_path / "Samples" / "take.wav", dtype="float32", start=begin, frames=job["samples"])[0]
    target, residual = (soundfile.read(job[stem], dtype="float32")[0] for stem in ("target", "residual"))
    assert abs(job["samples"] - 2 * 60 / 128 * 44_100) <= 1
    assert np.abs(target.astype(float) + residual - source).max() <= 1e-6
