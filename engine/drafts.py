"""Drafts on disk: stems that stand in for a result while it is made, under a name of their own, and their removal.

A draft's name holds a digest of its request, so it is the same in every attempt at one job, and no other request's.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Final

from engine.audio import inspect, resolve, sample_at
from engine.request import MAX_NAME_BYTES, Separation, SeparationRequest
from engine.stems import stem_name

PART_S: Final = 20.0
"""The first draft around the playhead is this long."""
LEAD: Final = 0.25
"""Share of a part that lies before the playhead: one listens on from there."""
GROWTH: Final = 3
"""Each part is this much longer than the one before. It is separated anew, so that it has no seams; at this growth all
parts before one cost together at most half of it."""
LARGEST: Final = 0.5
"""Share of the region that a part is at most. What would be longer is the whole."""

logger = logging.getLogger(__name__)


def draft_name(request: SeparationRequest, part: int = 0) -> str:
    """The file name of a request's draft before `.target.wav`; those of its parts, counted from 1, begin with that of
    the whole.
    """
    name = request.name or stem_name(request.source[0], request.prompt)
    text = json.dumps(request.to_dict(), sort_keys=True)
    mark = f".draft-{hashlib.blake2b(text.encode(errors='surrogateescape'), digest_size=4).hexdigest()}"
    while len(os.fsencode(name + mark)) > MAX_NAME_BYTES - len("-9"):
        name = name[:-1]
    return name + mark + (f"-{part}" if part else "")


def whole_draft(request: SeparationRequest) -> SeparationRequest:
    """The request for a draft of the whole region."""
    return replace(request, quality="draft", nfe=None, candidates=1, name=draft_name(request), playhead_s=None)


def part_drafts(request: SeparationRequest) -> list[SeparationRequest]:
    """The requests for drafts of the parts around the playhead, each within the next; none where the region is short or
    no playhead is given.

    A playhead outside the region stands for the nearest place in it. Raises `StembridgeError` as opening the source
    does, and `bad_region`.
    """
    if request.playhead_s is None:
        return []
    info = inspect(request.source)
    rate, region = info.sample_rate, resolve(request, info)
    drafts: list[SeparationRequest] = []
    n_part = round(PART_S * rate)
    while n_part < LARGEST * region.samples:
        start = round(request.playhead_s * rate - LEAD * n_part)
        start = min(max(start, region.start), region.end - n_part)
        heard = start - sample_at(request.context_s, rate), start + n_part + sample_at(request.context_s, rate)
        spans = tuple(
            span
            for span in request.spans
            if sample_at(span.start_s, rate) < heard[1] and sample_at(span.end_s, rate) > heard[0]
        )
        if request.prompt.strip() or any(span.sign == "+" for span in spans):  # else what to take is said elsewhere
            later_s = (start - region.start) / rate
            part = replace(
                whole_draft(request),
                start_s=start / rate,
                end_s=(start + n_part) / rate,
                spans=spans,
                position_s=None if request.position_s is None else request.position_s + later_s,
                name=draft_name(request, len(drafts) + 1),
            )
            drafts.append(part)
        n_part *= GROWTH
    return drafts


def discard_drafts(request: SeparationRequest, but: Separation | None = None) -> None:
    """Remove a request's drafts from its folder, those of an earlier life too, `but` the one that took their place.

    A stem that was edited is the user's own now and stays. What cannot be removed is logged.
    """
    if request.quality != "progressive":
        return
    name, stays = draft_name(request), "" if but is None else but.manifest.stem
    try:
        found = sorted(p for p in request.out_dir.iterdir() if p.name.startswith(name) and _stem_of(p) != stays)
    except FileNotFoundError:
        return
    except OSError as e:
        logger.warning("Drafts in %s cannot be looked for: %s", request.out_dir, e)
        return
    manifests = {_stem_of(path): path for path in found if path.suffix == ".json"}
    for stem in (path for path in found if path.suffix == ".wav"):
        manifest = manifests.get(_stem_of(stem))
        if manifest is not None and _was_edited(stem, manifest):
            manifests = {key: path for key, path in manifests.items() if path != manifest}
        else:
            _remove(stem)
    for manifest in manifests.values():
        _remove(manifest)


def _stem_of(path: Path) -> str:
    """What the files of one draft have in common: their name before `.target.wav` or `.json`."""
    return path.stem if path.suffix == ".json" else path.name.rsplit(".", 2)[0]


def _was_edited(stem: Path, manifest: Path) -> bool:
    """By its size or its time; also where the manifest cannot be read: then it is not as we left it."""
    try:
        kind, said = stem.name.rsplit(".", 2)[1], json.loads(manifest.read_text(encoding="utf-8"))
        size, written_ns = said["bytes"][kind], manifest.stat().st_mtime_ns
        return bool(stem.stat().st_size != size or stem.stat().st_mtime_ns > written_ns)
    except (OSError, ValueError, KeyError, TypeError):
        return True


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as e:  # on Windows, a file that somebody plays
        logger.warning("The draft %s stays: %s", path, e)
