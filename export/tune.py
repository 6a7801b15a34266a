"""Fits the coefficients of a few-step solver to a model's own trajectories; no labels, no gradients.

Each state of the solver is a weighted sum of the noise and the velocities found so far (`engine.flow.fitted`), and
where it should be is known: on the reference's trajectory. So for given times the weights are a linear least-squares
problem, state after state, and only the times are left to be searched. A runtime is asked for velocities alone, so
whatever serves the model can tune it. The family and the idea to fit it to the model's own results are those of
bespoke non-stationary solvers (Shaul et al., arXiv 2403.01329); they fit all numbers at once, by gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.flow.fitted import FittedPlan
from engine.flow.sampling import Velocity

Values = npt.NDArray[Any]

RIDGE: Final = 1e-7
"""Added to the normal equations, whose diagonal is brought to 1: velocities of one trajectory are nearly alike, and
weights that cancel each other to the last digit would not survive float16."""
LEAST_GAP: Final = 0.25
"""Times stay this far apart, as a share of a uniform step: two equal times say the same twice."""
SMALLEST_MOVE: Final = 1 / 256
"""Of a time, where the search ends."""
SOLVES_PER_TIME: Final = 12
"""Grids that are tried for each time that is free."""


@dataclass(frozen=True)
class Example:
    """One trajectory of the model, and how to ask the model along another one."""

    path: Values
    """The reference's states at equally spaced times, `(time, …)`; at least 4, the first is the noise."""
    velocity: Callable[[Sequence[float]], Velocity[Values]]
    """For the times of a schedule, the velocity at each of them."""

    def at(self, time: float) -> Values:
        """The state at any time from 0 to 1, by cubic interpolation."""
        n_steps = len(self.path) - 1
        place = time * n_steps
        first = min(max(int(place) - 1, 0), n_steps - 3)
        nodes = range(first, first + 4)
        state: Values = np.zeros_like(self.path[0])
        for node in nodes:
            weight = np.prod([(place - other) / (node - other) for other in nodes if other != node])
            state = state + self.path[node] * weight.astype(self.path.dtype)
        return state


@dataclass(frozen=True)
class Trial:
    """What one grid of times gave."""

    plan: FittedPlan
    error: float
    """Mean over the examples of squared error to squared signal."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; the reverse of `from_dict`."""
        return {"plan": self.plan.to_dict(), "error": self.error}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Trial:
        """The reverse of `to_dict`. Raises `ValueError`, `KeyError` or `TypeError` for what is no trial."""
        return cls(FittedPlan.from_dict(values["plan"]), float(values["error"]))


Times = tuple[float, ...]


def fit_weights(examples: Sequence[Example], times: Times) -> Trial:
    """The best weights for given times, and the error they leave on these examples."""
    noises = [example.path[0].astype(np.float64) for example in examples]
    energies = [max(float(np.square(example.path[-1], dtype=np.float64).sum()), 1e-12) for example in examples]
    states = [example.path[0] for example in examples]
    found: list[list[Values]] = [[noise] for noise in noises]
    scales: list[float] = []
    rows: list[tuple[float, ...]] = []
    for number, (time, target) in enumerate(zip(times, (*times[1:], 1.0), strict=True)):
        gram, product = np.zeros((number + 2, number + 2)), np.zeros(number + 2)
        for example, state, terms, energy in zip(examples, states, found, energies, strict=True):
            # one time, one example: what a model prepares for a whole schedule would not fit for all of them
            terms.append(np.asarray(example.velocity((time,))(state, 0), np.float64))
            basis = np.stack([term.ravel() for term in terms])
            gram += basis @ basis.T / energy
            product += basis @ example.at(target).ravel() / energy
        size = np.sqrt(np.maximum(np.diag(gram), 1e-30))
        normal = gram / np.outer(size, size) + RIDGE * np.eye(len(size))
        weights = np.linalg.solve(normal, product / size) / size
        scales.append(float(weights[0]))
        rows.append(tuple(map(float, weights[1:])))
        states = [
            sum((w * term for w, term in zip(weights, terms, strict=True)), np.float64(0)).astype(example.path.dtype)
            for example, terms in zip(examples, found, strict=True)
        ]
    error = np.mean([relative_error(s, example.path[-1]) for s, example in zip(states, examples, strict=True)])
    return Trial(FittedPlan(times, tuple(scales), tuple(rows)), float(error))


def search(nfe: int, attempt: Callable[[Times], Trial]) -> Trial:
    """The best trial over grids of `nfe` times: three to begin with, then each time is moved by ever smaller steps.

    The same trials are asked for whenever `attempt` gives the same answers, so a search that was stopped goes on where
    `attempt` remembers them.
    """
    tried: dict[Times, Trial] = {}

    def of(times: Times) -> Trial:
        if times not in tried:
            tried[times] = attempt(times)
        return tried[times]

    even = [k / nfe for k in range(nfe)]
    starts = (even, [1 - (1 - t) ** 2 for t in even], [t**2 for t in even])
    legal = [times for start in starts if _apart(times := tuple(start), nfe)]
    best = min((of(times) for times in legal), key=lambda trial: trial.error)
    move = 0.5 / nfe
    while move >= SMALLEST_MOVE and nfe > 1:
        moved = False
        for index in range(1, nfe):
            for way in (move, -move):
                now = best.plan.times
                moved_to = (*now[:index], now[index] + way, *now[index + 1 :])
                if not _apart(moved_to, nfe) or len(tried) >= max_solves(nfe):
                    continue
                trial = of(moved_to)
                if trial.error < best.error:
                    best, moved = trial, True
                    break
        if not moved:
            move /= 2
    return best


def max_solves(nfe: int) -> int:
    """Grids that `search` tries at most."""
    return 1 if nfe == 1 else 3 + SOLVES_PER_TIME * (nfe - 1)


def relative_error(made: Values, wanted: Values) -> float:
    """Squared error over squared signal."""
    error = float(np.square(made - wanted, dtype=np.float64).sum())
    return error / max(float(np.square(wanted, dtype=np.float64).sum()), 1e-12)


def mean_db(errors: Iterable[float]) -> float:
    """The mean SNR of relative errors, in dB; 120 at most."""
    return float(np.mean([-10 * np.log10(max(error, 1e-12)) for error in errors]))


def _apart(times: Times, nfe: int) -> bool:
    return all(b - a >= LEAST_GAP / nfe - 1e-9 for a, b in pairwise((*times, 1.0)))
