"""Every gesture in the real Ardour, with a stand-in for the engine whose stems a test can predict."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import ardour_session as song
import mido
import numpy as np
import pytest
import soundfile
from ardour_host import Host, open_ardour, wait_for
from ardour_stand_in import StandIn, serving

pytestmark = pytest.mark.ardour

RATE_HZ = 48_000
LENGTH = 3 * RATE_HZ + 17
"""Samples of each file; odd, so that a rounded time shows."""
EXTRACT, EXAMPLE = "Stembridge: Extract selection", "Stembridge: Extract by example"
REMOVE, CANCEL, PROGRESS = "Stembridge: Remove …", "Stembridge: Cancel", "Stembridge: Show progress"
ODD_NAME = "Zoë's “best” take <3> & more"

# Where each track's regions lie, in samples. No two tracks overlap, so a range on all of them picks one.
VOX, VOX_AGAIN = 100_001, 300_000
PLACES = {"Drums": 500_000, "Audio 7": 800_000, "Tambourine": 1_000_000, ODD_NAME: 1_200_000, "Bus": 1_400_000}


def write_noise(path: Path, n_channels: int, seed: int) -> Path:
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, (LENGTH, n_channels)).astype(np.float32)
    soundfile.write(path, noise, RATE_HZ, subtype="FLOAT")
    return path


def write_midi(path: Path) -> Path:
    track = mido.MidiTrack([mido.Message("note_on", note=60), mido.Message("note_off", note=60, time=960)])
    mido.MidiFile(tracks=[track]).save(path)
    return path


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    home = tmp_path_factory.mktemp("ardour")
    with open_ardour(home, rate_hz=RATE_HZ) as host:
        stereo, mono = write_noise(home / "stereo.wav", 2, 1), write_noise(home / "mono.wav", 1, 2)
        song.add_track(host, "Lead Vox", stereo, VOX, VOX_AGAIN, colour=0xCC3366FF, group="Voices")
        for name, position in PLACES.items():
            song.add_track(host, name, mono if name in ("Drums", ODD_NAME) else stereo, position)
        song.add_midi(host, write_midi(home / "keys.mid"), 1_600_000)
        yield host


@pytest.fixture
def engine(host: Host) -> Iterator[StandIn]:
    """The stand-in, running; afterwards nothing may be under way and no dialog open."""
    with serving(host.mailbox, host.home / "Music") as stand_in:
        wait_for((host.mailbox / "engine.json").exists, "the engine's sign of life")
        yield stand_in
        stand_in.alive, stand_in.holding = True, False
        while "Stembridge" in host.windows().values():  # only after a test that failed half-way
            host.answer("Escape")
        wait_for(lambda: host.open_requests() == 0, "every request to be dealt with")
    assert not list((host.mailbox / "status").iterdir()), "status files were left behind"


def n_brought_in(host: Host) -> int:
    return sum("brought in" in line for line in host.log_lines())


def brought_in(host: Host, gesture: Callable[[], None]) -> dict[str, song.SavedTrack]:
    """The session's tracks after a gesture's stems have come."""
    before, tracks = n_brought_in(host), song.saved_tracks(host)
    gesture()
    wait_for(lambda: n_brought_in(host) > before, "the stems")
    return song.tracks_after(host, tracks)


def source_hashes(host: Host) -> dict[str, str]:
    """The bytes of every sound file, in the session and outside."""
    files = [*host.home.glob("*.wav"), *(host.session / "interchange").rglob("*.wav")]
    assert len(files) > 4
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def names(tracks: dict[str, song.SavedTrack]) -> list[str]:
    return [name for name in tracks if name != "Master"]


def test_a_range_comes_back_on_two_tracks_under_its_source(host: Host, engine: StandIn) -> None:
    hashes = source_hashes(host)
    start, end = VOX + 20_003, VOX + 90_000
    song.select_range(host, start, end, "Lead Vox")
    tracks = brought_in(host, lambda: host.press(EXTRACT))
    target, residual = tracks["Lead Vox · vocals"], tracks["Lead Vox · no vocals"]
    source = tracks["Lead Vox"]
    assert names(tracks)[:3] == ["Lead Vox", "Lead Vox · vocals", "Lead Vox · no vocals"]
    for stem in (target, residual):
        (region,) = stem.regions
        assert (region.position, region.length, region.start) == (start, end - start, 0)
        assert (stem.colour, stem.group) == (source.colour, source.group) == (0xCC3366FF, "Voices")
    assert (source.muted, target.muted, residual.muted) == (False, False, True)
    piece = source.regions[0].audio()[:, start - VOX : end - VOX]
    assert np.array_equal(target.regions[0].audio() + residual.regions[0].audio(), piece)
    assert np.array_equal(target.regions[0].audio(), piece * np.float32(0.5))
    assert len(source.regions) == 2
    assert hashes.items() <= source_hashes(host).items()
    (request,) = engine.requests
    assert request["track"] == "Lead Vox"
    assert (request["start"], request["end"], request["position"]) == (20_003, 90_000, start)
    assert (request["item"], request["span+"], request["rate"]) == ([0, LENGTH], [[20_003, 90_000]], RATE_HZ)


def test_one_undo_takes_all_pieces_of_two_tracks_away_and_redo_brings_them_back(host: Host, engine: StandIn) -> None:
    song.select_range(host, VOX_AGAIN + 100_000, PLACES["Drums"] + 50_000)
    engine.holding = True
    before = song.saved_tracks(host)
    host.press(EXTRACT)
    wait_for(lambda: len(engine.requests) == 2, "one request a track")

    def go_on() -> None:
        engine.holding = False

    tracks = brought_in(host, go_on)
    stems = {name for name in tracks if name not in before} | {"Lead Vox · vocals", "Lead Vox · no vocals"}
    assert stems == {"Lead Vox · vocals", "Lead Vox · no vocals", "Drums · vocals", "Drums · no vocals"}
    assert names(tracks).index("Drums · vocals") == names(tracks).index("Drums") + 1
    mono = tracks["Drums · vocals"].regions[0]
    assert (mono.position, mono.length, len(mono.files)) == (PLACES["Drums"], 50_000, 1)
    # The first test's stem lies elsewhere on the same track, so its track was used again.
    stereo = tracks["Lead Vox · vocals"].regions
    assert [r.position for r in stereo] == [VOX + 20_003, VOX_AGAIN + 100_000]
    assert (stereo[1].length, len(stereo[1].files)) == (LENGTH - 100_000, 2)
    host.lua("Editor:undo(1)")
    undone = song.saved_tracks(host)
    assert {name: undone[name].regions for name in before} == {name: before[name].regions for name in before}
    assert undone["Drums · vocals"].regions == undone["Drums · no vocals"].regions == ()
    host.lua("Editor:redo(1)")
    redone = song.saved_tracks(host)
    assert {name: redone[name].regions for name in stems} == {name: tracks[name].regions for name in stems}


def test_selected_regions_come_back_whole_on_new_tracks_where_the_old_are_taken(host: Host, engine: StandIn) -> None:
    before = song.saved_tracks(host)
    song.select_regions(host, *(region.name for region in before["Lead Vox"].regions))
    tracks = brought_in(host, lambda: host.press(EXTRACT))
    new = [name for name in tracks if name not in before]
    assert names(tracks)[1:3] == new == ["Lead Vox · vocals 1", "Lead Vox · no vocals 1"]
    for name in new:
        assert [(r.position, r.length) for r in tracks[name].regions] == [(VOX, LENGTH), (VOX_AGAIN, LENGTH)]
    assert all("span+" not in request for request in engine.requests)


def test_an_example_returns_the_whole_region(host: Host, engine: StandIn) -> None:
    position = PLACES[ODD_NAME]
    song.select_range(host, position + 10_000, position + 20_001, ODD_NAME)
    tracks = brought_in(host, lambda: host.press(EXAMPLE))
    (region,) = tracks[f"{ODD_NAME} · vocals"].regions
    assert (region.position, region.length) == (position, LENGTH)
    (request,) = engine.requests
    assert (request["start"], request["end"], request["span+"]) == (0, LENGTH, [[10_000, 20_001]])
    assert request["track"] == ODD_NAME


def test_remove_asks_and_what_is_left_sounds_instead_of_the_source(host: Host, engine: StandIn) -> None:
    position = PLACES["Bus"]
    before = song.saved_tracks(host)["Bus"]
    song.select_range(host, position + 1_000, position + 30_000, "Bus")

    def remove() -> None:
        host.press(REMOVE)
        host.answer("ctrl+a", *"drums", "alt+o")

    tracks = brought_in(host, remove)
    assert names(tracks)[names(tracks).index("Bus") :][:3] == ["Bus", "Bus · no drums", "Bus · drums"]
    assert (tracks["Bus"].muted, tracks["Bus · no drums"].muted, tracks["Bus · drums"].muted) == (False, False, True)
    parts = [(r.position - position, r.length, r.start, r.muted) for r in tracks["Bus"].regions]
    rest = LENGTH - 30_000
    assert parts == [(0, 1_000, 0, False), (1_000, 29_000, 1_000, True), (30_000, rest, 30_000, False)]
    assert engine.requests[-1]["prompt"] == "drums"
    host.lua("Editor:undo(1)")
    undone = song.saved_tracks(host)
    assert undone["Bus"].regions == before.regions
    assert undone["Bus · no drums"].regions == ()


def test_remove_with_the_track_s_name_left_as_it_is(host: Host, engine: StandIn) -> None:
    song.select_range(host, PLACES["Drums"], PLACES["Drums"] + LENGTH, "Drums")

    def remove() -> None:
        host.press(REMOVE)
        host.answer("alt+o")

    tracks = brought_in(host, remove)
    assert engine.requests[-1]["track"] == "Drums"
    assert "prompt" not in engine.requests[-1]
    assert [(r.position, r.length, r.muted) for r in tracks["Drums"].regions] == [(PLACES["Drums"], LENGTH, True)]
    host.lua("Editor:undo(1)")


def test_a_region_that_was_changed_meanwhile_is_left_alone(host: Host, engine: StandIn) -> None:
    song.select_range(host, PLACES["Bus"], PLACES["Bus"] + 5_000, "Bus")
    engine.holding = True
    host.press(REMOVE)
    host.answer("alt+o")
    wait_for(lambda: engine.requests, "the request")
    song.move_regions(host, "Bus", 1_450_000)
    engine.holding = False
    assert "Mute it by hand" in host.told()
    tracks = song.saved_tracks(host)
    assert [(r.position, r.length, r.muted) for r in tracks["Bus"].regions] == [(1_450_000, LENGTH, False)]
    assert tracks["Bus · no vocals"].regions[0].position == PLACES["Bus"]


def test_cancel_ends_this_session_s_requests_and_brings_nothing(host: Host, engine: StandIn) -> None:
    before = song.saved_tracks(host)
    song.select_range(host, VOX, VOX + 1_000, "Lead Vox")
    engine.holding = True
    host.press(EXTRACT)
    wait_for(lambda: engine.requests, "the request")
    host.press(PROGRESS)
    assert "“Lead Vox”: waits for its turn" in host.told()
    host.press(CANCEL)
    wait_for(lambda: host.open_requests() == 0, "the cancel to be dealt with")
    assert [request["op"] for request in engine.requests] == ["submit", "cancel"]
    assert engine.requests[1]["of"] == engine.requests[0]["rid"]
    assert song.saved_tracks(host) == before
    host.press(CANCEL)
    assert "No request of this session is under way" in host.told()


@pytest.mark.parametrize(
    ("trouble", "value", "words"),
    [
        ("losing", True, "is no longer on the disk"),
        ("rate_told_hz", 44_100, "its file has 44100 Hz and the session 48000 Hz"),
    ],
)
def test_stems_that_cannot_be_used_are_said_and_change_nothing(
    host: Host, engine: StandIn, trouble: str, value: object, words: str
) -> None:
    before = song.saved_tracks(host)
    setattr(engine, trouble, value)
    song.select_range(host, VOX, VOX + 1_000, "Lead Vox")
    host.press(EXTRACT)
    assert words in host.told()
    assert song.saved_tracks(host) == before


def test_a_mailbox_that_cannot_be_written_is_said(host: Host, engine: StandIn) -> None:
    song.select_range(host, VOX, VOX + 1_000, "Lead Vox")
    (host.mailbox / "requests").rename(host.mailbox / "away")
    try:
        host.press(EXTRACT)
        assert "could not be written" in host.told()
    finally:
        (host.mailbox / "away").rename(host.mailbox / "requests")
    assert engine.requests == []
    assert host.open_requests() == 0


def test_a_result_is_brought_in_after_a_restart_and_only_into_its_session(host: Host, engine: StandIn) -> None:
    song.select_range(host, VOX + 9_000, VOX + 10_000, "Lead Vox")
    engine.holding = True
    host.press(EXTRACT)
    wait_for(lambda: engine.requests, "the request")
    host.save()
    host.stop()
    engine.holding = False
    status = host.mailbox / "status" / f"{engine.requests[0]['rid']}.json"
    wait_for(lambda: status.exists() and '"done"' in status.read_text(), "the answer")
    mine = host.session
    host.open_other("Other", RATE_HZ)
    host.lua("return 1")  # the driver and Stembridge's hook run in the same tick
    assert status.exists()
    assert names(song.saved_tracks(host)) == []
    host.stop()
    host.session = mine
    before = n_brought_in(host)
    host.start()
    wait_for(lambda: n_brought_in(host) > before, "the stems")
    assert any(r.position == VOX + 9_000 for t in song.saved_tracks(host).values() for r in t.regions)
