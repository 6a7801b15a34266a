"""What a request's result is known by, and whether it was made before: looked for without separating anything."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, Final

from engine import models
from engine.audio import Region, Samples, Source, SourceInfo, resolve, sample_at
from engine.cache import ResultCache, result_key
from engine.effects import Effects
from engine.errors import Cancelled
from engine.manifest import parameters
from engine.request import SeparationRequest
from engine.runtime import Ask, Model, Plan
from engine.stems import find_delivered, stem_name

_MAX_HEAD_BYTES: Final = 4096
"""A stem's file is larger than its samples by less than this."""


def at_hand(
    request: SeparationRequest,
    shelf: models.Shelf,
    *,
    cancelled: Callable[[], bool] = lambda: False,
    cache: ResultCache | None = None,
) -> bool:
    """Whether `engine.separate` would find the request's result made before; False for a request with plugins.

    The region is read only where a stem of its length is kept, or one of its name was delivered. Raises
    `StembridgeError` as `separate` does, and `Cancelled`.
    """
    if request.pre or request.post:
        return False
    name = name_of(request)
    with Source(request.source) as source:
        info = source.info
        region = resolve(request, info)
        n_bytes = 4 * info.channels * region.samples
        is_kept = cache is not None and cache.holds_one_of(n_bytes, n_bytes + _MAX_HEAD_BYTES)
        if not is_kept and not (request.out_dir / f"{name}.json").exists():
            return False
        model = shelf.open(models.choose(request))

        def blocks() -> Iterator[Samples]:
            for block in source.blocks(region.read_start, region.read_end):
                if cancelled():
                    raise Cancelled
                yield block

        digest = digest_of(blocks())
        plan = model.plan(ask_of(request, region, info, digest))
        key, identity = identity_of(request, region, info, model, plan, digest, None)
    if find_delivered(request.out_dir, name, identity) is not None:
        return True
    return cache is not None and cache.find(key) is not None


def name_of(request: SeparationRequest) -> str:
    """The stems' file name before `.target.wav`."""
    return request.name or stem_name(request.source[0], request.prompt)


def place_of(request: SeparationRequest, region: Region, info: SourceInfo) -> int:
    """The timeline sample of the region's start."""
    return region.start if request.position_s is None else sample_at(request.position_s, info.sample_rate)


def digest_of(blocks: Iterable[Samples]) -> str:
    """The name of samples: the same for the same samples."""
    digest = hashlib.blake2b(digest_size=32)
    for block in blocks:
        digest.update(block.data)
    return digest.hexdigest()


def ask_of(request: SeparationRequest, region: Region, info: SourceInfo, digest: str) -> Ask:
    """The request in the model's terms: spans counted from the first sample it hears."""
    origin_s = region.read_start / info.sample_rate
    length_s = (region.read_end - region.read_start) / info.sample_rate
    spans = tuple(
        replace(span, start_s=max(0.0, span.start_s - origin_s), end_s=min(length_s, span.end_s - origin_s))
        for span in request.spans
    )
    key = f"{digest}:{info.sample_rate}:{info.channels}"
    return Ask(
        request.prompt,
        spans,
        request.quality,
        request.nfe,
        request.seed,
        request.candidates,
        key,
        request.schedule,
    )


def identity_of(
    request: SeparationRequest,
    region: Region,
    info: SourceInfo,
    model: Model,
    plan: Plan,
    digest: str,
    effects: Effects | None,
) -> tuple[str, dict[str, Any]]:
    """The result's key, and what the manifest of the same result says."""
    key = result_key(digest, parameters(request, region, info, model, plan))
    delivered_as = effects.delivered_as or None if effects else None
    place = place_of(request, region, info)
    return key, {"result_key": key, "keep": request.keep, "place_sample": place, "delivered_as": delivered_as}
