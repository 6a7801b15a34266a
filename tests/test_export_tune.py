"""Fitted solvers: classic methods are points of their family, and a fit on a learned flow beats them at equal cost."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from engine.flow.fitted import FittedPlan, euler_as_fitted, midpoint_as_fitted, solve_fitted
from engine.flow.sampling import SamplingPlan, noise, plan_sampling, solve, uniform
from export.tune import Example, Trial, fit_weights, max_solves, mean_db, relative_error, search


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


# A fit


def example_of(velocity, z, n_steps=16):
    """The trajectory of `velocity(x, t)` from z by midpoint, as an example to fit to."""
    path, x = [z], z
    for k in range(n_steps):
        v = velocity(x, k / n_steps)
        x = x + velocity(x + v / (2 * n_steps), (k + 0.5) / n_steps) / n_steps
        path.append(x)
    return Example(np.stack(path), lambda times: lambda x, number: velocity(x, times[number]))


def test_a_straight_flow_is_fitted_exactly_by_one_evaluation() -> None:
    z, d = noise([1], 20, 4)[0], noise([2], 20, 4)[0]
    trial = fit_weights([example_of(lambda x, t: d - z, z)], (0.0,))
    assert trial.error < 1e-9
    assert np.allclose([*trial.plan.scales, *trial.plan.weights[0]], 1.0, atol=1e-4)


def test_a_fit_never_errs_more_than_the_classic_solver_on_the_same_times() -> None:
    z = np.concatenate(noise([4, 5], 50, 4))
    example = example_of(lambda x, t: np.cos(3 * x) - (1 + t) * x, z)
    for nfe in (2, 4, 8):
        classic = plan_sampling(nfe=nfe)
        made = solve(example.velocity(classic.times), z, classic)
        assert fit_weights([example], classic.times).error < relative_error(made, example.path[-1])


def test_the_trajectory_is_read_between_its_points() -> None:
    example = example_of(lambda x, t: np.full_like(x, 4 * t**3), np.zeros(3))
    for time in (0.0, 1 / 16, 0.3, 0.77, 1.0):
        assert np.allclose(example.at(time), time**4, atol=2e-3)
    assert np.array_equal(example.at(1.0), example.path[-1])


@pytest.mark.parametrize("nfe", [1, 2, 4, 8])
def test_the_search_keeps_to_its_budget_and_its_rules(nfe: int) -> None:
    z = np.concatenate(noise([4], 10, 2))
    example = example_of(lambda x, t: np.cos(3 * x) - (1 + t) * x, z)
    asked: list[tuple[float, ...]] = []

    def attempt(times):
        asked.append(times)
        return fit_weights([example], times)

    best = search(nfe, attempt)
    assert len(asked) == len(set(asked)) <= max_solves(nfe)
    assert best.plan.nfe == nfe
    assert best.error <= fit_weights([example], uniform(nfe)[:-1]).error
    assert all(b > a for a, b in pairwise((*best.plan.times, 1.0)))


def test_a_search_that_remembers_goes_on_where_it_was() -> None:
    z = np.concatenate(noise([4], 10, 2))
    example = example_of(lambda x, t: np.cos(3 * x) - (1 + t) * x, z)
    kept: dict[tuple[float, ...], dict] = {}
    fresh: list[int] = []

    def attempt(times):
        if times not in kept:
            if len(fresh) == 10:
                raise KeyboardInterrupt
            fresh.append(1)
            kept[times] = fit_weights([example], times).to_dict()
        return Trial.from_dict(kept[times])

    with pytest.raises(KeyboardInterrupt):
        search(4, attempt)
    stops = 1
    while True:
        fresh.clear()
        try:
            resumed = search(4, attempt)
        except KeyboardInterrupt:
            stops += 1
        else:
            break
    whole: list[int] = []
    assert resumed.plan == search(4, lambda times: whole.append(1) or fit_weights([example], times)).plan
    assert len(kept) == len(whole)
    assert stops == (len(whole) - 1) // 10


@pytest.fixture(scope="module")
def flow():
    """A small flow, learned: noise to a ring of eight clusters, told the angle's half (as a mixture tells a
    separation model most of what there is)."""
    import torch
    from torch import nn

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so small a network is only slowed down by more
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2))
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    rng = np.random.default_rng(0)
    for _ in range(1500):
        z, data, told = map(torch.from_numpy, examples(256, rng))
        t = torch.rand(256, 1)
        x = (1 - t) * z + t * data
        loss = (net(torch.cat([x, told, t], 1)) - (data - z)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    torch.set_num_threads(threads)
    layers = [values.detach().numpy() for values in net.parameters()]

    def velocity(x, told, t):
        x = np.concatenate([x, told, np.full((len(x), 1), t)], 1, dtype=np.float32)
        for weight, bias in zip(layers[0::2], layers[1::2], strict=True):
            x = x @ weight.T + bias
            x = x / (1 + np.exp(-x)) if weight is not layers[-2] else x
        return x

    return velocity


def examples(n, rng):
    angle = rng.integers(0, 8, (n, 1)) * np.pi / 4
    data = np.concatenate([2 * np.cos(angle), 2 * np.sin(angle)], 1) + 0.1 * rng.standard_normal((n, 2))
    told = np.where(np.concatenate([np.cos(angle), np.sin(angle)], 1) > -1e-6, 1.0, -1.0)
    return tuple(a.astype(np.float32) for a in (rng.standard_normal((n, 2)), data, told))


@pytest.mark.torch
def test_four_fitted_evaluations_err_at_most_half_of_midpoints(flow) -> None:
    z, _, told = examples(2048, np.random.default_rng(1))
    seen, unseen = slice(0, 512), slice(512, 2048)

    def example(which):
        return example_of(lambda x, t: flow(x, told[which], t), z[which])

    tuned = search(4, lambda times: fit_weights([example(seen)], times))
    other = example(unseen)

    def error(made):
        return float(np.sqrt(np.square(made - other.path[-1]).mean()))

    fitted = error(solve_fitted(other.velocity(tuned.plan.times), z[unseen], tuned.plan))
    classic = plan_sampling(nfe=4)
    midpoint = error(solve(other.velocity(classic.times), z[unseen], classic))
    print(f"\n4 NFE on a learned flow, RMS error to 32 NFE: midpoint {midpoint:.4f}, fitted {fitted:.4f}")
    assert fitted <= midpoint / 2


def test_decibels_of_errors() -> None:
    assert mean_db([1e-2, 1e-4]) == pytest.approx(30)
    assert mean_db([0.0]) == pytest.approx(120)
