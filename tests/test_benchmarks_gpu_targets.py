"""A GPU's figures beside their targets and floors, and where the time goes: arithmetic on what was written."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.gpu_targets import TARGETS, floor_ms, held, shares

FACTS: dict[str, Any] = {
    "codec": {
        "fp16 encode floor [ms]": 0.6,
        "fp16 decode 1 stream floor [ms]": 1.4,
        "fp16 encode graph [ms]": 4.0,
        "fp16 decode 1 stream graph [ms]": 8.0,
    },
    "large": {
        "fp16 floor, batch 1 [ms]": 1.6,
        "fp32 evaluation graph, batch 1 [ms]": 20.0,
        "fp16 evaluation graph, batch 1 [ms]": 5.0,
        "fp16 evaluation compiled graph, batch 1 [ms]": 4.0,
        "end to end eager, 8 NFE [ms]": 90.0,
        "end to end graph, 8 NFE [ms]": 54.0,
        "tensorrt fp16 10 s, 8 NFE [ms]": 45.0,
    },
}


def test_the_best_run_is_held_against_target_and_floor() -> None:
    found = dict(held(FACTS))
    assert set(found) == {"large: end to end, 8 NFE", "large: evaluation"}
    whole = found["large: end to end, 8 NFE"]
    assert whole["run"] == "tensorrt fp16 10 s, 8 NFE"
    assert (whole["ms"], whole["of_target"]) == (45.0, pytest.approx(0.9))
    assert whole["floor_ms"] == pytest.approx(8 * 1.6 + 2.0)
    assert whole["of_floor"] == pytest.approx(45.0 / 14.8)
    assert found["large: evaluation"]["run"] == "fp16 evaluation compiled graph, batch 1"
    assert found["large: evaluation"]["of_floor"] == pytest.approx(2.5)


def test_every_size_that_has_a_target_is_released() -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    from engine.model.config import RELEASED

    assert {target.size for target in TARGETS} <= set(RELEASED)


def test_the_time_goes_where_it_was_measured_and_nothing_is_made_up() -> None:
    assert shares(FACTS, "large", 8) == {"encode": 4.0, "evaluations": 40.0, "decode": 8.0, "the rest": 2.0}
    assert shares(FACTS, "large", 4) == {}
    assert shares({}, "small", 8) == {}
    assert floor_ms({}, "large", 8) is None
    assert floor_ms({"large": FACTS["large"]}, "large", 8) is None
    assert list(held({})) == []
