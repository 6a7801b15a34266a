"""A draft first, the result after it: what `quality=progressive` means.

A flow model spends few evaluations on the draft and refines the result from it. A mask model has nothing coarser, so
its result comes at once; but where the region is long and the request says where the person listens, either kind makes
the part around the playhead first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from engine import models
from engine.audio import inspect, resolve
from engine.drafts import discard_drafts, part_draft, whole_draft
from engine.request import Draft, Progress, Separation, SeparationRequest
from engine.separate import OnProgress

DRAFT_SHARE: Final = 0.3
"""Of a job's progress."""

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
) -> Separation:
    """What a request asks for. Where it is `progressive`, `on_progress` is told of the draft when its files are there.

    However it ends, no draft is left: the result took its place, or there is none. Raises `StembridgeError` as `one`
    does.
    """
    if request.quality != "progressive":
        ahead(_same, on_progress)
        return one(request, on_progress)
    try:
        draft = draft_of(request)
        if draft is not None:
            told = _in_words(on_progress, 0.0, DRAFT_SHARE, "drafting")
            ahead(lambda other: draft_of(other) or other, told)
            made = one(draft, told)
            on_progress(Progress(DRAFT_SHARE, "refining", None, Draft(made, _offset(request, draft))))
        begin = DRAFT_SHARE if draft is not None else 0.0
        told = _in_words(on_progress, begin, 1.0, "refining" if draft is not None else "separating")
        ahead(_same, told)
        return one(request, told)
    finally:
        discard_drafts(request)


def draft_of(request: SeparationRequest) -> SeparationRequest | None:
    """What is made before a progressive request's result; None where that comes at once, and for other requests.

    Raises `StembridgeError` as `engine.models.choose` and opening the source do.
    """
    if request.quality != "progressive":
        return None
    has_drafts = models.find(models.choose(request)).kind not in models.MASKS
    return part_draft(request) or (whole_draft(request) if has_drafts else None)


def _same(request: SeparationRequest) -> SeparationRequest:
    return request


def _offset(request: SeparationRequest, draft: SeparationRequest) -> int:
    """The draft's first sample, counted from the region's."""
    info = inspect(request.source)
    return resolve(draft, info).start - resolve(request, info).start


def _in_words(on_progress: OnProgress, begin: float, end: float, separating: str) -> OnProgress:
    """A part of the whole's progress. Its time left is not the whole's, so none is told."""

    def tell(progress: Progress) -> None:
        stage = separating if progress.stage == "separating" else progress.stage
        on_progress(replace(progress, fraction=begin + (end - begin) * progress.fraction, stage=stage, eta_s=None))

    return tell
