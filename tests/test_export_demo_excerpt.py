"""The demo's excerpt is what its notes say: hashes, size, the voice's place, and a band that is mixture - voice."""

import hashlib
import json
from importlib.resources import files

import numpy as np
import pytest
import soundfile

from export.demo_excerpt import BEAT_S, DRUMS, LENGTH_S, midi, mix, notes

FOLDER = files("engine") / "demo"


@pytest.fixture(scope="module")
def about():
    return json.loads((FOLDER / "excerpt.json").read_text(encoding="utf-8"))


def read(name):
    audio, rate = soundfile.read(str(FOLDER / name), dtype="int16", always_2d=True)
    return audio.T.astype(np.int64), rate


def test_the_files_are_those_their_description_names(about):
    for name, sha256 in about["sha256"].items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == sha256
    sizes = {path.name: len(path.read_bytes()) for path in FOLDER.iterdir() if path.is_file()}
    assert sizes.pop("drums.flac") <= 650_000  # what the second stem is measured against; the excerpt is the rest
    assert sum(sizes.values()) <= 1_000_000


def test_licence_and_provenance_lie_beside_them():
    assert "creativecommons.org/licenses/by-sa/3.0" in (FOLDER / "LICENSE").read_text(encoding="utf-8")
    assert "Frank Wen" in (FOLDER / "LICENSE").read_text(encoding="utf-8")
    assert "export.demo_excerpt" in (FOLDER / "PROVENANCE.md").read_text(encoding="utf-8")


def test_the_voice_is_as_loud_as_the_band_and_only_within_its_span(about):
    mixture, rate = read("mixture.flac")
    voice, voice_rate = read("voice.flac")
    assert (rate, voice_rate) == (about["sample_rate"],) * 2
    assert mixture.shape == (2, about["samples"])
    assert voice.shape == (1, about["samples"])
    band = mixture - voice
    level_db = 10 * np.log10(2 * np.sum(voice**2) / np.sum(band**2))
    assert abs(level_db) < 0.05
    start, end = (round(t * rate) for t in about["span_s"])
    assert not voice[:, :start].any()
    assert not voice[:, end:].any()
    assert np.abs(voice[:, start:end]).max() > 1_000
    for channel in band:
        assert np.abs(channel[: rate // 2]).max() > 100, "the band plays before the singer enters"


def test_mix_is_an_exact_sum_of_equal_energies():
    rng = np.random.default_rng(5)
    voice, band = rng.standard_normal((1, 4_000)), 0.1 * rng.standard_normal((2, 4_000))
    drums = 0.5 * band
    mixture, voice_16, drums_16 = mix(voice, band, drums)
    assert mixture.dtype == voice_16.dtype == drums_16.dtype == np.int16
    rest = mixture.astype(np.int64) - voice_16
    assert abs(10 * np.log10(2 * np.sum(voice_16.astype(np.int64) ** 2) / np.sum(rest**2))) < 0.05
    assert np.corrcoef(rest[0], band[0])[0, 1] > 0.9999
    np.testing.assert_allclose(drums_16, 0.5 * rest, atol=1)  # as loud as in the band


def test_the_score_is_whole_and_fits_the_excerpt():
    file = midi(notes())
    played = [message for message in file.tracks[0] if message.type == "note_on"]
    assert len(played) == len(notes())
    assert all(message.time >= 0 for message in file.tracks[0])
    assert file.length <= LENGTH_S + BEAT_S
    assert any(message.channel == DRUMS for message in played)
