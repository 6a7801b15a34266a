"""One request end to end on the model that ships: the promises of fit, null, image, cancel, and honest refusals."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from engine import Cancelled, Progress, Separation, SeparationRequest, Span, StembridgeError
from engine import models as engine_models
from engine.cache import ResultCache
from engine.models import DEFAULT, Shelf, choose, installed
from engine.riff import read_time_reference
from engine.separate import separate

DEMO = Path(engine_models.__file__).parent / "demo"
MakeFile = Callable[..., Path]


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    """One warm model for the module: opening it is not what is tested here."""
    return Shelf()


def run(shelf: Shelf, source: Path, out: Path, prompt: str = "vocals", **fields: Any) -> Separation:
    return separate(SeparationRequest((source,), prompt, out, **fields), shelf)


def stem(path: Path | None) -> np.ndarray:
    assert path is not None
    return soundfile.read(path, dtype="float32", always_2d=True)[0].T


def si_sdr_db(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio (Le Roux et al., 2019), of flattened signals."""
    e, r = estimate.ravel().astype(float), reference.ravel().astype(float)
    projected = (e @ r) / (r @ r) * r
    return float(10 * np.log10((projected @ projected) / np.sum((e - projected) ** 2)))


@pytest.mark.parametrize("rate", [44_100, 48_000, 88_200, 96_000, 192_000, 8_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_take_fits_and_nulls(
    shelf: Shelf, mixture_file: MakeFile, tmp_path: Path, rate: int, channels: int
) -> None:
    source = mixture_file(2.5, sample_rate=rate, channels=channels)
    before = hashlib.sha256(source.read_bytes()).hexdigest()
    start, n = rate // 3 + 1, rate + 7
    done = run(shelf, source, tmp_path / "out", start_s=start / rate, end_s=(start + n) / rate, context_s=0.5)
    mixture = stem(source)[:, start : start + n]
    target, residual = stem(done.target), stem(done.residual)
    assert target.shape == residual.shape == (channels, n)
    assert (done.sample_rate, done.channels, done.samples) == (rate, channels, n)
    assert np.abs(target + residual - mixture).max() <= 10 ** (-120 / 20)
    assert done.null_db <= -120
    assert read_time_reference(done.target or Path()) == start
    assert hashlib.sha256(source.read_bytes()).hexdigest() == before


@pytest.mark.parametrize("channels", [3, 6])
def test_more_channels_keep_their_order(shelf: Shelf, mixture_file: MakeFile, tmp_path: Path, channels: int) -> None:
    source = mixture_file(1.0, channels=channels)
    samples = stem(source)
    samples[1] = 0
    soundfile.write(source, samples.T, 44_100, subtype="FLOAT")
    done = run(shelf, source, tmp_path / "out")
    assert stem(done.target).shape == samples.shape
    assert not stem(done.target)[1].any()
    assert all(stem(done.residual)[c].any() for c in range(channels) if c != 1)


def test_the_shortest_region(shelf: Shelf, mixture_file: MakeFile, tmp_path: Path) -> None:
    done = run(shelf, mixture_file(1.0), tmp_path, start_s=0.5, end_s=0.5 + 1 / 44_100)
    assert stem(done.target).shape == (2, 1)


def test_it_separates_a_real_voice(shelf: Shelf, tmp_path: Path) -> None:
    mixture, voice = stem(DEMO / "mixture.flac"), stem(DEMO / "voice.flac")
    voice = np.broadcast_to(voice, mixture.shape)
    done = run(shelf, DEMO / "mixture.flac", tmp_path)
    assert si_sdr_db(stem(done.target), voice) - si_sdr_db(mixture, voice) > 8
    band = mixture - voice
    karaoke = run(shelf, DEMO / "mixture.flac", tmp_path, prompt="remove the vocals")
    assert si_sdr_db(stem(karaoke.target), band) - si_sdr_db(mixture, band) > 6
    assert np.abs(stem(karaoke.target) - stem(done.residual)).max() < 1e-5


@pytest.mark.parametrize("gain_db", [-30, 12])
def test_the_level_of_the_recording_does_not_matter(shelf: Shelf, tmp_path: Path, gain_db: int) -> None:
    gain = 10 ** (gain_db / 20)
    mixture = stem(DEMO / "mixture.flac")
    soundfile.write(tmp_path / "other.wav", gain * mixture.T, 44_100, subtype="FLOAT")
    asis, other = (stem(run(shelf, p, tmp_path).target) for p in (DEMO / "mixture.flac", tmp_path / "other.wav"))
    assert 10 * np.log10(np.sum(asis**2) / np.sum((other / gain - asis) ** 2)) > 30


def test_a_long_file_has_no_seams(shelf: Shelf, tmp_path: Path) -> None:
    # The same second at different places of the windows: the stem must not depend on where a joint falls.
    mixture = np.tile(stem(DEMO / "mixture.flac"), 4)
    source = tmp_path / "long.wav"
    soundfile.write(source, mixture.T, 44_100, subtype="FLOAT")
    target = stem(run(shelf, source, tmp_path).target)
    n = mixture.shape[1] // 4
    once, again = target[:, n : 2 * n], target[:, 2 * n : 3 * n]
    assert si_sdr_db(once, again) > 20


def test_the_same_request_gives_the_same_bytes(shelf: Shelf, mixture_file: MakeFile, tmp_path: Path) -> None:
    source = mixture_file(2.0)
    first = run(shelf, source, tmp_path / "a")
    second = run(Shelf(), source, tmp_path / "b")
    assert stem(first.target).tobytes() == stem(second.target).tobytes()


def test_the_manifest_tells_how_to_render_it_again(shelf: Shelf, mixture_file: MakeFile, tmp_path: Path) -> None:
    source = mixture_file(2.0)
    done = run(shelf, source, tmp_path / "a", prompt="lead vocals", spans=(Span("+", 0.5, 1.0),), position_s=60.0)
    manifest = json.loads(done.manifest.read_text(encoding="utf-8"))
    assert manifest["prompt"] == "lead vocals"
    assert manifest["answered_as"] == "vocals"
    assert manifest["note"]
    assert manifest["spans"] == [["+", 0.5, 1.0]]
    assert manifest["null_db"] is None or manifest["null_db"] <= -120
    assert len(manifest["model"]["weights_sha256"]) == 64
    assert manifest["runtime"] == "onnx:CPUExecutionProvider"
    assert manifest["target"] == "mixture.lead vocals.target.wav"
    assert read_time_reference(tmp_path / "a" / manifest["target"]) == 60 * 44_100
    again = SeparationRequest.from_dict(manifest["request"])
    rendered = separate(replace(again, out_dir=tmp_path / "b"), shelf)
    assert rendered.target is not None
    assert rendered.target.read_bytes() == (done.target or Path()).read_bytes()


def test_a_mono_pair_equals_the_stereo_file(shelf: Shelf, mixture_file: MakeFile, tmp_path: Path) -> None:
    source = mixture_file(1.5)
    sides = []
    for i, side in enumerate("LR"):
        sides.append(tmp_path / f"take%{side}.wav")
        soundfile.write(sides[-1], stem(source)[i], 44_100, subtype="FLOAT")
    pair = separate(SeparationRequest(tuple(sides), "vocals", tmp_path / "pair"), shelf)
    assert np.array_equal(stem(pair.target), stem(run(shelf, source, tmp_path / "one").target))


def test_progress_rises_and_ends_at_one(shelf: Shelf, mixture_file: MakeFile, tmp_path: Path) -> None:
    seen: list[Progress] = []
    request = SeparationRequest((mixture_file(30.0),), "vocals", tmp_path)
    separate(request, shelf, on_progress=seen.append)
    fractions = [p.fraction for p in seen]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert fractions[-1] == 1
    assert len(fractions) > 4
    assert seen[-1].eta_s == 0


def test_cancel_takes_effect_within_a_window_and_leaves_nothing(
    shelf: Shelf, mixture_file: MakeFile, tmp_path: Path
) -> None:
    seen: list[Progress] = []
    out = tmp_path / "out"
    request = SeparationRequest((mixture_file(60.0),), "vocals", out)
    with pytest.raises(Cancelled):
        separate(
            request, shelf, on_progress=seen.append,
            cancelled=lambda: any(p.stage == "separating" for p in seen),
        )  # fmt: skip
    assert len([p for p in seen if p.stage == "separating"]) == 1
    assert list(out.iterdir()) == []


def test_a_repeated_request_comes_from_the_cache(shelf: Shelf, mixture_file: MakeFile, tmp_path: Path) -> None:
    cache = ResultCache(tmp_path / "cache")
    request = SeparationRequest((mixture_file(3.0),), "vocals", tmp_path / "a", start_s=1.0, end_s=2.0)
    first = separate(request, shelf, cache=cache)
    moved = replace(request, out_dir=tmp_path / "b", position_s=9.0, keep="residual")
    second = separate(moved, shelf, cache=cache)
    assert (first.cached, second.cached) == (False, True)
    assert np.array_equal(stem(second.residual), stem(first.residual))
    assert second.target is None
    assert read_time_reference(second.residual or Path()) == 9 * 44_100
    other = separate(replace(request, prompt="instrumental"), shelf, cache=cache)
    assert not other.cached
    # Delivered before and untouched: the same files are the answer.
    third = separate(request, shelf, cache=cache)
    assert third == replace(first, seconds=third.seconds, null_db=third.null_db, cached=True)
    # A delivered stem is the user's: editing it in place neither reaches the next delivery nor is it overwritten.
    assert first.target is not None
    first.target.write_bytes(b"edited")
    fourth = separate(request, shelf, cache=cache)
    assert np.array_equal(stem(fourth.residual), stem(second.residual))
    assert fourth.target != first.target
    assert first.target.read_bytes() == b"edited"


def test_another_place_on_the_timeline_is_another_delivery(
    shelf: Shelf, mixture_file: MakeFile, tmp_path: Path
) -> None:
    request = SeparationRequest((mixture_file(0.5),), "vocals", tmp_path / "out", position_s=1.0)
    first = separate(request, shelf)
    second = separate(replace(request, position_s=5.0, keep="target"), shelf)
    assert [read_time_reference(done.target or Path()) for done in (first, second)] == [44_100, 220_500]


@pytest.mark.parametrize("prompt", ["didgeridoo", "a dog barking", "尺八", "everything but the alpenhorn"])
def test_any_words_are_answered_but_not_by_the_model_that_does_not_know_them(tmp_path: Path, prompt: str) -> None:
    request = SeparationRequest((Path("a.wav"),), prompt, tmp_path)
    assert choose(request) == "prompted"
    with pytest.raises(StembridgeError, match="cannot separate") as caught:
        choose(replace(request, model=DEFAULT))
    assert caught.value.code == "unsupported_prompt"
    assert prompt in caught.value.text
    assert "prompted" in caught.value.remedy


@pytest.mark.parametrize("prompt", ["🎸", "???", "_", "- - -"])
def test_what_names_no_sound_is_refused(tmp_path: Path, prompt: str) -> None:
    with pytest.raises(StembridgeError, match="names no sound") as caught:
        choose(SeparationRequest((Path("a.wav"),), prompt, tmp_path))
    assert caught.value.code == "unsupported_prompt"
    assert prompt in caught.value.text


def test_spans_alone_are_refused_in_their_own_words(tmp_path: Path) -> None:
    with pytest.raises(StembridgeError, match="There is no prompt, and the model") as caught:
        choose(SeparationRequest((Path("a.wav"),), "", tmp_path, spans=(Span("+", 1.0, 2.0),)))
    assert caught.value.code == "unsupported_prompt"


def test_models_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(StembridgeError, match="did you mean 'spleeter-2stems'") as caught:
        choose(SeparationRequest((Path("a.wav"),), "vocals", tmp_path, model="spleeter"))
    assert caught.value.code == "unknown_model"
    with pytest.raises(StembridgeError) as caught:
        choose(SeparationRequest((Path("a.wav"),), "vocals", tmp_path, output="generative"))
    assert caught.value.code == "unsupported_option"


@pytest.mark.parametrize(
    ("break_it", "code"),
    [
        (lambda f: (f / "masks.onnx").unlink(), "model_missing"),
        (lambda f: (f / "masks.onnx").write_bytes((f / "masks.onnx").read_bytes()[:-1]), "model_corrupt"),
        (lambda f: (f / "bundle.json").write_text("{"), "model_corrupt"),
        (lambda f: (f / "bundle.json").write_text("{}"), "model_corrupt"),
        (lambda f: (f / "bundle.json").write_text('{"schema": 99}'), "model_corrupt"),
    ],
)
def test_damaged_models_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, break_it: Callable[[Path], object], code: str
) -> None:
    folder = tmp_path / "models" / "spleeter-2stems"
    shutil.copytree(engine_models.EMBEDDED / "spleeter-2stems", folder)
    monkeypatch.setattr(engine_models, "EMBEDDED", folder.parent)
    assert list(installed()) == ["spleeter-2stems"]
    break_it(folder)
    with pytest.raises(StembridgeError) as caught:
        Shelf().open("spleeter-2stems")
    assert caught.value.code == code
    assert "doctor" in caught.value.remedy


@pytest.mark.parametrize("fields", [{"spans": (Span("+", 0.2, 0.4),)}, {"nfe": 9}, {"candidates": 3}])
def test_options_that_it_cannot_use_are_said(
    shelf: Shelf, mixture_file: MakeFile, tmp_path: Path, fields: dict[str, Any]
) -> None:
    source = mixture_file(0.5)
    assert run(shelf, source, tmp_path / "plain").note == ""
    assert "no effect" in run(shelf, source, tmp_path / "with", **fields).note


def test_silence_stays_silence(shelf: Shelf, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros((44_100, 2)), 44_100, subtype="PCM_16")
    done = run(shelf, tmp_path / "silent.wav", tmp_path)
    assert not stem(done.target).any()
    assert done.null_db == -np.inf
    assert Separation.from_dict(done.to_dict()) == done


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB of its own; needs the right to mount."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system of a test's own can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_half_way_leaves_nothing(shelf: Shelf, mixture_file: MakeFile, small_disk: Path) -> None:
    source = mixture_file(20.0)
    before = source.read_bytes()
    with pytest.raises(StembridgeError, match="no room left") as caught:
        run(shelf, source, small_disk / "out")
    assert caught.value.code == "disk_full"
    assert list((small_disk / "out").iterdir()) == []
    assert source.read_bytes() == before
    # The queue goes on: the next, smaller job fits.
    assert run(shelf, mixture_file(1.0, name="short.wav"), small_disk / "out").null_db <= -120
