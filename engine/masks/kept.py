"""What a prompted model has heard lately, kept so that another prompt on the same sound costs only the head."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.masks.bands import Real


@dataclass(frozen=True)
class Heard:
    """What the trunk made of a window of two channels, in half precision, and their powers `(2, frame, band)`."""

    halves: dict[str, npt.NDArray[np.float16]]
    power: Real

    @property
    def n_bytes(self) -> int:
        """Of memory."""
        return self.power.nbytes + sum(array.nbytes for array in self.halves.values())


class Kept:
    """The trunk's latest answers, at most so many bytes. Thread-safe."""

    def __init__(self, n_bytes: int) -> None:
        self._room = n_bytes
        self._found: OrderedDict[str, Heard] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> Heard | None:
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
            return self._found.get(key)

    def put(self, key: str, heard: Heard) -> None:
        with self._lock:
            self._found[key] = heard
            while sum(one.n_bytes for one in self._found.values()) > self._room:
                self._found.popitem(last=False)

    def clear(self) -> None:
        with self._lock:
            self._found.clear()
