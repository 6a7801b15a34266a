"""Which of several candidates to keep: scorers that need no weights, and one that uses CLAP where it is installed.

A candidate is one seed's result. Scorers see the first minute of it and answer higher for better; a scorer that has
nothing to say of a request (no spans, no CLAP) answers None and is left out for all candidates alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.audio import Samples
from engine.runtime import Ask

EXCERPT_S: Final = 60.0
"""What is scored of a long region."""
BLOCK_S: Final = 0.25
"""Activity is judged in blocks of this length …"""
ACTIVE_DB: Final = -40.0
"""… that are active when above this level, relative to the loudest (as the reference's activity measure)."""
_TINY: Final = 1e-12


@dataclass(frozen=True)
class Candidate:
    """What a scorer is given: mono, at the model's rate, the first `EXCERPT_S` at most."""

    mixture: Samples
    """`(sample,)`"""
    target: Samples
    """`(sample,)`"""
    residual: Samples
    """`(sample,)`, the model's own."""
    sample_rate: int


Scorer = Callable[[Candidate, Ask], float | None]
Scorers = Mapping[str, tuple[float, Scorer]]
"""Name → (weight, scorer)."""


def mixture_consistency(candidate: Candidate, ask: Ask) -> float | None:
    """How well target and generated residual sum to the mixture: 0 at 0 dB of error, 1 at -40 dB and below."""
    error = candidate.mixture - candidate.target - candidate.residual
    ratio_db = 10 * np.log10((_power(candidate.mixture) + _TINY) / (_power(error) + _TINY))
    return float(np.clip(ratio_db / 40, 0, 1))


def span_agreement(candidate: Candidate, ask: Ask) -> float | None:
    """Intersection over union of the target's activity and the `+` spans, within what spans cover; None without
    spans."""
    active = activity(candidate.target, candidate.sample_rate)
    wanted = np.zeros(len(active), bool)
    known = np.zeros(len(active), bool)
    for span in ask.spans:
        blocks = slice(
            round(span.start_s / BLOCK_S), max(round(span.end_s / BLOCK_S), round(span.start_s / BLOCK_S) + 1)
        )
        known[blocks] = True
        wanted[blocks] = span.sign == "+"
    if not known.any():
        return None
    union = (active | wanted) & known
    return float((active & wanted & known).sum() / union.sum()) if union.any() else 1.0


def not_silent(candidate: Candidate, ask: Ask) -> float | None:
    """0 for a target 60 dB or more below the mixture, 1 from -30 dB on."""
    level_db = 10 * np.log10((_power(candidate.target) + _TINY) / (_power(candidate.mixture) + _TINY))
    return float(np.clip((level_db + 60) / 30, 0, 1))


def not_clipped(candidate: Candidate, ask: Ask) -> float | None:
    """1 without full-scale samples, 0 when one in a hundred is."""
    clipped = np.mean(np.abs(candidate.target) >= 0.999) if candidate.target.size else 0.0
    return float(np.clip(1 - 100 * clipped, 0, 1))


SCORERS: Final[Scorers] = {
    "mixture_consistency": (1.0, mixture_consistency),
    "span_agreement": (1.0, span_agreement),
    "not_silent": (0.5, not_silent),
    "not_clipped": (0.5, not_clipped),
}
"""Those that need no weights. The numbers are ours and were not tuned on any model."""


def score(candidate: Candidate, ask: Ask, scorers: Scorers = SCORERS) -> dict[str, float]:
    """Every scorer's answer, and `total`: their weighted mean."""
    answers = {name: answer for name, (_, scorer) in scorers.items() if (answer := scorer(candidate, ask)) is not None}
    weight = sum(scorers[name][0] for name in answers)
    total = sum(scorers[name][0] * answer for name, answer in answers.items()) / weight if weight else 0.0
    return {name: round(answer, 4) for name, answer in answers.items()} | {"total": round(total, 4)}


def best(scores: Sequence[Mapping[str, float]]) -> int:
    """The index of the highest total; the earliest seed where they are equal."""
    return max(range(len(scores)), key=lambda i: (scores[i]["total"], -i))


def activity(samples: Samples, sample_rate: int) -> npt.NDArray[np.bool_]:
    """Which blocks of `BLOCK_S` of a `(sample,)` signal are active."""
    size = round(BLOCK_S * sample_rate)
    padded = np.pad(samples, (0, -len(samples) % size)).reshape(-1, size)
    power = np.mean(np.square(padded, dtype=np.float64), axis=1)
    loudest = power.max(initial=0.0)
    active: npt.NDArray[np.bool_] = (power > loudest * 10 ** (ACTIVE_DB / 10)) & (power > _TINY)
    return active


def _power(samples: Samples) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64))) if samples.size else 0.0
