"""Opening the port: UDP and TCP on the same number, on this machine alone unless told otherwise."""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from engine.errors import StembridgeError

RECEIVE_BUFFER_BYTES: Final = 4 * 1024 * 1024
"""Asked of the system for UDP: a burst of several clients waits here while one request is journaled."""
MAX_CONNECTIONS: Final = 64


@dataclass(frozen=True)
class Bound:
    """The sockets of one port: UDP by address family, and listening TCP."""

    udp: dict[int, socket.socket]
    listeners: list[socket.socket]

    @property
    def port(self) -> int:
        """The port they all have."""
        return int(next(iter(self.udp.values())).getsockname()[1])

    def close(self) -> None:
        """Gives the port back; harmless when closed before."""
        for one in (*self.udp.values(), *self.listeners):
            one.close()


def bind(hosts: Sequence[str] = ("127.0.0.1",), port: int = 0) -> Bound:
    """Opens a port for UDP and TCP on each host, at most one host a family; port 0 takes a free one.

    Requests wait in the sockets until a `Transport` serves them. Raises `StembridgeError` (`port_in_use`, `bad_value`).
    """
    n_attempts = 20 if port == 0 else 1
    for attempt in range(1, n_attempts + 1):
        bound = Bound({}, [])
        chosen = port
        try:
            for host in hosts:
                family = socket.AF_INET6 if ":" in host else socket.AF_INET
                bound.udp[family] = _open(family, socket.SOCK_DGRAM, host, chosen)
                chosen = bound.port
                bound.listeners.append(_open(family, socket.SOCK_STREAM, host, chosen))
            return bound
        except OverflowError as e:
            bound.close()
            raise StembridgeError("bad_value", f"The port is {port}.", "Use 0 to 65535.") from e
        except OSError as e:
            bound.close()
            taken = e.errno in (errno.EADDRINUSE, errno.EACCES)
            if taken and attempt < n_attempts:  # the free UDP port is taken in TCP or in the other family
                continue
            if taken:
                raise StembridgeError(
                    "port_in_use",
                    f"The port {port} is held by another program.",
                    "If that is Stembridge, use the engine that runs; else choose another port with --port.",
                ) from e
            raise StembridgeError(
                "bad_value",
                f"The address {', '.join(hosts)} port {port} cannot be opened: {e.strerror or e}.",
                "Use 127.0.0.1 or ::1 and a port from 0 to 65535.",
            ) from e
    raise AssertionError("unreachable")


def _open(family: int, kind: socket.SocketKind, host: str, port: int) -> socket.socket:
    one = socket.socket(family, kind)
    try:
        if sys.platform == "win32":
            one.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        elif kind is socket.SOCK_STREAM:  # not for UDP: there it would let two engines share the port
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind is socket.SOCK_DGRAM:
            with contextlib.suppress(OSError):  # the system gives what it allows
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        one.bind((host, port))
        if kind is socket.SOCK_STREAM:
            one.listen(MAX_CONNECTIONS)
    except BaseException:
        one.close()
        raise
    return one
