"""SAM Audio's speed on a GPU, with drawn weights of the real sizes: `python -m benchmarks.gpu --out FOLDER`.

Speed does not depend on what the weights are, so no checkpoint is needed. Times are medians of 10 s of mono audio
(unless said otherwise), warm; prompts have 8 tokens; text encoding is not included. Next to each evaluation stands its
floor: the larger of its operations over the matrix rate and its weights over the bandwidth, both measured here first.
Eager, as a CUDA graph, compiled, and by TensorRT where it is installed; the end says how far each target is, and where
the time goes. `--smoke` runs every step that a CPU can run, on a toy network.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from benchmarks.drawn import TOY
from benchmarks.gpu_compiled import time_compiled, time_compiled_codec, time_tensorrt
from benchmarks.gpu_eager import compare_precisions, measure_ceilings, time_codec, time_end_to_end, time_evaluations
from benchmarks.gpu_report import Report, describe, peak_gb
from benchmarks.gpu_targets import TARGETS, held, shares
from benchmarks.measure import is_cuda
from engine.model.config import RELEASED, SAMPLE_RATE, Sizes
from engine.model.network import random_network

COMPILE_RESERVE_S = 75.0
"""A compiled variant is begun only when this much of the budget is left."""
TENSORRT_RESERVE_S = 240.0
"""So are a size's TensorRT plans."""


def measure_size(
    report: Report, name: str, sizes: Sizes, n_frames: int, ceilings: tuple[float, float], device: str
) -> None:
    """All of one size but what is compiled."""
    with report.guarded(name, "precisions"):
        peak_gb(device)
        exact = random_network(replace(sizes, watermark=None), 0, device=device)
        report.add(name, "fp32 weights", peak_gb(device), "GB")
        time_evaluations(report, name, exact, "fp32", n_frames, ceilings, device)
        network = compare_precisions(report, name, exact, n_frames, device)
        del exact
        gc.collect()
        if is_cuda(device):
            torch.cuda.empty_cache()
        if is_cuda(device):
            time_evaluations(report, name, network, "fp16", n_frames, ceilings, device)
        time_end_to_end(report, name, network, n_frames, device)


def conclude(report: Report, sizes: list[str]) -> None:
    """Each target beside what was reached, and where the time goes."""
    report.facts["targets"] = dict(held(report.facts))
    for name, said in report.facts["targets"].items():
        of_floor = "" if said["of_floor"] is None else f", {said['of_floor']:.1f} times the floor"
        print(f"{name}: {said['ms']:.1f} ms ({said['run']}), target {said['target_ms']:g} ms{of_floor}", flush=True)
    wanted = {(target.size, target.nfe) for target in TARGETS if target.nfe} | {(size, 8) for size in sizes}
    goes = {f"{size}, {nfe} NFE": shares(report.facts, size, nfe) for size, nfe in sorted(wanted)}
    report.facts["where the time goes"] = {name: parts for name, parts in goes.items() if parts}
    for name, parts in report.facts["where the time goes"].items():
        print(f"{name}: " + ", ".join(f"{what} {ms:.1f} ms" for what, ms in parts.items()), flush=True)
    report.save()


def main() -> None:
    """Run all that fits the budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(), help="folder of gpu.json")
    parser.add_argument("--sizes", nargs="+", choices=list(RELEASED), default=list(RELEASED))
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the clip")
    parser.add_argument("--budget-s", type=float, default=500.0, help="begin nothing that may not end within this")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--no-tensorrt", action="store_true", help="TensorRT takes minutes to build a size's plans")
    parser.add_argument("--smoke", action="store_true", help="a toy network on the CPU")
    args = parser.parse_args()
    device = "cpu" if args.smoke else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device; --smoke runs on the CPU")
    # the fp32 reference is true float32, in convolutions as in products
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    args.out.mkdir(parents=True, exist_ok=True)
    report = Report(args.out / "gpu.json", time.monotonic() + args.budget_s, device, {"about": describe(device)})
    print(json.dumps(report.facts["about"]), flush=True)
    n_frames = 5 if args.smoke else round(args.seconds * SAMPLE_RATE / RELEASED["small"].codec.hop)
    models = {"toy": TOY} if args.smoke else {name: RELEASED[name] for name in args.sizes}
    with torch.inference_mode():
        ceilings = (1.0, 1.0)
        with report.guarded("ceilings", "all"):
            ceilings = measure_ceilings(report, device, smoke=args.smoke)
        first = replace(next(iter(models.values())), watermark=None)
        with report.guarded("codec", "all"):
            time_codec(report, random_network(first, 0, device=device), n_frames, ceilings[0], device)
        for name, sizes in models.items():
            measure_size(report, name, sizes, n_frames, ceilings, device)
        if device == "cuda" and not args.no_compile:
            steps: list[tuple[str, Callable[[], None]]] = [
                (name, partial(time_compiled, report, name, models[name], n_frames, device)) for name in models
            ]
            steps.insert(1, ("codec", partial(time_compiled_codec, report, n_frames, device)))
            for name, step in steps:
                if report.left_s() < COMPILE_RESERVE_S:
                    print(f"{name:>10}  compiled: left out, {report.left_s():.0f} s of the budget are left", flush=True)
                    continue
                with report.guarded(name, "compiled"):
                    step()
        if device == "cuda" and not args.no_tensorrt:
            for name in models:
                if report.left_s() < TENSORRT_RESERVE_S:
                    print(f"{name:>10}  TensorRT: left out, {report.left_s():.0f} s of the budget are left", flush=True)
                    continue
                with report.guarded(name, "TensorRT"):
                    time_tensorrt(report, name, args.seconds)
    conclude(report, list(models))
    report.facts["seconds"] = args.budget_s - report.left_s()
    report.save()
    print(f"{report.facts['seconds']:.0f} s in all; {report.path}", flush=True)


if __name__ == "__main__":
    main()
