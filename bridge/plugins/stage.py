"""One plugin fed block by block; what comes out has the place and the length of what went in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

import numpy as np

from bridge.plugins.shared import CAPACITY
from engine.audio import Samples
from engine.errors import StembridgeError

Layout = Literal["whole", "each", "doubled"]
"""`whole`: one plugin takes all channels. `each`: a plugin for one channel, once for every channel. `doubled`: a plugin
for two channels gets a mono source on both, and its first channel is kept."""
MIN_SAMPLES: Final = 256
"""Never handed over in smaller pieces: from a few samples the host cannot tell channels from time."""
MAX_SILENCE_S: Final = 30.0
"""A plugin that was fed this much silence and still owes samples will not give them."""


class Instance(Protocol):
    """What pedalboard's plugins can do."""

    def process(self, audio: Samples, sample_rate: float, *, buffer_size: int, reset: bool) -> Samples:
        """`(channel, sample)` in; out the same, less what a reported latency holds back."""

    def reset(self) -> None:
        """Forget all that was heard."""


@dataclass
class Stage:
    """A loaded plugin and where it stands in its stream."""

    title: str
    instances: Sequence[Instance]
    layout: Layout
    sample_rate: int
    channels: int
    buffer_size: int = 8192
    """Samples that the plugin is given at once, at most."""
    correction: int = 0
    """Samples that it is late (negative: early) once its reported latency was taken out."""
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rewind()

    def rewind(self) -> None:
        """Begin a new stream from rest."""
        for instance in self.instances:
            instance.reset()
        self._waiting = np.zeros((self.channels, max(0, -self.correction)), np.float32)
        self._to_drop = max(0, self.correction)
        self._n_in = self._n_out = 0

    def push(self, block: Samples) -> Samples:
        """What is ready after this block, in memory of its own; it lags behind by the plugin's latency."""
        self._n_in += block.shape[1]
        return self._feed(block)

    def flush(self) -> Iterator[Samples]:
        """The rest, in blocks: after it as many samples came out as went in."""
        silence = int(MAX_SILENCE_S * self.sample_rate)
        while self._n_out < self._n_in:
            n = min(CAPACITY, max(MIN_SAMPLES, self._n_in - self._n_out))
            silence -= n
            if silence < 0:
                raise StembridgeError(
                    "plugin_failed",
                    f"The plugin {self.title} keeps {self._n_in - self._n_out} samples that it was given.",
                    "Leave it out of the preset.",
                )
            done = self._n_out
            out = self._feed(np.zeros((self.channels, n), np.float32))
            yield out[:, : self._n_in - done]

    def whole(self, samples: Samples) -> Samples:
        """All of a short piece, from rest to rest."""
        self.rewind()
        made = np.concatenate([self.push(samples), *self.flush()], axis=1)
        self.rewind()
        return made

    def held_back(self) -> int:
        """Samples that it keeps until more are fed: its latency, as it reports it."""
        self.rewind()
        out = self.push(np.zeros((self.channels, CAPACITY), np.float32))
        held = CAPACITY - int(out.shape[1]) - self.correction
        self.rewind()
        return held

    def _feed(self, block: Samples) -> Samples:
        block = np.concatenate([self._waiting, block], axis=1) if self._waiting.shape[1] else block
        if block.shape[1] < MIN_SAMPLES:
            self._waiting = block.copy()  # it may be memory that is written to next
            return block[:, :0]
        self._waiting = block[:, :0]
        out = self._run(np.ascontiguousarray(block))
        if not np.isfinite(out).all():
            raise StembridgeError(
                "plugin_failed", f"The plugin {self.title} gave NaN or infinity.", "Check its parameters, or leave it."
            )
        if self._to_drop:
            n = min(self._to_drop, out.shape[1])
            self._to_drop -= n
            out = out[:, n:]
        self._n_out += out.shape[1]
        return out

    def _run(self, block: Samples) -> Samples:
        def run(instance: Instance, part: Samples) -> Samples:
            return instance.process(part, self.sample_rate, buffer_size=self.buffer_size, reset=False)

        if self.layout == "each":
            parts = [run(one, block[n : n + 1]) for n, one in enumerate(self.instances)]
            return np.concatenate(parts, axis=0)
        if self.layout == "doubled":
            return run(self.instances[0], np.repeat(block, 2, axis=0))[:1]
        return run(self.instances[0], block)
