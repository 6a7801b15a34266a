"""Prompts to features: a T5 of random weights and a tokenizer of a few words, saved as the real ones are."""

from __future__ import annotations

import os
import shutil

import pytest

if not os.environ.get("CI"):
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")

import torch

from engine.errors import StembridgeError
from engine.model.config import TEXT_TOKENS
from engine.model.text import encode_text, load_text_encoder

pytestmark = pytest.mark.torch
WORDS = ["<pad>", "</s>", "<unk>", "▁lead", "▁vocals", "▁kick", "▁drum", "▁man", "▁speaking", "▁"]
CLOSING = 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import T5Config, T5EncoderModel

    folder = tmp_path_factory.mktemp("t5")
    tokenizer = Tokenizer(models.Unigram([(word, -1.0 * index) for index, word in enumerate(WORDS)], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(WORDS[:3])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", CLOSING)])
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    config = T5Config(vocab_size=len(WORDS), d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4)
    T5EncoderModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(folder):
    return load_text_encoder(folder)


@pytest.fixture(scope="module", autouse=True)
def _inference():
    with torch.inference_mode():
        yield


def test_features_of_a_prompt(encoder):
    text = encode_text(encoder, ["lead vocals"])
    assert encoder.dim == 16
    assert text.features.shape == (1, 3, 16)
    assert text.features.dtype == torch.float32
    assert text.mask.tolist() == [[True] * 3]
    assert text.cut == (False,)


def test_they_are_transformers_own(encoder, folder):
    from transformers import T5EncoderModel

    theirs = T5EncoderModel.from_pretrained(folder).eval()
    ids = torch.tensor([[WORDS.index("▁lead"), WORDS.index("▁vocals"), CLOSING]])
    expected = theirs(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    assert torch.equal(encode_text(encoder, ["lead vocals"]).features, expected)


def test_an_empty_prompt_is_one_token(encoder):
    text = encode_text(encoder, [""])
    assert text.features.shape == (1, 1, 16)
    assert text.mask.tolist() == [[True]]


def test_prompts_are_taken_as_they_stand(encoder):
    lower, upper = (encode_text(encoder, [prompt]).features for prompt in ("kick drum", "KICK drum"))
    assert lower.shape != upper.shape or not torch.equal(lower, upper)


def test_padding_is_neutral(encoder):
    together = encode_text(encoder, ["man", "lead vocals kick drum", ""])
    assert together.mask.sum(dim=1).tolist() == [2, 5, 1]
    for row, prompt in enumerate(["man", "lead vocals kick drum", ""]):
        alone = encode_text(encoder, [prompt]).features[0]
        torch.testing.assert_close(together.features[row, : len(alone)], alone, rtol=0, atol=1e-5)


def test_a_long_prompt_is_cut_and_says_so(encoder):
    text = encode_text(encoder, ["man " * 510 + "man", "man " * 511 + "man"])
    assert text.features.shape[1] == TEXT_TOKENS
    assert text.cut == (False, True)
    # both are 511 words and the closing token: what is cut is words, never the end
    torch.testing.assert_close(text.features[0], text.features[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(folder, tmp_path, name):
    copy = shutil.copytree(folder, tmp_path / "t5")
    (copy / name).unlink()
    with pytest.raises(StembridgeError, match=name) as caught:
        load_text_encoder(copy)
    assert caught.value.code == "model_missing"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_damaged_file_is_refused(folder, tmp_path, name):
    copy = shutil.copytree(folder, tmp_path / "t5")
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data[: len(data) // 3])
    with pytest.raises(StembridgeError) as caught:
        load_text_encoder(copy)
    assert caught.value.code == "model_corrupt"
    assert caught.value.remedy
