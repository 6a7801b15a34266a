"""Fitted solvers: classic methods are points of their family, and a fit on a learned flow beats them at equal cost."""

from __future__ import annotations

import os

import numpy as np
import pytest

from engine.flow.fitted import FittedPlan, euler_as_fitted, midpoint_as_fitted, solve_fitted
from engine.flow.sampling import SamplingPlan, noise, plan_sampling, solve, uniform

if not os.environ.get("CI"):
    pytest.importorskip("torch", reason="torch is not installed")

import torch
from torch import Tensor, nn

from export.tune import fit

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("n_steps", [1, 2, 3, 8])
def test_classic_methods_are_points_of_the_family(n_steps: int) -> None:
    start = noise([3], 20, 4)
    for method, plan in (("midpoint", midpoint_as_fitted(n_steps)), ("euler", euler_as_fitted(n_steps))):
        classic = SamplingPlan(method, uniform(n_steps))
        assert plan.nfe == classic.nfe
        assert np.allclose(plan.times, classic.times)

        def velocity(x, number, times=classic.times):
            return np.sin(3 * x) - times[number] * x

        assert np.abs(solve_fitted(velocity, start, plan) - solve(velocity, start, classic)).max() < 1e-5


def test_a_plan_survives_its_file_and_takes_few_numbers() -> None:
    plan = midpoint_as_fitted(4)
    assert FittedPlan.from_dict(plan.to_dict()) == plan
    assert len(plan.times) - 1 + len(plan.scales) + sum(map(len, plan.weights)) == 51


@pytest.mark.parametrize(
    "values",
    [
        {"times": [], "scales": [], "weights": []},
        {"times": [0.0], "scales": [1.0], "weights": [[1.0, 2.0]]},
        {"times": [0.0], "scales": [float("nan")], "weights": [[1.0]]},
        {"times": [0.1], "scales": [1.0], "weights": [[1.0]]},
        {"times": [0.0, 1.5], "scales": [1.0, 1.0], "weights": [[1.0], [1.0, 1.0]]},
        {"times": [0.0], "scales": [1.0]},
    ],
)
def test_what_is_no_plan_is_refused(values: dict) -> None:
    with pytest.raises((ValueError, KeyError)):
        FittedPlan.from_dict(values)


def test_between_is_told_of_every_evaluation() -> None:
    told: list[int] = []
    solve_fitted(lambda x, number: x, np.ones(2), euler_as_fitted(3), told.append)
    assert told == [0, 1, 2, 3]


@pytest.fixture(scope="module")
def flow() -> nn.Module:
    """A small flow, learned: noise to a ring of eight clusters, told the angle's half (as a mixture tells a
    separation model most of what there is)."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2))
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(1500):
        z, data, told = examples(256)
        t = torch.rand(256, 1)
        x = (1 - t) * z + t * data
        loss = (net(torch.cat([x, told, t], 1)) - (data - z)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return net.requires_grad_(requires_grad=False)


def examples(n: int) -> tuple[Tensor, Tensor, Tensor]:
    angle = torch.randint(0, 8, (n, 1)) * torch.pi / 4
    data = torch.cat([2 * angle.cos(), 2 * angle.sin()], 1) + 0.1 * torch.randn(n, 2)
    return torch.randn(n, 2), data, torch.cat([angle.cos().sign(), angle.sin().sign()], 1)


def test_four_fitted_evaluations_err_at_most_half_of_midpoints(flow: nn.Module) -> None:
    torch.manual_seed(1)
    z, _, told = examples(768)

    def field(x: Tensor, t: Tensor, which: slice) -> Tensor:
        return flow(torch.cat([x, told[which], t.expand(len(x), 1)], 1))

    def follow(start: Tensor, condition: Tensor, plan: SamplingPlan) -> Tensor:
        def velocity(x: Tensor, number: int) -> Tensor:
            return flow(torch.cat([x, condition, torch.full((len(x), 1), plan.times[number])], 1))

        return solve(velocity, start, plan)

    wanted = follow(z, told, plan_sampling(nfe=32))
    seen = 512  # the rest is seen by nobody: neither fitted to nor held out
    tuned = fit(field, z[:seen], wanted[:seen], 4, steps=800)
    assert tuned.held_out_db > tuned.began_at_db

    def velocity(x: Tensor, number: int) -> Tensor:
        return flow(torch.cat([x, told[seen:], torch.full((len(x), 1), tuned.plan.times[number])], 1))

    fitted = (solve_fitted(velocity, z[seen:], tuned.plan) - wanted[seen:]).square().mean().sqrt()
    midpoint = (follow(z[seen:], told[seen:], plan_sampling(nfe=4)) - wanted[seen:]).square().mean().sqrt()
    print(f"\n4 NFE on a learned flow, RMS error to 32 NFE: midpoint {midpoint:.4f}, fitted {fitted:.4f}")
    assert fitted <= midpoint / 2


def test_too_few_examples_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        fit(lambda x, t, which: x, torch.ones(1, 2), torch.ones(1, 2), 2)
