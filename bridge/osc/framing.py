"""OSC 1.0 over a stream: each packet behind its length, a big-endian int32."""

from __future__ import annotations

from typing import Final

from bridge.api.protocol import MAX_PACKET_BYTES
from engine.errors import StembridgeError

_HEAD: Final = 4


def frame(packet: bytes) -> bytes:
    """The packet as it goes into the stream; the reverse of `Deframer`."""
    return len(packet).to_bytes(_HEAD, "big") + packet


class Deframer:
    """Packets out of a stream, however it was cut or glued together on its way."""

    def __init__(self, max_bytes: int = MAX_PACKET_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = bytearray()

    def feed(self, received: bytes) -> list[bytes]:
        """The packets that are complete now, in order.

        Raises `StembridgeError` (`too_long`) for a length that is negative, zero or above the limit: the stream cannot
        be read any further. Packets before it are lost with it only if they came in the same call; `ready` has them.
        """
        self._bytes += received
        self.ready: list[bytes] = []
        while len(self._bytes) >= _HEAD:
            size = int.from_bytes(self._bytes[:_HEAD], "big", signed=True)
            if not 0 < size <= self._max_bytes:
                raise StembridgeError(
                    "too_long",
                    f"A packet of {size} bytes was announced.",
                    f"Put the length of each packet before it, 1 to {self._max_bytes}, as a big-endian int32.",
                )
            if len(self._bytes) < _HEAD + size:
                break
            self.ready.append(bytes(self._bytes[_HEAD : _HEAD + size]))
            del self._bytes[: _HEAD + size]
        return self.ready
