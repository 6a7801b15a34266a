"""What is written beside the stems: everything needed to know a result, and to render it again."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from engine.audio import Region, SourceInfo
from engine.request import Separation, SeparationRequest
from engine.runtime import Model, Plan
from engine.stems import StemFiles

MANIFEST_SCHEMA: Final = 1


def parameters(
    request: SeparationRequest, region: Region, info: SourceInfo, model: Model, plan: Plan
) -> dict[str, Any]:
    """Everything besides the samples that the target's samples depend on."""
    return {
        "sample_rate": info.sample_rate,
        "channels": info.channels,
        "returned": [region.start - region.read_start, region.end - region.read_start],
        "model": model.card.name,
        "weights": model.card.weights_sha256,
        "runtime": model.runtime,
        "answered_as": plan.answered_as,
        "spans": [[s.sign, s.start_s, s.end_s] for s in plan.ask.spans],
        "quality": request.quality,
        "nfe": plan.nfe,
        "schedule": plan.schedule,
        "seed": request.seed,
        "candidates": request.candidates,
        "output": request.output,
    }


def manifest_of(
    request: SeparationRequest,
    region: Region,
    info: SourceInfo,
    model: Model,
    plan: Plan,
    files: StemFiles,
    separation: Separation,
) -> dict[str, Any]:
    """What is needed to know a result, and to render it again."""
    card = model.card
    return {
        "schema": MANIFEST_SCHEMA,
        "stembridge": stembridge_version(),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "source": {
            "paths": [str(path) for path in info.paths],
            "formats": list(info.formats),
            "sample_rate": info.sample_rate,
            "channels": info.channels,
            "samples": info.samples,
        },
        "region": {
            "start_sample": region.start,
            "end_sample": region.end,
            "heard_from_sample": region.read_start,
            "heard_to_sample": region.read_end,
        },
        "prompt": request.prompt,
        "answered_as": plan.answered_as,
        "note": separation.note,
        "spans": [[s.sign, s.start_s, s.end_s] for s in request.spans],
        "model": {
            "name": card.name,
            "title": card.title,
            "version": card.version,
            "kind": card.kind,
            "licence": card.licence,
            "weights_sha256": card.weights_sha256,
        },
        "runtime": model.runtime,
        "quality": request.quality,
        "nfe": plan.nfe,
        "schedule": plan.schedule,
        "seed": request.seed,
        **model.facts(plan),
        "output": request.output,
        "keep": request.keep,
        "null_db": _finite(separation.null_db),
        "target_peak_db": _finite(db(files.target_peak)),
        "mixture_peak_db": _finite(db(files.mixture_peak)),
        "seconds": separation.seconds,
        "cached": separation.cached,
        "request": request.to_dict(),
    }


def separation_of(manifest: Path, seconds: float) -> Separation:
    """What an earlier separation left, read back from its manifest. Only for our own."""
    said = json.loads(manifest.read_text(encoding="utf-8"))
    paths = {stem: manifest.parent / said[stem] if stem in said else None for stem in ("target", "residual")}
    region = said["region"]
    return Separation(
        **paths,
        manifest=manifest,
        sample_rate=said["source"]["sample_rate"],
        channels=said["source"]["channels"],
        samples=region["end_sample"] - region["start_sample"],
        null_db=-math.inf if said["null_db"] is None else said["null_db"],
        model=said["model"]["name"],
        runtime=said["runtime"],
        nfe=said["nfe"],
        seed=said["seed"],
        seconds=round(seconds, 3),
        cached=True,
        note=said["note"],
        treated=tuple(said.get("plugins", {}).get("treated", ())),
    )


def stembridge_version() -> str:
    """The installed version; `0+unknown` when run from files that were never installed."""
    try:
        return version("stembridge")
    except PackageNotFoundError:
        return "0+unknown"


def db(peak: float) -> float:
    """A peak in dBFS; -inf for silence."""
    return 20 * math.log10(peak) if peak > 0 else -math.inf


def _finite(value: float) -> float | None:
    return round(value, 2) if math.isfinite(value) else None
