"""Seeded material for the tests."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]


def make_mixture(n_samples: int, sample_rate: int = 44_100, channels: int = 2, seed: int = 0) -> Samples:
    """`(sample, channel)` float32: a chord with vibrato over filtered noise; the channels differ."""
    rng = np.random.default_rng(seed)
    t = np.arange(n_samples)[:, None] / sample_rate
    places = np.linspace(0.4, 1.0, channels)
    voice = sum(
        np.sin(2 * np.pi * f * t + 3 * np.sin(2 * np.pi * 5 * t)) / (i + 1) for i, f in enumerate((220, 440, 660))
    )
    noise = np.cumsum(rng.standard_normal((n_samples, channels)), axis=0)
    noise -= np.linspace(0, 1, max(n_samples, 2))[:n_samples, None] * noise[-1:]
    mixture = 0.2 * voice * places + 0.1 * noise / (np.abs(noise).max(initial=1e-9)) * places[::-1]
    return mixture.astype(np.float32)
