"""What audio runs through besides the model: before the model hears it, and before a stem is delivered.

The engine hosts nothing of the kind; whoever calls `engine.separate` may bring an `Effects` that does. What the model
hears through effects is still laid, as a mask, on the untouched mixture: stems null whatever the model was given to
hear. Delivered effects work on finished stems, and those do not sum to the mixture any more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

from engine.audio import Samples
from engine.errors import StembridgeError
from engine.request import SeparationRequest


class OpenEffects(Protocol):
    """Effects that are loaded, set and ready for sources of one rate and channel count."""

    def hear(self, blocks: Iterator[Samples]) -> Iterator[Samples]:
        """What the model hears of these `(channel, sample)` blocks: as many samples, aligned with them."""

    def treats(self, stem: str) -> bool:
        """Whether `deliver` changes that stem."""

    def deliver(self, stem: str, blocks: Iterator[Samples]) -> Iterator[Samples]:
        """The stem as it is delivered: aligned with the blocks, and longer than them only by a tail."""

    def facts(self) -> dict[str, Any]:
        """For the manifest: JSON values that say what was done to what."""


class Effects(Protocol):
    """What a request asks for besides a separation."""

    @property
    def heard_as(self) -> str:
        """The same text for what changes samples in the same way before the model; empty where nothing does."""

    @property
    def delivered_as(self) -> str:
        """The same text for what changes stems in the same way; empty where nothing does."""

    def open(self, sample_rate: int, channels: int) -> AbstractContextManager[OpenEffects]:
        """Load them; on leaving they are let go."""


def require_effects(request: SeparationRequest, effects: Effects | None) -> None:
    """Raises `StembridgeError` (`unsupported_option`) for a request with plugins that nobody here hosts."""
    if (request.pre or request.post) and effects is None:
        raise StembridgeError(
            "unsupported_option", "The request asks for plugins, which are not hosted here.", "Use another preset."
        )


def heard_digest(digest: str, effects: Effects | None) -> str:
    """The name of what the model hears: that of the samples, changed where they run through effects first."""
    if effects is None or not effects.heard_as:
        return digest
    return hashlib.blake2b(f"{digest}\n{effects.heard_as}".encode(), digest_size=32).hexdigest()
