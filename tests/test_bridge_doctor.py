"""The doctor: a well machine is ready; each illness is named with what mends it, and the exit status says so."""

import json
import socket
import threading

import pytest

from bridge import doctor
from bridge.__main__ import main
from bridge.api.protocol import Pong
from bridge.osc.codec import decode_request, encode
from engine.bundle import Bundle
from engine.errors import ExitCode, StembridgeError
from engine.separate import stembridge_version
from engine.text_encoder import FILES


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_MUSIC_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    return tmp_path


@pytest.fixture
def port():
    """A port that nothing holds."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def found(port, **where):
    return {finding.what: finding for finding in doctor.examine(port=port, **where)}


def test_a_well_machine_is_ready(port, capsys):
    assert main(["doctor", "--port", str(port), "--json"]) == ExitCode.DONE
    answer = json.loads(capsys.readouterr().out)
    assert answer["ready"] is True
    assert {"Python", "runtime", "output folder", "state folder", f"port {port}"} <= {
        finding["what"] for finding in answer["findings"]
    }


def test_the_table_shows_each_finding_and_the_commands_apart(port, capsys):
    assert main(["doctor", "--port", str(port)]) == ExitCode.DONE
    text = capsys.readouterr().out
    assert "stembridge install ardour" in text
    assert "This machine is ready." in text


def test_a_wrong_preset_is_named_and_does_not_make_the_machine_unready(home, port, capsys):
    assert found(port)["presets"].state == "ok"
    folder = home / "stembridge" / "presets"
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_text("schema = 1\ntitle = 3")
    finding = found(port)["presets"]
    assert finding.state == "note"
    assert str(folder / "mine.toml") in finding.detail
    assert finding.remedy
    assert main(["presets", "check"]) == ExitCode.BAD_REQUEST
    assert str(folder / "mine.toml") in capsys.readouterr().err
    assert main(["presets", "list", "--json"]) == ExitCode.DONE
    assert "dialogue" in capsys.readouterr().out


def test_a_missing_runtime_means_not_ready_and_names_the_command(port, monkeypatch, capsys):
    def none():
        raise StembridgeError("runtime_missing", "onnxruntime is not installed.", "pip install 'stembridge[cpu]'")

    monkeypatch.setattr(doctor.health, "runtime", none)
    assert main(["doctor", "--port", str(port)]) == ExitCode.NOT_READY
    text = capsys.readouterr().out
    assert "runtime (needed): pip install 'stembridge[cpu]'" in text
    assert "not ready" in text


def test_a_damaged_model_is_found(port, monkeypatch):
    def damaged(name):
        raise StembridgeError("model_corrupt", f"{name} is damaged.", "Install it again.")

    monkeypatch.setattr(doctor.health, "model_files", damaged)
    findings = list(doctor.examine(port=port))
    assert any(f.state == "missing" and "damaged" in f.detail for f in findings)
    assert not doctor.ready(findings)


def test_a_model_without_its_text_encoder_is_not_said_to_run(port, tmp_path, monkeypatch):
    bundle = Bundle(tmp_path, "big", "flow", "Big", "1", "none", {}, {"sizes": {"dit": {"text_dim": 8}}})
    monkeypatch.setattr(doctor.health, "installed", lambda: {"big": bundle})
    monkeypatch.setattr(doctor.health, "find", lambda name: bundle)
    monkeypatch.setattr(doctor.health, "text_folder", lambda: tmp_path)
    monkeypatch.setattr(doctor.health, "foresee", lambda *_: ("torch on the CPU", "it can", []))
    finding = found(port)["big runs on"]
    assert (finding.state, finding.remedy) == ("missing", "stembridge models fetch t5-base")
    for file in FILES:
        (tmp_path / file).write_text('{"d_model": 9}')
    assert found(port)["big runs on"].state == "missing"
    (tmp_path / "config.json").write_text('{"d_model": 8}')
    assert found(port)["big runs on"].detail == "torch on the CPU: it can"


def test_an_output_folder_that_cannot_be_is_found(port, tmp_path):
    (tmp_path / "file").write_text("")
    assert found(port, out_dir=tmp_path / "file" / "out")["output folder"].state == "missing"


def test_a_silent_program_on_the_port_is_told_from_an_engine(monkeypatch):
    monkeypatch.setattr(doctor, "PING_S", 0.05)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        number = other.getsockname()[1]
        finding = found(number)[f"port {number}"]
    assert finding.state == "missing"
    assert "--port" in finding.remedy


@pytest.mark.parametrize(("version", "state"), [(stembridge_version(), "ok"), ("9.8.7", "note")])
def test_a_running_engine_is_recognised_and_its_version_compared(version, state):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as engine:
        engine.bind(("127.0.0.1", 0))
        engine.settimeout(10)
        number = engine.getsockname()[1]

        def answer():
            datagram, caller = engine.recvfrom(65_536)
            engine.sendto(encode(Pong(decode_request(datagram).rid, version, 1, "idle")), caller)

        thread = threading.Thread(target=answer)
        thread.start()
        finding = found(number)[f"port {number}"]
        thread.join()
    assert finding.state == state
    assert finding.detail.startswith(f"the engine is running, version {version}")


def test_ardour_with_and_without_the_scripts(port, home):
    (home / "ardour7").mkdir()
    assert found(port)["Ardour 7"].remedy == "stembridge install ardour"
    main(["install", "ardour", "--folder", str(home / "ardour7"), "--mailbox", str(home / "mailbox")])
    assert found(port)["Ardour 7"].state == "ok"


def test_scripts_of_another_version_are_named(port, home):
    folder = home / "ardour7"
    folder.mkdir()
    main(["install", "ardour", "--path", str(folder), "--mailbox", str(home / "mailbox")])
    record = folder / "stembridge" / "installed.json"
    record.write_text(record.read_text().replace(stembridge_version(), "0.0.1"))
    finding = found(port)["Ardour 7"]
    assert (finding.state, finding.remedy) == ("note", "stembridge install ardour")
    assert "version 0.0.1" in finding.detail
    assert stembridge_version() in finding.detail
