"""The frozen text encoder: MiniLM-L6 (all-MiniLM-L6-v2), mean-pooled and normalised."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.phrases import concepts, taught


def embed(folder: Path, phrases: Sequence[str]) -> npt.NDArray[np.float32]:
    """(phrase, 384) unit vectors. `folder` holds the model's config, weights and tokenizer."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    found = []
    with torch.inference_mode():
        for at in range(0, len(phrases), 64):
            batch = tokenizer(list(phrases[at : at + 64]), padding=True, return_tensors="pt")
            hidden = model(**batch).last_hidden_state
            weight = batch["attention_mask"][..., None]
            mean = (hidden * weight).sum(1) / weight.sum(1)
            found.append(torch.nn.functional.normalize(mean, dim=-1).numpy())
    return np.concatenate(found)


def phrase_table(folder: Path, *, held_out: bool = False) -> tuple[dict[str, range], npt.NDArray[np.float32]]:
    """Each concept's rows, and the embedding of every phrase."""
    rows: dict[str, range] = {}
    phrases: list[str] = []
    for concept in concepts().values():
        asked = concept.held_out if held_out else taught(concept)
        rows[concept.name] = range(len(phrases), len(phrases) + len(asked))
        phrases.extend(asked)
    return rows, embed(folder, phrases)
