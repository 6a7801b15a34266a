"""Export, verify and extract as a person does them: real processes, a toy model, no GPU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_bundle import NAME, write_models

if not os.environ.get("CI"):
    for library in ("torch", "transformers", "onnxscript"):
        pytest.importorskip(library, reason=f"{library} is not installed")

from engine.flow.candidates import has_gpu

pytestmark = pytest.mark.torch
LIMIT_S = 300


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy model's folder, where a process started here finds it."""
    from engine.models import models_folder

    return write_models(models_folder()) / NAME


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "bridge", *arguments]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, check=False, timeout=LIMIT_S, env=environment
    )


@pytest.mark.skipif(has_gpu(), reason="there is a GPU, on which torch answers")
def test_export_verify_extract(model: Path, mixture_file: Callable[..., Path], tmp_path: Path) -> None:
    said = run("models", "export", NAME, "--to", "onnx", "--precision", "fp32")
    assert said.returncode == 0, said.stderr
    assert "velocity: writing it as fp32" in said.stderr
    assert str(model / "onnx-fp32") in said.stdout
    assert not list(model.glob("*.part*"))

    said = run("models", "verify", NAME, "--json")
    assert said.returncode == 0, said.stderr
    report = json.loads(said.stdout)["onnx-fp32"]
    assert report["holds"]
    errors = {check["what"]: check["max_error"] for check in report["checks"]}
    assert errors["velocity"] <= 2e-5
    assert errors["decode"] <= 1e-4

    arguments = ("extract", str(mixture_file(1.0)), "--prompt", "tambourine", "--model", NAME, "--nfe", "4", "--json")
    said = run(*arguments, "--out", str(tmp_path / "onnx"))
    assert said.returncode == 0, said.stderr
    done = json.loads(said.stdout)
    assert done["runtime"] == "onnx:CPUExecutionProvider:fp32"
    assert done["null_db"] is None or done["null_db"] <= -120

    graph = model / "onnx-fp32" / "velocity.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])
    said = run(*arguments, "--out", str(tmp_path / "torch"))
    assert said.returncode == 0, said.stderr
    done = json.loads(said.stdout)
    assert done["runtime"] == "torch:cpu:fp32"
    assert "velocity.onnx is damaged" in json.loads(Path(done["manifest"]).read_text(encoding="utf-8"))["note"]

    said = run("models", "verify", NAME)
    assert said.returncode == 3
    assert "velocity.onnx is damaged" in said.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (("export", "nothing-of-that-name"), 2, "[unknown_model]"),
        (("export", "spleeter-2stems"), 2, "only flow models are exported"),
        (("verify", NAME), 3, "has no export"),
        (("export", NAME, "--precision", "fp4"), 2, "fp4"),
        (("export", NAME, "--to", "coreml"), 2, "coreml"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    model: Path, arguments: tuple[str, ...], status: int, text: str
) -> None:
    said = run("models", *arguments)
    assert said.returncode == status, said.stderr
    assert text in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.skipif(os.name == "nt", reason="signals to a group are POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_build_that_is_stopped_leaves_nothing(model: Path, number: signal.Signals) -> None:
    before = sorted(model.iterdir())
    process = subprocess.Popen(
        command("models", "export", NAME), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline_s = time.monotonic() + LIMIT_S
    while not list(model.glob("onnx-fp32.part-*/*.onnx")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130, errors
    assert "nothing was left behind" in errors
    assert sorted(model.iterdir()) == before
