"""`stembridge models …`: import, fetch, list, remove; and an imported model used from the command line and over OSC."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fake_hub import TOKEN, Hub, repo_of, serving
from mixtures import make_mixture
from sam_folder import write_official, write_text_encoder

if not os.environ.get("CI"):
    for package in ("torch", "transformers", "huggingface_hub"):
        pytest.importorskip(package, reason=f"{package} is not installed")

from bridge import child
from bridge.__main__ import main
from engine import models
from engine.bundle import MANIFEST
from engine.errors import CODES, ExitCode

pytestmark = pytest.mark.torch
REPO = "someone/sam-tiny"


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """`official` and `t5`: what a user has on disk."""
    home = tmp_path_factory.mktemp("material")
    write_official(home / "official")
    write_text_encoder(home / "t5")
    return home


@pytest.fixture
def run(capsys):
    """Run a command: (status, stdout, stderr)."""

    def call(*arguments):
        capsys.readouterr()
        status = main([*map(str, arguments)])
        return (status, *capsys.readouterr())

    return call


@pytest.fixture
def terminal(monkeypatch):
    """A person at a terminal who answers: `terminal("y")`."""

    def answer(text):
        from bridge.cli import models as cli

        monkeypatch.setattr(cli, "_on_terminal", lambda: True)
        monkeypatch.setattr(cli.typer, "confirm", lambda question, **options: text == "y")

    return answer


def listed(run):
    status, out, _ = run("models", "list", "--json")
    assert status == ExitCode.DONE
    return {model["name"]: model for model in json.loads(out)}


# Import and list


def test_an_imported_model_is_listed_with_what_a_person_wants_to_know(run, material):
    status, out, err = run("models", "import", material / "official", "--name", "sam-tiny")
    assert status == ExitCode.DONE
    assert out.startswith("sam-tiny  ")
    assert "models fetch t5-base" in err
    tiny = listed(run)["sam-tiny"]
    assert (tiny["kind"], tiny["licence"], tiny["text_encoder"], tiny["embedded"]) == (
        "flow",
        "SAM License",
        "missing",
        False,
    )
    assert tiny["bytes"] == sum(path.stat().st_size for path in Path(tiny["folder"]).iterdir())
    assert "lowercase" in tiny["knows"]
    assert tiny["made"] == []
    spleeter = listed(run)["spleeter-2stems"]
    assert (spleeter["text_encoder"], spleeter["embedded"]) == (None, True)
    _, out, err = run("models", "list")
    row = next(line for line in out.splitlines() if line.startswith("sam-tiny"))
    assert "missing" in row
    assert "MB" in row
    assert "t5-base" in err


@pytest.mark.parametrize(
    ("tuned", "shown"),
    [
        ({nfe: {"file": f"{nfe}.json", "sha256": "0" * 64} for nfe in "41"}, "tuned to 1, 4 NFE"),
        ({"four": 4}, "a damaged tuning"),
    ],
)
def test_what_was_made_of_a_model_is_listed(run, material, tuned, shown):
    run("models", "import", material / "official", "--name", "sam-tiny")
    folder = Path(listed(run)["sam-tiny"]["folder"])
    for name in ("onnx-int8", "onnx-fp32", "half-made"):
        (folder / name).mkdir()
        (folder / name / ("artefact.json" if name.startswith("onnx") else "graph")).touch()
    manifest = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps(manifest | {"tuned": tuned}))
    assert listed(run)["sam-tiny"]["made"] == ["onnx-fp32", "onnx-int8", shown]
    assert f"onnx-fp32, onnx-int8, {shown}" in run("models", "list")[1]


def test_the_text_encoder_comes_with_the_import_and_is_shared(run, material):
    status, out, _ = run(
        "models", "import", material / "official", "--name", "one", "--text", material / "t5", "--json"
    )
    assert status == ExitCode.DONE
    assert json.loads(out)["text_encoder"] == "here"
    assert {path.name for path in models.text_folder().iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    }
    # the same one again is no conflict
    assert run("models", "import", material / "official", "--name", "two", "--text", material / "t5")[0] == 0
    assert {name for name in listed(run)} == {"one", "two", "prompted", "spleeter-2stems"}


def test_a_text_encoder_that_does_not_fit_leaves_nothing(run, material, tmp_path):
    narrow = write_text_encoder(tmp_path / "narrow", dim=16)
    status, _, err = run("models", "import", material / "official", "--name", "tiny", "--text", narrow)
    assert status == ExitCode.NOT_READY
    assert "not as wide" in err
    assert "[model_corrupt]" in err
    assert not models.models_folder().exists() or list(models.models_folder().iterdir()) == []


def test_another_text_encoder_than_the_one_that_is_there_is_refused(run, material, tmp_path):
    assert run("models", "import", material / "official", "--name", "one", "--text", material / "t5")[0] == 0
    narrow = write_text_encoder(tmp_path / "narrow", dim=16)
    status, _, err = run("models", "import", material / "official", "--name", "two", "--text", narrow)
    assert status == ExitCode.NOT_READY
    assert "[output_not_writable]" in err
    assert "models remove t5-base" in err
    assert "two" not in listed(run)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("spleeter-2stems", "bad_value"),
        ("t5-base", "bad_value"),
        ("../up", "bad_value"),
        ("a/b", "bad_value"),
        (".hidden", "bad_value"),
        ("", "bad_value"),
        ("-x", "bad_value"),
        ("dot.", "bad_value"),
        ("nul", "bad_value"),
        ("com1.tiny", "bad_value"),
        ("x.part-1", "bad_value"),
        ("ä", "bad_value"),
        ("a b", "bad_value"),
        ("x" * 64, "bad_value"),
        ("taken", "output_not_writable"),
    ],
)
def test_names_that_a_model_cannot_have(run, material, name, code):
    (models.models_folder() / "taken").mkdir(parents=True)
    status, out, err = run("models", "import", material / "official", f"--name={name}")
    assert (status, out) == (CODES[code][0], "")
    assert f"[{code}]" in err
    assert [path.name for path in models.models_folder().iterdir()] == ["taken"]


def _no_checkpoint(folder):
    (folder / "checkpoint.pt").unlink()


def _truncated(folder):
    data = (folder / "checkpoint.pt").read_bytes()
    (folder / "checkpoint.pt").write_bytes(data[: len(data) // 2])


class _Evil:
    def __reduce__(self):
        return (Path.touch, (Path(os.environ["EVIL"]),))


def _code(folder):
    import torch

    torch.save({"layer.weight": _Evil()}, folder / "checkpoint.pt")


def _other_network(folder):
    import torch

    torch.save({"layer.weight": torch.zeros(3)}, folder / "checkpoint.pt")


def _other_config(folder):
    config = json.loads((folder / "config.json").read_text())
    config["transformer"]["n_layers"] += 1
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("spoil", "code", "said"),
    [
        (_no_checkpoint, "model_missing", "checkpoint.pt"),
        (_truncated, "model_corrupt", "damaged"),
        (_code, "model_corrupt", "not loaded"),
        (_other_network, "model_corrupt", "not a SAM Audio checkpoint"),
        (_other_config, "model_corrupt", "n_layers"),
        (lambda folder: (folder / "config.json").write_text("{"), "model_corrupt", "not JSON"),
    ],
)
def test_bad_folders_are_refused_with_their_reason_and_leave_nothing(
    run, material, tmp_path, monkeypatch, spoil, code, said
):
    monkeypatch.setenv("EVIL", str(tmp_path / "evil"))
    folder = tmp_path / "official"
    folder.mkdir()
    for name, data in repo_of(material / "official").items():
        (folder / name).write_bytes(data)
    spoil(folder)
    status, out, err = run("models", "import", folder, "--name", "bad")
    assert (status, out) == (ExitCode.NOT_READY, "")
    assert f"[{code}]" in err
    assert said in err
    assert not (tmp_path / "evil").exists()
    assert "bad" not in listed(run)
    assert not list(models.models_folder().glob("*"))


def test_a_folder_that_is_not_there(run, tmp_path):
    status, _, err = run("models", "import", tmp_path / "nowhere", "--name", "x")
    assert status == ExitCode.NOT_READY
    assert "[model_missing]" in err


# Remove


def test_remove_asks_and_removes_only_the_users_own(run, material, terminal):
    run("models", "import", material / "official", "--name", "one", "--text", material / "t5")
    folder = models.models_folder()
    status, _, err = run("models", "remove", "one")
    assert status == ExitCode.BAD_REQUEST
    assert "--yes" in err
    terminal("n")
    assert run("models", "remove", "one")[0] == ExitCode.CANCELLED
    assert (folder / "one").is_dir()
    terminal("y")
    status, out, _ = run("models", "remove", "one")
    assert status == ExitCode.DONE
    assert "MB" in out
    assert "one" not in listed(run)
    assert run("models", "remove", "t5-base", "--yes")[0] == ExitCode.DONE
    assert [path for path in folder.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("name", "code"), [("spleeter-2stems", "bad_value"), ("sam-tiny", "unknown_model"), ("../x", "unknown_model")]
)
def test_what_cannot_be_removed(run, name, code):
    status, _, err = run("models", "remove", name, "--yes")
    assert status == CODES[code][0]
    assert f"[{code}]" in err
    assert (models.EMBEDDED / "spleeter-2stems" / MANIFEST).exists()


def test_a_damaged_model_and_one_that_shadows_an_embedded_one_can_be_removed(run):
    for name in ("damaged", "spleeter-2stems"):
        (models.models_folder() / name).mkdir(parents=True)
        (models.models_folder() / name / MANIFEST).write_text("{")
        assert run("models", "remove", name, "--yes")[0] == ExitCode.DONE
        assert not (models.models_folder() / name).exists()
    assert "spleeter-2stems" in listed(run)


def test_a_link_is_removed_and_not_what_it_leads_to(run, material, tmp_path):
    run("models", "import", material / "official", "--name", "one")
    real = tmp_path / "real"
    (models.models_folder() / "one").rename(real)
    (models.models_folder() / "one").symlink_to(real, target_is_directory=True)
    assert run("models", "remove", "one", "--yes")[0] == ExitCode.DONE
    assert (real / MANIFEST).exists()
    assert "one" not in listed(run)


# Fetch


@pytest.fixture
def hub(material, monkeypatch):
    repos = {REPO: repo_of(material / "official"), "t5-base": repo_of(material / "t5")}
    with serving(Hub(repos, gated={REPO})) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield running


def test_a_fetch_shows_the_licence_and_waits_for_a_yes(run, hub, terminal):
    status, _, err = run("models", "fetch", REPO)
    assert status == ExitCode.NOT_READY
    assert "[licence_not_accepted]" in err
    assert "https://" in err
    assert "may only be passed on under this same licence" in err
    assert "military" in err
    assert "--accept-licence" in err
    terminal("n")
    assert run("models", "fetch", REPO)[0] == ExitCode.NOT_READY
    assert {method for method, *_ in hub.requests} <= {"HEAD"}, "nothing is transferred"
    terminal("y")
    assert run("models", "fetch", REPO)[0] == ExitCode.DONE
    # accepted once: not shown again
    run("models", "remove", "sam-tiny", "--yes")
    status, _, err = run("models", "fetch", REPO)
    assert status == ExitCode.DONE
    assert "military" not in err


def test_an_unknown_repository_is_said_before_a_licence_is_shown(run, hub, terminal):
    terminal("y")
    status, _, err = run("models", "fetch", "foo/bar")
    assert status == ExitCode.BAD_REQUEST
    assert "[unknown_model]" in err
    assert "foo/bar" in err
    assert "licence" not in err.lower()


def test_a_fetched_model_can_be_used(run, hub, mixture_file, tmp_path):
    status, out, _ = run("models", "fetch", REPO, "--accept-licence", "--name", "mine", "--json")
    assert status == ExitCode.DONE
    told = json.loads(out)
    assert (told["name"], told["text_encoder"]) == ("mine", "here")
    status, out, _ = run(
        "extract", mixture_file(0.5), "--prompt", "tambourine", "--nfe", "1", "--out", tmp_path / "o", "--json"
    )
    assert status == ExitCode.DONE
    assert json.loads(out)["model"] == "mine"


def test_a_token_is_never_shown(run, hub):
    for token in ("hf_other_secret", "hf_nobody_secret", "hf_bad secret"):
        status, out, err = run("models", "fetch", REPO, "--accept-licence", "--token", token)
        assert status in (ExitCode.NOT_READY, ExitCode.BAD_REQUEST)
        assert "secret" not in out + err


def test_the_text_encoder_alone(run, hub):
    status, out, err = run("models", "fetch", "t5-base")
    assert (status, err) == (ExitCode.DONE, "")
    assert "here" in out
    status, out, _ = run("models", "fetch", "t5-base", "--json")
    assert json.loads(out) == {"text_encoder": "here"}


def test_the_remedy_for_an_unknown_prompt_is_a_command_that_exists(run, mixture_file, hub):
    _, _, err = run("extract", mixture_file(0.5), "--prompt", "didgeridoo", "--model", "spleeter-2stems")
    command = err[err.index("stembridge models fetch") :].split()
    assert command[:4] == ["stembridge", "models", "fetch", "facebook/sam-audio-small"]
    status, _, err = run(*command[1:4])
    assert status == ExitCode.NOT_READY
    assert "[licence_not_accepted]" in err


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_keeps_what_was_fetched_and_the_same_command_goes_on(hub, tmp_path):
    # large enough that a signal meets it underway: the hub stalls in the middle until it was sent
    data = hub.repos[REPO]["checkpoint.pt"]
    half = len(data) // 2
    hub.stall_at = half
    command = [sys.executable, "-m", "bridge", "models", "fetch", REPO, "--accept-licence"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert hub.stalled.wait(60)
        process.send_signal(signal.SIGINT)
        hub.go_on.set()
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == ExitCode.CANCELLED, err
    assert "goes on from there" in err
    (part,) = (models.models_folder() / ".fetched").rglob("checkpoint.pt.*.part")
    assert part.stat().st_size > 0
    hub.stall_at = None
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == ExitCode.DONE, done.stderr
    assert hub.n_sent("cdn/someone/sam-tiny/checkpoint.pt")[-1] != "bytes=0-"
    assert "sam-tiny" in models.installed()


# An imported model, end to end


def test_the_command_line_and_osc_give_the_same_stems(run, material, tmp_path):
    assert run("models", "import", material / "official", "--name", "sam-tiny", "--text", material / "t5")[0] == 0
    song = tmp_path / "song.wav"
    soundfile.write(song, make_mixture(60_000), 44_100, subtype="FLOAT")
    asked = ["--model", "sam-tiny", "--prompt", "acoustic guitar", "--nfe", "2", "--span", "0.2:0.6", "--seed", "7"]
    status, out, err = run("extract", song, *asked, "--out", tmp_path / "here", "--json")
    assert (status, err) == (ExitCode.DONE, "")
    here = json.loads(out)
    with child.engine(tmp_path / "out", tmp_path / "state", roots=[tmp_path]) as engine:
        status, out, err = run("submit", song, *asked, "--port", engine.port, "--json")
        assert (status, err) == (ExitCode.DONE, "")
    there = json.loads(out)
    mixture = soundfile.read(song, dtype="float32", always_2d=True)[0]
    for told in (here, there):
        manifest = json.loads(Path(told["manifest"]).read_text(encoding="utf-8"))
        assert manifest["model"]["name"] == "sam-tiny"
        assert manifest["model"]["licence"] == "SAM License"
        assert (manifest["nfe"], manifest["answered_as"], manifest["seed"]) == (2, "acoustic guitar", 7)
        assert manifest["null_db"] is None or manifest["null_db"] <= -120
        stems = [soundfile.read(told[key], dtype="float32", always_2d=True)[0] for key in ("target", "residual")]
        assert stems[0].any()
        assert np.abs(stems[0].astype(np.float64) + stems[1] - mixture).max() <= 10 ** (-120 / 20)
    for key in ("target", "residual"):
        assert sha256(Path(here[key]).read_bytes()).digest() == sha256(Path(there[key]).read_bytes()).digest()


def test_without_its_text_encoder_a_model_says_what_to_fetch(run, material, mixture_file, tmp_path):
    run("models", "import", material / "official", "--name", "sam-tiny")
    status, _, err = run("extract", mixture_file(0.5), "--prompt", "tambourine", "--out", tmp_path / "o")
    assert status == ExitCode.NOT_READY
    assert "[model_missing]" in err
    assert "stembridge models fetch t5-base" in err


# The page


PAGE = Path(__file__).parent.parent / "docs" / "sam-audio.md"


def test_the_pages_commands_and_codes_exist(run):
    page = PAGE.read_text(encoding="utf-8")
    for command in ("fetch", "import", "list", "remove", "export", "verify", "tune"):
        (line,) = re.findall(rf"^stembridge models {command} .*\[.*$", page, re.MULTILINE)
        _, out, _ = run("models", command, "--help")
        for option in re.findall(r"--[a-z-]+", line):
            assert option in out
    for code in re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE):
        assert code in CODES


def test_the_pages_memory_is_what_the_sizes_give():
    from engine.model.config import RELEASED
    from engine.model.network import empty_network, parts_of, place

    page = PAGE.read_text(encoding="utf-8")
    t5, vision = 109.63e6, 317.15e6  # not among our modules; as the reference has them

    def n_bytes(parts):
        return sum(t.numel() * t.element_size() for m in parts.values() for t in [*m.parameters(), *m.buffers()])

    for size, sizes in RELEASED.items():
        network = empty_network(sizes)
        parts = parts_of(network)
        n_parameters = sum(p.numel() for module in parts.values() for p in module.parameters()) + t5
        whole = n_bytes(parts)
        place(network, device="meta", precision="fp16")
        half = n_bytes(parts) + 4 * t5
        in_memory = f"| {size} | {n_parameters / 1e9:.2f} G | {(whole + 4 * t5) / 1e9:.1f} GB | {half / 1e9:.1f} GB |"
        assert in_memory in page, in_memory
        assert re.search(rf"\| {size} \| [\d.]+ GB \| {(whole + 4 * vision) / 1e9:.1f} GB \|", page)


def test_the_pages_downloads_and_evaluations_are_the_codes():
    from engine.flow.sampling import MAX_NFE, QUALITY_NFE
    from engine.model.releases import RELEASES

    page = PAGE.read_text(encoding="utf-8")
    for name, release in RELEASES.items():
        if release.n_bytes is not None:
            assert f"| {name.removeprefix('sam-audio-')} | {release.n_bytes / 1e9:.1f} GB |" in page
    for quality in ("draft", "fast", "best"):
        assert f"`{quality}` {QUALITY_NFE[quality]}" in page
    assert f"refines it by {QUALITY_NFE['progressive']} evaluations" in page
    assert f"from 1 to {MAX_NFE}" in page
