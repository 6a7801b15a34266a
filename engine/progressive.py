"""Drafts first, the result after them: what `quality=progressive` means.

A flow model spends few evaluations on a draft and refines the result from it. A mask model has nothing coarser, so
its result comes at once. Where the region is long and the request says where the person listens, either kind makes the
part around the playhead first, then larger ones, each in the former's place; but none of which the whole would be there
before the person has heard what is there already.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from time import monotonic
from typing import Final

from engine import models
from engine.audio import inspect, resolve
from engine.drafts import discard_drafts, part_drafts, whole_draft
from engine.errors import StembridgeError
from engine.request import Draft, Progress, Separation, SeparationRequest
from engine.separate import OnProgress

DRAFT_SHARE: Final = 0.3
"""Of a job's progress, for all drafts together."""

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
        told, begin = on_progress, 0.0
        while drafts:
            share, began_s = (DRAFT_SHARE - begin) * _part_of(request, drafts), monotonic()
            draft, *drafts = drafts
            told = _drafting(on_progress, begin, share)
            ahead(_alike(draft), told)
            made = one(draft, told)
            # One that an earlier life of the job left says nothing of the speed.
            if not made.cached and _whole_comes_in_time(request, draft, monotonic() - began_s):
                drafts = [other for other in drafts if _is_whole(request, other)]
            begin = begin + share if drafts else DRAFT_SHARE
            stage = "drafting" if drafts else "refining"
            on_progress(Progress(begin, stage, math.nan, Draft(made, _offset(request, draft))))
            discard_drafts(request, but=made)
            told = _refining(on_progress, begin)
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
        with suppress(StembridgeError):  # its own turn says what is wrong with it
            for one in drafts_of(other):
                if _is_whole(draft, one):
                    return one
        return other

    return turn


def _same(request: SeparationRequest) -> SeparationRequest:
    return request


def _is_whole(request: SeparationRequest, draft: SeparationRequest) -> bool:
    """Whether a draft is of all that the request asks for."""
    return (draft.start_s, draft.end_s) == (request.start_s, request.end_s)


def _part_of(request: SeparationRequest, drafts: list[SeparationRequest]) -> float:
    """What share of all drafts the first of them is."""
    info = inspect(request.source)
    n_samples = [resolve(draft, info).samples for draft in drafts]
    return n_samples[0] / sum(n_samples)


def _whole_comes_in_time(request: SeparationRequest, draft: SeparationRequest, took_s: float) -> bool:
    """Whether what covers the whole region next, a draft or a mask model's result, will be there before the person has
    listened to a draft that took so long, from the playhead to its end. Per second it takes as long as the draft did.
    """
    if request.playhead_s is None:
        return True
    info = inspect(request.source)
    part, whole = resolve(draft, info), resolve(request, info)
    ahead_s = part.end / info.sample_rate - max(request.playhead_s, part.start / info.sample_rate)
    return took_s * whole.samples / part.samples <= ahead_s


def _offset(request: SeparationRequest, draft: SeparationRequest) -> int:
    """The draft's first sample, counted from the region's."""
    info = inspect(request.source)
    return resolve(draft, info).start - resolve(request, info).start


def _drafting(on_progress: OnProgress, begin: float, share: float) -> OnProgress:
    """A draft's part of the whole's progress. How long the rest takes is not known yet: no time is told."""
    return lambda progress: on_progress(Progress(begin + share * progress.fraction, "drafting", math.nan))


def _refining(on_progress: OnProgress, begin: float) -> OnProgress:
    """The result's part of the progress. Nothing comes after it: its time left is the whole's."""

    def tell(progress: Progress) -> None:
        stage = "refining" if progress.stage == "separating" else progress.stage
        eta_s = math.nan if progress.eta_s is None else progress.eta_s
        on_progress(replace(progress, fraction=begin + (1 - begin) * progress.fraction, stage=stage, eta_s=eta_s))

    return tell
