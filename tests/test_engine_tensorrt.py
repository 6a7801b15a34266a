"""The TensorRT runtime above its device: what it computes, what it captures and keeps, which plans it loads.

No test here but the last needs a GPU; the device is a stand-in that insists on what a GPU insists on. Run the last with
`pytest -m gpu tests/test_engine_tensorrt.py` on a machine that has one.
"""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mixtures import make_mixture
from tensorrt_stand_in import LIBRARY, STAGES, StandIn, write_plans
from toy_bundle import NAME, exported_models

if not os.environ.get("CI"):
    for library in ("torch", "transformers", "onnxscript"):
        pytest.importorskip(library, reason=f"{library} is not installed")

from engine import StembridgeError
from engine.artefact import Artefact, folder_of, read_artefact, write_manifest
from engine.bundle import Bundle, read_bundle
from engine.flow import solve as flow_solve
from engine.flow.schedule import classic
from engine.flow.solve import Heard, hear, solve_asks
from engine.model.config import Sizes
from engine.runtime import Ask
from engine.runtimes import tensorrt_library, tensorrt_runtime
from engine.runtimes.onnx_flow import OnnxFlow, open_onnx
from engine.runtimes.tensorrt_device import CudaDevice
from engine.runtimes.tensorrt_library import SEAL, find_library
from engine.runtimes.tensorrt_runtime import TensorRtFlow, open_tensorrt

pytestmark = pytest.mark.torch
TEXT = "t5-base"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plans") / "models"
    return Path(shutil.copytree(exported_models(tmp_path_factory), folder))


@pytest.fixture(scope="module")
def bundle(models: Path) -> Bundle:
    return read_bundle(models / NAME)


@pytest.fixture
def plans(bundle: Bundle) -> Artefact:
    shutil.rmtree(folder_of(bundle, "tensorrt", "fp32"), ignore_errors=True)
    return write_plans(bundle)


@pytest.fixture(autouse=True)
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_runtime, "find_library", lambda: LIBRARY)


@pytest.fixture
def device(bundle: Bundle) -> StandIn:
    return StandIn(Sizes.from_dict(bundle.facts["sizes"]))


@pytest.fixture
def runtime(bundle: Bundle, models: Path, plans: Artefact, device: StandIn) -> TensorRtFlow:
    return open_tensorrt(bundle, plans, models / TEXT, device=device)


@pytest.fixture(scope="module")
def exact(bundle: Bundle, models: Path) -> OnnxFlow:
    return open_onnx(bundle, read_artefact(folder_of(bundle, "onnx", "fp32")), models / TEXT, threads=1)


@pytest.fixture(scope="module")
def heard(exact: OnnxFlow) -> Heard:
    return hear(exact, [make_mixture(48_000, 48_000, 1).T.copy()], 48_000, lambda done: None)


def solved(runtime: Any, heard: Heard, *asks: Ask) -> np.ndarray:
    return np.concatenate([each.state for each in solve_asks(runtime, heard, asks, lambda done: None)])


def test_a_solve_and_its_sound_are_one_graph_and_equal_the_other_runtime(
    runtime: TensorRtFlow, device: StandIn, exact: OnnxFlow, heard: Heard
) -> None:
    assert runtime.name == "tensorrt_rtx:Stand-in 9000:fp32"
    asks = (Ask("lead vocals", nfe=4), Ask("a tambourine with a guitar", nfe=4, seed=3))
    state = solved(runtime, heard, *asks)
    wanted = solved(exact, heard, *asks)
    assert np.abs(state - wanted).max() <= 1e-5
    assert device.count("capture") == device.count("replay") == 1
    runs = device.n_runs
    for row in range(2):
        sound = np.concatenate(list(runtime.decode(state[row : row + 1], mark_seed=None)), axis=1)
        other = np.concatenate(list(exact.decode(wanted[row : row + 1], mark_seed=None)), axis=1)
        assert np.abs(sound - other).max() <= 1e-4
    assert device.n_runs == runs  # the graph had decoded them


def test_a_second_prompt_replays_the_graph_in_the_memory_that_is_there(
    runtime: TensorRtFlow, device: StandIn, exact: OnnxFlow, heard: Heard
) -> None:
    solved(runtime, heard, Ask("lead vocals", nfe=4))
    taken, prepared = device.count("empty"), [call for call in device.calls if call[:2] == ("prepare", "velocity")]
    other = Ask("guitar", nfe=4, seed=9)
    assert np.abs(solved(runtime, heard, other) - solved(exact, heard, other)).max() <= 1e-5
    assert (device.count("capture"), device.count("replay")) == (1, 2)
    assert device.count("empty") == taken
    assert [call for call in device.calls if call[:2] == ("prepare", "velocity")] == prepared


def test_the_profile_is_set_before_the_capture(runtime: TensorRtFlow, device: StandIn, heard: Heard) -> None:
    solved(runtime, heard, Ask("guitar", nfe=2))
    calls = [call[:2] for call in device.calls]
    capture = calls.index(("capture",))
    assert calls.index(("prepare", "velocity")) < capture
    assert calls.index(("prepare", "decode")) < capture


@pytest.mark.parametrize("kind", ["uniform", "sway", "epss"])
def test_every_schedule_is_captured_once(
    runtime: TensorRtFlow, device: StandIn, exact: OnnxFlow, heard: Heard, kind: str
) -> None:
    n_frames = len(heard.latents)
    start = np.random.default_rng(0).standard_normal((1, n_frames, 16), np.float32)
    tokens = np.zeros((1, n_frames), np.int64)
    for nfe in (5, 7, 5):
        schedule = classic(kind, nfe)  # type: ignore[arg-type]
        velocity = exact.velocity(heard.latents, tokens, ["guitar"], schedule.times)
        wanted = schedule.solve(lambda x, k, v=velocity: v(x, k, flow_solve.cover(n_frames, 600, 600)[0]), start)
        made = runtime.solve_whole(heard.latents, tokens, ["guitar"], schedule, start)
        assert np.abs(made - wanted).max() <= 1e-5
    assert (device.count("capture"), device.count("replay")) == (2, 3)


def test_only_so_many_graphs_are_kept(
    runtime: TensorRtFlow, device: StandIn, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_runtime, "MAX_LOOPS", 2)
    for nfe in (1, 2, 4, 2, 4, 1):
        solved(runtime, heard, Ask("guitar", nfe=nfe))
    assert device.count("capture") == 4


def test_overlapping_windows_run_evaluation_by_evaluation(
    runtime: TensorRtFlow, device: StandIn, exact: OnnxFlow, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_solve, "WINDOW_S", 0.5)
    monkeypatch.setattr(flow_solve, "STRIDE_S", 0.4)
    for nfe in (4, 5):
        ask = Ask("guitar", nfe=nfe)
        assert np.abs(solved(runtime, heard, ask) - solved(exact, heard, ask)).max() <= 1e-5
    assert device.count("capture") == 0
    taken = device.count("empty")
    solved(runtime, heard, Ask("guitar", nfe=5, seed=1))
    assert device.count("empty") == taken + 1  # the noise


def test_encode_any_length_and_long_decode(runtime: TensorRtFlow, exact: OnnxFlow, device: StandIn) -> None:
    for n in (48_000, 1, 30_000):
        wave = make_mixture(n, 48_000, 1).T.copy()
        assert np.abs(runtime.encode(wave) - exact.encode(wave)).max() <= 1e-5
    state = np.random.default_rng(0).standard_normal((1, 300, 16), np.float32)
    for seed in (None, 4):
        mine, other = (np.concatenate(list(each.decode(state, mark_seed=seed)), axis=1) for each in (runtime, exact))
        if seed is None:
            assert np.abs(mine - other).max() <= 1e-4
        else:  # these plans came without the watermark's graph, so torch laid it
            assert np.abs(mine - other).max() <= 1e-3


def test_halves_are_given_where_a_plan_wants_them(bundle: Bundle, models: Path, device: StandIn, heard: Heard) -> None:
    shutil.rmtree(folder_of(bundle, "tensorrt", "fp16"), ignore_errors=True)
    half = open_tensorrt(bundle, write_plans(bundle, "fp16"), models / TEXT, device=device)
    graphs = read_artefact(folder_of(bundle, "onnx", "fp16"))
    other = open_onnx(bundle, graphs, models / TEXT, threads=1)
    ask = Ask("guitar", nfe=2)
    assert np.abs(solved(half, heard, ask) - solved(other, heard, ask)).max() <= 1e-3


def test_without_memory_for_the_decoder_it_runs_apart_and_that_is_said(
    runtime: TensorRtFlow, device: StandIn, exact: OnnxFlow, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    n = len(heard.latents)
    device.refuses = lambda shape: shape == (2, 1, n * 1920)
    with caplog.at_level(logging.WARNING):
        state = solved(runtime, heard, Ask("guitar", nfe=2))
    assert "not enough memory on Stand-in 9000" in caplog.text
    assert "The decoder runs apart." in caplog.text
    device.refuses = lambda shape: False
    mine, other = (np.concatenate(list(each.decode(state, mark_seed=None)), axis=1) for each in (runtime, exact))
    assert np.abs(mine - other).max() <= 1e-4


def test_out_of_memory_means_fewer_rows_then_smaller_windows_and_that_is_said(
    runtime: TensorRtFlow, device: StandIn, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_solve, "LEAST_WINDOW_S", 0.2)
    asks = [Ask("guitar", nfe=2), Ask("drums", nfe=2)]
    alone = [solved(runtime, heard, ask) for ask in asks]
    device.refuses = lambda shape: len(shape) == 3 and shape[0] == 2 and shape[2] == 16
    assert np.abs(solved(runtime, heard, *asks) - np.concatenate(alone)).max() <= 1e-5
    whole = len(heard.latents)
    device.refuses = lambda shape: len(shape) == 3 and shape[2] == 16 and shape[1] == whole and not seen.append(shape)
    seen: list[tuple[int, ...]] = []
    runtime._loops.clear()
    device.calls.clear()
    monkeypatch.setattr(runtime, "to_device", lambda state: device.cell(state.copy()))  # only the graphs do not fit
    (result,) = solve_asks(runtime, heard, asks[:1], lambda done: None)
    assert seen
    assert result.window_s is not None
    assert result.window_s < 1.0


def test_more_rows_than_any_plan_takes_are_solved_in_parts(runtime: TensorRtFlow, heard: Heard) -> None:
    results = solve_asks(runtime, heard, [Ask("guitar", nfe=1, candidates=20)], lambda done: None)
    assert len(results[0].scores) == 20


def stale(artefact: Artefact, **libraries: str) -> Artefact:
    made = replace(artefact, libraries={**artefact.libraries, **libraries})
    write_manifest(made)
    return made


@pytest.mark.parametrize("fault", ["version", "library", "gpu", "machine", "seal", "damaged", "unverified", "weights"])
def test_plans_that_are_not_this_machines_are_refused_and_it_is_said_why(
    bundle: Bundle, models: Path, plans: Artefact, device: StandIn, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = ""
    match fault:
        case "version":
            plans, said = (
                stale(plans, tensorrt_rtx="1.6.0"),
                r"built by tensorrt_rtx 1\.6\.0, and here is tensorrt_rtx 1\.7\.1",
            )
        case "library":
            plans, said = replace(plans, runtime="tensorrt"), "here is tensorrt_rtx"
        case "gpu":
            plans, said = stale(plans, target="sm_75"), "built for sm_75, and here is sm_89"
        case "machine":
            monkeypatch.setenv("XDG_STATE_HOME", str(models.parent / "another"))
            said = "not built on this machine"
        case "seal":
            plans, said = stale(plans, **{SEAL: "0" * 64}), "not built on this machine"
        case "damaged":
            (plans.folder / "velocity.plan").write_bytes(b"other")
            said = "velocity.plan is damaged"
        case "unverified":
            plans, said = replace(plans, verified=None), "was not verified"
        case "weights":
            plans, said = replace(plans, weights_sha256="0" * 64), "other weights"
    with pytest.raises(StembridgeError, match=said) as caught:
        open_tensorrt(bundle, plans, models / TEXT, device=device)
    assert caught.value.code == "model_corrupt"
    assert "models export" in caught.value.remedy
    assert fault == "damaged" or not device.calls  # nothing of it was loaded


def test_a_swapped_plan_is_not_loaded_even_with_a_manifest_to_match(
    bundle: Bundle, models: Path, plans: Artefact, device: StandIn
) -> None:
    from export.build import said

    foreign = plans.folder / "clip.plan"
    foreign.write_bytes(b"a program of somebody else")
    stage = replace(plans.stages["clip"], files=said(plans.folder, [foreign]))
    with pytest.raises(StembridgeError, match="not built on this machine"):
        open_tensorrt(bundle, replace(plans, stages={**plans.stages, "clip": stage}), models / TEXT, device=device)


@pytest.mark.parametrize(
    ("driver", "said"),
    [
        (None, "needs an NVIDIA driver, and none is here"),
        (12_040, r"too old for tensorrt_rtx 1\.7\.1: it knows CUDA 12\.4, not 13"),
    ],
)
def test_no_driver_and_one_that_is_too_old_are_named(
    monkeypatch: pytest.MonkeyPatch, driver: int | None, said: str
) -> None:
    monkeypatch.setattr(tensorrt_library, "_driver_cuda", lambda: driver)
    monkeypatch.setattr(tensorrt_library, "_made_for_cuda", lambda library: 13)
    with pytest.raises(StembridgeError, match=said) as caught:
        CudaDevice(LIBRARY)
    assert caught.value.code == "runtime_missing"


def test_the_real_library_has_every_name_that_is_used() -> None:
    if not os.environ.get("CI"):
        pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed: pip install 'stembridge[rtx]'")
    trt = find_library().module
    engine = "create_execution_context deserialize get_tensor_dtype get_tensor_mode get_tensor_name num_io_tensors"
    for name in (*engine.replace(" deserialize", "").split(), "get_tensor_profile_shape", "num_optimization_profiles"):
        assert hasattr(trt.ICudaEngine, name), name
    for name in ("set_optimization_profile_async", "set_input_shape", "get_tensor_shape", "set_tensor_address"):
        assert hasattr(trt.IExecutionContext, name), name
    assert hasattr(trt.IExecutionContext, "execute_async_v3")
    assert trt.TensorIOMode.INPUT != trt.TensorIOMode.OUTPUT
    assert {trt.nptype(kind) for kind in (trt.float32, trt.float16, trt.int64)} == {np.float32, np.float16, np.int64}
    logger, errors = tensorrt_library.log_of(trt)
    assert trt.Runtime(logger).deserialize_cuda_engine(b"no plan, but as long as a header of one may be " * 9) is None
    assert errors


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_on_a_gpu_plans_are_built_run_and_equal_the_model(
    models: Path, tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """What the stand-in cannot show. It has not run on any GPU yet."""
    from export.plans import build_plans

    monkeypatch.undo()
    folder = Path(shutil.copytree(models, tmp_path / "models", ignore=shutil.ignore_patterns("tensorrt-*")))
    bundle = read_bundle(folder / NAME)
    artefact = build_plans(bundle, folder / TEXT, precision)  # type: ignore[arg-type]
    assert artefact.verified is not None
    assert artefact.verified["holds"]
    runtime = open_tensorrt(bundle, artefact, folder / TEXT)
    exact = open_onnx(bundle, read_artefact(folder_of(bundle, "onnx", "fp32")), folder / TEXT)
    for nfe in (4, 5, 4):
        ask = Ask("guitar", nfe=nfe)
        mine, other = solved(runtime, heard, ask), solved(exact, heard, ask)
        assert np.abs(mine - other).max() <= (1e-3 if precision == "fp32" else 5e-2)
    assert {*STAGES} <= {*artefact.stages}
