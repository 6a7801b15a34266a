"""Training examples: random mixtures of rendered stems, as what the network hears and what it should answer.

The best real gain for a band of a frame is Σ Re(S·conj(X)) / Σ |X|² over its bins, and a gain g leaves an error of
Σ|X|²·g² − 2·Σ Re(S·conj(X))·g + Σ|S|². So an example keeps only those sums: the mixture's power in each band (`power`),
each source's product with the mixture (`product`), and the whole energy of what is asked (`energy`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.masks.bands import band_edges, to_bands
from engine.masks.features import features_of
from engine.stft import hann
from training.mastering import coded, glued, tilted
from training.network import FRAMES_MULTIPLE
from training.phrases import Concept, concepts
from training.songs import BAND
from training.soundfonts import RATE_HZ

N_FFT: Final = 4096
HOP: Final = 2048
N_BANDS: Final = 192
EDGES: Final = band_edges(N_FFT // 2 + 1, N_BANDS)
N_FRAMES: Final = 128
N_QUERIES: Final = 10
_ACTIVE_DB: Final = -35.0
_EQUALISED: Final = 0.8
_EQUALISER_DB: Final = 5.0
"""Share of the stems that have an equaliser of their own, and the deviation of its gains. After 2900 steps with 3 dB on
half of them training songs had gained 1.6 dB and held-out ones 0.5: the sound fonts were learnt by heart."""
_GLUED: Final = 0.25
_CODED: Final = 0.12
"""Shares of the mixtures that go through a bus compressor and through a lossy codec."""
Real = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Mixture:
    """Stems of one example: names and (stem, channel, frame, bin) spectra; `heard` where that is not their sum."""

    sources: tuple[str, ...]
    spectra: npt.NDArray[np.complex64]
    heard: npt.NDArray[np.complex64] | None = None


@dataclass(frozen=True)
class Example:
    """Shapes: features (3, band, frame); power (2, band, frame); product (query, 2, band, frame); energy (query,);
    spans (query, frame); active (query, frame) 0 or 1; present (query,) 0 or 1; phrases: row of the phrase table;
    everywhere (concept, frame / 8) 0, 1, or -1 where nobody knows: which of all concepts sounds when, and
    `any_phrases`, a row for each."""

    features: Real
    power: Real
    product: Real
    energy: Real
    spans: Real
    active: Real
    present: Real
    phrases: npt.NDArray[np.int64]
    everywhere: Real
    any_phrases: npt.NDArray[np.int64]


def stft(samples: Real) -> npt.NDArray[np.complex64]:
    """(stem, sample) to (stem, frame, bin)."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, N_FFT, axis=-1)[:, ::HOP]
    return np.fft.rfft(frames * hann(N_FFT)).astype(np.complex64)


def mix(names: tuple[str, ...], stems: Real, rng: np.random.Generator) -> Mixture:
    """Stems placed in the stereo image, some of them wide, each with a gentle equaliser, at a random level.

    Those of a duet come in pairs, left and right, and stay there.
    """
    spectra = stft(stems)
    n_bins = spectra.shape[-1]
    gains = np.ones((len(names), 2, n_bins), np.complex64)
    if BAND in names:
        gains[::2, 1], gains[1::2, 0] = 0, 0
    mono = BAND in names or rng.random() < 0.25
    for i, name in enumerate(names):
        if rng.random() < _EQUALISED:
            knots = rng.normal(0, _EQUALISER_DB, 8)
            place = np.log2(np.arange(n_bins) + 8)
            gains[i] *= 10 ** (np.interp(place, np.linspace(3, 11, 8), knots) / 20)
        if mono:
            continue
        centred = name in ("kick", "snare", "singing", "speech") or "bass" in name
        pan = rng.normal(0, 0.08) if centred else rng.uniform(-0.85, 0.85)
        gains[i] *= np.sqrt(np.array([[1 - pan], [1 + pan]])).clip(0)
        if not centred and rng.random() < 0.4:
            turn = np.interp(np.arange(n_bins), np.linspace(0, n_bins, 40), rng.normal(0, 0.8, 40))
            gains[i] *= np.exp(1j * np.array([turn, -turn]))
    level = 10 ** (rng.uniform(-18, 6) / 20)
    gains *= tilted(n_bins, rng)
    placed = (spectra[:, None] * gains[:, :, None] * level).astype(np.complex64)
    if rng.random() < _GLUED:
        whole = placed.sum(axis=0)
        placed *= glued((whole.real**2 + whole.imag**2).sum(axis=(0, 2)), HOP / RATE_HZ, rng)[:, None]
    return Mixture(names, placed, coded(placed.sum(axis=0), rng) if rng.random() < _CODED else None)


def example(mixture: Mixture, table: dict[str, range], rng: np.random.Generator) -> Example:
    """What a mixture teaches: `table` gives each concept's rows in the phrase table."""
    stems = mixture.spectra
    whole = stems.sum(axis=0) if mixture.heard is None else mixture.heard
    features, power = features_of(whole, EDGES)
    parts = to_bands(stems.real * whole.real + stems.imag * whole.imag, EDGES)  # (stem, channel, frame, band)
    flat = stems.reshape(len(stems), -1).view(np.float32)
    gram = flat @ flat.T
    loud = (stems.real**2 + stems.imag**2).sum(axis=(1, 3))  # (stem, frame)
    chosen = _queries(mixture.sources, rng)
    product, energy, spans, active, present, rows = [], [], [], [], [], []
    for concept in chosen:
        covers = np.array([name in concept.covers for name in mixture.sources])
        product.append(parts[covers].sum(axis=0))
        energy.append(gram[np.ix_(covers, covers)].sum())
        power_of = loud[covers].sum(axis=0)
        sounding = power_of > max(power_of.max(initial=0) * 10 ** (_ACTIVE_DB / 10), 1e-3)
        active.append(sounding)
        present.append(bool(sounding.any()))
        spans.append(_spans(sounding, rng))
        rows.append(_row(table[concept.name], rng))
    return Example(
        features,
        np.ascontiguousarray(power.transpose(0, 2, 1)),
        np.ascontiguousarray(np.stack(product).transpose(0, 1, 3, 2)),
        np.array(energy, np.float32),
        np.stack(spans),
        np.stack(active).astype(np.float32),
        np.array(present, np.float32),
        np.array(rows),
        _everywhere(mixture.sources, loud),
        np.array([_row(table[name], rng) for name in concepts()]),
    )


def _row(rows: range, rng: np.random.Generator) -> int:
    """One of a concept's phrases; half the time of the first quarter, which holds what it is called first of all."""
    return rows[int(len(rows) * rng.random() ** 2)]


def _everywhere(sources: tuple[str, ...], loud: Real) -> Real:
    """Which concept sounds in each coarse frame, from each stem's power in each frame."""
    covers = np.array([[name in concept.covers for name in sources] for concept in concepts().values()], np.float32)
    power = covers @ loud
    sounding = power > np.maximum(power.max(axis=1, keepdims=True) * 10 ** (_ACTIVE_DB / 10), 1e-3)
    coarse = sounding.reshape(len(covers), -1, FRAMES_MULTIPLE).mean(axis=2) > 0.3
    found = np.asarray(coarse, np.float32)
    if BAND in sources:
        found[~covers.any(axis=1)] = -1
    return found


def _queries(sources: tuple[str, ...], rng: np.random.Generator) -> list[Concept]:
    """Concepts that take some of a mixture but not all of it, and one or two that take nothing."""
    here = set(sources)
    every = list(concepts().values())
    some = [c for c in every if c.covers & here and not here <= c.covers]
    none = [c for c in every if not c.covers & here]
    if BAND in here:
        return [some[i] for i in rng.integers(len(some), size=N_QUERIES)]
    n_none = 2 if some else N_QUERIES
    chosen = []
    if some:
        n = min(N_QUERIES - n_none, len(some))
        chosen = [some[i] for i in rng.choice(len(some), n, replace=False)]
    n_rest = N_QUERIES - len(chosen)
    return chosen + [none[i] for i in rng.choice(len(none), n_rest, replace=False)]


def _spans(sounding: npt.NDArray[np.bool_], rng: np.random.Generator) -> Real:
    """+1 over some of the frames where a source sounds, −1 over some where it does not, 0 elsewhere or nowhere."""
    spans = np.zeros(len(sounding), np.float32)
    if not sounding.any() or rng.random() < 0.5:
        return spans
    edges = np.flatnonzero(np.diff(np.concatenate([[0], sounding.astype(int), [0]])))
    runs = edges.reshape(-1, 2)
    for start, end in runs:
        if end - start >= 3 and rng.random() < 0.7:
            early, late = np.sort(rng.uniform(0, 1, 2)) if rng.random() < 0.4 else (0.0, 1.0)
            low, high = start + round(early * (end - start)), start + round(late * (end - start))
            if high - low >= 3:
                spans[low:high] = 1
    if rng.random() < 0.35:
        gaps = np.concatenate([[0], runs.ravel(), [len(sounding)]]).reshape(-1, 2)
        for start, end in gaps:
            if end - start >= 4 and rng.random() < 0.6:
                spans[start + 1 : end - 1] = -1
    return spans
