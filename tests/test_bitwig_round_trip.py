"""Bitwig's script with the real engine at the other end of real OSC; Bitwig itself is stood in for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from bitwig_host import open_bitwig

import engine as engine_package
from bridge import child
from bridge.install import bitwig, scheme
from engine.errors import StembridgeError

EXCERPT = Path(engine_package.__file__).parent / "demo" / "mixture.flac"
NULL_DBFS = -120.0
SECONDS = 3


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("room")


@pytest.fixture(scope="module")
def engine(room: Path) -> Iterator[child.Child]:
    with child.engine(room / "out", room / "state", roots=[room]) as running:
        yield running


@pytest.mark.node
def test_a_clip_becomes_two(room: Path, engine: child.Child) -> None:
    samples, rate_hz = soundfile.read(EXCERPT, dtype="float32", always_2d=True)
    mixture = samples[: SECONDS * rate_hz]
    path = room / "Стих 1.wav"
    soundfile.write(path, mixture, rate_hz, subtype="FLOAT")
    with open_bitwig(room, engine.port) as bitwig:
        bitwig.add_track("03_LeadVox (take 2)", s3=path)
        bitwig.add_track("Bass")
        bitwig.do("select", track=0, slot=3)
        bitwig.do("set", label="or its folder", text=f"{room}/")
        bitwig.do("press", label="Extract clip")
        state = bitwig.until(lambda s: len(s["tracks"]) == 4 and "3" in s["tracks"][2]["slots"], "two new tracks")
    names = ["03_LeadVox (take 2)", "03_LeadVox (take 2) · lead vocals", "03_LeadVox (take 2) · no lead vocals", "Bass"]
    assert [track["name"] for track in state["tracks"]] == names
    (note,) = state["popups"]
    assert "“03_LeadVox (take 2)”: This model takes all voices together" in note
    target, residual = state["tracks"][1:3]
    assert (target["mute"], residual["mute"]) == (False, True)
    assert target["color"] == residual["color"] == state["tracks"][0]["color"]
    voice, rest = (soundfile.read(track["slots"]["3"]["path"], always_2d=True)[0] for track in (target, residual))
    assert voice.shape == rest.shape == mixture.shape
    assert 20 * np.log10(max(np.max(np.abs(voice + rest - mixture)), 1e-12)) <= NULL_DBFS


def test_the_script_is_put_in_its_place_and_taken_away(tmp_path: Path) -> None:
    folder = tmp_path / "Bitwig Studio" / "Controller Scripts"
    folder.mkdir(parents=True)
    assert bitwig.script_dirs(tmp_path, "linux") == [folder]
    (script,) = (path for path in scheme.install(bitwig.HOST, folder, tmp_path / "box") if path.suffix == ".js")
    assert script == folder / "Stembridge" / "Stembridge.control.js"
    version = scheme.installed_version(bitwig.HOST, folder)
    assert script.read_text(encoding="utf-8").count(f'"{version}"') == 2  # what Bitwig lists, and what a message says
    assert not (tmp_path / "box").exists()
    scheme.uninstall(bitwig.HOST, folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_where_bitwig_keeps_scripts(platform: str, tmp_path: Path) -> None:
    folder = tmp_path / "Documents" / "Bitwig Studio" / "Controller Scripts"
    assert bitwig.script_dirs(tmp_path, platform) == []
    folder.mkdir(parents=True)
    assert bitwig.script_dirs(tmp_path, platform) == [folder]


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StembridgeError) as refused:
        scheme.install(bitwig.HOST, tmp_path, tmp_path)
    assert refused.value.code == "daw_not_found"
    assert list(tmp_path.iterdir()) == []
