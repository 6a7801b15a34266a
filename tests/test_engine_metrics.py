"""Identities of the metrics: scale, known ratios, the edges where a ratio has no meaning."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.metrics import null_db, sdr_db, si_sdr_db

RNG = np.random.default_rng(3)


def orthogonal_pair(n=4_096):
    """Two signals of (2, n) with equal energy that share nothing."""
    at = np.arange(n) / n
    return (np.stack([wave(2 * np.pi * 5 * at)] * 2) for wave in (np.sin, np.cos))


@given(level_db=st.floats(-60, 60), scale=st.floats(1e-3, 1e3), flip=st.booleans())
def test_si_sdr_is_the_ratio_that_was_mixed_at_any_scale(level_db, scale, flip):
    wanted, other = orthogonal_pair()
    estimate = (wanted + 10 ** (-level_db / 20) * other) * (-scale if flip else scale)
    assert si_sdr_db(estimate, wanted) == pytest.approx(level_db, abs=1e-6)


@given(level_db=st.floats(-60, 60))
def test_sdr_is_the_ratio_that_was_mixed_and_feels_the_scale(level_db):
    wanted, other = orthogonal_pair()
    estimate = wanted + 10 ** (-level_db / 20) * other
    assert sdr_db(estimate, wanted) == pytest.approx(level_db, abs=1e-6)
    assert sdr_db(2 * wanted, wanted) == pytest.approx(0.0, abs=1e-9)
    assert sdr_db(0 * wanted, wanted) == pytest.approx(0.0, abs=1e-9)


def test_si_sdr_is_the_sdr_at_the_level_that_comes_nearest():
    wanted = RNG.standard_normal((2, 500))
    estimate = 0.7 * wanted + 0.3 * RNG.standard_normal((2, 500))
    nearest = min(np.linspace(0.1, 2, 1_901), key=lambda level: np.sum((estimate - level * wanted) ** 2))
    assert si_sdr_db(estimate, wanted) == pytest.approx(sdr_db(estimate, nearest * wanted), abs=0.01)
    assert si_sdr_db(3 * estimate, wanted) == pytest.approx(si_sdr_db(estimate, wanted))


def test_the_ends_of_the_scale():
    wanted, other = orthogonal_pair()
    assert sdr_db(wanted, wanted) == math.inf
    assert si_sdr_db(wanted, wanted) == math.inf
    assert si_sdr_db(np.zeros_like(wanted), wanted) == -math.inf
    assert si_sdr_db(other, wanted) < -250
    for metric in (si_sdr_db, sdr_db):
        with pytest.raises(ValueError, match="silent"):
            metric(wanted, np.zeros_like(wanted))
        with pytest.raises(ValueError, match="shapes"):
            metric(wanted[:1], wanted)


def test_null_is_the_peak_of_what_is_left():
    mixture = RNG.standard_normal((2, 300)).astype(np.float32)
    target = np.float32(0.25) * mixture
    assert null_db(target, mixture - target, mixture) < -120
    assert null_db(np.zeros_like(mixture), mixture, mixture) == -math.inf
    shifted = mixture.copy()
    shifted[1, 7] += 0.1
    assert null_db(np.zeros_like(mixture), shifted, mixture) == pytest.approx(-20.0, abs=1e-3)
    with pytest.raises(ValueError, match="shapes"):
        null_db(target, target[:, :1], mixture)
