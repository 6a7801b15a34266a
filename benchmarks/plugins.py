"""What it costs to host plugins in a process of their own: the same blocks through the same chain, here and there.

Run it: `python -m benchmarks.plugins` (needs the extra [plugins] and Debian's zam-plugins). The host is loaded into the
benchmark's own process for the comparison; the engine never does that.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
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
LENGTH_S: Final = 180
"""A song: what the first blocks cost once is then no more than it is in use."""
REPEATS: Final = 7
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


@dataclass(frozen=True)
class Spent:
    """What one run took; loading is not in it."""

    wall_s: float
    cpu_s: float
    """Of both processes together."""


def figures() -> Iterator[Figure]:
    """The least of each, taken in turn: whatever else runs on the machine disturbs both alike."""
    noise = 0.05 * np.random.default_rng(0).standard_normal((2, LENGTH_S * RATE_HZ))
    samples = noise.astype(np.float32)
    blocks = [samples[:, at : at + CAPACITY] for at in range(0, samples.shape[1], CAPACITY)]
    conditions = f"{LENGTH_S} s of stereo noise at {RATE_HZ} Hz, least of {REPEATS}, load {os.getloadavg()[0]:.1f}"
    for name, chain in CHAINS.items():
        pairs = [(_here(chain, blocks), _there(chain, blocks)) for _ in range(REPEATS)]
        here_s, there_s = (min(run.wall_s for run in runs) for runs in zip(*pairs, strict=True))
        here_cpu_s, there_cpu_s = (min(run.cpu_s for run in runs) for runs in zip(*pairs, strict=True))
        yield Figure(f"{name}: in one process", 1e3 * here_s, "ms", None, "<=", conditions)
        if chain == NOTHING:
            each_ms = 1e3 * (there_s - here_s) * 60 / LENGTH_S
            yield Figure(f"{name}: hand-off of a minute of audio", each_ms, "ms", None, "<=", conditions)
            continue
        more, more_cpu = 100 * (there_s / here_s - 1), 100 * (there_cpu_s / here_cpu_s - 1)
        yield Figure(f"{name}: hand-off, time", more, "%", MAX_OVERHEAD, "<=", conditions)
        yield Figure(f"{name}: hand-off, processor time", more_cpu, "%", MAX_OVERHEAD, "<=", conditions)


def _here(chain: Chain, blocks: list[Samples]) -> Spent:
    stages = [host.load(replace(use, plugin=find_plugin(use.plugin)), RATE_HZ, 2, 8192) for use in chain]
    return _timed(lambda: _streamed(stages, blocks), lambda: 0.0)


def _there(chain: Chain, blocks: list[Samples]) -> Spent:
    with Worker() as worker:
        worker.open(chain, RATE_HZ, 2)
        return _timed(lambda: through(worker, blocks), lambda: _cpu_s(worker.pid))


def _timed(stream: Callable[[], Iterator[Samples]], other_cpu_s: Callable[[], float]) -> Spent:
    began_s, began_cpu_s = time.perf_counter(), time.process_time() + other_cpu_s()
    n_samples = sum(int(piece.shape[1]) for piece in stream())
    spent = Spent(time.perf_counter() - began_s, time.process_time() + other_cpu_s() - began_cpu_s)
    assert n_samples == LENGTH_S * RATE_HZ
    return spent


def _cpu_s(pid: int) -> float:
    """Processor time of another process (Linux)."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return 1e-9 * sum(int(thread.read_text().split()[0]) for thread in threads)


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


if __name__ == "__main__":
    main()
