"""A flow model's results with few evaluations against its own with 32, from the same noise, by solver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np

from engine.audio import Samples
from engine.bundle import Bundle
from engine.flow.fitted import read_fitted
from engine.flow.sampling import EPSS, SamplingPlan, plan_sampling, uniform
from engine.flow.schedule import Schedule, classic
from engine.flow.solve import FlowRuntime, State, hear, solve_asks
from engine.metrics import sdr_db, si_sdr_db
from engine.quality.clips import Clip
from engine.quality.measures import log_mel_db, mr_stft
from engine.runtime import Ask

REFERENCE: Final = Schedule("uniform", plan_sampling("best"))
Step = Callable[[float], None]


@dataclass(frozen=True)
class Distance:
    """How far a solver's results are from the reference's, means over the clips."""

    solver: str
    nfe: int
    latent_snr_db: float
    """Of target and residual latents; `inf` where they are equal."""
    si_sdr_db: float
    """Of the decoded target; the reference's decoded target is the reference, not the truth."""
    log_mel_db: float
    mr_stft: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; None for infinity."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in values.items()}


def solvers(bundle: Bundle, nfe: int) -> dict[str, Schedule]:
    """What can spend `nfe` evaluations on a model, by name."""
    found = {"euler": Schedule("uniform", SamplingPlan("euler", uniform(nfe)))}
    if nfe > 1:
        found["ab2"] = Schedule("uniform", SamplingPlan("ab2", uniform(nfe)))
    if nfe % 2 == 0:
        found["midpoint"] = Schedule("uniform", plan_sampling(nfe=nfe, method="midpoint"))
        found["heun"] = Schedule("uniform", plan_sampling(nfe=nfe, method="heun"))
    if nfe > 2:
        found["sway"] = classic("sway", nfe)
    if nfe in EPSS:
        found["epss"] = classic("epss", nfe)
    fitted = read_fitted(bundle, nfe)
    return found if fitted is None else found | {"fitted": Schedule("fitted", fitted)}


def measure(
    bundle: Bundle, stages: FlowRuntime, clips: Sequence[Clip], prompts: Sequence[str], nfes: Sequence[int], step: Step
) -> list[Distance]:
    """Every solver at every number of evaluations; clip i is asked for prompt i. Raises as the model does."""
    asked = [(name, schedule) for nfe in nfes for name, schedule in solvers(bundle, nfe).items()]
    total = len(clips) * (REFERENCE.nfe + sum(schedule.nfe for _, schedule in asked))
    spent = 0
    found: dict[tuple[str, int], list[tuple[float, ...]]] = {}
    for number, clip in enumerate(clips):
        n = clip.samples.shape[1]
        heard = hear(stages, [clip.samples], n, lambda share: None)
        ask = Ask(prompts[number % len(prompts)], seed=number)

        def result(schedule: Schedule, heard: Any = heard, ask: Ask = ask, n: int = n) -> tuple[State, Samples]:
            nonlocal spent
            begun = spent

            def during(share: float) -> None:
                step((begun + share * schedule.nfe) / total)

            (solved,) = solve_asks(stages, heard, [ask], during, schedule=schedule)
            spent += schedule.nfe
            pieces = list(stages.decode(solved.state, mark_seed=None))
            return solved.state, np.concatenate(pieces, axis=1)[:1, :n]

        exact, wanted = result(REFERENCE)
        for name, schedule in asked:
            state, made = result(schedule)
            found.setdefault((name, schedule.nfe), []).append(
                (
                    sdr_db(state, exact),
                    si_sdr_db(made, wanted),
                    log_mel_db(made, wanted, stages.sample_rate),
                    mr_stft(made, wanted),
                )
            )
    return [Distance(name, nfe, *map(float, np.mean(rows, axis=0))) for (name, nfe), rows in found.items()]
