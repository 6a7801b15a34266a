"""A candidate scorer that hears: CLAP through transformers, where the user has put its weights."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.audio import Samples
from engine.errors import StembridgeError
from engine.flow.scoring import Candidate
from engine.runtime import Ask

EXCERPT_S: Final = 10.0
"""What CLAP hears at a time (laion's models were trained on it); longer targets are judged by their loudest stretch."""
SAMPLE_RATE: Final = 48_000
"""Hz; every released CLAP."""
FILES: Final = ("config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json")


class ClapScorer:
    """How alike the target sounds to the prompt: 0 for opposite, 1 for equal directions in CLAP's space.

    Raises `StembridgeError`: `model_missing` without the files, `model_corrupt`, `runtime_missing`.
    """

    def __init__(self, folder: Path) -> None:
        for name in FILES:
            if not (folder / name).is_file():
                raise StembridgeError(
                    "model_missing",
                    f"CLAP's folder {folder} has no {name}.",
                    f"Put {', '.join(FILES)} there, or remove the folder.",
                )
        try:
            from tokenizers import Tokenizer
            from transformers import ClapFeatureExtractor, ClapModel
        except ImportError as e:
            raise StembridgeError(
                "runtime_missing", f"CLAP needs {e.name}.", "Install it: pip install 'stembridge[torch]'."
            ) from e
        try:
            model: Any = ClapModel.from_pretrained(str(folder), local_files_only=True, use_safetensors=True)
            self._model = model.eval()
            self._features: Any = ClapFeatureExtractor.from_pretrained(str(folder), local_files_only=True)
            self._tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as e:
            raise StembridgeError("model_corrupt", f"CLAP in {folder} cannot be loaded: {e}.", "Fetch it again.") from e

    def __call__(self, candidate: Candidate, ask: Ask) -> float | None:
        """None for an empty prompt, or a model of another rate."""
        import torch

        if not ask.prompt.strip() or candidate.sample_rate != SAMPLE_RATE:
            return None
        wave = loudest(candidate.target, round(EXCERPT_S * SAMPLE_RATE))
        heard = self._features(wave, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        ids = torch.tensor(
            [self._tokenizer.encode(ask.prompt).ids[: self._model.config.text_config.max_position_embeddings - 4]]
        )
        with torch.inference_mode():
            audio = _embedding(
                self._model.get_audio_features(input_features=heard["input_features"], is_longer=heard["is_longer"])
            )
            text = _embedding(self._model.get_text_features(input_ids=ids))
            cosine = torch.nn.functional.cosine_similarity(audio, text).item()
        return (cosine + 1) / 2


def installed(folder: Path) -> bool:
    """Whether CLAP can be used: its folder is there, and transformers is installed."""
    return folder.is_dir() and importlib.util.find_spec("transformers") is not None


def loudest(samples: Samples, n: int) -> Samples:
    """The `n` consecutive samples of a `(sample,)` signal with the most energy; all of it when it is shorter."""
    if len(samples) <= n:
        return samples
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    start = int(np.argmax(energy[n:] - energy[:-n]))
    return samples[start : start + n]


def _embedding(answer: Any) -> Any:
    """The pooled embedding, whether this release of transformers answers a tensor or an output object."""
    return answer if hasattr(answer, "shape") else answer.pooler_output
