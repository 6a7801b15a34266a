"""TensorRT-RTX builds every stage ahead of time, without a GPU; what it cannot build is named with its stage.

The library is NVIDIA's and is installed by the extra `rtx`; it is not part of this project.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_bundle import NAME, exported_models

if not os.environ.get("CI"):
    for library in ("torch", "transformers", "onnxscript"):
        pytest.importorskip(library, reason=f"{library} is not installed")
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed: pip install 'stembridge[rtx]'")

import export.plans as plans
import export.to_tensorrt as to_tensorrt
from engine import StembridgeError
from engine.artefact import read_artefact
from engine.bundle import Bundle, read_bundle
from engine.flow.open import open_flow
from engine.model.config import RELEASED, Sizes
from engine.runtimes.tensorrt_library import Library, find_library
from export.plans import build_plans
from export.stages import STAGES, axes, own_lengths
from export.to_tensorrt import build_plan, plan_key, profiles_of

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tensorrt") / "models"
    return Path(shutil.copytree(exported_models(tmp_path_factory), folder))


@pytest.fixture(scope="module")
def bundle(models: Path) -> Bundle:
    return read_bundle(models / NAME)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_every_stage_is_built_and_nothing_twice(bundle: Bundle, models: Path, precision: str) -> None:
    told: list[str] = []
    artefact = build_plans(bundle, models / "t5-base", precision, told=told.append)
    assert artefact.folder == bundle.folder / f"tensorrt-{precision}"
    assert set(artefact.stages) == {"watermark", *(stage.name for stage in STAGES)}
    assert artefact.path("watermark").name == "watermark.onnx"
    for name in (stage.name for stage in STAGES):
        stage, plan = artefact.stages[name], artefact.path(name)
        assert plan.name == f"{name}-{stage.key[:16]}.plan"
        assert plan.stat().st_size > 1000
    assert artefact.verified is None
    assert any("velocity: building its plan" in each for each in told)
    told.clear()
    assert build_plans(bundle, models / "t5-base", precision, told=told.append) == artefact
    assert not any("building its plan" in each for each in told)
    assert not list(bundle.folder.glob("*.part*"))


def test_the_command_line_says_what_was_built_and_that_it_was_not_run(bundle: Bundle, models: Path) -> None:
    build_plans(bundle, models / "t5-base", "fp32")
    home = models.parent / "home" / "stembridge"
    home.mkdir(parents=True)
    shutil.copytree(models, home / "models")
    command = [sys.executable, "-m", "bridge", "models", "export", NAME, "--to", "tensorrt"]
    environment = {**os.environ, "XDG_DATA_HOME": str(home.parent), "OMP_NUM_THREADS": "1"}
    said = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
    assert said.returncode == 0, said.stderr
    assert f"velocity-{read_artefact(bundle.folder / 'tensorrt-fp32').stages['velocity'].key[:16]}.plan" in said.stdout
    assert "were built, not run" in said.stderr


def test_a_damaged_plan_is_built_again_and_plans_alone_are_never_used(bundle: Bundle, models: Path) -> None:
    artefact = build_plans(bundle, models / "t5-base", "fp32")
    artefact.path("clip").write_bytes(b"not what it was")
    with pytest.raises(StembridgeError, match="is damaged"):
        read_artefact(artefact.folder).path("clip")
    assert build_plans(bundle, models / "t5-base", "fp32").path("clip").stat().st_size > 1000
    assert not open_flow(bundle, models / "t5-base").runtime.startswith("tensorrt")


def test_a_graph_that_cannot_be_parsed_is_named_with_its_stage(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    node = helper.make_node("NoSuchOperator", ["x"], ["y"], domain="nobody")
    graph = helper.make_graph([node], "g", value[:1], value[1:])
    save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("nobody", 1)]),
        tmp_path / "g.onnx",
    )
    with pytest.raises(StembridgeError, match=r"the stage decode.*NoSuchOperator") as caught:
        build_plan(find_library(), "decode", tmp_path / "g.onnx", [])
    assert caught.value.code == "export_failed"


def test_a_build_that_fails_leaves_the_plans_that_were_there(
    bundle: Bundle, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in build_plans(bundle, models / "t5-base", "fp32").folder.iterdir()}
    monkeypatch.setattr(plans, "plan_key", lambda *_: "0" * 64)

    def stop(*_: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(plans, "build_plan", stop)
    with pytest.raises(KeyboardInterrupt):
        build_plans(bundle, models / "t5-base", "fp32")
    assert {path: path.read_bytes() for path in (bundle.folder / "tensorrt-fp32").iterdir()} == before
    assert not list(bundle.folder.glob("*.part*"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("known", [None, b"damaged"])
def test_timings_are_kept_and_damaged_ones_count_as_none(bundle: Bundle, models: Path, known: bytes | None) -> None:
    sizes = Sizes.from_dict(bundle.facts["sizes"])
    (clip,) = (stage for stage in STAGES if stage.name == "clip")
    graph = bundle.folder / "onnx-fp32" / "clip.onnx"
    cache = models / "clip.timing"
    cache.unlink(missing_ok=True)
    if known is not None:
        cache.write_bytes(known)
    profiles = profiles_of(clip, own_lengths(sizes), axes(sizes))
    assert build_plan(find_library(), "clip", graph, profiles, cache)
    assert cache.read_bytes() not in (known, b"")


@pytest.mark.skipif(os.name == "nt", reason="a process cannot send itself these there")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_while_the_library_builds_is_heard_and_the_timings_stay(
    bundle: Bundle, models: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """The signal comes while the library calls back: it swallows what is raised there."""
    sizes = Sizes.from_dict(bundle.facts["sizes"])
    (velocity,) = (stage for stage in STAGES if stage.name == "velocity")
    graph, cache = bundle.folder / "onnx-fp32" / "velocity.onnx", models / "stopped.timing"
    cache.unlink(missing_ok=True)
    steps: list[int] = []

    def in_the_midst(trt: object, stopped: Callable[[], bool]) -> object:
        monitor = made(trt, stopped)
        go_on = type(monitor).step_complete

        def step_complete(self: object, phase: str, step: int) -> bool:
            steps.append(step)
            if len(steps) == 1:
                os.kill(os.getpid(), number)
            return bool(go_on(self, phase, step))

        type(monitor).step_complete = step_complete
        return monitor

    made = to_tensorrt._monitor
    monkeypatch.setattr(to_tensorrt, "_monitor", in_the_midst)
    before = signal.getsignal(number)
    profiles = profiles_of(velocity, own_lengths(sizes), axes(sizes))
    with pytest.raises(KeyboardInterrupt):
        build_plan(find_library(), "velocity", graph, profiles, cache)
    assert steps
    assert cache.stat().st_size > 0
    assert signal.getsignal(number) is before


def test_int8_is_refused(bundle: Bundle, models: Path) -> None:
    with pytest.raises(StembridgeError, match="int8") as caught:
        build_plans(bundle, models / "t5-base", "int8")
    assert caught.value.code == "unsupported_option"


@pytest.mark.parametrize("size", RELEASED)
def test_profiles_cover_one_window_batches_and_songs(size: str) -> None:
    sizes = RELEASED[size]
    for stage in STAGES:
        profiles = profiles_of(stage, own_lengths(sizes), axes(sizes))
        assert 1 <= len(profiles) <= 3
        for shapes in profiles:
            for least, usual, greatest in shapes.values():
                assert all(a <= b <= c for a, b, c in zip(least, usual, greatest, strict=True))
    (velocity,) = (stage for stage in STAGES if stage.name == "velocity")
    frames = [shapes["x"] for shapes in profiles_of(velocity, own_lengths(sizes), axes(sizes))]
    assert [(low[1], high[1]) for low, _, high in frames] == [(1, 500), (1, 500), (501, 10_000)]


def test_a_plans_name_changes_with_all_it_was_built_from() -> None:
    one = Library("tensorrt", "11.4.0", None)
    profile = [{"x": [(1,), (2,), (3,)]}]
    keys = {
        plan_key("a", one, profile, "sm_90"),
        plan_key("b", one, profile, "sm_90"),
        plan_key("a", Library("tensorrt", "11.4.1", None), profile, "sm_90"),
        plan_key("a", Library("tensorrt_rtx", "11.4.0", None), profile, "sm_90"),
        plan_key("a", one, [{"x": [(1,), (2,), (4,)]}], "sm_90"),
        plan_key("a", one, profile, "sm_89"),
    }
    assert len(keys) == 6


def test_an_old_or_absent_library_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def importing(name: str) -> types.SimpleNamespace:
        if name == "tensorrt":
            return types.SimpleNamespace(__version__="10.9.0.34")
        raise ImportError("no such library")

    monkeypatch.setattr("engine.runtimes.tensorrt_library.importlib.import_module", importing)
    with pytest.raises(StembridgeError, match=r"10\.9\.0\.34, older than 10\.15.*no such library") as caught:
        find_library()
    assert caught.value.code == "runtime_missing"
