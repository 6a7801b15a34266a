"""What happens to whole mixtures in training: the same to every stem, or to the sum in their place."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="training is an extra")

from training.excerpts import _HARD, Bank
from training.mastering import coded, glued, tilted
from training.mixing import HOP, Mixture, example, stft
from training.phrases import concepts
from training.songs import write_song
from training.soundfonts import RATE_HZ
from training.sources import BY_NAME

_N_FRAMES = 64
_ROWS = {name: range(i, i + 1) for i, name in enumerate(concepts())}


def _music(rng: np.random.Generator) -> np.ndarray:
    """Two stems in stereo, `(stem, channel, frame, bin)`: chords that come and go, and hiss."""
    t = np.arange((_N_FRAMES + 1) * HOP) / RATE_HZ
    chord = sum(np.sin(2 * np.pi * hz * t) for hz in (220, 277, 330)) * (np.sin(2 * np.pi * 1.5 * t) > 0)
    hiss = rng.normal(0, 0.3, len(t))
    stems = np.stack([[chord, 0.5 * chord], [hiss, hiss[::-1]]]) * 0.1
    return np.stack([stft(stem.astype(np.float32)) for stem in stems])


def test_a_tilt_is_a_gain_and_some_end_low():
    gains = np.stack([tilted(2049, np.random.default_rng(i)) for i in range(60)])
    assert np.all(gains > 0)
    low_passed = gains[:, -1] < 1e-2
    assert 0 < low_passed.sum() < 40
    assert np.all(gains[:, 400] > 0.05)


def test_a_bus_compressor_turns_down_what_is_loud_at_once_and_lets_go_slowly():
    power = np.ones(200, np.float32)
    power[50:60] = 1000
    for seed in range(20):
        gains = glued(power, HOP / RATE_HZ, np.random.default_rng(seed))
        rest = gains[0]
        assert np.all(gains <= 1)
        assert np.all(gains[50:60] < 0.75 * rest)
        assert np.allclose(gains[50:60], gains[50])
        assert np.all(np.diff(gains[59:]) >= -1e-6)
        assert gains[60] < rest
        assert gains[-1] == pytest.approx(rest, rel=0.02)
    assert np.all(np.isfinite(glued(np.zeros(8, np.float32), 0.05, np.random.default_rng(0))))


def test_a_coded_mixture_is_the_mixture_to_the_sample_but_not_the_same():
    rng = np.random.default_rng(0)
    whole = _music(rng).sum(axis=0)
    errors_db = []
    for seed in range(8):
        heard = coded(whole, np.random.default_rng(seed))
        assert heard.shape == whole.shape
        errors_db.append(20 * np.log10(np.linalg.norm(heard - whole) / np.linalg.norm(whole)))
        # One sample late, a tone at the top of the chord alone would differ by more than this.
        turned = np.vdot(whole[:, :, :40], heard[:, :, :40])
        assert abs(np.angle(turned)) < 0.01
    assert -60 < min(errors_db) < max(errors_db) < -3


def test_silence_stays_silent_through_a_codec():
    assert not coded(np.zeros((2, 8, 2049), np.complex64), np.random.default_rng(1)).any()


def test_what_is_asked_of_a_coded_mixture_are_the_stems_as_they_went_in():
    rng = np.random.default_rng(3)
    stems = _music(rng)
    heard = coded(stems.sum(axis=0), rng)
    one = example(Mixture(("piano", "noise"), stems, heard), _ROWS, rng)
    assert one.power.sum() == pytest.approx(float((np.abs(heard) ** 2).sum()), rel=1e-4)
    piano = next(k for k, row in enumerate(one.phrases) if list(concepts())[row] == "piano")
    assert one.energy[piano] == pytest.approx(float((np.abs(stems[0]) ** 2).sum()), rel=1e-4)
    error = float((np.abs(heard - stems[0]) ** 2).sum())
    found = one.power.sum() - 2 * one.product[piano].sum() + one.energy[piano]
    assert found == pytest.approx(error, rel=1e-3)


def test_sources_that_are_told_apart_least_well_come_oftener_from_other_songs(tmp_path):
    assert set(_HARD) <= set(BY_NAME)
    labels = ("kick", "harp", "piano", "organ", "flute")
    for number in range(3):
        stems = np.random.default_rng(number).integers(-8000, 8000, (len(labels), 20 * HOP)).astype(np.int16)
        write_song(tmp_path / f"{number:05d}.json", labels, stems, RATE_HZ)
    bank, rng = Bank(tmp_path, 8), np.random.default_rng(1)
    drawn = [bank._any_source(rng) for _ in range(800)]
    names = [song.labels[i] for song, i in drawn]
    assert "kick" not in names
    # A quarter by turn, and all of the fifth that is drawn on purpose.
    assert names.count("harp") / len(names) == pytest.approx(0.2 + 0.8 / 4, abs=0.06)
