"""Make the demo's excerpt: a real singer over a rendered band, with the singer's own track known.

It lies in `export` because it turns sources into a shipped artefact once, like the conversion of the model, and is
never imported at run time. The excerpt lies in `engine/demo`, so that it travels in the wheel.

The singing is a recording from Scratch 1.4's media (CC BY-SA 3.0), unaltered but for its level and its ends. The band
is written here and played by FluidSynth on the FluidR3 GM sound font (MIT). `engine/demo/LICENSE` names both.

    apt-get download scratch fluid-soundfont-gm && for f in *.deb; do dpkg-deb -x "$f" parts; done
    python -m export.demo_excerpt parts        # FluidSynth must be on the PATH, and mido installed
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import mido
import numpy as np
import soundfile
from numpy.typing import NDArray

OUT_DIR: Final = Path(__file__).parent.parent / "engine" / "demo"
SAMPLE_RATE: Final = 44_100
LENGTH_S: Final = 10.0

VOICE: Final = Path("usr/share/scratch/Media/Sounds/Vocals/Oooo-badada.mp3")
VOICE_SHA256: Final = "b539c93b22456602768372178fee26f7a9138383e189870aa6f70af6c1494cbf"
SOUND_FONT: Final = Path("usr/share/sounds/sf2/FluidR3_GM.sf2")
SOUND_FONT_SHA256: Final = "74594e8f4250680adf590507a306655a299935343583256f3b722c48a1bc1cb0"

BEAT_S: Final = 0.6
"""100 beats a minute: the singer's own notes fall on this grid (3.6 s, 4.2 s, 4.8 s into the recording)."""
VOICE_AT_S: Final = 4 * BEAT_S
"""The singer enters after one bar of the band."""
VOICE_LENGTH_S: Final = 6.05
"""Up to the singer's first breath."""
TUNING_CENTS: Final = 25.0
"""The singer's B4 and E4 lie a quarter of a semitone above 440 Hz tuning; the band is tuned to the singer."""
CEILING_HZ: Final = 16_000.0
"""The recording's own ceiling (it was an MP3); the band gets the same, or its cymbals alone would fill a megabyte."""
PEAK: Final = 0.2
"""Of the mixture, as a fraction of full scale (-14 dBFS): what a lossless file of a megabyte has room for."""

PULSES_PER_BEAT: Final = 480
DRUMS, BASS, PIANO, GUITAR = 9, 0, 1, 2
"""MIDI channels, counted from 0; 9 is the drum channel of General MIDI."""
PROGRAMS: Final = {BASS: 33, PIANO: 4, GUITAR: 27}
"""Finger bass, electric piano, clean electric guitar, counted from 0."""
PAN: Final = {DRUMS: 64, BASS: 64, PIANO: 30, GUITAR: 98}
VOLUME: Final = {DRUMS: 100, BASS: 105, PIANO: 88, GUITAR: 76}

KICK, SNARE, HAT, OPEN_HAT, CRASH = 36, 38, 42, 46, 49
E_MINOR_7: Final = (52, 59, 62, 67)
A_7: Final = (52, 57, 61, 67)
BARS: Final = (E_MINOR_7, E_MINOR_7, A_7, E_MINOR_7)
ROOTS: Final = (28, 28, 33, 28)

Note = tuple[int, int, float, float, int]
"""(channel, key, start in beats, length in beats, velocity)"""


def notes() -> list[Note]:
    """The band's part: four bars of 4/4 and a last chord, an E minor vamp under the singer's blues phrase."""
    played: list[Note] = [(DRUMS, CRASH, 0.0, 1.0, 70)]
    for bar, (chord, root) in enumerate(zip(BARS, ROOTS, strict=True)):
        at = 4.0 * bar
        played += [(DRUMS, KICK, at + beat, 0.2, 112) for beat in (0.0, 1.5, 2.5)]
        played += [(DRUMS, SNARE, at + beat, 0.2, 104) for beat in (1.0, 3.0)]
        played += [(DRUMS, SNARE, at + 3.75, 0.1, 48)]
        played += [(DRUMS, HAT, at + half / 2, 0.1, 84 if half % 2 == 0 else 60) for half in range(7)]
        played += [(DRUMS, OPEN_HAT, at + 3.5, 0.4, 62)]
        line = ((0.0, 0, 0.9), (1.5, 0, 0.4), (2.0, 12, 0.4), (2.5, 10, 0.4), (3.0, 7, 0.4), (3.5, 10, 0.4))
        played += [(BASS, root + step, at + beat, length, 100) for beat, step, length in line]
        played += [(PIANO, key, at + beat, length, 74) for key in chord for beat, length in ((0.0, 1.4), (2.5, 1.2))]
        played += [(GUITAR, key + 12, at + beat, 0.2, 78) for key in chord[1:] for beat in (1.0, 1.75, 3.0, 3.25)]
    end = 4.0 * len(BARS)
    played += [(DRUMS, KICK, end, 0.2, 115), (DRUMS, CRASH, end, 1.0, 78), (BASS, ROOTS[-1], end, 0.6, 104)]
    played += [(PIANO, key, end, 0.6, 80) for key in E_MINOR_7]
    return played


def midi(played: list[Note]) -> mido.MidiFile:
    """`played` as a MIDI file of one track, with the instruments, their places, and the tuning."""
    events: list[tuple[float, int, mido.Message]] = []
    for channel in (DRUMS, BASS, PIANO, GUITAR):
        controls = [(7, VOLUME[channel]), (10, PAN[channel]), (91, 22), (93, 0)]
        if channel != DRUMS:
            events.append((0.0, 0, mido.Message("program_change", channel=channel, program=PROGRAMS[channel])))
            fine = round(8192 + TUNING_CENTS / 100 * 8192)  # registered parameter 1: 8192 steps a semitone
            controls += [(101, 0), (100, 1), (6, fine >> 7), (38, fine & 127)]
        for control, value in controls:
            events.append((0.0, 1, mido.Message("control_change", channel=channel, control=control, value=value)))
    for channel, key, start, length, velocity in played:
        events.append((start, 3, mido.Message("note_on", channel=channel, note=key, velocity=velocity)))
        events.append((start + length, 2, mido.Message("note_off", channel=channel, note=key)))
    file = mido.MidiFile(ticks_per_beat=PULSES_PER_BEAT)
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=round(BEAT_S * 1e6))])
    now = 0
    for beat, _, message in sorted(events, key=lambda event: event[:2]):
        tick = round(beat * PULSES_PER_BEAT)
        track.append(message.copy(time=tick - now))
        now = tick
    file.tracks.append(track)
    return file


def render(sound_font: Path, played: list[Note]) -> NDArray[np.float64]:
    """Notes as (channel, sample), rendered by FluidSynth; the same bytes for the same version of it."""
    fluidsynth = shutil.which("fluidsynth")
    if fluidsynth is None:
        raise SystemExit("FluidSynth is not on the PATH. Install it: apt-get install fluidsynth")
    with tempfile.TemporaryDirectory() as folder:
        score, wave = Path(folder, "band.mid"), Path(folder, "band.wav")
        midi(played).save(score)
        settings = {
            "synth.reverb.room-size": "0.35",
            "synth.reverb.level": "0.4",
            "synth.chorus.active": "0",
            "synth.gain": "0.5",
        }
        options = [item for key, value in settings.items() for item in ("-o", f"{key}={value}")]
        command = [fluidsynth, "-ni", "-q", "-r", str(SAMPLE_RATE), "-T", "wav", "-O", "float", *options]
        subprocess.run([*command, "-F", str(wave), str(sound_font), str(score)], check=True, timeout=120)
        audio, rate = soundfile.read(wave, dtype="float64", always_2d=True)
    if rate != SAMPLE_RATE:
        raise SystemExit(f"FluidSynth rendered at {rate} Hz instead of {SAMPLE_RATE}.")
    return fitted(low_passed(audio.T), fade_in_s=0.0, fade_out_s=0.5)


def read_voice(recording: Path) -> NDArray[np.float64]:
    """The singer at their place in the excerpt, as (1, sample)."""
    audio, rate = soundfile.read(recording, dtype="float64", always_2d=True)
    if rate != SAMPLE_RATE:
        raise SystemExit(f"{recording} is at {rate} Hz instead of {SAMPLE_RATE}.")
    phrase = audio.T[:1, : samples(VOICE_LENGTH_S)]
    faded(phrase, fade_in_s=0.005, fade_out_s=0.04)
    return fitted(np.pad(phrase, ((0, 0), (samples(VOICE_AT_S), 0))), fade_in_s=0.0, fade_out_s=0.0)


def mix(
    voice: NDArray[np.float64], band: NDArray[np.float64], drums: NDArray[np.float64]
) -> tuple[NDArray[np.int16], NDArray[np.int16], NDArray[np.int16]]:
    """(mixture, voice, drums) as 16-bit samples: equal energy of voice and band, mixture - voice is the band exactly.

    The drums are as loud as in the band; rendered alone, they differ from those in it by -53 dB of the band.
    """
    voice = np.repeat(voice, 2, axis=0)
    voice = voice * np.sqrt(np.sum(band**2) / np.sum(voice**2))
    scale = PEAK * 32_768 / np.max(np.abs(voice + band))
    voice_16, band_16, drums_16 = (np.round(part * scale).astype(np.int16) for part in (voice, band, drums))
    return voice_16 + band_16, voice_16[:1], drums_16


def low_passed(audio: NDArray[np.float64]) -> NDArray[np.float64]:
    """`audio` (channel, sample) without what lies above `CEILING_HZ`: a windowed sinc of linear phase, not delayed."""
    half = 127
    at = np.arange(-half, half + 1)
    cycles = CEILING_HZ / SAMPLE_RATE
    kernel = 2 * cycles * np.sinc(2 * cycles * at) * np.hanning(2 * half + 3)[1:-1]
    return np.stack([np.convolve(channel, kernel / kernel.sum(), mode="same") for channel in audio])


def samples(seconds: float) -> int:
    """Samples in `seconds`, to the nearest."""
    return round(seconds * SAMPLE_RATE)


def fitted(audio: NDArray[np.float64], fade_in_s: float, fade_out_s: float) -> NDArray[np.float64]:
    """`audio` (channel, sample) cut or padded to the excerpt's length, with faded ends."""
    length = samples(LENGTH_S)
    audio = np.pad(audio, ((0, 0), (0, max(0, length - audio.shape[1]))))[:, :length]
    faded(audio, fade_in_s, fade_out_s)
    return audio


def faded(audio: NDArray[np.float64], fade_in_s: float, fade_out_s: float) -> None:
    """Fade the ends of `audio` (channel, sample) in place, linearly."""
    n_in, n_out = samples(fade_in_s), samples(fade_out_s)
    audio[:, :n_in] *= np.linspace(0.0, 1.0, n_in, endpoint=False)
    audio[:, audio.shape[1] - n_out :] *= np.linspace(1.0, 0.0, n_out)


def checked(path: Path, sha256: str) -> Path:
    """`path`, or the end of the program if its bytes are not those the excerpt is made from."""
    if not path.is_file():
        raise SystemExit(f"{path} is missing. Unpack the two Debian packages named at the top of this file.")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise SystemExit(f"{path} has the sha256 {found} instead of {sha256}.")
    return path


def main(parts: Path) -> None:
    """Write `mixture.flac`, `voice.flac`, `drums.flac` and `excerpt.json` to `engine/demo`."""
    font = checked(parts / SOUND_FONT, SOUND_FONT_SHA256)
    mixture, voice, drums = mix(
        read_voice(checked(parts / VOICE, VOICE_SHA256)),
        render(font, notes()),
        render(font, [note for note in notes() if note[0] == DRUMS]),
    )
    OUT_DIR.mkdir(exist_ok=True)
    about: dict[str, Any] = {
        "sample_rate": SAMPLE_RATE,
        "samples": mixture.shape[1],
        "prompt": "vocals",
        "span_s": [round(VOICE_AT_S, 3), round(VOICE_AT_S + VOICE_LENGTH_S, 3)],
        "second": {"prompt": "drums", "span_s": [0.0, round(VOICE_AT_S, 3)]},
        "sha256": {},
    }
    for name, audio in (("mixture.flac", mixture), ("voice.flac", voice), ("drums.flac", drums)):
        path = OUT_DIR / name
        soundfile.write(path, audio.T, SAMPLE_RATE, subtype="PCM_16", compression_level=1.0)
        about["sha256"][name] = hashlib.sha256(path.read_bytes()).hexdigest()
    (OUT_DIR / "excerpt.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
