"""One run of one job, or of work between jobs: whatever it raises comes back as an error, so that the queue goes on."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace

from engine.errors import Cancelled, StembridgeError, internal, no_memory
from engine.jobs.job import Job, JobState
from engine.request import Progress, Separation, SeparationRequest

logger = logging.getLogger(__name__)

Run = Callable[[SeparationRequest, Callable[[Progress], None], Callable[[], bool]], Separation]
"""(request, on_progress, cancelled) → what was made; raises `Cancelled` soon after `cancelled()` turns true."""


SpareWork = Callable[[Callable[[], bool]], object]
"""(cancelled) → nothing of interest; raises `Cancelled` soon after `cancelled()` turns true."""


def in_spare_time(work: SpareWork, cancelled: Callable[[], bool]) -> None:
    """Runs what nobody waits for. Never raises: what goes wrong is logged, and told to whoever asks for it again."""
    try:
        work(cancelled)
    except Cancelled:
        logger.debug("Work in spare time gave way.")
    except StembridgeError as e:
        logger.info("Work in spare time: %s", e)
    except BaseException:
        logger.exception("Work in spare time failed.")


def begun(job: Job) -> Job:
    """A job as its next attempt begins."""
    starting = Progress(0.0, "starting", None)
    return replace(job, state=JobState.RUNNING, attempts=job.attempts + 1, progress=starting)


def ended(job: Job, outcome: Separation | StembridgeError) -> Job:
    """A job as it ends with what `attempt` answered."""
    if not isinstance(outcome, StembridgeError):
        return replace(job, state=JobState.DONE, result=outcome)
    state = JobState.CANCELLED if isinstance(outcome, Cancelled) else JobState.FAILED
    return replace(job, state=state, error=(outcome.code, str(outcome)))


def given_up(job: Job) -> Job:
    """A job that keeps killing its engine, as it ends."""
    error = StembridgeError(
        "interrupted",
        f"The engine died {job.attempts} times while it worked on this job, so it was given up.",
        "Try a shorter region or another model, and look at the engine's log.",
    )
    return ended(job, error)


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
        return no_memory()
    except BaseException as e:
        logger.exception("Unexpected failure: %r of %s.", request.prompt, request.source[0])
        return internal(e)
    return made
