"""Solvers of very few evaluations whose coefficients were fitted to one model's own trajectories.

Every step may use the noise and all velocities found so far, with weights of its own; so do all Runge-Kutta and
multistep methods, which are points of this family (Shaul et al., bespoke non-stationary solvers, arXiv 2403.01329).
State i is `scale[i] * x_0 + sum_j weight[i][j] * v_j`, where v_j is the velocity at state j and `times[j]`; the last
state is the result. N evaluations take (N² + 5 N) / 2 - 1 numbers.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from engine.bundle import MANIFEST, Bundle, read_bundle
from engine.errors import StembridgeError
from engine.flow.sampling import Velocity

Array = TypeVar("Array", bound=Any)
SCHEMA: Final = 1


@dataclass(frozen=True)
class FittedPlan:
    """A solver for N evaluations of one model."""

    times: tuple[float, ...]
    """Of each evaluation; the first is 0."""
    scales: tuple[float, ...]
    """What each state after the first keeps of the noise."""
    weights: tuple[tuple[float, ...], ...]
    """Row i: what state i + 1 takes of the velocities 0 to i."""

    def __post_init__(self) -> None:
        n = len(self.times)
        numbers = [*self.times, *self.scales, *(value for row in self.weights for value in row)]
        if n < 1 or len(self.scales) != n or [len(row) for row in self.weights] != list(range(1, n + 1)):
            raise ValueError(f"{n} evaluations need {n} scales and rows of 1 to {n} weights")
        if not all(isinstance(value, float) and math.isfinite(value) for value in numbers):
            raise ValueError("a coefficient is not a finite number")
        if self.times[0] != 0 or not all(0 <= time <= 1 for time in self.times):
            raise ValueError(f"times begin at 0 and lie in 0 to 1, not {self.times}")

    @property
    def nfe(self) -> int:
        """Velocity evaluations."""
        return len(self.times)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; the reverse of `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FittedPlan:
        """The reverse of `to_dict`. Raises `ValueError`, `KeyError` or `TypeError` for what is no plan."""
        rows = tuple(tuple(float(value) for value in row) for row in values["weights"])
        return cls(tuple(map(float, values["times"])), tuple(map(float, values["scales"])), rows)


def midpoint_as_fitted(n_steps: int) -> FittedPlan:
    """The midpoint method on equal steps, as a point of the family: where a fit begins."""
    step, times, scales, weights = 1 / n_steps, [], [], []
    whole: list[float] = []
    for index in range(n_steps):
        times += [index * step, (index + 0.5) * step]
        weights.append((*whole, step / 2))
        whole += [0.0, step]
        weights.append(tuple(whole))
        scales += [1.0, 1.0]
    return FittedPlan(tuple(times), tuple(scales), tuple(weights))


def euler_as_fitted(n_steps: int) -> FittedPlan:
    """Euler's method on equal steps, as a point of the family."""
    step = 1 / n_steps
    rows = tuple((step,) * (index + 1) for index in range(n_steps))
    return FittedPlan(tuple(index * step for index in range(n_steps)), (1.0,) * n_steps, rows)


def solve_fitted(
    velocity: Velocity[Array], noise: Array, plan: FittedPlan, between: Callable[[int], None] = lambda done: None
) -> Array:
    """Carry `noise` to time 1; `between` as for `engine.flow.sampling.solve`."""
    x, found = noise, []
    for number, (scale, row) in enumerate(zip(plan.scales, plan.weights, strict=True)):
        between(number)
        found.append(velocity(x, number))
        x = noise * scale
        for weight, v in zip(row, found, strict=True):
            if weight:
                x = x + v * weight
    between(plan.nfe)
    return x


def read_fitted(bundle: Bundle, nfe: int) -> FittedPlan | None:
    """What the model was tuned to for that many evaluations; None where it was not.

    Raises `StembridgeError`: `model_missing`, `model_corrupt` for a file that is damaged, is no plan of that many
    evaluations, or was fitted to other weights.
    """
    if nfe not in bundle.tuned:
        return None
    again = f"stembridge models tune {bundle.name} --nfe {nfe} --audio FOLDER"
    remedy = f"Run `{again}` again, or ask for the schedule uniform."
    try:
        path = bundle.tuned_path(nfe)
    except StembridgeError as e:
        raise StembridgeError(e.code, e.text, remedy) from e
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        plan = FittedPlan.from_dict(said["plan"])
        if said["schema"] != SCHEMA or plan.nfe != nfe:
            raise ValueError(f"schema {said['schema']!r}, {plan.nfe} evaluations")
        if said["weights_sha256"] != bundle.weights_sha256:
            raise ValueError("it was fitted to other weights")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise StembridgeError("model_corrupt", f"{path} holds no coefficients that can be used: {e}.", remedy) from e
    return plan


def write_fitted(bundle: Bundle, plan: FittedPlan, facts: Mapping[str, Any]) -> Path:
    """Put a plan into a model's folder and its manifest, in place of an earlier one for as many evaluations.

    `facts`: how it was made and what it is worth, plain JSON values. The file is named after its content, and the
    manifest is replaced in one step: whoever reads meanwhile finds the old plan or the new one. Raises `OSError` as
    the disk does, and as `read_bundle`.
    """
    said = {"schema": SCHEMA, "nfe": plan.nfe, "weights_sha256": bundle.weights_sha256, "plan": plan.to_dict()}
    text = json.dumps({**said, **facts}, indent=1) + "\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    path = bundle.folder / f"tuned-{plan.nfe}-{digest[:12]}.json"
    _put(path, text)
    now = read_bundle(bundle.folder)
    old = now.tuned.get(plan.nfe, {}).get("file")
    entry = {"file": path.name, "sha256": digest, "bytes": len(text.encode())}
    tuned = {str(nfe): dict(file) for nfe, file in {**now.tuned, plan.nfe: entry}.items()}
    _put(bundle.folder / MANIFEST, json.dumps({**now.facts, "tuned": tuned}, indent=1) + "\n")
    if old not in (None, path.name):
        (bundle.folder / old).unlink(missing_ok=True)
    return path


def _put(path: Path, text: str) -> None:
    """Write beside, then rename."""
    part = path.with_name(f"{path.name}.part-{os.getpid()}")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
