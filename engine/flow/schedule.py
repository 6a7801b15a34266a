"""How a flow model's evaluations are spent: solvers and grids under one face, chosen by name.

uniform  equal steps: midpoint where the number is even, as the reference does
sway     the same solvers, their steps crowded near the noise
epss     Euler on published grids, for some numbers of evaluations only
fitted   coefficients that `stembridge models tune` fitted to this very model
auto     fitted where the model was tuned for the number of evaluations asked for, else uniform
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from engine.bundle import Bundle
from engine.errors import StembridgeError
from engine.flow.fitted import FittedPlan, read_fitted, solve_fitted
from engine.flow.sampling import (
    EPSS,
    QUALITY_NFE,
    SWAY,
    SamplingPlan,
    Velocity,
    plan_epss,
    plan_sampling,
    refine,
    solve,
)
from engine.request import Quality, ScheduleName

Array = TypeVar("Array", bound=Any)
Kind = Literal["uniform", "sway", "epss", "fitted"]


@dataclass(frozen=True)
class Schedule:
    """A solver and the times of its evaluations."""

    name: Kind
    plan: SamplingPlan | FittedPlan

    @property
    def times(self) -> tuple[float, ...]:
        """The time of every evaluation, in order."""
        return self.plan.times

    @property
    def nfe(self) -> int:
        """Velocity evaluations."""
        return self.plan.nfe

    @property
    def words(self) -> str:
        """For the manifest: schedules of equal words give equal results. A fitted one names its coefficients' hash."""
        if isinstance(self.plan, FittedPlan):
            digest = hashlib.sha256(json.dumps(self.plan.to_dict()).encode()).hexdigest()
            return f"fitted {digest[:12]}, {self.nfe} evaluation{'s' * (self.nfe > 1)}"
        n_steps = len(self.plan.grid) - 1
        steps = f"{self.plan.method}, {n_steps} step{'s' * (n_steps > 1)}"
        start = f" from {self.plan.grid[0]:g}" if self.plan.grid[0] else ""
        return f"{steps}{start}" if self.name == "uniform" else f"{steps}{start}, {self.name}"

    def solve(
        self, velocity: Velocity[Array], noise: Array, between: Callable[[int], None] = lambda done: None
    ) -> Array:
        """Carry `noise` to time 1; `between` as for `engine.flow.sampling.solve`."""
        if isinstance(self.plan, FittedPlan):
            return solve_fitted(velocity, noise, self.plan, between)
        return solve(velocity, noise, self.plan, between)

    def refine(self, velocity: Velocity[Array], draft: Array, noise: Array) -> Array:
        """A better result from a draft, as `engine.flow.sampling.refine`. Raises `ValueError` for a fitted schedule,
        which begins with the noise."""
        if isinstance(self.plan, FittedPlan):
            raise ValueError("a fitted schedule begins with the noise, not with a draft")  # noqa: TRY004 (its value)
        return refine(velocity, draft, noise, self.plan)


def classic(name: Kind, nfe: int) -> Schedule:
    """A schedule that belongs to no model. Raises `ValueError` where `name` has none for that number."""
    match name:
        case "uniform":
            return Schedule("uniform", plan_sampling(nfe=nfe))
        case "sway":
            return Schedule("sway", plan_sampling(nfe=nfe, sway=SWAY))
        case "epss":
            return Schedule("epss", plan_epss(nfe))
        case "fitted":
            raise ValueError("a fitted schedule belongs to a model")


def choose_schedule(bundle: Bundle | None, name: ScheduleName, quality: Quality, nfe: int | None) -> Schedule:
    """What a request's quality, number of evaluations and schedule mean on a model; None is one that was never tuned.

    Raises `StembridgeError`: `unsupported_option` for a schedule that does not go with the number, `model_missing` and
    `model_corrupt` where a fitted one should be used and cannot be.
    """
    n = QUALITY_NFE[quality] if nfe is None else nfe
    if name in ("auto", "fitted"):
        fitted = read_fitted(bundle, n) if bundle else None
        if fitted is not None:
            return Schedule("fitted", fitted)
        if name == "fitted":
            tuned = ", ".join(map(str, bundle.tuned)) if bundle else ""
            raise StembridgeError(
                "unsupported_option",
                f"The model was not tuned for {n} evaluations, but for {tuned or 'none'}.",
                f"Run `stembridge models tune {bundle.name if bundle else 'NAME'} --nfe {n} --audio FOLDER`, "
                "or use another schedule.",
            )
    kind: Kind = "uniform" if name in ("auto", "fitted") else name  # type: ignore[assignment]
    try:
        return classic(kind, n)
    except ValueError as e:
        grids = f"epss takes nfe {', '.join(map(str, EPSS))}; " if name == "epss" else ""
        raise StembridgeError(
            "unsupported_option", f"The sampler refuses: {e}.", f"{grids}uniform and sway take nfe 1 to 256."
        ) from e
