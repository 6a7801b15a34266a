"""The prompted model's face: what it reads in prompts and spans, and that windows, channels and lengths come out right.

Its graphs are stand-ins here, so that the arithmetic around them has known answers.
"""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from engine import models
from engine.bundle import Bundle, read_bundle
from engine.errors import StembridgeError
from engine.masks.features import features_of
from engine.masks.kept import Heard, Kept
from engine.masks.presence import SIGNS, Calibration, read_calibration, signs_of, write_calibration
from engine.masks.prompted import PromptedModel, span_frames
from engine.masks.wording import knows, read_prompt
from engine.request import SeparationRequest, Span
from engine.runtime import Ask
from engine.stft import Grid

N_BANDS = 192
RATE = 44100


class Graph:
    """Answers by a rule, and counts."""

    def __init__(self, path):
        self.name = path.stem
        self.calls = 0
        self.provider = "test"

    def run(self, inputs, outputs):
        self.calls += 1
        if self.name == "text":
            return [np.full((1, 384), float(inputs["tokens"].sum()), np.float32)]
        if self.name == "trunk":
            return [inputs["features"] if name == "scale0" else np.zeros((1, 1, 4), np.float32) for name in outputs]
        # The mask is the balance feature: 1 on the left and 0 on the right for a sound that is only on the left.
        balance = inputs["scale0"][0, 1]
        masks = np.stack([(1 + balance) / 2, (1 - balance) / 2])[None, None]
        spans = inputs["spans"][0, 0]
        heard = np.full((1, 1, len(spans) // 8), 2.0, np.float32)
        return [masks * (1 - 0.5 * (spans < 0)).astype(np.float32), heard, np.array([[5.0]], np.float32)]


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setattr("engine.masks.prompted.OnnxGraph", Graph)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "drums"]
    files = {"vocab.txt": "\n".join(words) + "\n", "text.onnx": "", "trunk.onnx": "", "head.onnx": ""}
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    facts = {
        "schema": 1, "name": "test", "kind": "prompted-mask", "title": "", "version": 1, "licence": "Apache-2.0",
        "rate_hz": RATE, "n_fft": 4096, "hop_samples": 2048, "n_bands": N_BANDS, "frames_multiple": 8,
        "frames_window": 64, "n_tokens": 32, "n_text": 384, "phrases": ["hi-hat", "drum kit"],
        "files": {n: {"sha256": hashlib.sha256(c.encode()).hexdigest(), "bytes": len(c)} for n, c in files.items()},
    }  # fmt: skip
    (tmp_path / "bundle.json").write_text(json.dumps(facts), encoding="utf-8")
    return PromptedModel(read_bundle(tmp_path))


def noise(channels, seconds, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, (channels, int(RATE * seconds))).astype(np.float32)


def answer(model, audio, prompt, spans=(), block=10_000):
    blocks = [audio[:, at : at + block] for at in range(0, audio.shape[1], block)]
    plan = model.plan(Ask(prompt, spans))
    steps = []
    masks = list(model.estimate(blocks, len(audio), audio.shape[1], plan, steps.append))
    assert steps[-1] == 1.0
    return np.concatenate(masks, axis=1)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("seconds", [0.01, 0.5, 3.0, 7.3])
def test_masks_cover_every_frame_of_every_channel(model, channels, seconds):
    audio = noise(channels, seconds)
    masks = answer(model, audio, "drums")
    assert masks.shape == (channels, model.card.grid.n_frames(audio.shape[1]), 2049)
    assert masks.min() >= 0
    assert masks.max() <= 1


def test_each_channel_gets_its_own_mask(model):
    audio = noise(2, 2.0)
    audio[1] = 0
    left, right = answer(model, audio, "drums")[:, 5:-5]
    assert left.min() > 0.9
    assert right.max() < 0.1


def test_windows_leave_no_seam(model):
    audio = noise(2, 12.0)
    whole = answer(model, audio, "drums")
    alone = features_of(np.zeros((2, 1, 2049), np.complex64), model.edges)
    assert alone[0].shape == (3, N_BANDS, 1)
    model._window = 10_000
    np.testing.assert_allclose(answer(model, audio, "drums"), whole, atol=1e-5)


def test_the_blocks_the_mixture_comes_in_do_not_matter(model):
    audio = noise(2, 3.0)
    np.testing.assert_array_equal(answer(model, audio, "drums", block=777), answer(model, audio, "drums", block=99_999))


def test_a_second_prompt_on_the_same_sound_costs_no_trunk(model):
    audio = noise(2, 5.0)
    answer(model, audio, "drums")
    calls = model._trunk.calls
    answer(model, audio, "no drums")
    assert calls > 0
    assert model._trunk.calls == calls
    model.close()
    answer(model, audio, "drums")
    assert model._trunk.calls == 2 * calls


def test_a_mixture_known_by_its_key_is_not_even_read_again(model):
    audio = noise(3, 25.0)
    n = audio.shape[1]

    def ask(prompt, mixture, key="mix"):
        plan = model.plan(Ask(prompt, mixture_key=key))
        return np.concatenate(list(model.estimate(mixture, 3, n, plan, lambda _: None)), axis=1)

    def unread():
        raise AssertionError("the mixture was read")
        yield

    first = ask("drums", [audio])
    calls = model._trunk.calls
    np.testing.assert_array_equal(ask("drums", unread()), first)
    assert model._trunk.calls == calls
    ask("drums", [audio], "another mixture")
    assert model._trunk.calls == 2 * calls
    model._kept.get("mix 0 0")
    model._kept._found.popitem(last=False)  # some of it is gone: what is left serves, the rest is heard again
    np.testing.assert_array_equal(ask("drums", [audio]), first)
    assert 2 * calls < model._trunk.calls <= 3 * calls


def test_what_is_kept_is_bounded_and_the_oldest_goes_first():
    def heard(n_frames):
        return Heard({"scale0": np.zeros((1, n_frames), np.float16)}, np.zeros((2, n_frames, 1), np.float32))

    kept = Kept(3 * heard(100).n_bytes)
    for name in "abc":
        kept.put(name, heard(100))
    assert kept.get("a") is not None  # asked for: now the youngest
    kept.put("d", heard(100))
    assert [name for name in "abcd" if kept.get(name) is not None] == ["a", "c", "d"]


def test_everything_but_is_the_rest(model):
    audio = noise(2, 2.0)
    np.testing.assert_allclose(answer(model, audio, "drums") + answer(model, audio, "no drums"), 1, atol=2e-3)


def test_spans_reach_the_head_and_where_it_is_not_is_obeyed(model):
    audio = noise(2, 4.0)
    free, told = answer(model, audio, "drums"), answer(model, audio, "drums", (Span("-", 1.0, 2.0),))
    inside = slice(int(1.2 * RATE / 1024), int(1.8 * RATE / 1024))
    outside = slice(int(2.5 * RATE / 1024), None)
    np.testing.assert_allclose(told[:, inside], free[:, inside] / 2 * 0.05, atol=2e-3)
    np.testing.assert_allclose(told[:, outside], free[:, outside], atol=2e-3)


@pytest.mark.parametrize(
    ("prompt", "what", "rest"),
    [
        ("drums", "drums", False),
        ("  acoustic   guitar ", "acoustic guitar", False),
        ("no drums", "drums", True),
        ("everything except the lead vocals", "lead vocals", True),
        ("Without bass", "bass", True),
        ("all but the piano", "piano", True),
        ("remove guitar", "guitar", True),
        ("noise", "noise", False),
        ("nose flute", "nose flute", False),
        ("", "", False),
    ],
)
def test_prompts(prompt, what, rest):
    assert read_prompt(prompt) == (what, rest)


def test_no_words_need_a_span(model):
    with pytest.raises(StembridgeError, match="names no sound") as caught:
        model.plan(Ask("  "))
    assert caught.value.code == "unsupported_prompt"
    assert model.plan(Ask("", (Span("+", 0.0, 1.0),))).answered_as == "what sounds in the spans"


def test_the_plan_says_what_it_took_the_prompt_for(model):
    assert model.plan(Ask("no drums")).answered_as == "not: drums"
    assert "everything but drums" in model.plan(Ask("no drums")).note


def test_the_manifest_says_how_sure_it_is(model):
    plan = model.plan(Ask("drums"))
    assert model.facts(plan) == {}
    answer(model, noise(2, 1.0), "drums")
    assert model.facts(plan) == {"presence": pytest.approx(0.993), "found": True}


def test_it_makes_no_waveform_of_its_own(model):
    with pytest.raises(StembridgeError) as caught:
        model.generate([], 0, model.plan(Ask("drums")), lambda fraction: None)
    assert caught.value.code == "unsupported_option"


@pytest.mark.parametrize(
    ("prompt", "read"),
    [("the Hi Hats", "hi-hat"), ("drumkit", "drum kit"), ("no drum-kits", "drum kit"), ("Drum solo", "Drum solo")],
)
def test_another_spelling_is_read_as_the_phrase_that_was_learnt(model, monkeypatch, prompt, read):
    heard = []
    embed = model.embed
    monkeypatch.setattr(model, "embed", lambda phrase: heard.append(phrase) or embed(phrase))
    answer(model, noise(1, 0.3), prompt)
    assert heard == [read]


def test_spans_become_frames():
    grid = Grid(RATE, 4096, 2048)
    spans = (Span("+", 0.0, 1.0), Span("-", 2.0, 100.0), Span("+", 0.5, 0.5001))
    frames = span_frames(spans, grid, 60)
    assert np.all(frames[:21] == 1)
    assert np.all(frames[23:42] == 0)
    assert np.all(frames[44:] == -1)


FITTED = Calibration((1.0, 0.5, 0.0, -2.0, 0.25), -1.0, 0.5, 0.2)


def test_an_absent_sound_is_40_db_down_and_a_likely_one_is_not_touched():
    assert FITTED.gain(0.5) == FITTED.gain(1.0) == 1
    assert FITTED.gain(0.2) == FITTED.gain(0.0) == pytest.approx(0.01)
    assert FITTED.gain(0.35) == pytest.approx(0.1)
    gains = [FITTED.gain(probability) for probability in np.linspace(0, 1, 50)]
    assert gains == sorted(gains)


def test_probability_is_logistic_and_never_overflows(tmp_path):
    signs = {"logit": 1.0, "loudest": 2.0, "mean": 9.0, "passed": 0.5, "decided": 4.0}
    assert FITTED.probability(signs) == pytest.approx(1 / (1 + np.exp(-1)))
    assert FITTED.probability(signs | {"logit": 1e9}) == pytest.approx(1)
    assert FITTED.probability(signs | {"logit": -1e9}) == pytest.approx(0)
    write_calibration(tmp_path / "presence.json", FITTED)
    assert read_calibration(tmp_path / "presence.json") == FITTED
    said = json.loads((tmp_path / "presence.json").read_text(encoding="utf-8"))
    said["weights"] = {"other": 1.0}
    (tmp_path / "presence.json").write_text(json.dumps(said), encoding="utf-8")
    with pytest.raises(ValueError, match="other"):
        read_calibration(tmp_path / "presence.json")


def test_signs_are_what_comes_out_and_how_decided_the_mask_is():
    power = np.ones((2, 4, 8), np.float32)
    gains = np.zeros_like(power)
    gains[..., :4] = 1
    heard = np.array([-1.0, 3.0], np.float32)
    whole = signs_of(0.5, heard, gains, power)
    assert list(whole) == list(SIGNS)
    assert (whole["logit"], whole["loudest"], whole["mean"]) == (0.5, 3.0, 1.0)
    assert whole["passed"] == pytest.approx(np.log10(0.5), abs=1e-4)
    assert whole["decided"] == pytest.approx(1)
    assert signs_of(0.5, heard, gains * 0 + 0.3, power)["decided"] == pytest.approx(0.3)
    assert np.isfinite(list(signs_of(0.5, heard, gains * 0, power * 0).values())).all()


def test_a_sound_that_is_not_found_leaves_next_to_nothing_and_says_so(model):
    audio = noise(2, 3.0)
    loud = answer(model, audio, "drums")
    model._calibration = replace(FITTED, bias=-1e3)
    np.testing.assert_allclose(answer(model, audio, "drums"), 0.01 * loud, atol=1e-4)
    facts = model.facts(model.plan(Ask("drums")))
    assert facts == {"presence": 0.0, "found": False, "remark": "This source was not found: drums."}
    model._calibration = replace(FITTED, weights=(0.0,) * 5, bias=-1.0)
    answer(model, audio, "drums")
    assert model.facts(model.plan(Ask("drums")))["remark"] == "It is not sure that this source is there: drums."
    # Who marks where it is knows better.
    np.testing.assert_allclose(answer(model, audio, "drums", (Span("+", 1.0, 2.0),)), loud, atol=2e-3)


@pytest.mark.parametrize(
    ("prompt", "chosen"),
    [
        ("Kick  Drum", "prompted"),
        ("the drums", "prompted"),
        ("Kick-drums", "prompted"),
        ("guitar", "prompted"),
        ("no drums", "prompted"),
        ("vocals", "spleeter-2stems"),
        ("theremin", "prompted"),
        ("not the theremin", "prompted"),
        ("***", None),
    ],
)
def test_whatever_is_no_voice_and_no_accompaniment_comes_here(monkeypatch, tmp_path, prompt, chosen):
    prompted = Bundle(tmp_path, "prompted", "prompted-mask", "", "1", "Apache-2.0", {}, {})
    known = models.installed() | {"prompted": prompted}
    monkeypatch.setattr(models, "installed", lambda: {n: b for n, b in known.items() if b.kind != "flow"})
    request = SeparationRequest(source=(tmp_path / "song.wav",), out_dir=tmp_path, prompt=prompt)
    if chosen is None:
        with pytest.raises(StembridgeError) as caught:
            models.choose(request)
        assert caught.value.code == "unsupported_prompt"
    else:
        assert models.choose(request) == chosen


def test_a_prompt_that_was_not_measured_good_is_answered_with_a_warning(model):
    assert "was not measured" in model.plan(Ask("theremin")).note
    model._bundle.facts["text_alone"] = ["drums", "kick drum"]
    model._bundle.facts["with_spans"] = ["flute"]
    assert model.plan(Ask("drums")).note == ""
    assert "was not measured" in model.plan(Ask("flute")).note
    assert model.plan(Ask("flute", (Span("+", 0.0, 1.0),))).note == ""
    model._bundle.facts["in_part"] = ["drums", "guitar"]
    assert model.plan(Ask("drums")).note == ""
    assert "only in part" in model.plan(Ask("the guitars")).note
    assert "was not measured" in model.plan(Ask("theremin")).note


def test_what_it_knows_says_first_what_it_answers_well(model):
    assert knows(model._bundle) == "any sound, in words"
    model._bundle.facts["answers"] = ["drums", "kick drum"]
    assert knows(model._bundle).startswith("drums, kick drum;")


def test_a_bundle_without_taught_vectors_asks_with_the_words_own(model, monkeypatch):
    asked = []
    monkeypatch.setattr(model, "_answer", lambda heard, text, spans: asked.append(text) or answered(spans))

    def answered(spans):
        return dict.fromkeys(SIGNS, 1.0), np.ones((2, len(spans), N_BANDS), np.float32)

    answer(model, noise(1, 0.3), "drum solo")
    np.testing.assert_array_equal(asked[0], model.embed("drum solo"))
    model._taught = np.eye(1, 384, dtype=np.float32)
    monkeypatch.setattr(model, "embed", lambda _: np.repeat(np.float32([0.9, 0.19**0.5, 0]), [1, 1, 382]))
    answer(model, noise(1, 0.3, seed=1), "drum solo")
    assert asked[1][0] > 0.98
    answer(model, noise(1, 0.3, seed=3), "drums and more")
    np.testing.assert_array_equal(asked.pop(2), model.embed(""))
    # A phrase that was taught is asked as it was.
    answer(model, noise(1, 0.3, seed=2), "drum kit")
    np.testing.assert_array_equal(asked[2], model.embed("drum kit"))
