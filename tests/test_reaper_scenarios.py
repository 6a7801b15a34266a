"""Every scenario in REAPER's own scripts, in Lua 5.4 against a stand-in for REAPER, with a stand-in for the engine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from ardour_stand_in import StandIn, forget_engine_start, serving
from reaper_host import Host
from reaper_project import Item, Source, Take, Track
from scenario_litter import litter
from scenarios import PARTS_S, Scenario, rows_for

from bridge.install import reaper, scheme

COLOUR = 0x1000000 + 0x3366CC
ANOTHER_API = 99


def install(folder: Path) -> tuple[Path, Path]:
    """Scripts as a user gets them, and their mailbox."""
    resource_dir, mailbox = folder / "REAPER", folder / "mailbox"
    resource_dir.mkdir()
    (resource_dir / "reaper.ini").write_text("")
    scheme.install(reaper.HOST, resource_dir, mailbox)
    forget_engine_start(resource_dir / reaper.HOST.own)
    return resource_dir / reaper.FOLDER, mailbox


def make_file(path: Path, seconds: float, rate_hz: int, n_channels: int) -> Path:
    """Noise, so that a shift of one sample shows."""
    samples = np.random.default_rng(7).uniform(-0.5, 0.5, (round(seconds * rate_hz), n_channels)).astype(np.float32)
    if path.suffix == ".ogg":
        soundfile.write(path, samples, rate_hz, format="OGG", subtype="VORBIS")
    else:
        soundfile.write(path, samples, rate_hz, subtype="FLOAT")
    return path


def open_project(folder: Path, scripts: Path, row: Scenario) -> tuple[Host, Track]:
    host = Host(scripts, folder / "project")
    host.project_file = "" if row.project == "unsaved" else str(folder / "project" / "Song.rpp")
    if row.project == "read only":
        (folder / "project" / "Stembridge").write_text("a file where the stems' folder would be")
    host.tempo = [(0.0, 120.0), (11.5, 90.0)] if row.tempo_change else [(0.0, 120.0)]
    host.add_track("Drums")
    track = host.add_track(row.track, I_CUSTOMCOLOR=COLOUR, I_RECARM=float(row.armed))
    if row.grouped:
        host.tracks[0].values["I_FOLDERDEPTH"], track.values["I_FOLDERDEPTH"] = 1.0, -1.0
    host.add_track("Bass")
    path = make_file(folder / row.file, 4.0, row.rate_hz, row.n_channels)
    source = Source(str(path), midi=row.midi)
    if row.section:
        source = Source("", parent=source, start_s=0.25, section_s=3.6, reverse=row.reversed)
    for n in range(row.n_items):
        item = track.add(source, row.position_s + n * (row.length_s + 0.5), row.length_s, row.start_s)
        item.values |= {"D_FADEINLEN": row.fades_s[0], "D_FADEOUTLEN": row.fades_s[1], "D_VOL": row.volume}
        item.values |= {"B_MUTE": float(row.muted), "B_LOOPSRC": float(row.looped)}
        item.values["C_LOCK"] = float(row.frozen)  # a frozen track plays files of its own, locked
        item.takes[0].values |= {"D_PLAYRATE": row.playrate, "I_CHANMODE": float(row.channel), "D_PAN": 0.25}
        item.takes[0].n_stretch_markers = 2 * row.stretched
    host.markers = [(True, *region) for region in row.regions]
    chosen = {"track": [track], "item": track.items, "nothing": []}[row.select]
    host.select(*chosen, range_s=row.range_s or (0.0, 0.0))
    host.answers = [None if answer is None else list(answer) for answer in row.answers]
    if row.offline:
        path.unlink()
    return host, track


def snapshot(host: Host) -> list[Any]:
    return [
        (track.strings, dict(track.values), [(dict(i.values), dict(i.takes[0].values)) for i in track.items])
        for track in host.tracks
    ]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Callable[[Scenario, Path], StandIn]]:
    contexts = []

    def start(row: Scenario, mailbox: Path) -> StandIn:
        context = serving(mailbox, tmp_path / "out", ANOTHER_API if row.engine == "other api" else 1)
        stand_in = context.__enter__()
        contexts.append(context)
        stand_in.losing, stand_in.torn_first = row.engine == "loses stems", row.engine == "torn status"
        stand_in.drafting, stand_in.parts = row.engine in ("drafts", "grows"), PARTS_S * (row.engine == "grows")
        stand_in.holding = stand_in.drafting or row.engine in ("dies", "holds")
        deadline_s = time.monotonic() + 60
        while not (mailbox / "engine.json").exists():
            assert time.monotonic() < deadline_s
            time.sleep(0.005)
        return stand_in

    yield start
    for context in contexts:
        context.__exit__(None, None, None)


def stem_times(take: Take) -> np.ndarray:
    """The timeline times of a stem's own samples that its item plays."""
    samples, rate_hz = take.source.audio  # type: ignore[union-attr]
    position_s, length_s = take.item.span
    times_s = position_s + np.arange(len(samples)) / rate_hz - take.values["D_STARTOFFS"]
    return times_s[(times_s > position_s - 1e-9) & (times_s < position_s + length_s - 1e-9)]


def heard_at(item: Item, times_s: np.ndarray) -> np.ndarray:
    return item.takes[0].heard(times_s - item.span[0])


@pytest.mark.parametrize("row", rows_for("reaper"), ids=lambda row: row.name)
def test_in_reaper(row: Scenario, tmp_path: Path, engine: Callable[[Scenario, Path], StandIn]) -> None:
    scripts, mailbox = install(tmp_path)
    host, track = open_project(tmp_path, scripts, row)
    originals = [(item, *item.span) for item in track.items]
    before, files = snapshot(host), {p: p.read_bytes() for p in tmp_path.glob("take*")}
    stand_in = engine(row, mailbox) if row.engine != "stopped" else None
    littered = litter(row, mailbox, tmp_path / row.file)
    host.press(row.gesture)
    if row.engine == "dies":
        assert stand_in is not None
        host.run_until(lambda: len(stand_in.requests) == 1, "the request")
        stand_in.fall_silent()
        host.run_until(lambda: host.messages != [], "the message")
        stand_in.holding, stand_in.alive = False, True
    if row.engine in ("drafts", "grows"):
        assert stand_in is not None
        host.run_until(lambda: len(host.undo_points) == 1, "the draft")
        if row.engine == "grows":
            stand_in.grow(1)
            host.run_until(lambda: any(host.project_dir.rglob("*.draft.2.residual.wav")), "more of it")
        stand_in.holding = False
    if row.engine == "holds":
        assert stand_in is not None
        host.run_until(lambda: len(stand_in.requests) == 1, "the request")
        host.press("cancel")
    host.settle()
    if row.again_s:
        host.select(track, range_s=row.again_s)
        host.press("repeat_last")
        host.settle()

    if row.says:
        assert any(row.says in text for text in host.messages), host.messages
    else:
        assert host.messages == []
    assert {path.name for path in mailbox.glob("status/*")} == littered
    assert not list(mailbox.glob("clients/*.jsonl")), "requests are left open"
    assert not list(mailbox.glob("clients/*.wav"))
    assert not list(mailbox.glob("clients/*.part"))
    assert {p: p.read_bytes() for p in files if p.exists()} == {p: b for p, b in files.items() if p.exists()}
    if not row.stems:
        assert snapshot(host) == before
        assert host.undo_points == []
        return
    assert stand_in is not None
    asked = [fields for fields in stand_in.requests if fields["op"] == "submit"]
    for fields in asked[-len(row.stems) :]:
        assert fields.get("prompt") == row.prompt
        assert (fields["path"] != str(tmp_path / row.file)) == row.read_by_host
        assert ("span+" in fields) == row.has_example
    assert len(host.undo_points) == row.n_gestures + (row.engine == "grows")
    check_tracks(row, host, track)
    check_stems(row, host, track, originals)


def names_of(row: Scenario, host: Host, track: Track) -> list[str]:
    shown = track.name or "Track 2"
    prompt = row.prompt or "vocals"
    names = [f"{shown} · {prompt}", f"{shown} · no {prompt}"]
    return names[::-1] if row.gesture == "remove" else names


def check_tracks(row: Scenario, host: Host, track: Track) -> None:
    names = names_of(row, host, track)
    assert [t.name for t in host.tracks] == ["Drums", track.name, *names, "Bass"]
    first, second = host.tracks[2:4]
    assert (first.values["B_MUTE"], second.values["B_MUTE"]) == (0, 1)
    assert first.values["I_RECARM"] == second.values["I_RECARM"] == 0
    depths = (1, 0, 0, -1, 0) if row.grouped else (0,) * 5
    assert tuple(t.values["I_FOLDERDEPTH"] for t in host.tracks) == depths
    assert first.values["I_CUSTOMCOLOR"] == second.values["I_CUSTOMCOLOR"] == COLOUR
    for stem_track in (first, second):
        assert json.loads(stem_track.strings["P_EXT:stembridge"])["job"] == "j1"


def check_stems(row: Scenario, host: Host, track: Track, originals: list[tuple[Item, float, float]]) -> None:
    pairs = zip(host.tracks[2].items, host.tracks[3].items, strict=True)
    for (from_s, to_s), (one, other) in zip(row.stems, pairs, strict=True):
        for item in (one, other):
            assert item.span == pytest.approx((from_s, to_s - from_s), abs=1e-9)
            assert Path(item.takes[0].source.path).is_relative_to(host.project_dir)  # type: ignore[union-attr]
            assert item.values["D_VOL"] == row.volume
            assert item.values["B_LOOPSRC"] == 0
            assert item.takes[0].values["D_PAN"] == 0.25
            whole = [o for o in originals if o[1:] == pytest.approx(item.span)]
            assert (item.values["D_FADEINLEN"], item.values["D_FADEOUTLEN"]) == (row.fades_s if whole else (0, 0))
        # Half of what the source gives at the very times of the stem's samples: not one sample off.
        source = next(o[0] for o in originals if o[1] <= from_s + 1e-9 and to_s <= o[1] + o[2] + 1e-9)
        take, start_s = source.takes[0], source.span[0]
        times_s = stem_times(one.takes[0])
        assert len(times_s) >= int((to_s - from_s) * row.rate_hz) - 1
        heard = take.heard(times_s - start_s) if row.gesture != "remove" else original(row, take, times_s)
        np.testing.assert_allclose(heard_at(one, times_s) + heard_at(other, times_s), heard, atol=1e-6)
        np.testing.assert_allclose(heard_at(one, times_s), 0.5 * heard, atol=1e-6)
    muted = [item.span for item in track.items if item.values["B_MUTE"]]
    expected = [(a, b - a) for a, b in row.stems] if row.gesture == "remove" else []
    assert muted == [pytest.approx(span) for span in expected]


def original(row: Scenario, take: Take, times_s: np.ndarray) -> np.ndarray:
    """What the take gave before it was cut: the cut keeps where the file lies on the timeline."""
    return take.source.at((times_s - row.position_s) * row.playrate + row.start_s)  # type: ignore[union-attr]
