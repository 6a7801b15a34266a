"""An engine behind the real OSC server, real queue and journal, whose stems a test can predict: half and half."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import soundfile
from fake_engine import fake_backend

from bridge.osc.server import OscServer
from bridge.osc.sockets import bind
from engine.errors import Cancelled, StembridgeError
from engine.jobs.job import JobEvent
from engine.jobs.journal import Journal
from engine.jobs.queue import JobQueue
from engine.request import Progress, Separation, SeparationRequest

HOSTS = ("127.0.0.1",)


@dataclass
class HalfEngine:
    """What a test may set and see: `hold` cleared keeps jobs waiting, `losing` deletes the stems it made."""

    port: int = 0
    hold: threading.Event = field(default_factory=threading.Event)
    losing: bool = False
    ran: list[SeparationRequest] = field(default_factory=list)
    started: threading.Event = field(default_factory=threading.Event)

    def __call__(
        self, request: SeparationRequest, on_progress: Callable[[Progress], None], cancelled: Callable[[], bool]
    ) -> Separation:
        on_progress(Progress(0.5, "separating", None))
        self.ran.append(request)
        self.started.set()
        while not self.hold.wait(0.01):
            if cancelled():
                raise Cancelled
        return self._render(request)

    def _render(self, request: SeparationRequest) -> Separation:
        samples, rate_hz = soundfile.read(request.source[0], dtype="float32", always_2d=True)
        start = round(request.start_s * rate_hz)
        end = len(samples) if request.end_s is None else round(request.end_s * rate_hz)
        mixture = samples[start:end]
        target = mixture * np.float32(0.5)
        request.out_dir.mkdir(parents=True, exist_ok=True)
        stem = request.out_dir / f"{request.source[0].stem}.{len(self.ran)}"
        paths = (Path(f"{stem}.target.wav"), Path(f"{stem}.residual.wav"), Path(f"{stem}.json"))
        for path, part in zip(paths, (target, mixture - target), strict=False):
            soundfile.write(path, part, rate_hz, subtype="FLOAT")
            if self.losing:
                path.unlink()
        paths[2].write_text(json.dumps({"prompt": request.prompt}))
        return Separation(*paths, rate_hz, mixture.shape[1], len(mixture), -140.0, "half", "half", 1, 0, 0.1, note="")


def check(request: SeparationRequest) -> None:
    if request.prompt == "tambourine":
        raise StembridgeError(
            "unsupported_prompt",
            f"The model “half” cannot separate <{request.prompt}> & more.",
            "Ask for vocals.",
        )


@contextmanager
def half_engine(folder: Path, engine: HalfEngine | None = None) -> Iterator[HalfEngine]:
    """The server runs while the block does, on `engine.port` if that is set; its journal lies in `folder`. An engine
    that was here before is taken up again with its port and its jobs. Reads and writes are allowed in `folder`.
    """
    engine = engine or HalfEngine()
    if not engine.ran:
        engine.hold.set()
    told: list[Callable[[JobEvent], None]] = []

    def tell(event: JobEvent) -> None:
        for listener in told:
            listener(event)

    with Journal(folder / "jobs.sqlite3") as journal, JobQueue(engine, journal, on_event=tell) as queue:
        backend = replace(fake_backend(queue, folder), check=check)
        with OscServer(backend, bind(HOSTS, engine.port)) as server:
            told.append(server.notify)
            engine.port = server.port
            yield engine
