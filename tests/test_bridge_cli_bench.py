"""`stembridge bench quality` from the command line: a folder of stems, and a flow model's few evaluations."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import soundfile
from mixtures import make_mixture

from bridge.__main__ import main
from engine.quality.stems import bundled_song

PROMPTS = ("vocals", "accompaniment")


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    song = bundled_song()
    folder = tmp_path / "songs" / "one"
    folder.mkdir(parents=True)
    for prompt, stem in song.stems.items():
        soundfile.write(folder / f"{prompt}.wav", stem[:, 44_100 : 44_100 * 4].T, 44_100, subtype="FLOAT")
    return tmp_path / "songs"


def test_stems_of_your_own(songs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["bench", "quality", "--stems", str(songs), "--seconds", "2", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "SI-SDR gain" in said
    assert "ideal mask" in said
    assert str(out / "separation.png") in said
    assert (out / "separation.png").is_file()
    values = json.loads((out / "quality.json").read_text(encoding="utf-8"))
    rows = {(row["prompt"], row["method"]): row for row in values["separation"]["rows"]}
    assert rows["vocals", "model"]["si_sdr_gain_db"] > 3
    assert not list(out.glob("*.part"))


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (("--stems", "{tmp}/nowhere"), 2, "holds no songs"),
        (("--audio", "{tmp}"), 2, "few evaluations are a matter of flow models"),
        (("--model", "nothing-of-that-name"), 2, "[unknown_model]"),
        (("--audio", "{tmp}", "--nfe", "0"), 2, "--nfe holds 0"),
    ],
)
def test_what_cannot_be_measured_is_said(
    arguments: tuple[str, ...], status: int, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [argument.format(tmp=tmp_path) for argument in arguments]
    assert main(["bench", "quality", "--out", str(tmp_path / "out"), *given]) == status
    assert text in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.torch
def test_few_evaluations_against_the_models_own_32(
    songs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not os.environ.get("CI"):
        for library in ("torch", "transformers"):
            pytest.importorskip(library, reason=f"{library} is not installed")
    from toy_bundle import NAME, write_models

    from engine.bundle import read_bundle
    from engine.flow.fitted import midpoint_as_fitted, write_fitted
    from engine.models import models_folder

    folder = write_models(models_folder()) / NAME
    write_fitted(read_bundle(folder), midpoint_as_fitted(2), {})
    music = tmp_path / "music"
    music.mkdir()
    soundfile.write(music / "song.wav", make_mixture(44_100 * 2), 44_100)
    arguments = ("--audio", str(music), "--nfe", "4,5,32", "--clips", "1", "--prompts", "drums")
    arguments += ("--stems", str(songs), "--model", NAME)
    assert main(["bench", "quality", "--out", str(tmp_path / "out"), *arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    # a model that hears spans is given those of the stem that comes and goes, and has Spleeter beside it
    methods = {
        prompt: {row["method"] for row in told["separation"]["rows"] if row["prompt"] == prompt} for prompt in PROMPTS
    }
    always = {"model", "Spleeter", "band-pass", "HPSS", "ideal mask"}
    assert methods == {"vocals": always | {"model, spans"}, "accompaniment": always}
    assert (tmp_path / "out" / "separation.png").is_file()
    values = told["few_steps"]
    found = {(one["solver"], one["nfe"]): one for one in values["distances"]}
    assert set(found) == {
        *((solver, nfe) for solver in ("euler", "ab2", "midpoint", "heun", "sway") for nfe in (4, 32)),
        *((solver, 5) for solver in ("euler", "ab2", "sway", "epss")),
        ("fitted", 4),
    }
    same = found["midpoint", 32]
    assert (same["latent_snr_db"], same["si_sdr_db"]) == (None, None), "the same noise and solver: no distance"
    assert (same["log_mel_db"], same["mr_stft"]) == (0, 0)
    # these coefficients are midpoint's own
    assert found["fitted", 4]["latent_snr_db"] == pytest.approx(found["midpoint", 4]["latent_snr_db"], abs=0.1)
    assert found["euler", 4]["latent_snr_db"] < found["euler", 32]["latent_snr_db"]
    assert values["model"] == NAME
    # for a person, with what it ran on; and a folder that is none is refused before the model is opened
    arguments = ("bench", "quality", "--out", str(tmp_path / "out"), "--model", NAME, "--nfe", "1", "--clips", "1")
    assert main([*arguments, "--audio", str(music)]) == 0
    assert f"{NAME} on {values['runtime']} against its own 32 evaluations" in capsys.readouterr().out
    (folder / "dit.safetensors").unlink()
    assert main([*arguments, "--audio", str(tmp_path / "nowhere")]) == 2
    assert "There is no folder" in capsys.readouterr().err
    assert (tmp_path / "out" / "few_steps.png").is_file()
