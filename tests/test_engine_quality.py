"""Measurements of quality: identities of every measure and baseline, folders of stems, tables and plots."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile

from engine.errors import StembridgeError
from engine.models import DEFAULT, Shelf
from engine.quality import report, separation
from engine.quality.baselines import GRID, band_of, harmonic_percussive, ideal_ratio, is_percussive, signal, spectrum
from engine.quality.clips import cut_clips
from engine.quality.few_steps import Distance
from engine.quality.measures import (
    LOG_WMSE_BEST,
    leakage_db,
    log_mel_db,
    log_wmse,
    mr_stft,
    sounding_runs,
    span_iou,
)
from engine.quality.stems import Song, bundled_song, prompt_of, read_song, song_folders

RATE = 44_100
RNG = np.random.default_rng(0)


def tone(hz: float, seconds: float = 2.0, channels: int = 2) -> np.ndarray:
    wave = 0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)
    return np.broadcast_to(wave.astype(np.float32), (channels, len(wave))).copy()


def clicks(seconds: float = 2.0) -> np.ndarray:
    wave = np.zeros((2, round(seconds * RATE)), np.float32)
    for start in range(2_000, wave.shape[1] - 200, 11_000):
        wave[:, start : start + 100] = 0.5 * RNG.standard_normal(100)
    return wave


# Measures


def test_a_perfect_stem_is_at_distance_zero() -> None:
    wanted, mixture = tone(440), tone(440) + tone(880)
    assert mr_stft(wanted, wanted) == 0
    assert log_mel_db(wanted, wanted, RATE) == 0
    assert log_wmse(wanted, wanted, mixture, RATE) == pytest.approx(LOG_WMSE_BEST, abs=0.01)
    assert span_iou(wanted, wanted, RATE) == 1


def test_more_error_is_more_distance() -> None:
    wanted, other = tone(440), tone(1_000)
    mixture = wanted + other
    found = [wanted + share * other for share in (0.001, 0.01, 0.1, 1.0)]
    for distance in (
        lambda made: mr_stft(made, wanted),
        lambda made: log_mel_db(made, wanted, RATE),
        lambda made: -log_wmse(made, wanted, mixture, RATE),
    ):
        values = [distance(made) for made in found]
        assert values == sorted(values)
        assert values[0] < values[-1]


def test_log_wmse_counts_errors_relative_to_the_mixture() -> None:
    wanted, mixture = tone(1_000), 2 * tone(1_000)
    quarter = log_wmse(np.zeros_like(wanted), wanted, mixture, RATE)
    assert quarter == pytest.approx(-4 * math.log(0.25), abs=1e-3)
    assert log_wmse(0.1 * np.zeros_like(wanted), 0.1 * wanted, 0.1 * mixture, RATE) == pytest.approx(quarter, abs=1e-3)
    # what the ear hears badly counts less
    deep, clear = tone(40), tone(2_000)
    assert log_wmse(wanted + deep, wanted, mixture, RATE) > log_wmse(wanted + clear, wanted, mixture, RATE)


def test_silence_has_its_own_answers() -> None:
    silent, sound = np.zeros((2, RATE), np.float32), tone(440, 1.0)
    assert mr_stft(silent, silent) == 0
    assert mr_stft(sound, silent) == math.inf
    assert log_wmse(silent, silent, sound, RATE) == pytest.approx(LOG_WMSE_BEST, abs=0.01)
    assert span_iou(silent, silent, RATE) == 1
    assert span_iou(sound, silent, RATE) == 0
    assert leakage_db(silent, sound, sound, RATE) is None, "it never is silent"


def test_leakage_is_what_sounds_where_the_stem_does_not() -> None:
    stem, other = tone(440), tone(1_000)
    stem[:, RATE:] = 0
    mixture = stem + other
    assert leakage_db(stem, stem, mixture, RATE) == -math.inf
    assert leakage_db(stem + 0.1 * other, stem, mixture, RATE) == pytest.approx(-20, abs=0.1)
    assert leakage_db(mixture, stem, mixture, RATE) == pytest.approx(0, abs=0.1)
    assert sounding_runs(stem, RATE) == [(0.0, 1.0)]
    assert span_iou(stem, tone(440), RATE) == pytest.approx(0.5)


# Baselines


def test_the_ideal_mask_of_a_source_alone_gives_the_source_back() -> None:
    audio, grid = tone(440) + clicks(), GRID
    heard = spectrum(audio, grid)
    made = signal(heard * ideal_ratio(heard, heard), grid, audio.shape[1])
    assert np.abs(made - audio).max() < 1e-4
    assert np.abs(signal(heard, grid, audio.shape[1]) - audio).max() < 1e-5


def test_a_band_holds_its_tone_and_leaves_another_out() -> None:
    bins = np.flatnonzero(band_of((np.abs(spectrum(tone(440), GRID)) ** 2).sum(axis=(0, 1))))
    hz = bins * GRID.sample_rate / GRID.n_fft
    assert 400 < hz.min() <= hz.max() < 480


def test_harmonic_and_percussive_parts_sum_to_the_whole_and_tell_tones_from_clicks() -> None:
    tonal, struck = tone(440) + tone(1_330), clicks()
    lasting, striking = harmonic_percussive(spectrum(tonal + struck, GRID))
    assert np.allclose(lasting + striking, 1, atol=1e-6)
    for wanted, mask, other in ((tonal, lasting, striking), (struck, striking, lasting)):
        power = np.abs(spectrum(wanted, GRID)) ** 2
        assert (power * mask).sum() > 4 * (power * other).sum()
    assert is_percussive("snare drum")
    assert not is_percussive("acoustic guitar")


# Folders


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    folder = tmp_path / "songs"
    excerpt = bundled_song()
    for name, start in (("one", 2.0), ("two", 5.0)):
        (folder / name).mkdir(parents=True)
        part = slice(round(start * RATE), round((start + 3) * RATE))
        soundfile.write(folder / name / "Vocals.wav", excerpt.stems["vocals"][:1, part].T, RATE, subtype="FLOAT")
        band = excerpt.stems["accompaniment"][:, part]
        soundfile.write(folder / name / "whole_band.wav", band.T, RATE, subtype="FLOAT")
        soundfile.write(folder / name / "_noise.wav", 0.01 * RNG.standard_normal((RATE, 2)), RATE)
        soundfile.write(folder / name / "mixture.wav", np.zeros((RATE, 2)), RATE)
    return folder


def test_a_song_is_read_from_its_stems(songs: Path) -> None:
    assert [folder.name for folder in song_folders(songs)] == ["one", "two"]
    song = read_song(songs / "one")
    assert list(song.stems) == ["vocals", "whole band"]
    assert {stem.shape for stem in song.stems.values()} == {(2, 3 * RATE)}
    assert np.array_equal(song.stems["vocals"][0], song.stems["vocals"][1])
    assert np.abs(song.mixture - sum(song.stems.values()) - song.rest).max() < 1e-6
    assert song.rest[:, :RATE].any()
    assert not song.rest[:, RATE:].any()
    assert read_song(songs / "one", 1.0).mixture.shape == (2, RATE)
    assert prompt_of(Path("Acoustic_Guitar.wav")) == "acoustic guitar"


def test_folders_that_hold_no_song_are_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(StembridgeError) as caught:
            song_folders(folder)
        assert caught.value.code == "file_not_found"
    (tmp_path / "song").mkdir()
    soundfile.write(tmp_path / "song" / "bass.wav", np.zeros(100), RATE)
    with pytest.raises(StembridgeError, match="a mixture needs two"):
        read_song(tmp_path / "song")
    soundfile.write(tmp_path / "song" / "drums.wav", np.zeros(100), 48_000)
    with pytest.raises(StembridgeError, match="44100, 48000 Hz"):
        read_song(tmp_path / "song")


def test_clips_are_spread_over_a_folder_and_leave_silence_out(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", np.concatenate([np.zeros(RATE * 2), tone(440, 6.0)[0]]), RATE)
    soundfile.write(tmp_path / "other.flac", tone(440, 2.0)[0], RATE)
    clips = cut_clips(tmp_path, 48_000, 8, 2.0)
    assert [clip.name for clip in clips] == [f"long.wav at {s} s" for s in (2, 4, 6)] + ["other.flac at 0 s"]
    assert {clip.samples.shape for clip in clips} == {(1, 96_000)}
    assert len(cut_clips(tmp_path, 48_000, 2, 2.0)) == 2


def test_a_file_that_is_no_audio_is_left_out_of_the_clips_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.wav").write_text("no audio")
    (tmp_path / "b.wav").touch()
    with pytest.raises(StembridgeError) as caught:
        cut_clips(tmp_path, 48_000, 8, 2.0)
    assert caught.value.code == "not_audio"
    assert not caught.value.text.endswith("..")
    soundfile.write(tmp_path / "song.wav", tone(440, 2.0)[0], RATE)
    caplog.clear()
    assert [clip.name for clip in cut_clips(tmp_path, 48_000, 8, 2.0)] == ["song.wav at 0 s"]
    assert [message.split(" is ")[0] for message in caplog.messages] == ["Left out: a.wav", "Left out: b.wav"]


# The whole


def test_the_embedded_model_on_a_folder_beside_its_baselines(songs: Path, tmp_path: Path) -> None:
    read = [read_song(folder) for folder in song_folders(songs)]
    bands = separation.bands_of(read)
    shares: list[float] = []
    rows = [row for song in read for row in separation.measure_song(song, bands, Shelf(), DEFAULT, shares.append)]
    assert shares == [0.0, 0.5, 0.0, 0.5]
    found = {(entry["prompt"], entry["method"]): entry for entry in separation.table(rows)}
    voice = {
        method: found["vocals", method]["si_sdr_gain_db"] for method in ("model", "band-pass", "HPSS", "ideal mask")
    }
    assert voice["ideal mask"] > voice["model"] > voice["band-pass"] > voice["HPSS"]
    assert found["vocals", "model"]["null_db"] is None or found["vocals", "model"]["null_db"] <= -120
    assert found["vocals", "ideal mask"]["mr_stft"] < found["vocals", "model"]["mr_stft"]
    # a prompt that the model does not know is a row that says so, and its baselines are measured
    assert (found["whole band", "model"]["n"], found["whole band", "model"]["refused"]) == (0, 2)
    assert {row.note for row in rows if row.prompt == "whole band" and row.method == "model"} == {"unsupported_prompt"}
    assert found["whole band", "ideal mask"]["n"] == 2
    # the model hears no spans, and is not compared with itself
    assert not {row.method for row in rows} & {"model, spans", "Spleeter"}

    report.write_json(tmp_path / "out" / "q.json", {"rows": [{"value": math.inf}], "table": separation.table(rows)})
    assert json.loads((tmp_path / "out" / "q.json").read_text())["rows"] == [{"value": None}]
    lines = report.separation_rows(separation.table(rows))
    assert ("whole band", "model", "0 (+2 not known)", *["-"] * 8) in lines
    report.plot_separation(separation.table(rows), tmp_path / "separation.png")
    assert (tmp_path / "separation.png").stat().st_size > 5_000


def test_prompts_that_are_not_there_are_asked_for_and_their_level_is_told(tmp_path: Path) -> None:
    stem, other = tone(440), clicks()
    with_voice = Song("one", RATE, {"vocals": stem, "clicks": other}, np.zeros_like(stem))
    without = Song("two", RATE, {"bass": tone(80), "clicks": other}, np.zeros_like(stem))
    bands = separation.bands_of([with_voice, without])
    assert separation.absent_prompts(with_voice, bands) == ["bass"]
    assert separation.absent_prompts(without, bands) == ["vocals"]
    rows = separation.measure_song(without, bands, Shelf(), None, lambda share: None)
    (absent,) = [row for row in rows if row.method == "model, absent"]
    assert absent.prompt == "vocals"
    assert absent.leakage_db < 0
    assert separation.calibration(rows) is None, "this model does not say how sure it is"
    told = [
        separation.Row("one", "x", "model", presence=0.9),
        separation.Row("one", "y", "model, absent", presence=0.2),
    ]
    assert separation.calibration(told) == pytest.approx({"there": 0.9, "absent": 0.2, "brier": 0.025})


def test_a_perfect_method_is_infinitely_good() -> None:
    stem, other = tone(440), clicks()
    song = Song("made", RATE, {"tone": stem, "clicks": other}, np.zeros_like(stem))
    row = separation.scored(song, "tone", "model", stem)
    assert row.si_sdr_gain_db == row.sdr_db == math.inf
    assert row.mr_stft == 0
    nothing = separation.scored(song, "tone", "model", np.zeros_like(stem))
    assert nothing.sdr_db == pytest.approx(0)
    assert nothing.si_sdr_gain_db == pytest.approx(-60 - separation.si_sdr_db(song.mixture, stem))
    assert [entry["si_sdr_gain_db"] for entry in separation.table([row])] == [math.inf, math.inf]


def test_few_steps_are_plotted_and_exact_results_are_called_so(tmp_path: Path) -> None:
    distances = [Distance("midpoint", 32, math.inf, math.inf, 0.0, 0.0), Distance("euler", 1, 12.3, 10.0, 1.0, 0.5)]
    assert report.few_step_rows(distances) == [
        ("1", "euler", "12.3", "10.0", "1.00", "0.500"),
        ("32", "midpoint", "exact", "exact", "0.00", "0.000"),
    ]
    assert distances[0].to_dict()["latent_snr_db"] is None
    report.plot_few_steps(distances, tmp_path / "few.png")
    assert (tmp_path / "few.png").stat().st_size > 5_000
