"""Spans as the network hears them: one token a latent frame.

Frames no span covers are `NULL`, "unknown", not "absent". Later spans overwrite earlier ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.model.config import SAMPLE_RATE

NULL: Final = 0
PRESENT: Final = 1
ABSENT: Final = 2
PADDING: Final = 3
N_TOKENS: Final = 4
_TOKENS: Final = {"+": PRESENT, "-": ABSENT}


def frame_of(time_s: float, hop: int) -> int:
    """The first frame at or after a time, rounded as the reference rounds it.

    The float64 product comes before the division, so 0.28 s is frame 8 although 0.28 * 48000 / 1920 is 7 on paper:
    the network was trained with it.
    """
    return math.ceil((time_s * SAMPLE_RATE) / hop)


def frame_tokens(
    spans: Iterable[tuple[str, float, float]], n_frames: int, hop: int, *, n_total: int | None = None
) -> npt.NDArray[np.int64]:
    """One clip's tokens, `(frame,)`.

    `spans`: (sign, start_s, end_s) in seconds of the clip, `+` or `-`; what lies outside the clip is cut away.
    `n_total` pads the clip to a batch's frames: padding is `PADDING` unless a span reaches into it, as in the
    reference. Raises `ValueError` for another sign.
    """
    n_total = n_frames if n_total is None else n_total
    tokens = np.full(n_total, NULL, dtype=np.int64)
    tokens[n_frames:] = PADDING
    for sign, start_s, end_s in spans:
        if sign not in _TOKENS:
            raise ValueError(f"a span's sign is {sign!r}, not '+' or '-'")
        tokens[max(frame_of(start_s, hop), 0) : max(frame_of(end_s, hop), 0)] = _TOKENS[sign]
    return tokens
