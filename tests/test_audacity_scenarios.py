"""Every scenario in the real Audacity, with an engine whose stems are known: one half of the mixture each."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import soundfile
from ardour_host import wait_for
from audacity_host import DEADLINE_S, Host, patient
from osc_stand_in import HalfEngine, half_engine
from scenarios import Scenario, rows_for

from bridge.audacity import gestures
from bridge.audacity.gestures import Desk, Outcome
from bridge.audacity.project import Track
from bridge.osc.client import Client
from engine.errors import StembridgeError

pytestmark = pytest.mark.audacity

GESTURES = {"extract_selection": "extract", "extract_by_example": "by-example", "remove": "remove"}


@pytest.fixture
def host(audacity: Host) -> Host:
    audacity.clear()
    return audacity


def at(time_s: float, rate_hz: int) -> int:
    return int(np.floor(time_s * rate_hz + 0.5))


def make_file(row: Scenario, folder: Path) -> tuple[Path, np.ndarray]:
    """Noise, so that a shift of one sample shows; and the samples as they are read back."""
    path = folder / row.file
    shape = (round((row.start_s + row.length_s + 0.5) * row.rate_hz), row.n_channels)
    samples = np.random.default_rng(7).uniform(-0.3, 0.3, shape).astype(np.float32)  # a compressed file overshoots
    if path.suffix == ".ogg":
        soundfile.write(path, samples, row.rate_hz, format="OGG", subtype="VORBIS")
    else:
        soundfile.write(path, samples, row.rate_hz, subtype="FLOAT")
    return path, soundfile.read(path, dtype="float32", always_2d=True)[0]


def build(row: Scenario, host: Host, folder: Path) -> None:
    """The track, its clips and the selection."""
    path, _ = make_file(row, folder)
    items = [(row.position_s + n * (row.length_s + 0.5), row.length_s) for n in range(row.n_items)]
    host.add(path, row.track.strip(), row.position_s - row.start_s if row.position_s else 0.0)
    if row.volume != 1.0:  # of the track: a clip has no gain of its own
        host.ask(f"SetTrackAudio: Gain={20 * np.log10(row.volume):.4f}")
    begin_s, end_s = items[0][0], items[0][0] + row.length_s
    host.ask(f"SelectTime: Start={begin_s!r} End={end_s!r}", "Trim:")
    for position_s, length_s in items[1:]:  # the same samples once more, behind the first clip
        host.ask("Copy:", f"SelectTime: Start={position_s!r} End={position_s!r}", "Paste:")
        end_s = position_s + length_s
    if row.gesture == "batch_tracks" or row.range_s is None:
        whole_track = row.gesture == "batch_tracks" or row.select == "item"  # a click on the track, two on the clip
        range_s = (begin_s, end_s) if whole_track and row.gesture != "extract_by_example" else (begin_s, begin_s)
    else:
        range_s = row.range_s
    host.select(*range_s, *([] if row.select == "nothing" else [0]))


def perform(row: Scenario, desk: Desk) -> Outcome:
    return gestures.perform(GESTURES.get(row.gesture, "items"), desk)  # type: ignore[arg-type]


@pytest.mark.parametrize("row", rows_for("audacity"), ids=lambda row: row.name)
def test_in_audacity(row: Scenario, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(row, host, tmp_path)
    before = None if row.stems else state(host)
    answers = [None if answer is None else answer[0] for answer in row.answers]
    told: list[str] = []
    with ExitStack() as stack:
        engine = HalfEngine()
        if row.engine != "stopped":
            stack.enter_context(half_engine(tmp_path, engine))
        port = engine.port or unused_port()
        folders = tmp_path / "j", tmp_path / "w"
        desk = Desk(
            lambda question, text: answers.pop(0), told.append, lambda track, event: None, port, patient, *folders
        )
        if row.engine == "other api":
            monkeypatch.setattr(gestures, "API", 99)
        engine.losing = row.engine == "loses stems"
        if row.engine in ("holds", "dies"):
            engine.hold.clear()
        helper = threading.Thread(target=meanwhile, args=(row, desk, engine, stack, told, tmp_path))
        helper.start()
        try:
            outcome = perform(row, desk)
            told += [str(trouble) for trouble in outcome.troubles]
        except StembridgeError as e:
            if e.code != "cancelled":
                told.append(str(e))
        finally:
            helper.join(DEADLINE_S)
    assert answers == []
    assert not list((tmp_path / "j").glob("*"))
    assert not list((tmp_path / "w").glob("*"))
    if row.says:
        assert any(row.says in text for text in told), told
    else:
        assert told == []
    if not row.stems:
        assert state(host) == before
        return
    asked = [request for request in engine.ran if request.name != "of another DAW"]
    assert bool(asked[-1].spans) == (row.gesture not in ("extract_items", "batch_tracks"))
    assert asked[-1].prompt == row.prompt or row.prompt is None
    check_tracks(row, host, tmp_path, asked[-1].prompt)


def state(host: Host) -> list[str]:
    """All that Audacity tells of the project; every command costs it a good part of a tenth of a second."""
    return [host.ask(f"GetInfo: Type={kind}") for kind in ("Clips", "Tracks")]


def unused_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def meanwhile(row: Scenario, desk: Desk, engine: HalfEngine, stack: ExitStack, told: list[str], folder: Path) -> None:
    """What happens beside the gesture."""
    if row.engine == "holds":
        wait_for(lambda: list(desk.jobs_dir.glob("*")), "the request", DEADLINE_S)  # it runs before that is noted
        gestures.cancel_all(desk)
    if row.engine == "dies":
        engine.started.wait(DEADLINE_S)
        stack.close()
        wait_for(lambda: told, "the message", DEADLINE_S)
        engine.hold.set()
        stack.enter_context(half_engine(folder, engine))
    if row.engine == "shared":
        path = folder / row.file
        with Client(desk.port) as client:
            client.wait(client.submit({"path": str(path), "prompt": "drums", "name": "of another DAW"}))


def check_tracks(row: Scenario, host: Host, folder: Path, prompt: str) -> None:
    removing = row.gesture == "remove"
    shown = row.track.strip()  # as Audacity does
    pair = [f"{shown} · {prompt}", f"{shown} · no {prompt}"]
    pair = pair[::-1] if removing else pair
    muted = host.muted()
    tracks = host.tracks()
    expected = (pair + [f"{shown} · original"] * removing) * len(row.stems)
    assert [track.name for track in tracks] == [shown, *expected]
    assert muted == [False, *([False, True] + [True] * removing) * len(row.stems)]
    per_piece = len(expected) // len(row.stems)
    for n, (from_s, to_s) in enumerate(row.stems):
        stems = tracks[1 + n * per_piece : 1 + (n + 1) * per_piece]
        span = at(from_s, row.rate_hz), at(to_s, row.rate_hz)
        assert [track.clips for track in stems] == [(span,)] * per_piece
        assert [track.gain for track in stems] == pytest.approx([row.volume] * per_piece, rel=1e-4)
        assert {(track.rate_hz, track.n_channels) for track in stems} == {(row.rate_hz, row.n_channels)}
        if n == 0:
            check_samples(row, host, folder, stems, span)


def check_samples(row: Scenario, host: Host, folder: Path, stems: list[Track], span: tuple[int, int]) -> None:
    """Half of what the file holds at that very place: one sample off would be another noise."""
    source = soundfile.read(folder / row.file, dtype="float32", always_2d=True)[0]
    first = at(row.position_s - row.start_s if row.position_s else 0.0, row.rate_hz)
    mixture = source[span[0] - first : span[1] - first]
    tolerance = 1e-3 if row.file.endswith(".ogg") else 1e-6
    np.testing.assert_allclose(host.samples(stems[0]), mixture / 2, atol=tolerance)
