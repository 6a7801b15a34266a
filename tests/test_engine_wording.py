"""The words of a prompt: what they name, and how words that were never taught are moved towards those that were."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.bundle import Bundle
from engine.masks.vocabulary import FAR, NEAR, towards_taught
from engine.masks.wording import answers_in_part, answers_well, joins, names_a_sound, read_prompt


def _unit(rows: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(rows, 384))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def _at(cosine: float, of: np.ndarray, seed: int) -> np.ndarray:
    """A unit vector at a cosine to another."""
    apart = _unit(1, seed)[0]
    apart -= (apart @ of) * of
    apart /= np.linalg.norm(apart)
    return np.asarray(cosine * of + np.sqrt(1 - cosine**2) * apart, np.float32)


@given(st.integers(0, 2**32 - 1), st.floats(-1, 1), st.integers(1, 40))
def test_words_end_as_unit_vectors_no_farther_from_what_was_taught(seed, cosine, rows):
    taught = _unit(rows, seed)
    text = _at(cosine, taught[0], seed + 1)
    moved = towards_taught(text, taught)
    assert np.linalg.norm(moved) == pytest.approx(1, abs=1e-4)
    assert (taught @ moved).max() >= (taught @ text).max() - 1e-4


def test_what_is_like_nothing_taught_stays_and_what_is_near_becomes_a_mean_of_it():
    taught = _unit(30, 0)
    far = _at(FAR - 0.01, taught[0], 1)
    assert towards_taught(far, taught) is far
    near = _at(NEAR, taught[0], 2)
    assert taught[0] @ near < 0.81 < 0.95 < taught[0] @ towards_taught(near, taught)
    # Halfway between two that mean the same, both count.
    pair = np.stack([_at(0.95, taught[0], 3), _at(0.95, taught[0], 4)])
    between = towards_taught(taught[0], pair)
    np.testing.assert_allclose(pair @ between, (pair @ taught[0]), atol=0.05)


@pytest.mark.parametrize("what", ["kick and snare", "guitars & keys", "not guitar", "Bass, Drums", "Gitarre mit Hall"])
def test_several_sounds_in_one_prompt_are_seen(what):
    assert joins(what)


@pytest.mark.parametrize("what", ["band", "organ", "nylon guitar", "synth pad", "e-piano", "mitte"])
def test_one_sound_is_one(what):
    assert not joins(what)


def test_moving_begins_gently():
    taught = _unit(30, 0)
    steps = [towards_taught(_at(cosine, taught[0], 1), taught) for cosine in np.linspace(0.55, 0.85, 61)]
    turns = [float(a @ b) for a, b in itertools.pairwise(steps)]
    assert min(turns) > 0.99


def test_no_words_and_nothing_taught_are_left_alone():
    none = np.zeros(384, np.float32)
    assert not towards_taught(none, _unit(5, 0)).any()
    text = _unit(1, 1)[0]
    assert towards_taught(text, np.zeros((0, 384), np.float32)) is text


@pytest.mark.parametrize(
    ("prompt", "has"),
    [("drums", True), ("808", True), ("尺八", True), ("no drums", True), ("", False), ("_ _", False), ("🎸!", False)],
)
def test_words_are_letters_or_digits_of_any_script(prompt, has):
    assert names_a_sound(prompt) is has


def test_everything_but_a_sound_names_the_sound():
    assert read_prompt("everything  but the Banjo") == ("Banjo", True)
    assert read_prompt("non-stop bass") == ("non-stop bass", False)


def test_how_well_a_phrase_is_answered_is_what_the_manifest_says():
    facts = {"text_alone": ["drums"], "with_spans": ["flute"], "in_part": ["guitar"]}
    bundle = Bundle(Path(), "prompted", "prompted-mask", "", "1", "Apache-2.0", {}, facts)
    assert answers_well(bundle, "no Drums")
    assert not answers_well(bundle, "flute")
    assert answers_well(bundle, "flute", marked=True)
    assert answers_in_part(bundle, "the guitars")
    assert not answers_in_part(bundle, "theremin")
