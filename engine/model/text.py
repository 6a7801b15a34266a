"""Prompts to text features, through T5's encoder in transformers. Always float32: T5 overflows in float16."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from engine.errors import StembridgeError
from engine.model.config import TEXT_TOKENS

TOKENIZER: Final = "tokenizer.json"


@dataclass(frozen=True)
class TextEncoder:
    """T5's encoder and tokenizer."""

    model: Any
    """A `T5EncoderModel`."""
    tokenizer: Any
    """A `tokenizers.Tokenizer` that cuts at `TEXT_TOKENS`, the closing token included."""

    @property
    def dim(self) -> int:
        """Width of its features."""
        return int(self.model.config.d_model)


@dataclass(frozen=True)
class TextFeatures:
    """What the network is told of some prompts."""

    features: Tensor
    """`(prompt, token, dim)`, float32; padding is at the end and carries no meaning."""
    mask: Tensor
    """`(prompt, token)`, True at tokens."""
    cut: tuple[bool, ...]
    """Whether a prompt was longer than the encoder hears; the manifest says so."""


def load_text_encoder(folder: Path, *, device: str = "cpu") -> TextEncoder:
    """The encoder of a folder as transformers saves it: config.json, model.safetensors, tokenizer.json.

    Nothing is fetched. Raises `StembridgeError`: `model_missing` without the files, `model_corrupt` when they cannot
    be read, `runtime_missing` without transformers or tokenizers.
    """
    try:
        from tokenizers import Tokenizer
        from transformers import T5EncoderModel
        from transformers.utils import logging as transformers_logging
    except ImportError as e:
        raise StembridgeError(
            "runtime_missing", f"Text prompts need {e.name}.", "Install it: pip install 'stembridge[torch]'."
        ) from e
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # bars are the command line's
    for name in ("config.json", "model.safetensors", TOKENIZER):
        if not (folder / name).is_file():
            raise StembridgeError(
                "model_missing",
                f"The text encoder's folder {folder} has no {name}.",
                "Fetch it with `stembridge models fetch t5-base`, or give a folder of t5-base that has config.json, "
                "model.safetensors and tokenizer.json.",
            )
    try:
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        model: Any = T5EncoderModel.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
    except Exception as e:
        raise StembridgeError(
            "model_corrupt", f"The text encoder in {folder} cannot be loaded: {e}.", "Fetch it again."
        ) from e
    tokenizer.no_padding()
    tokenizer.enable_truncation(TEXT_TOKENS)
    model.requires_grad_(requires_grad=False).train(mode=False)
    model.to(torch.device(device))
    return TextEncoder(model, tokenizer)


def encode_text(encoder: TextEncoder, prompts: Sequence[str]) -> TextFeatures:
    """Features of `prompts` as they stand: nothing is lowercased or stripped. "" is one token, the closing one."""
    encoded = [encoder.tokenizer.encode(prompt) for prompt in prompts]
    n_tokens = max(len(one.ids) for one in encoded)
    device = encoder.model.device
    ids = torch.zeros(len(encoded), n_tokens, dtype=torch.long)
    mask = torch.zeros(len(encoded), n_tokens, dtype=torch.bool)
    for row, one in enumerate(encoded):
        ids[row, : len(one.ids)] = torch.tensor(one.ids)
        mask[row, : len(one.ids)] = True
    ids, mask = ids.to(device), mask.to(device)
    features = encoder.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    return TextFeatures(features.float(), mask, tuple(bool(one.overflowing) for one in encoded))
