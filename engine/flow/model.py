"""Models that generate target and residual together by following a velocity from noise: SAM Audio's kind.

mixture → codec latents → solve (noise, schedule, prompt, spans) → codec → target and residual waveforms, mono. What is
returned of them is a soft mask, the ratio of their powers on a time-frequency grid, which the engine lays on the
original channels at the original rate; or, when asked, the waveforms themselves.

What was heard and what was solved is kept while it fits: a second prompt on the same audio costs no encode, and asks
that were solved ahead in one batch cost nothing but their decode.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.audio import Samples
from engine.bundle import Bundle, read_bundle
from engine.errors import StembridgeError
from engine.flow import clap
from engine.flow.careful import Careful
from engine.flow.schedule import Schedule
from engine.flow.scoring import SCORERS, Scorers
from engine.flow.solve import (
    CONTEXT_FRAMES,
    FlowRuntime,
    Heard,
    Solved,
    cuts,
    draft_of,
    hear,
    schedule_of,
    solve_asks,
)
from engine.runtime import Ask, ModelCard, Plan, Step
from engine.stereo import Mask
from engine.stft import Analysis, Grid

KNOWS: Final = "any sound that a lowercase noun or verb phrase names, and spans"
CACHE_BYTES: Final = 256 << 20
"""Of each: what was heard, and what was solved."""
CLAP_WEIGHT: Final = 2.0
"""Beside those of `engine.flow.scoring`; not tuned."""
_N_FFT: Final = 2_048
_HOP: Final = 512
_TINY: Final = np.float32(1e-10)
_ENCODE, _SOLVE = 0.1, 0.7
"""Shares of a separation's progress; the rest is decoding."""


class FlowModel:
    """A bundle of kind `flow`, opened. See `engine.runtime.Model` for the contract of each method."""

    def __init__(self, bundle: Bundle, runtime: FlowRuntime, *, note: str = "", why: str = "") -> None:
        """`note`: what every manifest should say of how it was opened; `why`: why this runtime; both may be empty."""
        self._note = note
        self._why = why
        self._stages: FlowRuntime | None = runtime
        self._runtime = runtime.name
        self.card = ModelCard(
            name=bundle.name,
            title=bundle.title,
            kind=bundle.kind,
            version=bundle.version,
            licence=bundle.licence,
            weights_sha256=bundle.weights_sha256,
            knows=KNOWS,
            grid=Grid(runtime.sample_rate, _N_FFT, _HOP),
        )
        self._folder = bundle.folder
        self._clap_folder = bundle.folder.parent / "clap"
        self._clap: clap.ClapScorer | None = None
        self._heard: OrderedDict[str, Heard] = OrderedDict()
        self._solved: OrderedDict[_Key, Solved] = OrderedDict()
        self._schedules: dict[str, tuple[Schedule, ...]] = {}

    def close(self) -> None:
        self._stages = None
        self._heard.clear()
        self._solved.clear()

    @property
    def stages(self) -> FlowRuntime:
        """The stages themselves, for what follows trajectories of its own: tuning and measurements."""
        return self._open()

    @property
    def why(self) -> str:
        return f"{self._why} {self._note}".strip()

    @property
    def runtime(self) -> str:
        return self._runtime if self._stages is None else self._stages.name

    def plan(self, ask: Ask) -> Plan:
        bundle = read_bundle(self._folder)  # anew: it may have been tuned since it was opened
        schedules = tuple(schedule_of(one, bundle) for one in (draft_of(ask), ask) if one is not None)
        words = ", then ".join(schedule.words for schedule in schedules)
        self._schedules[words] = schedules
        note = f"{cuts(self._open(), ask.prompt)} {self._note}".strip()
        return Plan(ask, ask.prompt, note, sum(schedule.nfe for schedule in schedules), words)

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
        analysis = Analysis(self.card.grid, 2)
        first, end = wanted or (0, n_samples)
        reach = 2 * self.card.grid.n_fft  # of the transforms that make and apply a mask
        audible = (max(first - reach, 0), min(end + reach, n_samples))
        for piece in self._waveforms(mixture, n_samples, plan, step, audible, mark=False):
            frames = analysis.push(piece)
            if frames.shape[1]:
                yield _ratio(frames)
        yield _ratio(analysis.finish())

    def generate(self, mixture: Iterable[Samples], n_samples: int, plan: Plan, step: Step) -> Iterator[Samples]:
        # all of it: the watermark is laid over the whole
        return self._waveforms(mixture, n_samples, plan, step, (0, n_samples), mark=True)

    def solve_ahead(self, mixture: Iterable[Samples], n_samples: int, plans: Sequence[Plan], step: Step) -> None:
        left = [plan for plan in plans if _key(plan) not in self._solved]
        self._solve(mixture, n_samples, left, lambda fraction: step((_ENCODE + _SOLVE) * fraction))

    def hear_ahead(self, mixture: Iterable[Samples], n_samples: int, mixture_key: str, step: Step) -> None:
        self._hear(mixture, n_samples, mixture_key, step)

    def facts(self, plan: Plan) -> Mapping[str, Any]:
        solved = self._solved.get(_key(plan))
        told: dict[str, Any] = {"runtime_reason": self._why} if self._why else {}
        if isinstance(self._stages, Careful) and self._stages.note:
            told |= {"redone": self._stages.name, "note": f"{plan.note} {self._stages.note}".strip()}
        if solved is not None and solved.scores:
            told |= {"candidates": len(solved.scores), "kept_seed": solved.seed, "scores": list(solved.scores)}
        if solved is not None and solved.window_s is not None:
            short = f"Memory did not suffice for the usual windows; it was solved in windows of {solved.window_s:g} s."
            told |= {"window_s": solved.window_s, "note": f"{told.get('note', plan.note)} {short}".strip()}
        return told

    def _waveforms(
        self,
        mixture: Iterable[Samples],
        n_samples: int,
        plan: Plan,
        step: Step,
        audible: tuple[int, int],
        *,
        mark: bool,
    ) -> Iterator[Samples]:
        """Consecutive `(2, sample)` blocks, target and generated residual, `n_samples` in all.

        Frames that hold nothing of the samples `audible` are not decoded; silence stands in for them.
        """
        if _key(plan) not in self._solved:
            self._solve(mixture, n_samples, [plan], lambda fraction: step((_ENCODE + _SOLVE) * fraction))
        solved = self._solved[_key(plan)]
        self._solved.move_to_end(_key(plan))
        done = 0
        for piece in _decoded(self._open(), solved, audible, mark=mark):
            kept = piece[:, : n_samples - done]
            done += kept.shape[1]
            step(_ENCODE + _SOLVE + (1 - _ENCODE - _SOLVE) * done / n_samples)
            yield kept

    def _solve(self, mixture: Iterable[Samples], n_samples: int, plans: Sequence[Plan], step: Step) -> None:
        """Solve what plans share in one batch; those of other schedules take batches of their own."""
        stages, share = self._open(), _ENCODE / (_ENCODE + _SOLVE)
        if not plans:
            return
        heard = self._hear(mixture, n_samples, plans[0].ask.mixture_key, lambda fraction: step(share * fraction))
        batches: dict[str, list[Ask]] = {}
        for plan in plans:
            batches.setdefault(plan.schedule, []).append(plan.ask)
        for i, (words, batch) in enumerate(batches.items()):
            *first, schedule = self._schedules[words]
            begin, width = share + (1 - share) * i / len(batches), (1 - share) / len(batches)
            scorers = self._scorers() if any(ask.candidates > 1 for ask in batch) else SCORERS
            made: list[Solved] = []
            for draft_schedule in first:
                wanted = [(draft, draft_schedule.words) for ask in batch if (draft := draft_of(ask)) is not None]
                missing = [key for key in wanted if key not in self._solved]
                if missing:
                    share_of = partial(_share, step, begin, width / 4)
                    drafts = [draft for draft, _ in missing]
                    solved = solve_asks(stages, heard, drafts, share_of, schedule=draft_schedule)
                    self._solved.update(zip(missing, solved, strict=True))
                made = [self._solved[key] for key in wanted]
                begin, width = begin + width / 4, width * 3 / 4
            share_of = partial(_share, step, begin, width)
            drawn = [begun.state for begun in made]
            solved = solve_asks(stages, heard, batch, share_of, scorers, drawn, schedule)
            for ask, result, begun in zip(batch, solved, made or solved, strict=True):
                self._solved[ask, words] = replace(result, window_s=result.window_s or begun.window_s)
        _trim(self._solved, [kept.state.nbytes for kept in self._solved.values()], keep=len(plans))

    def _hear(self, mixture: Iterable[Samples], n_samples: int, key: str, step: Step) -> Heard:
        """A mixture's latents, encoded unless they are kept under `key`; empty: not kept."""
        heard = self._heard.get(key)
        if heard is None:
            heard = hear(self._open(), mixture, n_samples, step)
            if key:
                self._heard[key] = heard
                _trim(self._heard, [kept.n_bytes for kept in self._heard.values()])
        else:
            self._heard.move_to_end(key)
        return heard

    def _scorers(self) -> Scorers:
        """Those that need no weights, and CLAP where the user has put it beside the models."""
        if not clap.installed(self._clap_folder):
            return SCORERS
        if self._clap is None:
            self._clap = clap.ClapScorer(self._clap_folder)
        return {**SCORERS, "clap": (CLAP_WEIGHT, self._clap)}

    def _open(self) -> FlowRuntime:
        if self._stages is None:
            raise StembridgeError("model_missing", f"The model {self.card.name} was unloaded.", "Ask again.")
        return self._stages


_Key = tuple[Ask, str]
"""What a solved state depends on, of one open model: the ask and the schedule's words."""


def _key(plan: Plan) -> _Key:
    return plan.ask, plan.schedule


def _decoded(stages: FlowRuntime, solved: Solved, audible: tuple[int, int], *, mark: bool) -> Iterator[Samples]:
    """What the codec makes of the frames that hold the samples `audible`, silence before and after them.

    The codec hears `CONTEXT_FRAMES` more on each side: what it makes of the audible ones is what it makes of the whole,
    but for float32's rounding.
    """
    n_frames, hop = solved.state.shape[1], stages.hop
    first, end = audible[0] // hop, min(-(-audible[1] // hop), n_frames)
    left, right = max(first - CONTEXT_FRAMES, 0), min(end + CONTEXT_FRAMES, n_frames)
    yield np.zeros((2, first * hop), np.float32)
    at = left * hop
    for piece in stages.decode(solved.state[:, left:right], mark_seed=solved.seed if mark else None):
        low, high = max(first * hop - at, 0), min(end * hop - at, piece.shape[1])
        at += piece.shape[1]
        if low < high:
            yield piece[:, low:high]
    yield np.zeros((2, (n_frames - end) * hop), np.float32)


def _share(step: Step, begin: float, width: float, fraction: float) -> None:
    step(begin + width * fraction)


def _trim(kept: OrderedDict[Any, Any], sizes: Sequence[int], keep: int = 1) -> None:
    """Drop the least recently used until the rest fits, but never the last `keep`."""
    total, sizes = sum(sizes), list(sizes)
    while total > CACHE_BYTES and len(kept) > keep:
        kept.popitem(last=False)
        total -= sizes.pop(0)


def _ratio(spectrum: npt.NDArray[np.complex64]) -> Mask:
    """`(target and residual, frame, bin)` → the target's share of their powers, `(1, frame, bin)`."""
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    share: Mask = (power[:1] + _TINY / 2) / (power.sum(axis=0, keepdims=True) + _TINY)
    return share
