"""Identities of the signal path: transforms, windows, resampling and masks change nothing that they should not."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mixtures import make_mixture

from engine.resample import resample, resampled_length
from engine.stereo import Regrid, project
from engine.stft import Analysis, Grid, Synthesis
from engine.windows import cut, join

GRID = Grid(44_100, 4_096, 1_024)
SMALL = Grid(8_000, 64, 16)
RATES = (8_000, 22_050, 44_100, 48_000, 88_200, 96_000, 192_000)


def blocks_of(samples: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, samples.shape[1], size):
        yield samples[:, start : start + size]


def analyse(samples: np.ndarray, grid: Grid, size: int) -> np.ndarray:
    analysis = Analysis(grid, samples.shape[0])
    parts = [analysis.push(block) for block in blocks_of(samples, size)]
    return np.concatenate([*parts, analysis.finish()], axis=1)


@given(n=st.integers(1, 700), size=st.integers(1, 300), hop=st.sampled_from([8, 16, 20, 32]))
def test_analysis_and_synthesis_are_inverses(n: int, size: int, hop: int) -> None:
    grid = Grid(8_000, 64, hop)
    samples = np.random.default_rng(n).standard_normal((2, n)).astype(np.float32)
    spectrum = analyse(samples, grid, size)
    assert spectrum.shape == (2, grid.n_frames(n), grid.n_bins)
    synthesis = Synthesis(grid, 2, n)
    parts = [synthesis.push(spectrum[:, at : at + 3]) for at in range(0, spectrum.shape[1], 3)]
    back = np.concatenate([*parts, synthesis.finish()], axis=1)
    assert back.shape == samples.shape
    assert np.abs(back - samples).max() < 2e-6 * max(1, np.abs(samples).max()) * 4


@given(n=st.integers(1, 500), a=st.integers(1, 200), b=st.integers(1, 200))
def test_frames_do_not_depend_on_the_blocks(n: int, a: int, b: int) -> None:
    samples = np.random.default_rng(n).standard_normal((1, n)).astype(np.float32)
    assert np.array_equal(analyse(samples, SMALL, a), analyse(samples, SMALL, b))


def test_a_frame_is_centred_on_its_hop() -> None:
    click = np.zeros((1, 4_800), np.float32)
    click[0, 100 * SMALL.hop] = 1
    energy = np.abs(analyse(click, SMALL, 999)[0]).sum(axis=1)
    assert int(energy.argmax()) == 100


@given(n=st.integers(1, 3_000), window=st.integers(2, 600), data=st.data())
def test_windows_cover_everything_once(n: int, window: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, window - 1))
    windows = cut(n, window, overlap)
    assert windows[0].start == 0
    assert windows[-1].end == n
    assert all(w.n_frames == window for w in windows[:-1])
    assert all(a.end - b.start == overlap for a, b in pairwise(windows))
    whole = np.random.default_rng(n).random((2, n, 3), np.float32)
    joined = np.concatenate(list(join((w, whole[:, w.start : w.end]) for w in windows)), axis=1)
    assert joined.shape == whole.shape
    assert np.abs(joined - whole).max() < 1e-6


def test_the_crossfade_is_a_ramp_without_a_step() -> None:
    windows = cut(100, 60, 20)
    answers = [np.full((1, w.n_frames, 1), float(i), np.float32) for i, w in enumerate(windows)]
    joined = np.concatenate(list(join(zip(windows, answers, strict=True))), axis=1)[0, :, 0]
    assert len(windows) == 2
    assert np.diff(joined).max() <= 1 / 20 + 1e-6
    assert np.diff(joined).min() >= 0


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("size", [1_000, 65_536])
def test_resampling_keeps_length_and_place(rate: int, size: int) -> None:
    n = 44_100
    tone = np.sin(2 * np.pi * 441 * np.arange(n) / 44_100, dtype=np.float64).astype(np.float32)[None]
    out = np.concatenate(list(resample(blocks_of(tone, size), 44_100, rate, 1, n)), axis=1)
    assert out.shape == (1, resampled_length(n, 44_100, rate))
    expected = np.sin(2 * np.pi * 441 * np.arange(out.shape[1]) / rate)
    middle = slice(rate // 10, out.shape[1] - rate // 10)
    assert np.abs(out[0, middle] - expected[middle]).max() < 1e-4


def lay(samples: np.ndarray, mask: np.ndarray, rate: int, mask_size: int = 50, size: int = 10_000) -> np.ndarray:
    masks = (mask[:, at : at + mask_size] for at in range(0, mask.shape[1], mask_size))
    pairs = list(project(masks, blocks_of(samples, size), GRID, rate, samples.shape[0], samples.shape[1]))
    assert np.array_equal(np.concatenate([m for m, _ in pairs], axis=1), samples)
    return np.concatenate([t for _, t in pairs], axis=1)


def mask_frames(n: int, rate: int) -> int:
    return GRID.n_frames(resampled_length(n, rate, GRID.sample_rate))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("n", [1, 777, 30_001])
def test_a_constant_mask_scales_every_rate_and_channel(rate: int, channels: int, n: int) -> None:
    samples = make_mixture(n, rate, channels).T.copy()
    target = lay(samples, np.full((1, mask_frames(n, rate), GRID.n_bins), 0.25, np.float32), rate)
    assert target.shape == samples.shape
    assert np.abs(target - 0.25 * samples).max() < 1e-6


@settings(max_examples=20)
@given(mask_size=st.integers(1, 60), size=st.integers(500, 40_000))
def test_laying_a_mask_does_not_depend_on_the_blocks(mask_size: int, size: int) -> None:
    samples = make_mixture(20_000, 48_000).T.copy()
    mask = np.random.default_rng(1).random((2, mask_frames(20_000, 48_000), GRID.n_bins), np.float32)
    assert np.abs(lay(samples, mask, 48_000, mask_size, size) - lay(samples, mask, 48_000)).max() < 1e-6


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
def test_a_band_mask_passes_its_band_at_every_rate(rate: int) -> None:
    n = rate
    t = np.arange(n) / rate
    low, high = (0.3 * np.sin(2 * np.pi * f * t).astype(np.float32)[None] for f in (500, 6_000))
    mask = np.zeros((1, mask_frames(n, rate), GRID.n_bins), np.float32)
    mask[..., : round(2_000 / GRID.sample_rate * GRID.n_fft)] = 1
    middle = slice(n // 10, n - n // 10)
    error = (lay(low + high, mask, rate) - low)[0, middle]
    assert 20 * np.log10(np.sqrt(np.mean(error**2)) / np.sqrt(np.mean(low**2))) < -60


@pytest.mark.parametrize("rate", [48_000, 96_000])
def test_a_mask_in_time_stays_in_place(rate: int) -> None:
    n = 2 * rate
    old_frames, new = mask_frames(n, rate), GRID.at_rate(rate)
    opens = np.zeros((1, old_frames, GRID.n_bins), np.float32)
    opens[:, old_frames // 2 :] = 1
    regrid = Regrid(GRID, new, n)
    carried = np.concatenate([regrid.push(opens[:, :40]), regrid.push(opens[:, 40:]), regrid.finish()], axis=1)
    assert carried.shape == (1, new.n_frames(n), new.n_bins)
    opened_s = int((carried[0, :, 5] >= 0.5).argmax()) * new.hop / rate
    assert abs(opened_s - old_frames // 2 * GRID.hop / GRID.sample_rate) <= GRID.hop / GRID.sample_rate


@pytest.mark.parametrize("rate", RATES)
def test_grids_of_other_rates_last_about_as_long(rate: int) -> None:
    grid = GRID.at_rate(rate)
    assert abs(grid.n_fft / rate / (GRID.n_fft / GRID.sample_rate) - 1) < 0.1
    assert grid.n_fft == 4 * grid.hop
