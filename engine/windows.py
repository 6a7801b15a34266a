"""Long material in overlapping windows of frames, joined again by a crossfade.

A model that hears a bounded number of frames at a time is given windows that overlap; where two of them cover the
same frame their answers are blended linearly. Pure arithmetic on arrays; nothing here knows what a frame is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.float32]
"""`(channel, frame, bin)`"""


@dataclass(frozen=True)
class Window:
    """Frames `start` to `end` of the whole."""

    start: int
    end: int

    @property
    def n_frames(self) -> int:
        """Frames covered."""
        return self.end - self.start


def cut(n_frames: int, window: int, overlap: int) -> list[Window]:
    """Cover `n_frames` with windows of at most `window` frames, neighbours sharing `overlap` frames.

    All windows but the last are full; the last is as short as it may be, but longer than the overlap.
    Raises `ValueError` unless 0 <= overlap < window.
    """
    if not 0 <= overlap < window or n_frames < 1:
        raise ValueError(f"no windows of {window} frames with {overlap} shared over {n_frames}")
    stride = window - overlap
    starts = range(0, max(n_frames - overlap, 1), stride)
    return [Window(start, min(start + window, n_frames)) for start in starts]


def join(pieces: Iterable[tuple[Window, Frames]]) -> Iterator[Frames]:
    """Blend the windows' answers, given in order, into consecutive blocks that cover every frame once.

    Where neighbours overlap the weight moves linearly from the earlier to the later one.
    """
    held: Frames | None = None
    at = 0
    for window, answer in pieces:
        if held is None:
            held, at = answer, window.start
            continue
        shared = at + held.shape[1] - window.start
        yield held[:, : held.shape[1] - shared]
        if shared:
            ramp = ((np.arange(shared, dtype=np.float32) + 0.5) / shared)[None, :, None]
            blend = held[:, held.shape[1] - shared :] * (1 - ramp) + answer[:, :shared] * ramp
            answer = np.concatenate([blend, answer[:, shared:]], axis=1)
        held, at = answer, window.start
    if held is not None:
        yield held
