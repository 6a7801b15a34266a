"""The OSC server: one thread takes requests, answers each at once, and passes the queue's events on.

A request never waits for a separation: a submit is decoded, checked, journaled and acknowledged. The worker's events
come in through `notify` and leave through the same thread, so a client hears its `ack` before the job's first event.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, deque
from typing import Final

from bridge.api import telling
from bridge.api.protocol import Event, Request
from bridge.api.requests import Again, Session, Submit
from bridge.batch.run import is_part
from bridge.handlers import Backend, Call, handle
from bridge.osc import codec
from bridge.osc import packets as osc
from bridge.osc.listeners import Listeners, peer_of
from bridge.osc.sockets import Bound
from bridge.osc.transport import Peer, Transport
from engine.errors import StembridgeError, internal
from engine.jobs.job import JobEvent

MAX_REMEMBERED: Final = 20_000
REMEMBERED_S: Final = 60.0
"""How many submits' acknowledgements are kept, and how long, to answer a repeated datagram with the same."""

_REPEATABLE: Final = (Submit, Again, Session)
"""What makes a job, and must make only one when its datagram comes twice."""

logger = logging.getLogger(__name__)


class OscServer:
    """Serves the API on its own thread between `start` and `close`; a context manager."""

    def __init__(self, backend: Backend, bound: Bound) -> None:
        """Takes over the sockets of `bound`."""
        self._backend = backend
        self._listeners = Listeners()
        self._events: deque[JobEvent | tuple[Event, str]] = deque()
        self._active: set[str] = set()
        self._remembered: OrderedDict[tuple[Peer, str], tuple[int, float, bytes]] = OrderedDict()
        self._transport = Transport(
            bound,
            on_packet=self._on_packet,
            on_gone=self._listeners.remove,
            on_wake=self._tell_events,
            on_stream_error=lambda e: codec.encode(telling.error("", e)),
        )
        self.port = bound.port
        self._thread = threading.Thread(target=self._transport.run, name="stembridge-osc", daemon=True)

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stops answering and closes the sockets; harmless when never started or closed before."""
        self._transport.stop()
        if self._thread.is_alive():
            self._thread.join()
        elif self._thread.ident is None:
            self._transport.run()  # returns at once and closes what was bound

    def __enter__(self) -> OscServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def notify(self, event: JobEvent) -> None:
        """Takes a queue event from any thread, to be told soon."""
        self._events.append(event)
        self._transport.wake()

    def tell(self, message: Event, client: str) -> None:
        """Takes an event from any thread, to be told soon to a client (its journaled text) and to who subscribed."""
        self._events.append((message, client))
        self._transport.wake()

    def _on_packet(self, peer: Peer, packet: bytes) -> None:
        """Everything that arrives: each request in it is answered exactly once; no exception leaves."""
        if peer.via == "udp" and self._transport.is_own(peer.host, peer.port):
            return  # our own datagram, sent back with a forged source: answering would never end
        try:
            for message in osc.messages(packet):
                self._answer(peer, message)
        except osc.NotForUs as e:
            logger.debug("Ignored from %s:%d: %s.", peer.host, peer.port, e)
        except osc.Rejected as e:
            self._reply(peer, codec.encode(telling.error(e.rid, e)))

    def _answer(self, peer: Peer, message: bytes) -> None:
        rid = ""
        try:
            request = codec.decode_request(message)
            rid = request.rid
            if (answer := self._recall(peer, request, message)) is None:
                answer = codec.encode(handle(self._call(peer), request))
                self._remember(peer, request, message, answer)
        except osc.NotForUs as e:
            logger.debug("Ignored from %s:%d: %s.", peer.host, peer.port, e)
            return
        except StembridgeError as e:
            rid = e.rid if isinstance(e, osc.Rejected) else rid
            answer = codec.encode(telling.error(rid, e))
        except Exception as e:
            logger.exception("A request from %s:%d failed.", peer.host, peer.port)
            answer = codec.encode(telling.error(rid, internal(e)))
        self._reply(peer, answer)

    def _call(self, peer: Peer) -> Call:
        is_own = self._transport.is_own
        return Call(peer, self._backend, self._listeners, is_own, bool(self._active))

    def _reply(self, peer: Peer, answer: bytes) -> None:
        for listener in self._listeners.of_topic("reply", peer):
            self._transport.send(listener, answer)

    # A datagram may arrive twice, or be sent again because the answer was lost: it must not become a second job.

    def _recall(self, peer: Peer, request: Request, message: bytes) -> bytes | None:
        if not isinstance(request, _REPEATABLE) or (peer, request.rid) not in self._remembered:
            return None
        content, at_s, answer = self._remembered[peer, request.rid]
        fresh = time.monotonic() - at_s < REMEMBERED_S  # later, someone else may send from that port
        return answer if fresh and content == hash(message) else None

    def _remember(self, peer: Peer, request: Request, message: bytes, answer: bytes) -> None:
        if isinstance(request, _REPEATABLE):
            self._remembered[peer, request.rid] = (hash(message), time.monotonic(), answer)
            if len(self._remembered) > MAX_REMEMBERED:
                self._remembered.popitem(last=False)

    def _tell_events(self) -> None:
        while self._events:
            event = self._events.popleft()
            try:
                if isinstance(event, JobEvent):
                    self._tell_job(event)
                else:
                    self._tell(*event)
            except Exception:
                logger.exception("The event %s could not be told.", event)

    def _tell(self, message: Event, client: str) -> None:
        if message.topic == "progress" and not self._listeners.progress_due(message.job):
            return
        if message.topic in ("done", "failed"):
            self._listeners.ended(message.job)
        packet = codec.encode(message)
        for listener in self._listeners.of_topic(message.topic, peer_of(client)):
            self._transport.send(listener, packet)

    def _tell_job(self, event: JobEvent) -> None:
        job = event.job
        if event.kind in ("queued", "progress", "draft"):
            self._active.add(job.id)
            if event.kind == "progress" and not self._listeners.progress_due(job.id):
                return
        else:
            self._active.discard(job.id)
            self._listeners.ended(job.id)
        if is_part(job.request):
            return  # the session tells it, with the place its stems end up
        packet = codec.encode(telling.event_message(event))
        for listener in self._listeners.of_topic(event.kind, peer_of(job.client)):
            self._transport.send(listener, packet)
