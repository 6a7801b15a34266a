"""What only a machine with a GPU can show of torch and onnxruntime: `pytest -m gpu`. None has run it yet."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from toy_bundle import NAME, exported_models

if not os.environ.get("CI"):
    for library in ("torch", "transformers", "onnxscript"):
        pytest.importorskip(library, reason=f"{library} is not installed")

from engine.artefact import folder_of, read_artefact
from engine.bundle import read_bundle
from engine.flow.open import open_flow
from engine.flow.trust import judge
from engine.runtimes.onnx_flow import open_onnx
from engine.runtimes.providers import CUDA, probe
from engine.runtimes.torch_runtime import TorchFlow

pytestmark = [pytest.mark.gpu, pytest.mark.torch]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported_models(tmp_path_factory)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_torch_on_the_gpu_equals_the_cpu(models: Path, precision: str) -> None:
    bundle, text = read_bundle(models / NAME), models / "t5-base"
    exact = TorchFlow(bundle, text, device="cpu")
    verdict = judge(TorchFlow(bundle, text, device="cuda", precision=precision), exact, precision)  # type: ignore[arg-type]
    assert verdict.holds, verdict.words


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_onnxruntime_on_the_gpu_equals_the_cpu(models: Path, precision: str) -> None:
    found = probe()
    if CUDA not in found.working:
        pytest.skip(" ".join(found.reasons) or "onnxruntime was built without CUDA: pip install 'stembridge[gpu]'")
    bundle, text = read_bundle(models / NAME), models / "t5-base"
    artefact = read_artefact(folder_of(bundle, "onnx", precision))
    runtime = open_onnx(bundle, artefact, text, provider=CUDA)
    assert runtime.name == f"onnx:{CUDA}:{precision}"
    verdict = judge(runtime, open_onnx(bundle, artefact, text), precision)
    assert verdict.holds, verdict.words


def test_what_answers_on_a_gpu_says_why(models: Path) -> None:
    model = open_flow(read_bundle(models / NAME), models / "t5-base")
    assert model.why
    assert model.runtime.partition(":")[0] in ("torch", "onnx", "tensorrt", "tensorrt_rtx")
