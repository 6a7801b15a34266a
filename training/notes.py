"""Songs as notes: a key, a tempo, chords, and what each role plays over them.

Pure arithmetic from a seeded generator: the same seed gives the same song.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from training.sources import Source


@dataclass(frozen=True)
class Note:
    """One note; `key` is a MIDI number, `velocity` 1 to 127."""

    start_s: float
    length_s: float
    key: int
    velocity: int


@dataclass(frozen=True)
class Part:
    """What one track of a groove plays (`training.grooves`)."""

    role: str
    """`drum`, `bass`, `chords`, `power` (chords without their third), `arp` or `melody`."""
    program: int
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class Song:
    """What all stems of a song share."""

    length_s: float
    beat_s: float
    swing: float
    """How late the second sixteenth of a pair comes, as a fraction of a sixteenth."""
    chords: tuple[tuple[int, ...], ...]
    """Pitch classes of the chord of each bar of four beats, root first."""
    scale: tuple[int, ...]
    """Pitch classes of the key."""
    parts: tuple[Part, ...] = ()
    """What a groove plays over the chords."""

    def at(self, step: float) -> float:
        """Seconds of a sixteenth."""
        late = self.swing if int(step) % 2 else 0.0
        return (step + late) * self.beat_s / 4

    @property
    def n_steps(self) -> int:
        """Sixteenths."""
        return int(self.length_s / self.beat_s * 4)


_MAJOR: Final = (0, 2, 4, 5, 7, 9, 11)
_MINOR: Final = (0, 2, 3, 5, 7, 8, 10)
_PROGRESSIONS: Final = (
    (0, 4, 5, 3),
    (0, 5, 3, 4),
    (1, 4, 0, 0),
    (0, 3, 0, 4),
    (5, 3, 0, 4),
    (0, 6, 5, 4),
    (0, 0, 3, 3),
    (0, 2, 3, 4),
)


def compose(rng: np.random.Generator, length_s: float) -> Song:
    """A random song."""
    tonic, modes = int(rng.integers(12)), (_MAJOR, _MINOR)
    scale = tuple((tonic + step) % 12 for step in modes[int(rng.integers(2))])
    beat_s = 60 / rng.uniform(66, 176)
    n_bars = int(length_s / beat_s / 4) + 2
    progression = _PROGRESSIONS[int(rng.integers(len(_PROGRESSIONS)))]
    n_tones = 3 if rng.random() < 0.7 else 4
    chords = tuple(
        tuple(scale[(progression[bar % 4] + 2 * tone) % 7] for tone in range(n_tones)) for bar in range(n_bars)
    )
    return Song(length_s, beat_s, float(rng.choice([0, 0, 0, 0.15, 0.33])), chords, scale)


def play(source: Source, song: Song, rng: np.random.Generator) -> list[Note]:
    """The notes of one source in a song, some sections of it silent."""
    roles = {
        "drum": _drum, "bass": _bass, "strum": _strum, "chords": _comp, "sustain": _sustain,
        "arp": _arpeggio, "melody": _melody, "free": _free,
    }  # fmt: skip
    role = source.role
    if role == "strum" and rng.random() < 0.35:
        role = str(rng.choice(["arp", "melody", "chords"]))
    elif role in ("chords", "arp") and rng.random() < 0.4:
        role = str(rng.choice(["arp", "melody", "chords", "sustain"]))
    elif role in ("melody", "sustain") and rng.random() < 0.25:
        role = str(rng.choice(["sustain", "melody", "arp"]))
    notes = (_from_groove(role, source, song, rng) if song.parts else []) or roles[role](source, song, rng)
    return _with_rests(notes, song, rng)


def _from_groove(role: str, source: Source, song: Song, rng: np.random.Generator) -> list[Note]:
    """A part of the song's groove within the source's range; none where no part suits, and sometimes by choice."""
    if role == "drum":
        beats = [note for part in song.parts if part.role == role for note in part.notes]
        return [note for note in beats if note.key in source.drum_keys]
    roles = ("power",) if source.amp > 2 and rng.random() < 0.7 else ("chords", "arp")
    parts = [part for part in song.parts if part.role in ((role,) if role in ("bass", "melody", "free") else roles)]
    if not parts or (role != "bass" and rng.random() < 0.25):
        return []
    alike = [part for part in parts if any(part.program // 8 == program // 8 for program in source.programs)]
    notes = (alike or parts)[int(rng.integers(len(alike or parts)))].notes
    inside = {up: sum(source.low <= note.key + up <= source.high for note in notes) for up in range(-36, 37, 12)}
    up = int(rng.choice([up for up, n in inside.items() if n >= 0.9 * max(inside.values())]))
    folded = [replace(note, key=_near(note.key % 12, note.key + up, source)) for note in notes]
    return list({(note.start_s, note.key): note for note in folded}.values())


def _with_rests(notes: list[Note], song: Song, rng: np.random.Generator) -> list[Note]:
    """Drop whole sections, so that when a source sounds says something of which it is."""
    if rng.random() < 0.4:
        return notes
    section_s = song.beat_s * 4 * float(rng.choice([0.5, 1, 1, 2]))
    keep = rng.random(int(song.length_s / section_s) + 2) < rng.uniform(0.3, 0.8)
    if not keep[:-1].any():
        keep[int(rng.integers(len(keep) - 1))] = True
    return [note for note in notes if keep[int(note.start_s / section_s)]]


def _near(pitch_class: int, around: int, source: Source) -> int:
    """The key of a pitch class nearest to another key, within the source's range."""
    key = around + (pitch_class - around + 6) % 12 - 6
    while key < source.low:
        key += 12
    while key > source.high:
        key -= 12
    return key


def _one(rng: np.random.Generator, choices: list[list[int]]) -> list[int]:
    return choices[int(rng.integers(len(choices)))]


def _velocity(rng: np.random.Generator, accent: bool = False) -> int:
    return int(np.clip(rng.normal(104 if accent else 86, 12), 30, 127))


def _drum(source: Source, song: Song, rng: np.random.Generator) -> list[Note]:
    """A groove of sixteenths repeated with small changes. Keys come from the source's own list."""
    chance = np.zeros(16)
    name = source.name
    if name == "kick":
        chance[[0, 8]] = 0.95
        chance[[4, 12]] = 0.95 if rng.random() < 0.4 else 0.05
        chance[[3, 6, 7, 10, 11, 14]] = rng.uniform(0, 0.5)
    elif name == "snare":
        chance[[4, 12]] = 0.95
        chance[[2, 7, 9, 10, 15]] = rng.uniform(0, 0.25)
    elif name == "hihat":
        chance[:: int(rng.choice([1, 2, 2, 4]))] = 0.95
        chance += 0.05
    elif name == "cymbals":
        if rng.random() < 0.5:
            chance[:: int(rng.choice([2, 4]))] = 0.9
        chance[0] = 0.5
    elif name == "toms":
        chance[8:] = rng.uniform(0.1, 0.7)
    elif name == "claps":
        chance[[4, 12]] = 0.95
        chance[[2, 14]] = rng.uniform(0, 0.3)
    else:
        chance[:] = rng.uniform(0.1, 0.6, 16) * (rng.random(16) < 0.6)
    keys = rng.permutation(source.drum_keys)[: int(rng.integers(1, 4))]
    groove = rng.random(16) < chance
    which = rng.integers(len(keys), size=16)
    notes = []
    for step in range(song.n_steps):
        place = step % 16
        hit = groove[place] if rng.random() < 0.85 else rng.random() < chance[place]
        if hit:
            jitter_s = float(rng.normal(0, 0.004))
            notes.append(
                Note(max(0.0, song.at(step) + jitter_s), 0.4, int(keys[which[place]]), _velocity(rng, place % 8 == 0))
            )
    return notes


def _bass(source: Source, song: Song, rng: np.random.Generator) -> list[Note]:
    pattern = _one(rng, [[0, 8], [0, 4, 8, 12], [0, 2, 4, 6, 8, 10, 12, 14], [0, 6, 8, 14], [0, 3, 6, 10, 12], [0]])
    held = float(rng.uniform(0.5, 1.0))
    notes = []
    for step in range(song.n_steps):
        if step % 16 not in pattern:
            continue
        chord = song.chords[step // 16]
        tone = chord[0] if rng.random() < 0.65 else int(rng.choice(chord))
        following = [p for p in pattern if p > step % 16]
        gap = (following[0] if following else 16) - step % 16
        notes.append(
            Note(song.at(step), gap * song.beat_s / 4 * held, _near(tone, source.low + 9, source), _velocity(rng))
        )
    return notes


def _voicing(chord: tuple[int, ...], source: Source, rng: np.random.Generator) -> list[int]:
    centre = int(rng.integers(source.low + 6, max(source.low + 7, source.high - 10)))
    return sorted({_near(tone, centre + 4 * i - 4, source) for i, tone in enumerate(chord)})


def _strum(source: Source, song: Song, rng: np.random.Generator) -> list[Note]:
    pattern = _one(
        rng, [[0, 4, 8, 12], [0, 2, 4, 6, 8, 10, 12, 14], [0, 4, 6, 10, 12, 14], [0, 3, 6, 8, 11, 14], [0, 8]]
    )
    power = source.amp > 2 and rng.random() < 0.7
    spread_s, held = float(rng.uniform(0.004, 0.025)), float(rng.uniform(0.3, 1.2))
    notes = []
    for step in range(song.n_steps):
        if step % 16 not in pattern:
            continue
        chord = song.chords[step // 16]
        root = _near(chord[0], source.low + 5, source)
        keys = (
            [root, root + 7, root + 12]
            if power
            else sorted({_near(t, root + 5 * i, source) for i, t in enumerate((*chord, *chord))})
        )
        if step % 4 and rng.random() < 0.3:
            keys = keys[::-1]
        for i, key in enumerate(keys):
            notes.append(Note(song.at(step) + i * spread_s, song.beat_s * held, key, _velocity(rng)))
    return notes


def _comp(source: Source, song: Song, rng: np.random.Generator) -> list[Note]:
    pattern = _one(rng, [[0], [0, 8], [0, 4, 8, 12], [0, 6, 12], [2, 6, 10, 14], [0, 3, 6, 10]])
    held, left_hand = float(rng.uniform(0.2, 2.0)), rng.random() < 0.5
    keys_of = [_voicing(chord, source, rng) for chord in song.chords]
    notes = []
    for step in range(song.n_steps):
        if step % 16 in pattern:
            keys = list(keys_of[step // 16])
            if left_hand and step % 8 == 0:
                keys.append(_near(song.chords[step // 16][0], source.low + 4, source))
            notes += [Note(song.at(step), song.beat_s * held, key, _velocity(rng)) for key in keys]
    return notes


def _sustain(source: Source, song: Song, rng: np.random.Generator) -> list[Note]:
    bars = int(rng.choice([1, 1, 2]))
    notes = []
    for bar in range(0, song.n_steps // 16 + 1, bars):
        for key in _voicing(song.chords[bar], source, rng):
            notes.append(Note(song.at(bar * 16), song.beat_s * 4 * bars * 0.98, key, _velocity(rng)))
    return notes


def _arpeggio(source: Source, song: Song, rng: np.random.Generator) -> list[Note]:
    stride, held = int(rng.choice([1, 2, 2, 4])), float(rng.uniform(0.8, 3.0))
    order = rng.permutation(8)
    notes = []
    for i, step in enumerate(range(0, song.n_steps, stride)):
        chord = song.chords[step // 16]
        key = _near(chord[order[i % 8] % len(chord)], source.low + 8 + 12 * (order[i % 8] // 4), source)
        notes.append(Note(song.at(step), stride * song.beat_s / 4 * held, key, _velocity(rng, i % 4 == 0)))
    return notes


def _melody(source: Source, song: Song, rng: np.random.Generator) -> list[Note]:
    key = int(rng.integers(source.low + 5, max(source.low + 6, source.high - 5)))
    notes, step = [], 0
    while step < song.n_steps:
        length = int(rng.choice([1, 2, 2, 3, 4, 4, 6, 8]))
        if rng.random() < 0.85:
            chord = song.chords[step // 16]
            tone = int(rng.choice(chord if step % 4 == 0 else song.scale))
            key = _near(tone, key + int(rng.integers(-4, 5)), source)
            notes.append(
                Note(song.at(step), length * song.beat_s / 4 * float(rng.uniform(0.7, 1.05)), key, _velocity(rng))
            )
        step += length
    return notes


def _free(source: Source, song: Song, rng: np.random.Generator) -> list[Note]:
    """Events without a beat: noises, effects."""
    notes, at_s = [], float(rng.uniform(0, 2))
    while at_s < song.length_s:
        length_s = float(rng.uniform(0.5, 4))
        notes.append(Note(at_s, length_s, int(rng.integers(source.low, source.high + 1)), _velocity(rng)))
        at_s += length_s + float(rng.uniform(0, 3))
    return notes
