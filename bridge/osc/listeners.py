"""Who hears of a job: the client that submitted it, and all who subscribed."""

from __future__ import annotations

import ipaddress
import json
import logging
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from bridge.api.protocol import TOPICS, Topic, Value
from bridge.osc.transport import Peer
from engine.errors import StembridgeError

MAX_SUBSCRIPTIONS: Final = 64
PROGRESS_INTERVAL_S: Final = 0.1
"""Progress events of one job are at least this far apart on the wire."""
_RUN: Final = secrets.token_hex(4)
"""Marks this run of the engine: a TCP connection does not outlive it, a UDP address does."""

logger = logging.getLogger(__name__)


def client_text(peer: Peer, rid: str) -> str:
    """What the journal keeps of a client, so that it hears of its job after a restart too; see `peer_of`."""
    where: dict[str, Any] = {"via": peer.via, "host": peer.host, "port": peer.port, "rid": rid}
    if peer.via == "tcp":
        where |= {"serial": peer.serial, "run": _RUN}
    return json.dumps(where)


def peer_of(client: str) -> Peer | None:
    """The client of a job by its journaled text; None when it did not come over OSC or its connection is gone."""
    try:
        where = json.loads(client)
        if where["via"] == "udp":
            return Peer("udp", str(where["host"]), int(where["port"]))
        if where["via"] == "tcp" and where["run"] == _RUN:
            return Peer("tcp", str(where["host"]), int(where["port"]), int(where["serial"]))
    except (ValueError, KeyError, TypeError):
        return None  # some other client's text, opaque to us by contract
    return None


def udp_peer(host: str, port: int, *, is_own: Callable[[str, int], bool]) -> Peer:
    """The address a client wants events at. Raises `StembridgeError` (`bad_value`)."""
    try:
        address = ipaddress.ip_address("127.0.0.1" if host.lower() == "localhost" else host)
    except ValueError as e:
        raise StembridgeError("bad_value", f"The host is {host[:80]!r}.", "Use an IP address or localhost.") from e
    if not address.is_loopback:
        raise StembridgeError(
            "bad_value",
            f"The host {address} is another machine's.",
            "Subscribe an address of this machine (127.0.0.1 or ::1).",
        )
    if not 1 <= port <= 65_535 or is_own(str(address), port):
        raise StembridgeError("bad_value", f"The port is {port}.", "Use the port your program listens on.")
    return Peer("udp", str(address), port)


class Listeners:
    """The subscriptions. Used by the server's thread alone."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._topics: dict[Peer, frozenset[Topic]] = {}
        self._told_s: dict[str, float] = {}
        """When each running job's progress was last told."""

    def add(self, listener: Peer, topics: Iterable[Value]) -> None:
        """Subscribes; a second time replaces the topics and counts as new.

        Beyond `MAX_SUBSCRIPTIONS` the oldest over UDP goes, where a program may have ended without a word; a TCP
        client's goes with its connection. Raises `StembridgeError` (`bad_value`; `too_long` when all are over TCP).
        """
        chosen = {str(topic) for topic in topics} or set(TOPICS) - {"reply"}
        if wrong := chosen - set(TOPICS):
            raise StembridgeError(
                "bad_value", f"There is no topic {sorted(wrong)[0][:60]!r}.", f"The topics are {', '.join(TOPICS)}."
            )
        if listener not in self._topics and len(self._topics) >= MAX_SUBSCRIPTIONS:
            oldest = next((peer for peer in self._topics if peer.via == "udp"), None)
            if oldest is None:
                raise StembridgeError("too_long", f"{MAX_SUBSCRIPTIONS} programs have subscribed.", "Unsubscribe some.")
            logger.info("The subscription of %s:%d gives way to a new one.", oldest.host, oldest.port)
            del self._topics[oldest]
        self._topics.pop(listener, None)
        self._topics[listener] = frozenset(topic for topic in TOPICS if topic in chosen)

    def remove(self, listener: Peer) -> None:
        """Ends a subscription; harmless without one."""
        self._topics.pop(listener, None)

    def of_topic(self, topic: Topic, first: Peer | None) -> list[Peer]:
        """Where a message goes, each once: `first` (the client concerned), then the subscribers of the topic."""
        peers = [] if first is None else [first]
        peers += [peer for peer, topics in self._topics.items() if topic in topics and peer not in peers]
        return peers

    def progress_due(self, job: str) -> bool:
        """Whether a job's progress may be told again now."""
        now_s = self._now_s()
        if now_s - self._told_s.get(job, -PROGRESS_INTERVAL_S) < PROGRESS_INTERVAL_S:
            return False
        self._told_s[job] = now_s
        return True

    def ended(self, job: str) -> None:
        """Forgets a job's progress."""
        self._told_s.pop(job, None)
