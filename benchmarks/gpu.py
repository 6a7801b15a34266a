"""SAM Audio's speed on a GPU, with drawn weights of the real sizes: `python -m benchmarks.gpu --out FOLDER`.

Speed does not depend on what the weights are, so no checkpoint is needed. Times are medians of 10 s of mono audio
(unless said otherwise), warm; prompts have 8 tokens; text encoding is not included. Next to each evaluation stands its
floor: the larger of its operations over the matrix rate and its weights over the bandwidth, both measured here first.
Eager, as a CUDA graph, compiled, and by TensorRT where it is installed; the end says how far each target is, and where
the time goes. `--smoke` runs every step that a CPU can run, on a toy network.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import platform
import statistics
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu_targets import TARGETS, held, shares
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
from engine.flow.sampling import noise, plan_sampling, solve
from engine.model.config import RELEASED, SAMPLE_RATE, Sizes
from engine.model.network import DTYPES, Network, Precision, place, random_network
from engine.model.prepared import Prepared, prepare

N_TOKENS = 8
EVALUATIONS = (1, 4, 8, 32)
BATCHES = (1, 4)
CODEC_GFLOP_PER_S = {"encode": 48.7, "decode 1 stream": 109.6, "decode 2 streams": 219.2}
"""Operations a second of audio at the released sizes."""
COMPILE_RESERVE_S = 75.0
"""A compiled variant is begun only when this much of the budget is left."""
TENSORRT_RESERVE_S = 240.0
"""So are a size's TensorRT plans."""


@dataclass
class Report:
    """What was measured so far; written to disk after every figure, so that a run cut short leaves its numbers."""

    path: Path
    deadline_s: float
    device: str
    facts: dict[str, Any]

    def add(self, part: str, name: str, value: float, unit: str, note: str = "") -> None:
        """Record a figure and print it."""
        self.facts.setdefault(part, {})[f"{name} [{unit}]"] = value
        print(f"{part:>10}  {name:<52}{value:>10.3f} {unit:<8}{note}", flush=True)
        self.save()

    def save(self) -> None:
        """Write what there is."""
        self.path.write_text(json.dumps(self.facts, indent=1) + "\n", encoding="utf-8")

    def left_s(self) -> float:
        """Seconds of the budget that are left."""
        return self.deadline_s - time.monotonic()

    @contextmanager
    def guarded(self, part: str, step: str) -> Iterator[None]:
        """Run a step; when it fails, record how and go on with the next."""
        try:
            yield
        except Exception as e:  # noqa: BLE001  a benchmark of many variants reports each failure and goes on
            self.facts.setdefault("failed", {})[f"{part}: {step}"] = f"{type(e).__name__}: {e}"
            print(f"{part:>10}  {step}: FAILED\n{traceback.format_exc()}", flush=True)
            self.save()
        finally:
            gc.collect()
            if is_cuda(self.device):
                torch.cuda.empty_cache()


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


def clip(sizes: Sizes, n_frames: int, batch: int, device: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(waveform, latents, text features, noise) drawn from a seed."""
    draw = torch.Generator().manual_seed(7)
    waveform = 0.1 * torch.randn(batch, 1, n_frames * sizes.codec.hop, generator=draw)
    latents = torch.randn(batch, n_frames, sizes.dit.n_channels, generator=draw)
    text = torch.randn(1, N_TOKENS, sizes.dit.text_dim, generator=draw)
    start = torch.from_numpy(noise(range(batch), n_frames, sizes.dit.n_state))
    return waveform.to(device), latents.to(device), text.to(device), start.to(device)


def prepared(network: Network, latents: Tensor, text: Tensor, nfe: int) -> Prepared:
    """A clip without spans, ready for `nfe` evaluations."""
    tokens = torch.zeros(latents.shape[:2], dtype=torch.long, device=latents.device)
    return prepare(network.dit, plan_sampling(nfe=nfe).times, network.dit.condition(latents, tokens), text)


def lowered(network: Network, precision: Precision, device: str) -> Network:
    """A copy in another precision."""
    part = replace(network, dit=copy.deepcopy(network.dit), codec=copy.deepcopy(network.codec), watermark=None)
    return place(part, device=device, precision=precision)


def peak_gb(device: str) -> float:
    """Most device memory in use since the last call, in GB."""
    if not is_cuda(device):
        return 0.0
    peak = torch.cuda.max_memory_allocated() / 1e9
    torch.cuda.reset_peak_memory_stats()
    return peak


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


def describe(device: str) -> dict[str, Any]:
    """What this ran on."""
    facts: dict[str, Any] = {"python": platform.python_version(), "torch": torch.__version__, "device": device}
    if is_cuda(device):
        free, total = torch.cuda.mem_get_info()
        facts |= {
            "gpu": torch.cuda.get_device_name(),
            "capability": torch.cuda.get_device_capability(),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            "memory_free_gb": free / 1e9,
            "memory_total_gb": total / 1e9,
        }
        driver = Path("/proc/driver/nvidia/version")
        if driver.exists():
            facts["driver"] = driver.read_text(encoding="utf-8").splitlines()[0]
    return facts


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


_TOY_DIT = replace(
    RELEASED["small"].dit, dim=32, n_heads=4, n_layers=2, ffn_dim=64, n_channels=4, text_dim=8, video_dim=8, time_dim=16
)
TOY = Sizes(
    _TOY_DIT,
    replace(RELEASED["small"].codec, encoder_dim=2, hidden_dim=8, n_channels=4, decoder_dim=32),
    None,
)

if __name__ == "__main__":
    main()
