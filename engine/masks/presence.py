"""Whether what a prompt names is there at all: a probability, and what it does to the mask.

The probability is a logistic function of a few things that a head says of a window, fitted on mixtures of which it is
known what they hold (`training/presence.py`), half of the prompts absent. Where it is low the mask is turned down, so
that a sound that is not there leaves next to nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from engine.masks.bands import Real

DEEPEST_DB: Final = 40.0
"""How far a mask is turned down where the sound is surely absent."""
SIGNS: Final = ("logit", "loudest", "mean", "passed", "decided")


@dataclass(frozen=True)
class Calibration:
    """A fitted judgement of presence."""

    weights: tuple[float, ...]
    """One for each of `SIGNS`."""
    bias: float
    full: float
    """Probability from which the mask is left as it is."""
    none: float
    """Probability below which the mask is turned down by `DEEPEST_DB`, and the sound counts as not found."""

    def probability(self, signs: Mapping[str, float]) -> float:
        """That the sound is there, 0 to 1."""
        total = self.bias + sum(w * signs[name] for name, w in zip(SIGNS, self.weights, strict=True))
        return 1 / (1 + math.exp(-max(-60.0, min(60.0, total))))

    def gain(self, probability: float) -> float:
        """What the mask is multiplied by: 1 from `full` on, −40 dB at `none` and below, linear in dB between."""
        share = min(max((self.full - probability) / max(self.full - self.none, 1e-6), 0.0), 1.0)
        return float(10 ** (-DEEPEST_DB / 20 * share))


UNFITTED: Final = Calibration((1.0, 0.0, 0.0, 0.0, 0.0), 0.0, 0.0, 0.0)
"""The head's own word, and masks as they are: of a model whose judgement was never fitted."""


def read_calibration(path: Path) -> Calibration:
    """What `write_calibration` wrote. Raises `OSError`, and `ValueError` for other content."""
    said = json.loads(path.read_text(encoding="utf-8"))
    if sorted(said["weights"]) != sorted(SIGNS):
        raise ValueError(f"{path} has weights for {', '.join(said['weights'])}, not for {', '.join(SIGNS)}")
    weights = tuple(float(said["weights"][name]) for name in SIGNS)
    return Calibration(weights, *(float(said[name]) for name in ("bias", "full", "none")))


def write_calibration(path: Path, fitted: Calibration) -> None:
    """As JSON with names."""
    said = asdict(fitted) | {"weights": dict(zip(SIGNS, fitted.weights, strict=True))}
    path.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")


def signs_of(presence: float, heard: Real, gains: Real, power: Real) -> dict[str, float]:
    """What is judged by: of a window's presence logit, activity logits `(frame,)`, and `(channel, frame, band)` gains
    with the mixture's powers.

    `loudest` and `mean`: of the activity. `passed`: how far below the mixture the result would lie, in tens of dB.
    `decided`: 1 where bands are taken whole or not at all, less where a little of everything is.
    """
    whole, taken = float(power.sum()) + 1e-9, power * gains
    kept = float((taken * gains).sum())
    return {
        "logit": presence,
        "loudest": float(heard.max()),
        "mean": float(heard.mean()),
        "passed": float(np.log10(kept / whole + 1e-6)),
        "decided": kept / (float(taken.sum()) + 1e-9),
    }
