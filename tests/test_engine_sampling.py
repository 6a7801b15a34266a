"""Solvers on velocities whose integrals are known, schedules, and the noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.flow.sampling import (
    EPSS,
    REFINE_FROM,
    SamplingPlan,
    noise,
    plan_epss,
    plan_sampling,
    refine,
    solve,
    swayed,
    uniform,
)

METHODS = ("euler", "midpoint", "heun", "ab2")


def run(plan, velocity, x=0.0):
    return solve(lambda state, number: velocity(state, plan.times[number]), x, plan)


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_velocity_is_carried_exactly(method):
    plan = SamplingPlan(method, uniform(4))
    assert run(plan, lambda x, t: 3.0, 1.0) == 4.0


@pytest.mark.parametrize("method", ["midpoint", "heun", "ab2"])
@pytest.mark.parametrize("grid", [uniform(5), (0.0, 0.1, 0.4, 0.5, 1.0)], ids=["uniform", "uneven"])
def test_second_order_solvers_integrate_a_line_in_time_exactly(method, grid):
    plan = SamplingPlan(method, grid)
    # x' = 2t, x(1) - x(0) = 1; AB2's first step is an Euler step, whose error is the square of its length
    first = grid[1] ** 2 if method == "ab2" else 0.0
    assert run(plan, lambda x, t: 2 * t) == pytest.approx(1.0 - first, abs=1e-14)


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2), ("ab2", 2)])
def test_the_error_falls_by_the_solvers_order(method, order):
    def error(n_steps):
        return abs(run(SamplingPlan(method, uniform(n_steps)), lambda x, t: x, 1.0) - math.e)

    fall = math.log2(error(64) / error(128))
    assert fall == pytest.approx(order, abs=0.1)


def test_every_solver_reaches_a_straight_flow_in_one_step():
    """A flow straight from noise z to data d, the ideal the model was trained for: x' = (d - x) / (1 - t)."""
    z, d = np.array([1.0, -2.0]), np.array([0.5, 3.0])
    for method in ("euler", "midpoint", "ab2"):
        assert np.allclose(run(SamplingPlan(method, uniform(1)), lambda x, t: (d - x) / (1 - t), z), d)


def test_the_reference_is_16_midpoint_steps_at_exact_times():
    plan = plan_sampling("best")
    assert plan.method == "midpoint"
    assert plan.nfe == 32
    assert plan.times == tuple(k / 32 for k in range(32))


@pytest.mark.parametrize(("quality", "nfe"), [("draft", 2), ("fast", 8), ("best", 32)])
def test_quality_names(quality, nfe):
    assert plan_sampling(quality).nfe == nfe
    assert plan_sampling(quality, nfe=5).nfe == 5


@pytest.mark.parametrize(("nfe", "method"), [(1, "euler"), (2, "midpoint"), (7, "ab2"), (8, "midpoint")])
def test_the_solver_fits_the_number(nfe, method):
    assert plan_sampling(nfe=nfe).method == method


@given(st.integers(1, 64), st.sampled_from(METHODS))
@settings(max_examples=60, deadline=None)
def test_nfe_counts_the_velocity_calls(n_steps, method):
    plan = SamplingPlan(method, uniform(n_steps))
    asked = []
    solve(lambda x, number: asked.append(number) or x, 1.0, plan)
    assert asked == list(range(plan.nfe))
    assert len(plan.times) == plan.nfe
    assert all(0 <= t <= 1 for t in plan.times)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"nfe": 0}, "nfe is 0"),
        ({"nfe": 257}, "nfe is 257"),
        ({"nfe": 3, "method": "midpoint"}, "an even number of evaluations, not 3"),
        ({"method": "rk45"}, "no solver 'rk45'"),
        ({"start": 1.0}, "start is 1.0"),
        ({"start": -0.1}, "start is -0.1"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        plan_sampling(**arguments)


@pytest.mark.parametrize("grid", [(0.0,), (0.0, 0.5), (-0.1, 1.0), (0.0, 0.6, 0.4, 1.0), (0.0, 0.5, 0.5, 1.0)])
def test_a_grid_rises_to_1(grid):
    with pytest.raises(ValueError, match="rises from 0 or later to 1"):
        SamplingPlan("euler", grid)


@given(st.integers(1, 40), st.floats(-1, 2 / (math.pi - 2)))
@settings(max_examples=100, deadline=None)
def test_a_swayed_grid_is_a_grid(n_steps, sway):
    grid = swayed(n_steps, sway)
    assert len(SamplingPlan("euler", grid).grid) == n_steps + 1


def test_sway_crowds_the_side_it_is_said_to():
    assert swayed(4, -1)[1] < 0.25 < swayed(4, 1)[1]
    assert swayed(4, 0.0) == uniform(4)
    with pytest.raises(ValueError, match="sway is"):
        swayed(4, -1.5)


def test_between_sees_every_evaluation_and_can_end_the_run():
    plan = SamplingPlan("heun", uniform(3))
    seen = []
    solve(lambda x, number: x, 1.0, plan, seen.append)
    assert seen == [0, 1, 2, 3, 4, 5, 6]

    class Stop(Exception):
        pass

    calls = []

    def stop(done):
        if done == 4:
            raise Stop

    with pytest.raises(Stop):
        solve(lambda x, number: calls.append(number) or x, 1.0, plan, stop)
    assert calls == [0, 1, 2, 3]


def test_noise_is_the_same_everywhere():
    # the published test vector of Philox4x64-10: key 0, counter 0; numpy counts before it draws
    words = np.random.Philox(key=0, counter=2**256 - 1).random_raw(4)
    assert [int(word) for word in words] == [
        0x16554D9ECA36314C,
        0xDB20FE9D672D0FDC,
        0xD7E772CEE186176B,
        0x7E68B68AEC7BA23B,
    ]
    # pinned: another value here makes every result that names a seed another result
    drawn = noise([0, 1, 2**63 - 1], 1, 4)
    pinned = [
        [0.15853384, 2.9828794, -1.925692, -0.82492554],
        [0.89744467, -1.2565397, 1.8905005, 0.37427148],
        [0.16367185, 0.35691893, -0.97547555, 0.08317266],
    ]
    assert drawn.dtype == np.float32
    np.testing.assert_allclose(drawn[:, 0], pinned, rtol=1e-6)
    assert np.array_equal(drawn, noise([0, 1, 2**63 - 1], 1, 4))


def test_noise_of_a_frame_does_not_depend_on_the_clip_or_the_other_seeds():
    long = noise([5, 6], 100, 3)
    assert np.array_equal(long[:, :37], noise([5, 6], 37, 3))
    assert np.array_equal(long[1:], noise([6], 100, 3))


def test_noise_is_normal():
    drawn = noise([9], 1000, 256).astype(np.float64).ravel()
    n = drawn.size
    assert abs(drawn.mean()) < 5 / math.sqrt(n)
    assert abs(drawn.var() - 1) < 5 * math.sqrt(2 / n)
    assert abs((drawn**4).mean() - 3) < 5 * math.sqrt(96 / n)
    assert abs(np.corrcoef(drawn[::2], drawn[1::2])[0, 1]) < 5 / math.sqrt(n / 2)
    assert np.abs(drawn).max() < 6


@pytest.mark.parametrize("nfe", EPSS)
def test_epss_spends_what_it_is_named_for_and_crowds_the_noise(nfe):
    plan = plan_epss(nfe)
    assert (plan.method, plan.nfe, plan.times[0]) == ("euler", nfe, 0.0)
    steps = np.diff(plan.grid)
    assert (np.diff(steps) >= 0).all()
    assert steps[0] < 1 / nfe


def test_epss_has_no_other_grids():
    with pytest.raises(ValueError, match="5, 6, 7, 10, 16 evaluations, not 8"):
        plan_epss(8)


# Refinement of a draft


def curved(z, d):
    """A flow from z to d that bends: x = (1 - t) z + t d + sin(pi t) (z - d) / 4, followed from wherever it is met."""

    def velocity(x, t):
        bend = np.sin(np.pi * t) / 4
        onto = (x - (t - bend) * d) / (1 - t + bend)  # the noise that would be here
        return (d - onto) + np.pi * np.cos(np.pi * t) / 4 * (onto - d)

    return velocity


@pytest.mark.parametrize("start", [0.0, 0.2, 0.5, 0.9])
def test_a_true_draft_of_a_straight_flow_is_kept(start):
    z, d = np.array([1.0, -2.0]), np.array([0.5, 3.0])
    plan = plan_sampling(nfe=4, start=start)
    refined = refine(lambda x, number: (d - x) / (1 - plan.times[number]), d, z, plan)
    assert np.allclose(refined, d, atol=1e-12)


def test_refining_from_the_noise_is_solving():
    z, d = np.array([1.0, -2.0]), np.array([0.5, 3.0])
    plan, velocity = plan_sampling(nfe=6), curved(z, d)

    def of(plan):
        return lambda x, number: velocity(x, plan.times[number])

    assert np.array_equal(refine(of(plan), d + 5, z, plan), solve(of(plan), z, plan))


def test_after_one_evaluation_refinement_is_an_euler_step_further():
    z, d = np.array([1.0, -2.0]), np.array([0.5, 3.0])
    velocity = curved(z, d)
    draft = z + velocity(z, 0.0)
    plan = plan_sampling(nfe=1, start=0.25)
    two_steps = SamplingPlan("euler", (0.0, 0.25, 1.0))
    assert plan.times == (0.25,)
    refined = refine(lambda x, number: velocity(x, plan.times[number]), draft, z, plan)
    assert np.allclose(refined, solve(lambda x, number: velocity(x, two_steps.times[number]), z, two_steps))


@given(st.floats(0, 0.99), st.sampled_from([1, 2, 5, 6]))
@settings(max_examples=50, deadline=None)
def test_a_refinement_counts_its_evaluations_and_stays_in_its_part_of_time(start, nfe):
    plan = plan_sampling(nfe=nfe, start=start)
    assert (plan.nfe, plan.times[0]) == (nfe, start)
    assert all(start <= t <= 1 for t in plan.times)


def test_refinement_mends_a_draft():
    z, d = np.array([1.0, -2.0]), np.array([0.5, 3.0])
    velocity = curved(z, d)
    draft = z + velocity(z, 0.0)
    plan = plan_sampling(nfe=6, start=REFINE_FROM)
    refined = refine(lambda x, number: velocity(x, plan.times[number]), draft, z, plan)
    assert np.abs(refined - d).max() < np.abs(draft - d).max() / 4
