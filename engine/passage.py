"""A region's samples on their way through a model: as it hears them, and as its answer leaves them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from engine.audio import Region, Samples, Source
from engine.blocks import in_step
from engine.resample import resample, resampled_length
from engine.runtime import Model, Plan
from engine.stereo import project

Report = Callable[[float, str], None]
"""Called with the fraction done and the stage; raises `Cancelled`."""
Hear = Callable[[Iterator[Samples]], Iterator[Samples]]
"""What the mixture runs through before the model hears it."""


def faithful(
    heard: Source, original: Source, region: Region, model: Model, plan: Plan, report: Report, hear: Hear | None
) -> Iterator[tuple[Samples, ...]]:
    """`(mixture, target)` blocks of the region and its context: the model's masks on the original channels."""
    info, grid = heard.info, model.card.grid
    n_samples = region.read_end - region.read_start
    masks = model.estimate(
        at_rate(heard, region, grid.sample_rate, hear),
        info.channels,
        resampled_length(n_samples, info.sample_rate, grid.sample_rate),
        plan,
        lambda fraction: report(0.98 * fraction, "separating"),
        wanted=region.returned(info.sample_rate, grid.sample_rate),
    )
    blocks = original.blocks(region.read_start, region.read_end)
    return project(masks, blocks, grid, info.sample_rate, info.channels, n_samples)


def generated(
    heard: Source, original: Source, region: Region, model: Model, plan: Plan, report: Report, hear: Hear | None
) -> Iterator[tuple[Samples, ...]]:
    """`(mixture, target, generated residual)` blocks of the region and its context: the model's own mono waveforms,
    the same in every channel."""
    info, rate = heard.info, model.card.grid.sample_rate
    n_samples = resampled_length(region.read_end - region.read_start, info.sample_rate, rate)
    waves = model.generate(
        at_rate(heard, region, rate, hear), n_samples, plan, lambda fraction: report(0.98 * fraction, "separating")
    )
    back = resample(waves, rate, info.sample_rate, 2, n_samples)
    for mixture, pair in in_step(original.blocks(region.read_start, region.read_end), back):
        yield mixture, *(np.repeat(side, info.channels, axis=0) for side in (pair[:1], pair[1:]))


def at_rate(heard: Source, region: Region, rate: int, hear: Hear | None = None) -> Iterator[Samples]:
    """The region and its context as the model hears them."""
    info, n_samples = heard.info, region.read_end - region.read_start
    blocks = heard.blocks(region.read_start, region.read_end)
    if hear is not None:
        blocks = hear(blocks)
    return resample(blocks, info.sample_rate, rate, info.channels, n_samples)


def returned(pieces: Iterable[tuple[Samples, ...]], region: Region) -> Iterator[tuple[Samples, ...]]:
    """What of the pieces lies in the region itself, without its context."""
    at = region.read_start
    for piece in pieces:
        n = piece[0].shape[1]
        low, high = max(region.start - at, 0), min(region.end - at, n)
        if low < high:
            yield tuple(block[:, low:high] for block in piece)
        at += n
