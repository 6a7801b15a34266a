"""The journal: what goes in comes out, in order, after kills, torn writes, damage and full disks."""

from __future__ import annotations

import json
import logging
import math
import os
import random
import shlex
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from queue_process import make_request, make_separation
from small_disk import on_small_disk

from engine.errors import StembridgeError
from engine.jobs import journal_file
from engine.jobs.job import Job, JobState
from engine.jobs.journal import Journal
from engine.request import Progress

ROOT = Path(__file__).parents[1]
DEADLINE_S = 60.0


def make_job(number: int, state: JobState = JobState.QUEUED, client: str = "", *, size: int = 0) -> Job:
    request = make_request(Path("/music"), f"take{number}", "vocals" + " and more" * size)
    return Job(f"job{number}", request, state, client=client or f"client {number}", created_s=1000.0 + number)


def ids(jobs: list[Job]) -> list[str]:
    return [job.id for job in jobs]


# What goes in comes out


@given(
    client=st.text(),
    prompt=st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=50),
    priority=st.integers(-(2**63), 2**63),
    state=st.sampled_from(JobState),
    error=st.none() | st.tuples(st.text(), st.text()),
    null_db=st.none() | st.floats(max_value=0, allow_nan=False),
)
def test_a_job_comes_back_as_it_was(client, prompt, priority, state, error, null_db):
    result = None if null_db is None else replace(make_separation(Path("/out")), null_db=null_db)
    request = make_request(Path("/music"), prompt=prompt)
    job = Job("a1", request, state, priority, client, 12.5, attempts=3, result=result, error=error)
    with Journal(None) as journal:
        journal.write([job])
        assert journal.job("a1") == job


def test_odd_file_names_and_lone_surrogates_survive_the_disk(tmp_path):
    folder = Path(os.fsdecode(b"/music/caf\xe9"))  # not UTF-8
    job = Job("a1", make_request(folder), client="\ud800 \0 ü", result=make_separation(folder))
    with Journal(tmp_path / "jobs.sqlite") as journal:
        journal.write([job])
    with Journal(tmp_path / "jobs.sqlite") as journal:
        assert journal.job("a1") == job


def test_silence_and_progress(tmp_path):
    result = replace(make_separation(tmp_path), null_db=-math.inf)
    with Journal(None) as journal:
        journal.write([replace(make_job(1), progress=Progress(0.5, "separating", 1.0), result=result)])
        job = journal.job("job1")
    assert job is not None
    assert job.result == result
    assert job.progress is None  # the only field that is not kept


@pytest.mark.parametrize("unknown", ["nothing", "", "\ud800", "jöb", "a" * 100_000, "a\0b"])
def test_an_unknown_id_is_none(unknown):
    with Journal(None) as journal:
        journal.write([make_job(1)])
        assert journal.job(unknown) is None


def test_order_outlives_changes_and_the_process(tmp_path):
    path = tmp_path / "deep" / "state" / "jobs.sqlite"
    with Journal(path) as journal:
        journal.write([make_job(n) for n in (3, 1, 2)])
        journal.write([make_job(9)])
        journal.write([replace(make_job(1), state=JobState.DONE), replace(make_job(3), state=JobState.RUNNING)])
    with Journal(path) as journal:
        assert [(job.id, job.state) for job in journal.unfinished()] == [
            ("job3", "running"),
            ("job2", "queued"),
            ("job9", "queued"),
        ]
        assert ids(journal.jobs(0, 10)) == ["job9", "job2", "job1", "job3"]
        assert ids(journal.jobs(1, 2)) == ["job2", "job1"]
        assert journal.jobs(4, 10) == []


def test_a_row_that_cannot_be_read_is_left_out_and_named(tmp_path, caplog):
    with Journal(tmp_path / "jobs.sqlite") as journal:
        journal.write([make_job(n) for n in range(4)])
    with sqlite3.connect(tmp_path / "jobs.sqlite") as database:
        database.execute("UPDATE jobs SET document = '{' WHERE id = 'job1'")
        database.execute("UPDATE jobs SET document = json_set(document, '$.request.colour', 1) WHERE id = 'job2'")
    database.close()
    with Journal(tmp_path / "jobs.sqlite") as journal:
        assert ids(journal.unfinished()) == ["job0", "job3"]
    assert "job1" in caplog.text
    assert "job2" in caplog.text


# One commit for many threads


def hold_and_write(journal: Journal, n_writers: int, write: Callable[[int], None]) -> list[StembridgeError]:
    """Runs `write(k)` in threads that all come to wait for the database; then lets them."""
    errors: list[StembridgeError] = []

    def work(k: int) -> None:
        try:
            write(k)
        except StembridgeError as e:
            errors.append(e)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(n_writers)]
    with journal._database_lock:
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + DEADLINE_S
        while len(journal._pending) < n_writers:
            assert time.monotonic() < deadline
            time.sleep(0.001)
    for thread in threads:
        thread.join(DEADLINE_S)
    return errors


def test_threads_that_write_at_once_share_one_commit(tmp_path):
    with Journal(tmp_path / "jobs.sqlite") as journal:
        statements: list[str] = []
        journal._database.set_trace_callback(statements.append)

        def write(k: int) -> None:
            journal.write([make_job(10 * k), make_job(10 * k + 1)], durable=k == 7)  # one that must be is enough

        assert hold_and_write(journal, 8, write) == []
        assert statements.count("COMMIT") == 1
        assert statements[0] == "PRAGMA synchronous = FULL"
        journal._database.set_trace_callback(None)
        order = [int(job.id[3:]) for job in journal.unfinished()]
    assert sorted(order) == sorted([*range(0, 80, 10), *range(1, 80, 10)])
    assert all(order.index(10 * k + 1) == order.index(10 * k) + 1 for k in range(8))


def test_only_what_must_be_is_flushed(tmp_path):
    with Journal(tmp_path / "jobs.sqlite") as journal:
        journal.write([make_job(1)], durable=False)
        assert journal._database.execute("PRAGMA synchronous").fetchone() == (1,)
        journal.write([make_job(2)])
        assert journal._database.execute("PRAGMA synchronous").fetchone() == (2,)
        assert journal._database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_failed_commit_is_told_to_every_thread_of_the_group(tmp_path):
    with Journal(tmp_path / "jobs.sqlite") as journal:
        journal.write([make_job(0)])
        (n_pages,) = journal._database.execute("PRAGMA page_count").fetchone()
        journal._database.execute(f"PRAGMA max_page_count = {n_pages}")  # SQLite's own full disk
        errors = hold_and_write(journal, 6, lambda k: journal.write([make_job(k + 1, size=100)] * 40))
        assert [e.code for e in errors] == ["disk_full"] * 6
        assert all(str(journal.path) in e.text and e.remedy for e in errors)
        assert ids(journal.unfinished()) == ["job0"]
        journal._database.execute("PRAGMA max_page_count = 1000000")
        journal.write([make_job(7)])
        assert ids(journal.unfinished()) == ["job0", "job7"]


def test_a_write_that_is_refused_halfway_is_taken_back(tmp_path):
    with Journal(tmp_path / "jobs.sqlite") as journal:
        with pytest.raises(StembridgeError) as caught:
            journal.write([make_job(1), replace(make_job(2), id=None)])  # type: ignore[arg-type]
        assert caught.value.code == "journal_failed"
        journal.write([make_job(3)])
        assert ids(journal.unfinished()) == ["job3"]


def test_an_interrupted_commit_is_nobodys_success(tmp_path, monkeypatch):
    """Ctrl-C in the thread that commits for the others must not make the others believe they are safe."""
    with Journal(tmp_path / "jobs.sqlite") as journal:

        class Interrupting:
            in_transaction = False

            def execute(self, statement: str) -> None:
                if statement == "COMMIT":
                    raise KeyboardInterrupt

            def executemany(self, *_: object) -> None:
                pass

        sound, interrupted = journal._database, []

        def write(k: int) -> None:
            try:
                journal.write([make_job(k)])
            except KeyboardInterrupt:
                interrupted.append(k)

        monkeypatch.setattr(journal, "_database", Interrupting())
        errors = hold_and_write(journal, 4, write)
        monkeypatch.setattr(journal, "_database", sound)
        assert len(interrupted) == 1
        assert [e.code for e in errors] == ["journal_failed"] * 3
        assert journal.unfinished() == []


# Bounded


def test_finished_jobs_are_kept_up_to_a_number_and_waiting_ones_always(tmp_path):
    path = tmp_path / "jobs.sqlite"
    with Journal(path, max_finished=10) as journal:
        journal.write([make_job(n) for n in range(40)])
        journal.write([make_job(n, JobState.DONE) for n in range(100, 130)])
    with Journal(path, max_finished=10) as journal:
        assert ids(journal.unfinished()) == [f"job{n}" for n in range(40)]
        assert ids(journal.jobs(0, 100)) == [f"job{n}" for n in [*range(129, 119, -1), *range(39, -1, -1)]]


def test_pruning_goes_on_while_the_engine_runs():
    with Journal(None, max_finished=10) as journal:
        for n in range(600):
            journal.write([make_job(n, JobState.DONE)])
        assert 10 <= len(journal.jobs(0, 1000)) < 10 + 256


def test_finished_jobs_are_forgotten_with_time(tmp_path, monkeypatch):
    path = tmp_path / "jobs.sqlite"
    with Journal(path) as journal:
        journal.write([make_job(1), make_job(2, JobState.FAILED)])
    month_s = 30 * 24 * 3600.0
    now_s = time.time()
    monkeypatch.setattr(time, "time", lambda: now_s + month_s - 60)
    with Journal(path) as journal:
        assert ids(journal.jobs(0, 10)) == ["job2", "job1"]
    monkeypatch.setattr(time, "time", lambda: now_s + month_s + 60)
    with Journal(path) as journal:
        assert ids(journal.jobs(0, 10)) == ["job1"]


# Damage


def written(path: Path, n_jobs: int = 200) -> bytes:
    with Journal(path) as journal:
        journal.write([make_job(n, size=20) for n in range(n_jobs)])
    return path.read_bytes()


def damage_header(path: Path) -> None:
    path.write_bytes(b"x" * 100 + path.read_bytes()[100:])


def damage_middle(path: Path) -> None:
    sound = path.read_bytes()
    path.write_bytes(sound[:4096] + b"\xa5" * (len(sound) // 2) + sound[4096 + len(sound) // 2 :])


def damage_end(path: Path) -> None:
    """Where neither opening nor reading the first job would notice."""
    sound = path.read_bytes()
    path.write_bytes(sound[: -20 * 4096] + b"\xa5" * 20 * 4096)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: 4096 * 3 + 100])


def replace_by_text(path: Path) -> None:
    path.write_text("not a database\n" * 1000)


def drop_the_table(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE jobs")
    database.close()


def empty_beside_a_log(path: Path) -> None:
    Path(f"{path}-wal").write_bytes(b"w" * 5000)
    path.write_bytes(b"")


@pytest.mark.parametrize(
    "damage", [damage_header, damage_middle, damage_end, cut_short, replace_by_text, drop_the_table, empty_beside_a_log]
)
def test_a_damaged_file_is_set_aside_and_named(tmp_path, caplog, damage):
    path = tmp_path / "jobs.sqlite"
    for n in (1, 2):
        written(path)
        damage(path)
        damaged = path.read_bytes()
        caplog.clear()
        with Journal(path) as journal:
            assert journal.unfinished() == []
            journal.write([make_job(7)])
        aside = tmp_path / f"jobs.sqlite.corrupt-{n}"
        assert aside.read_bytes() == damaged
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        assert str(aside) in caplog.text
        with Journal(path) as journal:
            assert ids(journal.unfinished()) == ["job7"]
        path.unlink()
    assert Path(f"{tmp_path / 'jobs.sqlite.corrupt-1'}-wal").exists() == (damage is empty_beside_a_log)


def test_a_file_of_a_newer_version_is_kept(tmp_path, caplog):
    path = tmp_path / "jobs.sqlite"
    written(path)
    with sqlite3.connect(path) as database:
        database.execute(f"PRAGMA user_version = {journal_file.SCHEMA_VERSION + 1}")
    database.close()
    newer = path.read_bytes()
    with Journal(path) as journal:
        assert journal.unfinished() == []
    assert (tmp_path / "jobs.sqlite.newer-1").read_bytes() == newer
    assert "version" in caplog.text


def test_an_empty_file_is_simply_new(tmp_path, caplog):
    (tmp_path / "jobs.sqlite").touch()
    with Journal(tmp_path / "jobs.sqlite") as journal:
        journal.write([make_job(1)])
    assert caplog.records == []


@pytest.mark.parametrize("seed", range(10))
def test_a_power_cut_leaves_a_beginning_of_what_was_written(tmp_path, seed, caplog):
    """The disk at some moment: the file, and the write-ahead log up to any byte, or with a torn end."""
    chance = random.Random(seed)
    path, image = tmp_path / "jobs.sqlite", tmp_path / "image.sqlite"
    with Journal(path) as journal:
        for n in range(60):
            journal.write([make_job(n)])
        shutil.copy(path, image)
        log = Path(f"{path}-wal").read_bytes()
    assert len(log) > 60 * 4096
    torn = log[: chance.randrange(len(log))]
    Path(f"{image}-wal").write_bytes(torn + chance.randbytes(chance.choice([0, 5000])))
    with Journal(image) as journal:
        kept = ids(journal.unfinished())
        journal.write([make_job(1000)])
    assert kept == [f"job{n}" for n in range(len(kept))]
    assert abs(len(kept) - 60 * len(torn) / len(log)) <= 5
    assert caplog.records == []


# Out of reach


def test_a_second_engine_is_turned_away(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_file, "_BUSY_TIMEOUT_S", 0.05)
    path = tmp_path / "jobs.sqlite"
    script = (
        "import sys, engine.jobs.journal_file as f; f._BUSY_TIMEOUT_S = 0.05\n"
        "from pathlib import Path; from engine.jobs.journal import Journal; from engine.errors import StembridgeError\n"
        "try: Journal(Path(sys.argv[1])).close()\n"
        "except StembridgeError as e: print(e.code)\n"
        "else: print('opened')"
    )
    command = [sys.executable, "-c", script, str(path)]
    with Journal(path) as journal:
        journal.write([make_job(1)])
        elsewhere = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=True)
        assert elsewhere.stdout == "engine_running\n"
        with pytest.raises(StembridgeError) as here:
            Journal(path)
        assert here.value.code == "engine_running"
        assert str(path) in here.value.text
        journal.write([make_job(2)])
        assert ids(journal.unfinished()) == ["job1", "job2"]
    elsewhere = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=True)
    assert elsewhere.stdout == "opened\n"
    assert not list(tmp_path.glob("*corrupt*"))


def test_a_folder_that_cannot_be_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StembridgeError) as caught:
        Journal(tmp_path / "file" / "jobs.sqlite")
    assert caught.value.code == "journal_failed"
    assert str(tmp_path / "file" / "jobs.sqlite") in caught.value.text


def test_any_failure_without_room_is_blamed_on_the_disk(tmp_path, monkeypatch):
    """Quotas and network disks report a full disk as a mere input/output error."""
    journal = Journal(tmp_path / "jobs.sqlite")
    journal.close()
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(StembridgeError) as caught:
        journal.write([make_job(1)])
    assert caught.value.code == "disk_full"


def test_a_closed_journal_says_so(tmp_path):
    journal = Journal(tmp_path / "jobs.sqlite")
    journal.close()
    journal.close()
    for call in (lambda: journal.write([make_job(1)]), journal.unfinished, lambda: journal.job("job1")):
        with pytest.raises(StembridgeError, match=r"jobs\.sqlite"):
            call()


_FILL = """
import json, resource, signal, sys
from pathlib import Path
sys.path[:0] = [sys.argv[2], sys.argv[2] + "/tests"]
from test_engine_journal import make_job
from engine.errors import StembridgeError
from engine.jobs.journal import Journal
path, limit = Path(sys.argv[1]), int(sys.argv[3])
written, code = [], None
with Journal(path) as journal:
    journal.write([make_job(0)])
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for n in range(1, 2000):
        try:
            journal.write([make_job(n, size=50)])
            written.append(f"job{n}")
        except StembridgeError as e:
            code = e.code
            break
    kept = [job.id for job in journal.unfinished()]
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    else:
        (path.parent / "ballast").unlink()
    journal.write([make_job(5000)])
with Journal(path) as journal:
    again = [job.id for job in journal.unfinished()]
print(json.dumps([code, written, kept, again]))
"""


def fill(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stderr
    code, written_ids, kept, again = json.loads(done.stdout)
    assert len(written_ids) > 10
    assert kept == ["job0", *written_ids]  # what was answered is there, what failed is not
    assert again == [*kept, "job5000"]
    return code


@pytest.mark.skipif(os.name != "posix", reason="limits of this kind exist on POSIX systems only")
def test_a_write_that_the_system_refuses_loses_nothing(tmp_path):
    """RLIMIT_FSIZE: the system refuses to let the file grow."""
    assert fill([sys.executable, "-c", _FILL, str(tmp_path / "jobs.sqlite"), str(ROOT), "300000"]) == "journal_failed"


def test_a_full_disk_loses_nothing(tmp_path):
    ballast = f'head -c 500000 /dev/zero > {shlex.quote(str(tmp_path / "ballast"))} && exec "$@"'
    command = [sys.executable, "-c", _FILL, str(tmp_path / "jobs.sqlite"), str(ROOT), "0"]
    assert fill(on_small_disk(tmp_path, "1m", ["sh", "-c", ballast, "sh", *command])) == "disk_full"
