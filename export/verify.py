"""An export against the network it was made from: every stage alone, a full solve, and what is heard of it.

Both are given the same seeded inputs. Stages are compared at several lengths, the shortest and lengths that were never
traced among them, because one graph serves all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import torch

from engine.artefact import Artefact
from engine.bundle import Bundle
from engine.errors import StembridgeError
from engine.flow.solve import FlowRuntime, Heard, hear, solve_asks
from engine.manifest import stembridge_version
from engine.request import Span
from engine.runtime import Ask
from engine.runtimes.graph_flow import load_tokenizer
from engine.runtimes.onnx_flow import OnnxFlow
from engine.runtimes.torch_runtime import TorchFlow
from export.parts import Parts
from export.stages import SOLVED, SOUNDED, ExportPrecision, Tolerance, Values, axes, example_inputs, stages_of

Floats = npt.NDArray[np.float32]

LENGTHS: Final[Sequence[Mapping[str, int]]] = (
    {"batch": 1, "frame": 1, "token": 1, "time": 1, "prompt": 1},
    {"batch": 2, "frame": 25, "token": 7, "time": 4, "prompt": 2},
    {"batch": 3, "frame": 62, "token": 13, "time": 2, "prompt": 1},
)
"""Within every model's limits; 62 frames are 2.5 s."""
CLIP_S: Final = 2.0
NFE: Final = 4
REFERENCE_NFE: Final = 32
PROMPTS: Final = ("lead vocals", "acoustic guitar with a long reverb")


@dataclass(frozen=True)
class Check:
    """One comparison, over all lengths that were tried."""

    what: str
    max_error: float
    snr_db: float
    cosine: float
    tolerance: Tolerance

    @property
    def holds(self) -> bool:
        """Whether it is within its tolerance; what is not a number is not."""
        asked = self.tolerance
        return (
            (asked.max_error is None or self.max_error <= asked.max_error)
            and (asked.snr_db is None or self.snr_db >= asked.snr_db)
            and (asked.cosine is None or self.cosine >= asked.cosine)
        )


@dataclass(frozen=True)
class Report:
    """What was measured."""

    checks: tuple[Check, ...]
    few_step_error_db: float | None
    """SNR of the network's own solve of `NFE` evaluations against its solve of `REFERENCE_NFE`, in dB; what a
    quantised export's solve must beat to be a default. Asked of int8 alone."""

    @property
    def holds(self) -> bool:
        """Whether every check does."""
        return all(check.holds for check in self.checks)

    @property
    def below_few_step_error(self) -> bool:
        """Whether the export's error is below what few evaluations cost anyway."""
        solved = next(check for check in self.checks if check.what == "solve")
        return self.holds and self.few_step_error_db is not None and solved.snr_db > self.few_step_error_db

    def to_dict(self) -> dict[str, Any]:
        """For the artefact's manifest."""
        return {
            "holds": self.holds,
            "below_few_step_error": self.below_few_step_error,
            "few_step_error_db": self.few_step_error_db,
            "nfe": NFE,
            "clip_s": CLIP_S,
            "stembridge": stembridge_version(),
            "checks": [{**_finite(asdict(check)), "holds": check.holds} for check in self.checks],
        }


class Staged(FlowRuntime, Protocol):
    """A runtime whose stages can be run one by one."""

    def has(self, stage: str) -> bool:
        """Whether it has a stage of that name."""

    def run_stage(self, stage: str, **inputs: Any) -> list[Floats]:
        """The outputs of one stage."""


def verify(
    parts: Parts,
    bundle: Bundle,
    artefact: Artefact,
    text_folder: Path,
    *,
    threads: int = 0,
    opened: Staged | None = None,
) -> Report:
    """Compare an export with the float32 network. `opened`: the export, where it is not for onnxruntime.

    Raises `StembridgeError` when its graphs cannot be opened.
    """
    precision: ExportPrecision = artefact.precision  # type: ignore[assignment]
    opened = opened or OnnxFlow(bundle, artefact, load_tokenizer(text_folder), threads=threads)
    checks = _stage_checks(parts, opened, precision)
    reference = TorchFlow(bundle, text_folder, device="cpu")
    heard = hear(reference, [_clip(reference.sample_rate)], round(CLIP_S * reference.sample_rate), lambda done: None)
    exact, other = (_solve(runtime, heard, NFE) for runtime in (reference, opened))
    checks.append(compare("solve", [(exact, other)], SOLVED[precision]))
    sounds = [
        (
            np.concatenate(list(reference.decode(exact[row : row + 1], mark_seed=None)), axis=1),
            np.concatenate(list(opened.decode(other[row : row + 1], mark_seed=None)), axis=1),
        )
        for row in range(len(exact))
    ]
    checks.append(compare("solve and decode", sounds, SOUNDED[precision]))
    few = None
    if precision == "int8":
        few = compare("few", [(_solve(reference, heard, REFERENCE_NFE), exact)], Tolerance()).snr_db
    return Report(tuple(checks), few)


def _stage_checks(parts: Parts, opened: Staged, precision: ExportPrecision) -> list[Check]:
    limits = axes(parts.network.sizes)
    stages = [stage for stage in stages_of(parts.network.sizes) if opened.has(stage.name)]
    pairs: dict[str, list[tuple[Floats, Floats]]] = {stage.name: [] for stage in stages}
    for seed, lengths in enumerate(LENGTHS):
        fitting = {axis: min(length, limits[axis].high) for axis, length in lengths.items()}
        inputs = example_inputs(parts.modules, parts.network.sizes, fitting, seed)
        for stage in stages:
            with torch.inference_mode():
                exact = parts.modules[stage.name](*inputs[stage.name].values())
            exact = (exact,) if isinstance(exact, torch.Tensor) else exact
            got = run_stage(opened, stage.name, inputs[stage.name])
            for a, b in zip(exact, got, strict=True):
                pairs[stage.name].append((a.numpy(), np.asarray(b, np.float32)))
    return [compare(stage.name, pairs[stage.name], stage.tolerances[stage.precision(precision)]) for stage in stages]


def run_stage(opened: Staged, stage: str, inputs: Values) -> list[Floats]:
    """One stage's graph on the network's own inputs, cast where the graph wants halves."""
    return opened.run_stage(stage, **{name: value.numpy() for name, value in inputs.items()})


def compare(what: str, pairs: Sequence[tuple[Floats, Floats]], tolerance: Tolerance) -> Check:
    """The worst of several (exact, other) arrays. Anything not finite, or of another shape, is an infinite error."""
    worst = Check(what, 0.0, math.inf, 1.0, tolerance)
    for exact, other in pairs:
        if exact.shape != other.shape or not np.isfinite(other).all():
            return replace(worst, max_error=math.inf, snr_db=-math.inf, cosine=-1.0)
        a, b = exact.astype(np.float64).ravel(), other.astype(np.float64).ravel()
        error, power = float(np.square(a - b).sum()), float(np.square(a).sum())
        snr_db = math.inf if error == 0 else 10 * math.log10(max(power, 1e-30) / error)
        norms = math.sqrt(power * float(np.square(b).sum()))
        cosine = float(a @ b) / norms if norms else float(error == 0)
        worst = replace(
            worst,
            max_error=max(worst.max_error, float(np.abs(a - b).max())),
            snr_db=min(worst.snr_db, snr_db),
            cosine=min(worst.cosine, cosine),
        )
    return worst


def refuse(report: Report, name: str, precision: str) -> None:
    """Raises `StembridgeError` (`not_equal`) naming every check that is past its tolerance."""
    failed = [check for check in report.checks if not check.holds]
    if failed:
        said = "; ".join(
            f"{c.what}: error {c.max_error:.2g}, SNR {c.snr_db:.1f} dB, cosine {c.cosine:.6f}, where "
            + " and ".join(f"{key} {value:g}" for key, value in asdict(c.tolerance).items() if value is not None)
            + " is asked"
            for c in failed
        )
        raise StembridgeError(
            "not_equal",
            f"The {precision} export of {name} differs too much from the model: {said}.",
            "It is not used. Export another precision, or use the tested versions of torch and onnxruntime.",
        )


def _solve(runtime: FlowRuntime, heard: Heard, nfe: int) -> Floats:
    asks = [Ask(prompt, nfe=nfe, seed=index) for index, prompt in enumerate(PROMPTS)]
    asks[0] = replace(asks[0], spans=(Span("+", 0.3, 1.1),))
    return np.concatenate([solved.state for solved in solve_asks(runtime, heard, asks, lambda done: None)])


def _clip(sample_rate: int) -> Floats:
    """A chord that fades, and noise: `(1, sample)`, seeded."""
    n = round(CLIP_S * sample_rate)
    t = np.arange(n) / sample_rate
    chord = sum(np.sin(2 * np.pi * f * t) for f in (220.0, 277.2, 329.6, 1760.0))
    noise = np.random.Generator(np.random.Philox(7)).standard_normal(n)
    return (0.1 * chord * np.exp(-t) + 0.02 * noise).astype(np.float32)[None]


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: a value that is not finite is null."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in values.items()
    }
