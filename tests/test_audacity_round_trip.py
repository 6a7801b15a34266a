"""Audacity with nothing stood in for: the real program, the real engine with its embedded model, a real voice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audacity_host import Host

import engine as engine_package
from bridge import child
from bridge.audacity.pipe import Pipe

EXCERPT = Path(engine_package.__file__).parent / "demo" / "mixture.flac"
pytestmark = pytest.mark.audacity

NULL_DBFS = -120.0
TRACK, PROMPT = "03_LeadVox (take 2)", "lead vocals"
POSITION, START, END = 77_777, 77_777 + 44_101, 77_777 + 4 * 44_100
"""Where the clip begins and what is selected, in samples of the excerpt's rate."""
LIMIT_S = 120.0


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("room")


@pytest.fixture(scope="module")
def host(audacity: Host) -> Host:
    return audacity


@pytest.fixture(scope="module")
def engine(room: Path, host: Host) -> Iterator[child.Child]:
    with child.engine(room / "out", room / "state", roots=[room, host.home]) as running:
        yield running


@pytest.fixture(scope="module")
def song(room: Path) -> tuple[Path, int]:
    samples, rate_hz = soundfile.read(EXCERPT, dtype="float32", always_2d=True)
    path = room / "the song.wav"
    soundfile.write(path, samples, rate_hz, subtype="FLOAT")
    return path, rate_hz


@pytest.fixture(autouse=True)
def _empty(host: Host) -> None:
    host.clear()


def stembridge(host: Host, engine: child.Child, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a person runs it beside Audacity."""
    command = [sys.executable, "-m", "bridge", "audacity", *arguments, "--port", str(engine.port)]
    env = {**host.env, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        command, env=env, cwd=host.home, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S
    )


def test_a_selection_becomes_stems_at_its_place(host: Host, engine: child.Child, song: tuple[Path, int]) -> None:
    path, rate_hz = song
    host.add(path, TRACK, POSITION / rate_hz)
    host.add(path, "Didgeridoo", 0.0)
    source = path.read_bytes()
    host.select(START / rate_hz, END / rate_hz, 0)
    done = stembridge(host, engine, "extract")
    assert done.returncode == 0
    assert done.stderr.startswith(f"“{TRACK}”: This model takes all voices together")
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout.splitlines() == [f"{TRACK} · {PROMPT}", f"{TRACK} · no {PROMPT}"]

    chosen = host.selection()
    assert [track.name for track in chosen.tracks] == [TRACK]
    assert (chosen.start_s, chosen.end_s) == pytest.approx((START / rate_hz, END / rate_hz), abs=1e-6)
    assert host.muted() == [False, False, True, False]
    tracks = host.tracks()
    assert [track.name for track in tracks] == [TRACK, f"{TRACK} · {PROMPT}", f"{TRACK} · no {PROMPT}", "Didgeridoo"]
    assert [track.clips for track in tracks[1:3]] == [((START, END),), ((START, END),)]
    assert tracks[0].clips == ((POSITION, POSITION + soundfile.info(path).frames),)
    assert path.read_bytes() == source

    mixture = host.samples(tracks[0])[START - POSITION : END - POSITION]
    voice, rest = host.samples(tracks[1]), host.samples(tracks[2])
    null = np.max(np.abs(voice.astype(np.float64) + rest - mixture))
    assert 20 * np.log10(max(null, 1e-12)) <= NULL_DBFS
    for stem in (voice, rest):
        assert 0.02 < np.linalg.norm(stem) / np.linalg.norm(mixture) < 0.9999


def test_what_the_model_cannot_do_is_said(host: Host, engine: child.Child, song: tuple[Path, int]) -> None:
    host.add(song[0], "Odd :: ???", 0.0)
    host.select(1.0, 2.0, 0)
    done = stembridge(host, engine, "extract")
    assert done.returncode == 2
    assert "“Odd :: ???”:" in done.stderr
    assert "[unsupported_prompt]" in done.stderr
    assert host.n_tracks() == 1


def test_a_nameless_track_needs_words(host: Host, engine: child.Child, song: tuple[Path, int]) -> None:
    host.add(song[0], "Audio 3", 0.0)
    host.select(1.0, 2.0, 0)
    done = stembridge(host, engine, "remove")
    assert done.returncode == 2
    assert "[no_prompt]" in done.stderr
    done = stembridge(host, engine, "remove", "--prompt", "vocals")
    assert done.returncode == 0, done.stderr
    names = ["Audio 3", "Audio 3 · no vocals", "Audio 3 · vocals", "Audio 3 · original"]
    assert host.muted() == [False, False, True, True]
    tracks = host.tracks()
    assert [track.name for track in tracks] == names
    assert tracks[0].clips[0] == (0, 44_100)
    assert tracks[0].clips[1][0] == 88_200
    assert tracks[1].clips == tracks[2].clips == tracks[3].clips == ((44_100, 88_200),)
    left, voice, original = (host.samples(track) for track in tracks[1:])
    assert np.max(np.abs(left + voice - original)) <= 1e-6


def test_tracks_of_other_kinds_gain_and_envelopes(host: Host, engine: child.Child, song: tuple[Path, int]) -> None:
    host.ask("NewLabelTrack:")
    host.add(song[0], "vocals", 0.0)
    host.ask("SetTrackAudio: Gain=-6.0206 Pan=-50")
    host.add(song[0], "Bass", 0.0)
    host.select(1.0, 2.0, 1)
    done = stembridge(host, engine, "extract")
    assert done.returncode == 0, done.stderr
    host.ask("SelectAll:", "SelectTracks: Track=0 TrackCount=1 Mode=Remove")
    tracks = host.selection().tracks
    assert [track.name for track in tracks] == ["vocals", "vocals · vocals", "vocals · no vocals", "Bass"]
    assert [track.index for track in tracks] == [1, 2, 3, 4]
    assert [track.gain for track in tracks[:3]] == pytest.approx([0.5] * 3, rel=1e-4)
    assert [track.pan for track in tracks[:3]] == pytest.approx([-0.5] * 3)

    host.select(1.0, 2.0, 1)
    host.ask("SetEnvelope: Time=1.5 Value=0.5")
    done = stembridge(host, engine, "extract")
    assert done.returncode == 2
    assert "“vocals” has a volume envelope" in done.stderr
    assert host.n_tracks() == 5


def test_nothing_is_cancelled_where_nothing_runs(host: Host, engine: child.Child) -> None:
    done = stembridge(host, engine, "cancel")
    assert (done.returncode, done.stderr) == (0, "No request of Audacity's is under way.\n")


def test_two_at_once_say_so(host: Host, engine: child.Child) -> None:
    with Pipe():
        done = stembridge(host, engine, "extract")
    assert done.returncode == 3
    assert "another command of Stembridge is talking to it" in done.stderr
