"""Training examples of the flow model: latents of a mixture, of what is asked and of the rest; a prompt and spans."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from engine.model.anchors import ABSENT, NULL, PRESENT
from training.excerpts import Bank
from training.flow_bank import SPECTRAL, codec_of, mixture_of, read_constants
from training.flow_text import CONCEPTS, phrases_of
from training.phrases import concepts

N_FRAMES: Final = 128
"""2.56 s."""
_ABSENT: Final = 0.06
"""How often what is asked does not sound."""
_SPANS: Final = 0.4
"""How often spans say where it sounds."""
_WORDLESS: Final = 0.1
"""How often the prompt is empty."""
_ACTIVE_DB: Final = -35.0
"""Below the excerpt's loudest frame of the same source, a frame counts as silent."""
_LEAST_SHARE: Final = 0.02
"""Of the mixture's energy: less is not asked for, nor is all but so little."""

Reals = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FlowExample:
    """Spectra before they are bent, `(frame, channel)`, of the mixture and the target; the rest is their difference.
    `tokens` `(frame,)` as `engine.model.anchors`."""

    mixture: Reals
    target: Reals
    tokens: npt.NDArray[np.int64]
    prompt: str
    concept: str


def covered(name: str, sources: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    """Which of a mixture's stems a concept takes."""
    takes = concepts()[name].covers
    return np.array([source in takes for source in sources])


def draw_example(
    bank: Bank, rng: np.random.Generator, *, plain: bool = False, asked: Sequence[str] = CONCEPTS
) -> FlowExample:
    """A random mixture and one of the concepts `asked` of it. `plain`: always something that sounds, by its first
    phrase, without spans: for measurements."""
    while True:
        sources, stems = bank.draw(rng)
        if np.abs(stems).max() < 1e-3:
            continue
        spectra = mixture_of(stems, rng)
        mixture = spectra.sum(axis=0)
        whole = float(np.square(mixture).sum())
        there, absent = [], []
        for name in asked:
            takes = covered(name, sources)
            target: Reals = spectra[takes].sum(axis=0)
            share = float(np.square(target).sum()) / whole
            if not takes.any():
                absent.append((name, np.zeros_like(mixture)))
            elif share > _LEAST_SHARE and float(np.square(mixture - target).sum()) / whole > _LEAST_SHARE:
                there.append((name, target))
        choices = absent if absent and not plain and rng.random() < _ABSENT else there
        if not choices:
            continue
        name, target = choices[int(rng.integers(len(choices)))]
        if plain:
            return FlowExample(mixture, target, np.full(len(mixture), NULL), phrases_of(name)[0], name)
        tokens = _tokens(target, rng)
        said = phrases_of(name)
        prompt = "" if rng.random() < _WORDLESS else said[0] if rng.random() < 0.4 else str(rng.choice(said))
        return FlowExample(mixture, target, tokens, prompt, name)


def _tokens(target: Reals, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    tokens = np.full(len(target), NULL)
    loud = np.square(target).sum(axis=1)
    if not loud.max() or rng.random() >= _SPANS:
        return tokens
    # a sound's gap of a few frames is no gap to whoever draws a span
    near = np.convolve(loud, np.ones(9) / 9, mode="same")
    active = near > near.max() * 10 ** (_ACTIVE_DB / 10)
    tokens[active] = PRESENT
    if rng.random() < 0.5:
        tokens[~active] = ABSENT
    return tokens


class FlowStream(torch.utils.data.IterableDataset[list[FlowExample]]):
    """Endless batches of examples, seeded."""

    def __init__(self, folder: Path, n_rows: int, n_frames: int, seed: int, asked: Sequence[str] = CONCEPTS) -> None:
        self.folder, self.n_rows, self.n_frames, self.seed, self.asked = folder, n_rows, n_frames, seed, asked

    def __iter__(self) -> Iterator[list[FlowExample]]:
        rng = np.random.default_rng(self.seed)
        bank = Bank(self.folder, n_samples=self.n_frames * SPECTRAL.n_channels, step=SPECTRAL.n_channels)
        while True:
            yield [draw_example(bank, rng, asked=self.asked) for _ in range(self.n_rows)]


def latents_of(folder: Path, examples: list[FlowExample]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mixture `(row, frame, channel)`, target and rest together `(row, frame, 2 * channel)`, tokens `(row, frame)`."""
    codec = codec_of(read_constants(folder))
    mixture = torch.from_numpy(np.stack([example.mixture for example in examples]))
    target = torch.from_numpy(np.stack([example.target for example in examples]))
    bent = [torch.asinh(part / codec.knee) / codec.unit for part in (mixture, target, mixture - target)]
    return bent[0], torch.cat(bent[1:], dim=-1), torch.from_numpy(np.stack([example.tokens for example in examples]))
