"""What every DAW's script must do, as data: one row a situation. Each host's tests build it and check the end.

Times are in seconds of the timeline, `start_s` is where in the file the item begins. A host passes every row,
or says in `scenario_limits.py` why the row's situation cannot arise there: `rows_for(host)` gives its tests the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scenario_limits import NOT_POSSIBLE

Gesture = Literal[
    "extract_selection", "extract_by_example", "extract_items", "remove", "batch_tracks", "regions_to_jobs"
]
Engine = Literal[
    "running",
    "stopped",
    "other api",
    "dies",
    "loses stems",
    "torn status",
    "holds",
    "drafts",
    "grows",
    "garbage",
    "stale",
    "shared",
]
"""`drafts`: where a draft is asked for it comes first. `grows`: so do drafts of each of `PARTS_S`. `torn status`: an
answer is first seen half-written. `garbage`: what is no answer lies or comes among the answers. `stale`: an answer to a
request of long ago is there. `shared`: another DAW's request is on the same engine."""


PARTS_S = [(0.4, 0.6), (0.25, 0.9)]
"""Of the region, from and to."""


@dataclass(frozen=True)
class Scenario:
    """One situation and what comes of it."""

    name: str
    gesture: Gesture = "extract_selection"
    range_s: tuple[float, float] | None = (11.0, 12.0)
    select: Literal["track", "item", "nothing"] = "track"
    track: str = "Lead Vox"
    rate_hz: int = 44_100
    n_channels: int = 2
    position_s: float = 10.0
    start_s: float = 0.5
    length_s: float = 3.0
    n_items: int = 1
    """Items on the track, one after the other with half a second between."""
    file: str = "take 1.wav"
    playrate: float = 1.0
    reversed: bool = False
    section: bool = False
    looped: bool = False
    stretched: bool = False
    channel: int = 0
    """0: all; 3: the left one only."""
    fades_s: tuple[float, float] = (0.0, 0.0)
    volume: float = 1.0
    muted: bool = False
    midi: bool = False
    offline: bool = False
    frozen: bool = False
    armed: bool = False
    grouped: bool = False
    """The track is one of several in the DAW's own kind of group: a folder, a group of tracks."""
    tempo_change: bool = False
    """The song goes from 120 to 90 beats a minute at 11.5 s."""
    regions: tuple[tuple[float, float, str], ...] = ()
    """From, to and name of each region of the project."""
    again_s: tuple[float, float] | None = None
    """The range of a second gesture, “Repeat last”, made when the first one's stems are in."""
    project: Literal["saved", "unsaved", "read only"] = "saved"
    answers: tuple[tuple[str, ...] | None, ...] = ()
    """What the person answers to each question; None: closed."""
    engine: Engine = "running"

    stems: tuple[tuple[float, float], ...] = ((11.0, 12.0),)
    """From and to of each piece that comes back; empty: nothing is changed."""
    says: str = ""
    """Part of the message; empty: none comes."""
    prompt: str | None = None
    """The words the request carries; None: the track's name goes instead."""
    read_by_host: bool = False
    """Whether the DAW must be asked for the samples, because the file is not what is heard."""

    @property
    def has_example(self) -> bool:
        """Whether each request says where the sound is heard."""
        return bool(self.regions) or (
            self.range_s is not None and self.gesture not in ("extract_items", "batch_tracks")
        )

    @property
    def n_gestures(self) -> int:
        return 1 if self.again_s is None else 2


WHOLE = ((10.0, 13.0),)
NOT_SENT = "Nothing was sent"

SCENARIOS = (
    Scenario("a range"),
    Scenario("a range in mono", n_channels=1),
    *(Scenario(f"a range at {hz} Hz", rate_hz=hz) for hz in (48_000, 88_200, 96_000)),
    Scenario("a range in mono at 96 kHz", rate_hz=96_000, n_channels=1),
    Scenario("a file from its first sample", start_s=0.0),
    Scenario("an item at the song's first sample", position_s=0.0, range_s=(1.0, 2.0), stems=((1.0, 2.0),)),
    Scenario("a range between samples", range_s=(11.0000123, 12.0000456), stems=((11.0000123, 12.0000456),)),
    Scenario("an item between samples", position_s=10.000_007, stems=((11.0, 12.0),)),
    Scenario("a range over the item's end", range_s=(12.5, 20.0), stems=((12.5, 13.0),)),
    Scenario("a range over two items", n_items=2, range_s=(12.0, 15.0), stems=((12.0, 13.0), (13.5, 15.0))),
    Scenario("a very long selection", range_s=(0.0, 36_000.0), stems=WHOLE),
    Scenario("a tempo change", tempo_change=True),
    Scenario("a very long way into the song", position_s=3600.0, range_s=(3601.0, 3602.0), stems=((3601.0, 3602.0),)),
    Scenario("a selected item", range_s=None, select="item", stems=WHOLE),
    *(
        Scenario(f"a selected item at {hz} Hz", rate_hz=hz, range_s=None, select="item", stems=WHOLE)
        for hz in (48_000, 88_200, 96_000)
    ),
    Scenario("a selected item in mono", n_channels=1, range_s=None, select="item", stems=WHOLE),
    Scenario(
        "a selected item in mono at 96 kHz", rate_hz=96_000, n_channels=1, range_s=None, select="item", stems=WHOLE
    ),
    Scenario("whole items in spite of a range", gesture="extract_items", select="item", stems=WHOLE),
    Scenario("every item of a track", gesture="batch_tracks", n_items=2, stems=((10.0, 13.0), (13.5, 16.5))),
    Scenario(
        "regions that name what sounds where",
        gesture="regions_to_jobs",
        range_s=None,
        select="item",
        regions=((10.5, 11.0, "drums"), (12.0, 12.5, "no drums"), (20.0, 21.0, "bass")),
        prompt="drums",
        stems=WHOLE,
    ),
    Scenario("the last gesture again, elsewhere", again_s=(12.25, 12.75), stems=((11.0, 12.0), (12.25, 12.75))),
    Scenario("by example", gesture="extract_by_example", stems=WHOLE),
    Scenario("by example in mono at 48 kHz", gesture="extract_by_example", rate_hz=48_000, n_channels=1, stems=WHOLE),
    Scenario("by example at 96 kHz", gesture="extract_by_example", rate_hz=96_000, stems=WHOLE),
    Scenario("by example at half speed", gesture="extract_by_example", playrate=0.5, stems=WHOLE, read_by_host=True),
    Scenario(
        "by example without a range",
        gesture="extract_by_example",
        range_s=None,
        select="item",
        stems=(),
        says="Select a time range in which the sound is heard",
    ),
    Scenario("remove, the name as it stands", gesture="remove", answers=(("Lead Vox",),)),
    Scenario("remove at 48 kHz", gesture="remove", rate_hz=48_000, answers=(("Lead Vox",),)),
    Scenario("remove in mono at 96 kHz", gesture="remove", rate_hz=96_000, n_channels=1, answers=(("Lead Vox",),)),
    Scenario("remove, in other words", gesture="remove", answers=(("drums",),), prompt="drums"),
    Scenario("remove, thought better of", gesture="remove", answers=(None,), stems=()),
    Scenario(
        "remove from a whole item",
        gesture="remove",
        range_s=None,
        select="item",
        answers=(("drums",),),
        prompt="drums",
        stems=WHOLE,
    ),
    Scenario(
        "remove from a whole item at 48 kHz",
        gesture="remove",
        rate_hz=48_000,
        range_s=None,
        select="item",
        answers=(("Lead Vox",),),
        stems=WHOLE,
    ),
    Scenario(
        "remove from a whole item in mono at 96 kHz",
        gesture="remove",
        rate_hz=96_000,
        n_channels=1,
        range_s=None,
        select="item",
        answers=(("drums",),),
        prompt="drums",
        stems=WHOLE,
    ),
    Scenario("half as loud", range_s=None, select="item", volume=0.5, stems=WHOLE),
    Scenario("fades", range_s=None, select="item", fades_s=(0.25, 0.5), stems=WHOLE),
    Scenario("a fade cut by the range", range_s=(10.1, 12.0), fades_s=(0.25, 0.5), stems=((10.1, 12.0),)),
    Scenario("faster", playrate=1.25, read_by_host=True),
    Scenario("with stretch markers", stretched=True, read_by_host=True),
    Scenario("a section of a file", section=True, read_by_host=True),
    Scenario("a reversed section", section=True, reversed=True, read_by_host=True),
    Scenario(
        "a loop longer than its file",
        looped=True,
        length_s=6.0,
        range_s=(13.0, 15.5),
        stems=((13.0, 15.5),),
        read_by_host=True,
    ),
    Scenario("one channel of a stereo file", channel=3, read_by_host=True),
    Scenario("a compressed file", file="take 1.ogg", read_by_host=True),
    Scenario("names in other scripts", track="Голос «соло» 🎤", file="Привет, 歌.wav"),
    Scenario("a very long name", track="Ein sehr langer Name für eine Spur mit dem Gesang, " * 4),
    Scenario("a name that is no file name", track='../Lead: "Vox" <1>?*|\\'),
    Scenario("an override after two colons", track="BUS 7 :: lead vocals"),
    Scenario("a nameless track, asked", track="Audio 7", answers=(("drums",),), prompt="drums"),
    Scenario(
        "a nameless track at another speed, asked",
        track="Audio 7",
        playrate=2.0,
        answers=(("drums",),),
        prompt="drums",
        read_by_host=True,
    ),
    Scenario("a nameless track, no answer", track="Audio 7", answers=(None,), stems=()),
    Scenario("a track without a name", track="", answers=(("drums",),), prompt="drums"),
    Scenario("what the model cannot do", track="Tambourine", stems=(), says="cannot separate <tambourine> & more"),
    Scenario("nothing selected", range_s=None, select="nothing", stems=(), says="Nothing is selected"),
    Scenario("a range and no track", select="nothing", stems=(), says="in the selected range on the selected tracks"),
    Scenario("a range without audio", range_s=(20.0, 21.0), stems=(), says="in the selected range"),
    Scenario("a muted item", muted=True, stems=(), says="is muted"),
    Scenario("a MIDI item", midi=True, stems=(), says="holds MIDI"),
    Scenario("a file that is gone", offline=True, stems=(), says="cannot be read"),
    Scenario("a frozen track", frozen=True),
    Scenario("an armed track", armed=True),
    Scenario("a grouped track", grouped=True),
    Scenario("a project that was never saved", project="unsaved"),
    Scenario("a project folder that cannot be written", project="read only", stems=(), says="It stays at"),
    Scenario("no engine", engine="stopped", stems=(), says="stembridge serve"),
    Scenario("an engine of another version", engine="other api", stems=(), says="do not fit together"),
    Scenario("an engine that dies", engine="dies", says="engine has stopped"),
    Scenario("a stem that is gone", engine="loses stems", stems=(), says="is no longer on the disk"),
    Scenario("a torn status", engine="torn status"),
    Scenario("garbage among the answers", engine="garbage"),
    Scenario("an answer of long ago", engine="stale"),
    Scenario("another DAW on the same engine", engine="shared"),
    Scenario("cancelled", engine="holds", stems=()),
    Scenario("a draft, then its result", engine="drafts"),
    Scenario("drafts that grow from the playhead, then the result", engine="grows"),
)


@dataclass(frozen=True)
class Program:
    """A DAW of the table: its name, and what the table's tests run in."""

    name: str
    run_in: str


HOSTS: dict[str, Program] = {
    "ardour": Program("Ardour", "the real program"),
    "reaper": Program("REAPER", "a stand-in for REAPER, Lua 5.4"),
    "live": Program("Ableton Live", "a stand-in for Live"),
    "bitwig": Program("Bitwig Studio", "a stand-in for Bitwig, in Node"),
    "audacity": Program("Audacity 3", "the real program"),
}
"""The tests of each lie in `test_<host>_scenarios.py`."""


def reason(host: str, scenario: str) -> str | None:
    """Why a situation cannot arise in a host; None where it can, and must pass."""
    for why, names in NOT_POSSIBLE[host].items():
        if scenario in names:
            return why
    return None


def rows_for(host: str) -> list[Scenario]:
    """The rows that a host must pass."""
    return [row for row in SCENARIOS if reason(host, row.name) is None]
