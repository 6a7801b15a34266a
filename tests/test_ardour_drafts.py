"""A draft comes into the real Ardour first; the result takes its place as a new region."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import ardour_session as song
import numpy as np
import pytest
import soundfile
from ardour_host import Host, open_ardour, wait_for
from ardour_stand_in import StandIn, serving

pytestmark = pytest.mark.ardour

RATE_HZ = 48_000
START, LENGTH = 100_001, 2 * RATE_HZ + 17
EXTRACT, CANCEL = "Stembridge: Extract selection", "Stembridge: Cancel"
TARGET, RESIDUAL = "Voice · vocals", "Voice · no vocals"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    home = tmp_path_factory.mktemp("ardour")
    with open_ardour(home, rate_hz=RATE_HZ) as host:
        noise = np.random.default_rng(1).uniform(-0.5, 0.5, (LENGTH, 2)).astype(np.float32)
        soundfile.write(home / "voice.wav", noise, RATE_HZ, subtype="FLOAT")
        song.add_track(host, "Voice", home / "voice.wav", START)
        yield host


@pytest.fixture
def engine(host: Host) -> Iterator[StandIn]:
    """The stand-in, making drafts; afterwards nothing may be under way."""
    with serving(host.mailbox, host.home / "Music") as stand_in:
        stand_in.drafting = stand_in.holding = True
        wait_for((host.mailbox / "engine.json").exists, "the engine's sign of life")
        yield stand_in
        stand_in.holding = False
        while "Stembridge" in host.windows().values():  # only after a test that failed half-way
            host.answer("Escape")
        wait_for(lambda: host.open_requests() == 0, "every request to be dealt with")
    assert not list((host.mailbox / "status").iterdir()), "status files were left behind"


def n_logged(host: Host, words: str) -> int:
    return sum(words in line for line in host.log_lines())


def bring_draft(host: Host, offset: int) -> song.SavedRegion:
    """Presses on a second of the voice, and waits until the draft is in; its region of the target."""
    before = n_logged(host, "brought in")
    song.select_range(host, START + offset, START + offset + 10_000, "Voice")
    host.press(EXTRACT)
    wait_for(lambda: n_logged(host, "brought in") > before, "the draft")
    return region_at(host, offset)


def region_at(host: Host, offset: int, track: str = TARGET) -> song.SavedRegion:
    (found,) = [r for r in song.saved_tracks(host)[track].regions if r.position == START + offset]
    return found


def share_of(host: Host, region: song.SavedRegion, offset: int) -> float:
    """How much of the voice a region plays."""
    voice = song.saved_tracks(host)["Voice"].regions[0].audio()[:, offset : offset + region.length]
    return float(np.median(region.audio() / voice))


def test_the_draft_is_replaced_by_the_result_at_its_place(host: Host, engine: StandIn) -> None:
    draft = bring_draft(host, 5_000)
    assert share_of(host, draft, 5_000) == 0.25
    assert engine.requests[0]["quality"] == "progressive"
    engine.note = "This source was not found: voice."
    engine.holding = False
    wait_for(lambda: n_logged(host, "refined 1"), "the result")
    tracks = song.saved_tracks(host)
    assert [tracks[name].comment for name in ("Voice", TARGET, RESIDUAL)] == ["", engine.note, engine.note]
    assert [name for name in tracks if name != "Master"] == ["Voice", TARGET, RESIDUAL]
    assert (tracks[TARGET].muted, tracks[RESIDUAL].muted) == (False, True)
    for track in (TARGET, RESIDUAL):
        (region,) = tracks[track].regions
        assert (region.position, region.length, region.start) == (START + 5_000, 10_000, 0)
        assert share_of(host, region, 5_000) == 0.5
    host.lua("Editor:undo(1)")
    assert share_of(host, region_at(host, 5_000), 5_000) == 0.25
    host.lua("Editor:redo(1)")
    assert share_of(host, region_at(host, 5_000), 5_000) == 0.5


def test_a_draft_that_was_moved_stays_and_the_result_is_said(host: Host, engine: StandIn) -> None:
    bring_draft(host, 20_000)
    moved = START + 500_000
    for track in (TARGET, RESIDUAL):
        host.lua(f"""
            for region in Session:route_by_name({song.q(track)}):to_track():playlist():region_list():iter() do
                if region:position():samples() == {START + 20_000} then
                    region:set_position(Temporal.timepos_t({moved}))
                end
            end
        """)
    engine.holding = False
    text = host.told()
    assert "the draft is no longer in the session as it came in" in text
    assert Path(text.split("It lies at ")[1].rstrip(". ")).exists()
    (stays,) = [r for r in song.saved_tracks(host)[TARGET].regions if r.position == moved]
    assert share_of(host, stays, 20_000) == 0.25


def test_cancel_keeps_the_draft_that_is_in(host: Host, engine: StandIn) -> None:
    bring_draft(host, 40_000)
    host.press(CANCEL)
    wait_for(lambda: host.open_requests() == 0, "the cancel to be dealt with")
    assert share_of(host, region_at(host, 40_000), 40_000) == 0.25


def test_the_result_finds_its_draft_after_a_restart(host: Host, engine: StandIn) -> None:
    bring_draft(host, 60_000)
    host.save()
    host.stop()
    before = n_logged(host, "refined 1")
    engine.holding = False
    host.start()
    wait_for(lambda: n_logged(host, "refined 1") > before, "the result")
    assert share_of(host, region_at(host, 60_000), 60_000) == 0.5


# Drafts that grow from the playhead

PARTS = [(9_001, 12_007), (4_003, 30_011)]
"""First sample and end, of a region of one second; the third draft is of all of it."""


PLAYHEAD = 10_000


@pytest.fixture
def growing(host: Host, engine: StandIn) -> Iterator[StandIn]:
    """A voice on a track of its own, and the playhead in it."""
    if "Long" not in song.saved_tracks(host):
        song.add_track(host, "Long", host.home / "voice.wav", START)
    place = f"Session:request_locate({START + PLAYHEAD}, false, ARDOUR.LocateTransportDisposition.MustStop, "
    host.lua(place + "ARDOUR.TransportRequestSource.TRS_UI)")
    at = "return Session:transport_sample()"
    wait_for(lambda: float(host.lua(at)) == START + PLAYHEAD, "the playhead")
    engine.parts = [(first / RATE_HZ, end / RATE_HZ) for first, end in PARTS]
    yield engine
    engine.parts = []


def grow(host: Host, engine: StandIn, n: int) -> None:
    before = n_logged(host, "drafted more of 1")
    engine.grow(n)
    wait_for(lambda: n_logged(host, "drafted more of 1") > before, f"draft {n}")


def check(host: Host, share: float, first: int, end: int) -> None:
    """Both tracks hold one region: from there to there, and sample by sample that share of the voice."""
    tracks = song.saved_tracks(host)
    voice = tracks["Long"].regions[0].audio()[:, first:end]
    for track, expected in (("Long · vocals", share), ("Long · no vocals", 1 - share)):
        (region,) = tracks[track].regions
        assert (region.position, region.length, region.start) == (START + first, end - first, 0)
        np.testing.assert_allclose(region.audio(), np.float32(expected) * voice, atol=1e-6)


def test_drafts_grow_from_the_playhead_and_the_result_follows(host: Host, growing: StandIn) -> None:
    before = n_logged(host, "brought in"), n_logged(host, "refined 1")
    song.select_range(host, START, START + RATE_HZ, "Long")
    host.press(EXTRACT)
    wait_for(lambda: n_logged(host, "brought in") > before[0], "the draft")
    request = growing.requests[-1]
    assert request["playhead"] == request["start"] + PLAYHEAD
    check(host, 0.25, *PARTS[0])
    grow(host, growing, 1)
    check(host, 0.125, *PARTS[1])
    host.lua("Editor:undo(1)")
    check(host, 0.25, *PARTS[0])
    grow(host, growing, 2)  # in the place of the one that undo brought back
    check(host, 0.0625, 0, RATE_HZ)
    growing.holding = False
    wait_for(lambda: n_logged(host, "refined 1") > before[1], "the result")
    check(host, 0.5, 0, RATE_HZ)
    assert host.open_requests() == 0
    assert [name for name in song.saved_tracks(host) if "Long" in name] == ["Long", "Long · vocals", "Long · no vocals"]


def test_a_part_that_was_moved_stays_and_the_result_is_said(host: Host, growing: StandIn) -> None:
    before = n_logged(host, "brought in")
    song.select_range(host, START + RATE_HZ, START + 2 * RATE_HZ, "Long")
    host.press(EXTRACT)
    wait_for(lambda: n_logged(host, "brought in") > before, "the draft")
    assert "playhead" not in growing.requests[-1]  # it lies elsewhere
    moved = START + 700_000
    for track in ("Long · vocals", "Long · no vocals"):
        host.lua(f"""
            for region in Session:route_by_name({song.q(track)}):to_track():playlist():region_list():iter() do
                if region:position():samples() == {START + RATE_HZ + PARTS[0][0]} then
                    region:set_position(Temporal.timepos_t({moved}))
                end
            end
        """)
    growing.grow(1)
    growing.holding = False
    assert "the draft is no longer in the session as it came in" in host.told()
    for track in ("Long · vocals", "Long · no vocals"):
        assert [region.position for region in song.saved_tracks(host)[track].regions] == [START, moved]
