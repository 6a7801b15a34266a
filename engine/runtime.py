"""The small face every model wears, whatever runs it.

A model says what it can be asked (`plan`) and then answers with soft masks of the target on its own time-frequency
grid (`estimate`), window by window. Everything before (reading, resampling) and after (original channels and rate,
null, files) is the same code for all of them: `engine.separate`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from engine.audio import Samples
from engine.request import Quality, ScheduleName, Span
from engine.stereo import Mask
from engine.stft import Grid

Step = Callable[[float], None]
"""Called by a model with the fraction done (0 to 1) at least once a window; raises `Cancelled` to stop it."""


@dataclass(frozen=True)
class ModelCard:
    """What a model is."""

    name: str
    title: str
    kind: str
    """`mask` or `flow`."""
    version: str
    licence: str
    weights_sha256: str
    knows: str
    """What it can be asked for, in words for a person."""
    grid: Grid
    """Where its masks live; `grid.sample_rate` is the rate it hears, in Hz."""


@dataclass(frozen=True)
class Ask:
    """What a request asks of a model."""

    prompt: str
    spans: tuple[Span, ...] = ()
    """In seconds from the first sample the model hears."""
    quality: Quality = "fast"
    nfe: int | None = None
    seed: int = 0
    candidates: int = 1
    """Seeds tried, from `seed` on; the best by the scorers is kept."""
    mixture_key: str = ""
    """Names the audio it hears: equal keys mean equal samples, so what was computed of them can be kept. Empty: not."""
    schedule: ScheduleName = "auto"


@dataclass(frozen=True)
class Plan:
    """How a model will answer: what the manifest records, and what makes two results equal."""

    ask: Ask
    answered_as: str
    """The stem or phrase the prompt was taken for."""
    note: str
    """What a person should know of the answer ("this model takes all voices together"); may be empty."""
    nfe: int
    """Network evaluations per window: velocity calls of a flow model, 1 for a mask model."""
    schedule: str = ""
    """The solver and its steps, in words; empty for a mask model."""


class Model(Protocol):
    """An open model. `close` frees its memory; it is not used afterwards."""

    @property
    def card(self) -> ModelCard:
        """What it is."""

    @property
    def runtime(self) -> str:
        """What really runs it, such as `onnx:CPUExecutionProvider`."""

    @property
    def why(self) -> str:
        """Why this runtime, in a sentence; empty where there is no choice."""

    def plan(self, ask: Ask) -> Plan:
        """How it will answer; quick. Raises `StembridgeError` (`unsupported_prompt`, `unsupported_option`)."""

    def estimate(
        self,
        mixture: Iterable[Samples],
        channels: int,
        n_samples: int,
        plan: Plan,
        step: Step,
        *,
        wanted: tuple[int, int] | None = None,
    ) -> Iterator[Mask]:
        """Soft masks of the target.

        `mixture`: consecutive `(channel, sample)` blocks at `card.grid.sample_rate`, `n_samples` in all. Yields
        consecutive `(1 or channels, frame, bin)` blocks that cover `card.grid.n_frames(n_samples)` frames. `wanted`:
        first and end of the samples that are asked for; the masks of others may be anything.
        """

    def generate(self, mixture: Iterable[Samples], n_samples: int, plan: Plan, step: Step) -> Iterator[Samples]:
        """The model's own waveforms, for `output=generative`: consecutive `(2, sample)` blocks, target and generated
        residual, `n_samples` in all, at the rate it hears. Raises `StembridgeError` (`unsupported_option`) where a
        model has none."""

    def solve_ahead(self, mixture: Iterable[Samples], n_samples: int, plans: Sequence[Plan], step: Step) -> None:
        """Do what several asks of one mixture can share, in one batch, so that `estimate` or `generate` of each finds
        it done. `mixture` as for `estimate`. A model that gains nothing by it does nothing."""

    def hear_ahead(self, mixture: Iterable[Samples], n_samples: int, mixture_key: str, step: Step) -> None:
        """Do what every ask of one mixture needs, before any is known, so that the first finds it done. `mixture` as
        for `estimate`. A model that gains nothing by it does nothing."""

    def facts(self, plan: Plan) -> Mapping[str, Any]:
        """What the manifest should say of an answered plan besides."""

    def close(self) -> None:
        """Free it; safe to call twice."""
