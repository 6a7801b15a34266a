"""The main job, with nothing stood in for: the real Ardour, the real engine with its embedded model, a real voice."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ardour_session as song
import numpy as np
import pytest
import soundfile
from ardour_host import Host, open_ardour, wait_for
from ardour_stand_in import forget_engine_start

import engine as engine_package
from bridge import launcher
from bridge.install import ardour

EXCERPT = Path(engine_package.__file__).parent / "demo" / "mixture.flac"
pytestmark = pytest.mark.ardour

NULL_DBFS = -120.0
TRACK, PROMPT = "03_LeadVox (take 2)", "lead vocals"
POSITION, START, END = 77_777, 77_777 + 44_101, 77_777 + 4 * 44_100
"""Where each track's region begins, and the range that is selected, in samples of the excerpt's rate."""


@contextmanager
def engine_to_be_started(host: Host) -> Iterator[None]:
    """The scripts know how to start the engine, and none runs; the one they start is ended afterwards."""
    command = [*launcher.command(host.mailbox), "--port", "0", "--out", str(host.home / "Music")]
    line = launcher.background_line(command, host.mailbox / "clients" / "engine.log")
    forget_engine_start(host.config_dir / ardour.HOST.own, line)
    sign = host.mailbox / "engine.json"
    assert not sign.exists()
    try:
        yield
    finally:
        if sign.exists():
            os.kill(json.loads(sign.read_text())["pid"], signal.SIGTERM)
            wait_for(lambda: not sign.exists(), "the engine's end")


def hashes(folders: list[Path]) -> dict[str, str]:
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".wav", ".flac")]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Ardour with three tracks of the same song, and no engine yet."""
    home = tmp_path_factory.mktemp("home")
    samples, rate_hz = soundfile.read(EXCERPT, dtype="float32", always_2d=True)
    source = home / "media" / "the song.wav"
    source.parent.mkdir()
    soundfile.write(source, samples, rate_hz, subtype="FLOAT")
    with open_ardour(home, "My Song", rate_hz) as host, engine_to_be_started(host):
        song.add_track(host, TRACK, source, POSITION, colour=0x3366CCFF, group="Voices")
        for name in ("Odd :: ???", "Audio 3"):
            song.add_track(host, name, source, POSITION)
        yield host


def brought_in(host: Host, times: int) -> bool:
    return sum("brought in 1" in line for line in host.log_lines()) == times


def test_a_selection_starts_the_engine_and_becomes_a_stem_on_a_new_track(host: Host) -> None:
    before, untouched = song.saved_tracks(host), hashes([host.home / "media", host.session])
    song.select_range(host, START, END, TRACK)
    host.press("Stembridge: Extract selection")
    wait_for(lambda: brought_in(host, 1), "the stems")
    tracks, after = song.tracks_after(host, before), hashes([host.home / "media", host.session])

    target, residual = tracks[f"{TRACK} · {PROMPT}"], tracks[f"{TRACK} · no {PROMPT}"]
    assert list(tracks)[1:5] == [TRACK, target.name, residual.name, "Odd :: ???"]
    assert tracks[TRACK].regions == before[TRACK].regions
    assert {path: digest for path, digest in after.items() if path in untouched} == untouched
    for stem in (target, residual):
        (region,) = stem.regions
        assert (region.position, region.length, region.start) == (START, END - START, 0)
        assert (stem.colour, stem.group) == (0x3366CCFF, "Voices")
        assert "takes all voices together" in stem.comment
    assert (tracks[TRACK].muted, target.muted, residual.muted) == (False, False, True)

    mixture = tracks[TRACK].regions[0].audio()[:, START - POSITION : END - POSITION]
    voice, rest = target.regions[0].audio(), residual.regions[0].audio()
    null = np.max(np.abs(voice.astype(np.float64) + rest - mixture))
    assert 20 * np.log10(max(null, 1e-12)) <= NULL_DBFS
    for stem in (voice, rest):
        assert 0.05 < np.linalg.norm(stem) / np.linalg.norm(mixture) < 0.999


def test_what_the_model_cannot_do_is_said_in_ardour(host: Host) -> None:
    before = song.saved_tracks(host)
    song.select_range(host, START, END, "Odd :: ???")
    host.press("Stembridge: Extract selection")
    assert "???" in host.told()
    assert song.saved_tracks(host) == before
    assert host.open_requests() == 0


def test_remove_on_a_nameless_track_asks_and_mutes_what_was_replaced(host: Host) -> None:
    song.select_range(host, START, END, "Audio 3")
    host.press("Stembridge: Remove …")
    host.answer("alt+o")  # the name as it stands says nothing, so the engine's question comes
    host.answer(*"vocals", "alt+o")
    wait_for(lambda: brought_in(host, 2), "what is left")
    tracks = song.saved_tracks(host)
    assert list(tracks)[-3:] == ["Audio 3", "Audio 3 · no vocals", "Audio 3 · vocals"]
    assert [region.muted for region in tracks["Audio 3"].regions] == [False, True, False]
    wait_for(lambda: host.open_requests() == 0, "the requests to be closed")
    assert not list((host.mailbox / "status").iterdir())
