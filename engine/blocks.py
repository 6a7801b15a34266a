"""Streams of blocks brought into step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from engine.audio import Samples


def in_step(first: Iterable[Samples], second: Iterable[Samples]) -> Iterator[tuple[Samples, Samples]]:
    """Blocks of two `(channel, sample)` streams cut to equal lengths; ends with the shorter stream."""
    streams = (iter(first), iter(second))
    held: list[Samples | None] = [None, None]
    while True:
        for side, stream in enumerate(streams):
            while (block := held[side]) is None or block.shape[1] == 0:
                held[side] = next(stream, None)
                if held[side] is None:
                    return
        a, b = held
        assert a is not None
        assert b is not None
        n = min(a.shape[1], b.shape[1])
        yield a[:, :n], b[:, :n]
        held = [a[:, n:], b[:, n:]]
