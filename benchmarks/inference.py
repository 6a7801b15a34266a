"""Flow models on a CPU, by runtime and precision: `python -m benchmarks.inference [--size small] [--seconds 10]`.

Speed does not depend on what the weights are, so a model of drawn weights at a released size (without the watermark
branch) is exported and held against the network in a temporary folder. Each runtime is then measured in a process of
its own, whose peak memory is its own: every stage, and the whole way from a mono mixture to the mask (faithful) or to
the waveforms (generative). Figures are medians of `--repeats` calls (one less of the whole way), warm. What a machine's
cores can do is measured beside them, as plain matrix products; the load while it ran is in the file. What a precision
errs by is there, too.

`--folder` keeps model and exports for the next run; `--prepare` ends when they are made, so that on a machine that is
lent for minutes nothing but the clock runs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.one_runtime import OF_TORCH, PROMPT, accuracy, measure
from benchmarks.table import machine
from engine.model.config import RELEASED, SAMPLE_RATE

RESULTS = Path(__file__).parent / "results"
RUNTIMES = ("torch", "bf16", "fp32", "int8", "fp16", "torch-gpu", "tensorrt-fp32", "tensorrt-fp16")
"""torch on the CPU in float32 and bfloat16, onnxruntime by precision, and what needs a GPU, which has not been
measured."""
NFES = "4"
_CHILD_LIMIT_S = 3600


def write_models(folder: Path, size: str) -> None:
    """A models folder: a bundle of drawn weights and a text encoder of t5-base's size, drawn too."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import T5Config, T5EncoderModel

    from benchmarks.drawn import TOY
    from benchmarks.sam_cpu import write_bundle

    sizes = TOY if size == "toy" else replace(RELEASED[size], watermark=None)
    (folder / "drawn").mkdir(parents=True, exist_ok=True)
    write_bundle(folder / "drawn", sizes)
    manifest = folder / "drawn" / "bundle.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "sample_rate": SAMPLE_RATE}))
    words = ["<pad>", "</s>", "<unk>", *(f"▁{word}" for word in PROMPT.split()), "▁"]
    tokenizer = Tokenizer(models.Unigram([(word, -1.0 * index) for index, word in enumerate(words)], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    wide = sizes.dit.text_dim
    deep: dict[str, Any] = {"num_layers": 1}
    if size != "toy":
        deep = {"num_layers": 12, "num_heads": 12, "d_ff": 3072, "d_kv": 64}
    T5EncoderModel(T5Config(vocab_size=32_128 if size != "toy" else 99, d_model=wide, **deep)).save_pretrained(
        folder / "t5-base"
    )
    tokenizer.save(str(folder / "t5-base" / "tokenizer.json"))


def matmul_gflop_s(threads: int, dtype: str) -> float:
    """What a plain product of the feed-forward's shape reaches, by torch, in GFLOP/s: the best of several."""
    import torch

    from benchmarks.sam_cpu import best_s

    torch.set_num_threads(threads)
    rows, inner, columns = 1024, 1536, 8192
    kind: torch.dtype = getattr(torch, dtype)
    a, b = torch.randn(rows, inner).to(kind), torch.randn(columns, inner).to(kind)
    return 2 * rows * inner * columns / best_s(partial(torch.nn.functional.linear, a, b), 10) / 1e9


def gflop_of(size: str, seconds: float, n_tokens: int) -> dict[str, float]:
    """Operations of the stages, in GFLOP, where they are known."""
    if size not in RELEASED:
        return {}
    from benchmarks.drawn import CODEC_GFLOP_PER_S
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
                share = f" {gflop / value / peak_of(facts, name):.2f}" if gflop else ""
                cells.append(f"{value:.3f} s{share}")
            print(f"{what:<28}" + "".join(f"{cell:>16}" for cell in cells))
    peaks = [facts["runtimes"][name]["memory_bytes"]["peak"] / 1e9 for name in names]
    print(f"{'peak memory':<28}" + "".join(f"{peak:>13.2f} GB" for peak in peaks))
    products = ", ".join(f"{kind} {rate:.0f}" for kind, rate in facts["matmul_gflop_s"].items())
    print(f"matrix products in GFLOP/s: {products}; shares beside the seconds are of these")
    for name, said in facts["errors"].items():
        checks = ", ".join(f"{check['what']} {check['snr_db']:.1f} dB" for check in said["checks"] if check["snr_db"])
        print(f"{name} against float32: {checks}")


def peak_of(facts: Mapping[str, Any], name: str) -> float:
    """The measured rate of a plain product in the type that a runtime multiplies; float32 where torch has none."""
    rates: Mapping[str, float] = facts["matmul_gflop_s"]
    return rates["bfloat16" if name == "bf16" else "float32"]


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
    parser.add_argument("--nfe", default=NFES, help="of the whole way; several with commas between")
    parser.add_argument("--runtimes", default="torch,bf16,fp32,int8", help=f"of {', '.join(RUNTIMES)}")
    parser.add_argument("--folder", type=Path, help="keep model and exports there")
    parser.add_argument("--prepare", action="store_true", help="only make model and exports; needs --folder")
    parser.add_argument("--out", type=Path, help="JSON; benchmarks/results/inference_SIZE.json")
    parser.add_argument("--child", nargs=2, metavar=("WHAT", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child is not None:
        print(json.dumps(in_child(args.child[0], Path(args.child[1]), args)))
        return
    if args.prepare and args.folder is None:
        parser.error("--prepare needs --folder")
    names = args.runtimes.split(",")
    common = ["--size", args.size, "--seconds", str(args.seconds), "--threads", str(args.threads)]
    common += ["--repeats", str(args.repeats), "--nfe", args.nfe]
    with tempfile.TemporaryDirectory(prefix="stembridge-inference-") as name:
        folder = args.folder or Path(name)
        run = partial(child_of, folder, common, args.threads)
        exports, errors = prepare_models(folder, names, run)
        if args.prepare:
            return
        facts: dict[str, Any] = {
            "machine": machine() | {"torch": version("torch")},
            "load_before": os.getloadavg(),
            "size": args.size,
            "seconds": args.seconds,
            "threads": args.threads,
            "repeats": args.repeats,
            "gflop": gflop_of(args.size, args.seconds, 3),
            "matmul_gflop_s": {kind: matmul_gflop_s(args.threads, kind) for kind in ("float32", "bfloat16")},
            "exports": exports,
            "errors": errors,
            "runtimes": {},
        }
        out = args.out or RESULTS / f"inference_{args.size}.json"
        out.parent.mkdir(parents=True, exist_ok=True)
        for runtime in names:
            facts["runtimes"][runtime] = run(runtime)
            facts["load_after"] = os.getloadavg()
            out.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
            print(f"{runtime}: {json.dumps(facts['runtimes'][runtime])}", file=sys.stderr, flush=True)
    show(facts)


def prepare_models(
    folder: Path, names: Sequence[str], run: Callable[[str], Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the runtimes need, made where it is not there; (of each export its cost, of each precision its errors)."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "t5-base" / "tokenizer.json").exists():
        run("write")
    kept = folder / "prepared.json"
    known: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {"exports": {}, "errors": {}}
    for name in names:
        if name == "bf16" and name not in known["errors"]:
            known["errors"][name] = run("accuracy")
        elif name not in OF_TORCH and name not in known["exports"]:
            known["exports"][name] = run(f"build:{name}")
            known["errors"][name] = known["exports"][name].pop("verified")
        kept.write_text(json.dumps(known))
    return known["exports"], known["errors"]


def child_of(folder: Path, common: Sequence[str], threads: int, what: str) -> Any:
    """One part of the work, in a process of its own."""
    return child(["--child", what, str(folder), *common], threads)


def in_child(what: str, folder: Path, args: argparse.Namespace) -> Any:
    """That part of the work."""
    if what.startswith("build:"):
        return build(folder, what.removeprefix("build:"))
    if what == "write":
        return write_models(folder, args.size)
    if what == "accuracy":
        return accuracy(folder, args.threads)
    nfes = [int(nfe) for nfe in args.nfe.split(",")]
    return measure(folder, what, args.seconds, args.threads, args.repeats, nfes)


if __name__ == "__main__":
    main()
