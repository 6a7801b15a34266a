"""Every scenario in the real Ardour, with a stand-in for the engine. One Ardour for all rows of a sample rate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import ardour_session as song
import mido
import numpy as np
import pytest
import soundfile
from ardour_host import CONFIG, Host, open_ardour, wait_for
from ardour_stand_in import StandIn, serving
from scenario_litter import litter
from scenarios import PARTS_S, Scenario, rows_for

pytestmark = pytest.mark.ardour

ROWS = sorted(rows_for("ardour"), key=lambda row: row.rate_hz)
KEYS = {
    "extract_selection": "Stembridge: Extract selection",
    "extract_by_example": "Stembridge: Extract by example",
    "remove": "Stembridge: Remove …",
    "cancel": "Stembridge: Cancel",
}
COLOUR = 0x3366CCFF
FILE_S = 4.0
ASIDE = 100.0
"""Where regions are cut to size before they are put in place, in seconds."""

# Ardour makes a track in half a second, so the rows share three, and the stems' tracks where the names are the same.
SET_UP = """
for _, name in ipairs({ "Drums", "Source", "Bass" }) do
    for r in Session:new_audio_track(2, 2, nil, 1, name, ARDOUR.PresentationInfo.max_order, ARDOUR.TrackMode.Normal,
        false, false):iter() do
        if name == "Source" then
            SOURCE = r
            r:presentation_info_ptr():set_color(%d)
        end
    end
end
KEPT = {}
"""
CLEAR = """
Editor:get_selection():clear_all()
for r in Session:get_tracks():iter() do
    local playlist = r:to_track():playlist()
    for region in playlist:region_list():iter() do playlist:remove_region(region) end
end
if GROUP then GROUP:remove(SOURCE) end
SOURCE:to_track():rec_enable_control():set_value(0, PBD.GroupControlDisposition.NoGroup)
SOURCE:set_name("Source")
"""
IMPORT = """
local before, files = {}, C.StringVector()
for id in ARDOUR.RegionFactory.regions():iter() do before[id:to_s()] = true end
files:push_back(@PATH)
Editor:do_import(files, Editing.ImportDistinctFiles, Editing.ImportAsRegion, ARDOUR.SrcQuality.SrcBest,
    ARDOUR.MidiTrackNameSource.SMFTrackName, ARDOUR.MidiTempoMapDisposition.SMFTempoIgnore,
    Temporal.timepos_t(0), ARDOUR.PluginInfo(), ARDOUR.Track(), false)
for id, region in ARDOUR.RegionFactory.regions():iter() do
    if not before[id:to_s()] then KEPT[@PATH] = region end
end
"""
PUT = """
local region, aside = ARDOUR.RegionFactory.clone_region(KEPT[@PATH], true, false), @ASIDE
SOURCE:to_track():playlist():add_region(region, Temporal.timepos_t(aside), 1, false)
region:trim_front(Temporal.timepos_t(aside + @START))
region:trim_end(Temporal.timepos_t(aside + @START + @LENGTH))
region:set_position(Temporal.timepos_t(@POSITION))
region:set_name(@NAME)
region:to_audioregion():set_scale_amplitude(@GAIN)
region:set_muted(@MUTED)
local start, length = region:start():samples(), region:length():samples()
assert(length == @LENGTH and start == @START, "cut to " .. start .. " + " .. length)
"""
TEMPO = """
local map = Temporal.TempoMap.write_copy()
map:set_tempo(Temporal.Tempo(90, 90, 4), Temporal.timepos_t(@AT))
Temporal.TempoMap.update(map)
"""


def lua(text: str, **values: object) -> str:
    for key, value in values.items():
        text = text.replace(f"@{key}", song.q(value))
    return text


class Desk:
    """One Ardour, started anew for each sample rate, and its engine."""

    def __init__(self, host: Host, engine: StandIn, rate_hz: int) -> None:
        self.host, self.engine, self.rate_hz = host, engine, rate_hz
        self.noise: dict[Path, np.ndarray] = {}
        self.name = ""
        """What the source's track is called in this row."""
        host.lua(SET_UP % COLOUR)

    def at_rate(self, rate_hz: int) -> None:
        if rate_hz == self.rate_hz:
            return
        self.host.stop()
        (self.host.config_dir / "config").write_text(CONFIG.format(rate_hz=rate_hz))
        self.rate_hz = rate_hz
        self.noise.clear()
        self.host.open_other(f"Song {rate_hz}", rate_hz)
        self.host.lua(SET_UP % COLOUR)

    def samples(self, seconds: float) -> int:
        return round(seconds * self.rate_hz)

    def source(self, row: Scenario) -> Path:
        """The row's file, in the session."""
        path = self.host.home / f"{self.rate_hz} {row.n_channels}" / row.file
        if path not in self.noise:
            path.parent.mkdir(exist_ok=True)
            size = (self.samples(FILE_S), row.n_channels)
            self.noise[path] = np.random.default_rng(7).uniform(-0.5, 0.5, size).astype(np.float32)
            soundfile.write(path, self.noise[path], self.rate_hz, subtype="FLOAT")
            self.host.lua(lua(IMPORT, PATH=str(path)))
        return path

    def lay_out(self, row: Scenario) -> Path:
        path = self.source(row)
        chunks = [CLEAR]
        for n in range(0 if row.midi else row.n_items):
            position_s = row.position_s + n * (row.length_s + 0.5)
            chunks.append("do" + lua(
                PUT, PATH=str(path), ASIDE=self.samples(ASIDE), START=self.samples(row.start_s), GAIN=row.volume,
                LENGTH=self.samples(row.length_s), POSITION=self.samples(position_s), NAME=f"item {n}", MUTED=row.muted,
            ) + "end")  # fmt: skip
        chunks.append(lua("SOURCE:set_name(@NAME)", NAME=row.track))
        if row.grouped or row.armed or row.gesture == "remove":  # what new tracks are like is part of the row
            chunks.append("""
                OLD = OLD or 0
                for r in Session:get_tracks():iter() do
                    if r:name():find(" · ", 1, true) then OLD = OLD + 1 r:set_name("old " .. OLD) end
                end""")
        if row.grouped:
            chunks.append('GROUP = Session:new_route_group("Voices") GROUP:add(SOURCE)')
        if row.armed:
            chunks.append("SOURCE:to_track():rec_enable_control():set_value(1, PBD.GroupControlDisposition.NoGroup)")
        if row.tempo_change:
            chunks.append(lua(TEMPO, AT=self.samples(11.5)))
        self.name = self.host.lua("\n".join([*chunks, "return SOURCE:name()"]))
        if row.midi:
            notes = mido.MidiTrack([mido.Message("note_on", note=60), mido.Message("note_off", note=60, time=9600)])
            mido.MidiFile(tracks=[notes]).save(self.host.home / "keys.mid")
            song.add_midi(self.host, self.host.home / "keys.mid", self.samples(row.position_s))
        return path

    def select(self, row: Scenario) -> None:
        if row.select == "nothing":
            song.select_nothing(self.host)
        elif row.range_s is None:
            song.select_regions(self.host, *(f"item {n}" for n in range(row.n_items)))
        else:
            # Only the MIDI track has a region then, and Ardour named it.
            song.select_range(self.host, *map(self.samples, row.range_s), None if row.midi else self.name)

    def answer(self, row: Scenario) -> None:
        for given in row.answers:
            if given is None:
                self.host.answer("Escape")
            elif row.gesture == "remove" and given[0] == row.track:
                self.host.answer("alt+o")
            else:
                self.host.answer("ctrl+a", *(key if key != " " else "space" for key in given[0]), "alt+o")

    def n_brought_in(self) -> int:
        return sum("brought in" in line for line in self.host.log_lines())


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    home = tmp_path_factory.mktemp("ardour")
    rate_hz = ROWS[0].rate_hz
    with open_ardour(home, rate_hz=rate_hz) as host, serving(host.mailbox, home / "Music") as engine:
        yield Desk(host, engine, rate_hz)


def engine_is(desk: Desk, row: Scenario) -> None:
    """The engine as the row wants it, and its sign of life saying so."""
    engine, sign = desk.engine, desk.host.mailbox / "engine.json"
    engine.requests.clear()
    engine.losing, engine.torn_first = row.engine == "loses stems", row.engine == "torn status"
    engine.drafting, engine.parts = row.engine in ("drafts", "grows"), PARTS_S if row.engine == "grows" else []
    engine.holding = engine.drafting or row.engine in ("dies", "holds")
    engine.api = 99 if row.engine == "other api" else 1
    with engine._lock:
        engine.alive = row.engine != "stopped"
        sign.unlink(missing_ok=True)
    if engine.alive:
        wait_for(lambda: sign.exists() and f'"api": {engine.api}' in sign.read_text(), "the engine's sign of life")


def trouble(desk: Desk, row: Scenario) -> Callable[[], None]:
    """Brings about what stands in the way, and returns what takes it out of it again."""
    audio = desk.host.session / "interchange" / desk.host.session.name / "audiofiles"
    if row.offline:
        gone = [(path, path.with_name(path.name + ".gone")) for path in audio.glob(f"{Path(row.file).stem}*")]
        assert gone
        for path, away in gone:
            path.rename(away)
        return lambda: [away.rename(path) for path, away in gone] and None
    return lambda: None


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_in_ardour(row: Scenario, desk: Desk) -> None:
    desk.at_rate(row.rate_hz)
    host, engine = desk.host, desk.engine
    path = desk.lay_out(row)
    engine_is(desk, row)
    littered = litter(row, host.mailbox, path)
    before = song.saved_tracks(host) if not row.stems else {}
    n_before, end_trouble = desk.n_brought_in(), trouble(desk, row)
    desk.select(row)
    try:
        host.press(KEYS[row.gesture])
        desk.answer(row)
        if row.engine in ("dies", "holds"):
            wait_for(lambda: engine.requests, "the request")
        if row.engine == "dies":
            engine.fall_silent()
        if row.engine == "holds":
            host.press(KEYS["cancel"])
            wait_for(lambda: any(fields["op"] == "cancel" for fields in engine.requests), "the cancel")
        if row.says:
            assert row.says in host.told()
    finally:
        end_trouble()
    if engine.drafting:
        wait_for(lambda: desk.n_brought_in() > n_before, "the draft")
    if row.engine == "grows":
        engine.grow(1)
        wait_for(lambda: any("drafted more of 1" in line for line in host.log_lines()), "more of it")
    engine.holding, engine.alive = False, True
    if row.stems and row.engine != "loses stems":
        wait_for(lambda: desk.n_brought_in() > n_before, "the stems")
    wait_for(lambda: host.open_requests() == 0, "every request to be dealt with")
    statuses = host.mailbox / "status"
    wait_for(lambda: {path.name for path in statuses.iterdir()} == littered, "the answers to be taken")
    for name in littered:
        (statuses / name).unlink()
    assert not list(host.mailbox.glob("clients/*.json"))
    tracks = song.saved_tracks(host)
    if not row.stems:
        assert tracks == before
        return
    check(desk, row, path, tracks)


def check(desk: Desk, row: Scenario, path: Path, tracks: dict[str, song.SavedTrack]) -> None:
    submits = [fields for fields in desk.engine.requests if fields["op"] == "submit" and fields["rid"] != "other-1"]
    for fields in submits[-len(row.stems) :]:
        assert fields.get("prompt") == row.prompt
        assert ("span+" in fields) == (row.range_s is not None)
    name = desk.name
    source = tracks[name]
    prompt = row.prompt or "vocals"
    wanted = [f"{name} · {prompt}", f"{name} · no {prompt}"]
    found = [next(t for t in tracks.values() if t.name.startswith(want) and t.regions) for want in wanted]
    order = sorted(found, key=lambda track: track.order, reverse=row.gesture == "remove")
    assert sum(bool(track.regions) for track in tracks.values()) == 3
    if row.gesture in ("remove", "extract_selection"):
        first, second = found[::-1] if row.gesture == "remove" else found
        assert (first.muted, second.muted) == (False, True)
        assert first.order < second.order
    assert order == found or row.gesture == "extract_by_example"
    assert {track.colour for track in found} == {COLOUR}
    if row.grouped:
        assert {track.group for track in (source, *found)} == {"Voices"}
    noise = desk.noise[path]
    for (from_s, to_s), target, residual in zip(row.stems, found[0].regions, found[1].regions, strict=True):
        start, end = desk.samples(from_s), desk.samples(to_s)
        n = int((from_s - row.position_s) // (row.length_s + 0.5))
        at = start - desk.samples(row.position_s + n * (row.length_s + 0.5)) + desk.samples(row.start_s)
        piece = noise[at : at + end - start].T
        for stem in (target, residual):
            assert (stem.position, stem.length) == (start, end - start)
            assert stem.gain == pytest.approx(row.volume)
            np.testing.assert_array_equal(stem.audio(), piece * np.float32(0.5))
    muted = [(region.position, region.length) for region in source.regions if region.muted]
    spans = [(desk.samples(a), desk.samples(b) - desk.samples(a)) for a, b in row.stems]
    assert muted == (spans if row.gesture == "remove" else [])
