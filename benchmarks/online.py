"""A running engine as its clients see it: ready, first sound, answers while it works, and answers under load."""

from __future__ import annotations

import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.offline import long_file, noise_file
from benchmarks.table import Figure
from bridge.api.requests import Ping
from bridge.osc.client import Client, new_rid

N_REGIONS = 9
N_PINGS = 1_000
N_CLIENTS = 8
N_REQUESTS = 1_000
WINDOW = 16
"""Requests a client keeps in flight."""


@dataclass(frozen=True)
class Engine:
    """A running `stembridge serve`."""

    port: int
    ready_s: float


@contextmanager
def running_engine(folder: Path) -> Iterator[Engine]:
    """Start an engine whose state lies below `folder`; stop it at the end."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    homes = {f"XDG_{name}_HOME": str(folder / name.lower()) for name in ("STATE", "CACHE", "CONFIG", "DATA")}
    command = [sys.executable, "-m", "bridge", "serve", "--port", str(port)]
    command += ["--root", str(folder), "--out", str(folder / "stems")]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **homes})
    try:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise RuntimeError(f"the engine ended with {process.wait()} before it was ready")
        yield Engine(port, time.perf_counter() - began)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def job_s(client: Client, source: Path, out: Path) -> float:
    """Seconds from the request to the end of its job."""
    began = time.perf_counter()
    client.wait(client.submit({"path": str(source), "prompt": "vocals", "out": str(out)}), timeout_s=120)
    return time.perf_counter() - began


def ping_ms(client: Client, n: int) -> list[float]:
    """Round trips of `n` pings, one after the other."""
    taken = []
    for _ in range(n):
        began = time.perf_counter()
        client.ask(Ping(new_rid()))
        taken.append((time.perf_counter() - began) * 1_000)
    return taken


def flood(port: int, n: int) -> tuple[int, bool]:
    """One client's `n` pings, `WINDOW` in flight: how many were answered, and whether in order."""
    with Client(port) as client:
        rids = [new_rid() for _ in range(n)]
        answered: list[str] = []
        for i, rid in enumerate(rids):
            client.send(Ping(rid))
            if i >= WINDOW - 1:
                answered.append(client.answer(rids[i - WINDOW + 1], 10).rid)
        answered += [client.answer(rid, 10).rid for rid in rids[n - WINDOW + 1 :]]
    return len(answered), answered == rids


def figures(folder: Path) -> Iterator[Figure]:
    """Every figure of this module, as it is measured. Reads and writes below `folder`."""
    out = folder / "stems"
    starts = []
    for _ in range(3):
        with running_engine(folder) as engine:
            starts.append(engine.ready_s)
    yield Figure(
        "engine ready", statistics.median(starts), "s", 2, "<=", "process start to the ready line, median of 3"
    )
    with running_engine(folder) as engine, Client(engine.port) as client:
        sources = [noise_file(folder / f"region{i}.wav", 10, i) for i in range(N_REGIONS + 1)]
        job_s(client, sources[0], out)
        warm = [job_s(client, source, out) for source in sources[1:]]
        shown = f"request to done, stereo 44.1 kHz, {N_REGIONS} different regions"
        yield Figure("warm 10 s region", statistics.median(warm), "s", 0.8, "<=", f"{shown}, median")
        yield Figure("warm 10 s region, slowest", max(warm), "s", None, "<=", shown)
        again = [job_s(client, source, out) * 1_000 for source in sources[1:]]
        shown = "request to done, the same regions again, median"
        yield Figure("repeated request (cache)", statistics.median(again), "ms", 50, "<=", shown)
        job = client.submit({"path": str(long_file(folder, 240)), "prompt": "vocals", "out": str(out)})
        with Client(engine.port) as other:
            taken = sorted(ping_ms(other, N_PINGS))
        client.cancel(job)
        shown = f"{N_PINGS} pings, one at a time, while a 4 min job runs on both cores"
        yield Figure("ping while a job runs, p99", taken[round(0.99 * N_PINGS) - 1], "ms", 10, "<=", shown)
        yield Figure("ping while a job runs, median", statistics.median(taken), "ms", None, "<=", shown)
        results: list[tuple[int, bool]] = []
        clients = [
            threading.Thread(target=lambda: results.append(flood(engine.port, N_REQUESTS))) for _ in range(N_CLIENTS)
        ]
        began = time.perf_counter()
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join()
        spent_s = time.perf_counter() - began
        total = N_CLIENTS * N_REQUESTS
        ordered = "all in order" if all(in_order for _, in_order in results) else "NOT in order"
        shown = f"{N_CLIENTS} clients × {N_REQUESTS} pings over UDP, {WINDOW} in flight each; {ordered}"
        yield Figure("requests answered", sum(n for n, _ in results) / total * 100, "%", 100, ">=", shown)
        yield Figure("requests a second", total / spent_s, "1/s", None, ">=", "the same; the clients share the cores")
