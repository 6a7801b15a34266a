"""What a GPU's figures are held against: the targets of an H200-class device, the floors of its own ceilings, and
where the time of a separation goes.

Floors are made from what was measured in the same run: operations over the matrix rate, or weights over the bandwidth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

Figures = Mapping[str, Any]
"""What `benchmarks.gpu` writes: part → name with its unit → value."""


@dataclass(frozen=True)
class Target:
    """One aim, for 10 s of mono audio, warm, on a device of H200's class."""

    size: str
    what: str
    """`evaluation`, or `end to end` with a number of evaluations."""
    nfe: int | None
    target_ms: float


TARGETS: Final = (
    Target("large", "end to end", 8, 50.0),
    Target("large", "evaluation", None, 4.5),
    Target("small", "end to end", 4, 17.0),
)
_RUNS: Final = ("eager", "graph", "compiled graph", "tensorrt")


def held(facts: Figures) -> Iterator[tuple[str, dict[str, float | str | None]]]:
    """Each target that can be told: the best run's milliseconds, its ratio to the target and to the floor."""
    for target in TARGETS:
        found = dict(_runs(facts.get(target.size, {}), target))
        if not found:
            continue
        run = min(found, key=lambda name: found[name])
        floor = floor_ms(facts, target.size, target.nfe)
        name = target.what if target.nfe is None else f"{target.what}, {target.nfe} NFE"
        yield (
            f"{target.size}: {name}",
            {
                "run": run,
                "ms": found[run],
                "target_ms": target.target_ms,
                "of_target": found[run] / target.target_ms,
                "floor_ms": floor,
                "of_floor": None if floor is None else found[run] / floor,
            },
        )


def floor_ms(facts: Figures, size: str, nfe: int | None) -> float | None:
    """Least time of one evaluation (`nfe` None), or of encode, `nfe` evaluations and a decode of one stream."""
    evaluation = facts.get(size, {}).get("fp16 floor, batch 1 [ms]")
    codec = [facts.get("codec", {}).get(f"fp16 {what} floor [ms]") for what in ("encode", "decode 1 stream")]
    if evaluation is None or nfe is None:
        return None if evaluation is None else float(evaluation)
    if None in codec:
        return None
    return float(nfe * evaluation + sum(codec))


def shares(facts: Figures, size: str, nfe: int) -> dict[str, float]:
    """Where a separation's time goes, in milliseconds of fp16 graphs; empty where a part was not measured."""
    codec, own = facts.get("codec", {}), facts.get(size, {})
    parts = {
        "encode": codec.get("fp16 encode graph [ms]"),
        "evaluations": own.get("fp16 evaluation graph, batch 1 [ms]"),
        "decode": codec.get("fp16 decode 1 stream graph [ms]"),
        "whole": own.get(f"end to end graph, {nfe} NFE [ms]"),
    }
    if any(value is None for value in parts.values()):
        return {}
    found = {name: float(value) for name, value in parts.items() if value is not None}
    found["evaluations"] *= nfe
    whole = found.pop("whole")
    return {**found, "the rest": whole - sum(found.values())}


def _runs(figures: Figures, target: Target) -> Iterator[tuple[str, float]]:
    for run in _RUNS:
        if run == "tensorrt":
            names = [f"tensorrt fp16 10 s, {target.nfe} NFE" if target.nfe else "tensorrt fp16 velocity"]
        elif target.nfe is None:
            names = [f"{precision} {target.what} {run}, batch 1" for precision in ("fp16", "fp32")]
        else:
            names = [f"{target.what} {run}, {target.nfe} NFE"]
        for name in names:
            if f"{name} [ms]" in figures:
                yield name, float(figures[f"{name} [ms]"])
