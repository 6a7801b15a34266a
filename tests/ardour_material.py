"""Ardour sessions for the tests, as text: as versions 7 and 6 write them, cut down to what is read."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import quoteattr

RATE_HZ = 48_000
TICKS = 282_240_000 // RATE_HZ

Region = tuple[int, int, int]
"""(position, length, start) in samples."""


def session(
    tracks: Sequence[tuple[str, Sequence[Region]]],
    *,
    version: int = 7002,
    locations: str = "",
    tempo: str = '<Tempo npm="120" note-type="4" type="Tempo::Constant" sclock="0" quarters="0:0"/>',
) -> str:
    ids = iter(range(100, 10**6))
    left, right = next(ids), next(ids)
    routes, playlists = [], []
    for n, (name, regions) in enumerate(tracks):
        playlist = next(ids)
        routes.append(
            f'<Route version="7002" id="{next(ids)}" name={quoteattr(name)} default-type="audio" '
            f'audio-playlist="{playlist}"><PresentationInfo order="{n + 1}" flags="AudioTrack" color="869033727"/>'
            f'<IO name={quoteattr(name)} id="{next(ids)}" direction="Input" default-type="audio"><Port type="audio" '
            f'name={quoteattr(f"{name}/audio_in 1")}><Connection other="system:capture_1"/></Port></IO>'
            f'<Controllable name="mute" id="{next(ids)}" value="0"/>'
            f'<Processor id="{next(ids)}" name="Amp" type="amp"/>'
            f'<Processor id="{next(ids)}" name="EQ" type="lv2"/></Route>'
        )
        own = []
        for position, length, start in regions:
            times = (
                f'start="a{start * TICKS}" length="a{length * TICKS}@a{position * TICKS}"'
                if version >= 7000
                else f'start="{start}" length="{length}" position="{position}"'
            )
            own.append(
                f'<Region name="take" muted="0" {times} scale-amplitude="0.5" id="{next(ids)}" type="audio" '
                f'source-0="{left}" source-1="{right}" master-source-0="{left}" master-source-1="{right}" channels="2">'
                "<!-- kept --></Region>"
            )
        playlists.append(f'<Playlist id="{playlist}" name="p" type="audio">{"".join(own)}</Playlist>')
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<Session version="{version}" name="Song" sample-rate="{RATE_HZ}" id-counter="{next(ids)}">\n'
        f'  <Unknown x="1"/>\n  <Sources>\n    <Source name="take%L.wav" type="audio" id="{left}" channel="0"/>\n'
        f'    <Source name="take%R.wav" type="audio" id="{right}" channel="0"/>\n  </Sources>\n'
        f"  <Locations>{locations}</Locations>\n  <Routes>{''.join(routes)}</Routes>\n"
        f"  <Playlists>{''.join(playlists)}</Playlists>\n"
        f'  <TempoMap superclocks-per-second="282240000"><Tempos>{tempo}</Tempos></TempoMap>\n</Session>\n'
    )
