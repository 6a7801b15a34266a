"""A runtime of low precision that is watched: what comes out not finite is made again at full precision.

Half-precision arithmetic ends at 65,504. A network whose values go beyond gives infinities and, from there, silence or
noise; so every result is looked at, and from the first that is not finite the exact runtime does the work.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.audio import Samples
from engine.errors import StembridgeError
from engine.flow.multidiffusion import WindowVelocity
from engine.flow.schedule import Schedule
from engine.flow.solve import FlowRuntime, Latents, State, WholeSolver
from engine.windows import Window

logger = logging.getLogger(__name__)


class Careful:
    """See `engine.flow.solve.FlowRuntime` for the contract of each method.

    Raises `StembridgeError` (`model_corrupt`) when the exact runtime's result is not finite either.
    """

    def __init__(self, quick: FlowRuntime, exact: Callable[[], FlowRuntime]) -> None:
        """`exact` opens the runtime of full precision; it is called when it is first needed, and once."""
        self._quick = quick
        self._open_exact = exact
        self._exact: FlowRuntime | None = None
        self.sample_rate, self.hop = quick.sample_rate, quick.hop
        self.n_channels, self.max_frames = quick.n_channels, quick.max_frames
        self.note = ""
        """What happened, for the manifest; empty while all was finite."""

    @property
    def name(self) -> str:
        """Of the runtime that does the work now."""
        return (self._exact or self._quick).name

    def is_cut(self, prompt: str) -> bool:
        return self._quick.is_cut(prompt)

    def encode(self, waveform: Samples) -> Latents:
        latents = (self._exact or self._quick).encode(waveform)
        if is_finite(latents):
            return latents
        again: Latents = _finite(self._fall_back("Encoding").encode(waveform))
        return again

    def velocity(
        self, latents: Latents, tokens: npt.NDArray[np.int64], prompts: Sequence[str], times: Sequence[float]
    ) -> WindowVelocity[Any]:
        quick = None if self._exact else self._quick.velocity(latents, tokens, prompts, times)
        slow: WindowVelocity[Any] | None = None

        def velocity(x: Any, number: int, window: Window) -> Any:
            nonlocal slow
            if slow is None:
                if quick is not None and self._exact is None:
                    answer = quick(x, number, window)
                    if is_finite(answer):
                        return answer
                exact = self._exact or self._fall_back("An evaluation")
                slow = exact.velocity(latents, tokens, prompts, times)
            # the state stays where the solver's loop began: with the quick runtime
            exact = self._exact or self._fall_back("An evaluation")
            made = exact.to_host(slow(exact.to_device(self._quick.to_host(x)), number, window))
            return self._quick.to_device(_finite(made))

        return velocity

    def solve_whole(
        self,
        latents: Latents,
        tokens: npt.NDArray[np.int64],
        prompts: Sequence[str],
        schedule: Schedule,
        start: State,
    ) -> State | None:
        if self._exact is not None or not isinstance(self._quick, WholeSolver):
            return None
        state = self._quick.solve_whole(latents, tokens, prompts, schedule, start)
        if state is None or is_finite(state):
            return state
        self._fall_back("A solve")
        return None

    def to_device(self, state: State) -> Any:
        return self._quick.to_device(state)

    def to_host(self, state: Any) -> State:
        return self._quick.to_host(state)

    def decode(self, state: State, *, mark_seed: int | None) -> Iterator[Samples]:
        given = 0
        if self._exact is None:
            for piece in self._quick.decode(state, mark_seed=mark_seed):
                if not is_finite(piece):
                    self._fall_back("Decoding")
                    break
                given += piece.shape[1]
                yield piece
            else:
                return
        for piece in (self._exact or self._quick).decode(state, mark_seed=mark_seed):
            rest = piece[:, given:]
            given = max(given - piece.shape[1], 0)
            if rest.shape[1]:
                yield _finite(rest)

    def _fall_back(self, what: str) -> FlowRuntime:
        """The exact runtime, opened; says so."""
        if self._exact is None:
            exact = self._open_exact()
            self.note = f"{what} on {self._quick.name} gave values that are not numbers; {exact.name} did it again."
            logger.warning("%s", self.note)
            self._exact = exact
        return self._exact


def is_finite(values: Any) -> bool:
    """Whether an array of NumPy's or of a device's holds numbers alone."""
    if hasattr(values, "isfinite"):
        return bool(values.isfinite().all())
    return bool(np.isfinite(values).all())


def _finite(values: Any) -> Any:
    if is_finite(values):
        return values
    raise StembridgeError(
        "model_corrupt",
        "The model gives values that are not numbers at full precision, too.",
        "Fetch or import it again; if that does not help, its weights are not usable.",
    )
