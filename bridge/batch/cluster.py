"""A batch's jobs on a Dask cluster: for sessions that outgrow one machine. Audio travels on shared storage, not here.

Each job is rendered by one worker into a folder of its own attempt, and what it made is moved to the job's folder from
this side. So a worker that dies, or is believed dead and still writes, disturbs nobody; Dask hands its job to another.
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bridge.batch.memory import STATE
from bridge.batch.run import Render, render_with_engine
from bridge.plugins.places import host_version
from engine import models
from engine.errors import Cancelled, StembridgeError, internal
from engine.request import Progress, Separation, SeparationRequest
from engine.separate import stembridge_version
from engine.stems import file_errors

if TYPE_CHECKING:
    from distributed import Client

CONNECT_S: Final = 10.0
LOOK_S: Final = 0.1
"""How often a lane looks whether its job is done or was stopped."""
TOLD_S: Final = 0.2
"""A worker tells progress and looks for a stop at most this often: either costs a message or a look at shared disks."""
STOP: Final = "stop"
"""A file in a job's folder that tells its worker to end at the next window."""


@dataclass(frozen=True)
class Cluster:
    """A cluster that can do the batch's work."""

    render: Render
    n_slots: int
    """Jobs at once: one a worker, or one for each `GPU` resource where workers name any."""


@contextmanager
def cluster_at(address: str, out_dir: Path, *, with_plugins: bool = False) -> Iterator[Cluster]:
    """The Dask cluster whose scheduler is at `address` (`tcp://host:8786`), checked: every worker has this version of
    Stembridge and the same models, and sees `out_dir`; `with_plugins` also the same host for them.

    Raises `StembridgeError`: `runtime_missing` without Dask, `cluster_failed` with what is wrong with which worker.
    """
    client = _connect(address)
    try:
        slots = _slots(client, address)
        _check_workers(client, out_dir, with_plugins)
        lanes = _Lanes(client, slots, f"stembridge-{secrets.token_hex(8)}")
        client.subscribe_topic(lanes.topic, lanes.heard)
        try:
            yield Cluster(lanes.render, len(slots))
        finally:
            client.unsubscribe_topic(lanes.topic)
    finally:
        client.close()


def _connect(address: str) -> Client:
    try:
        from distributed import Client
    except ImportError as e:
        raise StembridgeError(
            "runtime_missing", "Dask is not installed here.", "Install it with: pip install 'stembridge[cluster]'."
        ) from e
    try:
        return Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as e:
        raise StembridgeError(
            "cluster_failed",
            f"No Dask scheduler answers at {address!r}: {e}.",
            "Start one with `dask scheduler` and give its address, such as tcp://192.0.2.1:8786.",
        ) from e


def _slots(client: Client, address: str) -> list[tuple[str, bool]]:
    """Where jobs can run: (worker's address, whether a GPU is claimed), once for each job it may have at once."""
    workers: Mapping[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
    if not workers:
        raise StembridgeError(
            "cluster_failed", f"The scheduler at {address} has no workers.", f"Start some with `dask worker {address}`."
        )
    gpus = {name: int(worker.get("resources", {}).get("GPU", 0)) for name, worker in workers.items()}
    if any(gpus.values()):
        return [(name, True) for name, count in gpus.items() for _ in range(count)]
    return [(name, False) for name in workers]


def _check_workers(client: Client, out_dir: Path, with_plugins: bool) -> None:
    """Refuse before the first job what would fail, or differ, in every one."""
    probe = out_dir / STATE / f"seen-{secrets.token_hex(8)}"
    with file_errors(out_dir):
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
    try:
        told: dict[str, Any] = client.run(facts_here, str(probe), on_error="return")
    finally:
        probe.unlink(missing_ok=True)
    here = facts_here(str(probe))
    for name, facts in told.items():
        if isinstance(facts, BaseException):
            what = f"cannot run Stembridge: {type(facts).__name__}: {facts}"
        elif not facts["sees"]:
            what = f"does not see the output folder {out_dir}"
        elif facts["version"] != here["version"]:
            what = f"has Stembridge {facts['version']}, and this machine {here['version']}"
        elif facts["models"] != here["models"]:
            what = f"has the models {_listed(facts['models'])}, and this machine {_listed(here['models'])}"
        elif with_plugins and facts["host"] != here["host"]:
            theirs, ours = (f"pedalboard {each['host']}" if each["host"] else "no pedalboard" for each in (facts, here))
            what = f"has {theirs}, and this machine {ours}"
        else:
            continue
        raise StembridgeError(
            "cluster_failed",
            f"The worker {name} {what}.",
            "Workers need the same Stembridge, models and plugins as this machine, and storage under the same paths.",
        )


def _listed(found: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({digest[:8]})" for name, digest in sorted(found.items())) or "none"


def facts_here(probe: str) -> dict[str, Any]:
    """What a worker says of itself; runs on the worker."""
    found = {name: bundle.weights_sha256 for name, bundle in models.installed().items()}
    return {"version": stembridge_version(), "sees": Path(probe).exists(), "models": found, "host": host_version()}


@dataclass
class _Lanes:
    """This side of the running jobs. `render` is called by several lanes, each from a thread of its own."""

    client: Client
    slots: Sequence[tuple[str, bool]]
    topic: str
    _told: dict[str, Progress] = field(default_factory=dict)
    """The newest progress of each running job."""
    _place: dict[int, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def heard(self, event: tuple[float, Mapping[str, Any]]) -> None:
        told = event[1]
        if told["key"] in self._told:
            self._told[told["key"]] = Progress(told["fraction"], told["stage"], told["eta_s"])

    def render(
        self,
        request: SeparationRequest,
        shelf: models.Shelf,
        on_progress: Callable[[Progress], None],
        cancelled: Callable[[], bool],
        waiting: Sequence[SeparationRequest],
    ) -> Separation:
        """`bridge.batch.run.Render`. A clip's prompts come through one lane, so they meet the worker that heard it."""
        with self._lock:
            worker, gpu = self.slots[self._place.setdefault(threading.get_ident(), len(self._place)) % len(self.slots)]
        key = secrets.token_hex(8)
        self._told[key] = Progress(0.0, "waiting", None)
        future = self.client.submit(
            render_there,
            request.to_dict(),
            [other.to_dict() for other in waiting],
            key,
            self.topic,
            pure=False,
            workers=[worker],
            allow_other_workers=True,
            resources={"GPU": 1} if gpu else None,
        )
        try:
            last = None
            while not future.done():
                if cancelled():
                    raise Cancelled
                if (told := self._told[key]) is not last:
                    last = told
                    on_progress(told)
                time.sleep(LOOK_S)
            return _brought_home(_result(future), request.out_dir)
        except Cancelled:
            with file_errors(request.out_dir):
                (request.out_dir / STOP).touch()
            future.cancel()
            raise
        finally:
            del self._told[key]


def _result(future: Any) -> Separation:
    """What the worker made. Raises the worker's own `StembridgeError`, or `cluster_failed`."""
    from distributed import KilledWorker
    from distributed.client import FutureCancelledError

    try:
        told = future.result()
    except KilledWorker as e:
        raise StembridgeError(
            "cluster_failed", f"Every worker that took the job died: {e}.", "See the workers' logs; memory is a guess."
        ) from e
    except FutureCancelledError as e:
        raise StembridgeError(
            "cluster_failed", f"The cluster gave the job up: {e}.", "Is the scheduler still running?"
        ) from e
    if "code" in told:
        if told["code"] == "cancelled":
            raise Cancelled
        raise StembridgeError(told["code"], told["text"], told["remedy"])
    return Separation.from_dict(told)


def _brought_home(made: Separation, folder: Path) -> Separation:
    """The attempt's files moved into the job's folder, and what other attempts left removed."""
    with file_errors(folder):
        paths = {name: getattr(made, name) for name in ("target", "residual", "manifest")}
        moved = {name: path and folder / path.name for name, path in paths.items()}
        for name, path in paths.items():
            if path is not None:
                os.replace(path, moved[name])
        for attempt in folder.glob("attempt-*"):
            shutil.rmtree(attempt, ignore_errors=True)
    return replace(made, **moved)


_SHELVES: Final = threading.local()


def render_there(asked: dict[str, Any], waiting: list[dict[str, Any]], key: str, topic: str) -> dict[str, Any]:
    """One job; runs on a worker. Answers a `Separation` as plain values, or the error as `code`, `text`, `remedy`: what
    the engine refuses is no reason for Dask to try again."""
    from distributed import get_worker

    worker = get_worker()
    request = SeparationRequest.from_dict(asked)
    attempt = request.out_dir / f"attempt-{secrets.token_hex(8)}"
    told_s, looked_s, stop = 0.0, 0.0, False

    def tell(progress: Progress) -> None:
        nonlocal told_s
        if time.monotonic() - told_s >= TOLD_S:
            told_s = time.monotonic()
            facts = {"fraction": progress.fraction, "stage": progress.stage, "eta_s": progress.eta_s}
            worker.log_event(topic, {"key": key, **facts})

    def stopped() -> bool:
        nonlocal looked_s, stop
        if not stop and time.monotonic() - looked_s >= TOLD_S:
            looked_s = time.monotonic()
            stop = (request.out_dir / STOP).exists() or not attempt.exists()
        return stop

    try:
        with file_errors(request.out_dir):
            attempt.mkdir()
        others = [SeparationRequest.from_dict(other) for other in waiting]
        if not hasattr(_SHELVES, "shelf"):
            _SHELVES.shelf = models.Shelf()
        inside = replace(request, out_dir=attempt)
        return render_with_engine(inside, _SHELVES.shelf, tell, stopped, others).to_dict()
    except Exception as e:  # noqa: BLE001  (it is told whole to the other side, which raises it)
        shutil.rmtree(attempt, ignore_errors=True)
        error = e if isinstance(e, StembridgeError) else internal(e)
        return {"code": error.code, "text": error.text, "remedy": error.remedy}
