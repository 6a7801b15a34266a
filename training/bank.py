"""Stage 1: render songs as stems, kept as `training.songs` does.

Seeded by the song's number and resumable: what is there is kept. Held-out songs use other sound fonts, kits and
voices than training songs do.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
import soxr

from training.drums import make
from training.effects import level, treat
from training.grooves import styles, with_groove
from training.ladspa import Rack
from training.notes import Note, Song, compose, play
from training.playing import duck, echo, waver
from training.recordings import Shots, crowd, read_shots, speak, strike
from training.samplers import Sampler, read_samplers
from training.singers import sing, sing_together
from training.songs import BAND, write_song
from training.soundfonts import RATE_HZ, SoundFont
from training.sources import BY_NAME, DRUM_PARTS, SOURCES, Source
from training.synthesis import Mono, perform

SONG_S: Final = 15.0
N_PITCHED: Final = 7
_BASSES: Final = tuple(source.name for source in SOURCES if source.role == "bass")
_OTHERS: Final = tuple(source.name for source in SOURCES if source.role not in ("drum", "bass"))
_SAMPLED: Final = 0.6
"""How often a source that was recorded note by note is played with those recordings."""
_SUNG: Final = {"singing": (sing, 0.65), "choir": (sing_together, 0.35)}
"""Who sings with speaking voices, and how often."""
_WAVERING: Final = 0.35
"""How many stems are played by hands that drift and have a vibrato."""
_DOUBLED: Final = 0.35
"""How many driven guitars are played twice, through two amplifiers."""
_GROOVED: Final = 0.5
"""How many songs have a groove of MMA."""
_GROOVE_SEED: Final = 1000
"""Above every source's number."""
_MADE: Final = 10
_MADE_PARTS: Final = 0.15
"""A song's kit is a number from -8 to 15: from `_MADE` on its drums are made, and so is this share of others' parts."""
_SILENT: Final = 1e-4
_QUIET_RMS: Final = 0.01
_FIRST_RECORDED: Final = 90000
"""Number of the first song that is a recording: behind all that are rendered."""
_FIRST_DUET: Final = 95000
"""Number of the first recording with its band."""


@dataclass(frozen=True)
class Studio:
    """The sound fonts, shots and instruments recorded note by note that songs are made with."""

    fonts: tuple[SoundFont, ...]
    kits: tuple[SoundFont, ...]
    shots: Shots
    held_out: bool = False
    samplers: Mapping[str, tuple[Sampler, ...]] = field(default_factory=dict)
    rack: Rack | None = None


def open_studio(material: Path, *, held_out: bool) -> Studio:
    """Open the sounds under `material`, where what README.md lists is unpacked."""

    def font(name: str) -> SoundFont:
        places = [*material.rglob(name), *Path("/usr/share/sounds").rglob(name)]
        if not places:
            raise FileNotFoundError(f"{name} is neither under {material} nor in /usr/share/sounds")
        return SoundFont(places[0])

    if held_out:
        fonts: tuple[SoundFont, ...] = (font("TimGM6mb.sf2"),)
        kits = (font("Black_Pearl_4_LV2.sf2"), font("Red_Zeppelin_4_LV2.sf2"))
        return Studio(fonts, kits, Shots({}), held_out=True)
    fonts = (font("FluidR3_GM.sf2"), font("MuseScore_General_Lite.sf3"), font("sonivox.sf2"))
    names = ("Audiophob", "rumpf_kit_z01_h2", "sonic-pi/samples")
    folders = [place for name in names for place in material.glob(f"**/{name}")]
    rack = Rack("caps.so", material)
    return Studio(fonts, fonts, read_shots(folders), samplers=read_samplers(material), rack=rack)


def choose_sources(number: int, rng: np.random.Generator) -> list[Source]:
    """A song's sources: most of a drum kit, a bass, and others in turn so that all come equally often."""
    drums = [name for name in DRUM_PARTS if rng.random() < (0.85 if name in ("kick", "snare", "hihat") else 0.45)]
    order = np.random.default_rng(number * N_PITCHED // len(_OTHERS)).permutation(len(_OTHERS))
    others = [_OTHERS[order[(number * N_PITCHED + i) % len(_OTHERS)]] for i in range(N_PITCHED)]
    return [BY_NAME[name] for name in dict.fromkeys([*drums, _BASSES[number % len(_BASSES)], *others])]


def render(source: Source, song: Song, studio: Studio, kit: int, rng: np.random.Generator) -> Mono:
    """One stem."""
    if source.name == "speech":
        return speak(song.length_s, rng, held_out=studio.held_out)
    if source.name == "crowd":
        return crowd(song.length_s, rng, held_out=studio.held_out)
    notes = play(source, song, rng)
    if source.role == "drum":
        return beat(source, notes, song, studio, kit, rng)
    if source.name in _SUNG:
        voices, share = _SUNG[source.name]
        if rng.random() < share:
            return voices(notes, song.length_s, rng, held_out=studio.held_out)
    own = not source.programs or (bool(source.made) and not studio.held_out and rng.random() < 0.4)
    if own:
        return perform(str(rng.choice(source.made)), notes, song.length_s, rng)
    font = studio.fonts[int(rng.integers(len(studio.fonts)))]
    program = int(rng.choice(source.programs))
    bank = 0 if studio.held_out else int(rng.choice(font.banks(program)))
    return font.render(notes, program, song.length_s, bank=bank)


def beat(source: Source, notes: list[Note], song: Song, studio: Studio, kit: int, rng: np.random.Generator) -> Mono:
    """A part of the drums, by the song's kit: below 0 recorded, from `_MADE` on made, else a sound font's."""
    if studio.held_out:
        if source.name == "claps" and rng.random() < 0.5:
            return perform("noise", notes, song.length_s, rng)
        return studio.kits[abs(kit) % len(studio.kits)].render(notes, 0, song.length_s, drums=True)
    blows = studio.shots.choose(source.name, notes, rng) if kit < 0 else None
    if blows is None and (kit >= _MADE or rng.random() < _MADE_PARTS):
        blows = {key: make(source.name, rng) for key in sorted({note.key for note in notes})}
    if blows is not None:
        return strike(blows, notes, song.length_s)
    font = studio.kits[abs(kit) % len(studio.kits)]
    return font.render(notes, font.kits[int(rng.integers(len(font.kits)))], song.length_s, drums=True)


def sampler_of(source: Source, studio: Studio, rng: np.random.Generator) -> Sampler | None:
    """The recorded instrument that plays a source this time, if one does."""
    samplers = studio.samplers.get(source.name, ())
    return samplers[int(rng.integers(len(samplers)))] if samplers and rng.random() < _SAMPLED else None


def render_song(number: int, studio: Studio, length_s: float = SONG_S) -> tuple[list[str], np.ndarray]:
    """Labels and `(stem, sample)` int16 stems of a song; stems that stayed silent are left out."""
    rng = np.random.default_rng([number, int(studio.held_out)])
    song = compose(rng, length_s)
    groove_rng = np.random.default_rng([number, int(studio.held_out), _GROOVE_SEED])
    if groove_rng.random() < _GROOVED:
        song = with_groove(song, groove_rng, held_out=studio.held_out)
    kit = int(rng.integers(-8, 16))  # below 0: recorded one-shots
    labels, stems = [], []
    for source in choose_sources(number, rng):
        own_rng = np.random.default_rng([number, int(studio.held_out), SOURCES.index(source)])
        sampler = sampler_of(source, studio, own_rng)
        if sampler is None:
            stem = render(source, song, studio, kit, own_rng)
        else:
            stem = sampler.perform(play(source, song, own_rng), song.length_s, own_rng)
        amp = source.amp
        # A sound font's driven guitar may do without an amplifier; a recorded one is clean until it has one.
        if sampler is None and source.name in ("overdriven guitar", "distorted guitar") and own_rng.random() < 0.4:
            amp = 0.0 if stem.any() and 29 in source.programs and own_rng.random() < 0.5 else amp
        if studio.held_out:
            stem = treat(stem, own_rng, amp=amp)
        else:
            stem = produce(stem, source, song, amp, studio, own_rng)
        if np.abs(stem).max(initial=0) > _SILENT:
            labels.append(source.name)
            stems.append(np.clip(stem * 32767 * 0.7, -32767, 32767).astype(np.int16))
    return labels, np.stack(stems)


def produce(stem: Mono, source: Source, song: Song, amp: float, studio: Studio, rng: np.random.Generator) -> Mono:
    """A stem as a record would have it: played by hand, treated, and some of it doubled, echoed or ducked."""
    if source.role not in ("drum", "free") and rng.random() < _WAVERING:
        stem = waver(stem, rng)
    out = treat(stem, rng, amp=amp, rack=studio.rack)
    if amp > 1 and rng.random() < _DOUBLED:
        out = out + treat(waver(stem, rng, drift_ms=6), rng, amp=amp, rack=studio.rack)
    echoed, ducked = (0.35, 0.3) if "synth" in source.name else (0.1, 0.05)
    if source.role != "drum" and rng.random() < echoed:
        out = echo(out, song.beat_s, rng)
    if source.role != "drum" and rng.random() < ducked:
        out = duck(out, song.beat_s, rng)
    return level(out)


def recorded_guitars(folder: Path) -> Iterator[np.ndarray]:
    """Pieces of real distorted guitars, `(1, sample)` int16: every `guitar.ogg` under a folder, silence left out."""
    for path in sorted(folder.rglob("guitar.ogg")):
        audio, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
        mono = soxr.resample(audio.mean(axis=1), rate_hz, RATE_HZ)
        n = int(SONG_S * RATE_HZ)
        for at in range(0, len(mono) - n, n):
            piece = mono[at : at + n]
            if np.sqrt((piece**2).mean()) > _QUIET_RMS:
                yield np.clip(level(piece) * 32767 * 0.7, -32767, 32767).astype(np.int16)[None]


def recorded_duets(folder: Path) -> Iterator[np.ndarray]:
    """Whole songs whose guitar was recorded apart, `(4, sample)` int16: guitar left and right, band left and right."""
    for path in sorted(folder.rglob("guitar.ogg")):
        stems = []
        for part in (path, path.with_name("song.ogg")):
            audio, rate_hz = soundfile.read(part, dtype="float32", always_2d=True)
            stems.append(soxr.resample(np.broadcast_to(audio, (len(audio), 2)), rate_hz, RATE_HZ).T)
        n = min(stem.shape[1] for stem in stems)
        song = np.concatenate([stem[:, :n] for stem in stems])
        yield np.clip(song * 32767 * 0.7, -32767, 32767).astype(np.int16)


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser("training bank", description=__doc__)
    parser.add_argument("--material", type=Path, required=True, help="folder with the unpacked packages")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--songs", type=int, default=400)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument(
        "--stride", type=int, default=1, help="render every n-th song: several processes share the work"
    )
    parser.add_argument("--guitars", type=Path, help="folder of songs whose guitars were recorded apart (guitar.ogg)")
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--smoke", action="store_true", help="two songs of four seconds")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    for number, stem in enumerate(recorded_guitars(args.guitars) if args.guitars else (), _FIRST_RECORDED):
        write_song(args.out / f"{number}.json", ["distorted guitar"], stem, RATE_HZ)
    for number, stems in enumerate(recorded_duets(args.guitars) if args.guitars else (), _FIRST_DUET):
        write_song(args.out / f"{number}.json", ["distorted guitar"] * 2 + [BAND] * 2, stems, RATE_HZ)
    if not styles(args.held_out):
        print("mma is not installed (Debian: mma): all songs come from our own generator", file=sys.stderr, flush=True)
    studio = open_studio(args.material, held_out=args.held_out)
    began, made_s = time.monotonic(), 0.0
    n_songs = 2 if args.smoke else args.songs
    for number in range(args.first, n_songs, args.stride):
        path = args.out / f"{number:05d}.json"
        if path.exists():
            continue
        labels, stems = render_song(number, studio, 4.0 if args.smoke else SONG_S)
        write_song(path, labels, stems, RATE_HZ)
        made_s += stems.size / RATE_HZ
        if number // args.stride % 10 == 0:
            print(f"song {number}: {made_s / 3600:.2f} h of stems in {time.monotonic() - began:.0f} s", flush=True)
