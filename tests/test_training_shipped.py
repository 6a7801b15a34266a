"""The embedded model of any prompt: whole, small enough, with its licence, and sent what it was measured good at."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from engine import models
from engine.bundle import read_bundle
from engine.errors import StembridgeError
from engine.masks.prompted import PromptedModel
from engine.request import SeparationRequest, Span
from engine.runtime import Ask
from engine.separate import separate
from training.phrases import concepts

FOLDER = models.EMBEDDED / "prompted"
SOURCE = Path("song.wav")


@pytest.fixture(scope="module")
def bundle():
    return read_bundle(FOLDER)


@pytest.fixture(scope="module")
def model(bundle):
    return PromptedModel(bundle)


@pytest.fixture(autouse=True)
def only_embedded(monkeypatch, tmp_path):
    monkeypatch.setattr(models, "models_folder", lambda: tmp_path / "models")


def chosen(prompt, spans=()):
    return models.choose(SeparationRequest((SOURCE,), prompt, Path("out"), spans=spans))


def test_it_is_whole_and_at_most_30_mb(bundle):
    for name in bundle.files:
        assert bundle.path(name).stat().st_size == bundle.files[name]["bytes"]
    assert set(bundle.files) == {"text.onnx", "trunk.onnx", "head.onnx", "vocab.txt", "presence.json", "phrases.npy"}
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 30e6
    assert (FOLDER / "LICENSE").is_file()
    assert (FOLDER / "PROVENANCE.md").is_file()


def test_the_vectors_of_what_it_was_taught_are_its_text_encoder_s_own(bundle, model):
    taught, phrases = np.load(bundle.path("phrases.npy")), bundle.facts["phrases"]
    assert taught.shape == (len(phrases), bundle.facts["n_text"])
    for row in (0, len(phrases) // 2, -1):
        np.testing.assert_allclose(taught[row], model.embed(phrases[row]), atol=1e-3)
    own = model.embed("drum set of a rock band")
    assert (taught @ model._understand("drum set of a rock band")).max() > (taught @ own).max() + 0.02
    np.testing.assert_array_equal(model._understand("kick and snare"), model.embed("kick and snare"))


def test_every_phrase_it_answers_is_one_that_training_knows(bundle):
    known = {phrase.casefold() for c in concepts().values() for phrase in c.phrases + c.labels}
    assert set(bundle.facts["text_alone"]) <= known
    assert set(bundle.facts["with_spans"]) <= known
    assert {name.casefold() for name in bundle.facts["answers"]} <= set(bundle.facts["text_alone"])
    assert {"drums", "kick drum", "bass"} <= set(bundle.facts["text_alone"])


def test_every_phrase_it_answers_well_comes_to_it_unless_the_two_stem_model_knows_it(bundle):
    for phrase in bundle.facts["text_alone"]:
        assert chosen(phrase) in ("prompted", models.DEFAULT)
    assert chosen("drums") == "prompted"
    assert chosen("no drums") == "prompted"
    assert chosen("The Kick Drum") == "prompted"


@pytest.mark.parametrize("prompt", ["vocals", "instrumental", "speech", "lead vocals", "no vocals"])
def test_voices_and_what_is_left_of_them_stay_with_the_two_stem_model(prompt):
    assert chosen(prompt) == models.DEFAULT
    assert chosen(prompt, (Span("+", 0.0, 1.0),)) == models.DEFAULT


def test_other_words_come_here_too_and_are_told_from_measured_ones(model):
    assert chosen("didgeridoo") == chosen("no didgeridoo") == "prompted"
    assert "was not measured" in model.plan(Ask("didgeridoo")).note
    assert model.plan(Ask("drums")).note == ""
    with pytest.raises(StembridgeError) as caught:
        chosen("???")
    assert caught.value.code == "unsupported_prompt"


def test_it_tells_a_low_hum_from_a_high_noise(model):
    """Not music, so nothing of its quality; but the right graph with the right words does at least this."""
    rate, n = 44100, 3 * 44100
    t = np.arange(n) / rate
    note = 0.2 * np.sin(2 * np.pi * 55 * t) + 0.1 * np.sin(2 * np.pi * 110 * t)
    hats = np.random.default_rng(0).normal(0, 0.1, n) * (np.sin(2 * np.pi * 4 * t) > 0.9)
    hats -= np.convolve(hats, np.ones(8) / 8, mode="same")
    audio = np.stack([note + hats] * 2).astype(np.float32)

    def low_and_high(prompt):
        plan = model.plan(Ask(prompt))
        mask = np.concatenate(list(model.estimate([audio], 2, n, plan, lambda _: None)), axis=1).mean(axis=(0, 1))
        return mask[4:12].mean(), mask[800:1500].mean()

    low, high = low_and_high("bass")
    assert low > 3 * high
    low, high = low_and_high("hi-hat")
    assert high > 3 * low


def test_a_source_that_is_not_there_is_said_and_leaves_the_mixture_as_the_residual(tmp_path):
    t = np.arange(5 * 44100) / 44100
    note = 0.2 * np.sin(2 * np.pi * 55 * t) + 0.1 * np.sin(2 * np.pi * 110 * t) + 0.03 * np.sin(2 * np.pi * 165 * t)
    soundfile.write(tmp_path / "note.wav", np.stack([note, note], axis=1), 44100, subtype="FLOAT")

    def ask(prompt):
        done = separate(SeparationRequest((tmp_path / "note.wav",), prompt, tmp_path / prompt), models.Shelf())
        told = json.loads(done.manifest.read_text(encoding="utf-8"))
        return done, told, soundfile.read(done.target)[0], soundfile.read(done.residual)[0]

    done, told, target, residual = ask("hi-hat")
    assert (told["model"]["name"], told["found"]) == ("prompted", False)
    assert told["presence"] < 0.1
    assert done.note == told["note"] == "This source was not found: hi-hat."
    assert np.square(target).mean() < 1e-4 * np.square(note).mean()
    np.testing.assert_allclose(residual[:, 0], note, atol=2e-3)
    done, told, target, residual = ask("bass")
    assert (told["found"], done.note) == (True, "")
    assert told["presence"] > 0.5
    assert np.square(target).mean() > 0.5 * np.square(note).mean()


def test_the_manifest_names_the_licence_and_where_it_comes_from(bundle):
    facts = json.loads((FOLDER / "bundle.json").read_text(encoding="utf-8"))
    assert facts["licence"] == bundle.licence == "Apache-2.0"
    assert "training/" in facts["provenance"]
