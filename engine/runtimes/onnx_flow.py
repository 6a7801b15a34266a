"""A flow model run by onnxruntime, from the graphs of an export; torch is not needed, except to lay the watermark.

Arrays are NumPy's. A prompt's text is encoded alone and padded afterwards, as in the torch runtime, so that one
prompt's result does not depend on what else is in the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.artefact import Artefact, check_usable
from engine.audio import Samples
from engine.bundle import Bundle
from engine.errors import StembridgeError
from engine.flow.multidiffusion import WindowVelocity
from engine.flow.solve import CHUNK_FRAMES, CONTEXT_FRAMES, Latents, State
from engine.model.config import TEXT_TOKENS, Sizes, n_frames_of
from engine.runtimes.onnx_runtime import OnnxGraph
from engine.runtimes.watermarked import Marker
from engine.windows import Window

Floats = npt.NDArray[np.float32]

STAGES: Final = ("encode", "text", "times", "prompt", "clip", "velocity", "decode")
TOKENIZER: Final = "tokenizer.json"
MAX_TEXTS: Final = 256
"""Prompts whose features are kept."""
KEYS_BYTES: Final = 1 << 30
"""Keys and values of all times are held when they take less than this; else they are made anew at each evaluation."""


class OnnxFlow:
    """See `engine.flow.solve.FlowRuntime` for the contract of each method.

    Raises `StembridgeError` at once when any graph is missing, damaged, of another model, or not accepted by
    onnxruntime: a model either opens whole or not at all.
    """

    def __init__(self, bundle: Bundle, artefact: Artefact, tokenizer: Any, *, threads: int = 0) -> None:
        self._sizes = Sizes.from_dict(bundle.facts["sizes"])
        self._graphs = {name: OnnxGraph(artefact.path(name), threads=threads) for name in STAGES}
        providers = sorted({graph.provider for graph in self._graphs.values()})
        self.name = f"onnx:{'+'.join(providers)}:{artefact.precision}"
        self.sample_rate: int = bundle.facts["sample_rate"]
        self.hop = self._sizes.codec.hop
        self.n_channels = self._sizes.codec.n_channels
        self.max_frames = self._sizes.dit.max_frames
        self._tokenizer = tokenizer
        self._texts: dict[str, tuple[Floats, bool]] = {}
        self._marker = Marker(bundle)

    def graph(self, stage: str) -> OnnxGraph:
        """A stage's open graph: for comparisons and benchmarks."""
        return self._graphs[stage]

    def encode(self, waveform: Samples) -> Latents:
        whole = pad_to_frames(waveform, self.hop)
        latents: Latents = self._run("encode", waveform=whole.reshape(1, -1, self.hop))[0][0]
        return latents

    def is_cut(self, prompt: str) -> bool:
        return self._text(prompt)[1]

    def velocity(
        self, latents: Latents, tokens: npt.NDArray[np.int64], prompts: Sequence[str], times: Sequence[float]
    ) -> WindowVelocity[Any]:
        modulation, final, memory = self._run("times", times=np.asarray(times, np.float32))
        own = list(dict.fromkeys(prompts))
        text, bias = self._batch(own)
        row_of = np.array([own.index(prompt) for prompt in prompts])
        bias = bias[row_of]
        dit = self._sizes.dit
        n_bytes = 2 * 4 * len(times) * dit.n_layers * len(own) * text.shape[1] * dit.dim
        all_times = self._run("prompt", text=text, memory=memory) if n_bytes <= KEYS_BYTES else None
        heard: dict[Window, Floats] = {}

        def keys_values(number: int) -> list[Any]:
            if all_times is None:
                made = [part[0] for part in self._run("prompt", text=text, memory=memory[number : number + 1])]
            else:
                made = [part[number] for part in all_times]
            return made if len(own) == len(row_of) else [part[:, row_of] for part in made]

        def condition(window: Window) -> Floats:
            if window not in heard:
                heard.clear()  # one window's: several would grow with the clip, and each is quickly made again
                piece = np.repeat(latents[None, window.start : window.end], len(tokens), axis=0)
                heard[window] = self._run("clip", latents=piece, tokens=tokens[:, window.start : window.end])[0]
            return heard[window]

        def velocity(x: Floats, number: int, window: Window) -> Floats:
            keys, values = keys_values(number)
            return self._run(
                "velocity",
                x=x,
                condition=condition(window),
                modulation=modulation[number],
                final=final[number],
                keys=keys,
                values=values,
                token_bias=bias,
            )[0]

        return velocity

    def to_device(self, state: State) -> Any:
        return state

    def to_host(self, state: Any) -> State:
        values: State = state
        return values

    def decode(self, state: State, *, mark_seed: int | None) -> Iterator[Samples]:
        rows = np.concatenate([state[..., : self.n_channels], state[..., self.n_channels :]])
        pieces = self._decoded(rows)
        if mark_seed is not None and self._sizes.watermark is not None:
            pieces = self._marker.mark(pieces, mark_seed)
        for piece in pieces:
            yield piece[:, 0]

    def _decoded(self, rows: Floats) -> Iterator[Floats]:
        """Consecutive `(row, 1, sample)` pieces of the rows' waveforms, in the memory of one chunk."""
        n_frames, hop = rows.shape[1], self.hop
        for start in range(0, n_frames, CHUNK_FRAMES):
            end = min(start + CHUNK_FRAMES, n_frames)
            left, right = max(start - CONTEXT_FRAMES, 0), min(end + CONTEXT_FRAMES, n_frames)
            (heard,) = self._run("decode", latents=rows[:, left:right])
            yield heard[..., (start - left) * hop : (end - left) * hop]

    def _text(self, prompt: str) -> tuple[Floats, bool]:
        """One prompt's `(token, dim)` features, and whether it was cut."""
        if prompt not in self._texts:
            encoded = self._tokenizer.encode(prompt)
            (features,) = self._run("text", ids=np.array([encoded.ids], np.int64))
            while len(self._texts) >= MAX_TEXTS:
                del self._texts[next(iter(self._texts))]
            self._texts[prompt] = (features[0], bool(encoded.overflowing))
        return self._texts[prompt]

    def _batch(self, prompts: Sequence[str]) -> tuple[Floats, Floats]:
        """Features `(prompt, token, dim)`, and what attention adds at each token: 0, or -inf at padding."""
        rows = [self._text(prompt)[0] for prompt in prompts]
        n_tokens = max(len(row) for row in rows)
        features = np.zeros((len(rows), n_tokens, rows[0].shape[1]), np.float32)
        bias = np.full((len(rows), n_tokens), -np.inf, np.float32)
        for index, row in enumerate(rows):
            features[index, : len(row)] = row
            bias[index, : len(row)] = 0
        return features, bias

    def _run(self, stage: str, **inputs: Any) -> list[Floats]:
        return self._graphs[stage].run(inputs)


def open_onnx(bundle: Bundle, artefact: Artefact, text_folder: Any, *, threads: int = 0) -> OnnxFlow:
    """Open a verified export. Raises `StembridgeError` as `check_usable` and `OnnxFlow` do."""
    check_usable(artefact, bundle, text_folder / TOKENIZER)
    return OnnxFlow(bundle, artefact, load_tokenizer(text_folder), threads=threads)


def load_tokenizer(text_folder: Any) -> Any:
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
