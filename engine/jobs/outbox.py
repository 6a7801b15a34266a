"""Events on their way to one listener: in order, one at a time, never under the sender's lock."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from engine.jobs.job import JobEvent

logger = logging.getLogger(__name__)


class Outbox:
    """Collects events with `put`, under the sender's lock so that their order is that of the changes, and hands them
    out with `deliver`, without it.

    Whoever delivers first also delivers what others put meanwhile, so the listener is never called twice at once and
    may itself cause events. What it raises is logged and goes no further, but for Ctrl-C in the main thread.
    """

    def __init__(self, listener: Callable[[JobEvent], None]) -> None:
        self._listener = listener
        self._events: deque[JobEvent] = deque()
        self._delivering = threading.Lock()

    def put(self, event: JobEvent) -> None:
        """Adds an event; it is not delivered yet."""
        self._events.append(event)

    def deliver(self) -> None:
        """Returns when every event is delivered, or is being delivered by another thread."""
        # Looking again after the release catches an event put just before it, whose thread found the lock taken.
        while self._events and self._delivering.acquire(blocking=False):
            try:
                while self._events:
                    self._hand_out(self._events.popleft())
            finally:
                self._delivering.release()

    def _hand_out(self, event: JobEvent) -> None:
        try:
            self._listener(event)
        except BaseException as e:
            if not isinstance(e, Exception) and threading.current_thread() is threading.main_thread():
                raise
            logger.exception("The listener failed at the event %s of the job %s.", event.kind, event.job.id)
