"""Models that generate target and residual together by following a velocity from noise: SAM Audio's kind.

mixture → codec latents → solve (noise, schedule, prompt, spans) → codec → target and residual waveforms, mono. What is
returned of them is a soft mask, the ratio of their powers on a time-frequency grid, which the engine lays on the
original channels at the original rate; or, when asked, the waveforms themselves.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from engine.audio import Samples
from engine.bundle import Bundle
from engine.errors import StembridgeError
from engine.model.anchors import frame_tokens
from engine.multidiffusion import STRIDE_S, WINDOW_S, WindowVelocity, cover, joint_velocity
from engine.runtime import Ask, ModelCard, Plan, Step
from engine.sampling import noise, plan_sampling, solve
from engine.stereo import Mask
from engine.stft import Analysis, Grid

Latents = npt.NDArray[np.float32]
"""`(frame, channel)`"""

KNOWS: Final = "any sound that a lowercase noun or verb phrase names, and spans"
CHUNK_FRAMES: Final = 250
CONTEXT_FRAMES: Final = 8
"""Latent frames a codec's frame hears on each side; `engine.model.codec` says why."""
LATENT_CACHE_BYTES: Final = 256 << 20
_N_FFT: Final = 2_048
_HOP: Final = 512
_TINY: Final = np.float32(1e-10)
_ENCODE, _SOLVE = 0.1, 0.7
"""Shares of a separation's progress; the rest is decoding."""


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
        """Latent channels of one waveform; the state holds twice as many, the target's first."""

    @property
    def max_frames(self) -> int:
        """The longest window the network hears."""

    def encode(self, waveform: Samples) -> Latents:
        """`(1, sample)`, its last frame perhaps not whole, → `(frame, channel)`."""

    def text(self, prompt: str) -> tuple[Any, bool]:
        """A prompt's features, and whether it was longer than the encoder hears."""

    def velocity(
        self, latents: Latents, tokens: npt.NDArray[np.int64], text: Any, times: Sequence[float]
    ) -> WindowVelocity[Any]:
        """The velocity of any window of one clip at any of the schedule's `times`."""

    def state(self, values: npt.NDArray[np.float32]) -> Any:
        """`(batch, frame, 2 * channel)` as a solver's state."""

    def decode(self, state: Any, *, mark_seed: int | None) -> Iterator[Samples]:
        """A state of one clip → consecutive `(2, sample)` pieces, target and residual.

        `mark_seed` draws the watermark's message, where the model has one; None decodes without a watermark.
        """


class FlowModel:
    """A bundle of kind `flow`, opened. See `engine.runtime.Model` for the contract of each method."""

    def __init__(self, bundle: Bundle, runtime: FlowRuntime) -> None:
        self._stages: FlowRuntime | None = runtime
        self.runtime = runtime.name
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
        self._heard: OrderedDict[str, Latents] = OrderedDict()

    def close(self) -> None:
        self._stages = None
        self._heard.clear()

    def plan(self, ask: Ask) -> Plan:
        try:
            nfe = plan_sampling(ask.quality, ask.nfe).nfe
        except ValueError as e:
            raise StembridgeError("unsupported_option", f"The sampler refuses: {e}.", "Use nfe 1 to 256.") from e
        _, cut = self._open().text(ask.prompt)
        note = "The prompt is longer than the text encoder hears; its end was left out." if cut else ""
        return Plan(ask, ask.prompt, note, nfe)

    def estimate(
        self, mixture: Iterable[Samples], channels: int, n_samples: int, plan: Plan, step: Step
    ) -> Iterator[Mask]:
        analysis = Analysis(self.card.grid, 2)
        for piece in self._solve(mixture, n_samples, plan, step, mark=False):
            yield _ratio(analysis.push(piece))
        yield _ratio(analysis.finish())

    def generate(self, mixture: Iterable[Samples], n_samples: int, plan: Plan, step: Step) -> Iterator[Samples]:
        """The model's own target and residual: consecutive `(2, sample)` blocks, `n_samples` in all, watermarked
        where the model has a watermark."""
        return self._solve(mixture, n_samples, plan, step, mark=True)

    def _solve(
        self, mixture: Iterable[Samples], n_samples: int, plan: Plan, step: Step, *, mark: bool
    ) -> Iterator[Samples]:
        stages, ask = self._open(), plan.ask
        schedule = plan_sampling(ask.quality, ask.nfe)
        latents = self._latents(stages, mixture, n_samples, ask, lambda f: step(_ENCODE * f))
        n_frames = len(latents)
        spans = [(span.sign, span.start_s, span.end_s) for span in ask.spans]
        tokens = frame_tokens(spans, n_frames, stages.hop)
        text, _ = stages.text(ask.prompt)
        frames_s = stages.sample_rate / stages.hop
        window = min(round(WINDOW_S * frames_s), stages.max_frames)
        windows = cover(n_frames, window, min(round(STRIDE_S * frames_s), window))
        n_calls = schedule.nfe * len(windows)
        velocity = joint_velocity(
            stages.velocity(latents, tokens, text, schedule.times),
            windows,
            n_frames,
            between=lambda number, index: step(_ENCODE + _SOLVE * (number * len(windows) + index) / n_calls),
        )
        start = stages.state(noise([ask.seed], n_frames, 2 * stages.n_channels))
        state = solve(velocity, start, schedule)
        done = 0
        for piece in stages.decode(state, mark_seed=ask.seed if mark else None):
            kept = piece[:, : n_samples - done]
            done += kept.shape[1]
            step(_ENCODE + _SOLVE + (1 - _ENCODE - _SOLVE) * done / n_samples)
            yield kept

    def _open(self) -> FlowRuntime:
        if self._stages is None:
            raise StembridgeError("model_missing", f"The model {self.card.name} was unloaded.", "Ask again.")
        return self._stages

    def _latents(
        self, stages: FlowRuntime, mixture: Iterable[Samples], n_samples: int, ask: Ask, step: Step
    ) -> Latents:
        """The mixture's latents, from the cache when the same audio was heard before."""
        if ask.mixture_key in self._heard:
            self._heard.move_to_end(ask.mixture_key)
            return self._heard[ask.mixture_key]
        pieces, done = [], 0
        for piece in encode_stream(stages, mixture):
            pieces.append(piece)
            done += len(piece) * stages.hop
            step(min(done / n_samples, 1.0))
        latents = np.concatenate(pieces)
        if ask.mixture_key:
            self._heard[ask.mixture_key] = latents
            while sum(kept.nbytes for kept in self._heard.values()) > LATENT_CACHE_BYTES:
                self._heard.popitem(last=False)
        return latents


def encode_stream(stages: FlowRuntime, mixture: Iterable[Samples]) -> Iterator[Latents]:
    """The latents of a stream of `(channel, sample)` blocks, averaged to mono, in consecutive `(frame, channel)`
    pieces: what encoding it whole gives, in the memory of one chunk."""
    hop, context, chunk = stages.hop, CONTEXT_FRAMES * stages.hop, CHUNK_FRAMES * stages.hop
    held = np.zeros((1, 0), np.float32)
    left = 0
    for block in mixture:
        held = np.concatenate([held, block.mean(axis=0, keepdims=True)], axis=1)
        while held.shape[1] >= left + chunk + context + hop:
            piece = stages.encode(held[:, : left + chunk + context])
            yield piece[left // hop : (left + chunk) // hop]
            held = held[:, left + chunk - context :]
            left = context
    if held.shape[1] > left:
        yield stages.encode(held)[left // hop :]


def _ratio(spectrum: npt.NDArray[np.complex64]) -> Mask:
    """`(target and residual, frame, bin)` → the target's share of their powers, `(1, frame, bin)`."""
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    share: Mask = (power[:1] + _TINY / 2) / (power.sum(axis=0, keepdims=True) + _TINY)
    return share
