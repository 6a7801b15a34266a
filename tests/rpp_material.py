"""REAPER projects for the tests, as text."""

from __future__ import annotations

from bridge.sessions.rpp_text import quoted

HEAD = """<REAPER_PROJECT 0.1 "7.61/linux-x86_64" 1700000000
  <NOTES 0 2
    |a note: <not a chunk, and > no end
  >
  RIPPLE 0
  SAMPLERATE 48000 0 0
  TEMPO 120 4 4
"""


def item(position: object, length: object, file: str, *more: str, soffs: object = 0, rate: object = 1) -> str:
    own = "".join(f"      {line}\n" for line in more)
    return (
        f"    <ITEM\n      POSITION {position}\n      LENGTH {length}\n      LOOP 0\n      FADEIN 1 0.01 0 1 0 0 0\n"
        f"      FADEOUT 1 0.02 0 1 0 0 0\n{own}      NAME {quoted(file)}\n      VOLPAN 0.5 0 1 -1\n"
        f"      SOFFS {soffs}\n      PLAYRATE {rate} 1 0 -1 0 0.0025\n      CHANMODE 0\n"
        f"      <SOURCE WAVE\n        FILE {quoted(file)}\n"
        "      >\n    >\n"
    )


def track(name: str, *items: str, mute: int = 0, bus: str = "0 0") -> str:
    lines = f"  <TRACK {{AAAA}}\n    NAME {quoted(name)}\n    MUTESOLO {mute} 0 0\n    ISBUS {bus}\n"
    chain = '    <FXCHAIN\n      <VST "VST: ReaEQ" reaeq.dll 0 ""\n        ZXF0Pm5vdDxhIGNodW5r\n      >\n    >\n'
    return lines + chain + "".join(items) + "  >\n"


def project(*tracks: str, markers: str = "") -> str:
    return HEAD + markers + "".join(tracks) + "  <EXTENSIONS\n    SOMETHING 1\n  >\n>\n"
