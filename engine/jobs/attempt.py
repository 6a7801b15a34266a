"""One run of one job: whatever it raises comes back as an error, so that the queue goes on."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

from engine.errors import StembridgeError, internal
from engine.request import Progress, Separation, SeparationRequest

logger = logging.getLogger(__name__)

Run = Callable[[SeparationRequest, Callable[[Progress], None], Callable[[], bool]], Separation]
"""(request, on_progress, cancelled) → what was made; raises `Cancelled` soon after `cancelled()` turns true."""


def attempt(
    run: Run, request: SeparationRequest, on_progress: Callable[[Progress], None], cancelled: Callable[[], bool]
) -> Separation | StembridgeError:
    """What the run made, or why it made nothing (`Cancelled` when it stopped because it was told to).

    A `StembridgeError` is answered as it is, a `MemoryError` as `out_of_memory`, anything else as `internal` with the
    traceback in the log. Never raises.
    """
    try:
        made = run(request, on_progress, cancelled)
        if not isinstance(made, Separation):
            raise TypeError(f"the run answered {type(made).__name__}, not a Separation")
        json.dumps(made.to_dict())  # the journal and the wire will need it as JSON: better to fail here than there
    except StembridgeError as e:
        return e
    except MemoryError:
        logger.exception("Out of memory: %r of %s.", request.prompt, request.source[0])
        return StembridgeError(
            "out_of_memory",
            "The machine ran out of memory while it worked on the job.",
            "Close other programs, or choose a shorter region.",
        )
    except BaseException as e:
        logger.exception("Unexpected failure: %r of %s.", request.prompt, request.source[0])
        return internal(e)
    return made
