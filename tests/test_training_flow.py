"""Every stage of the flow model's training, small; its weights in the official layout and back."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

if not os.environ.get("CI"):
    for library in ("torch", "transformers", "soxr"):
        pytest.importorskip(library, reason=f"{library} is not installed")

import torch

from engine.bundle import read_bundle
from engine.model.anchors import ABSENT, PRESENT
from engine.model.convert import convert_dit
from engine.model.text import encode_text, load_text_encoder
from engine.model.weights import import_folder, load_network
from training import distil, flow_bank, flow_export, flow_train
from training.excerpts import Bank
from training.flow_bank import SPECTRAL
from training.flow_evaluate import held_out_batch, si_sdr_db
from training.flow_mixing import draw_example, latents_of
from training.flow_network import fresh, sizes_of, velocity_of
from training.flow_text import CONCEPTS, features_of, phrases_of
from training.songs import write_song

pytestmark = pytest.mark.torch
LABELS = ["kick", "snare", "electric bass", "clean guitar", "singing", "violin"]


@pytest.fixture(scope="module")
def spectra(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two songs of noise bursts and tones, as the stage flow_bank makes them of what bank rendered."""
    songs, out = (tmp_path_factory.mktemp(name) for name in ("songs", "spectra"))
    rng = np.random.default_rng(0)
    t = np.arange(44100 * 3) / 44100
    for number in range(2):
        tones = [np.sin(2 * np.pi * hz * t * (1 + number / 9)) * (np.sin(3 * hz * t) > 0) for hz in (70, 330, 550, 880)]
        hits = [rng.standard_normal(len(t)) * (t % 0.5 < 0.05), rng.standard_normal(len(t)) * (t % 0.7 < 0.1)]
        stems = np.stack([*hits, *tones]) * 6000
        write_song(songs / f"{number:05d}.json", LABELS, stems.astype(np.int16), 44100)
    flow_bank.main(["--bank", str(songs), "--out", str(out), "--smoke"])
    return out


@pytest.fixture(scope="module")
def trained(spectra: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training of three steps."""
    out = tmp_path_factory.mktemp("run")
    flow_train.main(["--spectra", str(spectra), "--out", str(out), "--smoke"])
    return out


def bank_of(spectra: Path) -> Bank:
    return Bank(spectra, n_samples=64 * SPECTRAL.n_channels, step=SPECTRAL.n_channels)


def test_examples_ask_for_what_sounds_and_spans_say_when(spectra: Path) -> None:
    rng, bank = np.random.default_rng(1), bank_of(spectra)
    rows = [draw_example(bank, rng) for _ in range(200)]
    assert {row.concept for row in rows} <= set(CONCEPTS)
    assert {"drums", "bass", "strings"} <= {row.concept for row in rows}
    assert all(row.prompt == "" or row.prompt in phrases_of(row.concept) for row in rows)
    assert any(row.prompt == "" for row in rows)
    assert any(not row.target.any() for row in rows)
    told = [row for row in rows if (row.tokens == PRESENT).any()]
    assert told
    assert any((row.tokens == ABSENT).any() for row in told)
    for row in told:
        energy = np.square(row.target).sum(axis=1)
        assert energy[row.tokens == PRESENT].sum() > 0.9 * energy.sum()


def test_latents_are_those_the_codec_makes_and_decode_to_the_target(spectra: Path) -> None:
    row = draw_example(bank_of(spectra), np.random.default_rng(2), plain=True)
    mixture, both, _ = latents_of(spectra, [row])
    codec = flow_bank.codec_of(flow_bank.read_constants(spectra))
    decoded = codec.transform(codec.decode(both[..., : SPECTRAL.n_channels]))[0].numpy()
    assert si_sdr_db(decoded, row.target) > 60
    assert 0.3 < float(mixture.square().mean().sqrt()) < 3


def test_held_out_clips_are_always_the_same(spectra: Path) -> None:
    first, again = (held_out_batch(spectra, 3, 32) for _ in range(2))
    assert all(
        np.array_equal(a.mixture, b.mixture) and a.concept == b.concept for a, b in zip(first, again, strict=True)
    )


def test_training_goes_on_where_it_stopped(spectra: Path, tmp_path: Path) -> None:
    for steps in (3, 3):
        flow_train.main(["--spectra", str(spectra), "--out", str(tmp_path), "--smoke"])
        state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
        assert state["step"] == steps  # a smoke ends at three steps, so the second run finds itself done
    assert [line["step"] for line in json.loads((tmp_path / "curve.json").read_text())] == [1, 2, 3]


def test_the_official_layout_is_undone_by_the_import_exactly() -> None:
    dit = fresh(sizes_of(128, 2), 3)
    with torch.no_grad():
        for parameter in dit.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    back = dict(convert_dit(flow_export.official_dit(dit), dit.sizes))
    assert back.keys() == dit.state_dict().keys()
    for name, tensor in dit.state_dict().items():
        torch.testing.assert_close(back[name], tensor, rtol=1e-6, atol=1e-7, msg=name)


def test_an_imported_training_answers_as_it_did_while_it_trained(trained: Path, spectra: Path, tmp_path: Path) -> None:
    arguments = ["--checkpoint", str(trained / "checkpoint.pt"), "--spectra", str(spectra), "--out", str(tmp_path)]
    flow_export.main(arguments)
    bundle = read_bundle(import_folder(tmp_path / "model", tmp_path / "bundle", name="small"))
    assert bundle.licence == "Apache-2.0"
    assert bundle.title == "Small flow"
    network = load_network(bundle)
    net, tokenizer = flow_export.read_net(trained / "checkpoint.pt")
    row = draw_example(bank_of(spectra), np.random.default_rng(4), plain=True)
    mixture, _, tokens = latents_of(spectra, [row])
    with torch.no_grad():
        text, mask = features_of(tokenizer, net["text"], ["the drums"])
        made = encode_text(load_text_encoder(tmp_path / "text"), ["the drums"])
        torch.testing.assert_close(made.features, text)
        x = torch.randn(1, 64, 2 * SPECTRAL.n_channels, generator=torch.Generator().manual_seed(0))
        ours = velocity_of(net["dit"], x, torch.tensor([0.3]), mixture, tokens, text, mask)  # type: ignore[arg-type]
        theirs = velocity_of(network.dit, x, torch.tensor([0.3]), mixture, tokens, made.features, made.mask)
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5)


def test_a_config_of_another_codec_is_refused(trained: Path, spectra: Path, tmp_path: Path) -> None:
    from engine.errors import StembridgeError

    arguments = ["--checkpoint", str(trained / "checkpoint.pt"), "--spectra", str(spectra), "--out", str(tmp_path)]
    flow_export.main(arguments)
    file = tmp_path / "model" / "config.json"
    config = json.loads(file.read_text())
    config["audio_codec"]["kind"] = "convolutional"
    file.write_text(json.dumps(config))
    with pytest.raises(StembridgeError, match=r"audio_codec\.kind is 'convolutional'.*'spectral'"):
        import_folder(tmp_path / "model", tmp_path / "bundle", name="small")


def test_distillation_takes_steps_without_stems(trained: Path, spectra: Path, tmp_path: Path) -> None:
    start = str(trained / "checkpoint.pt")
    distil.main(["--spectra", str(spectra), "--checkpoint", start, "--out", str(tmp_path), "--smoke"])
    before = torch.load(start, weights_only=True)["ema"]
    after = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert after["step"] == 2
    assert any(not torch.equal(before[name], tensor) for name, tensor in after["net"].items())
    made = {file.name: file.read_bytes() for file in tmp_path.glob("pairs-*.npz")}
    assert len(made) == 2
    distil.main(["--spectra", str(spectra), "--checkpoint", start, "--out", str(tmp_path), "--smoke"])
    assert {file.name: file.read_bytes() for file in tmp_path.glob("pairs-*.npz")} == made
