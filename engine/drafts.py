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

from engine.audio import inspect, resolve
from engine.request import MAX_NAME_BYTES, SeparationRequest
from engine.stems import stem_name

PART_S: Final = 20.0
"""A draft around the playhead is this long, and begins `LEAD_S` before it."""
LEAD_S: Final = 5.0
WHOLE_S: Final = 40.0
"""Regions up to this length have a draft of the whole."""

logger = logging.getLogger(__name__)


def draft_name(request: SeparationRequest) -> str:
    """The file name of a request's draft before `.target.wav`."""
    name = request.name or stem_name(request.source[0], request.prompt)
    text = json.dumps(request.to_dict(), sort_keys=True)
    mark = f".draft-{hashlib.blake2b(text.encode(errors='surrogateescape'), digest_size=4).hexdigest()}"
    while len(os.fsencode(name + mark)) > MAX_NAME_BYTES:
        name = name[:-1]
    return name + mark


def whole_draft(request: SeparationRequest) -> SeparationRequest:
    """The request for a draft of the whole region."""
    return replace(request, quality="draft", nfe=None, candidates=1, name=draft_name(request), playhead_s=None)


def part_draft(request: SeparationRequest) -> SeparationRequest | None:
    """The request for a draft of the part around the playhead; None where the region is short or no playhead is given.

    A playhead outside the region stands for the nearest place in it. Raises `StembridgeError` as opening the source
    does, and `bad_region`.
    """
    if request.playhead_s is None:
        return None
    info = inspect(request.source)
    rate, region = info.sample_rate, resolve(request, info)
    n_part = round(PART_S * rate)
    if region.samples <= WHOLE_S * rate:
        return None
    start = round((request.playhead_s - LEAD_S) * rate)
    start = min(max(start, region.start), region.end - n_part)
    start_s, end_s = start / rate, (start + n_part) / rate
    heard = (start_s - request.context_s, end_s + request.context_s)
    spans = tuple(span for span in request.spans if span.start_s < heard[1] and span.end_s > heard[0])
    if not request.prompt.strip() and not any(span.sign == "+" for span in spans):
        return None  # what says what to take lies elsewhere
    later_s = start_s - region.start / rate
    position_s = None if request.position_s is None else request.position_s + later_s
    return replace(whole_draft(request), start_s=start_s, end_s=end_s, spans=spans, position_s=position_s)


def discard_drafts(request: SeparationRequest) -> None:
    """Remove a request's drafts from its folder, those of an earlier life too.

    A stem that was edited is the user's own now and stays. What cannot be removed is logged.
    """
    if request.quality != "progressive":
        return
    name = draft_name(request)
    try:
        found = sorted(path for path in request.out_dir.iterdir() if path.name.startswith(name))
    except FileNotFoundError:
        return
    except OSError as e:
        logger.warning("Drafts in %s cannot be looked for: %s", request.out_dir, e)
        return
    manifests = {path.name.removesuffix(".json"): path for path in found if path.suffix == ".json"}
    for stem in (path for path in found if path.suffix == ".wav"):
        manifest = manifests.get(stem.name.rsplit(".", 2)[0])
        if manifest is not None and _was_edited(stem, manifest):
            manifests = {key: path for key, path in manifests.items() if path != manifest}
        else:
            _remove(stem)
    for manifest in manifests.values():
        _remove(manifest)


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
