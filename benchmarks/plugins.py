"""What it costs to host plugins in a process of their own: the same blocks through the same chain, here and there.

Run it: `python -m benchmarks.plugins` (needs the extra [plugins] and Debian's zam-plugins). The host is loaded into the
benchmark's own process for the comparison; the engine never does that.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.table import Figure, save, show
from bridge.plugins import host
from bridge.plugins.chain import Chain, PluginUse
from bridge.plugins.places import find_plugin
from bridge.plugins.process import Worker
from bridge.plugins.shared import CAPACITY
from bridge.plugins.stage import Stage
from bridge.plugins.stream import through
from engine.audio import Samples

RATE_HZ: Final = 48_000
LENGTH_S: Final = 30
REPEATS: Final = 5
MAX_OVERHEAD: Final = 5.0
NOTHING: Final[Chain] = (PluginUse(plugin="Gain"),)
"""As good as no work at all: what is left is the hand-off itself."""
CHAINS: Final[dict[str, Chain]] = {
    "ZamCompX2 > ZaMaximX2": (PluginUse(plugin="ZamCompX2"), PluginUse(plugin="ZaMaximX2")),
    "HighpassFilter > NoiseGate > Compressor > BrickwallLimiter": (
        PluginUse(plugin="HighpassFilter"),
        PluginUse(plugin="NoiseGate"),
        PluginUse(plugin="Compressor"),
        PluginUse(plugin="BrickwallLimiter"),
    ),
    "Gain": NOTHING,
}


def main() -> None:
    """Measure and print; save where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    measured = list(figures())
    show(measured, "Plugin chains in a process of their own")
    if options.out is not None:
        save(measured, options.out)


def figures() -> Iterator[Figure]:
    """The least wall time of each, taken in turn: whatever else runs on the machine disturbs both alike."""
    noise = 0.05 * np.random.default_rng(0).standard_normal((2, LENGTH_S * RATE_HZ))
    samples = noise.astype(np.float32)
    blocks = [samples[:, at : at + CAPACITY] for at in range(0, samples.shape[1], CAPACITY)]
    conditions = f"{LENGTH_S} s of stereo noise at {RATE_HZ} Hz, least of {REPEATS}; {os.cpu_count()} cores"
    for name, chain in CHAINS.items():
        began_s = time.perf_counter()
        with Worker() as worker:
            worker.open(chain, RATE_HZ, 2)
            ready_s = time.perf_counter() - began_s
        here, there = [], []
        for _ in range(REPEATS):
            here.append(_timed(_here(chain, blocks)))
            there.append(_timed(_there(chain, blocks)))
        yield Figure(f"{name}: in one process", 1e3 * min(here), "ms", None, "<=", conditions)
        if chain == NOTHING:
            each_ms = 1e3 * (min(there) - min(here)) * 60 / LENGTH_S
            yield Figure(f"{name}: hand-off of a minute of audio", each_ms, "ms", None, "<=", conditions)
        else:
            more = 100 * (min(there) / min(here) - 1)
            yield Figure(f"{name}: hand-off", more, "%", MAX_OVERHEAD, "<=", conditions)
        yield Figure(f"{name}: worker ready", ready_s, "s", None, "<=", "once, with the plugins' own start")


def _timed(go: Callable[[], int]) -> float:
    """Seconds of the streaming itself; loading is not in it. Closing the worker is."""
    began_s = time.perf_counter()
    n_samples = go()
    spent_s = time.perf_counter() - began_s
    assert n_samples == LENGTH_S * RATE_HZ
    return spent_s


def _here(chain: Chain, blocks: list[Samples]) -> Callable[[], int]:
    placed = [PluginUse(plugin=find_plugin(use.plugin)) for use in chain]
    stages = [host.load(use, RATE_HZ, 2, 8192) for use in placed]
    return lambda: sum(int(piece.shape[1]) for piece in _streamed(stages, blocks))


def _streamed(stages: list[Stage], blocks: list[Samples]) -> Iterator[Samples]:
    for block in blocks:
        for stage in stages:
            block = stage.push(block)
        yield block
    for place, stage in enumerate(stages):
        for block in stage.flush():
            for other in stages[place + 1 :]:
                block = other.push(block)
            yield block


def _there(chain: Chain, blocks: list[Samples]) -> Callable[[], int]:
    worker = Worker()
    worker.open(chain, RATE_HZ, 2)

    def go() -> int:
        n_samples = sum(int(piece.shape[1]) for piece in through(worker, blocks))
        worker.close()
        return n_samples

    return go


if __name__ == "__main__":
    main()
