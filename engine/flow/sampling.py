"""From noise to latents: seeded noise, schedules and solvers, as pure functions on any array that can be added.

A plan fixes a solver and its times before anything runs, so a model can compute once what depends on the times alone.
The velocity is asked by evaluation number, and NFE, "number of function evaluations", is the length of that list:
the reference's 16 midpoint steps are 32 NFE. Time runs from 0, noise, to 1, data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from engine.request import MAX_NFE, Quality

Method = Literal["euler", "midpoint", "heun", "ab2"]
Array = TypeVar("Array", bound=Any)
Velocity = Callable[[Array, int], Array]
"""(state, evaluation number) → velocity; the number's time is `plan.times[number]`."""

QUALITY_NFE: Final[dict[Quality, int]] = {"draft": 2, "fast": 8, "best": 32, "progressive": 6}
"""What each quality name costs; a request's `nfe` goes before it. `progressive`: the refinement after its draft."""
_PER_STEP: Final[dict[Method, int]] = {"euler": 1, "ab2": 1, "midpoint": 2, "heun": 2}
SWAY: Final = -1.0
"""Of the grid that is called `sway`: the speech model F5-TTS's, crowded near the noise (arXiv 2410.06885)."""
EPSS: Final[dict[int, tuple[int, ...]]] = {
    5: (0, 2, 4, 8, 16, 32),
    6: (0, 2, 4, 6, 8, 16, 32),
    7: (0, 2, 4, 6, 8, 16, 24, 32),
    10: (0, 2, 4, 6, 8, 12, 16, 20, 24, 28, 32),
    16: (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32),
}
"""Evaluations → step boundaries in 1/32: empirically pruned steps, found for speech (arXiv 2505.19931)."""
REFINE_FROM: Final = 0.2
"""Where refinement of a draft begins. Later starts keep more of the draft's error: on a small learned flow, after a
draft of one evaluation, 6 from 0.2 beat 6 from the noise, and 6 from 0.4 did not. After a draft of two, which is better
but lies off the model's curved path, 6 from 0.2 erred nearly twice as much as 6 from the noise. Not measured on SAM
Audio."""


@dataclass(frozen=True)
class SamplingPlan:
    """A solver on a grid."""

    method: Method
    grid: tuple[float, ...]
    """Step boundaries, rising from the start, 0 for noise, to 1."""

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise ValueError(f"no solver {self.method!r}; there are {', '.join(get_args(Method))}")
        rising = all(a < b for a, b in pairwise(self.grid))
        if len(self.grid) < 2 or self.grid[0] < 0.0 or self.grid[-1] != 1.0 or not rising:
            raise ValueError(f"a grid rises from 0 or later to 1, not {self.grid}")

    @property
    def times(self) -> tuple[float, ...]:
        """The time of every evaluation, in order."""
        steps = pairwise(self.grid)
        match self.method:
            case "euler" | "ab2":
                return self.grid[:-1]
            case "midpoint":
                return tuple(t for a, b in steps for t in (a, a + (b - a) / 2))
            case "heun":
                return tuple(t for a, b in steps for t in (a, b))

    @property
    def nfe(self) -> int:
        """Velocity evaluations."""
        return (len(self.grid) - 1) * _PER_STEP[self.method]


def plan_sampling(
    quality: Quality = "best",
    nfe: int | None = None,
    method: Method | None = None,
    sway: float = 0.0,
    start: float = 0.0,
) -> SamplingPlan:
    """The plan for a quality name or a number of evaluations, from `start` (0, the noise, or later: see `refine`).

    Midpoint, the reference's solver, where the number is even; otherwise Euler for 1 and Adams-Bashforth for more.
    Raises `ValueError` when `nfe` is out of range or the method cannot spend it.
    """
    n = QUALITY_NFE[quality] if nfe is None else nfe
    if not 1 <= n <= MAX_NFE:
        raise ValueError(f"nfe is {n}; use 1 to {MAX_NFE}")
    if method is None:
        method = "midpoint" if n % 2 == 0 else "euler" if n == 1 else "ab2"
    if method not in get_args(Method):
        raise ValueError(f"no solver {method!r}; there are {', '.join(get_args(Method))}")
    if n % _PER_STEP[method]:
        raise ValueError(f"{method} takes an even number of evaluations, not {n}")
    grid = uniform(n // _PER_STEP[method]) if sway == 0 else swayed(n // _PER_STEP[method], sway)
    if not 0 <= start < 1:
        raise ValueError(f"start is {start}; use 0 to less than 1")
    return SamplingPlan(method, grid if start == 0 else (*(start + (1 - start) * t for t in grid[:-1]), 1.0))


def plan_epss(nfe: int) -> SamplingPlan:
    """Euler on the grid of `EPSS`. Raises `ValueError` for a number of evaluations that has none."""
    if nfe not in EPSS:
        raise ValueError(f"epss has grids for {', '.join(map(str, EPSS))} evaluations, not {nfe}")
    return SamplingPlan("euler", tuple(boundary / 32 for boundary in EPSS[nfe]))


def uniform(n_steps: int) -> tuple[float, ...]:
    """Equal steps. Each boundary is one division, so powers of two are exact."""
    return tuple(step / n_steps for step in range(n_steps + 1))


def swayed(n_steps: int, sway: float) -> tuple[float, ...]:
    """Uniform steps bent by `t + sway * (cos(pi t / 2) - 1 + t)`: negative crowds them near the noise.

    Raises `ValueError` outside -1 to 2 / (pi - 2), where times would fall.
    """
    if not -1 <= sway <= 2 / (math.pi - 2):
        raise ValueError(f"sway is {sway}; use -1 to {2 / (math.pi - 2):.3f}")
    inner = [t + sway * (math.cos(math.pi * t / 2) - 1 + t) for t in uniform(n_steps)[1:-1]]
    return (0.0, *inner, 1.0)


def solve(
    velocity: Velocity[Array], x: Array, plan: SamplingPlan, between: Callable[[int], None] = lambda done: None
) -> Array:
    """Carry `x` from the plan's start, time 0 for noise, to time 1.

    `between` is called with the number of evaluations done, before each and after the last: it reports progress, and
    what it raises ends the run.
    """
    done = 0

    def evaluate(at: Array) -> Array:
        nonlocal done
        between(done)
        answer = velocity(at, done)
        done += 1
        return answer

    before: tuple[float, Array] | None = None
    for start, end in pairwise(plan.grid):
        step = end - start
        v = evaluate(x)
        match plan.method:
            case "euler":
                x = x + step * v
            case "midpoint":
                x = x + step * evaluate(x + (step / 2) * v)
            case "heun":
                x = x + (step / 2) * (v + evaluate(x + step * v))
            case "ab2":
                if before is None:
                    x = x + step * v
                else:
                    ratio = step / before[0] / 2
                    x = x + step * ((1 + ratio) * v - ratio * before[1])
                before = (step, v)
    between(done)
    return x


def refine(
    velocity: Velocity[Array],
    draft: Array,
    noise: Array,
    plan: SamplingPlan,
    between: Callable[[int], None] = lambda done: None,
) -> Array:
    """A better result from a draft, an estimate of time 1 that one or two evaluations made of the same `noise`.

    Starts at the plan's start t from `(1 - t) * noise + t * draft`, where a straight flow would be, and solves the
    rest: `plan_sampling(nfe=6, start=REFINE_FROM)` spends 6 evaluations on what is left. `velocity` answers for that
    plan's `times`. After a draft of one evaluation this equals an Euler step to t, so the draft costs nothing extra. A
    plan that starts at 0 uses nothing of the draft; of a fitted plan there is no such start.
    """
    start = plan.grid[0]
    blend: Array = noise * (1 - start) + draft * start
    return solve(velocity, blend, plan, between)


def noise(seeds: Sequence[int], n_frames: int, n_channels: int) -> npt.NDArray[np.float32]:
    """Standard normal values `(seed, frame, channel)`, the same on every machine and device.

    Philox counts, it has no state to differ in: frame f of a seed is the same whatever the clip's length and whatever
    other seeds are drawn with it. Made on the CPU, to be moved. Seeds are 0 to 2^64 - 1.
    """
    n_values = n_frames * n_channels
    out = np.empty((len(seeds), n_frames, n_channels), dtype=np.float32)
    for index, seed in enumerate(seeds):
        raw = np.random.Philox(key=seed).random_raw(n_values + n_values % 2).reshape(-1, 2)
        unit = ((raw >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
        radius, angle = np.sqrt(-2 * np.log(unit[:, 0])), 2 * np.pi * unit[:, 1]
        normal = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        out[index] = normal.reshape(-1)[:n_values].reshape(n_frames, n_channels)
    return out
