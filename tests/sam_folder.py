"""A user's SAM Audio on disk, at toy size: an official folder with the golden weights, and a T5 of random ones."""

from __future__ import annotations

import shutil
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden" / "sam_tiny"
WORDS = ["<pad>", "</s>", "<unk>", "▁lead", "▁vocals", "▁acoustic", "▁guitar", "▁tambourine", "▁"]


def write_official(folder: Path) -> Path:
    """config.json and checkpoint.pt as the official repositories hold them."""
    import torch
    from safetensors.torch import load_file

    folder.mkdir(parents=True)
    torch.save(load_file(GOLDEN / "weights.safetensors"), folder / "checkpoint.pt")
    shutil.copy(GOLDEN / "config.json", folder)
    return folder


def write_text_encoder(folder: Path, dim: int = 24) -> Path:
    """A folder as transformers saves T5: config.json, model.safetensors, tokenizer.json."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import T5Config, T5EncoderModel

    folder.mkdir(parents=True)
    tokenizer = Tokenizer(models.Unigram([(word, -1.0 * index) for index, word in enumerate(WORDS)], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(WORDS[:3])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    T5EncoderModel(
        T5Config(vocab_size=len(WORDS), d_model=dim, d_kv=4, d_ff=24, num_layers=2, num_heads=4)
    ).save_pretrained(folder)
    return folder
