"""What the flow model's held-out songs say: a fixed batch of clips, and how far a result is above the mixture.

SI-SDR is of spectra before they are bent: the transform is orthonormal, so it is that of the waveforms in the band.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from training.excerpts import Bank
from training.flow_bank import SPECTRAL, codec_of, read_constants
from training.flow_mixing import FlowExample, draw_example, latents_of
from training.flow_network import velocity_of
from training.flow_text import CONCEPTS, features_of


def held_out_batch(
    folder: Path, n: int, n_frames: int, seed: int = 1, asked: Sequence[str] = CONCEPTS
) -> list[FlowExample]:
    """Always the same examples of songs that the stage flow_bank made of held-out ones."""
    rng = np.random.default_rng(seed)
    bank = Bank(folder, n_samples=n_frames * SPECTRAL.n_channels, step=SPECTRAL.n_channels)
    return [draw_example(bank, rng, plain=True, asked=asked) for _ in range(n)]


def si_sdr_db(found: npt.NDArray[np.float32], true: npt.NDArray[np.float32]) -> float:
    """Scale-invariant signal-to-distortion ratio of two spectra or waveforms."""
    a, b = (x.ravel().astype(np.float64) for x in (found, true))
    part = b * (a @ b) / max(float(b @ b), 1e-20)
    return float(10 * np.log10(max(float(part @ part), 1e-20) / max(float((a - part) @ (a - part)), 1e-20)))


def improvement_db(latents: Tensor, examples: list[FlowExample], folder: Path) -> list[float]:
    """SI-SDR of the decoded targets `(row, frame, 2 * channel)` over that of the mixture, for each example."""
    codec = codec_of(read_constants(folder))
    targets = latents[..., : SPECTRAL.n_channels].float()
    spectra = (torch.sinh(targets * codec.unit) * codec.knee).numpy()
    return [
        si_sdr_db(one, example.target) - si_sdr_db(example.mixture, example.target)
        for one, example in zip(spectra, examples, strict=True)
    ]


def masked_db(latents: Tensor, examples: list[FlowExample], folder: Path) -> list[float]:
    """As `improvement_db`, of the mixture under the ratio of the two results' powers (over 3 x 3 coefficients): what
    the engine's faithful output is made of."""
    codec = codec_of(read_constants(folder))
    both = latents.float().unflatten(-1, (2, SPECTRAL.n_channels))  # type: ignore[no-untyped-call]
    power = (torch.sinh(both * codec.unit) * codec.knee).square().permute(2, 0, 1, 3)
    target, rest = nn.functional.avg_pool2d(power, 3, 1, 1)
    share = (target / (target + rest + 1e-10)).numpy()
    return [
        si_sdr_db(mask * example.mixture, example.target) - si_sdr_db(example.mixture, example.target)
        for mask, example in zip(share, examples, strict=True)
    ]


def one_step_db(net: nn.ModuleDict, tokenizer: Any, folder: Path, examples: list[FlowExample]) -> float:
    """Mean improvement of a single evaluation, a quick look on the way."""
    mixture, latents, tokens = latents_of(folder, examples)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(7))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        text, mask = features_of(tokenizer, net["text"], [example.prompt for example in examples])
        found = velocity_of(net["dit"], noise, torch.zeros(len(examples)), mixture, tokens, text, mask)  # type: ignore[arg-type]
    return float(np.mean(improvement_db(noise + found.float(), examples, folder)))
