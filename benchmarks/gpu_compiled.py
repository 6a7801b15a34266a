"""Evaluations and codec on a GPU once more: compiled by torch, and by TensorRT."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from benchmarks.drawn import clip, prepared
from benchmarks.gpu_eager import BATCHES
from benchmarks.gpu_report import Report
from benchmarks.measure import captured, median_ms, snr_db
from engine.model.config import RELEASED, Sizes
from engine.model.network import random_network


def time_compiled(report: Report, name: str, sizes: Sizes, n_frames: int, device: str) -> None:
    """One evaluation with each block compiled, as a graph."""
    from torch import _dynamo as dynamo

    dynamo.config.recompile_limit = 64
    network = random_network(replace(sizes, watermark=None), 0, device=device, precision="fp16")
    cases = []
    for batch in BATCHES:
        _, latents, text, x = clip(sizes, n_frames, batch, device)
        ready = prepared(network, latents, text, 1)
        cases.append((batch, partial(ready.velocity, x, 0), ready.velocity(x, 0)))
    for block in network.dit.layers:
        block.compile(dynamic=False)
    for batch, call, eager in cases:
        began = time.monotonic()
        replay, out = captured(call)
        report.add(name, f"compiled: seconds to compile, batch {batch}", time.monotonic() - began, "s")
        report.add(name, f"fp16 evaluation compiled graph, batch {batch}", median_ms(replay, device, repeats=30), "ms")
        report.add(name, f"fp16 compiled against eager, batch {batch}", snr_db(eager, out), "dB")


def time_compiled_codec(report: Report, n_frames: int, device: str) -> None:
    """Encode and decode compiled, as a graph."""
    network = random_network(replace(RELEASED["small"], watermark=None), 0, device=device, precision="fp16")
    waveform, latents, _, _ = clip(network.sizes, n_frames, 1, device)
    codec = network.codec
    for name, method, given in (("encode", codec.encode, waveform), ("decode 1 stream", codec.decode, latents / 4)):
        eager, began = method(given), time.monotonic()
        replay, out = captured(partial(torch.compile(method, dynamic=False), given))
        report.add("codec", f"compiled: seconds to compile, {name}", time.monotonic() - began, "s")
        report.add("codec", f"fp16 {name} compiled graph", median_ms(replay, device), "ms")
        report.add("codec", f"fp16 {name} compiled against eager", snr_db(eager, out), "dB")


def time_tensorrt(report: Report, name: str, seconds: float) -> None:
    """The same model by TensorRT: exported, its plans built and held against torch, and run, in other processes."""
    from benchmarks.inference import child_of, prepare_models

    options = ["--size", name, "--seconds", str(seconds), "--threads", str(torch.get_num_threads())]
    with tempfile.TemporaryDirectory(prefix="stembridge-tensorrt-") as folder:
        run = partial(child_of, Path(folder), [*options, "--repeats", "5", "--nfe", "4,8"], torch.get_num_threads())
        _, errors = prepare_models(Path(folder), ["tensorrt-fp16"], run)
        found = run("tensorrt-fp16")
    report.facts["about"]["tensorrt"] = found["runtime"]
    for check in (errors["tensorrt-fp16"] or {}).get("checks", []):
        if check["snr_db"] is not None:
            report.add(name, f"tensorrt fp16 {check['what']} against fp32", check["snr_db"], "dB")
    for figures in (found["stages_s"], found["end_to_end_s"]):
        for what, value in figures.items():
            report.add(name, f"tensorrt fp16 {what}", 1e3 * value, "ms")
