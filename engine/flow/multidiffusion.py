"""One long latent under overlapping windows: their velocities are blended at every evaluation.

A network hears a bounded number of frames. Solving window by window and joining the results leaves a seam, because
each window went its own way from the noise. Here all windows move one latent together: at every evaluation each says
where its frames should go, and where windows overlap the answers are averaged. One window is the plain solution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from engine.flow.sampling import Velocity
from engine.windows import Window

Blend = Literal["ramp", "mean"]
"""How overlapping answers are averaged: weights that rise and fall linearly over the overlap, so that a frame's
velocity does not jump where a window begins; or equal weights."""
Array = TypeVar("Array", bound=Any)
WindowVelocity = Callable[[Array, int, Window], Array]
"""(state of a window's frames, evaluation number, window) → their velocity."""

WINDOW_S: Final = 20.0
STRIDE_S: Final = 15.0
"""The reference's own code has no windows; these are said to be its paper's. To be measured."""


def cover(n_frames: int, window: int, stride: int) -> tuple[Window, ...]:
    """Windows of equal length over `n_frames`; the last is moved back to end with the last frame.

    Raises `ValueError` unless there are frames and 0 < stride <= window.
    """
    if n_frames < 1 or not 0 < stride <= window:
        raise ValueError(f"no windows of {window} frames every {stride} over {n_frames}")
    if n_frames <= window:
        return (Window(0, n_frames),)
    starts = [*range(0, n_frames - window, stride), n_frames - window]
    return tuple(Window(start, start + window) for start in starts)


def weights_of(windows: Sequence[Window], n_frames: int, blend: Blend = "ramp") -> list[npt.NDArray[np.float32]]:
    """Each window's share of its frames, `(frame,)`; at every frame the shares sum to 1.

    Raises `ValueError` when a frame is in no window.
    """
    shapes = []
    for index, window in enumerate(windows):
        frame = np.arange(window.n_frames) + 0.5
        shape = np.ones(window.n_frames)
        if blend == "ramp":
            left = windows[index - 1].end - window.start if index else 0
            right = window.end - windows[index + 1].start if index + 1 < len(windows) else 0
            for overlap, distance in ((left, frame), (right, frame[::-1])):
                if overlap > 0:
                    shape = np.minimum(shape, distance / overlap)
        shapes.append(shape)
    total = np.zeros(n_frames)
    for window, shape in zip(windows, shapes, strict=True):
        total[window.start : window.end] += shape
    if not total.all():
        raise ValueError(f"frame {int(np.argmin(total))} is in no window")
    return [(shape / total[w.start : w.end]).astype(np.float32) for w, shape in zip(windows, shapes, strict=True)]


def joint_velocity(
    velocity: WindowVelocity[Array],
    windows: Sequence[Window],
    n_frames: int,
    *,
    blend: Blend = "ramp",
    between: Callable[[int, int], None] = lambda number, index: None,
) -> Velocity[Array]:
    """The velocity of the whole latent `(batch, frame, channel)`, for `engine.flow.sampling.solve`.

    `between` is called with the evaluation and window number before each window: what it raises ends the run, so a
    cancel waits for one window of one evaluation. Memory beyond the latent is one window's.
    """
    if len(windows) == 1:

        def alone(x: Array, number: int) -> Array:
            between(number, 0)
            return velocity(x, number, windows[0])

        return alone
    shares = weights_of(windows, n_frames, blend)

    def joint(x: Array, number: int) -> Array:
        total: Array = x * 0
        for index, (window, share) in enumerate(zip(windows, shares, strict=True)):
            between(number, index)
            frames = slice(window.start, window.end)
            total[:, frames] += velocity(x[:, frames], number, window) * _like(x, share)[:, None]
        return total

    return joint


def _like(x: Any, values: npt.NDArray[np.float32]) -> Any:
    """`values` as an array of `x`'s kind, on its device."""
    return x.new_tensor(values) if hasattr(x, "new_tensor") else values.astype(x.dtype)
