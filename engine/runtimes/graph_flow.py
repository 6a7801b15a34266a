"""What runtimes made of graphs share: prompts as padded features, whole frames, decoding in the memory of one chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.audio import Samples
from engine.errors import StembridgeError
from engine.flow.solve import CHUNK_FRAMES, CONTEXT_FRAMES
from engine.model.config import TEXT_TOKENS, n_frames_of

Floats = npt.NDArray[np.float32]

TOKENIZER: Final = "tokenizer.json"
MAX_TEXTS: Final = 256
"""Prompts whose features are kept."""


class Prompts:
    """Prompts to features. Each is encoded alone and padded afterwards, as in the torch runtime, so that one prompt's
    result does not depend on what else is in the batch."""

    def __init__(self, tokenizer: Any, encode: Callable[[npt.NDArray[np.int64]], Floats]) -> None:
        """`encode`: ids `(1, token)` to features `(1, token, dim)`."""
        self._tokenizer = tokenizer
        self._encode = encode
        self._texts: dict[str, tuple[Floats, bool]] = {}

    def is_cut(self, prompt: str) -> bool:
        """Whether a prompt is longer than the text encoder hears."""
        return self._text(prompt)[1]

    def batch(self, prompts: Sequence[str], *, multiple: int = 1) -> tuple[Floats, Floats]:
        """Features `(prompt, token, dim)`, and what attention adds at each token: 0, or -inf at padding.

        `multiple`: tokens are padded to a multiple of it, which changes no result.
        """
        rows = [self._text(prompt)[0] for prompt in prompts]
        n_tokens = -(-max(len(row) for row in rows) // multiple) * multiple
        features = np.zeros((len(rows), n_tokens, rows[0].shape[1]), np.float32)
        bias = np.full((len(rows), n_tokens), -np.inf, np.float32)
        for index, row in enumerate(rows):
            features[index, : len(row)] = row
            bias[index, : len(row)] = 0
        return features, bias

    def forget(self) -> None:
        """Drop what is kept: for benchmarks."""
        self._texts.clear()

    def _text(self, prompt: str) -> tuple[Floats, bool]:
        """One prompt's `(token, dim)` features, and whether it was cut."""
        if prompt not in self._texts:
            encoded = self._tokenizer.encode(prompt)
            features = self._encode(np.array([encoded.ids], np.int64))
            while len(self._texts) >= MAX_TEXTS:
                del self._texts[next(iter(self._texts))]
            self._texts[prompt] = (features[0], bool(encoded.overflowing))
        return self._texts[prompt]


def decoded(decode: Callable[[Floats], Floats], rows: Floats, hop: int) -> Iterator[Floats]:
    """Consecutive `(row, 1, sample)` pieces of the waveforms of `rows` `(row, frame, channel)`: what decoding them
    whole gives, in the memory of one chunk."""
    n_frames = rows.shape[1]
    for start in range(0, n_frames, CHUNK_FRAMES):
        end = min(start + CHUNK_FRAMES, n_frames)
        left, right = max(start - CONTEXT_FRAMES, 0), min(end + CONTEXT_FRAMES, n_frames)
        heard = decode(rows[:, left:right])
        yield heard[..., (start - left) * hop : (end - left) * hop]


def as_rows(state: Floats, n_channels: int) -> Floats:
    """`(row, frame, 2 * channel)` → the targets' latents, then the residuals', `(2 * row, frame, channel)`."""
    return np.concatenate([state[..., :n_channels], state[..., n_channels:]])


def load_tokenizer(text_folder: Path) -> Any:
    """T5's tokenizer, cutting at `TEXT_TOKENS`. Raises `StembridgeError`: `runtime_missing`, `model_corrupt`."""
    try:
        from tokenizers import Tokenizer
    except ImportError as e:
        raise StembridgeError(
            "runtime_missing", "Text prompts need tokenizers.", "Install it: pip install tokenizers."
        ) from e
    try:
        tokenizer = Tokenizer.from_file(str(text_folder / TOKENIZER))
    except Exception as e:  # the library raises bare Exception
        raise StembridgeError(
            "model_corrupt", f"The tokenizer {text_folder / TOKENIZER} cannot be loaded: {e}.", "Fetch it again."
        ) from e
    tokenizer.no_padding()
    tokenizer.enable_truncation(TEXT_TOKENS)
    return tokenizer


def pad_to_frames(waveform: Samples, hop: int) -> Samples:
    """Extend `(1, sample)` by reflection to whole frames, as `engine.model.codec.pad_to_frames` does."""
    n_samples = waveform.shape[-1]
    if n_samples == 0:
        raise ValueError("there are no samples to encode")
    n_total = n_frames_of(n_samples, hop) * hop
    if n_total == n_samples:
        return np.ascontiguousarray(waveform)
    period = max(2 * (n_samples - 1), 1)
    place = np.arange(n_samples, n_total) % period
    place = np.minimum(np.minimum(place, period - place), n_samples - 1)
    padded: Samples = np.concatenate([waveform, waveform[:, place]], axis=1)
    return padded
