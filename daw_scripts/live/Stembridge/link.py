"""The line to the engine: one UDP socket to its port on this machine, which never blocks."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from . import osc

API = 1
"""The version of the OSC API these scripts speak."""
DEFAULT_PORT = 9129
ANSWER_LIMIT_S = 2.0
"""An engine that has not answered for so long counts as stopped."""
_MAX_DATAGRAM = 65_536
_AT_ONCE = 16
"""Datagrams read in one tick."""


class Link:
    """Where the engine is, and since when it owes an answer."""

    def __init__(self, mailbox: Path) -> None:
        self._mailbox = mailbox
        self._socket: socket.socket | None = None
        self._port = 0
        self.owes_since_s: float | None = None
        """When the first request was sent after the last answer; None when nothing is owed."""

    def send(self, now_s: float, name: str, *texts: str) -> None:
        """Sends `/stembridge/<name>`. That nobody listens is noticed by the answer that does not come."""
        packet = osc.write(f"/stembridge/{name}", *texts)
        if self._socket is None:
            self.seek()
        if self.owes_since_s is None:
            self.owes_since_s = now_s
        try:
            if self._socket is not None:
                self._socket.send(packet)
        except OSError:  # the refusal of an earlier datagram, or a full buffer: it is sent again later
            return

    def receive(self) -> list[tuple[str, list[osc.Value]]]:
        """The messages that have come; what is no message is passed over."""
        messages = []
        for _ in range(_AT_ONCE if self._socket else 0):
            try:
                packet = self._socket.recv(_MAX_DATAGRAM)  # type: ignore[union-attr]
            except BlockingIOError:
                break
            except OSError:  # nobody listens at the port (Linux and Windows tell it here)
                continue
            try:
                address, values = osc.read(packet)
            except ValueError:  # a UnicodeDecodeError is one too
                continue
            messages.append((address.removeprefix("/stembridge/"), values))
        if messages:
            self.owes_since_s = None
        return messages

    def is_silent(self, now_s: float) -> bool:
        """Whether an answer is overdue."""
        return self.owes_since_s is not None and now_s - self.owes_since_s > ANSWER_LIMIT_S

    def seek(self) -> None:
        """Looks where the engine listens now, and turns to it if that has changed."""
        port = self._told_port()
        if self._socket is not None and port == self._port:
            return
        self.close()
        line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        line.setblocking(False)
        try:
            line.connect(("127.0.0.1", port))  # only the engine's datagrams come in
        except OSError:
            line.close()
            return
        self._socket, self._port = line, port

    def close(self) -> None:
        """Gives the socket back."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def _told_port(self) -> int:
        """What the engine's own sign of life says, or the usual one."""
        try:
            port = json.loads((self._mailbox / "engine.json").read_text(encoding="utf-8"))["port"]
        except (OSError, ValueError, KeyError, TypeError):  # no engine has been here, or the file is torn
            return DEFAULT_PORT
        return port if isinstance(port, int) and 0 < port < 65_536 else DEFAULT_PORT
