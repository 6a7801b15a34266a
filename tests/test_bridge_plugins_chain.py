"""What a chain gives back: as many samples as went in, at their place, from real plugins, built-ins and liars."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bridge.plugins.chain import BUILT_INS, PluginUse
from bridge.plugins.process import PluginFailure, Worker
from bridge.plugins.stage import MIN_SAMPLES
from bridge.plugins.stream import through

pytestmark = pytest.mark.vst3
FAULTS = (sys.executable, str(Path(__file__).parent / "plugin_faults.py"))
RATES = (44_100, 48_000, 96_000)
LATE = PluginUse(plugin="ZaMaximX2")
"""Reports 480 samples of latency; without a threshold it changes nothing else."""


@pytest.fixture(scope="module")
def worker():
    with Worker(command=FAULTS) as worker:
        yield worker


@pytest.fixture
def liar(tmp_path):
    def make(fault: str, **settings) -> PluginUse:
        path = tmp_path / f"{fault}.vst3"
        path.touch()
        return PluginUse(plugin=str(path), **settings)

    return make


def noise(n: int, channels: int = 2, seed: int = 0) -> np.ndarray:
    return (0.05 * np.random.default_rng(seed).standard_normal((channels, n))).astype(np.float32)


def pieces(samples: np.ndarray, sizes) -> list[np.ndarray]:
    cuts = np.cumsum(sizes)
    return np.split(samples, cuts[cuts < samples.shape[1]], axis=1)


def run(worker, chain, samples, rate=48_000, *, sizes=(70_001, 1, 3, 40_000), tail=0, buffer_size=8192):
    worker.open(tuple(chain), rate, samples.shape[0], buffer_size)
    return np.concatenate(list(through(worker, pieces(samples, sizes), tail)), axis=1)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("buffer_size", [64, 100, 128, 256, 512, 1024, 2048, 4096, 8192])
def test_a_latency_adding_chain_comes_back_with_no_sample_of_error(worker, liar, rate, buffer_size):
    impulse = np.zeros((2, 3 * 8192), np.float32)
    impulse[0, 7001], impulse[1, 12_345] = 0.25, -0.2
    # four plugins: one that reports 480 samples, one that looks ahead, one that is late and one that is early unsaid
    chain = [LATE, PluginUse(plugin="BrickwallLimiter"), liar("late@333"), liar("early@200")]
    made = run(worker, chain, impulse, rate, sizes=(5000, 9000), buffer_size=buffer_size)
    assert made.shape == impulse.shape
    assert (int(np.argmax(np.abs(made[0]))), int(np.argmax(np.abs(made[1])))) == (7001, 12_345)
    np.testing.assert_allclose(made, impulse, atol=1e-6)


def test_the_latency_is_told_as_reported_and_as_measured(worker, liar):
    facts = worker.open((LATE, liar("late@333"), liar("early@200"), liar("late@50", latency="reported")), 48_000, 2)
    assert facts[0]["latency_samples"] == 480
    assert [fact["correction_samples"] for fact in facts] == [0, 333, -200, 0]


def test_what_is_only_reported_stays_late(worker, liar):
    impulse = np.zeros((1, 4000), np.float32)
    impulse[0, 1000] = 0.25
    assert np.argmax(run(worker, [liar("late@50", latency="reported")], impulse)) == 1050


@pytest.mark.parametrize("name", BUILT_INS)
def test_blocks_give_what_the_whole_gives(worker, name):
    samples = noise(40_000)
    whole = run(worker, [PluginUse(plugin=name)], samples, sizes=(40_000,))
    assert whole.shape == samples.shape
    np.testing.assert_array_equal(run(worker, [PluginUse(plugin=name)], samples, sizes=(9001, 1, 17, 20_000)), whole)


def test_real_plugins_are_the_same_in_blocks_and_buffers(worker):
    chain = [PluginUse(plugin="ZamCompX2", parameters={"threshold_db": -40.0, "ratio": 10.0}), LATE]
    samples = noise(60_000)
    whole = run(worker, chain, samples, sizes=(60_000,))
    assert np.sqrt(np.mean(whole**2)) < 0.8 * np.sqrt(np.mean(samples**2))  # it does compress
    np.testing.assert_array_equal(run(worker, chain, samples, sizes=(7, 30_000, 1)), whole)


@pytest.mark.parametrize("n", [1, 2, 3, MIN_SAMPLES - 1, MIN_SAMPLES, MIN_SAMPLES + 1, 65_536, 65_537, 200_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_length_comes_back_at_that_length(worker, liar, n, channels):
    samples = noise(n, channels)
    made = run(worker, [liar("late@100"), PluginUse(plugin="Gain", parameters={"gain_db": 0.0})], samples, sizes=(n,))
    np.testing.assert_allclose(made, samples, atol=1e-7)


def test_a_tail_rings_on_behind_the_end(worker):
    samples = noise(20_000)
    made = run(worker, [PluginUse(plugin="Reverb")], samples, tail=48_000)
    assert made.shape == (2, 68_000)
    assert np.abs(made[:, 20_000:30_000]).max() > 1e-3
    np.testing.assert_array_equal(made[:, :20_000], run(worker, [PluginUse(plugin="Reverb")], samples))


def test_a_mono_plugin_is_used_once_for_each_channel(worker):
    use = PluginUse(plugin="ZamEQ2", parameters={"boost_cut_h_db": -40.0, "frequency_h_hz": 2000.0})
    samples = noise(30_000)
    made = run(worker, [use], samples)
    for channel in (0, 1):
        alone = run(worker, [use], samples[channel : channel + 1])
        np.testing.assert_array_equal(made[channel : channel + 1], alone)
    assert worker.open((use,), 48_000, 2)[0]["layout"] == "each"


def test_a_stereo_plugin_takes_a_mono_source_on_both(worker):
    samples = noise(30_000, 1)
    both = run(worker, [LATE], np.repeat(samples, 2, axis=0))
    np.testing.assert_array_equal(run(worker, [LATE], samples), both[:1])
    assert worker.open((LATE,), 48_000, 1)[0]["layout"] == "doubled"


def test_more_channels_than_it_takes_are_refused_by_name(worker):
    with pytest.raises(PluginFailure) as caught:
        worker.open((PluginUse(plugin="Gain"), LATE), 48_000, 6)
    assert caught.value.code == "bad_plugin"
    assert caught.value.place == 1
    assert "ZaMaximX2 takes 2 channels, and the source has 6" in caught.value.text


WRONG = [
    (PluginUse(plugin="ZamCompX2", parameters={"ratoi": 4.0}), "ratoi", "'ratio'"),
    (PluginUse(plugin="ZamCompX2", parameters={"ratio": 400.0}), "400", "1 to 20"),
    (PluginUse(plugin="ZamCompX2", parameters={"current_program": "Loud"}), "Loud", "'VocalLeveller'"),
    (PluginUse(plugin="Compressor", parameters={"threshold": -9.0}), "threshold", "'threshold_db'"),
    (PluginUse(plugin="Compressor", parameters={"ratio": "four"}), "four", "unless it is set"),
    (PluginUse(plugin="Compressor", parameters={"ratio": 0.2}), "0.2", "unless it is set"),
    (PluginUse(plugin="LadderFilter", parameters={"mode": "LP"}), "LP", "LPF12"),
]


@pytest.mark.parametrize(("use", "named", "helped"), WRONG)
def test_a_wrong_parameter_is_named_with_what_it_may_be(worker, use, named, helped):
    with pytest.raises(PluginFailure) as caught:
        worker.open((use,), 48_000, 2)
    assert caught.value.code == "bad_plugin"
    assert use.title in caught.value.text
    assert named in caught.value.text
    assert helped in caught.value.remedy


def test_parameters_are_read_back(worker, liar):
    use = PluginUse(plugin="ZamCompX2", parameters={"ratio": 10.0, "current_program": "VocalLeveller"})
    assert worker.open((use,), 48_000, 2)[0]["parameters"] == {
        "ratio": pytest.approx(10, abs=0.02),
        "current_program": "VocalLeveller",
    }
    with pytest.raises(PluginFailure, match=r"did not take amount = 0\.9: it reads 0\.5"):
        worker.open((liar("stubborn", parameters={"amount": 0.9}),), 48_000, 2)
    # one that goes back to its own when it first runs is set again
    assert worker.open((liar("forgetful", parameters={"amount": 0.9}),), 48_000, 2)[0]["parameters"] == {"amount": 0.9}


def test_a_vstpreset_is_loaded_and_parameters_win_over_it(worker, tmp_path, zam_preset):
    use = PluginUse(plugin="ZamCompX2", preset=str(zam_preset), parameters={"threshold_db": -10.0})
    samples = noise(20_000)
    by_hand = PluginUse(plugin="ZamCompX2", parameters={"ratio": 10.0, "threshold_db": -10.0})
    np.testing.assert_array_equal(run(worker, [use], samples), run(worker, [by_hand], samples))
    damaged = tmp_path / "damaged.vstpreset"
    damaged.write_bytes(b"VST3 no more")
    with pytest.raises(PluginFailure, match=r"damaged\.vstpreset") as caught:
        worker.open((PluginUse(plugin="ZamCompX2", preset=str(damaged)),), 48_000, 2)
    assert caught.value.code == "bad_plugin"
    with pytest.raises(PluginFailure, match="there is no such file"):
        worker.open((PluginUse(plugin="ZamCompX2", preset=str(tmp_path / "gone.vstpreset")),), 48_000, 2)


@pytest.fixture
def zam_preset(tmp_path):
    """Written by a process of its own: this plugin leaves the processor without subnormal numbers."""
    pytest.importorskip("pedalboard")
    path = tmp_path / "hard.vstpreset"
    script = f"""
import pathlib, pedalboard
plugin = pedalboard.load_plugin("/usr/lib/vst3/ZamCompX2.vst3")
plugin.ratio, plugin.threshold_db = 10, -40
pathlib.Path({str(path)!r}).write_bytes(plugin.preset_data)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60, capture_output=True)
    return path


def test_a_plugin_that_is_not_here_names_the_nearest(worker):
    with pytest.raises(PluginFailure, match="'ZamCompX2'") as caught:
        worker.open((PluginUse(plugin="ZamComppX2"),), 48_000, 2)
    assert caught.value.code == "plugin_missing"
    with pytest.raises(PluginFailure, match=r"/nowhere/at/all\.vst3"):
        worker.open((PluginUse(plugin="/nowhere/at/all.vst3"),), 48_000, 2)
