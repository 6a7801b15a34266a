"""Fetching from a model hub: real HTTP on loopback, the hub's real library, every way it can go wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fake_hub import TOKEN, Hub, etag_of, repo_of, serving
from sam_folder import write_official, write_text_encoder
from small_disk import on_small_disk

if not os.environ.get("CI"):
    for package in ("torch", "transformers", "huggingface_hub"):
        pytest.importorskip(package, reason=f"{package} is not installed")

from engine import fetch as engine_fetch
from engine import hub as engine_hub
from engine import licences, model_admin, models, text_encoder
from engine.errors import Cancelled, StembridgeError
from engine.fetch import fetch, missing_bytes
from engine.hub import look_up
from engine.model import releases
from engine.request import Progress

pytestmark = pytest.mark.torch
REPO = "someone/sam-tiny"
BYTES = bytes(range(256)) * 4_000


@pytest.fixture
def hub(monkeypatch):
    with serving(Hub({REPO: {"weights.bin": BYTES, "config.json": b'{"a": 1}'}})) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr(engine_fetch, "RETRY_WAIT_S", 0.0)
        monkeypatch.setattr(engine_fetch, "CHUNK_BYTES", 10_000)
        yield running


def bring(folder: Path, names=("weights.bin", "config.json"), token=None, **options):
    remotes = look_up(REPO, names, token=token)
    fetch(remotes, folder, token=token, **options)
    return remotes


def code_of(caught) -> str:
    assert caught.value.remedy
    return caught.value.code


# Files


def test_files_come_whole_and_a_second_fetch_transfers_nothing(hub, tmp_path):
    seen = []
    remotes = bring(tmp_path / "d", on_bytes=lambda name, n: seen.append((name, n)))
    assert (tmp_path / "d" / "weights.bin").read_bytes() == BYTES
    assert (tmp_path / "d" / "config.json").read_bytes() == b'{"a": 1}'
    counts = [n for name, n in seen if name == "weights.bin"]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, len(BYTES))
    assert len(counts) > 10
    assert missing_bytes(remotes, tmp_path / "d") == 0
    n_before = len(hub.n_sent("weights.bin"))
    fetch(remotes, tmp_path / "d")
    assert len(hub.n_sent("weights.bin")) == n_before
    assert sorted(p.name for p in (tmp_path / "d").iterdir()) == [".lock", "config.json", "weights.bin"]


def test_a_connection_that_breaks_is_taken_up_where_it_broke(hub, tmp_path):
    hub.break_after = [300_000, 0, 0, 200_000]
    bring(tmp_path)
    assert (tmp_path / "weights.bin").read_bytes() == BYTES
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for asked in hub.n_sent("cdn/someone/sam-tiny/weights.bin")]
    assert starts == [0, 300_000, 300_000, 300_000, 500_000]


def test_a_connection_that_keeps_breaking_is_given_up_and_the_next_run_goes_on(hub, tmp_path):
    hub.break_after = [300_000] + [0] * engine_fetch.ATTEMPTS
    with pytest.raises(StembridgeError) as caught:
        bring(tmp_path)
    assert code_of(caught) == "fetch_failed"
    assert "goes on" in caught.value.remedy
    assert not (tmp_path / "weights.bin").exists()
    hub.break_after.clear()
    assert missing_bytes(look_up(REPO, ["weights.bin"]), tmp_path) == len(BYTES) - 300_000
    bring(tmp_path)
    assert hub.n_sent("cdn/someone/sam-tiny/weights.bin")[-1] == "bytes=300000-"
    assert (tmp_path / "weights.bin").read_bytes() == BYTES


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_hub_that_is_busy_is_asked_again(hub, tmp_path, status):
    hub.break_after, hub.fail = [300_000], [status] * 2
    bring(tmp_path)
    assert (tmp_path / "weights.bin").read_bytes() == BYTES


@pytest.mark.parametrize(("status", "code"), [(404, "fetch_failed"), (403, "access_denied"), (416, "fetch_failed")])
def test_a_refusal_in_the_middle_is_not_asked_again(hub, tmp_path, status, code):
    hub.fail = [status] * 9
    with pytest.raises(StembridgeError) as caught:
        bring(tmp_path)
    assert code_of(caught) == code
    assert len(hub.fail) == 8


def test_a_stop_keeps_what_is_here(hub, tmp_path):
    def stop(name, n):
        if n >= 500_000:
            raise Cancelled

    with pytest.raises(Cancelled):
        bring(tmp_path, on_bytes=stop)
    (part,) = tmp_path.glob("*.part")
    assert 500_000 <= part.stat().st_size < len(BYTES)
    bring(tmp_path)
    assert (tmp_path / "weights.bin").read_bytes() == BYTES
    assert not list(tmp_path.glob("*.part"))


def test_a_server_without_ranges_sends_it_all_again(hub, tmp_path):
    hub.break_after, hub.ignore_range = [300_000], True
    bring(tmp_path)
    assert (tmp_path / "weights.bin").read_bytes() == BYTES


def test_wrong_bytes_are_removed_and_not_gone_on_from(hub, tmp_path):
    hub.flip = True
    with pytest.raises(StembridgeError, match="hash") as caught:
        bring(tmp_path)
    assert code_of(caught) == "fetch_failed"
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    hub.flip = False
    bring(tmp_path)
    assert (tmp_path / "weights.bin").read_bytes() == BYTES


def test_small_files_are_checked_too(hub, tmp_path):
    hub.etags["config.json"] = etag_of(b"another")
    with pytest.raises(StembridgeError, match=r"config\.json of .* damaged"):
        bring(tmp_path)


def test_a_part_of_another_revision_is_dropped(hub, tmp_path):
    hub.break_after = [300_000] + [0] * engine_fetch.ATTEMPTS
    with pytest.raises(StembridgeError):
        bring(tmp_path)
    hub.break_after.clear()
    hub.repos[REPO]["weights.bin"] = BYTES[::-1]
    bring(tmp_path)
    assert (tmp_path / "weights.bin").read_bytes() == BYTES[::-1]
    assert not list(tmp_path.glob("*.part"))


def test_a_file_that_was_tampered_with_on_disk_is_fetched_again(hub, tmp_path):
    bring(tmp_path)
    (tmp_path / "weights.bin").write_bytes(BYTES[:-1] + b"?")
    bring(tmp_path)
    assert (tmp_path / "weights.bin").read_bytes() == BYTES


def test_a_known_hash_is_held_against_the_hub_before_any_byte(hub, tmp_path):
    with pytest.raises(StembridgeError, match="has changed") as caught:
        bring(tmp_path, sha256={"weights.bin": "0" * 64})
    assert code_of(caught) == "fetch_failed"
    assert hub.n_sent("weights.bin") == []
    bring(tmp_path, sha256={"weights.bin": etag_of(BYTES)})


def test_two_fetches_into_one_folder_do_not_mix(hub, tmp_path):
    remotes = look_up(REPO, ["weights.bin"])
    refused = []

    def other(name, n):
        if n and not refused:
            code = f"""
import sys; from pathlib import Path; from engine.fetch import fetch; from engine.hub import look_up
from engine.errors import StembridgeError
try: fetch(look_up({REPO!r}, ["weights.bin"]), Path({str(tmp_path)!r}))
except StembridgeError as e: print(e.code, e.text)
"""
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            refused.append(done.stdout)

    fetch(remotes, tmp_path, on_bytes=other)
    assert "fetch_failed" in refused[0]
    assert "under way" in refused[0]
    assert (tmp_path / "weights.bin").read_bytes() == BYTES


# Who may


def test_gated_without_a_token_says_how_to_ask(hub):
    hub.gated.add(REPO)
    with pytest.raises(StembridgeError) as caught:
        look_up(REPO, ["config.json"])
    assert code_of(caught) == "access_denied"
    assert "no token" in caught.value.text
    assert f"{hub.url}/{REPO}" in caught.value.remedy
    assert "HF_TOKEN" in caught.value.remedy


def test_gated_with_a_token_that_was_not_granted(hub):
    hub.gated.add(REPO)
    with pytest.raises(StembridgeError, match="not been granted") as caught:
        look_up(REPO, ["config.json"], token="hf_other_person")
    assert code_of(caught) == "access_denied"
    assert "hf_other" not in f"{caught.value}"


@pytest.mark.parametrize("how", ["given", "environment"])
def test_gated_with_a_token_that_was_granted(hub, tmp_path, monkeypatch, how):
    hub.gated.add(REPO)
    if how == "environment":
        monkeypatch.setenv("HF_TOKEN", TOKEN)
    bring(tmp_path, token=TOKEN if how == "given" else None)
    assert (tmp_path / "weights.bin").read_bytes() == BYTES
    assert not hub.leaked


def test_a_token_nobody_has(hub):
    with pytest.raises(StembridgeError, match="Invalid credentials") as caught:
        look_up(REPO, ["config.json"], token="hf_nobody")
    assert code_of(caught) == "access_denied"


@pytest.mark.parametrize("token", ["", "  ", "hf_a\nb", "hf_ä", "x" * 600])
def test_a_token_that_is_none_is_refused_without_being_shown(hub, token):
    with pytest.raises(StembridgeError) as caught:
        look_up(REPO, ["config.json"], token=token)
    assert code_of(caught) == "bad_value"
    assert token.strip() == "" or token.strip() not in str(caught.value)
    assert hub.requests == []


# What is not there


@pytest.mark.parametrize(
    ("repository", "name"), [("someone/else", "config.json"), (REPO, "model.bin"), ("a/../b", "config.json")]
)
def test_what_the_hub_does_not_have(hub, repository, name):
    with pytest.raises(StembridgeError) as caught:
        look_up(repository, [name])
    assert code_of(caught) == "unknown_model"


@pytest.mark.parametrize("status", [400, 404, 418, 500, 503])
def test_a_hub_that_answers_with_an_error(hub, status):
    hub.answer = status
    with pytest.raises(StembridgeError) as caught:
        look_up(REPO, ["config.json"])
    assert code_of(caught) == "fetch_failed"


def test_a_server_that_is_no_hub(hub):
    hub.no_commit = True
    with pytest.raises(StembridgeError, match="no model hub") as caught:
        look_up(REPO, ["config.json"])
    assert code_of(caught) == "fetch_failed"


def test_no_network(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(StembridgeError) as caught:
        look_up(REPO, ["config.json"])
    assert code_of(caught) == "fetch_failed"
    assert "network" in caught.value.remedy


def test_without_the_hubs_library(monkeypatch):
    monkeypatch.setattr(engine_hub.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StembridgeError, match="huggingface_hub") as caught:
        look_up(REPO, ["config.json"])
    assert code_of(caught) == "runtime_missing"
    assert "pip install" in caught.value.remedy


# Disks


def test_too_little_space_is_said_before_the_first_byte(hub, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(engine_fetch.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(StembridgeError, match="are free") as caught:
        engine_fetch.check_space(tmp_path / "not" / "yet", 2000)
    assert code_of(caught) == "disk_full"
    engine_fetch.check_space(tmp_path, 900)


def test_a_disk_that_fills_up_keeps_what_is_here(hub, tmp_path):
    code = f"""
from pathlib import Path; from engine.fetch import fetch; from engine.hub import look_up
from engine.errors import StembridgeError
try: fetch(look_up({REPO!r}, ["weights.bin"]), Path({str(tmp_path)!r}))
except StembridgeError as e: print(e.code, sum(p.stat().st_size for p in Path({str(tmp_path)!r}).glob("*.part")) > 0)
"""
    command = on_small_disk(tmp_path, "500k", [sys.executable, "-c", code])
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["disk_full", "True"]


def test_a_folder_that_cannot_be_written(hub, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StembridgeError) as caught:
        bring(tmp_path / "file" / "d")
    assert code_of(caught) == "output_not_writable"


# A model, from the hub to the shelf


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    home = tmp_path_factory.mktemp("official")
    return repo_of(write_official(home / "sam")), repo_of(write_text_encoder(home / "t5"))


@pytest.fixture
def sam_hub(hub, official):
    hub.repos = {REPO: official[0], "facebook/sam-audio-small": official[0], "t5-base": official[1]}
    hub.gated = {"facebook/sam-audio-small"}
    licences.accept(licences.SAM_LICENCE)
    return hub


def test_a_model_is_fetched_imported_and_the_download_removed(sam_hub):
    seen: list[Progress] = []
    info = model_admin.fetch_model(REPO, on_progress=seen.append)
    assert info is not None
    assert (info.bundle.name, info.text) == ("sam-tiny", "here")
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert {p.stage for p in seen} >= {"fetching checkpoint.pt", "fetching model.safetensors", "importing"}
    folder = models.models_folder()
    assert not [path for path in (folder / ".fetched").rglob("*") if path.is_file()]
    assert models.find("sam-tiny").weights_sha256 == info.bundle.weights_sha256
    assert not list(folder.rglob("*.part*"))


def test_a_model_fetch_that_was_stopped_goes_on(sam_hub):
    def stop(progress):
        if progress.stage == "fetching checkpoint.pt" and progress.fraction > 0.3:
            raise Cancelled

    with pytest.raises(Cancelled):
        model_admin.fetch_model(REPO, on_progress=stop)
    assert "sam-tiny" not in models.installed()
    assert model_admin.fetch_model(REPO) is not None
    last = sam_hub.n_sent(f"cdn/{REPO}/checkpoint.pt")[-1]
    assert int(last.removeprefix("bytes=").rstrip("-")) > 0


def test_a_stop_during_the_import_leaves_no_model_and_the_download(sam_hub):
    def stop(progress):
        if progress.stage == "importing":
            raise Cancelled

    with pytest.raises(Cancelled):
        model_admin.fetch_model(REPO, on_progress=stop)
    assert "sam-tiny" not in models.installed()
    n_before = len(sam_hub.n_sent("checkpoint.pt"))
    assert model_admin.fetch_model(REPO) is not None
    assert len(sam_hub.n_sent("checkpoint.pt")) == n_before


def test_a_released_checkpoint_must_be_the_one_that_is_known(sam_hub, monkeypatch):
    with pytest.raises(StembridgeError, match="has changed"):
        model_admin.fetch_model("sam-audio-small", token=TOKEN)
    data = sam_hub.repos["facebook/sam-audio-small"]["checkpoint.pt"]
    known = releases.Release("facebook/sam-audio-small", etag_of(data), len(data))
    monkeypatch.setattr(model_admin, "RELEASES", {"sam-audio-small": known})
    info = model_admin.fetch_model("sam-audio-small", token=TOKEN, name="small")
    assert info is not None
    assert info.bundle.name == "small"


def test_nothing_is_asked_of_the_hub_before_the_licence_and_the_name_are_clear(sam_hub):
    with pytest.raises(StembridgeError) as caught:
        model_admin.fetch_model(REPO, name="spleeter-2stems")
    assert code_of(caught) == "bad_value"
    licences.acceptances_file().unlink()
    with pytest.raises(StembridgeError) as caught:
        model_admin.fetch_model(REPO)
    assert code_of(caught) == "licence_not_accepted"
    assert sam_hub.requests == []


def test_a_gated_model_costs_no_transfer_of_the_text_encoder(sam_hub):
    with pytest.raises(StembridgeError, match="gated"):
        model_admin.fetch_model("facebook/sam-audio-small")
    assert [path for method, path, _ in sam_hub.requests if method == "GET"] == []


def test_the_text_encoder_alone_needs_no_licence(sam_hub):
    licences.acceptances_file().unlink()
    assert not text_encoder.is_here()
    assert model_admin.fetch_model("t5-base") is None
    assert text_encoder.is_here()


def test_a_repository_of_another_network_is_refused_by_the_import(sam_hub):
    sam_hub.repos[REPO] = {**sam_hub.repos[REPO], "checkpoint.pt": b"PK not a checkpoint" * 9}
    with pytest.raises(StembridgeError) as caught:
        model_admin.fetch_model(REPO)
    assert code_of(caught) == "model_corrupt"
    assert "sam-tiny" not in models.installed()


@pytest.mark.parametrize("text", ["sam-audio", "a/b/c", "", "/x", "http://elsewhere/a/b", "facebook/sam audio"])
def test_what_is_no_repository(text):
    with pytest.raises(StembridgeError) as caught:
        model_admin.resolve(text)
    assert code_of(caught) == "unknown_model"


def test_what_names_a_released_model():
    for text in ("sam-audio-base", "facebook/sam-audio-base", "https://huggingface.co/facebook/sam-audio-base/"):
        assert model_admin.resolve(text) == ("facebook/sam-audio-base", "sam-audio-base")


# The licence


def test_an_acceptance_is_kept_and_a_damaged_file_asks_again(caplog):
    assert not licences.is_accepted(licences.SAM_LICENCE)
    licences.accept(licences.SAM_LICENCE)
    assert licences.is_accepted(licences.SAM_LICENCE)
    licences.require(licences.SAM_LICENCE)
    licences.acceptances_file().write_text("{")
    assert not licences.is_accepted(licences.SAM_LICENCE)
    assert "cannot be read" in caplog.text


def test_an_acceptance_is_of_one_text():
    licences.accept(licences.SAM_LICENCE)
    later = licences.Licence("SAM License", "1 January 2027", "https://example.org", ())
    with pytest.raises(StembridgeError) as caught:
        licences.require(later)
    assert code_of(caught) == "licence_not_accepted"
