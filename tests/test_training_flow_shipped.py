"""The small trained flow model kept beside the tests goes every way a SAM Audio checkpoint goes, and its learned flow
holds the fitted solver to its promise."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

if not os.environ.get("CI"):
    for library in ("torch", "transformers", "onnxscript"):
        pytest.importorskip(library, reason=f"{library} is not installed")

import torch

from bridge.__main__ import main
from engine.bundle import Bundle, read_bundle
from engine.flow.fitted import FittedPlan
from engine.flow.sampling import plan_sampling
from engine.flow.schedule import Schedule
from engine.flow.solve import hear
from engine.metrics import sdr_db, si_sdr_db
from engine.model.weights import import_folder
from engine.quality.few_steps import REFERENCE
from engine.quality.stems import bundled_song
from engine.runtimes.torch_runtime import TorchFlow
from training.flow_packing import pack, unpack, write_packed, write_unpacked
from training.flow_scores import solved

pytestmark = pytest.mark.torch
GOLDEN = Path(__file__).parent / "golden" / "flow_small"
CLIP_S = 2.0


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model` and `text`, as a user has them on disk."""
    out = tmp_path_factory.mktemp("official")
    write_unpacked(GOLDEN, out)
    return out


@pytest.fixture(scope="module")
def bundle(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return read_bundle(import_folder(folders / "model", tmp_path_factory.mktemp("models") / "small", name="small"))


@pytest.fixture(scope="module")
def stages(bundle: Bundle, folders: Path) -> TorchFlow:
    return TorchFlow(bundle, folders / "text", device="cpu")


@pytest.fixture(scope="module")
def clips(stages: TorchFlow) -> list[np.ndarray]:
    """Latents of pieces of the bundled excerpt, which nothing was fitted to, `(frame, channel)`."""
    import soxr

    song = bundled_song()
    mono = sum(song.stems.values()).mean(axis=0)
    wave = soxr.resample(mono, song.sample_rate, stages.sample_rate).astype(np.float32)
    n = round(CLIP_S * stages.sample_rate)
    pieces = [wave[at : at + n] for at in range(0, len(wave) - n, n)][:6]
    return [hear(stages, [piece[None]], n, lambda share: None).latents for piece in pieces]


def snr_db(stages: TorchFlow, clips: Sequence[np.ndarray], schedule: Schedule) -> float:
    """Mean distance of a schedule's latents from the model's own 32 evaluations."""
    prompts = ("drums", "bass")
    found = []
    for seed, latents in enumerate(clips):
        prompt = prompts[seed % len(prompts)]
        exact = solved(stages, latents, prompt, REFERENCE, 100 + seed)
        found.append(sdr_db(solved(stages, latents, prompt, schedule, 100 + seed), exact))
    return float(np.mean(found))


def test_packing_keeps_the_weights_within_a_step_and_is_exact_the_second_time(folders: Path, tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    weights = {"matrix": torch.randn(5, 7, 3, generator=draw), "row": torch.randn(9, generator=draw)}
    weights["zeros"] = torch.zeros(2, 2)
    once = unpack(pack(weights))
    assert once.keys() == weights.keys()
    for key, tensor in weights.items():
        torch.testing.assert_close(once[key], tensor, atol=0.02, rtol=1e-3)
    write_packed(folders, tmp_path / "again")
    write_unpacked(tmp_path / "again", tmp_path / "unpacked")
    first, second = (torch.load(each / "model" / "checkpoint.pt") for each in (folders, tmp_path / "unpacked"))
    for key, tensor in first.items():
        torch.testing.assert_close(second[key], tensor, atol=1e-4, rtol=2e-3, msg=key)


def test_a_learned_flow_is_answered_with_four_evaluations_where_midpoint_errs_twice_as_much(
    stages: TorchFlow, clips: Sequence[np.ndarray]
) -> None:
    """The fit was made of other music (`fitted-4.json` says of what)."""
    told = json.loads((GOLDEN / "fitted-4.json").read_text(encoding="utf-8"))
    fitted = Schedule("fitted", FittedPlan.from_dict(told["plan"]))
    midpoint = Schedule("uniform", plan_sampling(nfe=4, method="midpoint"))
    assert fitted.nfe == midpoint.nfe == 4
    half = 20 * np.log10(2)
    assert snr_db(stages, clips, fitted) > snr_db(stages, clips, midpoint) + half


def test_more_evaluations_come_nearer(stages: TorchFlow, clips: Sequence[np.ndarray]) -> None:
    found = [
        snr_db(stages, clips[:3], Schedule("uniform", plan_sampling(nfe=nfe, method="euler"))) for nfe in (1, 4, 16)
    ]
    assert found == sorted(found)


def test_target_and_rest_add_up_to_the_mixture_without_being_made_to(
    stages: TorchFlow, clips: Sequence[np.ndarray]
) -> None:
    latents = solved(stages, clips[0], "vocals", REFERENCE, 0)
    target, rest = np.concatenate(list(stages.decode(latents, mark_seed=None)), axis=1)
    (mixture,) = stages.decode(np.concatenate([clips[0], clips[0]], axis=-1)[None], mark_seed=None)
    assert si_sdr_db((target + rest)[None], mixture[:1, : len(target)]) > 6


def test_it_is_imported_exported_verified_and_asked_like_any_other(
    folders: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    song = tmp_path / "song.wav"
    excerpt = bundled_song()
    soundfile.write(song, sum(excerpt.stems.values())[:, : 2 * excerpt.sample_rate].T, excerpt.sample_rate)

    def run(*arguments: object) -> str:
        capfd.readouterr()
        assert main([*map(str, arguments)]) == 0
        return capfd.readouterr().out

    run("models", "import", folders / "model", "--name", "small", "--text", folders / "text")
    (listed,) = [one for one in json.loads(run("models", "list", "--json")) if one["name"] == "small"]
    assert listed["licence"] == "Apache-2.0"
    run("models", "export", "small", "--to", "onnx")
    assert "onnx-fp32" in run("models", "verify", "small")
    asked = ("extract", song, "--prompt", "vocals", "--model", "small", "--nfe", "2", "--json")
    heard = {}
    for runtime in ("torch", "onnx"):
        monkeypatch.setenv("STEMBRIDGE_RUNTIME", runtime)
        told = json.loads(run(*asked, "--out", tmp_path / runtime))
        assert told["nfe"] == 2
        heard[runtime] = soundfile.read(next((tmp_path / runtime).glob("*.target.wav")))[0].T
    assert sdr_db(heard["onnx"], heard["torch"]) > 60
