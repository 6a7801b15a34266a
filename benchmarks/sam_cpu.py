"""SAM Audio on a CPU, float32, with drawn weights of a real size: `python -m benchmarks.sam_cpu [--size small]`.

Prints the memory a loaded model takes, the seconds of one velocity evaluation, of encode and of decode for 10 s of
audio, and what of the machine they use: operations a second, next to plain matrix products of the same shapes timed in
the same run. With `--threads 1` times are of the processor, not of the clock: a busy machine can be measured too.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.drawn import TOY, clip, prepared
from benchmarks.measure import forward_gflop
from engine.bundle import MANIFEST, SCHEMA, read_bundle
from engine.model.codec import Conv, Downsample
from engine.model.config import RELEASED, SAMPLE_RATE, DitSizes, Sizes
from engine.model.network import parts_of, random_network
from engine.model.tensor_file import write_tensors
from engine.model.weights import load_network

Shape = tuple[int, int, int]
"""(rows, inner, columns) of a matrix product."""
MAX_ROWS = 4096
"""Longer products are timed at this many rows and scaled: their speed no longer depends on the rows."""


def write_bundle(folder: Path, sizes: Sizes) -> None:
    """A bundle of drawn weights."""
    files = {}
    for name, module in parts_of(random_network(sizes, 0)).items():
        tensors = module.state_dict()
        shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
        written = write_tensors(folder / f"{name}.safetensors", shapes, tensors.items())
        files[f"{name}.safetensors"] = {"sha256": written.sha256, "bytes": written.n_bytes}
    facts = {"schema": SCHEMA, "name": "drawn", "kind": "flow", "title": "drawn", "version": "1", "licence": "none"}
    (folder / MANIFEST).write_text(json.dumps({**facts, "files": files, "sizes": sizes.to_dict()}))


def resident_bytes() -> int:
    """Memory of this process, files mapped into it included."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmRSS")


def load_and_touch(folder: Path) -> dict[str, int]:
    """Memory before a model is loaded, after, and after every weight has been used once."""
    before = resident_bytes()
    network = load_network(read_bundle(folder))
    loaded = resident_bytes()
    with torch.inference_mode():
        waveform, latents, text, x = clip(network.sizes, 4, 1, "cpu")
        prepared(network, latents, text, 1).velocity(x, 0)
        network.codec.encode(waveform)
        network.codec.decode(latents)
        weights = sum(p.numel() * p.element_size() for m in parts_of(network).values() for p in m.parameters())
    return {"before": before, "loaded": loaded, "used": resident_bytes(), "weights": weights}


def evaluation_shapes(s: DitSizes, n_frames: int) -> list[Shape]:
    """The matrix products of one evaluation, attention's own left out."""
    dim = s.dim
    layer = [
        (n_frames, dim, 3 * dim),
        *[(n_frames, dim, dim)] * 3,
        (n_frames, dim, 2 * s.ffn_dim),
        (n_frames, s.ffn_dim, dim),
    ]
    ends = [(n_frames, s.n_state, dim), *[(n_frames, 3 * dim, dim)] * 2, (n_frames, dim, s.n_state)]
    return layer * s.n_layers + ends


def codec_shapes(codec: torch.nn.Module, run: Any) -> list[Shape]:
    """The convolutions that `run` runs, each as the matrix product it amounts to."""
    shapes: list[Shape] = []

    def note(module: Conv | Downsample, given: Any, out: torch.Tensor) -> None:
        n_out, taps, n_in = module.weight.shape
        shapes.append((out.shape[0] * out.shape[3], taps * n_in, n_out))

    hooks = [m.register_forward_hook(note) for m in codec.modules() if isinstance(m, (Conv, Downsample))]
    run()
    for hook in hooks:
        hook.remove()
    return shapes


def best_s(call: Callable[[], Any], repeats: int) -> float:
    """Seconds of the quickest of several calls after a first one: what others on the machine take is left out."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    call()
    times = []
    for _ in range(repeats):
        began = clock()
        call()
        times.append(clock() - began)
    return min(times)


def peak_bytes() -> int:
    """Most memory this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def products_ms(shapes: Iterable[Shape]) -> float:
    """Time of plain matrix products of these shapes, each kind timed once."""
    known: dict[Shape, float] = {}
    total = 0.0
    for rows, inner, columns in shapes:
        timed = min(rows, MAX_ROWS)
        key = (timed, inner, columns)
        if key not in known:
            a, b = torch.randn(timed, inner), torch.randn(columns, inner)
            known[key] = 1e3 * best_s(partial(torch.nn.functional.linear, a, b), 5)
        total += known[key] * rows / timed
    return total


def main() -> None:
    """Measure one size and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=[*RELEASED, "toy"], default="small")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--touch", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.touch is not None:
        print(json.dumps(load_and_touch(args.touch)))
        return
    sizes = TOY if args.size == "toy" else replace(RELEASED[args.size], watermark=None)
    n_frames = round(args.seconds * SAMPLE_RATE / sizes.codec.hop)
    figures: dict[str, Any] = {"size": args.size, "seconds": args.seconds, "threads": args.threads}
    print(f"{args.size}, {args.seconds:g} s of audio, float32, {args.threads} threads, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        write_bundle(Path(folder), sizes)
        command = [sys.executable, "-m", "benchmarks.sam_cpu", "--touch", folder, "--threads", str(args.threads)]
        memory = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        figures["memory"] = memory
        for what in ("loaded", "used"):
            grown = memory[what] - memory["before"]
            print(
                f"memory {what:>6}: {grown / 1e9:6.2f} GB, {grown / memory['weights']:.2f} of "
                f"{memory['weights'] / 1e9:.2f} GB of weights (the process without it {memory['before'] / 1e9:.2f} GB)",
                flush=True,
            )
        network = load_network(read_bundle(Path(folder)))
    with torch.inference_mode():
        waveform, latents, text, x = clip(network.sizes, n_frames, 1, "cpu")
        began = time.perf_counter()
        ready = prepared(network, latents, text, 8)
        print(f"prepare, 8 NFE: {time.perf_counter() - began:.2f} s", flush=True)
        codec = network.codec
        calls = {
            "evaluation": (lambda: ready.velocity(x, 0), evaluation_shapes(sizes.dit, n_frames)),
            "encode": (lambda: codec.encode(waveform), codec_shapes(codec, lambda: codec.encode(waveform))),
            "decode": (lambda: codec.decode(latents), codec_shapes(codec, lambda: codec.decode(latents))),
        }
        for name, (call, shapes) in calls.items():
            ms = 1e3 * best_s(call, 5 if name == "evaluation" else 2)
            plain = products_ms(shapes)
            gflop = sum(2 * rows * inner * columns for rows, inner, columns in shapes) / 1e9
            if name == "evaluation":
                gflop = forward_gflop(sizes.dit, n_frames, text.shape[1])
            figures[name] = {"s": ms / 1e3, "gflop": gflop, "gflop_s": gflop / ms * 1e3, "of_plain": plain / ms}
            print(
                f"{name:>10}: {ms / 1e3:7.2f} s, {gflop:7.0f} GFLOP, {gflop / ms * 1e3:6.0f} GFLOP/s; plain products "
                f"{plain / 1e3:.2f} s, {plain / ms:.2f} of their speed; peak memory {peak_bytes() / 1e9:.2f} GB",
                flush=True,
            )
    if args.json is not None:
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
