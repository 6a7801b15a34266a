"""The demo is the whole main job: a real engine, a DAW's request, stems that null, a gain, a picture, a clean end."""

import json
import math
import os
import sys

import pytest
import soundfile

from bridge import child, demo, picture
from bridge.__main__ import main
from bridge.api.requests import Ping
from bridge.osc.client import Client, new_rid
from engine.errors import ExitCode, StembridgeError


def ends_soon(pid):
    """Whether a process of ours that was waited for is gone."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture
def engines(monkeypatch):
    """Every engine that `child.engine` has started."""
    started = []
    real = child.subprocess.Popen

    def remember(*arguments, **options):
        process = real(*arguments, **options)
        if "serve" in arguments[0]:
            started.append(process)
        return process

    monkeypatch.setattr(child.subprocess, "Popen", remember)
    return started


def test_the_demo_leaves_stems_that_null_and_gain_and_a_picture(tmp_path, capsys, engines):
    pytest.importorskip("matplotlib", reason="the picture needs matplotlib")
    assert main(["demo", "--out", str(tmp_path / "demo"), "--json"]) == ExitCode.DONE
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert "%" not in err, "no bar in a pipe"
    assert (told["track"], told["prompt"]) == (demo.TRACK, "lead vocals")
    assert told["null_db"] is None or told["null_db"] <= -120
    assert told["si_sdr_before_db"] == pytest.approx(0, abs=0.1)
    assert told["si_sdr_gain_db"] >= 12, "17 dB when it was made"
    stems = [
        f"{name}.{kind}" for name in ("mixture", "mixture drums") for kind in ("residual.wav", "target.wav", "json")
    ]
    names = ["demo.png", "mixture.flac", *stems]
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == sorted(names)
    for stem in ("target", "residual"):
        info = soundfile.info(told[stem])
        assert (info.frames, info.channels, info.samplerate) == (441_000, 2, 44_100)
    manifest = json.loads((tmp_path / "demo" / "mixture.json").read_text(encoding="utf-8"))
    assert manifest["spans"] == [["+", 2.4, 8.45]]
    second = told["second"]
    assert (second["prompt"], second["model"]) == ("drums", "prompted")
    assert second["null_db"] is None or second["null_db"] <= -120
    assert second["si_sdr_gain_db"] >= 6, "9.9 dB when it was made"
    manifest = json.loads((tmp_path / "demo" / "mixture drums.json").read_text(encoding="utf-8"))
    assert manifest["spans"] == [["+", 0.0, 2.4]]
    assert 0 <= manifest["presence"] <= 1
    (engine,) = engines
    assert engine.returncode == 0
    assert ends_soon(engine.pid)


def test_progress_reaches_the_end_and_never_falls(tmp_path, monkeypatch):
    monkeypatch.setattr(picture, "find_spec", lambda name: None)  # a machine without matplotlib, too
    told = []
    report = demo.run_demo(tmp_path / "demo", told.append)
    fractions = [progress.fraction for progress in told]
    assert fractions == sorted(fractions)
    assert report.picture is None
    assert report.target.is_file()
    assert report.si_sdr_gain_db == report.si_sdr_after_db - report.si_sdr_before_db
    assert math.isfinite(report.engine_ready_s)


def test_a_folder_that_cannot_be_written_is_said_before_any_engine_starts(tmp_path, engines, capsys):
    (tmp_path / "taken").write_text("")
    assert main(["demo", "--out", str(tmp_path / "taken" / "demo")]) == ExitCode.NOT_READY
    assert "[output_not_writable]" in capsys.readouterr().err
    assert engines == []


def test_an_engine_that_cannot_start_says_why(tmp_path, engines):
    (tmp_path / "file").write_text("a file where a folder should be")
    with pytest.raises(StembridgeError) as caught, child.engine(tmp_path / "out", tmp_path / "file" / "state"):
        pytest.fail("it started")
    assert caught.value.code == "engine_not_running"
    assert str(tmp_path / "file") in str(caught.value)
    assert engines[0].returncode == ExitCode.NOT_READY


def test_an_engine_that_is_not_ready_in_time_is_stopped(tmp_path, engines):
    with (
        pytest.raises(StembridgeError, match="not ready") as caught,
        child.engine(tmp_path / "out", tmp_path / "state", start_limit_s=0.0),
    ):
        pytest.fail("it was ready at once")
    assert caught.value.code == "interrupted"
    assert ends_soon(engines[0].pid)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_an_engine_that_died_is_not_a_clean_end(tmp_path):
    with (
        pytest.raises(StembridgeError, match="did not stop cleanly"),
        child.engine(tmp_path / "out", tmp_path / "state") as engine,
    ):
        engine.process.kill()
        engine.process.wait()


def test_a_failure_inside_the_block_comes_out_and_the_engine_ends(tmp_path, engines):
    with pytest.raises(ZeroDivisionError), child.engine(tmp_path / "out", tmp_path / "state") as engine:
        with Client(engine.port) as client:
            assert client.ask(Ping(new_rid())).api == 1
        raise ZeroDivisionError
    assert engines[0].returncode == 0
    assert ends_soon(engine.process.pid)  # its port may be another's by now
