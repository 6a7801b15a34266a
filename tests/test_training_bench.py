"""The bench of the model that ships, as a user runs it, on a real singer over a band and on songs made here: floors.

The band of the excerpt was rendered for the demo, the rest is our own synthesis with numbers that training does not
draw: enough to tell a model that lost its wits from one that works. What it is worth is in training/MODEL_CARD.md.
"""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import soundfile

from bridge.__main__ import main
from engine.quality.stems import DEMO, bundled_song

if not os.environ.get("CI"):
    pytest.importorskip("scipy", reason="scipy is not installed")

from training import bank
from training.bank import Studio
from training.notes import compose
from training.recordings import Shots
from training.sources import BY_NAME

RATE = 44_100
LENGTH_S = 8


def made(name: str, seed: int) -> np.ndarray:
    """A source of our own synthesis, `(sample,)`, at an even level."""
    source = BY_NAME[name]
    own = type(source)(source.name, source.role, source.low, source.high, (), source.made)
    rng = np.random.default_rng(seed)
    sound = bank.render(own, compose(rng, float(LENGTH_S)), Studio((), (), Shots({})), 0, rng)[: LENGTH_S * RATE]
    sound = np.pad(sound, (0, LENGTH_S * RATE - len(sound)))
    return (sound * 0.08 / max(float(np.sqrt((sound**2).mean())), 1e-6)).astype(np.float32)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    drums, _ = soundfile.read(DEMO / "drums.flac", dtype="float32", always_2d=True)
    song = bundled_song()
    rest = song.stems["accompaniment"].T - drums
    songs = {"excerpt": {"drums": drums, "vocals": song.stems["vocals"].T, "_rest": rest}}
    part = drums[: LENGTH_S * RATE]
    part = part * 0.08 / np.sqrt((part**2).mean())
    songs["made"] = {"drums": part, "bass": made("synth bass", 9001), "steel string guitar": made("steel guitar", 9002)}
    for name, stems in songs.items():
        for prompt, sound in stems.items():
            path = folder / "songs" / name / f"{prompt}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, sound, RATE, subtype="FLOAT")
    assert main(["bench", "quality", "--stems", str(folder / "songs"), "--out", str(folder / "out")]) == 0
    assert (folder / "out" / "separation.png").is_file()
    return json.loads((folder / "out" / "quality.json").read_text(encoding="utf-8"))["separation"]


def gain(found, song, prompt, method):
    (row,) = [r for r in found["rows"] if (r["song"], r["prompt"], r["method"]) == (song, prompt, method)]
    return row["si_sdr_gain_db"]


FLOORS = [
    ("excerpt", "drums", 6.0, 5.0),
    ("excerpt", "vocals", 12.0, 6.0),
    ("made", "drums", 2.5, 2.0),
    ("made", "bass", 4.0, 2.0),
]
"""Song, prompt, dB over the mixture, dB over the band-pass: two to four below what was measured."""


@pytest.mark.parametrize(("song", "prompt", "least_db", "ahead_db"), FLOORS)
def test_it_separates_better_than_a_band_pass_and_no_better_than_the_ideal(found, song, prompt, least_db, ahead_db):
    model = gain(found, song, prompt, "model")
    assert model >= least_db
    assert model >= gain(found, song, prompt, "band-pass") + ahead_db
    assert model < gain(found, song, prompt, "ideal mask")


def test_every_stem_nulls_and_says_how_sure_it_was(found):
    rows = [row for row in found["rows"] if row["method"] == "model"]
    assert len(rows) == 5
    for row in rows:
        assert row["null_db"] is None or row["null_db"] <= -120
    sure = {(row["song"], row["prompt"]): row["presence"] for row in rows}
    assert sure["excerpt", "drums"] > 0.5
    assert sure["made", "bass"] > 0.5


def test_a_sound_that_is_not_there_leaves_next_to_nothing(found):
    """Only of songs of which everything is known: the excerpt's band has a bass that no file names."""
    absent = {
        (row["song"], row["prompt"]): row["leakage_db"] for row in found["rows"] if row["method"] == "model, absent"
    }
    assert set(absent) == {("made", "vocals")}
    assert absent["made", "vocals"] is None or absent["made", "vocals"] <= -20
