"""Codec, evaluations and the whole way on a GPU, eager and as CUDA graphs."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.drawn import CODEC_GFLOP_PER_S, N_TOKENS, clip, prepared
from benchmarks.gpu_report import Report, peak_gb
from benchmarks.measure import (
    captured,
    copy_tb_s,
    forward_gbytes,
    forward_gflop,
    is_cuda,
    matmul_tflops,
    median_ms,
    snr_db,
)
from engine.flow.sampling import plan_sampling, solve
from engine.model.config import RELEASED, SAMPLE_RATE
from engine.model.network import DTYPES, Network, Precision, place
from engine.model.prepared import Prepared, prepare

EVALUATIONS = (1, 4, 8, 32)
BATCHES = (1, 4)


def measure_ceilings(report: Report, device: str, *, smoke: bool) -> tuple[float, float]:
    """(matrix rate in TFLOP/s, bandwidth in TB/s) this device reaches at best."""
    side = 256 if smoke else 8192
    dtype = torch.float32 if smoke else torch.float16
    rate = matmul_tflops(side, side, side, dtype, device)
    report.add("ceilings", f"matrix product {side}^3 {dtype}".replace("torch.", ""), rate, "TFLOP/s")
    bandwidth = copy_tb_s(device, 1 << 22 if smoke else 1 << 32)
    report.add("ceilings", "copy, read + written", bandwidth, "TB/s")
    for name, sizes in {} if smoke else RELEASED.items():
        shape = (250, sizes.dit.dim, 2 * sizes.dit.ffn_dim)
        report.add("ceilings", f"product of {name}'s FFN, {shape}", matmul_tflops(*shape, dtype, device), "TFLOP/s")
    return rate, bandwidth


def lowered(network: Network, precision: Precision, device: str) -> Network:
    """A copy in another precision."""
    part = replace(network, dit=copy.deepcopy(network.dit), codec=copy.deepcopy(network.codec), watermark=None)
    return place(part, device=device, precision=precision)


def time_codec(report: Report, network: Network, n_frames: int, rate: float, device: str) -> None:
    """Encode and decode: every precision, eager and as a graph, one stream and two."""
    waveform, latents, _, _ = clip(network.sizes, n_frames, 2, device)
    exact_latents, exact = network.codec.encode(waveform[:1]), network.codec.decode(latents[:1] / 4)
    precisions: tuple[Precision, ...] = ("fp32", "fp16", "bf16") if is_cuda(device) else ("fp32", "bf16")
    for precision in precisions:
        with report.guarded("codec", precision):
            codec = lowered(network, precision, device).codec
            if precision != "fp32":
                report.add(
                    "codec", f"{precision} encode against fp32", snr_db(exact_latents, codec.encode(waveform[:1])), "dB"
                )
                report.add(
                    "codec", f"{precision} decode against fp32", snr_db(exact, codec.decode(latents[:1] / 4)), "dB"
                )
            peak_gb(device)
            calls: dict[str, Callable[[], Tensor]] = {
                "encode": partial(codec.encode, waveform[:1]),
                "decode 1 stream": partial(codec.decode, latents[:1]),
                "decode 2 streams": partial(codec.decode, latents),
            }
            for name, call in calls.items():
                if precision == "fp16":
                    seconds = n_frames * network.sizes.codec.hop / SAMPLE_RATE
                    report.add("codec", f"{precision} {name} floor", seconds * CODEC_GFLOP_PER_S[name] / rate, "ms")
                report.add("codec", f"{precision} {name} eager", median_ms(call, device), "ms")
                if is_cuda(device) and precision != "bf16":
                    report.add("codec", f"{precision} {name} graph", median_ms(captured(call)[0], device), "ms")
            report.add("codec", f"{precision} peak memory", peak_gb(device), "GB")


def time_evaluations(
    report: Report,
    name: str,
    network: Network,
    precision: Precision,
    n_frames: int,
    ceilings: tuple[float, float],
    device: str,
) -> None:
    """One velocity evaluation: batches, eager and graph, next to its floor."""
    rate, bandwidth = ceilings
    sizes = network.sizes.dit
    for batch in BATCHES:
        _, latents, text, x = clip(network.sizes, n_frames, batch, device)
        ready = prepared(network, latents, text, 1)
        peak_gb(device)
        eager = median_ms(partial(ready.velocity, x, 0), device)
        gflop = batch * forward_gflop(sizes, n_frames, N_TOKENS)
        floor = max(gflop / rate, 1e3 * forward_gbytes(sizes, DTYPES[precision].itemsize) / bandwidth) / 1e3
        report.add(name, f"{precision} evaluation eager, batch {batch}", eager, "ms", f"{gflop / eager:.0f} TFLOP/s")
        if precision == "fp16":
            report.add(name, f"{precision} floor, batch {batch}", floor, "ms")
        if is_cuda(device):
            replay, _ = captured(partial(ready.velocity, x, 0))
            graph = median_ms(replay, device, repeats=30)
            report.add(
                name, f"{precision} evaluation graph, batch {batch}", graph, "ms", f"{gflop / graph:.0f} TFLOP/s"
            )
        report.add(name, f"{precision} evaluation peak memory, batch {batch}", peak_gb(device), "GB")


def compare_precisions(report: Report, name: str, exact: Network, n_frames: int, device: str) -> Network:
    """Velocity, latents and waveform of the lower precisions against fp32; returns the fp16 network (bf16 on a CPU)."""
    _, latents, text, x = clip(exact.sizes, n_frames, 1, device)
    plan = plan_sampling(nfe=8)

    def run(network: Network) -> tuple[Tensor, Tensor, Tensor]:
        ready = prepared(network, latents, text, 8)
        result = solve(ready.velocity, x, plan)
        target = result[..., : network.sizes.dit.n_channels]
        return ready.velocity(x, 4), result, network.codec.decode(target)

    reference = run(exact)
    kept = exact
    precisions: tuple[Precision, ...] = ("bf16", "fp16") if is_cuda(device) else ("bf16",)
    for precision in precisions:
        kept = lowered(exact, precision, device)
        for what, ours, theirs in zip(("velocity", "latents, 8 NFE", "waveform"), reference, run(kept), strict=True):
            report.add(name, f"{precision} {what} against fp32", snr_db(ours, theirs), "dB")
    return kept


def time_end_to_end(report: Report, name: str, network: Network, n_frames: int, device: str) -> None:
    """Waveform on the host to target on the host: encode, solve, decode one stream; the residual is a subtraction."""
    waveform, _, text, x = clip(network.sizes, n_frames, 1, device)
    source = waveform.cpu().pin_memory() if is_cuda(device) else waveform.cpu()
    for nfe in EVALUATIONS:
        plan = plan_sampling(nfe=nfe)
        times = network.dit.time_constants(plan.times)
        tokens = torch.zeros(1, n_frames, dtype=torch.long, device=device)
        silence = torch.zeros(1, n_frames, network.sizes.dit.n_channels, device=device)
        base = prepare(network.dit, times, network.dit.condition(silence, tokens), text)

        def separate(base: Prepared = base, plan: Any = plan, tokens: Tensor = tokens) -> Tensor:
            ready = replace(base, condition=network.dit.condition(network.codec.encode(waveform), tokens))
            return network.codec.decode(solve(ready.velocity, x, plan)[..., : network.sizes.dit.n_channels])

        def whole(run: Callable[[], Tensor]) -> float:
            walls = []
            for repeat in range(8):
                began = time.perf_counter()
                waveform.copy_(source, non_blocking=True)
                run().cpu()
                if repeat > 1:
                    walls.append((time.perf_counter() - began) * 1e3)
            return statistics.median(walls)

        peak_gb(device)
        report.add(name, f"end to end eager, {nfe} NFE", whole(separate), "ms")
        if is_cuda(device):
            replay, out = captured(separate)

            def run_graph(replay: Callable[[], Any] = replay, out: Tensor = out) -> Tensor:
                replay()
                return out

            report.add(name, f"end to end graph, {nfe} NFE", whole(run_graph), "ms")
        report.add(name, f"end to end peak memory, {nfe} NFE", peak_gb(device), "GB")
