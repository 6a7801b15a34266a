"""The watermark for runtimes without torch: laid by torch where it is installed, else refused by name."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.bundle import Bundle
from engine.errors import StembridgeError

Floats = npt.NDArray[np.float32]


class Marker:
    """A bundle's watermark branch, loaded when it is first needed: only `output=generative` has one."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._watermark: Any = None

    def mark(self, pieces: Iterator[Floats], seed: int) -> Iterator[Floats]:
        """Mark consecutive `(row, 1, sample)` pieces with the message that `seed` draws, as the torch runtime does.

        Raises `StembridgeError` (`runtime_missing`) without torch: a generated waveform never leaves unmarked.
        """
        for name in ("torch", "safetensors"):
            if importlib.util.find_spec(name) is None:
                raise StembridgeError(
                    "runtime_missing",
                    f"The generated waveform is watermarked, which needs {name}.",
                    "Install it with: pip install 'stembridge[torch]', or ask for output=faithful.",
                )
        import torch

        from engine.model.watermark import mark_pieces
        from engine.model.weights import load_network

        if self._watermark is None:
            self._watermark = load_network(self._bundle).watermark
        sizes = self._watermark.sizes

        def marked() -> Iterator[Floats]:
            with torch.inference_mode():
                first = next(pieces)
                generator = torch.Generator().manual_seed(seed)
                bits = torch.randint(0, 2, (len(first), sizes.n_bits), generator=generator)

                def again() -> Iterator[Any]:
                    yield torch.from_numpy(first)
                    yield from (torch.from_numpy(piece) for piece in pieces)

                for piece in mark_pieces(self._watermark, again(), bits):
                    yield piece.numpy()

        return marked()
