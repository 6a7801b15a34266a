"""The command line: exit statuses, what goes to stdout and stderr, one clear message, and no file after Ctrl-C."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile

from bridge.__main__ import main
from bridge.cli import console
from engine import models
from engine.errors import CODES, ExitCode, StembridgeError
from engine.request import Progress

COMMANDS = ("extract", "serve", "demo", "submit", "jobs", "cancel", "watch", "presets", "models", "install", "doctor")


def stembridge(*arguments, **options):
    command = [sys.executable, "-m", "bridge", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def until(what, limit_s=60.0):
    deadline_s = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < deadline_s, "it did not come to pass"
        time.sleep(0.01)


def read_json(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


# What comes out


def test_extract_prints_one_json_object_and_nothing_else_in_a_pipe(mixture_file, tmp_path):
    source = mixture_file(2.0)
    before = hashlib.sha256(source.read_bytes()).hexdigest()
    done = stembridge(
        "extract", source, "--prompt", "vocals", "--region", "0.5:1.75", "--out", tmp_path / "o", "--json"
    )
    assert (done.returncode, done.stderr) == (ExitCode.DONE, "")
    assert done.stdout.count("\n") == 1
    told = json.loads(done.stdout)
    keys = "target residual manifest sample_rate channels samples null_db model runtime nfe seed seconds"
    assert set(keys.split()) <= set(told)
    assert (told["sample_rate"], told["channels"], told["samples"]) == (44_100, 2, round(1.25 * 44_100))
    assert told["null_db"] is None or told["null_db"] <= -120
    assert soundfile.info(told["target"]).frames == told["samples"]
    assert read_json(told["manifest"])["prompt"] == "vocals"
    assert hashlib.sha256(source.read_bytes()).hexdigest() == before


def test_extract_names_the_files_it_wrote(mixture_file, tmp_path, capsys):
    source = mixture_file(1.0, name="My Song.wav")
    assert main(["extract", str(source), "--prompt", "vocals", "--out", str(tmp_path / "o")]) == ExitCode.DONE
    out, err = capsys.readouterr()
    for suffix in ("target.wav", "residual.wav", "json"):
        path = tmp_path / "o" / f"My Song.vocals.{suffix}"
        assert path.is_file()
        assert str(path) in out
    assert "give the mixture" in err


def test_spans_repeat_and_reach_the_manifest(mixture_file, tmp_path, capsys):
    arguments = ["--prompt", "vocals", "--span", "0.5:1", "--span", "0:01.2-0:01.4", "--not-span", "0:0.25", "--json"]
    assert main(["extract", str(mixture_file(2.0)), *arguments, "--out", str(tmp_path / "o")]) == ExitCode.DONE
    told = json.loads(capsys.readouterr().out)
    manifest = read_json(told["manifest"])
    assert sorted(manifest["spans"]) == [["+", 0.5, 1.0], ["+", 1.2, 1.4], ["-", 0.0, 0.25]]


def test_keep_and_name_choose_the_files(mixture_file, tmp_path):
    arguments = ["--prompt", "vocals", "--keep", "residual", "--name", "Band", "--out", str(tmp_path / "o")]
    assert main(["extract", str(mixture_file(0.5)), *arguments]) == ExitCode.DONE
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["Band.json", "Band.residual.wav"]


def test_a_preset_gives_the_prompt_and_an_option_wins_over_it(mixture_file, tmp_path, capsys):
    source = str(mixture_file(0.5))
    assert main(["extract", source, "--preset", "extract-vocals", "--out", str(tmp_path / "o"), "--json"]) == 0
    first = read_json(json.loads(capsys.readouterr().out)["manifest"])
    assert first["prompt"] == "vocals"
    arguments = ["--preset", "extract-vocals", "--prompt", "accompaniment", "--out", str(tmp_path / "o"), "--json"]
    assert main(["extract", source, *arguments]) == 0
    second = read_json(json.loads(capsys.readouterr().out)["manifest"])
    assert second["prompt"] == "accompaniment"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    assert main([command, "--help"]) == ExitCode.DONE
    assert "Usage" in capsys.readouterr().out


def test_the_version_is_the_installed_one(capsys):
    from importlib.metadata import version

    assert main(["--version"]) == ExitCode.DONE
    assert capsys.readouterr().out.strip() == version("stembridge")


# What goes wrong


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["extract", "nowhere.wav", "--prompt", "vocals"], "file_not_found"),
        (["extract", "{source}"], "no_prompt"),
        (["extract", "{source}", "--prompt", "???"], "unsupported_prompt"),
        (["extract", "{source}", "--prompt", "vocals", "--model", "spleeter-3stems"], "unknown_model"),
        (["extract", "{source}", "--prompt", "vocals", "--preset", "extract-vocal"], "unknown_preset"),
        (["extract", "{source}", "--prompt", "vocals", "--span", "later"], "bad_value"),
        (["extract", "{source}", "--prompt", "vocals", "--region", "0.9:0.1"], "bad_value"),
        (["extract", "{source}", "--prompt", "vocals", "--region", "5:6"], "bad_region"),
        (["extract", "{source}", "--prompt", "vocals", "--keep", "everything"], "bad_value"),
        (["extract", "{source}", "--prompt", "vocals", "--output", "generative"], "unsupported_option"),
        (["extract", "{source}", "--prompt", "vocals", "--name", "a/b"], "bad_value"),
        (["extract", "{folder}", "--prompt", "vocals"], "path_refused"),
        (["extract", "{text}", "--prompt", "vocals"], "not_audio"),
        (["extract", "{source}", "--prompt", "vocals", "--out", "{text}/under"], "output_not_writable"),
        (["presets", "show", "dialog"], "unknown_preset"),
        (["install", "garageband"], "bad_value"),
        (["install", "ardour"], "daw_not_found"),
        (["cancel"], "bad_value"),
        (["jobs", "--port", "9"], "engine_not_running"),
        (["submit", "{source}", "--prompt", "vocals", "--port", "9"], "engine_not_running"),
    ],
)
def test_each_failure_is_one_message_with_its_code_and_status(arguments, code, mixture_file, tmp_path, capsys):
    (tmp_path / "text.wav").write_text("these are words")
    places = {"source": mixture_file(1.0), "folder": tmp_path, "text": tmp_path / "text.wav"}
    told = main([argument.format(**places) for argument in arguments])
    out, err = capsys.readouterr()
    assert out == ""
    first, *rest = err.splitlines()
    assert first.endswith(f"[{code}]"), err
    assert rest, "the remedy"
    assert "Traceback" not in err
    assert told == CODES[code][0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mixture.wav", "text.wav"], "no file is left"


@pytest.mark.parametrize(
    "arguments", [["extract"], ["bogus"], ["extract", "a.wav", "--tempo", "3"], ["serve", "--port", "x"]]
)
def test_what_is_no_command_is_a_wrong_request(arguments, capsys):
    assert main(arguments) == ExitCode.BAD_REQUEST
    out, err = capsys.readouterr()
    assert out == ""
    assert "Error" in err


def test_a_machine_without_a_runtime_is_not_ready(mixture_file, tmp_path, monkeypatch, capsys):
    def none(self, name):
        raise StembridgeError("runtime_missing", "onnxruntime is not installed.", "pip install 'stembridge[cpu]'")

    monkeypatch.setattr(models.Shelf, "open", none)
    arguments = ["extract", str(mixture_file(0.5)), "--prompt", "vocals", "--out", str(tmp_path / "o")]
    assert main(arguments) == ExitCode.NOT_READY
    assert "pip install 'stembridge[cpu]'" in capsys.readouterr().err


def test_a_defect_of_ours_is_reported_as_one(mixture_file, monkeypatch, capsys):
    def broken(self, name):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(models.Shelf, "open", broken)
    assert main(["extract", str(mixture_file(0.5)), "--prompt", "vocals"]) == ExitCode.FAILED
    assert "ZeroDivisionError: oops. [internal]" in capsys.readouterr().err


def test_a_lack_of_memory_is_no_defect_of_ours(mixture_file, monkeypatch, capsys):
    def broken(self, name):
        raise MemoryError("Unable to allocate 22.0 MiB")

    monkeypatch.setattr(models.Shelf, "open", broken)
    assert main(["extract", str(mixture_file(0.5)), "--prompt", "vocals"]) == ExitCode.NOT_READY
    errors = capsys.readouterr().err
    assert "[out_of_memory]" in errors
    assert "shorter region" in errors
    assert "Traceback" not in errors


def test_a_reader_that_hangs_up_is_no_defect():
    command = f"{sys.executable} -m bridge presets list | true"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr


# Stopping


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_in_the_middle_leaves_no_file(number, mixture_file, tmp_path):
    source, out = mixture_file(240.0, sample_rate=16_000, channels=1), tmp_path / "o"
    command = [sys.executable, "-m", "bridge", "extract", str(source), "--prompt", "vocals", "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: (out.is_dir() and any(out.glob("*.part"))) or process.poll() is not None)
        process.send_signal(number)
        told, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, told) == (ExitCode.CANCELLED, "")
    assert "[cancelled]" in err
    assert not out.exists(), "the folder it made is gone too"


def test_a_refused_extract_leaves_no_empty_folder_and_takes_none_that_was_there(mixture_file, tmp_path, monkeypatch):
    source = mixture_file(1.0)

    def fails(request, shelf, **_):
        request.out_dir.mkdir(parents=True, exist_ok=True)
        if request.name == "some":
            (request.out_dir / "mine.txt").write_text("x")
        raise StembridgeError("disk_full", "The disk is full.", "Free some space.")

    monkeypatch.setattr("bridge.plugins.rendering.separate", fails)
    (tmp_path / "there").mkdir()
    for folder, left in (("new/deep", False), ("there", True), ("there/new", False)):
        assert main(["extract", str(source), "--prompt", "vocals", "--out", str(tmp_path / folder)]) == 3
        assert (tmp_path / folder).exists() is left
    assert (tmp_path / "there").is_dir()
    assert not (tmp_path / "new").exists()
    out = tmp_path / "kept"
    assert main(["extract", str(source), "--prompt", "vocals", "--out", str(out), "--name", "some"]) == 3
    assert (out / "mine.txt").exists()


def test_extract_says_what_to_know_of_the_stems(mixture_file, tmp_path, capsys):
    source = mixture_file(1.0)
    assert main(["extract", str(source), "--prompt", "lead vocals", "--out", str(tmp_path / "o")]) == ExitCode.DONE
    out, err = capsys.readouterr()
    assert "all voices together" in err
    assert "all voices together" not in out
    arguments = ["extract", str(source), "--prompt", "lead vocals", "--out", str(tmp_path / "p"), "--json"]
    assert main(arguments) == ExitCode.DONE
    assert "all voices together" in json.loads(capsys.readouterr().out)["note"]


@pytest.mark.skipif(sys.platform == "win32", reason="a path with two slashes is a share there")
def test_extract_reads_a_path_with_two_slashes(mixture_file, tmp_path):
    source = mixture_file(1.0)
    assert main(["extract", f"/{source}", "--prompt", "vocals", "--out", str(tmp_path / "o")]) == ExitCode.DONE


# What a pipe with an old code page gets


def on_an_old_code_page(*arguments):
    command = [sys.executable, "-m", "bridge", *map(str, arguments)]
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    return subprocess.run(command, capture_output=True, timeout=120, env=environment)


def test_a_japanese_prompt_is_refused_in_utf8_whatever_the_code_page(mixture_file):
    done = on_an_old_code_page("extract", mixture_file(1.0), "--prompt", "尺八", "--model", "spleeter-2stems")
    assert done.returncode == ExitCode.BAD_REQUEST
    err = done.stderr.decode("utf-8")
    assert "尺八" in err
    assert "[unsupported_prompt]" in err
    assert "Traceback" not in err


def test_json_is_ascii_and_says_the_same(mixture_file, tmp_path):
    out = tmp_path / "声→"
    done = on_an_old_code_page("extract", mixture_file(1.0), "--prompt", "vocals", "--out", out, "--json")
    assert done.returncode == ExitCode.DONE, done.stderr
    assert done.stdout.isascii()
    assert Path(json.loads(done.stdout)["target"]).parent == out


def test_the_demo_writes_its_arrows_on_any_code_page(tmp_path):
    done = on_an_old_code_page("demo", "--out", tmp_path / "demo")
    assert done.returncode == ExitCode.DONE, done.stderr.decode()
    assert "→" in done.stdout.decode("utf-8")


@pytest.mark.skipif(sys.platform != "linux", reason="names that are not UTF-8 are Linux's")
def test_a_name_that_is_no_text_can_be_told(mixture_file, tmp_path):
    source = mixture_file(1.0).rename(tmp_path / os.fsdecode(b"caf\xe9.wav"))
    done = on_an_old_code_page("extract", source, "--prompt", "vocals", "--out", tmp_path / "o")
    assert done.returncode == ExitCode.DONE, done.stderr.decode()
    assert "manifest" in done.stdout.decode("utf-8")


# What serve refuses


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--root", "{folder}/nowhere"], "bad_value"),
        (["--root", "{file}"], None),
        (["--out", "{file}/under"], "output_not_writable"),
    ],
)
def test_serve_refuses_folders_it_cannot_use_at_the_start(arguments, code, tmp_path):
    (tmp_path / "file").write_text("x")
    given = [argument.format(folder=tmp_path, file=tmp_path / "file") for argument in arguments]
    done = stembridge("serve", "--port", "0", "--state", tmp_path / "state", "--out", tmp_path / "out", *given)
    assert done.stdout == ""
    if code is not None:
        assert f"[{code}]" in done.stderr
    assert done.returncode == (ExitCode.BAD_REQUEST if code is None else CODES[code][0])


def test_the_first_signal_asks_and_the_second_insists():
    before = signal.getsignal(signal.SIGINT)  # a suite that runs in a shell's background ignores it
    with console.stoppable() as stopped:
        assert not stopped()
        os.kill(os.getpid(), signal.SIGINT)
        assert stopped()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


# Bars


def test_a_terminal_gets_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with console.progress_bar("vocals") as on_progress:
        on_progress(Progress(0.42, "separating", 3.0))
    err = capsys.readouterr().err
    assert "42%" in err
    assert "separating" in err


def test_a_pipe_gets_none(capsys):
    with console.progress_bar("vocals") as on_progress:
        on_progress(Progress(0.42, "separating", 3.0))
    assert capsys.readouterr().err == ""


def test_names_with_brackets_are_shown_as_they_are(capsys):
    console.write_table(("name",), [("[bold]Kick[/bold] [1]",)])
    console.report(StembridgeError("bad_value", "There is no [red]x[/red].", "Use [1]."))
    out, err = capsys.readouterr()
    assert "[bold]Kick[/bold] [1]" in out
    assert "[red]x[/red]" in err
