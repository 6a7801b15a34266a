"""Exports of a toy flow model: they equal the network, they are used only when they do, and what stops one leaves
nothing. The graphs are written once for all tests here."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mixtures import make_mixture
from toy_bundle import NAME, exported_models

if not os.environ.get("CI"):
    for library in ("torch", "transformers", "onnxscript"):
        pytest.importorskip(library, reason=f"{library} is not installed")

import torch

import export.build as building
from engine import SeparationRequest, Span, StembridgeError
from engine import models as engine_models
from engine.artefact import folder_of, read_artefact, write_manifest
from engine.bundle import Bundle, read_bundle
from engine.flow.candidates import has_gpu
from engine.flow.open import foresee, open_flow
from engine.flow.solve import hear, solve_asks
from engine.model.config import Sizes
from engine.models import Shelf
from engine.runtime import Ask
from engine.runtimes.onnx_flow import OnnxFlow, open_onnx
from engine.runtimes.torch_runtime import TorchFlow
from engine.runtimes.watermarked import message
from engine.separate import separate
from export.parts import Parts, load_parts
from export.quantize import quantize
from export.stages import STAGES, Stage, Tolerance, axes, example_inputs, stages_of
from export.to_onnx import write_stage
from export.verify import Check, Report, compare, refuse, run_stage, verify

pytestmark = pytest.mark.torch
TEXT = "t5-base"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported_models(tmp_path_factory)


@pytest.fixture(scope="module")
def bundle(exported: Path) -> Bundle:
    return read_bundle(exported / NAME)


@pytest.fixture(scope="module")
def parts(bundle: Bundle, exported: Path) -> Parts:
    return load_parts(bundle, exported / TEXT)


@pytest.fixture(scope="module")
def reference(bundle: Bundle, exported: Path) -> TorchFlow:
    return TorchFlow(bundle, exported / TEXT, device="cpu")


def opened(bundle: Bundle, exported: Path, precision: str) -> OnnxFlow:
    return open_onnx(bundle, read_artefact(folder_of(bundle, "onnx", precision)), exported / TEXT, threads=1)


@pytest.fixture(scope="module")
def exact(bundle: Bundle, exported: Path) -> OnnxFlow:
    return opened(bundle, exported, "fp32")


@pytest.fixture
def own(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the models folder, without int8, that the engine takes for the user's."""
    folder = tmp_path / "models"
    shutil.copytree(exported, folder, ignore=shutil.ignore_patterns("onnx-int8"))
    monkeypatch.setattr(engine_models, "models_folder", lambda: folder)
    return folder


def worst(parts: Parts, runtime: OnnxFlow, stage: str, lengths: dict[str, int], seed: int = 3) -> Check:
    inputs = example_inputs(parts.modules, parts.network.sizes, lengths, seed)[stage]
    with torch.inference_mode():
        wanted = parts.modules[stage](*inputs.values())
    wanted = (wanted,) if isinstance(wanted, torch.Tensor) else wanted
    got = [np.asarray(each, np.float32) for each in run_stage(runtime, stage, inputs)]
    return compare(stage, list(zip([each.numpy() for each in wanted], got, strict=True)), Tolerance())


LENGTHS = [
    {"batch": 1, "frame": 1, "token": 1, "time": 1, "prompt": 1},
    {"batch": 1, "frame": 50, "token": 4, "time": 8, "prompt": 1},
    {"batch": 4, "frame": 37, "token": 19, "time": 1, "prompt": 3},
    {"batch": 1, "frame": 251, "token": 2, "time": 2, "prompt": 5},
]


@pytest.mark.parametrize("lengths", LENGTHS, ids=lambda lengths: "-".join(map(str, lengths.values())))
def test_one_graph_equals_torch_at_every_length(parts: Parts, exact: OnnxFlow, lengths: dict[str, int]) -> None:
    assert worst(parts, exact, "velocity", lengths).max_error <= 2e-5
    assert worst(parts, exact, "decode", lengths).max_error <= 1e-4
    for stage in ("encode", "text", "times", "prompt", "clip"):
        assert worst(parts, exact, stage, lengths).max_error <= 1e-4, stage


def test_fp16_keeps_the_velocity_and_the_sound(parts: Parts, bundle: Bundle, exported: Path) -> None:
    half = opened(bundle, exported, "fp16")
    assert "keys" in half.graph("velocity").is_half
    assert "x" not in half.graph("velocity").is_half
    for lengths in LENGTHS[:3]:
        assert worst(parts, half, "velocity", lengths).cosine >= 0.9995
        assert worst(parts, half, "decode", lengths).snr_db >= 40
        assert worst(parts, half, "encode", lengths).snr_db >= 40
        assert worst(parts, half, "text", lengths).max_error <= 1e-4


def test_the_delicate_parts_of_an_fp16_graph_are_float32(bundle: Bundle, exported: Path) -> None:
    import onnx

    model = onnx.load(folder_of(bundle, "onnx", "fp16") / "velocity.onnx")
    model = onnx.shape_inference.infer_shapes(model)
    types = {value.name: value.type.tensor_type.elem_type for value in [*model.graph.value_info, *model.graph.input]}
    types |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    of_kind: dict[str, set[int]] = {}
    for node in model.graph.node:
        of_kind.setdefault(node.op_type, set()).update(types[name] for name in node.input[:1] if name in types)
    assert of_kind["ReduceMean"] == {onnx.TensorProto.FLOAT}
    assert of_kind["Sqrt"] == {onnx.TensorProto.FLOAT}
    assert onnx.TensorProto.FLOAT16 in of_kind["MatMul"]
    assert of_kind["Softmax"] == {onnx.TensorProto.FLOAT16}


def test_int8_is_measured_and_is_no_default_unless_it_errs_less_than_few_steps(
    bundle: Bundle, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verified = read_artefact(folder_of(bundle, "onnx", "int8")).verified
    assert verified is not None
    (solved,) = (check for check in verified["checks"] if check["what"] == "solve")
    with capsys.disabled():
        print(
            f"\nint8, toy, {verified['nfe']} NFE: latents {solved['snr_db']:.1f} dB; few steps cost"
            f" {verified['few_step_error_db']:.1f} dB"
        )
    assert verified["below_few_step_error"] == (solved["snr_db"] > verified["few_step_error_db"])
    assert (folder_of(bundle, "onnx", "int8") / "velocity.onnx").stat().st_size < 0.7 * (
        folder_of(bundle, "onnx", "fp32") / "velocity.onnx"
    ).stat().st_size


def test_equal_stages_are_stored_once(bundle: Bundle) -> None:
    for stage in ("text", "times", "clip"):
        keys = {read_artefact(folder_of(bundle, "onnx", p)).stages[stage].key for p in ("fp32", "fp16", "int8")}
        files = {(folder_of(bundle, "onnx", p) / f"{stage}.onnx").stat().st_ino for p in ("fp32", "fp16", "int8")}
        assert len(keys) == len(files) == 1


def test_a_solve_with_spans_prompts_and_windows_equals_torch(
    reference: TorchFlow, exact: OnnxFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.flow.solve.WINDOW_S", 0.8)
    monkeypatch.setattr("engine.flow.solve.STRIDE_S", 0.6)
    mixture = make_mixture(100_001, 48_000, 1).T.copy()
    ask = Ask("lead vocals", nfe=4, spans=(Span("+", 0.2, 0.5), Span("-", 1.0, 1.2)))
    asks = [ask, Ask("tambourine with guitar", nfe=4, seed=3), Ask("", nfe=4)]
    heard = [hear(runtime, [mixture], mixture.shape[1], lambda done: None) for runtime in (reference, exact)]
    assert heard[0].latents.shape == heard[1].latents.shape == (53, 8)
    assert np.abs(heard[0].latents - heard[1].latents).max() <= 1e-4
    for mine, other in zip(
        solve_asks(reference, heard[0], asks, lambda done: None),
        solve_asks(exact, heard[1], asks, lambda done: None),
        strict=True,
    ):
        assert np.abs(mine.state - other.state).max() <= 1e-4


def test_keys_made_anew_at_each_evaluation_are_the_same(exact: OnnxFlow, monkeypatch: pytest.MonkeyPatch) -> None:
    latents = np.random.default_rng(0).standard_normal((20, 8), np.float32)
    x = np.random.default_rng(1).standard_normal((2, 20, 16), np.float32)
    tokens = np.zeros((2, 20), np.int64)
    from engine.windows import Window

    held = exact.velocity(latents, tokens, ["guitar", "guitar"], (0.0, 0.5))(x, 1, Window(0, 20))
    monkeypatch.setattr("engine.runtimes.onnx_flow.KEYS_BYTES", 0)
    again = exact.velocity(latents, tokens, ["guitar", "guitar"], (0.0, 0.5))(x, 1, Window(0, 20))
    assert np.abs(held - again).max() <= 1e-6


@pytest.mark.parametrize("n", [1, 2, 500, 1919, 1920, 1921, 48_000])
def test_any_length_is_encoded_as_torch_encodes_it(reference: TorchFlow, exact: OnnxFlow, n: int) -> None:
    wave = make_mixture(n, 48_000, 1).T.copy()
    assert np.abs(reference.encode(wave) - exact.encode(wave)).max() <= 1e-4


def test_a_long_decode_in_chunks_equals_torch_watermark_and_all(
    reference: TorchFlow, exact: OnnxFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.runtimes.graph_flow.CHUNK_FRAMES", 11)
    state = np.random.default_rng(0).standard_normal((1, 40, 16), np.float32)
    for seed in (None, 5):
        wanted = np.concatenate(list(reference.decode(state, mark_seed=seed)), axis=1)
        pieces = list(exact.decode(state, mark_seed=seed))
        assert len(pieces) == 4
        assert np.abs(np.concatenate(pieces, axis=1) - wanted).max() <= 1e-4


def test_the_manifest_says_what_really_ran(own: Path, mixture_file: Any, tmp_path: Path) -> None:
    if has_gpu():
        pytest.skip("there is a GPU, on which torch answers")
    done = separate(SeparationRequest((mixture_file(0.7),), "tambourine", tmp_path / "out", nfe=2, model=NAME), Shelf())
    manifest = json.loads(done.manifest.read_text(encoding="utf-8"))
    assert manifest["runtime"] == "onnx:CPUExecutionProvider:fp32"
    assert manifest["note"] == ""
    assert done.null_db <= -120


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.unlink()  # it may be a link to another export's
    path.write_bytes(content)


def note_of(own: Path) -> tuple[str, str]:
    """(runtime, note) of the model as it opens now."""
    model = open_flow(read_bundle(own / NAME), own / TEXT)
    return model.runtime, model.plan(Ask("guitar")).note


@pytest.mark.parametrize("fault", ["damaged", "missing", "not a graph", "unverified", "other weights", "other text"])
def test_an_export_that_cannot_be_trusted_is_left_for_torch_and_the_manifest_says_why(own: Path, fault: str) -> None:
    if has_gpu():
        pytest.skip("there is a GPU, on which torch answers")
    assert note_of(own) == ("onnx:CPUExecutionProvider:fp32", "")
    shutil.rmtree(own / NAME / "onnx-fp16")
    artefact = read_artefact(own / NAME / "onnx-fp32")
    graph = artefact.folder / "velocity.onnx"
    match fault:
        case "damaged":
            damage(graph)
            said = "is damaged"
        case "missing":
            graph.unlink()
            said = "cannot be read"
        case "not a graph":
            graph.write_bytes(b"no graph")
            rewritten = building.said(artefact.folder, [graph])
            stage = replace(artefact.stages["velocity"], files=rewritten)
            write_manifest(replace(artefact, stages={**artefact.stages, "velocity": stage}))
            said = "onnxruntime cannot open"
        case "unverified":
            write_manifest(replace(artefact, verified=None))
            said = "was not verified"
        case "other weights":
            write_manifest(replace(artefact, weights_sha256="0" * 64))
            said = "other weights"
        case "other text":
            path = own / TEXT / "tokenizer.json"
            path.write_text(path.read_text() + "\n")
            said = "another text encoder"
    runtime, note = note_of(own)
    assert runtime == "torch:cpu:fp32"
    assert note.startswith("The fp32 export for onnxruntime is not used: ")
    assert said in note


def test_with_fp32_damaged_the_next_export_answers(own: Path) -> None:
    if has_gpu():
        pytest.skip("there is a GPU, on which torch answers")
    damage(own / NAME / "onnx-fp32" / "velocity.onnx")
    runtime, note = note_of(own)
    assert runtime == "onnx:CPUExecutionProvider:fp16"
    assert "fp32 export" in note
    # `stembridge doctor` expects the same, and names the command that mends it
    words, _, ((reason, remedy),) = foresee(read_bundle(own / NAME), own / TEXT)
    assert words == "the fp16 export for onnxruntime"
    assert "velocity.onnx is damaged" in reason
    assert f"models export {NAME} --to onnx --precision fp32" in remedy


@pytest.mark.parametrize("close", [True, False])
def test_int8_answers_only_where_it_errs_less_than_few_steps(own: Path, exported: Path, close: bool) -> None:
    if has_gpu():
        pytest.skip("there is a GPU, on which torch answers")
    shutil.copytree(exported / NAME / "onnx-int8", own / NAME / "onnx-int8")
    artefact = read_artefact(own / NAME / "onnx-int8")
    write_manifest(replace(artefact, verified={**(artefact.verified or {}), "below_few_step_error": close}))
    assert note_of(own) == (f"onnx:CPUExecutionProvider:{'int8' if close else 'fp32'}", "")
    truth = open_flow(read_bundle(own / NAME), own / TEXT, exact=True)  # what a model is tuned to
    assert truth.runtime == "onnx:CPUExecutionProvider:fp32"


def test_without_torch_an_export_answers_and_a_damaged_one_is_named(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "torch" else find_spec(name, *a))
    assert note_of(own)[0] == "onnx:CPUExecutionProvider:fp32"
    for precision in ("fp32", "fp16"):
        damage(own / NAME / f"onnx-{precision}" / "decode.onnx")
    with pytest.raises(StembridgeError, match=r"decode\.onnx is damaged.*torch is not installed") as caught:
        note_of(own)
    assert caught.value.code == "runtime_missing"


@pytest.mark.parametrize("with_graph", [True, False])
def test_the_watermark_is_never_left_out(
    own: Path, reference: TorchFlow, monkeypatch: pytest.MonkeyPatch, with_graph: bool
) -> None:
    """Without torch the export's own graph marks, and without that nothing leaves."""
    artefact = read_artefact(own / NAME / "onnx-fp32")
    if not with_graph:  # an export of before it was exported
        artefact = replace(artefact, stages={name: s for name, s in artefact.stages.items() if name != "watermark"})
    runtime = open_onnx(read_bundle(own / NAME), artefact, own / TEXT, threads=1)
    state = np.random.default_rng(0).standard_normal((1, 12, 16), np.float32)
    wanted = np.concatenate(list(reference.decode(state, mark_seed=1)), axis=1)
    bare = np.concatenate(list(reference.decode(state, mark_seed=None)), axis=1)
    assert np.abs(wanted - bare).max() > 1e-2
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "torch" else find_spec(name, *a))
    if with_graph:
        marked = np.concatenate(list(runtime.decode(state, mark_seed=1)), axis=1)
        assert np.abs(marked - wanted).max() <= 1e-4
    else:
        with pytest.raises(StembridgeError, match="watermarked, which needs torch"):
            list(runtime.decode(state, mark_seed=1))
    assert not np.array_equal(message(1, 2, 16), message(2, 2, 16))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 9}', '{"schema": 1, "stages": {"a": 3}}'])
def test_a_manifest_that_makes_no_sense_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "artefact.json").write_text(text)
    with pytest.raises(StembridgeError) as caught:
        read_artefact(tmp_path)
    assert caught.value.code == "model_corrupt"


def test_a_manifest_names_only_files_of_its_own(own: Path) -> None:
    path = own / NAME / "onnx-fp32" / "artefact.json"
    path.write_text(path.read_text().replace('"velocity.onnx"', '"../velocity.onnx"'))
    with pytest.raises(StembridgeError, match="cannot be its own"):
        read_artefact(path.parent)


class Unwritable(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(x)


def test_an_operator_that_cannot_be_written_is_named_with_its_stage(parts: Parts, tmp_path: Path) -> None:
    stage = Stage("velocity", lambda network, encoder: Unwritable(), {"x": ("batch", "frame")}, ("y",), {})
    with pytest.raises(StembridgeError, match=r"stage velocity .*bessel_j0") as caught:
        write_stage(stage, Unwritable(), {"x": torch.ones(2, 3)}, axes(parts.network.sizes), tmp_path / "a.onnx")
    assert caught.value.code == "export_failed"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("opset", [17, 21, 23])
def test_another_opset_is_refused_before_anything_is_loaded(bundle: Bundle, exported: Path, opset: int) -> None:
    with pytest.raises(StembridgeError, match=f"opset {opset}") as caught:
        building.build(bundle, exported / TEXT, "fp32", opset=opset)
    assert caught.value.code == "bad_value"


def test_a_mask_model_is_refused() -> None:
    with pytest.raises(StembridgeError, match="comes as a graph already") as caught:
        load_parts(engine_models.find("spleeter-2stems"), Path())
    assert caught.value.code == "unsupported_option"


def test_an_export_that_is_there_is_not_made_again_and_a_damaged_one_is(own: Path) -> None:
    bundle = read_bundle(own / NAME)
    before = (own / NAME / "onnx-fp32" / "velocity.onnx").stat().st_mtime_ns
    artefact, report = building.build(bundle, own / TEXT, "fp32")
    assert report is None
    assert (own / NAME / "onnx-fp32" / "velocity.onnx").stat().st_mtime_ns == before
    damage(own / NAME / "onnx-fp32" / "clip.onnx")
    artefact, report = building.build(bundle, own / TEXT, "fp32")
    assert report is not None
    assert {stage: artefact.path(stage).exists() for stage in artefact.stages} == {
        s.name: True for s in stages_of(Sizes.from_dict(bundle.facts["sizes"]))
    }
    assert sorted(path.name for path in (own / NAME).glob("onnx-*")) == ["onnx-fp16", "onnx-fp32"]


def fail_in(monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(building, name, fail)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
@pytest.mark.parametrize("where", ["write_stage", "verify", "write_manifest"])
def test_what_stops_a_build_leaves_nothing(
    own: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: BaseException
) -> None:
    damage(own / NAME / "onnx-fp32" / "clip.onnx")
    shutil.rmtree(own / NAME / "onnx-fp16")
    left = own / NAME / "onnx-fp32.part-99999"
    left.mkdir()
    os.utime(left, (0, 0))
    before = {path: path.read_bytes() for path in (own / NAME).rglob("*") if path.is_file()}
    fail_in(monkeypatch, where, error)
    with pytest.raises((KeyboardInterrupt, StembridgeError)) as caught:
        building.build(read_bundle(own / NAME), own / TEXT, "fp32")
    if isinstance(error, OSError):
        assert caught.value.code == "disk_full"
    assert {path: path.read_bytes() for path in (own / NAME).rglob("*") if path.is_file()} == before
    assert not list((own / NAME).glob("*.part-*"))


def test_an_export_that_differs_is_not_kept(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_manifest(replace(read_artefact(own / NAME / "onnx-fp32"), verified=None))
    before = {path: path.read_bytes() for path in (own / NAME).rglob("*") if path.is_file()}
    report = Report((Check("velocity", 0.5, 6.0, 0.8, Tolerance(max_error=2e-5, cosine=0.9999)),), None)
    monkeypatch.setattr(building, "verify", lambda *_: report)
    with pytest.raises(StembridgeError, match=r"velocity: error 0\.5") as caught:
        building.build(read_bundle(own / NAME), own / TEXT, "fp32")
    assert caught.value.code == "not_equal"
    assert {path: path.read_bytes() for path in (own / NAME).rglob("*") if path.is_file()} == before


def test_graphs_of_another_model_do_not_pass(own: Path, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verification sees what hashes cannot: here the graphs are whole, and the network is another."""
    with torch.inference_mode():
        weight = parts.network.dit.get_parameter("output")
        kept = weight.clone()
        weight[0] *= 1.01
    try:
        artefact = read_artefact(own / NAME / "onnx-fp32")
        report = verify(parts, read_bundle(own / NAME), artefact, own / TEXT, threads=1)
    finally:
        with torch.inference_mode():
            weight.copy_(kept)
    assert not report.holds
    with pytest.raises(StembridgeError, match="velocity"):
        refuse(report, NAME, "fp32")


def test_weights_beside_the_graph(parts: Parts, exact: OnnxFlow, tmp_path: Path) -> None:
    from engine.runtimes.onnx_runtime import OnnxGraph

    (stage,) = (each for each in STAGES if each.name == "prompt")
    lengths = {name: axis.example for name, axis in axes(parts.network.sizes).items()}
    inputs = example_inputs(parts.modules, parts.network.sizes, lengths, 0)["prompt"]
    files = write_stage(
        stage, parts.modules["prompt"], inputs, axes(parts.network.sizes), tmp_path / "p.onnx", external_bytes=1000
    )
    assert [file.name for file in files] == ["p.onnx", "p.onnx.data"]
    assert files[0].stat().st_size < files[1].stat().st_size
    given = {name: value.numpy() for name, value in inputs.items()}
    for mine, other in zip(OnnxGraph(files[0], threads=1).run(given), exact.graph("prompt").run(given), strict=True):
        assert np.array_equal(mine, other)
    small = quantize(files[0], tmp_path / "int8.onnx", external=True)
    assert [file.name for file in small] == ["int8.onnx", "int8.onnx.data"]
    assert small[1].stat().st_size < 0.5 * files[1].stat().st_size
    rough = OnnxGraph(small[0], threads=1).run(given)
    pairs = list(zip(exact.graph("prompt").run(given), rough, strict=True))
    assert 0.99 < compare("int8", pairs, Tolerance()).cosine < 1


def test_int8_is_made_of_a_graph_whose_weights_lie_beside_it(own: Path) -> None:
    import onnx

    artefact = read_artefact(own / NAME / "onnx-fp32")
    path = artefact.path("velocity")
    model = onnx.load(path)
    path.unlink()
    onnx.save(model, path, save_as_external_data=True, location="velocity.onnx.data", size_threshold=0)
    stage = replace(artefact.stages["velocity"], files=building.said(path.parent, [path, Path(f"{path}.data")]))
    write_manifest(replace(artefact, stages={**artefact.stages, "velocity": stage}))
    told: list[str] = []
    made, report = building.build(read_bundle(own / NAME), own / TEXT, "int8", told=told.append)
    assert "velocity: turning it into int8" in told
    assert "velocity: writing it as fp32" not in told
    assert list(made.stages["velocity"].files) == ["velocity.onnx", "velocity.onnx.data"]
    assert report is not None
    assert report.holds


def test_what_is_not_finite_is_an_infinite_error() -> None:
    exact = np.ones(3, np.float32)
    for other in (np.array([1, np.nan, 1], np.float32), np.ones(4, np.float32)):
        check = compare("a", [(exact, other)], Tolerance(max_error=1.0))
        assert not check.holds
        assert not compare("a", [(exact, other)], Tolerance(snr_db=0.0)).holds
        assert not compare("a", [(exact, other)], Tolerance(cosine=0.0)).holds
    same = compare("a", [(exact, exact)], Tolerance(max_error=0.0, snr_db=300, cosine=1.0 - 1e-12))
    assert same.holds
