"""Blocks through a worker: one is processed while the next is read, and memory stays that of a few."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from bridge.plugins.process import Worker
from bridge.plugins.shared import CAPACITY, N_SLOTS
from engine.audio import Samples


def through(worker: Worker, blocks: Iterable[Samples], tail_samples: int = 0) -> Iterator[Samples]:
    """`(channel, sample)` blocks as the worker's chain gives them back: aligned, as many samples as went in, and
    `tail_samples` more of what rings on.

    A chain is streamed through once. Raises `PluginFailure`, and what the worker's `give_up` raises.
    """
    audio = worker.audio
    assert audio is not None
    busy: deque[int] = deque()
    slot = 0

    def take() -> Samples:
        n = worker.answer()["n"]
        return audio.view(busy.popleft(), n).copy()

    for piece in _pieces(blocks, audio.channels, tail_samples):
        if len(busy) == N_SLOTS:
            done = take()
            if done.shape[1]:
                yield done
        audio.view(slot, piece.shape[1])[:] = piece
        worker.send({"do": "push", "slot": slot, "n": piece.shape[1]})
        busy.append(slot)
        slot = (slot + 1) % N_SLOTS
    while busy:
        done = take()
        if done.shape[1]:
            yield done
    while True:
        worker.send({"do": "flush", "slot": 0})
        told = worker.answer()
        if told.get("end"):
            return
        if told["n"]:
            yield audio.view(0, told["n"]).copy()


def _pieces(blocks: Iterable[Samples], channels: int, tail_samples: int) -> Iterator[Samples]:
    for block in blocks:
        for start in range(0, block.shape[1], CAPACITY):
            yield block[:, start : start + CAPACITY]
    for start in range(0, tail_samples, CAPACITY):
        yield np.zeros((channels, min(CAPACITY, tail_samples - start)), np.float32)
