"""The flow model's text encoder: a T5 of one layer, trained along, in the folder that every flow model's text has.

Its words are those of the prompts it is trained on; what it does not know is one unknown word. That is a test bed's
vocabulary, not an open one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from training.phrases import concepts

CONCEPTS: Final = ("drums", "bass", "guitar", "vocals", "strings")
"""What the flow model is asked for."""
DIM: Final = 64
_SPECIAL: Final = ("<pad>", "</s>", "<unk>")


def phrases_of(name: str) -> tuple[str, ...]:
    """The trained phrases of a concept, as prompts are written: in lower case."""
    return tuple(phrase.lower() for phrase in concepts()[name].phrases)


def build_tokenizer() -> Any:
    """Whole words, each a token, closed as T5 closes."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = sorted({word for name in CONCEPTS for phrase in phrases_of(name) for word in phrase.split()})
    vocabulary = [*_SPECIAL, "▁", *(f"▁{word}" for word in words)]
    tokenizer = Tokenizer(models.Unigram([(word, -1.0) for word in vocabulary], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(list(_SPECIAL))
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer


def build_encoder(n_words: int, dim: int = DIM) -> Any:
    """A fresh `T5EncoderModel` for a tokenizer of `n_words`."""
    from transformers import T5Config, T5EncoderModel

    sizes: dict[str, Any] = {"d_model": dim, "d_kv": dim // 4, "d_ff": 2 * dim, "num_layers": 1, "num_heads": 4}
    return T5EncoderModel(T5Config(vocab_size=n_words, dropout_rate=0.0, **sizes))


def save_encoder(tokenizer: Any, model: Any, folder: Path) -> None:
    """The folder that `engine.model.text.load_text_encoder` reads."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))


def features_of(tokenizer: Any, model: Any, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """`(prompt, token, dim)`, with gradients, and `(prompt, token)`, True at tokens."""
    encoded = [tokenizer.encode(prompt).ids for prompt in prompts]
    n_tokens = max(map(len, encoded))
    ids = torch.tensor([one + [0] * (n_tokens - len(one)) for one in encoded], device=model.device)
    mask = torch.tensor([[1] * len(one) + [0] * (n_tokens - len(one)) for one in encoded], device=model.device)
    return model(input_ids=ids, attention_mask=mask).last_hidden_state, mask.bool()
