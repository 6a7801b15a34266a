"""Scorers: each says what it claims on signals whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from engine import Span
from engine.flow.scoring import (
    Candidate,
    activity,
    best,
    mixture_consistency,
    not_clipped,
    not_silent,
    score,
    span_agreement,
)
from engine.runtime import Ask

RATE = 8_000
ASK = Ask("tambourine")


def tone(start_s: float = 0.0, end_s: float = 4.0, level: float = 0.5) -> np.ndarray:
    t = np.arange(4 * RATE) / RATE
    return (level * np.sin(2 * np.pi * 440 * t) * ((t >= start_s) & (t < end_s))).astype(np.float32)


def candidate(target: np.ndarray, residual: np.ndarray | None = None, mixture: np.ndarray | None = None) -> Candidate:
    mixture = tone(level=0.8) if mixture is None else mixture
    return Candidate(mixture, target, mixture - target if residual is None else residual, RATE)


def test_consistency_is_one_when_the_parts_sum_and_zero_when_they_do_not() -> None:
    assert mixture_consistency(candidate(tone()), ASK) == 1
    assert mixture_consistency(candidate(tone(level=0), tone(level=0)), ASK) == pytest.approx(0)
    half = mixture_consistency(candidate(tone(level=0.08), tone(level=0.8)), ASK)
    assert half == pytest.approx(0.5, abs=0.01)


def test_span_agreement_is_an_intersection_over_union_within_what_is_known() -> None:
    ask = Ask("tambourine", (Span("+", 1.0, 2.0),))
    assert span_agreement(candidate(tone()), ASK) is None
    assert span_agreement(candidate(tone(1, 2)), ask) == 1
    assert span_agreement(candidate(tone(0, 4)), ask) == 1, "outside every span is unknown, not silent"
    assert span_agreement(candidate(tone(1, 1.5)), ask) == pytest.approx(0.5)
    assert span_agreement(candidate(tone(3, 4)), ask) == 0
    both = Ask("tambourine", (Span("+", 1.0, 2.0), Span("-", 2.0, 3.0)))
    assert span_agreement(candidate(tone(1, 3)), both) == pytest.approx(0.5)


def test_silence_and_clipping_cost() -> None:
    assert not_silent(candidate(tone(level=0)), ASK) == 0
    assert not_silent(candidate(tone()), ASK) == 1
    assert not_clipped(candidate(tone()), ASK) == 1
    assert not_clipped(candidate(np.sign(tone())), ASK) == 0


def test_activity_is_relative_to_the_loudest_and_silence_is_never_active() -> None:
    assert activity(tone(1, 2), RATE).tolist() == [False] * 4 + [True] * 4 + [False] * 8
    assert not activity(np.zeros(RATE, np.float32), RATE).any()
    assert activity(1e-3 * tone(1, 2), RATE).sum() == 4


def test_the_highest_total_wins_and_ties_go_to_the_first_seed() -> None:
    assert best([{"total": 0.2}, {"total": 0.9}, {"total": 0.9}]) == 1
    good, bad = score(candidate(tone()), ASK), score(candidate(tone(level=0), tone(level=0)), ASK)
    assert good["total"] > bad["total"]
    assert "span_agreement" not in good
