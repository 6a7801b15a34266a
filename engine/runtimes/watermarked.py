"""The watermark for runtimes without torch: laid by its exported graph, else by torch, else refused by name."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from engine.bundle import Bundle
from engine.errors import StembridgeError
from engine.model.config import Sizes, WatermarkSizes

Floats = npt.NDArray[np.float32]
MARK_PAST: Final = (
    "clean",
    "heard",
    "told",
    "spoken",
    "remember",
    "remember_cell",
    "recall",
    "recall_cell",
)
"""What a piece hands to the next, by the graph's input names; `engine.model.watermark.Past` says what each is."""
_KEY: Final = 0x6D61726B
"""Sets the message's random numbers apart from the noise's, which are drawn with the same seed."""


class Graph(Protocol):
    """The exported watermark, opened."""

    def run(self, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None, *, keep: bool = False) -> list[Any]:
        """Marked waveform, then what `MARK_PAST` names."""


def message(seed: int, n_rows: int, n_bits: int) -> npt.NDArray[np.int64]:
    """The message that a seed draws, `(row, bit)` of 0 and 1: the same on every runtime."""
    raw = np.random.Philox(key=np.array([seed, _KEY], np.uint64)).random_raw(n_rows * n_bits)
    bits: npt.NDArray[np.int64] = (raw >> np.uint64(63)).astype(np.int64).reshape(n_rows, n_bits)
    return bits


def mark_start(sizes: WatermarkSizes, n_rows: int) -> list[tuple[int, ...]]:
    """Shapes of `MARK_PAST` at a waveform's start, where nothing was heard yet."""
    inner = (n_rows, sizes.hidden_dim, 0)
    states = [(2, n_rows, sizes.hidden_dim)] * 4
    return [(n_rows, 0, sizes.hop), inner, (n_rows, sizes.message_dim, 0), inner, *states]


class Marker:
    """A bundle's watermark branch, loaded when it is first needed: only `output=generative` has one."""

    def __init__(self, bundle: Bundle, graph: Graph | None = None) -> None:
        """`graph`: the exported watermark, where the export has one."""
        self._bundle = bundle
        self._sizes = Sizes.from_dict(bundle.facts["sizes"]).watermark
        self._graph = graph
        self._watermark: Any = None

    def mark(self, pieces: Iterator[Floats], seed: int) -> Iterator[Floats]:
        """Mark consecutive `(row, 1, sample)` pieces with the message that `seed` draws; a model without a watermark
        leaves them as they are.

        Raises `StembridgeError` (`runtime_missing`) without graph and torch: a generated waveform never leaves
        unmarked.
        """
        if self._sizes is None:
            return pieces
        if self._graph is not None:
            return self._by_graph(self._graph, self._sizes, pieces, seed)
        for name in ("torch", "safetensors"):
            if importlib.util.find_spec(name) is None:
                raise StembridgeError(
                    "runtime_missing",
                    f"The generated waveform is watermarked, which needs {name} or a newer export.",
                    "Run `stembridge models export` again where torch is installed, or ask for output=faithful.",
                )
        return self._by_torch(self._sizes, pieces, seed)

    def _by_graph(self, graph: Graph, sizes: WatermarkSizes, pieces: Iterator[Floats], seed: int) -> Iterator[Floats]:
        past: list[Any] = []
        for piece in pieces:
            if not past:
                bits = message(seed, len(piece), sizes.n_bits)
                past = [np.zeros(shape, np.float32) for shape in mark_start(sizes, len(piece))]
            given = {"waveform": piece.reshape(len(piece), -1, sizes.hop), "bits": bits}
            marked, *past = graph.run(given | dict(zip(MARK_PAST, past, strict=True)))
            yield marked.reshape(piece.shape)

    def _by_torch(self, sizes: WatermarkSizes, pieces: Iterator[Floats], seed: int) -> Iterator[Floats]:
        import torch

        from engine.model.watermark import mark_pieces
        from engine.model.weights import load_network

        if self._watermark is None:
            self._watermark = load_network(self._bundle).watermark
        with torch.inference_mode():
            first = next(pieces)
            bits = torch.from_numpy(message(seed, len(first), sizes.n_bits))

            def again() -> Iterator[Any]:
                yield torch.from_numpy(first)
                yield from (torch.from_numpy(piece) for piece in pieces)

            for marked in mark_pieces(self._watermark, again(), bits):
                yield marked.numpy()
