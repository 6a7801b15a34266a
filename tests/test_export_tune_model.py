"""`stembridge models tune` on a toy model: killed and resumed, used by itself, refused where it is damaged."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from mixtures import make_mixture
from toy_bundle import NAME, exported_models, write_models

if not os.environ.get("CI"):
    for library in ("torch", "transformers", "onnxscript"):
        pytest.importorskip(library, reason=f"{library} is not installed")

from bridge.__main__ import main
from engine.artefact import check_usable, folder_of, read_artefact
from engine.bundle import MANIFEST, read_bundle
from engine.errors import StembridgeError
from engine.flow.fitted import FittedPlan, euler_as_fitted, midpoint_as_fitted, read_fitted, write_fitted
from engine.flow.schedule import Schedule, choose_schedule, classic
from engine.runtimes.onnx_flow import open_onnx
from engine.runtimes.torch_runtime import TorchFlow
from export import tune_model
from export.__main__ import main as export
from export.telling import in_words

pytestmark = pytest.mark.torch
LIMIT_S = 600


@pytest.fixture
def model() -> Path:
    """The toy model's folder, where a process started here finds it."""
    from engine.models import models_folder

    return write_models(models_folder()) / NAME


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """Two songs, a silent one, and one that is too short."""
    folder = tmp_path / "music"
    folder.mkdir()
    for seed, seconds in ((0, 6.0), (1, 3.0)):
        soundfile.write(folder / f"song {seed}.wav", make_mixture(round(seconds * 44100), seed=seed), 44100)
    soundfile.write(folder / "silent.wav", np.zeros(44100 * 5), 44100)
    soundfile.write(folder / "short.flac", make_mixture(4410), 44100)
    return folder


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "bridge", "models", "tune", NAME, *map(str, arguments)]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, check=False, timeout=LIMIT_S, env=environment
    )


def test_a_killed_run_goes_on_and_its_result_is_used(
    model: Path, music: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--audio", music, "--nfe", "1,4", "--prompts", "vocals, drums", "--clips", 2, "--json")
    process = subprocess.Popen(
        command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline_s = time.monotonic() + LIMIT_S
    while not list((model / ".tuning").glob("trials-4-*.jsonl")):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    paths = {file: file.stat().st_mtime_ns for file in (model / ".tuning").glob("path-*.npz")}
    assert len(paths) == 2

    said = run(*arguments)
    assert said.returncode == 0, said.stderr
    found = {tuned["nfe"]: tuned for tuned in json.loads(said.stdout)}
    assert {file: file.stat().st_mtime_ns for file in paths} == paths, "trajectories are not made twice"
    (journal,) = (model / ".tuning").glob("trials-4-*.jsonl")
    lines = journal.read_text(encoding="utf-8").splitlines()
    assert len({tuple(json.loads(line)["plan"]["times"]) for line in lines}) == len(lines), "no grid is tried twice"
    for tuned in found.values():
        assert (tuned["file"] is not None) == (tuned["held_out_db"] > tuned["uniform_db"])
    assert found[4]["file"] is not None
    assert Path(found[4]["file"]).parent == model

    # used without being asked for, and said
    capsys.readouterr()
    source = music / "song 1.wav"
    for options, schedule in (
        (("--nfe", "4"), "fitted"),
        (("--nfe", "4", "--schedule", "uniform"), "midpoint, 2 steps"),
        (("--nfe", "3"), "ab2, 3 steps"),
        (("--nfe", "5", "--schedule", "epss"), "euler, 5 steps, epss"),
    ):
        out = tmp_path / schedule[:3]
        asked = ("extract", source, "--prompt", "tambourine", "--model", NAME, "--out", out, "--json", *options)
        assert main([*map(str, asked)]) == 0, capsys.readouterr().err
        done = json.loads(capsys.readouterr().out)
        manifest = json.loads(Path(done["manifest"]).read_text(encoding="utf-8"))
        assert manifest["schedule"].startswith(schedule)
        assert done["nfe"] == int(options[1])

    # damaged: said, with what to do
    Path(found[4]["file"]).write_text("{}", encoding="utf-8")
    asked = ("extract", source, "--prompt", "tambourine", "--model", NAME, "--out", tmp_path / "x", "--nfe", "4")
    assert main([*map(str, asked)]) == 3
    errors = capsys.readouterr().err
    assert "is damaged" in errors
    assert "models tune toy --nfe 4" in errors
    assert main([*map(str, asked), "--schedule", "uniform"]) == 0


@pytest.mark.skipif(os.name == "nt", reason="signals to a group are POSIX")
def test_a_stop_keeps_what_was_done_and_the_model_as_it_was(model: Path, music: Path) -> None:
    before = (model / MANIFEST).read_bytes()
    process = subprocess.Popen(
        command("--audio", music, "--nfe", "8", "--clips", 2), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline_s = time.monotonic() + LIMIT_S
    while not list((model / ".tuning").glob("trials-8-*.jsonl")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130, errors
    assert "what was done is kept" in errors
    assert "fitting 8 evaluations" in errors
    assert (model / MANIFEST).read_bytes() == before
    assert not list(model.rglob("*.part-*"))


@pytest.mark.parametrize(
    ("audio", "nfe", "text"),
    [
        ("nowhere", "4", "There is no folder"),
        ("music", "40", "1 to 16"),
        ("empty", "4", "holds no audio"),
        ("silent", "4", "louder than -60 dBFS"),
    ],
)
def test_what_cannot_be_tuned_is_said(
    model: Path, music: Path, tmp_path: Path, audio: str, nfe: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("empty", "silent"):
        (tmp_path / name).mkdir()
    (music / "silent.wav").rename(tmp_path / "silent" / "silent.wav")
    assert export(["tune", NAME, "--nfe", nfe, "--audio", str(tmp_path / audio)]) == 2
    errors = capsys.readouterr().err
    assert text in errors
    # a large model is not opened for what can be refused without it
    assert (f"tuning {NAME}" in errors) == (audio == "silent")


def test_numbers_that_are_none_are_said(music: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "tune", NAME, "--audio", str(music), "--nfe", "few"]) == 2
    assert "is no list of whole numbers" in capsys.readouterr().err


def test_a_mask_model_is_not_tuned(capsys: pytest.CaptureFixture[str], music: Path) -> None:
    assert export(["tune", "spleeter-2stems", "--nfe", "2", "--audio", str(music)]) == 2
    assert "only flow models are tuned" in capsys.readouterr().err


def test_an_export_tunes_as_the_model_itself_does(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, music: Path
) -> None:
    models = tmp_path / "models"
    shutil.copytree(exported_models(tmp_path_factory), models)
    bundle = read_bundle(models / NAME)
    artefact = read_artefact(folder_of(bundle, "onnx", "fp32"))
    found = [
        tune_model.tune(bundle, stages, music, ["drums"], [4], n_examples=2)[0]
        for stages in (open_onnx(bundle, artefact, models / "t5-base"), TorchFlow(bundle, models / "t5-base"))
    ]
    assert len(list((models / NAME / ".tuning").glob("path-*"))) == 4, "a runtime's trajectories are its own"
    assert found[0].held_out_db > found[0].uniform_db + 10
    assert found[0].held_out_db == pytest.approx(found[1].held_out_db, abs=3)
    check_usable(artefact, read_bundle(models / NAME), models / "t5-base" / "tokenizer.json")


# The file in the bundle


def test_a_plan_in_a_bundle_is_found_again_and_replaced_whole(model: Path) -> None:
    bundle = read_bundle(model)
    weights = bundle.weights_sha256
    first = write_fitted(bundle, midpoint_as_fitted(2), {"held_out_db": 30.0})
    second = write_fitted(read_bundle(model), euler_as_fitted(4), {"held_out_db": 31.0})
    write_fitted(read_bundle(model), euler_as_fitted(2), {})
    bundle = read_bundle(model)
    assert bundle.weights_sha256 == weights, "exports stay valid"
    assert list(bundle.tuned) == [2, 4]
    assert read_fitted(bundle, 4) == euler_as_fitted(4)
    assert read_fitted(bundle, 8) is None
    assert second.exists()
    assert not first.exists()


def _other_bytes(file: Path, manifest: dict) -> None:
    file.write_bytes(file.read_bytes() + b" ")


def _gone(file: Path, manifest: dict) -> None:
    file.unlink()


def _outside(file: Path, manifest: dict) -> None:
    manifest["tuned"]["4"]["file"] = "../other.json"


def _no_table(file: Path, manifest: dict) -> None:
    manifest["tuned"] = ["4"]


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (_other_bytes, "model_corrupt"),
        (_gone, "model_missing"),
        (_outside, "model_corrupt"),
        (_no_table, "model_corrupt"),
    ],
)
def test_a_spoilt_file_is_refused(model: Path, spoil, code: str) -> None:
    file = write_fitted(read_bundle(model), midpoint_as_fitted(2), {})
    manifest = json.loads((model / MANIFEST).read_text())
    spoil(file, manifest)
    (model / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(StembridgeError) as caught:
        choose_schedule(read_bundle(model), "auto", "fast", 4)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": 9}, "schema 9"),
        ({"weights_sha256": "0"}, "other weights"),
        ({"plan": {"times": [0.0], "scales": [1.0], "weights": [[1.0]]}}, "1 evaluations"),
        ({"plan": {"times": [0.0], "scales": [float("nan")], "weights": [[1.0]]}}, "not a finite number"),
        ({"plan": None}, "holds no coefficients"),
    ],
)
def test_a_file_of_right_bytes_and_wrong_content_is_refused(model: Path, change: dict, said: str) -> None:
    write_fitted(read_bundle(model), midpoint_as_fitted(2), change)
    with pytest.raises(StembridgeError, match=said) as caught:
        choose_schedule(read_bundle(model), "fitted", "fast", 4)
    assert caught.value.code == "model_corrupt"
    assert "models tune toy --nfe 4" in caught.value.remedy


def test_schedules_have_names_that_tell_them_apart(model: Path) -> None:
    write_fitted(read_bundle(model), midpoint_as_fitted(4), {})
    bundle = read_bundle(model)
    auto = choose_schedule(bundle, "auto", "fast", None)
    assert auto == Schedule("fitted", midpoint_as_fitted(4))
    assert auto.words.startswith("fitted ")
    assert auto.words.endswith(", 8 evaluations")
    other = FittedPlan(auto.plan.times, (*auto.plan.scales[:-1], 0.5), auto.plan.weights)
    assert Schedule("fitted", other).words != auto.words
    assert choose_schedule(bundle, "auto", "best", None) == classic("uniform", 32)
    assert choose_schedule(None, "auto", "fast", None) == classic("uniform", 8)
    words = {choose_schedule(bundle, name, "fast", 16).words for name in ("uniform", "sway", "epss")}
    assert len(words) == 3
    for name, nfe in (("epss", 8), ("fitted", 4), ("uniform", 1000)):
        with pytest.raises(StembridgeError) as caught:
            choose_schedule(bundle, name, "fast", nfe)
        assert caught.value.code == "unsupported_option"
    with pytest.raises(ValueError, match="begins with the noise"):
        auto.refine(lambda x, number: x, np.ones(2), np.ones(2))


def test_an_interrupted_line_of_the_journal_is_left_out(tmp_path: Path) -> None:
    journal = tmp_path / "trials.jsonl"
    whole = json.dumps({"plan": midpoint_as_fitted(1).to_dict(), "error": 0.5}) + "\n"
    journal.write_text(whole + whole[:20])
    assert list(tune_model._read_trials(journal)) == [midpoint_as_fitted(1).times]
    assert journal.read_text() == whole


def test_times_in_words() -> None:
    assert (in_words(12), in_words(600), in_words(7200)) == ("12 s", "10 min", "2.0 h")
