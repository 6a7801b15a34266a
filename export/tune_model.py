"""A flow model tuned from beginning to end: audio and prompts, its own trajectories, coefficients in its bundle.

Everything that was computed is kept in the model's folder, in files that are whole or not there: a run that was
killed goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.bundle import Bundle
from engine.errors import StembridgeError
from engine.flow.fitted import FittedPlan, solve_fitted, write_fitted
from engine.flow.sampling import noise, plan_sampling, solve
from engine.flow.schedule import classic
from engine.flow.solve import FlowRuntime, hear
from engine.manifest import stembridge_version
from engine.model.anchors import frame_tokens
from engine.quality.clips import Clip, audio_files, cut_clips
from engine.windows import Window
from export.tune import Example, Times, Trial, Values, fit_weights, max_solves, mean_db, relative_error, search

MAX_NFE: Final = 16
"""Beyond it a fit has more than 200 numbers and nothing to win."""
CLIP_S: Final = 5.0
N_EXAMPLES: Final = 24
HELD_OUT_EACH: Final = 4
"""Every fourth example is held out: its clip is not fitted to."""
PROMPTS: Final = ("lead vocals", "drums", "bass", "guitar", "piano", "strings", "synthesizer", "percussion")
WORK: Final = ".tuning"
VERSION: Final = 1
"""Of the fit: what another version found is not gone on with."""
Told = Callable[[str, float, bool], None]
"""(what is being done, share of the whole work that is done, whether it was found done by an earlier run)."""


@dataclass(frozen=True)
class Tuned:
    """What a fit is worth: mean SNR over the held-out examples, against the model's own 32 evaluations."""

    nfe: int
    held_out_db: float
    uniform_db: float
    """Of the solver that answers without a fit."""
    file: Path | None
    """None where the fit was no better than that: nothing was written."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "file": None if self.file is None else str(self.file)}


def tune(
    bundle: Bundle,
    stages: FlowRuntime,
    audio: Path,
    prompts: Sequence[str],
    nfes: Sequence[int],
    *,
    n_examples: int = N_EXAMPLES,
    told: Told = lambda what, share, again: None,
) -> list[Tuned]:
    """Fit a plan for each number of evaluations, and write those that are better than what there was.

    Raises `StembridgeError`: `bad_value` for numbers that cannot be fitted, `empty_audio` for too little audio,
    `disk_full`, `output_not_writable`, and what reading the audio and asking the model raise.
    """
    check(audio, prompts, nfes)
    clips = cut_clips(audio, stages.sample_rate, n_examples, CLIP_S)
    if len(clips) < 2:
        text = f"{audio} gives {len(clips)} piece of {CLIP_S:g} s; one more is needed to hold out."
        raise StembridgeError("empty_audio", text, "Give more audio: a few songs are enough.")
    work = bundle.folder / WORK
    reference = plan_sampling("best")
    units = _Units(told, reference.nfe * len(clips) + sum(_cost(nfe, len(clips)) for nfe in nfes))
    try:
        work.mkdir(exist_ok=True)
        keys, examples = [], []
        for number, clip in enumerate(clips):
            prompt = prompts[number % len(prompts)]
            key = _key(bundle, stages, clip, prompt, number)
            again = (work / f"path-{key}.npz").is_file()
            units.begin(f"the model's own {reference.nfe} evaluations, clip {number + 1} of {len(clips)}")
            examples.append(_example(stages, clip, prompt, number, work / f"path-{key}.npz"))
            units.done(reference.nfe, again)
            keys.append(key)
        made = {"runtime": stages.name, "examples": len(clips), "clip_s": CLIP_S, "prompts": list(prompts)}
        return [_fit(bundle, nfe, examples, keys, work, units, made) for nfe in nfes]
    except OSError as e:
        code = "disk_full" if e.errno == 28 else "output_not_writable"
        raise StembridgeError(
            code, f"The model's folder {bundle.folder} cannot be written: {e.strerror or e}.", "Free space."
        ) from e


def check(audio: Path, prompts: Sequence[str], nfes: Sequence[int]) -> None:
    """What can be refused before a model is opened. Raises `StembridgeError`: `bad_value`, `file_not_found`."""
    for nfe in nfes:
        if not 1 <= nfe <= MAX_NFE:
            raise StembridgeError("bad_value", f"nfe is {nfe}.", f"Tune for 1 to {MAX_NFE} evaluations.")
    if not prompts:
        raise StembridgeError("bad_value", "There are no prompts.", "Name some: --prompts 'vocals, drums'.")
    audio_files(audio)


def is_held_out(number: int) -> bool:
    """Whether an example is held out. The first is, so that two are enough."""
    return number % HELD_OUT_EACH == 0


def _fit(
    bundle: Bundle, nfe: int, examples: Sequence[Example], keys: Sequence[str], work: Path, units: _Units, made: Any
) -> Tuned:
    seen = [example for number, example in enumerate(examples) if not is_held_out(number)]
    held = [example for number, example in enumerate(examples) if is_held_out(number)]
    digest = hashlib.sha256(json.dumps([VERSION, nfe, *keys]).encode()).hexdigest()[:16]
    journal = work / f"trials-{nfe}-{digest}.jsonl"
    known = _read_trials(journal)
    units.begin(f"fitting {nfe} evaluation{'s' * (nfe > 1)}")
    left = _cost(nfe, len(examples))

    def attempt(times: Times) -> Trial:
        nonlocal left
        again = times in known
        if not again:
            known[times] = fit_weights(seen, times)
            with journal.open("a", encoding="utf-8") as file:
                file.write(json.dumps(known[times].to_dict()) + "\n")
        units.done(nfe * len(seen), again)
        left -= nfe * len(seen)
        return known[times]

    plan = search(nfe, attempt).plan
    usual = classic("uniform", nfe)
    held_out_db = _held_out_db(held, lambda example: solve_fitted(example.velocity(plan.times), example.path[0], plan))
    uniform_db = _held_out_db(held, lambda example: usual.solve(example.velocity(usual.times), example.path[0]))
    units.done(left, again=True)
    worth = {"held_out_db": round(held_out_db, 2), "uniform_db": round(uniform_db, 2), "held_out": len(held)}
    file = _write(bundle, plan, {**made, **worth}) if held_out_db > uniform_db else None
    return Tuned(nfe, held_out_db, uniform_db, file)


def _write(bundle: Bundle, plan: FittedPlan, facts: dict[str, Any]) -> Path:
    return write_fitted(bundle, plan, {**facts, "reference_nfe": 32, "stembridge": stembridge_version()})


def _held_out_db(held: Sequence[Example], made: Callable[[Example], Values]) -> float:
    return mean_db(relative_error(made(example), example.path[-1]) for example in held)


def _cost(nfe: int, n_examples: int) -> int:
    """Velocity evaluations of a fit, at most."""
    n_held = len([number for number in range(n_examples) if is_held_out(number)])
    return max_solves(nfe) * nfe * (n_examples - n_held) + 2 * nfe * n_held


def _key(bundle: Bundle, stages: FlowRuntime, clip: Clip, prompt: str, seed: int) -> str:
    """Names an example's trajectory by all that it depends on."""
    digest = hashlib.sha256(json.dumps([VERSION, bundle.weights_sha256, stages.name, prompt, seed]).encode())
    digest.update(np.ascontiguousarray(clip.samples).data)
    return digest.hexdigest()[:32]


def _example(stages: FlowRuntime, clip: Clip, prompt: str, seed: int, file: Path) -> Example:
    """An example whose trajectory is in `file`, or is made and kept there."""
    try:
        with np.load(file, allow_pickle=False) as kept:
            latents, path = kept["latents"], kept["path"]
    except (FileNotFoundError, ValueError, KeyError, zipfile.BadZipFile):  # never made, or damaged since
        latents = hear(stages, [clip.samples], clip.samples.shape[1], lambda share: None).latents
        path = _trajectory(stages, _velocity_of(stages, latents, prompt), latents, seed)
        part = file.with_name(f"{file.name}.part-{os.getpid()}")
        try:
            with part.open("wb") as out:
                np.savez(out, latents=latents, path=path)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
    return Example(path, _velocity_of(stages, latents, prompt))


def _velocity_of(stages: FlowRuntime, latents: Values, prompt: str) -> Callable[[Sequence[float]], Any]:
    tokens = frame_tokens([], len(latents), stages.hop)[None]
    window = Window(0, len(latents))

    def of(times: Sequence[float]) -> Callable[[Values, int], Values]:
        velocity = stages.velocity(latents, tokens, [prompt], times)
        return lambda x, number: stages.to_host(velocity(stages.to_device(x), number, window))

    return of


def _trajectory(stages: FlowRuntime, velocity_of: Any, latents: Values, seed: int) -> Values:
    """The reference's states before each of its steps and after the last, `(time, 1, frame, 2 * channel)`."""
    plan = plan_sampling("best")
    velocity, states = velocity_of(plan.times), []

    def recorded(x: Values, number: int) -> Values:
        if number % 2 == 0:  # midpoint's first evaluation is at a step's beginning
            states.append(x)
        answer: Values = velocity(x, number)
        return answer

    end = solve(recorded, noise([seed], len(latents), 2 * stages.n_channels), plan)
    return np.stack([*states, end]).astype(np.float32)


def _read_trials(journal: Path) -> dict[Times, Trial]:
    """What an earlier run tried; a last line that was not written whole is none."""
    known = {}
    try:
        lines = journal.read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return {}
    for line in lines:
        try:
            trial = Trial.from_dict(json.loads(line))
        except (ValueError, KeyError, TypeError):
            continue
        known[trial.plan.times] = trial
    if lines and not lines[-1].endswith("\n"):
        journal.write_text("".join(json.dumps(trial.to_dict()) + "\n" for trial in known.values()), encoding="utf-8")
    return known


class _Units:
    """How much of the work is done, in velocity evaluations."""

    def __init__(self, told: Told, total: int) -> None:
        self._told, self._total, self._done, self._what = told, total, 0, ""

    def begin(self, what: str) -> None:
        self._what = what
        self._told(what, self._done / self._total, True)

    def done(self, n: int, again: bool) -> None:
        self._done += n
        self._told(self._what, self._done / self._total, again)
