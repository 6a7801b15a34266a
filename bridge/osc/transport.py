"""UDP and TCP sockets of one port, served by one thread: packets in, packets out, no meaning.

Why own sockets: python-osc's UDP servers drop datagrams above 8 kB without a word and start a thread a packet, which
loses the order; its asyncio server does not await handlers and sleeps through future time tags.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import selectors
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from bridge.osc.framing import Deframer, frame
from bridge.osc.sockets import MAX_CONNECTIONS, Bound
from engine.errors import StembridgeError

MAX_DATAGRAM_BYTES: Final = 65_535
"""More than UDP can carry, so that nothing is cut on reading."""
MAX_UNREAD_BYTES: Final = 4 * 1024 * 1024
"""What a TCP client may leave unread before it counts as gone."""
MAX_IGNORED_BYTES: Final = 1024 * 1024
"""What a client may send after its stream was refused, before it is cut off."""
_BATCH: Final = 32
_STREAM_BYTES: Final = 8_192
"""Datagrams and stream bytes taken from one socket before the others have their turn."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Peer:
    """A client: where its packets come from and where its answers go."""

    via: Literal["udp", "tcp"]
    host: str
    port: int
    serial: int = 0
    """Tells TCP connections apart that had the same port one after the other; 0 for UDP."""


@dataclass
class _Connection:
    peer: Peer
    socket: socket.socket
    deframer: Deframer = field(default_factory=Deframer)
    unsent: bytearray = field(default_factory=bytearray)
    closing: bool = False
    """What still arrives is ignored; closed when the client closes."""
    n_ignored: int = 0
    """Bytes."""


class Transport:
    """The sockets and the loop that serves them.

    `on_packet(peer, packet)` and `on_gone(peer)` are called in the loop's thread; so must `send` be. Everything else
    comes in through `wake`, which any thread may call: it makes the loop call `on_wake`.
    """

    def __init__(
        self,
        bound: Bound,
        *,
        on_packet: Callable[[Peer, bytes], None],
        on_gone: Callable[[Peer], None],
        on_wake: Callable[[], None],
        on_stream_error: Callable[[StembridgeError], bytes],
    ) -> None:
        """Takes over the sockets of `bound`: they are closed when `run` returns."""
        self._on_packet, self._on_gone, self._on_wake = on_packet, on_gone, on_wake
        self._on_stream_error = on_stream_error
        self._connections: dict[Peer, _Connection] = {}
        self._serials = itertools.count(1)
        self._stopping = False
        self._udp, self._listeners = bound.udp, bound.listeners
        self._addresses = {s.getsockname()[:2] for s in self._udp.values()}
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        for one in (self._wake_in, self._wake_out, *self._udp.values(), *self._listeners):
            one.setblocking(False)
        self._selector.register(self._wake_in, selectors.EVENT_READ, lambda mask: self._woken())
        for udp in self._udp.values():
            self._selector.register(udp, selectors.EVENT_READ, lambda mask, s=udp: self._read_datagrams(s))
        for listener in self._listeners:
            self._selector.register(listener, selectors.EVENT_READ, lambda mask, s=listener: self._accept(s))

    def run(self) -> None:
        """Serves until `stop`, then closes every socket."""
        try:
            while not self._stopping:
                for key, mask in self._selector.select():
                    try:
                        key.data(mask)
                    except Exception:  # a defect of ours must not take the other clients' server away
                        logger.exception("A socket could not be served; the server goes on.")
        finally:
            for connection in list(self._connections.values()):
                self._drop(connection)
            for one in (*self._udp.values(), *self._listeners, self._wake_in, self._wake_out):
                one.close()
            self._selector.close()

    def stop(self) -> None:
        """Makes `run` return; any thread may call it."""
        self._stopping = True
        self.wake()

    def wake(self) -> None:
        """Makes the loop call `on_wake` soon; any thread may call it."""
        with contextlib.suppress(BlockingIOError, OSError):  # full: it is awake already; closed: nobody listens
            self._wake_out.send(b"\0")

    def is_own(self, host: str, port: int) -> bool:
        """Whether an address is our own socket's: what is sent there would come back for ever."""
        return (host, port) in self._addresses

    def send(self, peer: Peer, packet: bytes) -> bool:
        """Sends, or queues for a TCP client; False when the client is gone or cannot be reached."""
        if peer.via == "tcp":
            connection = self._connections.get(peer)
            if connection is None or connection.closing:
                return False
            connection.unsent += frame(packet)
            if len(connection.unsent) > MAX_UNREAD_BYTES:
                logger.info("TCP client %s:%d does not read; it is dropped.", peer.host, peer.port)
                self._drop(connection)
                return False
            self._write(connection)
            return peer in self._connections
        udp = self._udp.get(socket.AF_INET6 if ":" in peer.host else socket.AF_INET)
        if udp is None:
            return False
        try:
            udp.sendto(packet, (peer.host, peer.port))
        except OSError as e:  # BlockingIOError too: the datagram is lost, as datagrams may be
            logger.info("Nothing could be sent to %s:%d: %s.", peer.host, peer.port, e)
            return False
        return True

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_in.recv(65_536)
        self._on_wake()

    def _read_datagrams(self, udp: socket.socket) -> None:
        for _ in range(_BATCH):
            try:
                packet, address = udp.recvfrom(MAX_DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except OSError as e:  # Windows reports an earlier answer's "port unreachable" here; the client is gone
                logger.debug("UDP receive: %s.", e)
                continue
            self._on_packet(Peer("udp", address[0], address[1]), packet)

    def _accept(self, listener: socket.socket) -> None:
        try:
            accepted, address = listener.accept()
        except OSError as e:  # gone before it was accepted, or no descriptor left
            logger.info("A TCP connection could not be accepted: %s.", e)
            return
        if len(self._connections) >= MAX_CONNECTIONS:
            logger.warning("More than %d TCP connections; %s is refused.", MAX_CONNECTIONS, address)
            accepted.close()
            return
        accepted.setblocking(False)
        with contextlib.suppress(OSError):
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(Peer("tcp", address[0], address[1], next(self._serials)), accepted)
        self._connections[connection.peer] = connection
        self._selector.register(accepted, selectors.EVENT_READ, lambda mask: self._serve(connection, mask))

    def _serve(self, connection: _Connection, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._write(connection)
        if not mask & selectors.EVENT_READ or connection.peer not in self._connections:
            return
        try:
            received = connection.socket.recv(_STREAM_BYTES)
        except BlockingIOError:
            return
        except OSError as e:
            logger.debug("TCP client %s:%d: %s.", connection.peer.host, connection.peer.port, e)
            received = b""
        if not received:
            self._drop(connection)
        elif connection.closing:
            connection.n_ignored += len(received)
            if connection.n_ignored > MAX_IGNORED_BYTES:
                self._drop(connection)
        else:
            self._take(connection, received)

    def _take(self, connection: _Connection, received: bytes) -> None:
        refusal = b""
        try:
            packets = connection.deframer.feed(received)
        except StembridgeError as e:
            packets = connection.deframer.ready
            refusal = self._on_stream_error(e)
        for packet in packets:
            self._on_packet(connection.peer, packet)
        if refusal and self.send(connection.peer, refusal):
            connection.closing = True
            self._write(connection)

    def _write(self, connection: _Connection) -> None:
        try:
            sent = connection.socket.send(connection.unsent) if connection.unsent else 0
        except BlockingIOError:
            sent = 0
        except OSError as e:
            logger.debug("TCP client %s:%d: %s.", connection.peer.host, connection.peer.port, e)
            self._drop(connection)
            return
        del connection.unsent[:sent]
        if connection.closing and not connection.unsent:
            # Closing outright while the client still sends would reset the connection and lose the answer on its way.
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_WR)
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.unsent else 0)
        key = self._selector.get_key(connection.socket)
        if key.events != wanted:
            self._selector.modify(connection.socket, wanted, key.data)

    def _drop(self, connection: _Connection) -> None:
        if self._connections.pop(connection.peer, None) is not None:
            self._selector.unregister(connection.socket)
            connection.socket.close()
            self._on_gone(connection.peer)
