"""The running engine: journal, queue, OSC server and mailbox wired together. Prints nothing; the command line does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import platformdirs

from bridge.api.fields import MAX_RATE_HZ
from bridge.api.protocol import DEFAULT_PORT, MAX_PACKET_BYTES, PREVIEW_MAX_S
from bridge.asking.intake import to_prefetch, to_request
from bridge.asking.paths import PathPolicy, default_policy
from bridge.asking.presets import load_presets
from bridge.batch.desk import SessionDesk
from bridge.handlers import Backend, Facts
from bridge.mailbox.box import Mailbox, default_folder
from bridge.osc.server import OscServer
from bridge.osc.sockets import bind
from bridge.plugins.rendering import separate
from engine import models
from engine.cache import ResultCache
from engine.errors import StembridgeError
from engine.jobs.job import JobEvent, JobState
from engine.jobs.journal import Journal
from engine.jobs.queue import JobQueue
from engine.known import at_hand
from engine.progressive import Turn, deliver
from engine.request import (
    MAX_CONTEXT_S,
    MAX_NFE,
    MAX_PROMPT_CHARS,
    MAX_SOURCE_FILES,
    MAX_SPANS,
    Progress,
    Separation,
    SeparationRequest,
)
from engine.separate import OnProgress, hear_ahead, shares_region, solve_ahead, stembridge_version

JOURNAL_NAME: Final = "jobs.sqlite3"
SESSIONS_NAME: Final = "sessions"
MAX_WAITING: Final = 10_000
MAX_REASON_CHARS: Final = 1_000
"""Of `info`'s reasons: a datagram holds 4 kB."""
BATCH_LOOK: Final = 64
"""Jobs looked through for others of the same region."""
MAX_BATCH: Final = 8
"""Prompts followed in one batch."""

logger = logging.getLogger(__name__)


def default_state_dir() -> Path:
    """Where the journal lies when nobody says otherwise."""
    return Path(platformdirs.user_state_dir("stembridge", appauthor=False))


def default_cache_dir() -> Path:
    """Where finished results are kept when nobody says otherwise."""
    return Path(platformdirs.user_cache_dir("stembridge", appauthor=False)) / "results"


@dataclass(frozen=True)
class Settings:
    """How an engine is run."""

    port: int = DEFAULT_PORT
    """UDP and TCP; 0 takes a free one."""
    hosts: tuple[str, ...] = ("127.0.0.1",)
    policy: PathPolicy = field(default_factory=default_policy)
    state_dir: Path = field(default_factory=default_state_dir)
    cache_dir: Path = field(default_factory=default_cache_dir)
    mailbox: Path | None = field(default_factory=default_folder)
    """None for an engine without a mailbox."""
    max_waiting: int = MAX_WAITING
    preload: bool = True
    """Whether the preferred model is loaded at the start, so that the first job does not wait for it."""


@dataclass(frozen=True)
class Running:
    """An engine that answers."""

    port: int
    mailbox: Path | None
    queue: JobQueue


@contextmanager
def serving(settings: Settings) -> Iterator[Running]:
    """A whole engine for as long as the block runs. On leaving, the running job stops after its window and is run again
    at the next start, as are those that wait.

    Raises `StembridgeError`: `port_in_use`, `engine_running`, `journal_failed`, `output_not_writable`.
    """
    shelf, cache, hub = models.Shelf(), ResultCache(settings.cache_dir), Hub()
    runtimes: dict[str, str] = {}
    reasons: dict[str, str] = {}
    has_queue = threading.Event()

    def run(
        request: SeparationRequest, on_progress: Callable[[Progress], None], cancelled: Callable[[], bool]
    ) -> Separation:
        def ahead(turn: Turn, on_progress: OnProgress) -> None:
            # Prompts that wait for the same region are followed in one batch; each job then finds its own done.
            has_queue.wait()  # a job of an earlier life may run before the queue has its name
            waiting = [job.request for job in queue.jobs(0, BATCH_LOOK) if job.state is JobState.QUEUED]
            alike = [other for other in waiting if shares_region(other, request)]
            if alike:
                batch = [turn(one) for one in (request, *alike[: MAX_BATCH - 1])]
                solve_ahead(batch, shelf, on_progress=on_progress, cancelled=cancelled)

        def one(asked: SeparationRequest, on_progress: OnProgress) -> Separation:
            kept = cache if asked is request else None  # a draft would only drive results out
            return separate(asked, shelf, on_progress=on_progress, cancelled=cancelled, cache=kept)

        def made_before(asked: SeparationRequest) -> bool:
            return at_hand(asked, shelf, cancelled=cancelled, cache=cache)

        result = deliver(request, one, on_progress=on_progress, ahead=ahead, at_hand=made_before)
        runtimes[result.model] = result.runtime
        if result.model in shelf.names():  # a result delivered before may be of a model that is gone by now
            reasons[result.model] = shelf.open(result.model).why
        return result

    with ExitStack() as stack:
        # The port first: it is the quickest to say that another engine runs. Requests wait in it meanwhile.
        bound = bind(settings.hosts, settings.port)
        stack.callback(bound.close)
        port = bound.port
        journal = stack.enter_context(Journal(settings.state_dir / JOURNAL_NAME))
        queue = stack.enter_context(JobQueue(run, journal, max_waiting=settings.max_waiting, on_event=hub.take))
        has_queue.set()
        desk = SessionDesk(queue, settings.policy, settings.state_dir / SESSIONS_NAME)
        backend = _backend(settings, queue, desk, shelf, runtimes, reasons)
        server = OscServer(backend, bound)
        listeners: list[Callable[[JobEvent], None]] = [server.notify]
        if settings.mailbox is not None:
            mailbox = stack.enter_context(Mailbox(settings.mailbox, backend, port=port))
            listeners.append(mailbox.notify)
        hub.attach(listeners)
        stack.enter_context(desk.working(server.tell))
        stack.enter_context(server)
        if settings.preload:
            backend.warm("")
        yield Running(port, settings.mailbox, queue)


class Hub:
    """Passes the queue's events to several listeners, and keeps those that come before the listeners do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._early: list[JobEvent] = []
        self._listeners: Sequence[Callable[[JobEvent], None]] = ()

    def take(self, event: JobEvent) -> None:
        """The queue's `on_event`."""
        with self._lock:
            if not self._listeners:
                self._early.append(event)
            for listener in self._listeners:
                listener(event)

    def attach(self, listeners: Sequence[Callable[[JobEvent], None]]) -> None:
        """Begins to pass events on, the early ones first."""
        with self._lock:
            self._listeners = tuple(listeners)
            for event in self._early:
                for listener in self._listeners:
                    listener(event)
            self._early.clear()


def _backend(
    settings: Settings,
    queue: JobQueue,
    sessions: SessionDesk,
    shelf: models.Shelf,
    runtimes: dict[str, str],
    reasons: dict[str, str],
) -> Backend:
    """`runtimes` is what runs each model, and `reasons` why, known once it was opened. The shelf is locked while one
    loads, so the server's thread must not touch it.
    """

    def load(name: str) -> None:
        model = shelf.open(name)
        runtimes[name], reasons[name] = model.runtime, model.why

    def unload(name: str) -> None:
        for one in [name] if name else shelf.names():
            shelf.unload(one)

    def behind(work: Callable[[str], None]) -> Callable[[str], None]:
        def begin(name: str) -> None:
            if name:
                _require_installed(name)
            threading.Thread(target=_do_or_log, args=(work, name), name="stembridge-models", daemon=True).start()

        return begin

    def prefetch(fields: Mapping[str, Any]) -> None:
        request = to_prefetch(fields, lambda asked: to_request(asked, settings.policy))
        queue.when_idle(lambda cancelled: hear_ahead(request, shelf, cancelled))

    return Backend(
        queue=queue,
        sessions=sessions,
        to_request=lambda fields, preview: to_request(fields, settings.policy, preview=preview),
        check=models.choose,
        facts=lambda: _facts(settings, runtimes, reasons),
        presets=load_presets,
        prefetch=prefetch,
        warm=behind(lambda name: load(name or models.DEFAULT)),
        unload=behind(unload),
        version=stembridge_version(),
    )


def _do_or_log(work: Callable[[str], None], name: str) -> None:
    try:
        work(name)
    except StembridgeError as e:  # the job that needs the model will be told; here nobody waits for an answer
        logger.warning("The model %s: %s", name or "preferred", e)


def _require_installed(name: str) -> None:
    names = models.installed()
    if name not in names:
        raise StembridgeError(
            "unknown_model", f"There is no model {name[:60]!r}.", f"Installed: {', '.join(sorted(names)) or 'none'}."
        )


def _facts(settings: Settings, runtimes: Mapping[str, str], reasons: Mapping[str, str]) -> Facts:
    bundles = models.installed()
    preferred = bundles.get(models.DEFAULT)
    runtime, _, device = next(iter(runtimes.values()), "not loaded:not loaded").partition(":")
    return Facts(
        models=tuple(bundles),
        runtime=runtime,
        device=device.removesuffix("ExecutionProvider").lower(),
        rate_hz=int(preferred.facts["rate_hz"]) if preferred is not None else 0,
        limits={
            "max_packet_bytes": MAX_PACKET_BYTES,
            "max_prompt_chars": MAX_PROMPT_CHARS,
            "max_spans": MAX_SPANS,
            "max_source_files": MAX_SOURCE_FILES,
            "max_context_s": MAX_CONTEXT_S,
            "max_nfe": MAX_NFE,
            "max_rate_hz": MAX_RATE_HZ,
            "max_waiting": settings.max_waiting,
            "preview_max_s": PREVIEW_MAX_S,
        },
        reason=" ".join(f"{name}: {why}" for name, why in reasons.items() if why)[:MAX_REASON_CHARS],
    )
