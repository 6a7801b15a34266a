"""What each request does: one function a request, from its message to its answer or a `StembridgeError`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Protocol

from bridge.api import protocol as api
from bridge.api import requests, telling
from bridge.api.forms import from_options, from_submit
from bridge.api.session_fields import fields_of
from bridge.asking.again import AGAIN_FIELDS, again
from bridge.asking.presets import Preset, find_preset
from bridge.batch.run import is_part
from bridge.osc.listeners import Listeners, client_text, udp_peer
from bridge.osc.transport import Peer
from bridge.plugins.chain import described
from engine.errors import StembridgeError
from engine.jobs.job import INTERACTIVE_PRIORITY, PREVIEW_PRIORITY, Job
from engine.request import SeparationRequest

_MAX_PAGE: Final = 2**24
_LOOKED_BACK: Final = 1_000
"""Jobs looked through for one that is no part of a session."""


class Queue(Protocol):
    """What is asked of `engine.jobs.queue.JobQueue`."""

    def submit(self, request: SeparationRequest, *, priority: int = ..., client: str = ...) -> Job: ...
    def cancel(self, job_id: str) -> Job: ...
    def cancel_all(self) -> list[Job]: ...
    def job(self, job_id: str) -> Job: ...
    def jobs(self, offset: int = ..., limit: int = ...) -> list[Job]: ...


class Sessions(Protocol):
    """What is asked of `bridge.batch.desk.SessionDesk`."""

    def submit(self, path: str, fields: Mapping[str, Any], client: str) -> str: ...
    def cancel(self, session_id: str) -> bool: ...
    def cancel_all(self) -> int: ...


@dataclass(frozen=True)
class Facts:
    """What `info` tells of the engine."""

    models: tuple[str, ...]
    runtime: str
    device: str
    rate_hz: int
    limits: Mapping[str, int | float]
    reason: str = ""
    """Why the models that are open run on what they run on."""


@dataclass(frozen=True)
class Backend:
    """All the server can do, as plain callables that return at once; wired in `bridge.serve`."""

    queue: Queue
    sessions: Sessions
    to_request: Callable[[Mapping[str, Any], bool], SeparationRequest]
    """Fields, and whether it is a preview → the request, or `StembridgeError`."""
    check: Callable[[SeparationRequest], object]
    """Raises `StembridgeError` when no installed model can answer the request; reads no audio."""
    facts: Callable[[], Facts]
    presets: Callable[[], Mapping[str, Preset]]
    prefetch: Callable[[Mapping[str, Any]], object]
    """Fields of a submit, perhaps without a prompt: has their region encoded in spare time, or `StembridgeError`."""
    warm: Callable[[str], object]
    """Begins to load a model ("" for the preferred one) and returns. Raises `StembridgeError` (`unknown_model`)."""
    unload: Callable[[str], object]
    """Gives a model's memory back ("" for all). Raises `StembridgeError` (`unknown_model`)."""
    version: str


@dataclass(frozen=True)
class Call:
    """Who asks, and what the server has to answer with."""

    peer: Peer
    backend: Backend
    listeners: Listeners
    is_own: Callable[[str, int], bool]
    """Whether a host and port are the server's own."""
    busy: bool


def handle(call: Call, request: api.Request) -> api.Message:
    """Carries a request out. Raises `StembridgeError` with the codes its message class names."""
    return HANDLERS[type(request)](call, request)


def _ping(call: Call, request: requests.Ping) -> api.Message:
    return api.Pong(request.rid, call.backend.version, api.API, "busy" if call.busy else "idle")


def _info(call: Call, request: requests.Info) -> api.Message:
    facts = call.backend.facts()
    names, limits = ",".join(facts.models), json.dumps(dict(facts.limits))
    version = call.backend.version
    return api.InfoAnswer(
        request.rid, version, api.API, names, facts.runtime, facts.device, facts.rate_hz, limits, facts.reason
    )


def _listener(call: Call, host: str, port: int) -> Peer:
    if not host and not port:
        return call.peer
    return udp_peer(host or call.peer.host, port, is_own=call.is_own)


def _subscribe(call: Call, request: requests.Subscribe) -> api.Message:
    call.listeners.add(_listener(call, request.host, request.port), request.topics)
    return api.Ack(request.rid, "")


def _unsubscribe(call: Call, request: requests.Unsubscribe) -> api.Message:
    call.listeners.remove(_listener(call, request.host, request.port))
    return api.Ack(request.rid, "")


def _submit(call: Call, request: requests.Submit) -> api.Message:
    preview = isinstance(request, requests.Preview)
    asked = call.backend.to_request(from_submit(request), preview)
    call.backend.check(asked)
    priority = PREVIEW_PRIORITY if preview else INTERACTIVE_PRIORITY
    job = call.backend.queue.submit(asked, priority=priority, client=client_text(call.peer, request.rid))
    return api.Ack(request.rid, job.id)


def _prefetch(call: Call, request: requests.Prefetch) -> api.Message:
    call.backend.prefetch(from_submit(request))
    return api.Ack(request.rid, "")


def _again(call: Call, request: requests.Again) -> api.Message:
    base = call.backend.queue.job(request.job) if request.job else _newest(call)
    changed = from_options(request.options, AGAIN_FIELDS)
    to_request = call.backend.to_request
    asked = again(base.request, changed, call.backend.presets, lambda fields: to_request(fields, False))
    call.backend.check(asked)
    job = call.backend.queue.submit(asked, client=client_text(call.peer, request.rid))
    return api.Ack(request.rid, job.id)


def _newest(call: Call) -> Job:
    for job in call.backend.queue.jobs(0, _LOOKED_BACK):
        if not is_part(job.request):
            return job
    raise StembridgeError("unknown_job", "There is no job yet to ask for again.", "Extract a region first.")


def _session(call: Call, request: requests.Session) -> api.Message:
    client = client_text(call.peer, request.rid)
    return api.Ack(request.rid, call.backend.sessions.submit(request.path, fields_of(request.options), client))


def _cancel(call: Call, request: requests.Cancel) -> api.Message:
    if call.backend.sessions.cancel(request.job):
        return api.Ack(request.rid, request.job)
    return api.Ack(request.rid, call.backend.queue.cancel(request.job).id)


def _cancel_all(call: Call, request: requests.CancelAll) -> api.Message:
    call.backend.sessions.cancel_all()  # first, so that none asks for its next job
    return api.CancelAllAnswer(request.rid, len(call.backend.queue.cancel_all()))


def _jobs(call: Call, request: requests.Jobs) -> api.Message:
    if not 0 <= request.page < _MAX_PAGE:
        raise StembridgeError("bad_value", f"The page is {request.page}.", "Pages begin at 0.")
    found = call.backend.queue.jobs(request.page * api.PAGE_JOBS, api.PAGE_JOBS + 1)
    page = found[: api.PAGE_JOBS]
    words = tuple(word for job in page for word in telling.row(job))
    return api.JobsAnswer(request.rid, request.page, len(found) > len(page), words)


def _job(call: Call, request: requests.JobStatus) -> api.Message:
    return telling.snapshot(request.rid, call.backend.queue.job(request.job))


def _presets(call: Call, request: requests.Presets) -> api.Message:
    presets = sorted(call.backend.presets().items())
    return api.PresetsAnswer(request.rid, tuple(word for name, preset in presets for word in (name, preset.title)))


def _preset(call: Call, request: requests.PresetShow) -> api.Message:
    preset = find_preset(request.name, call.backend.presets())
    told = [(field.name, getattr(preset, field.name)) for field in fields(preset)]
    told += [(name, described(chain)) for name, chain in (("pre", preset.pre), ("post", preset.post)) if chain]
    words = (word for key, value in told if isinstance(value, str | int | float) for word in (key, value))
    return api.PresetAnswer(request.rid, tuple(words))


def _warm(call: Call, request: requests.Warm) -> api.Message:
    call.backend.warm(request.model)
    return api.Ack(request.rid, "")


def _unload(call: Call, request: requests.Unload) -> api.Message:
    call.backend.unload(request.model)
    return api.Ack(request.rid, "")


HANDLERS: Final[dict[type[api.Request], Callable[[Call, Any], api.Message]]] = {
    requests.Ping: _ping,
    requests.Info: _info,
    requests.Subscribe: _subscribe,
    requests.Unsubscribe: _unsubscribe,
    requests.Submit: _submit,
    requests.Preview: _submit,
    requests.Prefetch: _prefetch,
    requests.Again: _again,
    requests.Session: _session,
    requests.Cancel: _cancel,
    requests.CancelAll: _cancel_all,
    requests.Jobs: _jobs,
    requests.JobStatus: _job,
    requests.Presets: _presets,
    requests.PresetShow: _preset,
    requests.Warm: _warm,
    requests.Unload: _unload,
}
