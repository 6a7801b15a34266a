"""Which runtime answers for a flow model: providers that are listed and do not work, GPUs that compute something else,
half precision that overflows. Runtimes are small stand-ins: what is held here is the choice, not the network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import StembridgeError
from engine.bundle import Bundle
from engine.flow import candidates as offering
from engine.flow import open as opening
from engine.flow import trust
from engine.flow.candidates import Candidate, Choice, candidates, choice
from engine.flow.careful import Careful, is_finite
from engine.flow.open import foresee, open_flow
from engine.flow.schedule import classic
from engine.flow.trust import Verdict, judge, judged, recall
from engine.runtimes import onnx_runtime, providers, torch_runtime
from engine.runtimes.onnx_runtime import OnnxGraph
from engine.runtimes.providers import CPU, CUDA, probe

BUNDLE = Bundle(Path("nowhere"), "toy", "flow", "Toy", "1", "none", {"w": {"sha256": "0" * 64}}, {})


class Runtime:
    """A runtime whose velocity pulls towards what was heard; `wrong` is added, `nan` names what gives no numbers."""

    sample_rate, hop, n_channels, max_frames = 8_000, 80, 2, 4_000

    def __init__(self, name: str, *, wrong: float = 0.0, nan: str = "", after: int = 0, slow: int = 0) -> None:
        self.name, self.wrong, self.nan, self.after, self.slow = name, wrong, nan, after, slow
        self.calls: list[str] = []

    def _spoilt(self, what: str, values: np.ndarray) -> np.ndarray:
        self.calls.append(what)
        if what == self.nan and self.calls.count(what) > self.after:
            values = values.copy()
            values.flat[0] = np.nan
        return values

    def encode(self, waveform: np.ndarray) -> np.ndarray:
        frames = waveform[0, : waveform.shape[1] // self.hop * self.hop].reshape(-1, self.hop)
        return self._spoilt("encode", frames[:, :2].astype(np.float32))

    def is_cut(self, prompt: str) -> bool:
        return False

    def velocity(self, latents: np.ndarray, tokens: np.ndarray, prompts: Sequence[str], times: Sequence[float]) -> Any:
        def at(x: np.ndarray, number: int, window: Any) -> np.ndarray:
            sum(range(self.slow))
            heard = np.concatenate([latents[window.start : window.end]] * 2, axis=1)
            return self._spoilt("velocity", heard[None] - x + np.float32(self.wrong))

        return at

    def to_device(self, state: np.ndarray) -> np.ndarray:
        return state

    def to_host(self, state: np.ndarray) -> np.ndarray:
        return state

    def decode(self, state: np.ndarray, *, mark_seed: int | None) -> Iterator[np.ndarray]:
        for start in range(0, state.shape[1], 40):
            part = state[0, start : start + 40]
            yield self._spoilt("decode", np.repeat(part[:, [0, 2]].T, self.hop, axis=1))


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(offering.VARIABLE, raising=False)
    monkeypatch.delenv(offering.PRECISION_VARIABLE, raising=False)
    probe.cache_clear()
    yield
    probe.cache_clear()


def test_a_provider_that_is_listed_and_does_not_work_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime itself is asked for CUDA, which it cannot do here, and answers on the CPU without an error."""
    ort = onnx_runtime.load_library()
    if CUDA in ort.get_available_providers():
        pytest.skip("this onnxruntime may have CUDA")
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])
    found = probe()
    assert found.working == ()
    assert "was asked for CUDAExecutionProvider and runs a graph on CPUExecutionProvider" in found.reasons[0]
    with pytest.raises(StembridgeError) as caught:
        OnnxGraph(providers._DOUBLE, provider=CUDA)
    assert caught.value.code == "runtime_missing"


@pytest.mark.parametrize(("answer", "said"), [(2.0, ""), (3.0, "computes 1 + 1 = 3"), (None, "it fails: the driver")])
def test_a_provider_that_computes_something_else_or_fails_is_found_out(
    monkeypatch: pytest.MonkeyPatch, answer: float | None, said: str
) -> None:
    class Graph:
        def __init__(self, source: bytes, *, threads: int, provider: str) -> None: ...

        def run(self, inputs: Any) -> list[np.ndarray]:
            if answer is None:
                raise RuntimeError("the driver fell over")
            return [np.full(1, answer, np.float32)]

    monkeypatch.setattr(onnx_runtime, "OnnxGraph", Graph)
    monkeypatch.setattr(onnx_runtime.load_library(), "get_available_providers", lambda: [CUDA, CPU])
    found = probe()
    assert found.working == ((CUDA,) if answer == 2.0 else ())
    assert said in " ".join(found.reasons)


def test_bound_inputs_give_what_unbound_ones_give_in_memory_that_is_held() -> None:
    """The path of a GPU, walked with the CPU's own memory as the device's."""
    graph = OnnxGraph(providers._DOUBLE, threads=1)
    plain = graph.run({"x": np.full(1, 3, np.float32)})[0]
    graph._device = "cpu"
    kept = graph.place(np.full(1, 3, np.float32))
    assert not isinstance(kept, np.ndarray)
    for value in (3, 4, 3):
        made = graph.run({"x": np.full(1, value, np.float32)})[0]
        assert made == 2 * value
        (held,) = graph._held.values()
    assert made == plain == graph.run({"x": kept})[0]
    assert graph.run({"x": kept}, keep=True)[0].numpy() == plain
    assert list(graph._held.values()) == [held]


def test_a_runtime_that_equals_the_cpu_holds_and_one_that_does_not_is_told_apart() -> None:
    exact = Runtime("cpu")
    same = judge(Runtime("gpu"), exact, "fp32")
    assert (same.holds, same.snr_db) == (True, np.inf)
    off = judge(Runtime("gpu", wrong=0.01), exact, "fp32")
    assert not off.holds
    assert "differs from cpu" in off.words
    assert not judge(Runtime("gpu", nan="decode"), exact, "fp16").holds
    assert judge(Runtime("gpu", wrong=1e-6), exact, "fp16").holds


def test_a_verdict_is_found_once_and_kept_for_this_model_runtime_and_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def reference() -> Runtime:
        asked.append("")
        return Runtime("cpu")

    first = judged(BUNDLE, "gpu", "fp32", Runtime("gpu"), reference)
    assert judged(BUNDLE, "gpu", "fp32", Runtime("gpu", wrong=1.0), reference) == first == recall(BUNDLE, "gpu")
    assert len(asked) == 1
    assert recall(BUNDLE, "another gpu") is None
    assert recall(replace(BUNDLE, files={"w": {"sha256": "1" * 64}}), "gpu") is None
    monkeypatch.setattr(trust.platform, "node", lambda: "another machine")
    assert recall(BUNDLE, "gpu") is None
    judged(BUNDLE, "gpu", "fp32", Runtime("gpu", nan="decode"), reference)
    assert not recall(BUNDLE, "gpu").holds


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', "no JSON"])
def test_what_is_remembered_and_damaged_is_found_again(content: str) -> None:
    trust._path().parent.mkdir(parents=True, exist_ok=True)
    trust._path().write_text(content)
    assert judged(BUNDLE, "gpu", "fp32", Runtime("gpu"), lambda: Runtime("cpu")).holds
    for entry in ({}, {"snr_db": 1}, 3):
        trust._path().write_text(json.dumps({trust._key(BUNDLE, "gpu"): entry}))
        assert recall(BUNDLE, "gpu") is None


def offer(monkeypatch: pytest.MonkeyPatch, *offered: Candidate) -> None:
    monkeypatch.setattr(opening, "candidates", lambda bundle, text, wanted, reasons: iter(offered))
    monkeypatch.setattr(opening, "_reference", lambda bundle, text: Runtime("cpu", slow=20_000))
    monkeypatch.setattr(opening, "_check_unopened", lambda *_: None)


def gpu(runtime: Runtime, words: str = "torch on the GPU", precision: str = "fp32") -> Candidate:
    return Candidate("torch", precision, True, words, lambda: runtime)


CPU_EXPORT = Candidate("onnx", "fp32", False, "the fp32 export for onnxruntime", lambda: Runtime("onnx:cpu"))


def test_the_first_that_is_verified_answers_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, gpu(Runtime("quick")), CPU_EXPORT)
    model = open_flow(BUNDLE, Path())
    assert model.runtime == "quick"
    assert model.why.startswith("Torch on the GPU: it equals cpu exactly and takes")
    words, why, passed = foresee(BUNDLE, Path())
    assert (words, passed) == ("torch on the GPU", [])
    assert why.startswith("equals cpu exactly")


@pytest.mark.parametrize(
    ("runtime", "said"),
    [
        (Runtime("wrong", wrong=0.1), "Torch on the GPU is not used: It differs from cpu"),
        (Runtime("lame", slow=4_000_000), "is not used: It equals cpu exactly and takes"),
    ],
)
def test_a_gpu_that_is_wrong_or_slower_is_passed_over_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, runtime: Runtime, said: str
) -> None:
    offer(monkeypatch, gpu(runtime), CPU_EXPORT)
    for _ in range(2):  # what is remembered is passed over, too
        model = open_flow(BUNDLE, Path())
        assert model.runtime == "onnx:cpu"
        assert said in model.why
        assert foresee(BUNDLE, Path())[0] == "the fp32 export for onnxruntime"
        assert foresee(BUNDLE, Path())[2]


def test_what_does_not_open_falls_back_one_step_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(what: str) -> Any:
        def fail() -> Any:
            raise StembridgeError("out_of_memory", f"{what} has no memory.", "Take less.")

        return fail

    first = Candidate("tensorrt", "fp16", True, "the fp16 plan of TensorRT", broken("Plan"))
    second = Candidate("torch", "fp16", True, "torch on the GPU", broken("Torch"))
    offer(monkeypatch, first, second, CPU_EXPORT)
    model = open_flow(BUNDLE, Path())
    assert model.runtime == "onnx:cpu"
    assert "Plan has no memory. Torch on the GPU is not used: Torch has no memory." in model.why
    offer(monkeypatch, first, second)
    with pytest.raises(StembridgeError, match=r"Plan has no memory\. Torch has no memory") as caught:
        open_flow(BUNDLE, Path())
    assert caught.value.code == "out_of_memory"


def test_two_that_fail_for_the_same_reason_say_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver() -> Any:
        raise StembridgeError("runtime_missing", "There is no driver for the GPU.", "Install it.")

    plans = [Candidate("tensorrt", p, True, f"the {p} plan", no_driver) for p in ("fp16", "fp32")]
    offer(monkeypatch, *plans, CPU_EXPORT)
    assert open_flow(BUNDLE, Path()).why.count("The fp16 plan is not used: There is no driver for the GPU.") == 1
    offer(monkeypatch, *plans)
    with pytest.raises(StembridgeError) as caught:
        open_flow(BUNDLE, Path())
    assert caught.value.text.count("no driver") == 1


def test_what_takes_answers_as_the_truth_says_why_a_rough_export_cannot_give_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rough = Candidate("onnx", "int8", True, "the int8 export for onnxruntime", lambda: Runtime("onnx:cpu"))
    offer(monkeypatch, rough)
    assert open_flow(BUNDLE, Path()).runtime == "onnx:cpu"
    with pytest.raises(StembridgeError, match="The int8 export for onnxruntime errs too much for this") as caught:
        open_flow(BUNDLE, Path(), exact=True)
    assert caught.value.code == "runtime_missing"


def test_a_choice_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choice() == Choice("auto", "auto")
    monkeypatch.setenv(offering.VARIABLE, "CUDA")
    with pytest.raises(StembridgeError, match=r"'cuda'.*auto, tensorrt, torch, onnx, cpu") as caught:
        choice()
    assert caught.value.code == "bad_value"
    monkeypatch.setenv(offering.VARIABLE, "tensorrt")
    with pytest.raises(StembridgeError, match="STEMBRIDGE_RUNTIME asks for tensorrt") as caught:
        open_flow(BUNDLE, Path())
    assert "--to tensorrt" in caught.value.remedy
    monkeypatch.setenv(offering.VARIABLE, "onnx")
    monkeypatch.setenv(offering.PRECISION_VARIABLE, "int8")
    with pytest.raises(StembridgeError, match="STEMBRIDGE_PRECISION asks for int8") as caught:
        open_flow(BUNDLE, Path())
    assert "--to onnx --precision int8" in caught.value.remedy
    monkeypatch.setenv(offering.PRECISION_VARIABLE, "fp8")
    with pytest.raises(StembridgeError, match=r"STEMBRIDGE_PRECISION is 'fp8'") as caught:
        choice()
    assert "bf16" in caught.value.remedy


@pytest.mark.parametrize("what", ["encode", "velocity", "decode"])
@pytest.mark.parametrize("after", [0, 1])
def test_what_is_not_finite_is_made_again_and_that_is_said(what: str, after: int) -> None:
    exact = Runtime("exact")
    careful = Careful(Runtime("half", nan=what, after=after), lambda: exact)
    wave = np.random.default_rng(0).standard_normal((1, 8_000)).astype(np.float32)
    careful.encode(wave)
    latents = careful.encode(wave)
    assert np.array_equal(latents, exact.encode(wave))

    def solved(runtime: Any) -> np.ndarray:
        velocity = runtime.velocity(latents, np.zeros((1, 100), np.int64), ["guitar"], (0.0, 0.25, 0.5, 0.75))
        start = runtime.to_device(np.ones((1, 100, 4), np.float32))
        from engine.windows import Window

        return runtime.to_host(classic("uniform", 4).solve(lambda x, k: velocity(x, k, Window(0, 100)), start))

    state = solved(careful)
    assert np.array_equal(state, solved(exact))
    sound = np.concatenate(list(careful.decode(state, mark_seed=None)), axis=1)
    assert np.array_equal(sound, np.concatenate(list(exact.decode(state, mark_seed=None)), axis=1))
    assert "half gave values that are not numbers; exact did it again" in careful.note
    assert careful.name == "exact"


def test_all_finite_means_nothing_is_opened_and_nothing_said() -> None:
    def never() -> Any:
        raise AssertionError("the exact runtime is opened")

    careful = Careful(Runtime("half"), never)
    assert is_finite(careful.encode(np.ones((1, 800), np.float32)))
    assert (careful.name, careful.note) == ("half", "")


def test_what_is_not_finite_at_full_precision_either_is_an_error() -> None:
    careful = Careful(Runtime("half", nan="encode"), lambda: Runtime("exact", nan="encode"))
    with pytest.raises(StembridgeError, match="not numbers at full precision") as caught:
        careful.encode(np.ones((1, 800), np.float32))
    assert caught.value.code == "model_corrupt"


def test_a_verdict_speaks_plainly() -> None:
    verdict = Verdict("cpu", 61.2, 50.0, 0.004, 0.2)
    assert verdict.words == "equals cpu to 61 dB and takes 4.0 ms for an evaluation, where that takes 200.0 ms"


def test_a_verdict_of_a_rougher_precision_says_what_few_evaluations_are_worth() -> None:
    verdict = Verdict("cpu", 31.0, 15.0, 0.4, 0.8, solve_db=38.0, few_db=22.0, few_sound_db=17.0)
    assert verdict.below_few_step_error
    assert "its latents to 38 dB; 4 evaluations themselves are within 17 dB of 32" in verdict.words
    for rougher in ({"solve_db": 21.0}, {"snr_db": 16.0}, {"few_sound_db": 31.0}):
        assert not replace(verdict, **rougher).below_few_step_error
    assert Verdict("cpu", 61.2, 50.0, 0.004, 0.2).below_few_step_error


ROUGH = 0.08
"""An error of 18 dB, where four evaluations of these stand-ins' flow err by 24."""


def rough(runtime: Runtime) -> Candidate:
    return Candidate("torch", "bf16", False, "torch on the CPU in bfloat16", lambda: runtime, rounds=True)


def test_rounding_is_measured_beside_the_error_of_few_evaluations() -> None:
    fine = judge(Runtime("bf16", wrong=0.001), Runtime("cpu", slow=20_000), "bf16")
    assert fine.below_few_step_error
    assert fine.solve_db is not None
    assert fine.few_db is not None
    assert fine.solve_db > 50 > fine.few_db > 20
    coarse = judge(Runtime("bf16", wrong=ROUGH), Runtime("cpu", slow=20_000), "bf16")
    assert coarse.holds
    assert coarse.few_db == fine.few_db
    assert not coarse.below_few_step_error


@pytest.mark.parametrize(
    ("runtime", "wanted", "answers", "said"),
    [
        (Runtime("rough", wrong=0.001), "auto", "rough", "it errs less than few evaluations do"),
        (Runtime("rough", wrong=0.001), "bf16", "rough", "STEMBRIDGE_PRECISION asks for bf16"),
        (Runtime("rough", wrong=ROUGH), "auto", "onnx:cpu", "It is rougher than few evaluations are"),
        (Runtime("rough", wrong=ROUGH), "bf16", "rough", "STEMBRIDGE_PRECISION asks for bf16"),
        (Runtime("rough", wrong=0.001, slow=4_000_000), "auto", "onnx:cpu", "is not used: It equals"),
        (Runtime("rough", wrong=9.0), "auto", "onnx:cpu", "It differs from cpu"),
    ],
)
def test_bfloat16_answers_only_where_it_errs_less_than_few_evaluations(
    monkeypatch: pytest.MonkeyPatch, runtime: Runtime, wanted: str, answers: str, said: str
) -> None:
    """What is passed over so is no fault: the manifest's note stays empty, and the reason says it."""
    monkeypatch.setenv(offering.PRECISION_VARIABLE, wanted)
    offer(monkeypatch, rough(runtime), CPU_EXPORT)
    for _ in range(2):  # what is remembered decides the same
        model = open_flow(BUNDLE, Path())
        assert model.runtime == answers
        assert said in model.why
        assert model._note == ""
        words, why, passed = foresee(BUNDLE, Path())
        assert words == ("torch on the CPU in bfloat16" if answers == "rough" else "the fp32 export for onnxruntime")
        assert (said in why) == (answers != "rough")
        assert passed == []


def test_bfloat16_that_differs_is_not_used_even_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(offering.PRECISION_VARIABLE, "bf16")
    offer(monkeypatch, rough(Runtime("rough", wrong=9.0)))
    with pytest.raises(StembridgeError, match="differs from cpu") as caught:
        open_flow(BUNDLE, Path())
    assert caught.value.code == "not_equal"


@pytest.mark.parametrize(
    ("flags", "n_bytes", "precision", "offered"),
    [
        ("fpu avx512f avx512_bf16", 1 << 30, "auto", True),
        ("fpu amx_bf16 amx_tile", 1 << 30, "auto", True),
        ("fpu avx512f avx512_bf16x", 1 << 30, "auto", False),
        ("fpu avx512f avx512_bf16", 1 << 20, "auto", False),
        ("fpu", 1 << 20, "bf16", True),
        ("fpu avx512_bf16", 1 << 30, "fp32", False),
    ],
)
def test_bfloat16_is_offered_where_the_processor_multiplies_it_and_the_model_is_large(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str, n_bytes: int, precision: str, offered: bool
) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    monkeypatch.setattr(torch_runtime, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(torch_runtime.platform, "machine", lambda: "x86_64")
    bundle = replace(BUNDLE, files={"w": {"sha256": "0" * 64, "bytes": n_bytes}})
    found = [each.precision for each in candidates(bundle, Path(), Choice("cpu", precision), [])]
    assert ("bf16" in found) == offered
    assert ("fp32" in found) == (precision != "bf16")
    monkeypatch.setattr(torch_runtime.platform, "machine", lambda: "arm64")
    assert torch_runtime.multiplies_bf16() is False
