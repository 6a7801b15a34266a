"""`stembridge plugins`: scanned, listed and shown as a person and a program read them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridge.cli.app import run as main

ZAM = Path("/usr/lib/vst3")


@pytest.mark.vst3
def test_scan_list_and_show(capfd, tmp_path):
    junk = tmp_path / "more" / "junk.vst3"
    junk.parent.mkdir()
    junk.write_text("no plugin")
    assert main(["plugins", "list"]) == 0
    out, err = capfd.readouterr()
    assert "BrickwallLimiter" in out
    assert "stembridge plugins scan" in err
    assert main(["plugins", "scan", str(ZAM / "ZaMaximX2.vst3"), str(tmp_path)]) == 0
    assert "1 plugins can be used, 1 cannot." in capfd.readouterr().out
    assert main(["plugins", "list"]) == 0
    lines = {line.split()[0]: line for line in capfd.readouterr().out.splitlines()}
    assert "480 samples" in lines["ZaMaximX2"]
    assert "junk.vst3 is no plugin" in lines["junk"]
    assert main(["plugins", "list", "--json"]) == 0
    listed = {each["name"]: each for each in json.loads(capfd.readouterr().out)}
    assert listed["ZaMaximX2"]["facts"]["channels"] == [2]
    assert main(["plugins", "show", "zamaximx2"]) == 0
    shown = capfd.readouterr().out
    assert "Damien Zammit" in shown
    assert any(line.split()[0] == "threshold_db" and "-30 to 0" in line for line in shown.splitlines())
    assert main(["plugins", "show", "LadderFilter"]) == 0
    assert "LPF12, HPF12" in capfd.readouterr().out


@pytest.mark.vst3
def test_what_is_not_there_is_named(capfd, tmp_path):
    for arguments, said in (
        (["show", "Compresor"], "'Compressor'"),
        (["show", str(tmp_path / "none.vst3")], "none.vst3"),
        (["scan", str(tmp_path / "none")], "none"),
    ):
        assert main(["plugins", *arguments]) == 3
        assert said in capfd.readouterr().err


@pytest.mark.parametrize("arguments", [["list"], ["scan"], ["show", "Gain"]])
def test_without_the_extra_each_command_says_how_to_get_it(capfd, monkeypatch, arguments):
    monkeypatch.setattr("bridge.plugins.places.find_spec", lambda name: None)
    assert main(["plugins", *arguments]) == 3
    err = capfd.readouterr().err
    assert "stembridge[plugins]" in err
    assert "GPL" in err


def test_a_chain_is_shown_as_a_person_reads_it(capfd):
    assert main(["presets", "show", "dialogue-levelled"]) == 0
    assert "HighpassFilter (cutoff_frequency_hz 80) > Compressor (" in capfd.readouterr().out
    assert main(["presets", "show", "dialogue-levelled", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["post"][0]["plugin"] == "HighpassFilter"
