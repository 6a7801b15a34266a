"""Speaking voices that sing: on the notes, silent between them, each its own, and never those of the other songs."""

import os
from itertools import pairwise

import numpy as np
import pytest

if not os.environ.get("CI"):
    pytest.importorskip("scipy", reason="scipy is not installed")

from training import bank, singers
from training.bank import Studio
from training.notes import Note, compose
from training.recordings import HELD_OUT_LANGUAGES, HELD_OUT_VARIANTS, RECORDED_VOICES, Shots
from training.singers import sing, sing_together
from training.sources import BY_NAME
from training.synthesis import RATE_HZ

pytestmark = pytest.mark.voices

_LENGTH_S = 7.0
_MELODY = [Note(0.5 + 0.8 * i, 0.7, key, 90) for i, key in enumerate((57, 60, 62, 64, 60))]
_MELODY.append(Note(5.0, 1.0, 59, 90))


def pitch_key(sound: np.ndarray) -> float:
    """The MIDI key of a steady sound by autocorrelation, 70 to 900 Hz."""
    size = 2 * len(sound)
    alike = np.fft.irfft(np.abs(np.fft.rfft(sound, size)) ** 2)[: len(sound)] / np.arange(len(sound), 0, -1)
    lags = np.arange(RATE_HZ // 900, RATE_HZ // 70)
    near = np.flatnonzero(alike[lags] > 0.9 * alike[lags].max())[0]
    best = near + alike[lags][near : near + 20].argmax()
    return float(69 + 12 * np.log2(RATE_HZ / lags[best] / 440))


def off_pitch(sung: np.ndarray, note: Note) -> float:
    """Semitones between what is heard in the second half of a note and what is written, in whichever octave."""
    heard = []
    for at_s in np.arange(note.start_s + 0.3 * note.length_s, note.start_s + 0.75 * note.length_s, 0.05):
        piece = sung[int(at_s * RATE_HZ) :][: int(0.06 * RATE_HZ)]
        heard.append((pitch_key(piece) - note.key + 6) % 12 - 6)
    return abs(float(np.median(heard)))


@pytest.fixture(scope="module")
def songs():
    """Four training singers and two held-out ones sing the same melody."""
    made = [sing(_MELODY, _LENGTH_S, np.random.default_rng(seed)) for seed in range(4)]
    return made + [sing(_MELODY, _LENGTH_S, np.random.default_rng(seed), held_out=True) for seed in range(2)]


def test_a_song_is_as_long_as_asked_finite_and_not_clipped(songs):
    for song in songs:
        assert song.shape == (int(_LENGTH_S * RATE_HZ),)
        assert song.dtype == np.float32
        assert np.isfinite(song).all()
        assert 0.69 < np.abs(song).max() < 0.71


def test_one_seed_is_one_song_and_another_seed_another_voice(songs):
    assert np.array_equal(songs[0], sing(_MELODY, _LENGTH_S, np.random.default_rng(0)))
    for one, other in pairwise(songs):
        alike = np.abs(np.corrcoef(np.abs(np.fft.rfft(one)), np.abs(np.fft.rfft(other)))[0, 1])
        assert alike < 0.9


def test_held_notes_are_sung_at_the_pitch_that_is_written(songs):
    off = [off_pitch(song, note) for song in songs for note in _MELODY]
    assert np.mean(np.array(off) < 0.5) > 0.8, off


def test_the_test_of_pitch_hears_a_wrong_note(songs):
    wrong = [Note(note.start_s, note.length_s, note.key + 2, 90) for note in _MELODY]
    off = [off_pitch(song, note) for song in songs for note in wrong]
    assert np.mean(np.array(off) < 0.5) < 0.2


def test_nobody_sings_where_nothing_is_written(songs):
    for song in songs:
        assert not song[int(6.3 * RATE_HZ) :].any()
        assert np.abs(song[int(0.1 * RATE_HZ) : int(0.3 * RATE_HZ)]).max() < 0.01
    assert not sing([], 1.0, np.random.default_rng(0)).any()
    assert not sing_together([], 1.0, np.random.default_rng(0)).any()


def test_a_voice_falls_towards_the_top_and_rings_no_single_tone(songs):
    for song in songs:
        power = np.abs(np.fft.rfft(song)) ** 2
        hz = np.fft.rfftfreq(len(song), 1 / RATE_HZ)
        low, middle, top = (power[(a < hz) & (b > hz)].sum() for a, b in ((150, 4000), (6000, 12000), (14000, 20000)))
        assert low > 3 * middle > 3 * top
        assert top > 1e-9 * low  # although both programs say nothing up there


def test_several_sing_the_notes_of_a_chord():
    chord = [Note(0.3, 2.0, key, 90) for key in (52, 59, 68)]
    sung = sing_together(chord, 2.5, np.random.default_rng(3))
    steady = sung[RATE_HZ // 2 + RATE_HZ // 4 : 2 * RATE_HZ]
    power = np.abs(np.fft.rfft(steady)) ** 2
    keys = 69 + 12 * np.log2(np.maximum(np.fft.rfftfreq(len(steady), 1 / RATE_HZ), 1) / 440)
    within = (keys > 40) & (keys < 71)
    off = [np.abs((keys - key + 6) % 12 - 6) < 0.7 for key in (52, 59, 68)]
    assert power[within & (off[0] | off[1] | off[2])].sum() > 0.8 * power[within].sum()
    for near in off:
        assert power[within & near].sum() > 0.003 * power[within].sum()


def test_held_out_songs_are_sung_by_voices_that_no_training_song_has(monkeypatch):
    asked = []
    monkeypatch.setattr(singers, "_N_SYLLABLES", 4)
    for name in ("espeak", "flite"):
        program = getattr(singers, name)
        monkeypatch.setattr(singers, name, lambda *args, program=program: (asked.append(args[0]), program(*args))[1])
    for seed in range(3):
        sing(_MELODY[:1], 2.0, np.random.default_rng(seed), held_out=True)
    theirs = {language + variant for language in HELD_OUT_LANGUAGES for variant in HELD_OUT_VARIANTS}
    assert set(asked) <= theirs
    asked.clear()
    for seed in range(6):
        sing(_MELODY[:1], 2.0, np.random.default_rng(seed))
    assert not set(asked) & theirs
    assert set(asked) & set(RECORDED_VOICES)


def test_speaking_voices_sing_in_the_bank_and_held_out_songs_ask_for_theirs(monkeypatch):
    asked = []
    sung = {
        name: (
            lambda notes, length_s, rng, *, held_out, name=name: (asked.append((name, held_out)), np.ones(1))[1],
            1.0,
        )
        for name in bank._SUNG
    }
    monkeypatch.setattr(bank, "_SUNG", sung)
    song = compose(np.random.default_rng(0), 2.0)
    for held_out in (False, True):
        for name in ("singing", "choir"):
            bank.render(BY_NAME[name], song, Studio((), (), Shots({}), held_out=held_out), 0, np.random.default_rng(1))
    assert asked == [("singing", False), ("choir", False), ("singing", True), ("choir", True)]
