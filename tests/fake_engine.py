"""A server with a real queue and journal, whose separations a test steers: no audio, no model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bridge.asking.intake import to_prefetch, to_request
from bridge.asking.paths import PathPolicy
from bridge.asking.presets import load_presets
from bridge.handlers import Backend, Facts
from bridge.osc.server import OscServer
from bridge.osc.sockets import bind
from engine.errors import Cancelled, StembridgeError
from engine.jobs.job import JobEvent
from engine.jobs.journal import Journal
from engine.jobs.queue import JobQueue
from engine.request import Draft, Progress, Separation, SeparationRequest

LIMIT_S = 60.0
"""How long a test waits for what must happen; never how long it takes."""


NOTE = "It takes all voices together."
"""What the made-up model says of its stems."""


@dataclass
class Rehearsal:
    """A `run` for the queue: reports progress, then waits while `hold` is cleared, and says what it did."""

    hold: threading.Event = field(default_factory=threading.Event)
    ran: list[SeparationRequest] = field(default_factory=list)
    n_progress: int = 3
    fails: StembridgeError | Exception | None = None
    started: threading.Event = field(default_factory=threading.Event)
    draft: Draft | None = None
    """Told of before it waits."""
    more_drafts: list[Draft] = field(default_factory=list)
    """Told of after that one."""

    def __post_init__(self) -> None:
        self.hold.set()

    def __call__(
        self, request: SeparationRequest, on_progress: Callable[[Progress], None], cancelled: Callable[[], bool]
    ) -> Separation:
        self.ran.append(request)
        for n in range(self.n_progress):
            on_progress(Progress(n / self.n_progress, "separating", None))
        if self.draft is not None:
            for draft in (self.draft, *self.more_drafts):
                on_progress(Progress(0.9, "refining", None, draft))
        self.started.set()
        while not self.hold.wait(0.01):
            if cancelled():
                raise Cancelled
        if cancelled():
            raise Cancelled
        if self.fails is not None:
            raise self.fails
        stem = request.out_dir / (request.name or "stem")
        paths = (Path(f"{stem}.target.wav"), Path(f"{stem}.residual.wav"), Path(f"{stem}.json"))
        return Separation(*paths, 48_000, 2, 480_000, -140.5, "fake", "fake", 1, 0, 0.1, note=NOTE)


@dataclass
class FakeEngine:
    """What a test has in hand."""

    server: OscServer
    backend: Backend
    queue: JobQueue
    run: Rehearsal
    source: Path
    events: list[JobEvent]
    warmed: list[str]

    @property
    def port(self) -> int:
        return self.server.port


class NoSessions:
    """A desk that takes any session and never renders it."""

    def submit(self, path: str, fields: Mapping[str, Any], client: str) -> str:
        return "s1"

    def cancel(self, session_id: str) -> bool:
        return False

    def cancel_all(self) -> int:
        return 0


def fake_backend(queue: JobQueue, folder: Path, warmed: list[str] | None = None) -> Backend:
    """All but the queue is made up; `folder` is the only place to read and `folder/out` to write."""
    policy = PathPolicy((folder.resolve(),), folder / "out")

    def check(request: SeparationRequest) -> None:
        if request.prompt == "didgeridoo":
            raise StembridgeError("unsupported_prompt", "The model does not know 'didgeridoo'.", "Ask for vocals.")
        if request.prompt == "defect":
            raise ZeroDivisionError("a defect")

    return Backend(
        queue=queue,
        sessions=NoSessions(),
        to_request=lambda fields, preview: to_request(fields, policy, preview=preview),
        check=check,
        facts=lambda: Facts(("fake", "other"), "fake", "cpu", 44_100, {"max_spans": 256}),
        presets=load_presets,
        prefetch=lambda fields: (warmed if warmed is not None else []).append(
            str(to_prefetch(fields, lambda asked: to_request(asked, policy)).source[0])
        ),
        warm=(warmed if warmed is not None else []).append,
        unload=(warmed if warmed is not None else []).append,
        version="1.2.3",
    )


@contextmanager
def fake_engine(
    folder: Path, *, hosts: tuple[str, ...] = ("127.0.0.1",), journal: Path | None = None
) -> Iterator[FakeEngine]:
    """A running server for as long as the block runs."""
    source = folder / "song.wav"
    source.write_bytes(b"RIFF")
    run, events, warmed = Rehearsal(), [], []
    told: list[Callable[[JobEvent], None]] = [events.append]

    def tell(event: JobEvent) -> None:
        for listener in told:
            listener(event)

    with Journal(journal) as opened, JobQueue(run, opened, on_event=tell) as queue:
        backend = fake_backend(queue, folder, warmed)
        with OscServer(backend, bind(hosts)) as server:
            told.append(server.notify)
            try:
                yield FakeEngine(server, backend, queue, run, source, events, warmed)
            finally:
                run.hold.set()
