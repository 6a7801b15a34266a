"""Streams of one sample rate as streams of another: exact length, no delay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import soxr

from engine.audio import Samples


def resampled_length(n_samples: int, rate_in: int, rate_out: int) -> int:
    """Samples at `rate_out` that last as long as `n_samples` at `rate_in`, rounded up."""
    return -(-n_samples * rate_out // rate_in)


def resample(
    blocks: Iterable[Samples], rate_in: int, rate_out: int, channels: int, n_samples: int
) -> Iterator[Samples]:
    """Yield the `(channel, sample)` stream at `rate_out` Hz, `resampled_length(n_samples, …)` samples in all.

    soxr at VHQ compensates its own delay: the first sample out lies at the time of the first sample in.
    """
    if rate_in == rate_out:
        yield from blocks
        return
    left = resampled_length(n_samples, rate_in, rate_out)
    stream = soxr.ResampleStream(rate_in, rate_out, channels, dtype="float32", quality="VHQ")
    for block in blocks:
        out = stream.resample_chunk(np.ascontiguousarray(block.T)).T[:, :left]
        left -= out.shape[1]
        yield out
    out = stream.resample_chunk(np.zeros((0, channels), np.float32), last=True).T[:, :left]
    yield np.pad(out, ((0, 0), (0, left - out.shape[1])))
