"""Models that estimate magnitudes of stems: windows of the spectrogram in, a soft mask of the target out.

The embedded model is one: Spleeter's two U-Nets (vocals, accompaniment), whose magnitude estimates become a mask by
the ratio of their powers, as its authors do (Hennequin et al., JOSS 5(50), 2020).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.audio import Samples
from engine.bundle import Bundle
from engine.errors import StembridgeError
from engine.masks.intent import read_intent
from engine.runtime import Ask, ModelCard, Plan, Step
from engine.runtimes.onnx_runtime import OnnxGraph
from engine.stereo import Mask
from engine.stft import Analysis, Grid
from engine.windows import Window, cut, join

KNOWS: Final = "vocals (singing, speech, rap, choir) and accompaniment (instrumental, karaoke)"
MAX_WORKERS: Final = 4
"""Windows computed at a time; each takes about 100 MB."""
_TINY: Final = np.float32(1e-10)


@dataclass(frozen=True)
class _Recommended:
    """How a network is best run; the figures behind it stand in its PROVENANCE.md."""

    overlap_frames: int
    """Shared by neighbouring windows, whose masks are crossfaded."""
    level_rms: float
    """Root mean square over channels and bins to which each frame is brought."""
    level_frames: int
    """The moving average that tells a frame's level."""
    level_floor_rms: float
    """What is quieter is not raised further."""


class MaskModel:
    """A bundle of kind `mask`, opened. See `engine.runtime.Model` for the contract of each method."""

    why: Final = ""

    def __init__(self, bundle: Bundle) -> None:
        facts = bundle.facts
        self.card = ModelCard(
            name=bundle.name,
            title=bundle.title,
            kind=bundle.kind,
            version=bundle.version,
            licence=bundle.licence,
            weights_sha256=bundle.weights_sha256,
            knows=KNOWS,
            grid=Grid(facts["rate_hz"], facts["n_fft"], facts["hop_samples"]),
        )
        self._n_bins: int = facts["n_bins"]
        self._multiple: int = facts["frames_multiple"]
        self._window: int = facts["frames_window"]
        self._run = _Recommended(**{key: facts["recommended"][key] for key in _Recommended.__annotations__})
        # One window a thread: on 2 cores a quarter quicker than both cores on one window.
        cores = os.cpu_count() or 1
        self._workers = min(cores, MAX_WORKERS)
        self._graph = OnnxGraph(bundle.path("masks.onnx"), threads=cores // self._workers)

    @property
    def runtime(self) -> str:
        return f"onnx:{self._graph.provider}"

    def close(self) -> None:
        pass  # onnxruntime frees the session with its last reference

    def plan(self, ask: Ask) -> Plan:
        intent = read_intent(ask.prompt)
        if intent is None:
            raise unsupported_prompt(self.card.name, ask.prompt)
        unused = [
            name
            for name, given in (
                ("spans", ask.spans),
                ("nfe", ask.nfe),
                ("schedule", ask.schedule != "auto"),
                ("candidates", ask.candidates > 1),
            )
            if given
        ]
        ignored = f"On this model {', '.join(unused)} had no effect." if unused else ""
        return Plan(ask, intent.stem, " ".join(filter(None, (intent.note, ignored))), nfe=1)

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
        windows = cut(self.card.grid.n_frames(n_samples), self._window, self._run.overlap_frames)
        magnitudes = _magnitudes(mixture, self.card.grid, channels, self._n_bins, windows)

        def answers() -> Iterator[tuple[Window, Mask]]:
            pool = ThreadPoolExecutor(self._workers, "stembridge-mask")
            ahead: deque[tuple[Window, Future[Mask]]] = deque()
            try:
                for window, magnitude in zip(windows, magnitudes, strict=True):
                    ahead.append((window, pool.submit(self._vocals, magnitude)))
                    if len(ahead) > self._workers:
                        yield done(*ahead.popleft())
                while ahead:
                    yield done(*ahead.popleft())
            finally:
                pool.shutdown(cancel_futures=True)

        def done(window: Window, future: Future[Mask]) -> tuple[Window, Mask]:
            vocals = future.result()
            step(window.end / windows[-1].end)
            return window, vocals if plan.answered_as == "vocals" else 1 - vocals

        for mask in join(answers()):
            yield _extend(mask, self.card.grid.n_bins)

    def generate(self, mixture: Iterable[Samples], n_samples: int, plan: Plan, step: Step) -> Iterator[Samples]:
        raise no_waveform(self.card.name)

    def solve_ahead(self, mixture: Iterable[Samples], n_samples: int, plans: Sequence[Plan], step: Step) -> None:
        pass  # both stems come from one evaluation already

    def hear_ahead(self, mixture: Iterable[Samples], n_samples: int, mixture_key: str, step: Step) -> None:
        pass  # nothing is kept of a mixture

    def facts(self, plan: Plan) -> Mapping[str, Any]:
        return {}

    def _vocals(self, magnitude: npt.NDArray[np.float32]) -> Mask:
        """`(channel, frame, bin)` magnitudes in, the vocals' mask of the same shape out."""
        channels, n_frames, _ = magnitude.shape
        # The network hears stereo: channels go in pairs, a last odd one beside itself.
        padded = _mirror(magnitude, -n_frames % self._multiple)
        if channels % 2:
            padded = np.concatenate([padded, padded[-1:]])
        pairs = _levelled(padded.reshape(-1, 2, *padded.shape[1:]), self._run)
        vocals, rest = self._graph.run({"magnitude": pairs}, ["vocals", "accompaniment"])
        np.square(vocals, out=vocals)
        np.square(rest, out=rest)
        mask = (vocals + _TINY / 2) / (vocals + rest + _TINY)
        flat: Mask = mask.reshape(-1, *mask.shape[2:])[:, :n_frames]
        if channels % 2:
            flat = np.concatenate([flat[: channels - 1], flat[channels - 1 :].mean(axis=0, keepdims=True)])
        return flat


def no_waveform(name: str) -> StembridgeError:
    """The refusal of `output=generative` by a mask model."""
    return StembridgeError(
        "unsupported_option",
        f"The model {name} makes masks; it has no waveform of its own for output=generative.",
        "Use output=faithful.",
    )


def unsupported_prompt(name: str, prompt: str, open_model: str | None = None) -> StembridgeError:
    """The refusal of a prompt that a mask model does not know: what it knows, and what answers the rest.

    `open_model`: the model on this machine that takes any words.
    """
    if not prompt.strip():
        other = f", or the model {open_model}, which hears spans alone, not well" if open_model else ""
        return StembridgeError(
            "unsupported_prompt",
            f"There is no prompt, and the model {name} hears no spans; it knows {KNOWS}.",
            f"Name one of these{other}. SAM Audio hears them, too: stembridge models fetch facebook/sam-audio-small",
        )
    if open_model is not None:
        return StembridgeError(
            "unsupported_prompt",
            f"The model {name} cannot separate {prompt!r}; it knows {KNOWS}.",
            f"Name no model, or {open_model}, which takes any words; so does SAM Audio: "
            "stembridge models fetch facebook/sam-audio-small",
        )
    return StembridgeError(
        "unsupported_prompt",
        f"The model {name} cannot separate {prompt!r}; it knows {KNOWS}.",
        "Any other prompt needs an open-vocabulary model: stembridge models fetch facebook/sam-audio-small",
    )


def _mirror(magnitude: npt.NDArray[np.float32], n: int) -> npt.NDArray[np.float32]:
    """`n` more frames at the end, mirrored: to the network silence would be an event."""
    return np.pad(magnitude, ((0, 0), (0, n), (0, 0)), mode="symmetric")


def _levelled(pairs: npt.NDArray[np.float32], run: _Recommended) -> npt.NDArray[np.float32]:
    """`(pair, channel, frame, bin)` magnitudes with each frame brought to the level the network separates best at.

    The network is level-dependent, its masks are not: what is quiet is separated as well as what is loud.
    """
    power = np.square(pairs).mean(axis=(1, 3))
    sums = np.concatenate([np.zeros((len(power), 1)), np.cumsum(power, axis=1, dtype=np.float64)], axis=1)
    frame, half = np.arange(power.shape[1]), run.level_frames // 2
    low, high = np.maximum(frame - half, 0), np.minimum(frame + half + 1, power.shape[1])
    level = np.sqrt((sums[:, high] - sums[:, low]) / (high - low))
    gain = (run.level_rms / np.maximum(level, run.level_floor_rms)).astype(np.float32)
    levelled: npt.NDArray[np.float32] = pairs * gain[:, None, :, None]
    return levelled


def _magnitudes(
    mixture: Iterable[Samples], grid: Grid, channels: int, n_bins: int, windows: list[Window]
) -> Iterator[npt.NDArray[np.float32]]:
    """The `(channel, frame, bin)` magnitudes of each window, from a stream of `(channel, sample)` blocks."""
    analysis = Analysis(grid, channels)
    held = np.zeros((channels, 0, n_bins), np.float32)
    first = 0
    blocks = iter(mixture)
    for window in windows:
        held, first = held[:, window.start - first :], window.start
        parts, have = [held], held.shape[1]
        while have < window.n_frames:
            block = next(blocks, None)
            part = np.abs((analysis.finish() if block is None else analysis.push(block))[..., :n_bins])
            parts.append(part)
            have += part.shape[1]
        held = np.concatenate(parts, axis=1)
        yield held[:, : window.n_frames]


def _extend(mask: Mask, n_bins: int) -> Mask:
    """Carry a mask above the network's highest bin: there it follows the mean of the band just below."""
    known = mask.shape[2]
    top = mask[..., known - known // 8 :].mean(axis=2, keepdims=True)
    return np.concatenate([mask, np.broadcast_to(top, (*mask.shape[:2], n_bins - known))], axis=2)
