"""A batch on a real Dask cluster of this machine: the same stems, also when a worker is killed on the way."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from mixtures import make_mixture
from rpp_material import item, project, track

from bridge.__main__ import main
from bridge.batch.cluster import Cluster, cluster_at
from bridge.batch.plan import BatchPlan, Options, plan_batch
from bridge.batch.run import media_folder, run_batch
from bridge.sessions.reading import read_session
from engine.errors import StembridgeError

distributed = pytest.importorskip("distributed") if os.environ.get("CI") != "true" else __import__("distributed")
LIMIT_S = 120.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[distributed.LocalCluster]:
    os.environ["OMP_NUM_THREADS"] = "1"
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, worker_dashboard_address=None
    ) as found:
        yield found


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("song")
    for n in range(4):
        soundfile.write(folder / f"{n}.wav", make_mixture(400_000, seed=n), 44_100, subtype="PCM_16")
    path = folder / "Song.rpp"
    items = [item(10 * n, 8.0, f"{n}.wav") for n in range(4)]
    path.write_text(project(track("Lead Vox", *items[:2]), track("Drums :: accompaniment", *items[2:])))
    return path


def plan_of(song: Path, out: Path) -> BatchPlan:
    return plan_batch(read_session(song), Options(), out, media_folder(out))


def stems_of(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.wav")}


@pytest.fixture(scope="module")
def local(song: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("local")
    assert all(outcome.result for outcome in run_batch(plan_of(song, out), out))
    return stems_of(out)


def test_the_command_gives_the_same_bytes_as_a_local_run(cluster, song, local, tmp_path: Path, capsys) -> None:
    arguments = ("session", str(song), "--out", str(tmp_path), "--no-new-session", "--json")
    assert main([*arguments, "--cluster", cluster.scheduler_address]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["done"] == 4
    assert f"--cluster {cluster.scheduler_address}" in told["retry"]
    assert stems_of(tmp_path) == local
    assert not list((tmp_path / ".stembridge" / "work").iterdir())
    for job in told["jobs"]:
        manifest = json.loads(Path(job["manifest"]).read_text())
        assert manifest["request"]["out_dir"] == str(tmp_path)
        assert job["null_db"] <= -120


@pytest.mark.vst3
def test_a_presets_plugins_run_on_the_workers(cluster, song, tmp_path: Path, capsys, monkeypatch) -> None:
    found = []
    for where, more in (("local", ()), ("there", ("--cluster", cluster.scheduler_address))):
        out = tmp_path / where
        arguments = (
            "session",
            str(song),
            "--out",
            str(out),
            "--preset",
            "vocals-clean",
            "--track",
            "Lead Vox",
            "--json",
        )
        assert main([*arguments, *more, "--no-new-session"]) == 0
        jobs = json.loads(capsys.readouterr().out)["jobs"]
        assert json.loads(Path(jobs[0]["manifest"]).read_text())["plugins"]["treated"] == ["target"]
        found.append(stems_of(out))
    assert found[0] == found[1] != {}
    monkeypatch.setattr("bridge.batch.cluster.host_version", lambda: "another")
    with (
        pytest.raises(StembridgeError, match="pedalboard another") as caught,
        cluster_at(cluster.scheduler_address, tmp_path, with_plugins=True),
    ):
        pass
    assert caught.value.code == "cluster_failed"
    with cluster_at(cluster.scheduler_address, tmp_path):
        pass  # nothing of this batch needs it


def test_a_killed_worker_costs_nothing_but_time(cluster, song, local, tmp_path: Path) -> None:
    killed: list[int] = []
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        pids = client.run(os.getpid)

        def kill_one(job: object, event: object) -> None:
            busy = [name for name, tasks in client.processing().items() if tasks]
            if not killed and busy:
                killed.append(pids[busy[0]])
                os.kill(killed[0], signal.SIGKILL)

        with cluster_at(cluster.scheduler_address, tmp_path) as found:
            assert found.n_slots == 2
            outcomes = run_batch(plan_of(song, tmp_path), tmp_path, n_lanes=2, on_event=kill_one, render=found.render)
        assert killed
        assert killed[0] not in client.run(os.getpid).values()
    assert [outcome.error for outcome in outcomes] == [None] * 4
    assert stems_of(tmp_path) == local
    assert not list(tmp_path.rglob("attempt-*"))


def test_a_stop_reaches_the_workers_and_the_batch_goes_on_there_or_here(cluster, song, local, tmp_path: Path) -> None:
    begun: list[object] = []
    with cluster_at(cluster.scheduler_address, tmp_path) as found:
        outcomes = run_batch(
            plan_of(song, tmp_path),
            tmp_path,
            n_lanes=2,
            on_event=lambda job, event: begun.append(event) if event.kind == "progress" else None,
            stopped=lambda: bool(begun),
            render=found.render,
        )
    assert any(outcome.result is None and outcome.error is None for outcome in outcomes)
    assert list((tmp_path / ".stembridge" / "work").rglob("stop"))
    with cluster_at(cluster.scheduler_address, tmp_path) as found:  # what told them to stop then says nothing now
        ended: list[object] = []
        more = run_batch(
            plan_of(song, tmp_path),
            tmp_path,
            on_event=lambda job, event: ended.append(event) if event.kind == "done" else None,
            stopped=lambda: bool(ended),
            render=found.render,
        )
    assert any(outcome.result is not None for outcome in more)
    again = run_batch(plan_of(song, tmp_path), tmp_path)
    assert [outcome.error for outcome in again] == [None] * 4
    assert any(outcome.earlier for outcome in again)
    assert stems_of(tmp_path) == local
    assert not list(tmp_path.rglob("stop"))


def test_what_the_engine_refuses_is_told_and_not_tried_again(cluster, song, tmp_path: Path) -> None:
    gone = song.with_name("3.wav")
    with cluster_at(cluster.scheduler_address, tmp_path) as found:
        plan = plan_of(song, tmp_path)
        kept = gone.rename(gone.with_suffix(".away"))
        try:
            outcomes = run_batch(plan, tmp_path, n_lanes=2, render=found.render)
        finally:
            kept.rename(gone)
    assert [outcome.error and outcome.error[0] for outcome in outcomes] == [None, None, None, "file_not_found"]


def refusal(address: str, out: Path) -> StembridgeError:
    with pytest.raises(StembridgeError) as caught, cluster_at(address, out) as found:
        assert isinstance(found, Cluster)
    assert caught.value.code == "cluster_failed"
    return caught.value


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://x"])
def test_no_scheduler_is_said(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.batch.cluster.CONNECT_S", 1.0)
    assert address in refusal(address, tmp_path).text


def test_a_cluster_without_workers_is_said(tmp_path: Path) -> None:
    with distributed.LocalCluster(n_workers=0, processes=True, dashboard_address=None) as empty:
        assert "no workers" in refusal(empty.scheduler_address, tmp_path).text


def test_workers_that_differ_are_named(cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        deadline_s = time.monotonic() + LIMIT_S
        while len(client.scheduler_info()["workers"]) < 2:  # one was killed above and comes back
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
    monkeypatch.setattr("bridge.batch.cluster.stembridge_version", lambda: "0.0.0-other")
    assert "0.0.0-other" in refusal(cluster.scheduler_address, tmp_path).text


def test_workers_with_gpus_take_a_job_for_each(cluster, tmp_path: Path) -> None:
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=True, dashboard_address=None, resources={"GPU": 2}
        ) as gpus,
        cluster_at(gpus.scheduler_address, tmp_path) as found,
    ):
        assert found.n_slots == 2
