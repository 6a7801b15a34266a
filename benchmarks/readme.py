"""The README's and the model card's tables, from what was measured: `python -m benchmarks.readme [--check]`.

Every figure in them is read from `benchmarks/results/*.json` and `training/scores.json`; what has no file there is
named as not measured. `--check` changes nothing and ends with status 1 where a page says something else.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import prompted_quality

README = Path(__file__).parents[1] / "README.md"
RESULTS = Path(__file__).parent / "results"
BEGIN = "<!-- speed of flow models: written by python -m benchmarks.readme -->"
END = "<!-- end of the speed of flow models -->"
NAMES = {
    "torch": "torch fp32",
    "bf16": "torch bf16",
    "fp32": "onnxruntime fp32",
    "int8": "onnxruntime int8",
    "fp16": "onnxruntime fp16",
}
CPU_FILE, TORCH_FILE, GPU_FILE = "inference_small.json", "sam_cpu_small.json", "gpu.json"
AIMS = {
    "10 s, 4 NFE": "≤ 15 s",
    "10 s, 4 NFE, generative": "≤ 15 s",
    "2 s preview, 1 NFE": "≤ 2.5 s",
    "velocity": "onnxruntime ≤ ½ of torch fp32; int8 ≤ 1/1.6 of that",
}


_OWN_LINES = ("targets", "where the time goes")
SHOWN = ("encode", "velocity", "decode", "solve", "solve and decode")


def render(results: Path = RESULTS) -> str:
    """The text between the two markers, from the files in `results`."""
    lines: list[str] = []
    cpu, gpu = _read(results / CPU_FILE), _read(results / GPU_FILE)
    torch = _read(results / TORCH_FILE)
    if cpu is not None:
        lines += _cpu(cpu)
    elif torch is not None:
        lines += _torch(torch)
    if gpu is not None:
        lines += ["", *_gpu(gpu)]
    lines += ["", f"**Not measured:** {'; '.join(_missing(cpu, gpu))}."]
    return "\n".join(lines).strip() + "\n"


def _cpu(facts: Mapping[str, Any]) -> Iterator[str]:
    runtimes: Mapping[str, Any] = facts["runtimes"]
    names = [name for name in NAMES if name in runtimes]
    made = facts["machine"]
    yield (
        f"SAM Audio {facts['size']} with drawn weights on {facts['threads']} threads of an {made['cpu']} "
        f"({made['system']}, Python {made['python']}, torch {made['torch']}, onnxruntime {made['onnxruntime']}), "
        f"{facts['seconds']:g} s of mono audio, no watermark, warm, medians of {facts['repeats']} calls "
        f"({max(facts['repeats'] - 1, 1)} of each whole way of {facts['seconds']:g} s) "
        f"([the numbers](benchmarks/results/{CPU_FILE})):"
    )
    yield ""
    yield f"| | {' | '.join(NAMES[name] for name in names)} | aim |"
    yield "|---" * (len(names) + 2) + "|"
    for part in ("stages_s", "end_to_end_s"):
        for what in runtimes[names[0]][part]:
            cells = [
                _seconds(runtimes[name][part][what], facts["gflop"].get(what), _peak(facts, name)) for name in names
            ]
            yield f"| {_plain(what, part)} | {' | '.join(cells)} | {_aim(what, facts)} |"
    peaks = [f"{runtimes[name]['memory_bytes']['peak'] / 1e9:.1f} GB" for name in names]
    yield f"| peak memory | {' | '.join(peaks)} | |"
    if any("overhead" in runtimes[name] for name in names):
        overheads = [f"{100 * o:.1f} %" if (o := runtimes[name].get("overhead")) is not None else "" for name in names]
        yield f"| added to the raw session calls | {' | '.join(overheads)} | ≤ 3 % |"
    yield ""
    rates = facts["matmul_gflop_s"]
    yield (
        "In brackets: operations a second, and what that is of a plain matrix product's, measured in the same run: "
        f"{rates['float32']:.0f} GFLOP/s in float32, {rates['bfloat16']:.0f} in bfloat16; int8 is "
        "held against float32."
    )
    load = max(facts.get("load_before", (0,))[0], facts.get("load_after", (0,))[0])
    if load > facts["threads"] + 1:
        yield ""
        yield (
            f"The machine was not idle: its load average was {load:.0f} on {facts['threads']} cores, and these "
            "processes went first; an idle one is quicker."
        )
    errors: Mapping[str, Any] = facts["errors"]
    if errors:
        yield ""
        yield f"What each precision errs by, against torch fp32 on the same weights: {_errors(errors)}."


def _errors(errors: Mapping[str, Any]) -> str:
    """A sentence part a precision, and what decides whether it may be a default."""
    parts = []
    for name in [name for name in NAMES if name in errors]:
        said = {check["what"]: check for check in errors[name]["checks"]}
        shown = [f"{what} {said[what]['snr_db']:.0f} dB" for what in SHOWN if what in said]
        few = errors[name].get("few_step_error_db")
        if few is not None:
            sound = errors[name].get("few_step_sound_db")
            heard = "" if sound is None else f", {sound:.0f} dB of the sound"
            use = "used by itself" if errors[name]["below_few_step_error"] else "not used unless it is asked for"
            shown.append(f"4 evaluations against 32 with these weights: {few:.0f} dB of the latents{heard}: {use}")
        parts.append(f"{NAMES[name]}: {', '.join(shown)} (velocity cosine {said['velocity']['cosine']:.6f})")
    return "; ".join(parts)


def _aim(what: str, facts: Mapping[str, Any]) -> str:
    """The aims are of the small model."""
    return AIMS.get(what, "") if facts["size"] == "small" else ""


def _plain(what: str, part: str) -> str:
    return f"**{what}**" if part == "end_to_end_s" else {"velocity": "one velocity evaluation"}.get(what, what)


def _peak(facts: Mapping[str, Any], name: str) -> float:
    return float(facts["matmul_gflop_s"]["bfloat16" if name == "bf16" else "float32"])


def _seconds(value: float, gflop: float | None, peak: float) -> str:
    said = f"{value:.2f} s" if value >= 0.1 else f"{1e3 * value:.1f} ms"
    if not gflop:
        return said
    rate = gflop / value
    return f"{said} ({rate:.0f} GFLOP/s, {rate / peak:.2f})"


def _torch(facts: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"SAM Audio {facts['size']} with drawn weights by torch, float32, on {facts['threads']} threads, "
        f"{facts['seconds']:g} s of mono audio, best of a few, warm ([the numbers](benchmarks/results/{TORCH_FILE})):"
    )
    yield ""
    yield "| | seconds | GFLOP/s | of plain products' speed |"
    yield "|---|---|---|---|"
    for what, words in (
        ("encode", "encode"),
        ("evaluation", "one velocity evaluation"),
        ("decode", "decode, 1 stream"),
    ):
        figures = facts[what]
        yield f"| {words} | {figures['s']:.2f} s | {figures['gflop_s']:.0f} | {figures['of_plain']:.2f} |"
    yield f"| memory, all weights used | {facts['memory']['used'] / 1e9:.2f} GB | | |"


def _gpu(facts: Mapping[str, Any]) -> Iterator[str]:
    about = facts["about"]
    yield (
        f"On {about.get('gpu', about['device'])} (driver: {about.get('driver', 'not said')}; torch {about['torch']}, "
        f"CUDA {about.get('cuda')}), drawn weights ([the numbers](benchmarks/results/{GPU_FILE})):"
    )
    yield ""
    yield "| | milliseconds |"
    yield "|---|---|"
    for part, figures in facts.items():
        if not isinstance(figures, dict) or part in ("about", "ceilings", "failed", *_OWN_LINES):
            continue
        for name, value in figures.items():
            if name.endswith(" [ms]") and ("end to end" in name or "evaluation" in name or "floor" in name):
                yield f"| {part}: {name.removesuffix(' [ms]')} | {value:.2f} |"
    for name, said in facts.get("targets", {}).items():
        floor = (
            "" if said["of_floor"] is None else f", {said['of_floor']:.1f} times the floor of {said['floor_ms']:.1f} ms"
        )
        yield (
            f"| **{name}**, {said['run']} (aim on an H200: {said['target_ms']:g} ms) | {said['ms']:.1f}: "
            f"{said['of_target']:.2f} of the aim{floor} |"
        )
    for name, parts in facts.get("where the time goes", {}).items():
        yield f"| {name}: where the time goes | {', '.join(f'{what} {ms:.1f}' for what, ms in parts.items())} |"
    for step, error in facts.get("failed", {}).items():
        yield f"| {step} | failed: {error.splitlines()[0][:120]} |"


def _missing(cpu: Mapping[str, Any] | None, gpu: Mapping[str, Any] | None) -> Iterator[str]:
    if cpu is None:
        yield "onnxruntime at a released size (`python -m benchmarks.inference`)"
    else:
        left = [NAMES[name] for name in NAMES if name not in cpu["runtimes"]]
        if left:
            yield f"{', '.join(left)} on a CPU"
    yield "the sizes base and large on a CPU"
    if gpu is None:
        yield "anything on a GPU: none has run any of this (`python -m benchmarks.gpu --out benchmarks/results`)"
    if gpu is None or "tensorrt" not in gpu["about"]:
        yield "TensorRT: its plans are built in every test run, and none has run"
    yield "CoreML and DirectML"


def splice(text: str, table: str, begin: str = BEGIN, end: str = END) -> str:
    """A page with the table between its markers. Raises `ValueError` when it has none."""
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"the page lacks {begin} or {end}")
    return f"{before}{begin}\n{table}{end}{after}"


def pages() -> dict[Path, str]:
    """Every page that holds such tables, as it should read."""
    found = {README: splice(README.read_text(encoding="utf-8"), render())}
    scores, speed = prompted_quality.read(), _read(prompted_quality.SPEED)
    for name, (path, written) in prompted_quality.BLOCKS.items():
        text = found.get(path) or path.read_text(encoding="utf-8")
        begin = f"<!-- {name}: written by python -m benchmarks.readme -->"
        found[path] = splice(text, written(scores, speed), begin, f"<!-- end of {name} -->")
    return found


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def main() -> int:
    """Write the tables, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    wanted = pages()
    if given.check:
        return int(any(path.read_text(encoding="utf-8") != text for path, text in wanted.items()))
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
