"""From a mixture to solved states: encode once, follow the velocity for all asks in one batch, choose candidates."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from engine.audio import Samples
from engine.bundle import Bundle
from engine.errors import StembridgeError
from engine.flow.multidiffusion import STRIDE_S, WINDOW_S, WindowVelocity, cover, joint_velocity
from engine.flow.sampling import REFINE_FROM, noise, plan_sampling
from engine.flow.schedule import Schedule, choose_schedule
from engine.flow.scoring import EXCERPT_S, SCORERS, Candidate, Scorers, best, score
from engine.model.anchors import frame_tokens
from engine.runtime import Ask, Step

logger = logging.getLogger(__name__)

Latents = npt.NDArray[np.float32]
"""`(frame, channel)`"""
State = npt.NDArray[np.float32]
"""`(row, frame, 2 * channel)`: the target's latents, then the residual's."""

CHUNK_FRAMES: Final = 250
LEAST_WINDOW_S: Final = 5.0
"""Where memory does not suffice windows are halved, down to this length."""
CONTEXT_FRAMES: Final = 8
"""Latent frames a codec's frame hears on each side; `engine.model.codec` says why."""


class FlowRuntime(Protocol):
    """The stages of one model, whatever runs them; the solver's state stays on the runtime's own device."""

    @property
    def name(self) -> str:
        """What really runs it, such as `torch:cpu:fp32`."""

    @property
    def sample_rate(self) -> int:
        """Hz."""

    @property
    def hop(self) -> int:
        """Samples a latent frame."""

    @property
    def n_channels(self) -> int:
        """Latent channels of one waveform."""

    @property
    def max_frames(self) -> int:
        """The longest window the network hears."""

    def encode(self, waveform: Samples) -> Latents:
        """`(1, sample)`, its last frame perhaps not whole, → `(frame, channel)`."""

    def is_cut(self, prompt: str) -> bool:
        """Whether a prompt is longer than the text encoder hears."""

    def velocity(
        self, latents: Latents, tokens: npt.NDArray[np.int64], prompts: Sequence[str], times: Sequence[float]
    ) -> WindowVelocity[Any]:
        """The velocity of any window at any of the schedule's `times`, for states of one row a prompt.

        `latents` of the whole mixture; `tokens` `(row, frame)` as `engine.model.anchors` makes them.
        """

    def to_device(self, state: State) -> Any:
        """A solver's state."""

    def to_host(self, state: Any) -> State:
        """The reverse of `to_device`."""

    def decode(self, state: State, *, mark_seed: int | None) -> Iterator[Samples]:
        """One row's `(1, frame, 2 * channel)` → consecutive `(2, sample)` pieces, target and residual.

        `mark_seed` draws the watermark's message, where the model has one; None decodes without a watermark.
        """


@runtime_checkable
class WholeSolver(Protocol):
    """A runtime that can follow all evaluations of one window by itself."""

    def solve_whole(
        self,
        latents: Latents,
        tokens: npt.NDArray[np.int64],
        prompts: Sequence[str],
        schedule: Schedule,
        start: State,
    ) -> State | None:
        """What `schedule.solve` makes of `start`; None where evaluation by evaluation is the way after all."""


@dataclass(frozen=True)
class Heard:
    """What is kept of a mixture once it was encoded."""

    latents: Latents
    excerpt: Samples
    """Mono `(sample,)`, the first `EXCERPT_S` at most: what candidates are held against."""

    @property
    def n_bytes(self) -> int:
        """Memory it takes."""
        return self.latents.nbytes + self.excerpt.nbytes


@dataclass(frozen=True)
class Solved:
    """One ask's result before decoding."""

    state: State
    """`(1, frame, 2 * channel)`"""
    seed: int
    """Of the candidate that was kept."""
    scores: tuple[dict[str, float], ...]
    """Of every candidate, in the order of their seeds; empty when there was only one."""
    window_s: float | None = None
    """The windows it was solved in, where memory did not suffice for the usual ones."""


def hear(stages: FlowRuntime, mixture: Iterable[Samples], n_samples: int, step: Step) -> Heard:
    """Encode a stream of `(channel, sample)` blocks, averaged to mono."""
    kept: list[Samples] = []
    left = round(EXCERPT_S * stages.sample_rate)

    def mono() -> Iterator[Samples]:
        nonlocal left
        for block in mixture:
            mean = block.mean(axis=0, keepdims=True)
            kept.append(mean[0, :left])
            left -= kept[-1].shape[0]
            yield mean

    pieces, done = [], 0
    for piece in encode_stream(stages, mono()):
        pieces.append(piece)
        done += len(piece) * stages.hop
        step(min(done / n_samples, 1.0))
    return Heard(np.concatenate(pieces), np.concatenate(kept))


def encode_stream(stages: FlowRuntime, mono: Iterable[Samples]) -> Iterator[Latents]:
    """The latents of a stream of `(1, sample)` blocks in consecutive `(frame, channel)` pieces: what encoding it whole
    gives, in the memory of one chunk."""
    hop, context, chunk = stages.hop, CONTEXT_FRAMES * stages.hop, CHUNK_FRAMES * stages.hop
    held = np.zeros((1, 0), np.float32)
    left = 0
    for block in mono:
        held = np.concatenate([held, block], axis=1)
        while held.shape[1] >= left + chunk + context + hop:
            piece = stages.encode(held[:, : left + chunk + context])
            yield piece[left // hop : (left + chunk) // hop]
            held = held[:, left + chunk - context :]
            left = context
    if held.shape[1] > left:
        yield stages.encode(held)[left // hop :]


def draft_of(ask: Ask) -> Ask | None:
    """The ask whose result this one's is refined from; None where it begins with the noise, as it does where several
    candidates are tried: a draft is of one seed."""
    refines = ask.quality == "progressive" and ask.candidates == 1
    return replace(ask, quality="draft", nfe=None) if refines else None


def schedule_of(ask: Ask, bundle: Bundle | None = None) -> Schedule:
    """The solver and times of an ask of the model `bundle`; without one nothing was fitted to it.

    Raises `StembridgeError` as `choose_schedule` does, and `unsupported_option` where a draft cannot be refined so.
    """
    if draft_of(ask) is None:
        quality = "fast" if ask.quality == "progressive" else ask.quality
        return choose_schedule(bundle, ask.schedule, quality, ask.nfe)
    if ask.schedule not in ("auto", "uniform"):
        raise StembridgeError(
            "unsupported_option",
            f"A draft is refined on uniform steps, not on {ask.schedule}.",
            "Use the schedule auto or uniform, or another quality than progressive.",
        )
    return Schedule("uniform", plan_sampling(ask.quality, ask.nfe, start=REFINE_FROM))


def solve_asks(
    stages: FlowRuntime,
    heard: Heard,
    asks: Sequence[Ask],
    step: Step,
    scorers: Scorers = SCORERS,
    drafts: Sequence[State] = (),
    schedule: Schedule | None = None,
) -> list[Solved]:
    """Solve several asks of one mixture and one schedule in one batch, each with all its candidates.

    `drafts`: each ask's draft, where the schedule refines one. `schedule`: None takes the first ask's, nothing fitted.
    """
    rows = [replace(ask, seed=ask.seed + i) for ask in asks for i in range(ask.candidates)]
    schedule = schedule or schedule_of(asks[0])
    usual = min(round(WINDOW_S * stages.sample_rate / stages.hop), stages.max_frames, len(heard.latents))
    followed = _follow(stages, heard, rows, drafts, schedule, usual, step)
    solved, at = [], 0
    for ask in asks:
        mine = range(at, at + ask.candidates)
        at += ask.candidates
        judged = mine if ask.candidates > 1 else ()
        scores = [score(_excerpt(stages, followed[i][0], heard), ask, scorers) for i in judged]
        kept = mine[best(scores) if scores else 0]
        state, window = followed[kept]
        window_s = window * stages.hop / stages.sample_rate if window < usual else None
        solved.append(Solved(state, rows[kept].seed, tuple(scores), window_s))
    return solved


def _follow(
    stages: FlowRuntime,
    heard: Heard,
    rows: Sequence[Ask],
    drafts: Sequence[State],
    schedule: Schedule,
    window: int,
    step: Step,
) -> list[tuple[State, int]]:
    """Each row's state `(1, frame, 2 * channel)`, and the window in frames it was solved in.

    Where memory does not suffice, with half the rows at a time, then in windows of half the length.
    """
    least = round(LEAST_WINDOW_S * stages.sample_rate / stages.hop)
    try:
        states = _follow_at_once(stages, heard, rows, drafts, schedule, window, step)
        return [(states[i : i + 1], window) for i in range(len(rows))]
    except StembridgeError as e:
        if e.code != "out_of_memory" or (len(rows) == 1 and window <= least):
            raise
        smaller = "fewer at a time" if len(rows) > 1 else "windows of half the length"
        logger.warning("%s It goes on with %s.", e.text, smaller)
    # outside the handler: what it held is free now
    if len(rows) > 1:
        half = len(rows) // 2
        first = _follow(stages, heard, rows[:half], drafts[:half], schedule, window, lambda done: step(done / 2))
        return first + _follow(
            stages, heard, rows[half:], drafts[half:], schedule, window, lambda done: step(0.5 + done / 2)
        )
    return _follow(stages, heard, rows, drafts, schedule, max(window // 2, least), step)


def _follow_at_once(
    stages: FlowRuntime,
    heard: Heard,
    rows: Sequence[Ask],
    drafts: Sequence[State],
    schedule: Schedule,
    window: int,
    step: Step,
) -> State:
    n_frames = len(heard.latents)
    tokens = np.stack(
        [frame_tokens([(s.sign, s.start_s, s.end_s) for s in row.spans], n_frames, stages.hop) for row in rows]
    )
    windows = cover(n_frames, window, min(round(window * STRIDE_S / WINDOW_S), window))
    n_calls = schedule.nfe * len(windows)
    begin = noise([row.seed for row in rows], n_frames, 2 * stages.n_channels)
    if isinstance(stages, WholeSolver) and len(windows) == 1 and not drafts:
        step(0)
        whole = stages.solve_whole(heard.latents, tokens, [row.prompt for row in rows], schedule, begin)
        if whole is not None:
            return whole
    velocity = joint_velocity(
        stages.velocity(heard.latents, tokens, [row.prompt for row in rows], schedule.times),
        windows,
        n_frames,
        between=lambda number, index: step((number * len(windows) + index) / n_calls),
    )
    start = stages.to_device(begin)
    if drafts:
        return stages.to_host(schedule.refine(velocity, stages.to_device(np.concatenate(drafts)), start))
    return stages.to_host(schedule.solve(velocity, start))


def _excerpt(stages: FlowRuntime, state: State, heard: Heard) -> Candidate:
    n = len(heard.excerpt)
    made = np.concatenate(list(stages.decode(state[:, : -(-n // stages.hop)], mark_seed=None)), axis=1)[:, :n]
    return Candidate(heard.excerpt, made[0], made[1], stages.sample_rate)


def cuts(stages: FlowRuntime, prompt: str) -> str:
    """A note for the manifest when the prompt is longer than the text encoder hears; else empty."""
    return "The prompt is longer than the text encoder hears; its end was left out." if stages.is_cut(prompt) else ""
