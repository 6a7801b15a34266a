"""Drafts first, the result after them: what `quality=progressive` means.

A flow model spends few evaluations on a draft and refines the result from it. A mask model has nothing coarser, so
its result comes at once. Where the region is long and the request says where the person listens, either kind makes the
part around the playhead first, then larger ones, each in the former's place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from engine import models
from engine.audio import inspect, resolve
from engine.drafts import discard_drafts, part_drafts, whole_draft
from engine.request import Draft, Progress, Separation, SeparationRequest
from engine.separate import OnProgress

DRAFT_SHARE: Final = 0.3
"""Of a job's progress, for all drafts of a flow model together."""

One = Callable[[SeparationRequest, OnProgress], Separation]
"""Separates one request; raises `Cancelled` soon after it was told to stop."""
Turn = Callable[[SeparationRequest], SeparationRequest]
Ahead = Callable[[Turn, OnProgress], None]
"""Does what the request shares with others that wait, each of them turned into what will be made of it next."""


def deliver(
    request: SeparationRequest,
    one: One,
    *,
    on_progress: OnProgress = lambda progress: None,
    ahead: Ahead = lambda turn, on_progress: None,
    at_hand: Callable[[SeparationRequest], bool] = lambda request: False,
) -> Separation:
    """What a request asks for. Where it is `progressive`, `on_progress` is told of each draft when its files are there;
    then those of the draft before go. What is `at_hand` needs no draft.

    However it ends, no draft is left: the result took its place, or there is none. Raises `StembridgeError` as `one`
    does.
    """
    if request.quality != "progressive":
        ahead(_same, on_progress)
        return one(request, on_progress)
    try:
        drafts = [] if at_hand(request) else drafts_of(request)
        shares, eta_s = _plan(request, drafts) if drafts else ([], None)
        begin = 0.0
        for n, (draft, share) in enumerate(zip(drafts, shares, strict=True), 1):
            told = _drafting(on_progress, begin, share, eta_s)
            ahead(_alike(draft), told)
            made = one(draft, told)
            begin += share
            stage = "refining" if n == len(drafts) else "drafting"
            on_progress(Progress(begin, stage, eta_s, Draft(made, _offset(request, draft))))
            discard_drafts(request, but=made)
        told = _refining(on_progress, begin) if drafts else on_progress
        ahead(_same, told)
        return one(request, told)
    finally:
        discard_drafts(request)


def drafts_of(request: SeparationRequest) -> list[SeparationRequest]:
    """What is made before a progressive request's result, in this order, each region within the next; none where the
    result comes at once, and for other requests.

    Raises `StembridgeError` as `engine.models.choose` and opening the source do.
    """
    if request.quality != "progressive":
        return []
    return [*part_drafts(request), *([whole_draft(request)] if _has_drafts(request) else [])]


def _has_drafts(request: SeparationRequest) -> bool:
    """Whether the model has anything coarser than its result."""
    return models.find(models.choose(request)).kind not in models.MASKS


def _alike(draft: SeparationRequest) -> Turn:
    """Turns requests for the same region into their own drafts of what `draft` is of."""

    def turn(other: SeparationRequest) -> SeparationRequest:
        drafts = (one for one in drafts_of(other) if (one.start_s, one.end_s) == (draft.start_s, draft.end_s))
        return next(drafts, other)

    return turn


def _same(request: SeparationRequest) -> SeparationRequest:
    return request


def _plan(request: SeparationRequest, drafts: list[SeparationRequest]) -> tuple[list[float], float | None]:
    """Each draft's share of the progress, and the time left (s) that is told meanwhile.

    A mask model works as long on a second of a draft as on one of the result, so that its fraction tells the time. What
    a flow model's draft costs beside its result differs from machine to machine: no time is told.
    """
    info = inspect(request.source)
    *n_samples, n_whole = (resolve(one, info).samples for one in (*drafts, request))
    n_drafts = sum(n_samples)
    if _has_drafts(request):
        return [DRAFT_SHARE * n / n_drafts for n in n_samples], math.nan
    return [n / (n_drafts + n_whole) for n in n_samples], None


def _offset(request: SeparationRequest, draft: SeparationRequest) -> int:
    """The draft's first sample, counted from the region's."""
    info = inspect(request.source)
    return resolve(draft, info).start - resolve(request, info).start


def _drafting(on_progress: OnProgress, begin: float, share: float, eta_s: float | None) -> OnProgress:
    """A draft's part of the whole's progress. Its time left is not the whole's, so that is never told."""
    return lambda progress: on_progress(Progress(begin + share * progress.fraction, "drafting", eta_s))


def _refining(on_progress: OnProgress, begin: float) -> OnProgress:
    """The result's part of the progress. Nothing comes after it: its time left is the whole's."""

    def tell(progress: Progress) -> None:
        stage = "refining" if progress.stage == "separating" else progress.stage
        eta_s = math.nan if progress.eta_s is None else progress.eta_s
        on_progress(replace(progress, fraction=begin + (1 - begin) * progress.fraction, stage=stage, eta_s=eta_s))

    return tell
