"""Flow models on a CPU, by runtime and precision: `python -m benchmarks.inference [--size small] [--seconds 10]`.

Speed does not depend on what the weights are, so a model of drawn weights at a released size is exported (and held
against the network) in a temporary folder. Each runtime is then measured in a process of its own, whose peak memory is
its own: every stage, and the whole way from a mono mixture to the mask. Figures are medians, warm. What a machine's
cores can do is measured beside them, as a plain matrix product; the load while it ran is in the file.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.table import machine
from engine.model.config import RELEASED, SAMPLE_RATE
from engine.runtime import Ask
from engine.windows import Window

RESULTS = Path(__file__).parent / "results"
RUNTIMES = ("torch", "fp32", "int8", "fp16", "torch-gpu", "tensorrt-fp32", "tensorrt-fp16")
"""torch on the CPU, onnxruntime by precision, and what needs a GPU, which has not been measured."""
PROMPT = "lead vocals"
NFES = (1, 4, 8)
PREVIEW_S = 2.0
_CHILD_LIMIT_S = 3600


def write_models(folder: Path, size: str) -> None:
    """A models folder: a bundle of drawn weights and a text encoder of t5-base's size, drawn too."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import T5Config, T5EncoderModel

    from benchmarks.gpu import TOY
    from benchmarks.sam_cpu import write_bundle

    sizes = TOY if size == "toy" else replace(RELEASED[size], watermark=None)
    (folder / "drawn").mkdir(parents=True)
    write_bundle(folder / "drawn", sizes)
    manifest = folder / "drawn" / "bundle.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "sample_rate": SAMPLE_RATE}))
    words = ["<pad>", "</s>", "<unk>", *(f"▁{word}" for word in PROMPT.split()), "▁"]
    tokenizer = Tokenizer(models.Unigram([(word, -1.0 * index) for index, word in enumerate(words)], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    wide = sizes.dit.text_dim
    deep = {"num_layers": 12, "num_heads": 12, "d_ff": 3072, "d_kv": 64} if size != "toy" else {"num_layers": 1}
    T5EncoderModel(T5Config(vocab_size=32_128 if size != "toy" else 99, d_model=wide, **deep)).save_pretrained(
        folder / "t5-base"
    )
    tokenizer.save(str(folder / "t5-base" / "tokenizer.json"))


def median_s(call: Callable[[], Any], repeats: int) -> float:
    """Median seconds of several calls after a first one."""
    call()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def peak_bytes() -> int:
    """Most memory this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def matmul_gflop_s(threads: int) -> float:
    """What a plain float32 product of the feed-forward's shape reaches, by torch, in GFLOP/s: the best of several."""
    import torch

    from benchmarks.sam_cpu import best_s

    torch.set_num_threads(threads)
    rows, inner, columns = 1024, 1536, 8192
    a, b = torch.randn(rows, inner), torch.randn(columns, inner)
    return 2 * rows * inner * columns / best_s(partial(torch.nn.functional.linear, a, b), 10) / 1e9


def open_runtime(folder: Path, name: str, threads: int) -> Any:
    """One runtime of the model in a models folder."""
    from engine.artefact import folder_of, read_artefact
    from engine.bundle import read_bundle
    from engine.runtimes.onnx_flow import open_onnx
    from engine.runtimes.torch_runtime import TorchFlow

    bundle = read_bundle(folder / "drawn")
    if name == "torch-gpu":
        return TorchFlow(bundle, folder / "t5-base")
    if name.startswith("tensorrt-"):
        from engine.runtimes.tensorrt_runtime import open_tensorrt

        plans = read_artefact(folder_of(bundle, "tensorrt", name.removeprefix("tensorrt-")))
        return open_tensorrt(bundle, plans, folder / "t5-base", verified=False)
    if name == "torch":
        import torch

        torch.set_num_threads(threads)
        return TorchFlow(bundle, folder / "t5-base", device="cpu")
    return open_onnx(bundle, read_artefact(folder_of(bundle, "onnx", name)), folder / "t5-base", threads=threads)


def measure(folder: Path, name: str, seconds: float, threads: int, repeats: int) -> dict[str, Any]:
    """Everything of one runtime, in this process."""
    from engine.bundle import read_bundle
    from engine.flow.model import FlowModel

    before = peak_bytes()
    began = time.perf_counter()
    runtime = open_runtime(folder, name, threads)
    figures: dict[str, Any] = {"runtime": runtime.name, "open_s": time.perf_counter() - began}
    n = round(seconds * runtime.sample_rate)
    wave = 0.1 * np.random.default_rng(0).standard_normal((1, n)).astype(np.float32)
    latents = runtime.encode(wave)
    n_frames = len(latents)
    tokens = np.zeros((1, n_frames), np.int64)
    times = tuple(index / 4 for index in range(4))
    state = np.random.default_rng(1).standard_normal((1, n_frames, 2 * runtime.n_channels)).astype(np.float32)
    x, window = runtime.to_device(state), Window(0, n_frames)

    def text() -> None:
        runtime._texts.clear() if name.startswith("torch") else runtime.prompts.forget()
        runtime.is_cut(PROMPT)

    evaluate = runtime.velocity(latents, tokens, [PROMPT], times)
    figures["stages_s"] = {
        "encode": median_s(lambda: runtime.encode(wave), repeats),
        "text": median_s(text, repeats),
        "condition, 4 times": median_s(lambda: runtime.velocity(latents, tokens, [PROMPT], times), repeats),
        "velocity": median_s(lambda: runtime.to_host(evaluate(x, 1, window)), max(repeats, 5)),
        "decode, 2 streams": median_s(lambda: list(runtime.decode(state, mark_seed=None)), repeats),
    }
    if name in ("fp32", "int8", "fp16"):
        figures["overhead"] = overhead(runtime, evaluate, x, window)
    model = FlowModel(read_bundle(folder / "drawn"), runtime)

    def whole(nfe: int, n_heard: int) -> float:
        seed = iter(range(1000))

        def once() -> None:
            plan = model.plan(Ask(PROMPT, nfe=nfe, seed=next(seed)))
            list(model.estimate([wave[:, :n_heard]], 1, n_heard, plan, lambda done: None))

        return median_s(once, 1 if nfe > 4 else max(repeats - 1, 1))

    figures["end_to_end_s"] = {f"{seconds:g} s, {nfe} NFE": whole(nfe, n) for nfe in NFES}
    preview = min(n, round(PREVIEW_S * runtime.sample_rate))
    figures["end_to_end_s"][f"{PREVIEW_S:g} s preview, 1 NFE"] = whole(1, preview)
    figures["memory_bytes"] = {"before": before, "peak": peak_bytes()}
    return figures


def overhead(runtime: Any, evaluate: Callable[..., Any], x: Any, window: Window) -> float:
    """What the runtime adds to the raw session calls of an evaluation, as a share of them."""
    spent = 0.0
    graph = runtime.graph("velocity")
    run = graph.run

    def timed(*arguments: Any) -> Any:
        nonlocal spent
        began = time.perf_counter()
        try:
            return run(*arguments)
        finally:
            spent += time.perf_counter() - began

    graph.run = timed
    began = time.perf_counter()
    for _ in range(5):
        evaluate(x, 1, window)
    total = time.perf_counter() - began
    del graph.run
    return total / spent - 1


def gflop_of(size: str, seconds: float, n_tokens: int) -> dict[str, float]:
    """Operations of the stages, in GFLOP, where they are known."""
    if size not in RELEASED:
        return {}
    from benchmarks.gpu import CODEC_GFLOP_PER_S
    from benchmarks.measure import forward_gflop

    sizes = RELEASED[size]
    n_frames = round(seconds * SAMPLE_RATE / sizes.codec.hop)
    return {
        "encode": CODEC_GFLOP_PER_S["encode"] * seconds,
        "velocity": forward_gflop(sizes.dit, n_frames, n_tokens),
        "decode, 2 streams": CODEC_GFLOP_PER_S["decode 2 streams"] * seconds,
    }


def show(facts: dict[str, Any]) -> None:
    """The table."""
    names = list(facts["runtimes"])
    print(f"{'':<28}" + "".join(f"{name:>16}" for name in names))
    for part in ("stages_s", "end_to_end_s"):
        for what in facts["runtimes"][names[0]][part]:
            cells = []
            for name in names:
                value = facts["runtimes"][name][part][what]
                gflop = facts["gflop"].get(what)
                share = f" {gflop / value / facts['matmul_gflop_s']:.2f}" if gflop else ""
                cells.append(f"{value:.3f} s{share}")
            print(f"{what:<28}" + "".join(f"{cell:>16}" for cell in cells))
    peaks = [facts["runtimes"][name]["memory_bytes"]["peak"] / 1e9 for name in names]
    print(f"{'peak memory':<28}" + "".join(f"{peak:>13.2f} GB" for peak in peaks))
    print(f"matrix product {facts['matmul_gflop_s']:.0f} GFLOP/s; shares beside the seconds are of that")


def child(arguments: Sequence[str], threads: int) -> Any:
    """This module in a process of its own; what it prints last, as JSON."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "benchmarks.inference", *arguments]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, timeout=_CHILD_LIMIT_S, env=environment
    )
    return json.loads(done.stdout.splitlines()[-1])


def build(folder: Path, precision: str) -> dict[str, Any]:
    """Export in this process; seconds, bytes and what the comparison measured."""
    from engine.bundle import read_bundle
    from export.build import build as build_export

    began = time.perf_counter()
    if precision.startswith("tensorrt-"):
        from export.plans import build_plans

        plans = build_plans(read_bundle(folder / "drawn"), folder / "t5-base", precision.removeprefix("tensorrt-"))  # type: ignore[arg-type]
        n_bytes = sum(file["bytes"] for stage in plans.stages.values() for file in stage.files.values())
        return {"s": time.perf_counter() - began, "bytes": n_bytes, "verified": plans.verified}
    artefact, report = build_export(read_bundle(folder / "drawn"), folder / "t5-base", precision)  # type: ignore[arg-type]
    n_bytes = sum(file["bytes"] for stage in artefact.stages.values() for file in stage.files.values())
    verified = report.to_dict() if report is not None else artefact.verified
    return {"s": time.perf_counter() - began, "bytes": n_bytes, "verified": verified}


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=[*RELEASED, "toy"], default="small")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--runtimes", default="torch,fp32,int8", help=f"of {', '.join(RUNTIMES)}")
    parser.add_argument("--out", type=Path, default=RESULTS / "inference_cpu.json")
    parser.add_argument("--child", nargs=2, metavar=("WHAT", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child is not None:
        what, folder = args.child[0], Path(args.child[1])
        if what.startswith("build:"):
            print(json.dumps(build(folder, what.removeprefix("build:"))))
        elif what == "write":
            write_models(folder, args.size)
            print("{}")
        else:
            print(json.dumps(measure(folder, what, args.seconds, args.threads, args.repeats)))
        return
    names = args.runtimes.split(",")
    common = ["--size", args.size, "--seconds", str(args.seconds), "--threads", str(args.threads)]
    common += ["--repeats", str(args.repeats)]
    facts: dict[str, Any] = {
        "machine": machine(),
        "load_before": os.getloadavg(),
        "size": args.size,
        "seconds": args.seconds,
        "threads": args.threads,
        "gflop": gflop_of(args.size, args.seconds, 3),
        "matmul_gflop_s": matmul_gflop_s(args.threads),
        "exports": {},
        "runtimes": {},
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="stembridge-inference-") as name:
        child(["--child", "write", name, *common], args.threads)
        for runtime in names:
            if not runtime.startswith("torch"):
                facts["exports"][runtime] = child(["--child", f"build:{runtime}", name, *common], args.threads)
            facts["runtimes"][runtime] = child(["--child", runtime, name, *common], args.threads)
            facts["load_after"] = os.getloadavg()
            args.out.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
            print(f"{runtime}: {json.dumps(facts['runtimes'][runtime]['stages_s'])}", file=sys.stderr, flush=True)
    show(facts)


if __name__ == "__main__":
    main()
