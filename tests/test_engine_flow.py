"""A flow model end to end, on the golden weights: any prompt, spans, any rate and length, both outputs. What it
separates means nothing, the weights being random; that it does so exactly is what is held here."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from mixtures import make_mixture
from sam_folder import write_official, write_text_encoder

if not os.environ.get("CI"):
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")

from engine import Cancelled, Progress, Separation, SeparationRequest, Span, StembridgeError
from engine import models as engine_models
from engine.bundle import read_bundle
from engine.cache import ResultCache
from engine.flow import solve as flow_solve
from engine.flow.model import FlowModel
from engine.flow.sampling import noise
from engine.flow.solve import encode_stream, hear, solve_asks
from engine.model.weights import import_folder
from engine.models import Shelf, choose
from engine.runtime import Ask
from engine.runtimes import torch_runtime
from engine.runtimes.torch_runtime import TorchFlow
from engine.separate import separate, solve_ahead
from engine.windows import Window

pytestmark = pytest.mark.torch
MakeFile = Callable[..., Path]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with `sam-tiny`, imported from an official folder, and its text encoder."""
    home = tmp_path_factory.mktemp("models")
    import_folder(write_official(home / "official"), home / "models" / "sam-tiny", name="sam-tiny")
    write_text_encoder(home / "models" / "t5-base")
    return home / "models"


@pytest.fixture(scope="module")
def runtime(models: Path) -> TorchFlow:
    return TorchFlow(read_bundle(models / "sam-tiny"), models / "t5-base", device="cpu")


@pytest.fixture
def shelf(models: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    monkeypatch.setattr(engine_models, "models_folder", lambda: models)
    return Shelf()


def run(shelf: Shelf, source: Path, out: Path, prompt: str = "acoustic guitar", **fields: Any) -> Separation:
    return separate(SeparationRequest((source,), prompt, out, **{"nfe": 2, **fields}), shelf)


def stem(path: Path | None) -> np.ndarray:
    assert path is not None
    return soundfile.read(path, dtype="float32", always_2d=True)[0].T


def snr_db(exact: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(np.square(exact).sum() / np.square(exact - other).sum()))


def test_bfloat16_on_the_cpu_is_the_network_within_its_rounding(runtime: TorchFlow, models: Path) -> None:
    rough = TorchFlow(read_bundle(models / "sam-tiny"), models / "t5-base", device="cpu", precision="bf16")
    assert (runtime.name, rough.name) == ("torch:cpu:fp32", "torch:cpu:bf16")
    wave = make_mixture(24_000, 48_000, 1).T.copy()
    latents = runtime.encode(wave)
    assert 25 < snr_db(latents, rough.encode(wave)) < 90
    tokens, x = np.zeros((1, len(latents)), np.int64), noise([1], len(latents), 2 * runtime.n_channels)
    velocities = []
    for each in (runtime, rough):
        evaluate = each.velocity(latents, tokens, ["tambourine"], (0.0, 0.5))
        velocities.append(each.to_host(evaluate(each.to_device(x), 1, Window(0, len(latents)))))
    assert velocities[1].dtype == np.float32
    assert 30 < snr_db(*velocities) < 90
    sounds = [np.concatenate(list(each.decode(x, mark_seed=None)), axis=1) for each in (runtime, rough)]
    assert 20 < snr_db(*sounds) < 90


def test_bfloat16_answers_when_it_is_asked_for_and_the_manifest_says_so(
    shelf: Shelf, mixture_file: MakeFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEMBRIDGE_PRECISION", "bf16")
    done = run(shelf, mixture_file(0.5), tmp_path / "out")
    manifest = json.loads(done.manifest.read_text(encoding="utf-8"))
    assert manifest["runtime"] == "torch:cpu:bf16"
    assert manifest["runtime_reason"].startswith("Torch on the CPU in bfloat16: it equals torch:cpu:fp32 to")
    assert "STEMBRIDGE_PRECISION asks for bf16" in manifest["runtime_reason"]
    assert done.null_db <= -120


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("output", ["faithful", "generative"])
def test_any_rate_and_channels_fit_and_null(
    shelf: Shelf, mixture_file: MakeFile, tmp_path: Path, rate: int, channels: int, output: str
) -> None:
    source = mixture_file(1.3, sample_rate=rate, channels=channels)
    n = rate // 2 + 3
    done = run(shelf, source, tmp_path / "out", start_s=0.4, end_s=0.4 + n / rate, context_s=0.2, output=output)
    start = round(0.4 * rate)
    target, residual = stem(done.target), stem(done.residual)
    assert target.shape == residual.shape == (channels, n)
    assert np.abs(target + residual - stem(source)[:, start : start + n]).max() <= 10 ** (-120 / 20)
    assert done.null_db <= -120
    assert done.model == "sam-tiny"
    assert done.runtime == "torch:cpu:fp32"
    manifest = json.loads(done.manifest.read_text(encoding="utf-8"))
    assert ("generated_residual" in manifest) == (output == "generative")
    if output == "generative":
        assert stem(tmp_path / "out" / manifest["generated_residual"]).shape == (channels, n)


def test_the_faithful_target_holds_nothing_that_the_mixture_does_not(
    shelf: Shelf, mixture_file: MakeFile, tmp_path: Path
) -> None:
    source = mixture_file(1.0)
    samples = stem(source)
    samples[:, 20_000:30_000] = 0
    soundfile.write(source, samples.T, 44_100, subtype="FLOAT")
    target = stem(run(shelf, source, tmp_path).target)
    assert not target[:, 25_000 - 2_000 : 25_000 + 2_000].any()
    assert target.any()


@pytest.mark.parametrize("seconds", [1 / 48_000, 0.01, 0.039, 0.041])
def test_clips_shorter_than_a_latent_frame(
    shelf: Shelf, mixture_file: MakeFile, tmp_path: Path, seconds: float
) -> None:
    source = mixture_file(seconds, sample_rate=48_000)
    assert stem(run(shelf, source, tmp_path).target).shape == stem(source).shape


def test_seed_prompt_and_spans_decide_the_result(shelf: Shelf, mixture_file: MakeFile, tmp_path: Path) -> None:
    source = mixture_file(1.0)
    base = stem(run(shelf, source, tmp_path / "a").target)
    assert np.array_equal(base, stem(run(Shelf(), source, tmp_path / "b").target))
    for i, changed in enumerate(
        ({"seed": 1}, {"prompt": "tambourine"}, {"spans": (Span("+", 0.2, 0.6),)}, {"spans": (Span("-", 0.2, 0.6),)})
    ):
        assert not np.array_equal(base, stem(run(shelf, source, tmp_path / f"c{i}", **changed).target)), changed


def test_spans_alone_are_enough(shelf: Shelf, mixture_file: MakeFile, tmp_path: Path) -> None:
    done = run(shelf, mixture_file(1.0), tmp_path, prompt="", spans=(Span("+", 0.2, 0.4), Span("-", 0.3, 0.9)))
    assert done.target is not None
    assert done.target.name == "mixture.span.target.wav"


def test_a_prompt_too_long_is_cut_and_the_manifest_says_so(
    shelf: Shelf, mixture_file: MakeFile, tmp_path: Path
) -> None:
    done = run(shelf, mixture_file(0.5), tmp_path, prompt="a e i o u " * 99, name="long")
    assert "left out" in json.loads(done.manifest.read_text(encoding="utf-8"))["note"]


def test_encoding_a_stream_is_encoding_the_whole(runtime: TorchFlow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_solve, "CHUNK_FRAMES", 20)
    n = 48_000 * 3 + 777
    mixture = make_mixture(n, 48_000, 1).T.copy()
    whole = runtime.encode(mixture)
    blocks = (mixture[:, at : at + 50_001] for at in range(0, n, 50_001))
    pieces = list(encode_stream(runtime, blocks))
    assert len(pieces) > 1
    streamed = np.concatenate(pieces)
    assert streamed.shape == whole.shape
    assert np.abs(streamed - whole).max() < 1e-5


def test_four_prompts_on_one_region_encode_it_once(
    shelf: Shelf, mixture_file: MakeFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = []
    encode = TorchFlow.encode
    monkeypatch.setattr(TorchFlow, "encode", lambda self, wave: heard.append(wave.shape) or encode(self, wave))
    source = mixture_file(1.0)
    first = stem(run(shelf, source, tmp_path).target)
    for prompt in ("tambourine", "lead vocals with reverb", "vocals guitar"):
        run(shelf, source, tmp_path, prompt=prompt, model="sam-tiny")
    assert len(heard) == 1
    assert np.array_equal(first, stem(run(Shelf(), source, tmp_path / "fresh").target))


def asks(*prompts: str, **fields: Any) -> list[Ask]:
    return [Ask(prompt, nfe=4, **fields) for prompt in prompts]


def test_a_batch_of_prompts_equals_each_alone(runtime: TorchFlow) -> None:
    mixture = make_mixture(48_000, 48_000, 2).T.copy()
    heard = hear(runtime, [mixture], 48_000, lambda fraction: None)
    together = asks("lead vocals", "tambourine", "acoustic guitar with vocals", "")
    together[1] = replace(together[1], spans=(Span("+", 0.2, 0.5),), seed=5)
    batch = solve_asks(runtime, heard, together, lambda fraction: None)
    for ask, solved in zip(together, batch, strict=True):
        (alone,) = solve_asks(runtime, heard, [ask], lambda fraction: None)
        assert np.abs(solved.state - alone.state).max() <= 1e-5


def test_prompts_solved_ahead_are_one_batch(
    shelf: Shelf, mixture_file: MakeFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = mixture_file(0.8)
    prompts = ("tambourine", "acoustic guitar", "lead vocals")
    requests = [SeparationRequest((source,), p, tmp_path / "a", nfe=2, model="sam-tiny") for p in prompts]
    refused = replace(requests[0], spans=(Span("+", 5.0, 6.0),))
    elsewhere = replace(requests[0], prompt="vocals", start_s=0.1)
    fractions: list[float] = []
    solve_ahead([*requests, refused, elsewhere], shelf, on_progress=lambda p: fractions.append(p.fraction))
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(0.45)  # the second of two evaluations is yet to come, and the decoding
    velocity = TorchFlow.velocity
    monkeypatch.setattr(TorchFlow, "velocity", lambda *_: pytest.fail("it was solved ahead"))
    ahead = [separate(request, shelf) for request in requests]
    monkeypatch.setattr(TorchFlow, "velocity", velocity)
    for request, done in zip(requests, ahead, strict=True):
        alone = separate(replace(request, out_dir=tmp_path / "b"), Shelf())
        assert np.abs(stem(done.target) - stem(alone.target)).max() <= 1e-4


@pytest.mark.parametrize("prompt", ["tambourine"])
def test_the_best_candidate_is_kept_and_the_manifest_says_which(
    shelf: Shelf, mixture_file: MakeFile, tmp_path: Path, prompt: str
) -> None:
    source = mixture_file(1.0)
    done = run(shelf, source, tmp_path / "a", prompt=prompt, candidates=3, seed=7, spans=(Span("+", 0.2, 0.6),))
    manifest = json.loads(done.manifest.read_text(encoding="utf-8"))
    totals = [scores["total"] for scores in manifest["scores"]]
    assert manifest["candidates"] == len(totals) == 3
    assert manifest["kept_seed"] == 7 + totals.index(max(totals))
    assert {"mixture_consistency", "span_agreement", "not_silent", "not_clipped"} < set(manifest["scores"][0])
    alone = run(shelf, source, tmp_path / "b", prompt=prompt, seed=manifest["kept_seed"], spans=(Span("+", 0.2, 0.6),))
    assert np.abs(stem(done.target) - stem(alone.target)).max() <= 1e-4


def test_cancel_comes_between_evaluations(shelf: Shelf, mixture_file: MakeFile, tmp_path: Path) -> None:
    seen: list[Progress] = []
    request = SeparationRequest((mixture_file(1.0),), "tambourine", tmp_path / "out", nfe=32)
    with pytest.raises(Cancelled):
        separate(request, shelf, on_progress=seen.append, cancelled=lambda: len(seen) > 10)
    assert len(seen) == 11
    assert list((tmp_path / "out").iterdir()) == []


def test_a_region_longer_than_a_window(
    shelf: Shelf, mixture_file: MakeFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_solve, "WINDOW_S", 1.0)
    monkeypatch.setattr(flow_solve, "STRIDE_S", 0.75)
    source = mixture_file(3.5, sample_rate=48_000, channels=1)
    done = run(shelf, source, tmp_path, nfe=1)
    assert done.samples == round(3.5 * 48_000)
    assert done.null_db <= -120


@pytest.fixture
def little_memory(runtime: TorchFlow, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A device that has room for so many rows and frames at a time; the windows it was asked for are kept."""
    import torch

    limit: dict[str, Any] = {"rows": 9, "frames": 10**9, "asked": []}
    velocity = TorchFlow.velocity

    def limited(self: TorchFlow, *arguments: Any) -> Any:
        inner = velocity(self, *arguments)

        def checked(x: Any, number: int, window: Any) -> Any:
            limit["asked"].append((len(x), window.n_frames))
            with torch_runtime.within_memory("cpu", "a window"):
                if window.n_frames > limit["frames"] or len(x) > limit["rows"]:
                    raise limit.get("error", torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."))
            return inner(x, number, window)

        return checked

    monkeypatch.setattr(TorchFlow, "velocity", limited)
    return limit


def test_where_memory_does_not_suffice_windows_are_halved_and_the_manifest_says_so(
    shelf: Shelf,
    mixture_file: MakeFile,
    tmp_path: Path,
    little_memory: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = mixture_file(22.0, sample_rate=48_000, channels=1)
    cache = ResultCache(tmp_path / "cache")
    little_memory["frames"] = 260
    request = SeparationRequest((source,), "acoustic guitar", tmp_path / "short", nfe=1)
    done = separate(request, shelf, cache=cache)
    assert [n for i, (_, n) in enumerate(little_memory["asked"]) if not i or n != little_memory["asked"][i - 1][1]] == [
        500,
        250,
    ]
    manifest = json.loads(done.manifest.read_text(encoding="utf-8"))
    assert manifest["window_s"] == 10.0
    assert "windows of 10 s" in manifest["note"]
    assert any(message.endswith("It goes on with windows of half the length.") for message in caplog.messages)
    assert done.null_db <= -120
    # with memory again the same request is solved as usual: what little memory made was not kept for it
    little_memory["frames"] = 10**9
    usual = separate(replace(request, out_dir=tmp_path / "usual"), Shelf(), cache=cache)
    assert not usual.cached
    manifest = json.loads(usual.manifest.read_text(encoding="utf-8"))
    assert "window_s" not in manifest
    assert manifest["note"] == ""


def test_candidates_that_do_not_fit_together_are_solved_apart(
    shelf: Shelf,
    mixture_file: MakeFile,
    tmp_path: Path,
    little_memory: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = mixture_file(0.5)
    together = run(shelf, source, tmp_path / "a", nfe=1, candidates=3)
    little_memory["rows"] = 1
    apart = run(Shelf(), source, tmp_path / "b", nfe=1, candidates=3)
    assert {rows for rows, _ in little_memory["asked"]} >= {3, 1}
    assert any(message.endswith("It goes on with fewer at a time.") for message in caplog.messages)
    assert np.abs(stem(together.target) - stem(apart.target)).max() < 1e-4
    assert "window_s" not in json.loads(apart.manifest.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "error", [None, MemoryError(), RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)")]
)
def test_where_nothing_fits_it_is_said_and_nothing_is_written(
    shelf: Shelf, mixture_file: MakeFile, tmp_path: Path, little_memory: dict[str, Any], error: Exception | None
) -> None:
    little_memory["frames"] = 100
    if error is not None:
        little_memory["error"] = error
    with pytest.raises(StembridgeError, match="not enough memory") as caught:
        run(shelf, mixture_file(12.0, sample_rate=16_000, channels=1), tmp_path / "out", nfe=1)
    assert caught.value.code == "out_of_memory"
    assert [n for _, n in little_memory["asked"]] == [300, 150, 125]
    assert list((tmp_path / "out").iterdir()) == []


def test_another_error_of_the_runtime_is_no_lack_of_memory(
    shelf: Shelf, mixture_file: MakeFile, tmp_path: Path, little_memory: dict[str, Any]
) -> None:
    little_memory |= {"frames": 1, "error": RuntimeError("mat1 and mat2 shapes cannot be multiplied")}
    with pytest.raises(RuntimeError, match="mat1"):
        run(shelf, mixture_file(0.5), tmp_path, nfe=1)
    assert len(little_memory["asked"]) == 1


def test_routing_and_refusals(shelf: Shelf, models: Path, tmp_path: Path) -> None:
    def chosen(prompt: str, **fields: Any) -> str:
        return choose(SeparationRequest((Path("a.wav"),), prompt, tmp_path, **fields))

    assert chosen("lead vocals") == "spleeter-2stems"
    assert chosen("tambourine") == "sam-tiny"
    assert chosen("lead vocals", output="generative") == "sam-tiny"
    with pytest.raises(StembridgeError) as caught:
        chosen("tambourine", model="spleeter-2stems")
    assert caught.value.code == "unsupported_prompt"


def test_a_text_encoder_of_another_width_is_refused(models: Path, tmp_path: Path) -> None:
    with pytest.raises(StembridgeError, match="16 wide, not 24") as caught:
        TorchFlow(read_bundle(models / "sam-tiny"), write_text_encoder(tmp_path / "t5", dim=16), device="cpu")
    assert caught.value.code == "model_corrupt"


def test_an_unloaded_model_is_not_used(models: Path, runtime: TorchFlow) -> None:
    model = FlowModel(read_bundle(models / "sam-tiny"), runtime)
    model.close()
    with pytest.raises(StembridgeError, match="unloaded"):
        model.plan(Ask("tambourine"))
