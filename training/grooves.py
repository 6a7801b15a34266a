"""Songs played by MMA, a program that turns chord charts into accompaniment: its grooves give them drums, bass, chords.

The program (Debian package `mma`, GPL-2) only writes the notes: none of its files is kept, only sound made of them.
The styles are those of the library that is installed with it, as far as they are in 4/4.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final
from zlib import crc32

import numpy as np

from training.notes import Note, Part, Song
from training.sources import SOURCES

_LONGEST_S: Final = 60
"""MMA takes a tenth of a second for a song of 15 s."""
_TIME: Final = re.compile(r"^[ \t]*Time[ \t]+(\S+)", re.IGNORECASE | re.MULTILINE)
_DEFINED: Final = re.compile(r"^[ \t]*DefGroove[ \t]+([\w#'-]+)(?=\s)", re.IGNORECASE | re.MULTILINE)
_NO_BASIS: Final = re.compile(r"intro|fill|break|metronome|none|ending|(end|count)\d*$", re.IGNORECASE)
_ROLES: Final = {
    "bass": "bass", "walk": "bass", "chord": "chords", "plectrum": "chords", "arpeggio": "arp", "scale": "melody",
    "melody": "melody", "solo": "melody", "aria": "melody",
}  # fmt: skip
"""MMA's kinds of track → roles of `training.sources`."""
_DRUM_CHANNEL: Final = 9
_BASSES: Final = range(32, 40)
"""General MIDI programs."""
_ROOTS: Final = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_KINDS: Final = {
    (4, 7): "", (3, 7): "m", (3, 6): "mb5", (4, 8): "aug", (4, 7, 10): "7", (4, 7, 11): "maj7", (3, 7, 10): "m7",
    (3, 6, 10): "m7b5", (3, 6, 9): "dim", (4, 7, 9): "6", (3, 7, 9): "m6", (5, 7): "sus4",
}  # fmt: skip
"""Semitones above the root → how MMA writes that chord."""
_DRUM_KEYS: Final = tuple(sorted({key for source in SOURCES for key in source.drum_keys}))


@dataclass(frozen=True)
class Style:
    """One file of MMA's library: grooves that are variants of each other."""

    file: str
    """Its path in the library."""
    grooves: tuple[str, ...]


@cache
def styles(held_out: bool) -> tuple[Style, ...]:
    """The installed styles in 4/4, or those held out: about one in six, by name alone. Empty without MMA.

    A name is held out in all of the library's collections: several have a style of the same name.
    """
    program = shutil.which("mma")
    if program is None:
        return ()
    library = Path(program).resolve().parents[1] / "share" / "mma" / "lib"
    found = []
    for path in sorted(library.rglob("*.mma")):
        if _NO_BASIS.search(path.stem):
            continue
        text = path.read_text("latin-1")
        times = {time.partition("/")[0] for time in _TIME.findall(text)}
        grooves = tuple(dict.fromkeys(name for name in _DEFINED.findall(text) if not _NO_BASIS.search(name)))
        if times == {"4"} and grooves and (crc32(path.stem.lower().rstrip("0123456789").encode()) % 6 == 0) == held_out:
            found.append(Style(path.relative_to(library).as_posix(), grooves))
    return tuple(found)


def with_groove(song: Song, rng: np.random.Generator, *, held_out: bool) -> Song:
    """The song with the parts that a random style plays over its chords; the song itself without MMA.

    Raises `OSError` or `ValueError`, which name the groove, when MMA cannot play it.
    """
    known = styles(held_out)
    if not known:
        return song
    style = known[int(rng.integers(len(known)))]
    variants = rng.permutation(np.array(style.grooves))[:2].tolist()
    return replace(song, parts=accompany(song, style.file, variants, seed=int(rng.integers(1 << 30))))


def chart(song: Song, file: str, grooves: Sequence[str], seed: int) -> str:
    """A chord chart as MMA reads it: a bar a line; the grooves take turns every four bars."""
    lines = [f"RndSeed {seed}", f"Tempo {60 / song.beat_s:.3f}"]
    for bar, chord in enumerate(song.chords):
        if bar % 4 == 0:
            lines.append(f"Groove {file}:{grooves[bar // 4 % len(grooves)]}")
        lines.append(f"{bar + 1} {_named(chord)}")
    return "\n".join([*lines, ""])


def _named(chord: tuple[int, ...]) -> str:
    """A chord's name from its pitch classes. Raises `ValueError` for one that has none here."""
    kind = tuple(sorted((tone - chord[0]) % 12 for tone in chord[1:]))
    if kind not in _KINDS:
        raise ValueError(f"no name for a chord of {kind} semitones above its root; known: {sorted(_KINDS)}")
    return _ROOTS[chord[0] % 12] + _KINDS[kind]


def accompany(song: Song, file: str, grooves: Sequence[str], *, seed: int) -> tuple[Part, ...]:
    """What MMA plays over a song's chords. Raises `OSError` or `ValueError`, which name the groove, when it fails."""
    what = f"MMA's groove {file}:{'/'.join(grooves)}"
    with tempfile.TemporaryDirectory(prefix="groove-") as folder:
        written, played = Path(folder, "chart.mma"), Path(folder, "chart.mid")
        written.write_text(chart(song, file, grooves, seed))
        # A home of its own: the settings of the person who runs this would change the songs.
        environment = os.environ | {"HOME": folder, "XDG_CONFIG_HOME": folder}
        try:
            done = subprocess.run(
                ["mma", "-w", "-f", str(played), str(written)],
                cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=_LONGEST_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as e:
            raise OSError(f"{what} was not played within {_LONGEST_S} s") from e
        if done.returncode != 0 or not played.exists():
            raise ValueError(f"{what} cannot be played: {' '.join((done.stdout + done.stderr).split())}")
        parts = _read(played, song)
    if not parts:
        raise ValueError(f"{what} plays no note")
    heard = [replace(part, notes=tuple(n for n in part.notes if n.start_s < song.length_s)) for part in parts]
    return tuple(part for part in heard if part.notes)


def _read(path: Path, song: Song) -> tuple[Part, ...]:
    """The parts of a MIDI file, timed by the song's own beats."""
    import mido

    file = mido.MidiFile(path)
    tick_s = song.beat_s / file.ticks_per_beat
    parts = []
    for track in file.tracks:
        program, drums, at, notes = 0, False, 0, []
        open_notes: dict[int, tuple[int, int]] = {}
        for message in track:
            at += message.time
            if message.type == "program_change":
                program, drums = message.program, message.channel == _DRUM_CHANNEL
            elif message.type in ("note_on", "note_off"):
                begun = open_notes.pop(message.note, None)
                if begun:
                    start, velocity = begun
                    notes.append((start, max(at - start, 1), message.note, velocity))
                if message.type == "note_on" and message.velocity:
                    open_notes[message.note] = (at, message.velocity)
        # A style may give its tracks names of its own.
        named = _ROLES.get(track.name.partition("-")[0].lower(), "bass" if program in _BASSES else "chords")
        role = "drum" if drums else named
        kept = [
            Note(start * tick_s, length * tick_s, _drum_key(key) if role == "drum" else key, velocity)
            for start, length, key, velocity in sorted(notes)
            if role != "drum" or 35 <= key <= 81  # General MIDI's drums
        ]
        if kept:
            parts.append(Part(role, program, tuple(kept)))
            if role == "chords":
                parts.append(Part("power", program, _power_chords(kept, song)))
    return tuple(parts)


def _power_chords(notes: Sequence[Note], song: Song) -> tuple[Note, ...]:
    """Root, fifth and octave wherever a part strikes, for guitars that are driven too hard for thirds."""
    struck: list[Note] = []
    for note in notes:
        if not struck or note.start_s - struck[-1].start_s > song.beat_s / 8:
            struck.append(note)
    # A note before its bar line by less than a sixteenth is early, not of the bar before.
    bars = [min(int(note.start_s / song.beat_s / 4 + 1 / 16), len(song.chords) - 1) for note in struck]
    roots = [36 + song.chords[bar][0] for bar in bars]
    return tuple(replace(note, key=root + up) for note, root in zip(struck, roots, strict=True) for up in (0, 7, 12))


def _drum_key(key: int) -> int:
    """The nearest key that one of our sources plays: a china cymbal is a cymbal, a whistle is percussion."""
    return min(_DRUM_KEYS, key=lambda known: abs(known - key))
