"""What songs are made of: sound fonts, kits, made drums, amplifiers. Sounds that are not ours come from Debian."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

if not os.environ.get("CI"):
    pytest.importorskip("scipy", reason="scipy is not installed")

import itertools

from training import bank, drums, effects
from training.bank import Studio
from training.ladspa import Rack
from training.notes import Note, compose
from training.recordings import Shots, read_shots, strike
from training.samplers import read_samplers
from training.soundfonts import RATE_HZ, SoundFont, read_presets
from training.sources import BY_NAME, DRUM_PARTS

_NOTES = [Note(0.1 + 0.25 * i, 0.3, 40 + 7 * (i % 5), 90) for i in range(8)]


def _energy_by_octave(sound):
    power = np.abs(np.fft.rfft(sound, 1 << 17)) ** 2
    edges = [int(hz / RATE_HZ * (1 << 17)) for hz in (20, 120, 500, 2000, 8000, 22000)]
    return np.array([power[low:high].sum() for low, high in itertools.pairwise(edges)]) / power.sum()


@pytest.mark.parametrize("part", DRUM_PARTS)
def test_made_drums_are_sound_and_never_twice_the_same(part):
    blows = [drums.make(part, np.random.default_rng(seed)) for seed in range(12)]
    for blow in blows:
        assert np.isfinite(blow).all()
        assert np.abs(blow).max() == pytest.approx(0.7, abs=1e-3)
        assert 0.03 < len(blow) / RATE_HZ < 4
        assert abs(blow[-1]) < 1e-3
    assert len({blow.tobytes() for blow in blows}) == 12
    assert drums.make(part, np.random.default_rng(7)).tobytes() == blows[7].tobytes()


def test_made_drums_are_where_drums_are():
    mean = {
        part: np.mean([_energy_by_octave(drums.make(part, np.random.default_rng(seed))) for seed in range(12)], axis=0)
        for part in DRUM_PARTS
    }
    assert mean["kick"][:1].sum() > 0.6
    assert mean["toms"][:2].sum() > 0.7
    assert mean["hihat"][3:].sum() > 0.8
    assert mean["cymbals"][2:].sum() > 0.8
    assert mean["snare"][1:].sum() > 0.9


def test_a_blow_sounds_where_it_is_played_and_as_loud():
    blow = np.ones(100, np.float32)
    played = strike({36: blow}, [Note(0.5, 0.1, 36, 100), Note(0.9995, 0.1, 36, 50)], 1.0)
    assert played.shape == (RATE_HZ,)
    assert np.array_equal(np.flatnonzero(played)[:100], np.arange(22050, 22150))
    assert played[22050] == 1
    assert played[-1] == pytest.approx(0.5**1.5)


def test_a_kit_says_which_of_its_files_is_what(tmp_path):
    """Hydrogen's kits name their files as they like, and the instruments in drumkit.xml; some inside of layers."""
    for name in ("beats_01", "beats_02", "tom_that_is_a_kick", "unnamed_01", "sn_by_name"):
        soundfile.write(tmp_path / f"{name}.wav", np.sin(np.arange(4000) / 9), 44100)
    (tmp_path / "drumkit.xml").write_text(
        "<drumkit_info><name>kit</name><instrumentList>"
        "<instrument><name>c3 - bass drum 1</name><filename>beats_01.wav</filename></instrument>"
        "<instrument><name>Hi-Hat Open</name><layer><filename>beats_02.wav</filename></layer></instrument>"
        "<instrument><name>Kick</name><layer><filename>tom_that_is_a_kick.wav</filename></layer></instrument>"
        "<instrument><name>f#4 - </name><filename>unnamed_01.wav</filename></instrument>"
        "</instrumentList></drumkit_info>",
        encoding="utf-8",
    )
    shots = read_shots([tmp_path])
    assert {part: len(sounds) for part, sounds in shots.by_part.items()} == {"kick": 2, "hihat": 1, "snare": 1}
    chosen = shots.choose("kick", [Note(0, 1, 35, 90), Note(1, 1, 36, 90)], np.random.default_rng(0))
    assert set(chosen) == {35, 36}
    assert shots.choose("toms", _NOTES, np.random.default_rng(0)) is None


def test_the_kits_of_a_song_are_of_every_kind(monkeypatch):
    """Below 0 recorded, from `_MADE` on made; what a recorded kit lacks is not silent."""
    recorded = Shots({"kick": [np.full(50, 0.5, np.float32)]})

    class Font:
        kits = (0, 25)

        def render(self, notes, program, length_s, *, drums=False, bank=0):
            return np.full(int(length_s * RATE_HZ), 0.25 if drums else 0, np.float32)

    studio = Studio((Font(),), (Font(),), recorded)
    song = compose(np.random.default_rng(0), 3.0)
    notes = [Note(0.5, 0.1, 36, 100)]
    monkeypatch.setattr(bank, "_MADE_PARTS", 0.0)

    def beat(part, kit):
        return bank.beat(BY_NAME[part], notes, song, studio, kit, np.random.default_rng(1))

    assert beat("kick", -3).max() == pytest.approx(0.5, abs=0.01)
    assert beat("kick", 3).max() == beat("snare", -3).max() == 0.25
    assert beat("kick", 12).max() == pytest.approx(0.7, abs=1e-3)
    held_out = Studio((Font(),), (Font(),), recorded, held_out=True)
    assert bank.beat(BY_NAME["kick"], notes, song, held_out, -3, np.random.default_rng(1)).max() == 0.25


def test_a_grand_piano_of_several_strengths_is_several_pianos(tmp_path):
    for velocity in (4, 10):
        folder = tmp_path / f"piano-velocity{velocity}" / "audio"
        folder.mkdir(parents=True)
        for name in ("A4", "D#5"):
            tone = np.sin(np.arange(48000) * velocity / 40)
            soundfile.write(folder / f"{name}v{velocity}.ogg", tone * 0.5, 48000, format="OGG", subtype="VORBIS")
    samplers = read_samplers(tmp_path)
    assert [sorted(sampler.recorded) for sampler in samplers["piano"]] == [[69, 75], [69, 75]]


def test_presets_are_read_from_the_table_of_a_sound_font(tmp_path):
    names = ((b"Piano", 0, 0), (b"Kit", 25, 128), (b"EOP", 0, 0))
    records = b"".join(struct.pack("<20sHHHIII", name, program, bank, 0, 0, 0, 0) for name, program, bank in names)
    font = tmp_path / "a.sf2"
    font.write_bytes(b"RIFF....sfbk" + b"phdr" + struct.pack("<I", len(records)) + records + b"pbag....")
    assert read_presets(font) == {(0, 0), (128, 25)}
    font.write_bytes(b"RIFF....sfbk")
    with pytest.raises(ValueError, match=r"a\.sf2 is no sound font"):
        read_presets(font)


@pytest.fixture(scope="module")
def font():
    return SoundFont(next(Path("/usr/share/sounds").rglob("TimGM6mb.sf2")))


@pytest.mark.sounds
def test_a_stem_knows_nothing_of_the_one_before_it(font):
    """Rendered first, or after one that rang on and ended within a block: the same."""
    lone = font.render(_NOTES, 25, 2.501)
    font.render([Note(0.0, 9.0, 60, 127), Note(0.4, 9.0, 67, 127)], 89, 1.003)
    again = font.render(_NOTES, 25, 2.501)
    assert lone.shape == (int(2.501 * RATE_HZ),)
    assert np.abs(lone).max() > 0.05
    assert np.abs(again - lone).max() < 1e-5
    assert np.abs(again[: int(0.09 * RATE_HZ)]).max() < 1e-5


@pytest.mark.sounds
def test_kits_and_variations_are_those_the_font_has(font):
    assert font.kits == (0, 8, 16, 24, 25, 32, 40)
    assert {font.banks(program) for program in range(128)} == {(0,)}
    sounds = [font.render([Note(0.1, 0.2, 38, 100)], kit, 1.0, drums=True) for kit in font.kits]
    assert len({sound.tobytes() for sound in sounds}) > 3


@pytest.fixture(scope="module")
def rack():
    return Rack("caps.so")


@pytest.mark.sounds
def test_an_amplifier_makes_a_tone_more_than_a_tone(rack):
    """Overtones that were not there; the clean setting adds less of them than the driven one."""
    t = np.arange(RATE_HZ * 2) / RATE_HZ
    tone = (0.2 * np.sin(2 * np.pi * 220 * t) * np.exp(-t)).astype(np.float32)

    def overtones(drive):
        found = []
        for seed in range(12):
            out = effects._through_caps(tone, drive, rack, np.random.default_rng(seed))
            assert out.shape == tone.shape
            assert np.isfinite(out).all()
            assert np.abs(out).max() > 1e-3
            power = np.abs(np.fft.rfft(out * np.hanning(len(out)))) ** 2
            near = power[430:450].sum()  # 220 Hz is line 440 of two seconds
            found.append((power[800:].sum()) / near)
        return np.median(found)

    assert overtones(20.0) > 4 * overtones(1.0) > 0


@pytest.mark.sounds
def test_pedals_change_a_stem_and_keep_it_one(rack):
    stem = np.sin(np.arange(RATE_HZ) / 30).astype(np.float32) * np.float32(0.1)
    for seed in range(12):
        out = effects._pedal(stem, rack, np.random.default_rng(seed))
        assert out.shape == stem.shape
        assert np.isfinite(out).all()
        assert not np.array_equal(out, stem)
        assert 0.02 < np.abs(out).max() < 2


@pytest.mark.sounds
def test_a_plug_in_or_a_knob_that_is_not_there_is_named(rack, tmp_path):
    stem = np.zeros(100, np.float32)
    with pytest.raises(KeyError, match="volume"):
        rack.run("AmpVTS", stem, {"volume": 1.0})
    with pytest.raises(KeyError, match="AmpXYZ"):
        rack.run("AmpXYZ", stem, {})
    with pytest.raises(OSError, match=r"nothing\.so is in none of"):
        Rack("nothing.so", tmp_path)
