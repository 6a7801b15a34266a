"""Whether a runtime may be trusted: held against the CPU once for each model and machine, and remembered.

A GPU, its driver or a provider can compute something else without an error. So before one answers, it hears, solves and
decodes a short clip that the CPU has done too; and where it is no quicker, there is no reason to use it.

A precision that gives up accuracy for speed on the same CPU is asked for more: what it changes must be less than what a
solve of few evaluations changes anyway, which is measured with it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import platformdirs

from engine.audio import Samples
from engine.bundle import Bundle
from engine.flow.sampling import noise
from engine.flow.solve import FlowRuntime, State, hear, solve_asks
from engine.manifest import stembridge_version
from engine.request import Span
from engine.runtime import Ask
from engine.windows import Window

CLIP_S: Final = 1.0
NFE: Final = 2
TIMED_S: Final = 5.0
"""Of audio: what one evaluation is timed on."""
LEAST_DB: Final = {"fp32": 50.0, "fp16": 20.0, "bf16": 15.0, "int8": 10.0}
"""SNR of what is heard in the end, against the CPU at float32."""
FEW_NFE: Final = 4
MANY_NFE: Final = 32
_LIBRARIES: Final = ("torch", "onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "tensorrt", "tensorrt-rtx-cu13")
_DRIVER: Final = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Verdict:
    """One comparison."""

    reference: str
    """The runtime it was held against."""
    snr_db: float
    """Of the sound; -inf where it was not finite."""
    least_db: float
    evaluation_s: float
    """Of `TIMED_S` of audio."""
    reference_s: float
    solve_db: float | None = None
    """SNR of the latents after `FEW_NFE` evaluations, its own encoding included; None where it was not asked."""
    few_db: float | None = None
    """SNR of the reference's own `FEW_NFE` evaluations against its `MANY_NFE`: of the latents."""
    few_sound_db: float | None = None
    """The same of the sound."""

    @property
    def below_few_step_error(self) -> bool:
        """Whether its error is less than that of few evaluations, in the latents and in the sound; True where that was
        not asked."""
        if self.solve_db is None or self.few_db is None or self.few_sound_db is None:
            return True
        return self.solve_db > self.few_db and self.snr_db > self.few_sound_db

    @property
    def holds(self) -> bool:
        """Whether the result is the same within what the precision allows."""
        return self.snr_db >= self.least_db

    @property
    def quicker(self) -> bool:
        """Whether it pays."""
        return self.evaluation_s < self.reference_s

    @property
    def words(self) -> str:
        """For a person."""
        same = "exactly" if math.isinf(self.snr_db) and self.snr_db > 0 else f"to {self.snr_db:.0f} dB"
        if not self.holds:
            return f"it differs from {self.reference}: {self.snr_db:.0f} dB where {self.least_db:.0f} dB are asked"
        if self.solve_db is not None and self.few_db is not None and self.few_sound_db is not None:
            same += (
                f" (its latents to {self.solve_db:.0f} dB; {FEW_NFE} evaluations themselves are within "
                f"{self.few_sound_db:.0f} dB of {MANY_NFE}, their latents within {self.few_db:.0f} dB)"
            )
        return (
            f"equals {self.reference} {same} and takes {self.evaluation_s * 1e3:.1f} ms for an evaluation, where that "
            f"takes {self.reference_s * 1e3:.1f} ms"
        )


def judged(
    bundle: Bundle, name: str, precision: str, candidate: FlowRuntime, reference: Callable[[], FlowRuntime]
) -> Verdict:
    """What is remembered of this runtime on this machine, else what is found now. Raises `StembridgeError` as the two
    runtimes do."""
    key = _key(bundle, name)
    known = recall(bundle, name)
    if known is not None:
        return known
    verdict = judge(candidate, reference(), precision)
    _remember(key, verdict)
    return verdict


def judge(candidate: FlowRuntime, reference: FlowRuntime, precision: str) -> Verdict:
    """Let both separate the same short clip."""
    if precision == "bf16":
        return _judge_rounding(candidate, reference, precision)
    exact, other = (_sound(runtime) for runtime in (reference, candidate))
    return Verdict(
        reference=reference.name,
        snr_db=_snr_db(exact, other),
        least_db=LEAST_DB[precision],
        evaluation_s=_evaluation_s(candidate),
        reference_s=_evaluation_s(reference),
    )


def _judge_rounding(candidate: FlowRuntime, reference: FlowRuntime, precision: str) -> Verdict:
    """The same, and what the reference's own few evaluations are worth: minutes on a large model, once."""
    few, many, other = (_solved(*each) for each in ((reference, FEW_NFE), (reference, MANY_NFE), (candidate, FEW_NFE)))
    sounds = [_decoded(*each) for each in ((reference, few), (reference, many), (candidate, other))]
    return Verdict(
        reference=reference.name,
        snr_db=_snr_db(sounds[0], sounds[2]),
        least_db=LEAST_DB[precision],
        evaluation_s=_evaluation_s(candidate),
        reference_s=_evaluation_s(reference),
        solve_db=_snr_db(few, other),
        few_db=_snr_db(many, few),
        few_sound_db=_snr_db(sounds[1], sounds[0]),
    )


def recall(bundle: Bundle, name: str) -> Verdict | None:
    """What is remembered; None where nothing is."""
    said = _read().get(_key(bundle, name))
    if not isinstance(said, dict):
        return None
    try:
        return Verdict(**{**said, "snr_db": math.inf if said["snr_db"] is None else said["snr_db"]})
    except (TypeError, KeyError):  # of another version
        return None


def _key(bundle: Bundle, name: str) -> str:
    """Everything a verdict depends on: a new driver or library is judged anew."""
    libraries = {}
    for library in _LIBRARIES:
        try:
            libraries[library] = version(library)
        except PackageNotFoundError:
            continue
    driver = _DRIVER.read_text(encoding="utf-8") if _DRIVER.exists() else ""
    facts = [bundle.weights_sha256, name, platform.node(), platform.machine(), driver, libraries, stembridge_version()]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _path() -> Path:
    return Path(platformdirs.user_cache_dir("stembridge", appauthor=False)) / "runtimes.json"


def _read() -> dict[str, Any]:
    try:
        said: Any = json.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none yet, or damaged: what it held is found again
        return {}
    return said if isinstance(said, dict) else {}


def _remember(key: str, verdict: Verdict) -> None:
    path = _path()
    part = path.with_name(f"{path.name}.part-{os.getpid()}")
    bounded = {k: max(min(v, 999.0), -999.0) if isinstance(v, float) else v for k, v in asdict(verdict).items()}
    kept = {**bounded, "snr_db": None if verdict.snr_db == math.inf else bounded["snr_db"]}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps({**_read(), key: kept}, indent=1), encoding="utf-8")
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)  # it is found again at the next start


def _sound(runtime: FlowRuntime) -> Samples:
    return _decoded(runtime, _solved(runtime, NFE))


def _solved(runtime: FlowRuntime, nfe: int) -> State:
    n = round(CLIP_S * runtime.sample_rate)
    heard = hear(runtime, _clip(n, runtime.sample_rate), n, lambda done: None)
    ask = Ask("lead vocals", nfe=nfe, spans=(Span("+", 0.2, 0.6),))
    (solved,) = solve_asks(runtime, heard, [ask], lambda done: None)
    return solved.state


def _decoded(runtime: FlowRuntime, state: State) -> Samples:
    return np.concatenate(list(runtime.decode(state, mark_seed=None)), axis=1)


def _clip(n: int, sample_rate: int) -> Iterable[Samples]:
    """A chord that fades, and noise; seeded."""
    t = np.arange(n) / sample_rate
    chord = sum(np.sin(2 * np.pi * f * t) for f in (220.0, 277.2, 329.6, 1760.0))
    rough = noise([7], n, 1)[0, :, 0]
    yield (0.1 * chord * np.exp(-t) + 0.02 * rough).astype(np.float32)[None]


def _evaluation_s(runtime: FlowRuntime) -> float:
    n = min(round(TIMED_S * runtime.sample_rate / runtime.hop), runtime.max_frames)
    latents = noise([1], n, runtime.n_channels)[0]
    tokens = np.zeros((1, n), np.int64)
    evaluate = runtime.velocity(latents, tokens, ["lead vocals"], (0.0, 0.5))
    x = runtime.to_device(noise([2], n, 2 * runtime.n_channels))
    taken = []
    for _ in range(4):  # the first finds its memory and its algorithms
        began = time.perf_counter()
        runtime.to_host(evaluate(x, 1, Window(0, n)))
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


def _snr_db(exact: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    if exact.shape != other.shape or not np.isfinite(other).all():
        return -math.inf
    error = float(np.square(exact.astype(np.float64) - other).sum())
    power = float(np.square(exact.astype(np.float64)).sum())
    return math.inf if error == 0 else 10 * math.log10(max(power, 1e-30) / error)
