"""A job asked for again with other words: the same region of the same files, another preset, prompt or quality."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from bridge.api.fields import FIELDS, Field
from bridge.asking.presets import Preset, find_preset
from engine.request import SeparationRequest

_KEPT: Final = ("keep", "quality", "output", "nfe", "model", "seed", "candidates")
"""What a job says besides its region and prompt."""

AGAIN_FIELDS: Final[dict[str, Field]] = {key: FIELDS[key] for key in ("prompt", "preset", "name", *_KEPT)}


def again(
    base: SeparationRequest,
    changed: Mapping[str, Any],
    presets: Callable[[], Mapping[str, Preset]],
    to_request: Callable[[Mapping[str, Any]], SeparationRequest],
) -> SeparationRequest:
    """`base` with the fields `changed`. A preset stands for all but the region, its spans and, where it has none, the
    prompt.

    `to_request` is the engine's own intake: what a path or a value may be is said there. Raises as it does.
    """
    preset = changed.get("preset")
    chosen = find_preset(str(preset), presets()) if preset else None
    fields: dict[str, Any] = {"path+": [str(path) for path in base.source], "out": str(base.out_dir)}
    if chosen is None:
        fields |= {key: getattr(base, key) for key in _KEPT if getattr(base, key) is not None}
        if "quality" in changed:
            fields.pop("nfe", None)  # it was the number of the other quality
    if chosen is None or chosen.prompt is None:
        fields["prompt"] = base.prompt
    asked = to_request({**fields, **changed})
    region = ("source", "start_s", "end_s", "item_start_s", "item_end_s", "spans", "position_s", "playhead_s")
    same = {key: getattr(base, key) for key in region}
    if chosen is None or chosen.context_s is None:
        same["context_s"] = base.context_s
    if chosen is None:
        same |= {"schedule": base.schedule, "pre": base.pre, "post": base.post}
    return replace(asked, **same)
