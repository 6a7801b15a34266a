"""DAWprojects for the tests."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

AUDIO = '<Audio channels="2" duration="4.0" sampleRate="44100" algorithm="raw"><File path="audio/take.wav"/></Audio>'


def clip(time: object, duration: object, inner: str = AUDIO, *, play: object = 0, **more: object) -> str:
    extra = "".join(f" {key}={quoteattr(str(value))}" for key, value in more.items())
    return f'<Clip time="{time}" duration="{duration}" playStart="{play}"{extra}>{inner}</Clip>'


def project(
    tracks: Sequence[tuple[str, Sequence[str]]],
    *,
    unit: str = "seconds",
    more: str = "",
    head: str = '<?xml version="1.0" encoding="UTF-8"?>\n',
) -> str:
    structure = "".join(
        f'<Track contentType="audio" loaded="true" id="id{n}" name={quoteattr(name)} color="#a2eabf">'
        f'<Channel audioChannels="2" destination="master" role="regular" solo="false" id="ch{n}"><Devices/>'
        f'<Mute value="false" id="mute{n}" name="Mute"/><Pan unit="normalized" value="0.5" id="pan{n}" name="Pan"/>'
        f'<Volume unit="linear" value="0.7" id="vol{n}" name="Volume"/></Channel></Track>\n'
        for n, (name, _) in enumerate(tracks)
    )
    lanes = "".join(
        f'<Lanes track="id{n}" id="lanes{n}"><Clips id="clips{n}">{"".join(clips)}</Clips></Lanes>\n'
        for n, (_, clips) in enumerate(tracks)
    )
    return (
        f'{head}<Project version="1.0"><Application name="Test" version="1"/>'
        '<Transport><Tempo unit="bpm" value="120" id="tempo" name="Tempo"/></Transport>'
        f'<Structure>{structure}<Track contentType="tracks" id="m" name="Master"><Channel role="master" id="master"/>'
        f'</Track></Structure><!-- kept --><Arrangement id="arr">'
        f'<Lanes timeUnit="{unit}" id="top">{lanes}</Lanes>{more}'
        "</Arrangement><Scenes/></Project>\n"
    )


def write(path: Path, text: str, members: dict[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.xml", "<MetaData/>")
        archive.writestr("project.xml", text)
        for name, data in (members if members is not None else {"audio/take.wav": b"RIFF"}).items():
            archive.writestr(name, data)
    return path
