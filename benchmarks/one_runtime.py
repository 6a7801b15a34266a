"""One runtime of a flow model, measured in this process: every stage, the whole way, memory, and what it errs by."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from engine.runtime import Ask
from engine.windows import Window

OF_TORCH = ("torch", "bf16", "torch-gpu")
PROMPT = "lead vocals"
PREVIEW_S = 2.0


def median_s(call: Callable[[], Any], repeats: int, *, warm: bool = True) -> float:
    """Median seconds of several calls, after a first one where what they need is not warm from others."""
    if warm:
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
    if name in OF_TORCH:
        import torch

        torch.set_num_threads(threads)
        return TorchFlow(bundle, folder / "t5-base", device="cpu", precision="bf16" if name == "bf16" else "fp32")
    return open_onnx(bundle, read_artefact(folder_of(bundle, "onnx", name)), folder / "t5-base", threads=threads)


def measure(folder: Path, name: str, seconds: float, threads: int, repeats: int, nfes: Sequence[int]) -> dict[str, Any]:
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
        runtime._texts.clear() if name in OF_TORCH else runtime.prompts.forget()
        runtime.is_cut(PROMPT)

    evaluate = runtime.velocity(latents, tokens, [PROMPT], times)
    figures["stages_s"] = {
        "encode": median_s(lambda: runtime.encode(wave), repeats),
        "text": median_s(text, repeats),
        "condition, 4 times": median_s(lambda: runtime.velocity(latents, tokens, [PROMPT], times), repeats),
        "velocity": median_s(lambda: runtime.to_host(evaluate(x, 1, window)), max(repeats, 5)),
        "decode, 2 streams": median_s(lambda: list(runtime.decode(state, mark_seed=None)), repeats, warm=seconds < 5),
    }
    if name in ("fp32", "int8", "fp16"):
        figures["overhead"] = overhead(runtime, evaluate, x, window)
    model = FlowModel(read_bundle(folder / "drawn"), runtime)

    seeds = iter(range(1000))

    def whole(nfe: int, n_heard: int, output: str) -> None:
        plan = model.plan(Ask(PROMPT, nfe=nfe, seed=next(seeds)))
        if output == "faithful":
            list(model.estimate([wave[:, :n_heard]], 1, n_heard, plan, lambda done: None))
        else:
            list(model.generate([wave[:, :n_heard]], n_heard, plan, lambda done: None))

    preview = min(n, round(PREVIEW_S * runtime.sample_rate))
    figures["end_to_end_s"] = {
        f"{PREVIEW_S:g} s preview, 1 NFE": median_s(partial(whole, 1, preview, "faithful"), repeats)
    }
    for nfe in nfes:
        for output, words in (("faithful", ""), ("generative", ", generative")):
            took = median_s(partial(whole, nfe, n, output), max(repeats - 1, 1), warm=False)
            figures["end_to_end_s"][f"{seconds:g} s, {nfe} NFE{words}"] = took
    figures["memory_bytes"] = {"before": before, "peak": peak_bytes()}
    return figures


class _Timed:
    """A session whose calls are timed: what is left of an evaluation is ours."""

    def __init__(self, session: Any) -> None:
        self.session, self.spent_s = session, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)

    def run(self, *arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            return self.session.run(*arguments)
        finally:
            self.spent_s += time.perf_counter() - began


def overhead(runtime: Any, evaluate: Callable[..., Any], x: Any, window: Window) -> float:
    """What the runtime adds to onnxruntime's own session calls of an evaluation, as a share of them."""
    graph = runtime.graph("velocity")
    timed = graph._session = _Timed(graph._session)
    began = time.perf_counter()
    for _ in range(5):
        evaluate(x, 1, window)
    total_s = time.perf_counter() - began
    graph._session = timed.session
    return total_s / timed.spent_s - 1


def accuracy(folder: Path, threads: int) -> dict[str, Any]:
    """What bfloat16 errs by, against float32: stages, and all that decides whether it may be a default."""
    from engine.flow.trust import judge
    from export.stages import Tolerance
    from export.verify import compare

    exact, rough = (open_runtime(folder, name, threads) for name in ("torch", "bf16"))
    verdict = judge(rough, exact, "bf16")
    draw = np.random.default_rng(0)
    wave = 0.1 * draw.standard_normal((1, 2 * exact.sample_rate)).astype(np.float32)
    latents = exact.encode(wave)
    state = draw.standard_normal((1, len(latents), 2 * exact.n_channels)).astype(np.float32)
    window = Window(0, len(latents))
    times = tuple(index / 4 for index in range(4))
    found: dict[str, list[Any]] = {"encode": [], "velocity": [], "decode": []}
    for runtime in (exact, rough):
        evaluate = runtime.velocity(latents, np.zeros((1, len(latents)), np.int64), [PROMPT], times)
        made = [runtime.to_host(evaluate(runtime.to_device(state), number, window)) for number in range(len(times))]
        found["encode"].append(runtime.encode(wave))
        found["velocity"].append(np.stack(made))
        found["decode"].append(np.concatenate(list(runtime.decode(state, mark_seed=None))))
    checks = [compare(what, [(a, b)], Tolerance()) for what, (a, b) in found.items()]
    return {
        "below_few_step_error": verdict.below_few_step_error,
        "checks": [{"what": c.what, "snr_db": c.snr_db, "cosine": c.cosine} for c in checks]
        + [{"what": "solve", "snr_db": verdict.solve_db}, {"what": "solve and decode", "snr_db": verdict.snr_db}],
        "few_step_error_db": verdict.few_db,
        "few_step_sound_db": verdict.few_sound_db,
    }
