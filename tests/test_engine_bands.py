"""Bands cover every bin once, single bins at the bottom; gains go to bins without a seam."""

import numpy as np
import pytest

from engine.masks.bands import band_edges, to_bands, to_bins


@pytest.mark.parametrize(("n_bins", "n_bands"), [(2049, 192), (1025, 64), (64, 64), (513, 8)])
def test_bands_cover_every_bin_once(n_bins, n_bands):
    edges = band_edges(n_bins, n_bands)
    assert len(edges) == n_bands + 1
    assert edges[0] == 0
    assert edges[-1] == n_bins
    assert np.all(np.diff(edges) >= 1)


def test_the_lowest_bands_are_single_bins_and_widths_grow():
    widths = np.diff(band_edges(2049, 192))
    assert np.all(widths[:30] == 1)
    assert widths[-1] > 50


def test_impossible_numbers_of_bands_are_refused():
    with pytest.raises(ValueError, match="no 200 bands of 100 bins"):
        band_edges(100, 200)


def test_sums_keep_the_whole():
    power = np.random.default_rng(0).random((2, 5, 2049)).astype(np.float32)
    np.testing.assert_allclose(to_bands(power, band_edges(2049, 192)).sum(axis=-1), power.sum(axis=-1), rtol=1e-5)


def test_equal_gains_stay_equal_and_a_rising_line_stays_one():
    edges = band_edges(2049, 192)
    flat = to_bins(np.full((1, 3, 192), 0.3, np.float32), edges)
    assert flat.shape == (1, 3, 2049)
    np.testing.assert_allclose(flat, 0.3, rtol=1e-6)
    borders = np.asarray(edges)
    centres = ((borders[:-1] + borders[1:] - 1) / 2).astype(np.float32)
    line = to_bins(centres[None, None], edges)[0, 0]
    inside = slice(0, int(centres[-1]) + 1)
    np.testing.assert_allclose(line[inside], np.arange(2049)[inside], atol=1e-2)
