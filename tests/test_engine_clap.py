"""CLAP as a scorer: a toy CLAP of random weights on disk, laid out as the released ones are."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

if not os.environ.get("CI"):
    pytest.importorskip("transformers", reason="transformers is not installed")

from sam_folder import WORDS

from engine import StembridgeError
from engine.flow.clap import SAMPLE_RATE, ClapScorer, installed, loudest
from engine.flow.scoring import SCORERS, Candidate, score
from engine.runtime import Ask

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import ClapAudioConfig, ClapConfig, ClapFeatureExtractor, ClapModel, ClapTextConfig

    folder = tmp_path_factory.mktemp("models") / "clap"
    audio = ClapAudioConfig(
        patch_embeds_hidden_size=8, depths=[1, 1], num_attention_heads=[1, 1], hidden_size=16, projection_dim=8
    )
    text = ClapTextConfig(
        vocab_size=len(WORDS) + 1, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
        max_position_embeddings=32, projection_dim=8,
    )  # fmt: skip
    torch.manual_seed(0)
    config = ClapConfig(text_config=text.to_dict(), audio_config=audio.to_dict(), projection_dim=8)
    ClapModel(config).save_pretrained(folder)
    ClapFeatureExtractor(truncation="rand_trunc", padding="repeatpad").save_pretrained(folder)
    tokenizer = Tokenizer(models.Unigram([(word, -1.0 * index) for index, word in enumerate(WORDS)], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def candidate(seed: int, seconds: float = 3.0, rate: int = SAMPLE_RATE) -> Candidate:
    target = np.random.default_rng(seed).standard_normal(round(seconds * rate)).astype(np.float32)
    return Candidate(target, target, 0 * target, rate)


def test_it_answers_from_0_to_1_and_the_same_again(folder: Path) -> None:
    clap = ClapScorer(folder)
    answers = [clap(candidate(0), Ask(prompt)) for prompt in ("lead vocals", "tambourine", "lead vocals")]
    assert all(answer is not None and 0 <= answer <= 1 for answer in answers)
    assert answers[0] == answers[2]
    assert answers[0] != answers[1]
    assert clap(candidate(1), Ask("lead vocals")) != answers[0]


def test_a_long_target_is_judged_by_its_loudest_stretch(folder: Path) -> None:
    quiet = np.zeros(100, np.float32)
    quiet[60:70] = 1
    assert loudest(quiet, 10).tolist() == [1.0] * 10
    assert loudest(quiet, 200) is quiet
    assert ClapScorer(folder)(candidate(0, 12.0), Ask("lead vocals")) is not None


def test_it_has_nothing_to_say_without_a_prompt_or_at_another_rate(folder: Path) -> None:
    clap = ClapScorer(folder)
    assert clap(candidate(0), Ask(" ")) is None
    assert clap(candidate(0, rate=44_100), Ask("lead vocals")) is None
    assert "clap" not in score(candidate(0), Ask(""), {**SCORERS, "clap": (2.0, clap)})
    assert "clap" in score(candidate(0), Ask("tambourine"), {**SCORERS, "clap": (2.0, clap)})
    assert clap(candidate(0), Ask("lead vocals " * 80)) is not None, "a long prompt is cut, not refused"


def test_a_folder_that_is_not_whole_is_named(folder: Path, tmp_path: Path) -> None:
    assert installed(folder)
    assert not installed(tmp_path / "clap")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(StembridgeError, match=r"model\.safetensors") as caught:
        ClapScorer(tmp_path)
    assert caught.value.code == "model_missing"
    for name in ("model.safetensors", "preprocessor_config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(StembridgeError) as caught:
        ClapScorer(tmp_path)
    assert caught.value.code == "model_corrupt"
