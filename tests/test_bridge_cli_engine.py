"""submit, jobs, cancel and serve against a real engine in a process of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import soundfile
from mixtures import make_mixture

from bridge import child
from bridge.__main__ import main
from engine.errors import ExitCode


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    return tmp_path_factory.mktemp("room")


@pytest.fixture(scope="module")
def engine(room):
    with child.engine(room / "out", room / "state", roots=[room]) as running:
        yield running


@pytest.fixture(scope="module")
def song(room):
    path = room / "song.wav"
    soundfile.write(path, make_mixture(22_050), 44_100, subtype="FLOAT")
    return path


@pytest.fixture(scope="module")
def long_song(room):
    path = room / "long.wav"
    soundfile.write(path, make_mixture(16_000 * 240, 16_000, 1), 16_000, subtype="PCM_16")
    return path


@pytest.fixture
def run(engine, capsys):
    """Run a command against the engine: (status, stdout, stderr)."""

    def call(*arguments):
        status = main([*map(str, arguments), "--port", str(engine.port)])
        return (status, *capsys.readouterr())

    return call


def until(what, limit_s=60.0):
    deadline_s = time.monotonic() + limit_s
    while not (found := what()):
        assert time.monotonic() < deadline_s, "it did not come to pass"
        time.sleep(0.02)
    return found


def test_submit_waits_and_tells_where_the_stems_are(run, song, room):
    status, out, err = run("submit", song, "--prompt", "vocals", "--json")
    assert (status, err) == (ExitCode.DONE, "")
    told = json.loads(out)
    assert told["state"] == "done"
    assert soundfile.info(told["target"]).frames == soundfile.info(song).frames
    assert told["target"].startswith(str(room / "out"))


def test_a_track_name_is_prompt_enough_and_out_is_below_the_engines_folder(run, song, room):
    status, out, _ = run(
        "submit", song, "--track", "02 LeadVox DI", "--out", "takes", "--name", "Lead", "--playhead", 0.2
    )
    assert status == ExitCode.DONE
    assert str(room / "out" / "takes" / "Lead.target.wav") in out
    manifest = json.loads((room / "out" / "takes" / "Lead.json").read_text(encoding="utf-8"))
    assert manifest["prompt"] == "lead vocals"
    assert manifest["request"]["playhead_s"] == 0.2


def test_a_job_can_be_left_alone_looked_at_and_cancelled(run, long_song):
    status, out, _ = run("submit", long_song, "--prompt", "vocals", "--no-wait")
    assert status == ExitCode.DONE
    job = out.strip()
    assert job in run("jobs")[1]
    until(lambda: json.loads(run("jobs", job, "--json")[1])["state"] == "running")
    assert run("cancel", job)[:2] == (ExitCode.DONE, f"{job} cancelled\n")
    ended = until(lambda: (told := json.loads(run("jobs", job, "--json")[1]))["state"] == "cancelled" and told)
    assert ended["code"] == "cancelled"
    assert run("cancel", job)[0] == ExitCode.DONE, "cancelling twice does no harm"


def test_cancelling_what_is_done_says_that_it_is_done(run, song):
    job = json.loads(run("submit", song, "--prompt", "vocals", "--json")[1])["job"]
    assert run("cancel", job)[:2] == (ExitCode.DONE, f"{job} done: it had ended before\n")


def test_submit_and_jobs_say_what_to_know_of_the_stems(run, song):
    status, out, err = run("submit", song, "--prompt", "lead vocals")
    assert (status, "all voices together" in err, "all voices together" in out) == (ExitCode.DONE, True, False)
    told = json.loads(run("submit", song, "--prompt", "lead vocals", "--json")[1])
    assert "all voices together" in told["note"]
    text = run("jobs", told["job"])[1]
    assert text.split()[:2] == ["job", told["job"]]
    assert text.splitlines()[0].strip(), "no blank line at the top"


def test_the_newest_jobs_are_listed_and_the_others_counted(run, song, monkeypatch):
    monkeypatch.setattr("bridge.cli.jobs.NEWEST", 2)
    ids = [json.loads(run("submit", song, "--prompt", "vocals", "--json")[1])["job"] for _ in range(3)]
    n_all = len(json.loads(run("jobs", "--json")[1]))
    status, out, err = run("jobs")
    assert (status, len(out.splitlines())) == (ExitCode.DONE, 1 + 2)
    assert ids[-1] in out
    assert f"{n_all - 2} older jobs are not shown; --all shows them." in err
    status, out, err = run("jobs", "--all")
    assert (status, len(out.splitlines()), err) == (ExitCode.DONE, 1 + n_all, "")


def test_all_jobs_are_listed_over_several_pages_and_cancelled_at_once(run, long_song):
    jobs = [run("submit", long_song, "--prompt", "vocals", "--no-wait")[1].strip() for _ in range(13)]
    listed = json.loads(run("jobs", "--json")[1])
    assert set(jobs) <= {job["job"] for job in listed}
    assert len({job["job"] for job in listed}) == len(listed)
    assert run("cancel", "--all")[1].strip() == "13 cancelled"
    until(lambda: all(job["state"] not in ("queued", "running") for job in json.loads(run("jobs", "--json")[1])))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["jobs", "nosuchjob"], "unknown_job"),
        (["cancel", "nosuchjob"], "unknown_job"),
        (["submit", "{song}", "--prompt", "???"], "unsupported_prompt"),
        (["submit", "/etc/hostname", "--prompt", "vocals"], "path_refused"),
        (["submit", "{song}", "--track", "Audio 3"], "no_prompt"),
        (["submit", "{song}", "--prompt", "vocals", "--out", "/elsewhere"], "path_refused"),
        (["submit", "{long}", "--prompt", "vocals", "--preview", "--region", "0:60"], "too_long"),
    ],
)
def test_the_engines_refusals_keep_their_code(arguments, code, run, song, long_song):
    status, out, err = run(*(argument.format(song=song, long=long_song) for argument in arguments))
    assert (status, out) == (ExitCode.BAD_REQUEST, "")
    assert f"[{code}]" in err


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_while_waiting_cancels_the_job(engine, run, long_song):
    before = {job["job"] for job in json.loads(run("jobs", "--json")[1])}
    arguments = ["submit", str(long_song), "--prompt", "vocals", "--port", str(engine.port)]
    process = subprocess.Popen([sys.executable, "-m", "bridge", *arguments], stderr=subprocess.PIPE, text=True)

    def mine():
        return [job for job in json.loads(run("jobs", "--json")[1]) if job["job"] not in before]

    try:
        until(lambda: [job for job in mine() if job["state"] == "running"])
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == ExitCode.CANCELLED
    assert "[cancelled]" in err
    until(lambda: [job["state"] for job in mine()] == ["cancelled"])


def test_a_port_that_is_taken_is_not_ready(engine, tmp_path, capsys):
    arguments = ["serve", "--port", str(engine.port), "--out", str(tmp_path), "--state", str(tmp_path / "state")]
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        assert main(arguments) == ExitCode.NOT_READY
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    out, err = capsys.readouterr()
    assert out == ""
    assert "[port_in_use]" in err


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_serve_prints_one_line_and_stops_on_ctrl_c(tmp_path):
    command = [sys.executable, "-m", "bridge", "serve", "--port", "0", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    try:
        line = process.stdout.readline()
        port = int(child.READY_LINE.search(line)[1])
        assert str(tmp_path / "out") in line
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, rest, err) == (ExitCode.DONE, "", "")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", port))
