"""Which sources the training data holds, how each is played, and where its sound comes from.

A *source* is one label of a stem. General MIDI programs are counted from 0. `made` names what renders it besides the
sound fonts: `shots` (recorded drum one-shots), `subtractive`, `fm`, `wavetable`, `string` (plucked physical model),
`singer`, `speech`, `noise`, `crowd`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Source:
    """One label: the MIDI programs and own syntheses that make it, what it plays and where."""

    name: str
    role: str
    """`drum`, `bass`, `strum`, `chords`, `sustain`, `arp`, `melody`, `free`."""
    low: int
    high: int
    """MIDI keys it stays within."""
    programs: tuple[int, ...] = ()
    made: tuple[str, ...] = ()
    drum_keys: tuple[int, ...] = ()
    amp: float = 0.0
    """How hard an amplifier simulation drives it: 0 none, 1 clean, 4 overdriven, 20 distorted."""


SOURCES: Final = (
    Source("kick", "drum", 0, 0, drum_keys=(35, 36), made=("shots",)),
    Source("snare", "drum", 0, 0, drum_keys=(38, 40, 37), made=("shots",)),
    Source("hihat", "drum", 0, 0, drum_keys=(42, 46, 44), made=("shots",)),
    Source("cymbals", "drum", 0, 0, drum_keys=(49, 51, 57, 59, 53, 55), made=("shots",)),
    Source("toms", "drum", 0, 0, drum_keys=(41, 43, 45, 47, 48, 50), made=("shots",)),
    Source("percussion", "drum", 0, 0, drum_keys=(54, 56, 60, 61, 62, 63, 64, 69, 70, 75, 76, 82), made=("shots",)),
    Source("claps", "drum", 0, 0, drum_keys=(39,), made=("shots", "noise")),
    Source("electric bass", "bass", 28, 50, (33, 34), amp=1.0),
    Source("slap bass", "bass", 28, 50, (36, 37)),
    Source("fretless bass", "bass", 28, 50, (35,)),
    Source("double bass", "bass", 28, 50, (32,)),
    Source("synth bass", "bass", 26, 48, (38, 39), ("subtractive", "fm", "wavetable")),
    Source("nylon guitar", "strum", 40, 76, (24,), ("string",)),
    Source("steel guitar", "strum", 40, 76, (25,), ("string",)),
    Source("clean guitar", "strum", 40, 76, (26, 27, 28), ("string",), amp=1.0),
    Source("overdriven guitar", "strum", 40, 76, (29, 27), ("string",), amp=4.0),
    Source("distorted guitar", "strum", 38, 72, (30, 29, 27), ("string",), amp=20.0),
    Source("piano", "chords", 36, 88, (0, 1, 2, 3)),
    Source("electric piano", "chords", 40, 84, (4, 5), ("fm",)),
    Source("harpsichord", "chords", 40, 84, (6, 7)),
    Source("organ", "sustain", 36, 84, (16, 17, 18, 19)),
    Source("accordion", "sustain", 48, 84, (21, 23)),
    Source("harmonica", "melody", 60, 84, (22,)),
    Source("violin", "melody", 55, 91, (40, 41)),
    Source("cello", "melody", 36, 67, (42, 43)),
    Source("strings", "sustain", 40, 88, (44, 48, 49)),
    Source("pizzicato", "arp", 48, 88, (45,)),
    Source("harp", "arp", 40, 90, (46,)),
    Source("choir", "sustain", 48, 79, (52, 53)),
    Source("singing", "melody", 45, 76, made=("singer",)),
    Source("speech", "free", 0, 0, made=("speech",)),
    Source("trumpet", "melody", 55, 82, (56, 59)),
    Source("trombone", "melody", 40, 70, (57, 58)),
    Source("french horn", "melody", 41, 74, (60,)),
    Source("brass section", "chords", 43, 79, (61, 62, 63)),
    Source("saxophone", "melody", 46, 80, (64, 65, 66, 67)),
    Source("clarinet", "melody", 50, 84, (71,)),
    Source("oboe", "melody", 50, 84, (68, 69, 70)),
    Source("flute", "melody", 60, 94, (72, 73, 74, 75)),
    Source("vibraphone", "arp", 53, 86, (11,), ("fm",)),
    Source("marimba", "arp", 45, 84, (12, 13)),
    Source("bells", "arp", 60, 96, (8, 9, 10, 14), ("fm",)),
    Source("synth lead", "melody", 55, 88, (80, 81, 84, 87), ("subtractive", "wavetable")),
    Source("synth pad", "sustain", 40, 80, (50, 51, 88, 89, 90, 91, 92, 94, 95), ("subtractive", "wavetable")),
    Source("synth arpeggio", "arp", 48, 90, (80, 81, 86), ("subtractive", "fm", "wavetable")),
    Source("banjo", "arp", 48, 80, (104, 105, 106)),
    Source("crowd", "free", 0, 0, made=("crowd",)),
    Source("noise", "free", 0, 0, made=("noise",)),
    Source("sound effects", "free", 60, 72, (122, 123, 124, 125, 127)),
)

BY_NAME: Final = {source.name: source for source in SOURCES}
DRUM_PARTS: Final = tuple(source.name for source in SOURCES if source.role == "drum")
