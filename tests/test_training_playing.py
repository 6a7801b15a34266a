"""Synthesizers out of single cycles, and what hands and producers do to a stem in time."""

import os

import numpy as np
import pytest

if not os.environ.get("CI"):
    pytest.importorskip("scipy", reason="scipy is not installed")

from training import wavetables
from training.bank import Studio, produce
from training.notes import Note, compose
from training.playing import duck, echo, waver
from training.recordings import Shots
from training.sources import BY_NAME
from training.synthesis import RATE_HZ, perform
from training.wavetables import cycles, synthesizer


def _tone(hz, length_s):
    return np.sin(2 * np.pi * hz * np.arange(int(length_s * RATE_HZ)) / RATE_HZ).astype(np.float32)


def _periods_hz(sound):
    up = np.flatnonzero((sound[:-1] < 0) & (sound[1:] >= 0))
    at = up - sound[up] / (sound[up + 1] - sound[up])
    return RATE_HZ / np.diff(at)


@pytest.mark.parametrize("hz", [41.2, 440.0, 3520.0])
def test_cycles_hold_no_harmonic_above_17_khz_and_are_duller_the_lower_the_cutoff(hz):
    tables = cycles(1 / np.arange(1, 257), hz, 0.0)
    spectra = np.abs(np.fft.rfft(tables, axis=1)) ** 2
    harmonics = np.arange(spectra.shape[1]) * hz
    assert spectra[:, harmonics > 17_000].max() < 1e-6 * spectra.max()
    centres = (spectra * harmonics).sum(axis=1) / spectra.sum(axis=1)
    assert np.all(np.diff(centres) > -1e-6)
    # Wide open, it is the sawtooth's own series: harmonic k is 1 / k of the first, but for the filter's own slope.
    audible = [k for k in (2, 3, 5) if k * hz < 4000]
    for k in audible:
        assert np.sqrt(spectra[-1, k] / spectra[-1, 1]) == pytest.approx(1 / k, rel=0.05)


def test_a_filter_that_rings_raises_what_lies_at_its_cutoff():
    k = round(wavetables._CUTOFFS_HZ[4] / 110)
    dry, wet = (np.abs(np.fft.rfft(cycles(1 / np.arange(1, 257), 110.0, ring)[4])) for ring in (0.0, 12.0))
    assert 20 * np.log10(wet[k] / dry[k]) == pytest.approx(12, abs=1)
    assert wet[8 * k] == pytest.approx(dry[8 * k], rel=1e-3)


def test_synthesizers_play_in_tune_and_never_twice_the_same():
    note = Note(0.0, 1.0, 69, 100)
    tones = [synthesizer(np.random.default_rng(seed))(note) for seed in range(24)]
    assert len({tone.tobytes() for tone in tones}) == 24
    for tone in tones:
        assert np.isfinite(tone).all()
        assert 1e-3 < np.abs(tone).max() < 8
        spectrum = np.abs(np.fft.rfft(tone[: RATE_HZ // 2] * np.hanning(RATE_HZ // 2)))
        near = np.arange(len(spectrum)) * 2 % 440
        apart = np.minimum(near, 440 - near)
        # Unison, vibrato and the window widen the lines; a quarter of the harmonics' distance holds nearly all.
        assert (spectrum[apart < 110] ** 2).sum() > 0.8 * (spectrum**2).sum()


def test_a_stem_of_synthesizers_sounds_where_its_notes_are():
    stem = perform("wavetable", [Note(0.5, 0.2, 60, 90), Note(1.2, 0.2, 64, 90)], 2.0, np.random.default_rng(4))
    assert len(stem) == 2 * RATE_HZ
    assert not stem[: RATE_HZ // 2].any()
    assert stem[int(0.55 * RATE_HZ) : int(0.65 * RATE_HZ)].any()


def test_hands_bend_a_tone_by_cents_not_by_steps_and_keep_its_length():
    tone = _tone(440, 6)
    for seed in range(6):
        played = waver(tone, np.random.default_rng(seed))
        assert len(played) == len(tone)
        cents = 1200 * np.log2(_periods_hz(played[2000:-2000]) / 440)
        assert 2 < np.abs(cents).max() < 30
    still = waver(tone, np.random.default_rng(0), drift_ms=0, cents=0)
    assert np.abs(still[:-2] - tone[:-2]).max() < 1e-3


def test_echoes_come_late_and_die_away():
    click = np.zeros(4 * RATE_HZ, np.float32)
    click[100] = 1
    for seed in range(8):
        out = echo(click, 0.5, np.random.default_rng(seed))
        assert out[100] == 1
        again = np.flatnonzero(np.abs(out[101:]) > 1e-6) + 101
        assert again[0] >= 100 + int(0.25 * RATE_HZ)
        energy = [float((out[a : a + RATE_HZ] ** 2).sum()) for a in range(101, 3 * RATE_HZ, RATE_HZ)]
        assert energy == sorted(energy, reverse=True)
    assert np.array_equal(echo(click, 60.0, np.random.default_rng(0)), click)


def test_ducking_lowers_the_beat_and_never_raises_anything():
    steady = np.ones(4 * RATE_HZ, np.float32)
    for seed in range(8):
        out = duck(steady, 0.5, np.random.default_rng(seed))
        assert 0 <= out.min() < 0.65
        assert out.max() == pytest.approx(1)


def test_training_stems_are_produced_at_one_level_by_their_seed():
    song = compose(np.random.default_rng(1), 3.0)
    studio = Studio((), (), Shots({}))
    for name in ("synth arpeggio", "distorted guitar", "kick"):
        source = BY_NAME[name]
        one, again = (
            produce(_tone(220, 3), source, song, source.amp, studio, np.random.default_rng(2)) for _ in range(2)
        )
        assert np.array_equal(one, again)
        assert np.sqrt((one.astype(np.float64) ** 2).mean()) == pytest.approx(0.1, rel=0.5)
