"""A flow model's draft and what is refined from it; decoding only what is heard; encoding before anybody asks."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from mixtures import make_mixture
from toy_bundle import NAME, write_models

if not os.environ.get("CI"):
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")

from engine import Progress, Separation, SeparationRequest, Span
from engine import models as engine_models
from engine.bundle import read_bundle
from engine.drafts import whole_draft
from engine.errors import Cancelled
from engine.flow.model import FlowModel, _decoded
from engine.flow.sampling import REFINE_FROM, noise, plan_sampling, solve
from engine.flow.solve import CONTEXT_FRAMES, Solved, hear, solve_asks
from engine.models import Shelf
from engine.progressive import deliver
from engine.runtime import Ask, Plan
from engine.runtimes.torch_runtime import TorchFlow
from engine.separate import hear_ahead, separate, solve_ahead
from engine.windows import Window

pytestmark = pytest.mark.torch
MakeFile = Callable[..., Path]
RATE = 48_000


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("toy") / "models")


@pytest.fixture(scope="module")
def runtime(models: Path) -> TorchFlow:
    return TorchFlow(read_bundle(models / NAME), models / "t5-base", device="cpu")


@pytest.fixture
def shelf(models: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    monkeypatch.setattr(engine_models, "models_folder", lambda: models)
    return Shelf()


def request_for(source: Path, out: Path, **fields: Any) -> SeparationRequest:
    return SeparationRequest((source,), "tambourine", out, **{"quality": "progressive", **fields})


def delivered(shelf: Shelf, request: SeparationRequest, seen: list[Progress] | None = None) -> Separation:
    told = (lambda p: None) if seen is None else seen.append
    return deliver(request, lambda r, inner: separate(r, shelf, on_progress=inner), on_progress=told)


def stem(path: Path | None) -> np.ndarray:
    assert path is not None
    return soundfile.read(path, dtype="float32", always_2d=True)[0].T


# Draft and result


def test_the_result_is_solved_from_the_draft_and_the_same_noise(runtime: TorchFlow) -> None:
    heard = hear(runtime, [make_mixture(RATE, RATE, 1).T.copy()], RATE, lambda fraction: None)
    ask = Ask("tambourine", quality="progressive", seed=3)
    (draft,) = solve_asks(runtime, heard, [replace(ask, quality="draft")], lambda fraction: None)
    (refined,) = solve_asks(runtime, heard, [ask], lambda fraction: None, drafts=[draft.state])
    # by hand: on the straight line between the noise and the draft, then the rest of the way
    n_frames = len(heard.latents)
    plan = plan_sampling(nfe=6, start=REFINE_FROM)
    tokens = np.zeros((1, n_frames), np.int64)
    velocity = runtime.velocity(heard.latents, tokens, ["tambourine"], plan.times)
    start = noise([3], n_frames, 2 * runtime.n_channels) * (1 - REFINE_FROM) + draft.state * REFINE_FROM
    whole = Window(0, n_frames)
    expected = solve(lambda x, number: velocity(x, number, whole), runtime.to_device(start.astype(np.float32)), plan)
    assert np.abs(refined.state - runtime.to_host(expected)).max() <= 1e-5
    assert np.abs(refined.state - draft.state).max() > 1e-3


def test_a_draft_comes_first_and_both_fit_and_null(shelf: Shelf, mixture_file: MakeFile, tmp_path: Path) -> None:
    source = mixture_file(1.5, sample_rate=RATE)
    seen: list[tuple[Separation, np.ndarray, np.ndarray]] = []

    def told(progress: Progress) -> None:
        if progress.draft is not None:
            stems = progress.draft.stems
            seen.append((stems, stem(stems.target), stem(stems.residual)))

    request = request_for(source, tmp_path / "out", start_s=0.2, end_s=1.2, context_s=0.2)
    done = deliver(request, lambda r, inner: separate(r, shelf, on_progress=inner), on_progress=told)
    ((draft, target, residual),) = seen
    mixture = stem(source)[:, round(0.2 * RATE) : round(1.2 * RATE)]
    for one, other in ((target, residual), (stem(done.target), stem(done.residual))):
        assert one.shape == mixture.shape
        assert np.abs(one + other - mixture).max() <= 10 ** (-120 / 20)
    assert not np.array_equal(target, stem(done.target))
    assert (draft.nfe, done.nfe) == (2, 8)  # the result's own six and the draft's two
    manifest = json.loads(done.manifest.read_text(encoding="utf-8"))
    assert manifest["schedule"] == f"midpoint, 1 step, then midpoint, 3 steps from {REFINE_FROM:g}"
    assert sorted(path.suffix for path in (tmp_path / "out").iterdir()) == [".json", ".wav", ".wav"]


def test_the_draft_is_solved_once_and_the_result_is_the_same_without_it(
    shelf: Shelf, mixture_file: MakeFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_calls = []
    velocity = TorchFlow.velocity
    monkeypatch.setattr(TorchFlow, "velocity", lambda self, *a: n_calls.append(len(a[3])) or velocity(self, *a))
    clock_s, seen = itertools.count(), list[Progress]()
    monkeypatch.setattr("engine.separate.time", SimpleNamespace(monotonic=lambda: next(clock_s)))  # 1 s for each step
    source = mixture_file(0.8, sample_rate=RATE)
    first = delivered(shelf, request_for(source, tmp_path / "a"), seen)
    assert n_calls == [2, 6]
    left_s = [p.eta_s or 0.0 for p in seen if p.stage == "refining" and p.draft is None]
    assert np.isnan(left_s[0])  # the draft, which was there, says nothing of the speed
    assert np.diff(left_s[1:6]) == pytest.approx(-1.0)
    alone = separate(request_for(source, tmp_path / "b"), Shelf())  # nothing was drafted before
    assert np.array_equal(stem(first.target), stem(alone.target))


def test_drafts_that_grow_from_the_playhead_fit_and_null_and_the_result_is_the_same(
    shelf: Shelf, mixture_file: MakeFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.drafts.PART_S", 0.5)
    times_s = itertools.count(step=1e6)
    monkeypatch.setattr("engine.progressive.monotonic", lambda: next(times_s))  # so slow that no part is left out
    n_calls = []
    velocity = TorchFlow.velocity
    monkeypatch.setattr(TorchFlow, "velocity", lambda self, *a: n_calls.append(len(a[3])) or velocity(self, *a))
    source = mixture_file(3.4, sample_rate=RATE)
    mixture = stem(source)
    seen: list[tuple[int, np.ndarray]] = []

    def told(progress: Progress) -> None:
        if progress.draft is not None:
            stems = progress.draft.stems
            seen.append((progress.draft.offset_samples, stem(stems.target) + stem(stems.residual)))

    request = request_for(source, tmp_path / "a", start_s=0.1, end_s=3.3, context_s=0.1, playhead_s=2.9)
    done = deliver(request, lambda r, inner: separate(r, shelf, on_progress=inner), on_progress=told)
    assert n_calls == [2, 2, 2, 6]
    # Of 0.5, 1.5 and all 3.2 s; the second would reach past the region's end.
    places = [(round(2.675 * RATE), 24_000), (round(1.7 * RATE), 72_000), (0, round(3.2 * RATE))]
    assert [(offset, heard.shape[1]) for offset, heard in seen] == places
    for offset, heard in seen:
        part = mixture[:, round(0.1 * RATE) + offset :][:, : heard.shape[1]]
        assert np.abs(heard - part).max() <= 10 ** (-120 / 20)
    alone = separate(replace(request, playhead_s=None, out_dir=tmp_path / "b"), Shelf())
    assert np.array_equal(stem(done.target), stem(alone.target))
    assert sorted(path.suffix for path in (tmp_path / "a").iterdir()) == [".json", ".wav", ".wav"]


def test_several_candidates_are_tried_from_the_noise(shelf: Shelf, mixture_file: MakeFile, tmp_path: Path) -> None:
    source = mixture_file(0.5, sample_rate=RATE)
    seen: list[Progress] = []
    done = delivered(shelf, request_for(source, tmp_path, candidates=2), seen)
    fast = separate(request_for(source, tmp_path / "fast", candidates=2, quality="fast"), Shelf())
    assert np.array_equal(stem(done.target), stem(fast.target))
    assert sum(p.draft is not None for p in seen) == 1


def test_prompts_that_wait_are_drafted_in_one_batch_and_refined_in_another(
    shelf: Shelf, mixture_file: MakeFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = mixture_file(0.6, sample_rate=RATE)
    prompts = ("tambourine", "acoustic guitar", "drums")
    asked = [replace(request_for(source, tmp_path / "a", model=NAME), prompt=prompt) for prompt in prompts]
    batches = []
    velocity = TorchFlow.velocity
    monkeypatch.setattr(
        TorchFlow, "velocity", lambda self, *a: batches.append((len(a[2]), len(a[3]))) or velocity(self, *a)
    )
    solve_ahead([whole_draft(one) for one in asked], shelf)
    solve_ahead(asked, shelf)
    together = [delivered(shelf, one) for one in asked]
    assert batches == [(3, 2), (3, 6)]
    for one, done in zip(asked, together, strict=True):
        alone = separate(replace(one, out_dir=tmp_path / "b"), Shelf())
        assert np.abs(stem(done.target) - stem(alone.target)).max() <= 1e-4


# Only what is heard is decoded


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many latent frames each decode was given."""
    frames: list[int] = []
    decode = TorchFlow.decode

    def counted(self: TorchFlow, state: Any, *, mark_seed: int | None) -> Any:
        frames.append(state.shape[1])
        return decode(self, state, mark_seed=mark_seed)

    monkeypatch.setattr(TorchFlow, "decode", counted)
    return frames


@pytest.mark.parametrize(("first", "end"), [(0, 1), (3, 9), (100, 130), (395, 400), (0, 400)])
def test_frames_that_are_heard_are_decoded_as_in_the_whole(
    runtime: TorchFlow, decoded: list[int], first: int, end: int
) -> None:
    n_frames, hop = 400, runtime.hop
    state = np.random.default_rng(5).standard_normal((1, n_frames, 2 * runtime.n_channels)).astype(np.float32)
    whole = np.concatenate(list(runtime.decode(state, mark_seed=None)), axis=1)
    audible = (first * hop + 1 if end - first > 1 else first * hop, end * hop - 1)
    decoded.clear()
    part = np.concatenate(list(_decoded(runtime, Solved(state, 0, ()), audible, mark=False)), axis=1)
    assert decoded == [min(end + CONTEXT_FRAMES, n_frames) - max(first - CONTEXT_FRAMES, 0)]
    assert part.shape == whole.shape
    inside = slice(first * hop, end * hop)
    assert np.abs(part[:, inside] - whole[:, inside]).max() <= 2e-6  # float32: sums of other lengths round otherwise
    assert not part[:, : first * hop].any()
    assert not part[:, end * hop :].any()


@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_a_stem_is_the_same_whether_its_context_is_decoded_or_not(
    shelf: Shelf,
    mixture_file: MakeFile,
    tmp_path: Path,
    decoded: list[int],
    rate: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = mixture_file(6.0, sample_rate=rate, channels=1)
    request = request_for(source, tmp_path / "a", quality="draft", start_s=2.0, end_s=3.5, context_s=2.0)
    part = separate(request, shelf)
    hop, n_fft = 1920, 2048
    first, end = (2 * RATE - 2 * n_fft) // hop - CONTEXT_FRAMES, -(-(3.5 * RATE + 2 * n_fft) // hop) + CONTEXT_FRAMES
    assert decoded == [end - first]
    estimate = FlowModel.estimate
    monkeypatch.setattr(FlowModel, "estimate", lambda *a, wanted=None: estimate(*a))
    whole = separate(replace(request, out_dir=tmp_path / "b"), shelf)
    assert decoded[1] == -(-round(5.5 * RATE) // hop)
    assert stem(part.target).any()
    assert np.abs(stem(part.target) - stem(whole.target)).max() <= 1e-5


# Encoding before anybody asks


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The samples of each encode."""
    heard: list[int] = []
    encode = TorchFlow.encode
    monkeypatch.setattr(TorchFlow, "encode", lambda self, wave: heard.append(wave.shape[1]) or encode(self, wave))
    return heard


def test_what_was_encoded_ahead_is_not_encoded_again(
    shelf: Shelf, mixture_file: MakeFile, tmp_path: Path, encoded: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "engine.separate")
    source = mixture_file(3.0)
    asked = request_for(source, tmp_path / "a", quality="draft", start_s=1.0, end_s=2.0, context_s=0.5)
    hear_ahead(replace(asked, prompt="sound", name="unknown yet"), shelf)
    assert len(encoded) == 1
    assert f"{source.name}: heard ahead" in caplog.messages  # what `stembridge serve --verbose` shows
    made = separate(replace(asked, spans=(Span("+", 1.2, 1.4),)), shelf)
    assert len(encoded) == 1
    fresh = separate(replace(asked, spans=(Span("+", 1.2, 1.4),), out_dir=tmp_path / "b"), Shelf())
    assert len(encoded) == 2
    assert np.array_equal(stem(made.target), stem(fresh.target))
    separate(replace(asked, start_s=1.1, out_dir=tmp_path / "c"), shelf)  # another region is another mixture
    assert len(encoded) == 3


def test_encoding_ahead_gives_way(shelf: Shelf, mixture_file: MakeFile, tmp_path: Path, encoded: list[int]) -> None:
    asked = request_for(mixture_file(1.0), tmp_path)
    with pytest.raises(Cancelled):
        hear_ahead(asked, shelf, lambda: True)
    assert encoded == []
    model = shelf.open(NAME)
    assert isinstance(model, FlowModel)
    assert not model._heard
    assert isinstance(model.plan(Ask("tambourine")), Plan)
