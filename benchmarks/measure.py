"""Clocks, ceilings and comparisons that the benchmarks share."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from engine.model.config import DitSizes

Call = Callable[[], Any]


def is_cuda(device: str) -> bool:
    """Whether timing goes by device events."""
    return torch.device(device).type == "cuda"


def median_ms(call: Call, device: str, *, warm: int = 3, repeats: int = 10) -> float:
    """Median milliseconds of a call: device events on CUDA, the clock elsewhere."""
    for _ in range(warm):
        call()
    times: list[float] = []
    for _ in range(repeats):
        if is_cuda(device):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            start.record()
            call()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end))
        else:
            began = time.perf_counter()
            call()
            times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times)


def captured(call: Callable[[], Tensor]) -> tuple[Call, Tensor]:
    """A CUDA graph of `call`: what replays it, and the tensor every replay writes."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = call()
    return graph.replay, out


def snr_db(exact: Tensor, other: Tensor) -> float:
    """Signal to error ratio of `other` against `exact`, in dB; nan when `other` is not finite."""
    exact, other = exact.double(), other.double()
    if not bool(torch.isfinite(other).all()):
        return math.nan
    error = (exact - other).square().sum().item()
    return math.inf if error == 0 else 10 * math.log10(exact.square().sum().item() / error)


def matmul_tflops(rows: int, inner: int, columns: int, dtype: torch.dtype, device: str) -> float:
    """What a plain matrix product of these shapes reaches on random data, in TFLOP/s."""
    a = torch.randn(rows, inner, device=device, dtype=dtype)
    b = torch.randn(columns, inner, device=device, dtype=dtype)
    ms = median_ms(lambda: torch.nn.functional.linear(a, b), device)
    return 2 * rows * inner * columns / ms / 1e9


def copy_tb_s(device: str, n_bytes: int) -> float:
    """Memory bandwidth of a copy within the device, bytes read and written, in TB/s."""
    a = torch.empty(n_bytes, dtype=torch.uint8, device=device).random_()
    b = torch.empty_like(a)
    return 2 * n_bytes / median_ms(lambda: b.copy_(a), device) / 1e9


def forward_gflop(sizes: DitSizes, n_frames: int, n_tokens: int) -> float:
    """Floating-point operations of one velocity evaluation as we run it, a multiply-add as 2, in GFLOP."""
    dim = sizes.dim
    layer = 6 * dim * dim + 3 * dim * sizes.ffn_dim + 2 * n_frames * dim + 2 * n_tokens * dim
    return 2 * n_frames * (sizes.n_layers * layer + 6 * dim * dim + 2 * sizes.n_state * dim) / 1e9


def forward_gbytes(sizes: DitSizes, bytes_a_weight: int) -> float:
    """Weights one evaluation reads, in GB."""
    dim = sizes.dim
    n_weights = sizes.n_layers * (6 * dim * dim + 3 * dim * sizes.ffn_dim) + 6 * dim * dim
    return (n_weights * bytes_a_weight + 4 * 2 * sizes.n_state * dim) / 1e9
