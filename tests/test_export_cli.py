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
from small_disk import on_small_disk
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
    assert "An engine that has the model open takes the export up when it is started again." in said.stderr
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

    # TensorRT's plans are not passed over in silence, and a damaged export does not hide the next
    (model / "tensorrt-fp32").mkdir()
    (model / "tensorrt-fp32" / "artefact.json").write_text("{}")
    said = run("models", "verify", NAME)
    assert said.returncode == 3
    assert "velocity.onnx is damaged" in said.stderr
    assert f"models export {NAME} --to onnx --precision fp32" in said.stderr
    assert "comparing tensorrt-fp32" in said.stderr
    assert f"models export {NAME} --to tensorrt --precision fp32" in said.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (("export", "nothing-of-that-name"), 2, "[unknown_model]"),
        (("export", "spleeter-2stems"), 2, "only flow models are exported"),
        (("verify", NAME), 3, "has no export"),
        (("verify", "spleeter-2stems"), 2, "only flow models are exported"),
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


def begun_export(model: Path) -> subprocess.Popen[str]:
    """An export that has written some of its graphs."""
    process = subprocess.Popen(
        command("models", "export", NAME), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline_s = time.monotonic() + LIMIT_S
    while not list(model.glob("onnx-fp32.part-*/*.onnx")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    return process


@pytest.mark.skipif(os.name == "nt", reason="signals to a group are POSIX")
def test_after_a_kill_nothing_is_used_that_is_not_whole_and_the_next_export_clears_up(model: Path) -> None:
    process = begun_export(model)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=LIMIT_S)
    (left,) = model.glob("onnx-fp32.part-*")
    assert not (model / "onnx-fp32").exists()
    said = run("models", "verify", NAME)
    assert (said.returncode, "has no export" in said.stderr) == (3, True)
    # as a kill between the two renames leaves it: an export that was there before is aside
    (model / "onnx-fp32.part-old").mkdir()
    (model / "onnx-fp32.part-old" / "artefact.json").write_text("{}")
    # what a killed build of another precision left is removed too
    other = left.rename(model / left.name.replace("fp32", "int8"))
    left = model / "onnx-fp32.part-999999999"
    left.mkdir()
    said = run("models", "export", NAME)
    assert said.returncode == 0, said.stderr
    assert not left.exists()
    assert not other.exists()
    assert sorted(path.name for path in model.glob("onnx-*")) == ["onnx-fp32"]


FILL = """
import os, shutil, subprocess, sys, time
from pathlib import Path
place, models, name, late, command = Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4] == "late", sys.argv[5:]
shutil.copytree(models, place / "stembridge" / "models")
folder = place / "stembridge" / "models" / name
before = sorted(folder.iterdir())

def fill(left):
    with (place / "ballast").open("wb", buffering=0) as file:
        try:
            while shutil.disk_usage(place).free > left:
                file.write(bytes(4096))
        except OSError:
            pass

if not late:
    fill(100_000)
running = subprocess.Popen(command, env={**os.environ, "XDG_DATA_HOME": str(place)})
while late and running.poll() is None and not list(folder.glob("*.part-*/*.onnx")):
    time.sleep(0.01)
fill(0 if late else 100_000)
status = running.wait()
assert sorted(folder.iterdir()) == before, sorted(folder.iterdir())
sys.exit(status)
"""


@pytest.mark.parametrize(("when", "said"), [("early", "GB are needed"), ("late", "No space left on device")])
def test_a_full_disk_is_said_and_leaves_what_was_there(model: Path, tmp_path: Path, when: str, said: str) -> None:
    """A real one, full before the export begins or while it writes."""
    place = tmp_path / "disk"
    place.mkdir()
    export = command("models", "export", NAME)
    inside = [sys.executable, "-c", FILL, str(place), str(model.parent), NAME, when, *export]
    done = subprocess.run(
        on_small_disk(place, "64m", inside), capture_output=True, text=True, check=False, timeout=LIMIT_S
    )
    assert done.returncode == 3, done.stderr
    assert "[disk_full]" in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="signals to a group are POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_build_that_is_stopped_leaves_nothing(model: Path, number: signal.Signals) -> None:
    before = sorted(model.iterdir())
    process = begun_export(model)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130, errors
    assert "nothing was left behind" in errors
    assert sorted(model.iterdir()) == before


@pytest.mark.skipif(os.name == "nt", reason="a kill of one process alone is POSIX")
def test_the_exporter_ends_when_the_command_that_started_it_is_killed(model: Path) -> None:
    """`kill -9` of what the person started: its exporter must not go on by itself."""
    before = sorted(model.iterdir())
    process = begun_export(model)
    process.kill()  # the command alone, not the exporter
    _, errors = process.communicate(timeout=LIMIT_S)  # until the exporter has closed stderr too: it has ended
    assert "stopped; nothing was left behind" in errors
    assert sorted(model.iterdir()) == before
