"""One request end to end: the single place where reading, the model, the original channels and the files meet.

source → region → model's masks → original channels at the original rate → target, residual → stems and manifest
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from engine import models
from engine.audio import Region, Samples, Source, SourceInfo, resolve, sample_at
from engine.cache import ResultCache, result_key
from engine.errors import Cancelled, StembridgeError
from engine.request import Progress, Separation, SeparationRequest
from engine.resample import resample, resampled_length
from engine.runtime import Ask, Model, Plan
from engine.stems import StemFiles, stem_name
from engine.stereo import project

MANIFEST_SCHEMA: Final = 1

OnProgress = Callable[[Progress], None]
IsCancelled = Callable[[], bool]


def separate(
    request: SeparationRequest,
    shelf: models.Shelf,
    *,
    on_progress: OnProgress = lambda progress: None,
    cancelled: IsCancelled = lambda: False,
    cache: ResultCache | None = None,
) -> Separation:
    """Separate a region and write its stems and manifest into `request.out_dir`.

    `cancelled` is asked at least once a window; when it says yes, `Cancelled` is raised and no file is left. The
    source is only read. Raises `StembridgeError` with the codes of `engine.errors`.
    """
    began = time.monotonic()
    model = shelf.open(models.choose(request))

    def report(fraction: float, stage: str) -> None:
        if cancelled():
            raise Cancelled
        spent_s = time.monotonic() - began
        on_progress(Progress(fraction, stage, spent_s * (1 - fraction) / fraction if fraction > 0 else None))

    with Source(request.source) as heard, Source(request.source) as original:
        info = heard.info
        region = resolve(request, info)
        plan = model.plan(_ask(request, region, info))
        report(0, "reading")
        key = result_key(
            _digest(original.blocks(region.read_start, region.read_end)),
            _parameters(request, region, info, model, plan),
        )
        with StemFiles(
            request.out_dir,
            request.name or stem_name(request.source[0], request.prompt),
            request.keep,
            info,
            time_reference=region.start
            if request.position_s is None
            else sample_at(request.position_s, info.sample_rate),
            description=f"{request.source[0].name}: {request.prompt}",
        ) as files:
            earlier = _find(cache, key)
            if earlier is not None:
                with earlier:
                    targets = earlier.blocks(0, region.samples)
                    for mixture, target in zip(original.blocks(region.start, region.end), targets, strict=True):
                        files.write(mixture, target)
                        report(0.5, "copying")
            else:
                pairs = _estimate(heard, original, region, model, plan, report)
                for mixture, target in _within(pairs, region.start - region.read_start, region.samples):
                    files.write(mixture, target)
            report(0.99, "writing")
            separation = Separation(
                target=None,
                residual=None,
                manifest=Path(),
                sample_rate=info.sample_rate,
                channels=info.channels,
                samples=region.samples,
                null_db=_db(files.null_peak),
                model=model.card.name,
                runtime=model.runtime,
                nfe=plan.nfe,
                seed=request.seed,
                seconds=round(time.monotonic() - began, 3),
                cached=earlier is not None,
            )
            manifest = _manifest(request, region, info, model, plan, files, separation, key)
            paths, manifest_path = files.publish(manifest)
    if cache and earlier is None and "target" in paths:
        cache.store(key, paths["target"])
    on_progress(Progress(1, "done", 0.0))
    return replace(separation, target=paths.get("target"), residual=paths.get("residual"), manifest=manifest_path)


def _find(cache: ResultCache | None, key: str) -> Source | None:
    """The target of the same request, separated before."""
    found = cache.find(key) if cache else None
    if found is None:
        return None
    try:
        return Source((found.path,))
    except StembridgeError:
        return None  # another process evicted it between the look and the opening


def _ask(request: SeparationRequest, region: Region, info: SourceInfo) -> Ask:
    """The request in the model's terms: spans counted from the first sample it hears."""
    origin_s = region.read_start / info.sample_rate
    length_s = (region.read_end - region.read_start) / info.sample_rate
    spans = tuple(
        replace(span, start_s=max(0.0, span.start_s - origin_s), end_s=min(length_s, span.end_s - origin_s))
        for span in request.spans
    )
    return Ask(request.prompt, spans, request.quality, request.nfe, request.seed)


def _estimate(
    heard: Source,
    original: Source,
    region: Region,
    model: Model,
    plan: Plan,
    report: Callable[[float, str], None],
) -> Iterator[tuple[Samples, Samples]]:
    """`(mixture, target)` blocks that cover the region and its context."""
    info, grid = heard.info, model.card.grid
    n_samples = region.read_end - region.read_start
    mixture = resample(
        heard.blocks(region.read_start, region.read_end), info.sample_rate, grid.sample_rate, info.channels, n_samples
    )
    masks = model.estimate(
        mixture,
        info.channels,
        resampled_length(n_samples, info.sample_rate, grid.sample_rate),
        plan,
        lambda fraction: report(0.98 * fraction, "separating"),
    )
    blocks = original.blocks(region.read_start, region.read_end)
    return project(masks, blocks, grid, info.sample_rate, info.channels, n_samples)


def _within(pairs: Iterable[tuple[Samples, Samples]], start: int, n: int) -> Iterator[tuple[Samples, Samples]]:
    """The `n` samples from `start` on of a stream of equally long block pairs."""
    at = 0
    for mixture, target in pairs:
        low, high = max(start - at, 0), min(start + n - at, mixture.shape[1])
        if low < high:
            yield mixture[:, low:high], target[:, low:high]
        at += mixture.shape[1]


def _digest(blocks: Iterable[Samples]) -> str:
    digest = hashlib.blake2b(digest_size=32)
    for block in blocks:
        digest.update(block.data)
    return digest.hexdigest()


def _parameters(
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
        "seed": request.seed,
        "output": request.output,
    }


def _manifest(
    request: SeparationRequest,
    region: Region,
    info: SourceInfo,
    model: Model,
    plan: Plan,
    files: StemFiles,
    separation: Separation,
    key: str,
) -> dict[str, Any]:
    """What is needed to know a result, and to render it again."""
    card = model.card
    return {
        "schema": MANIFEST_SCHEMA,
        "stembridge": stembridge_version(),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "result_key": key,
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
        "note": plan.note,
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
        "seed": request.seed,
        "output": request.output,
        "keep": request.keep,
        "null_db": _finite(separation.null_db),
        "target_peak_db": _finite(_db(files.target_peak)),
        "mixture_peak_db": _finite(_db(files.mixture_peak)),
        "seconds": separation.seconds,
        "cached": separation.cached,
        "request": request.to_dict(),
    }


def stembridge_version() -> str:
    """The installed version; `0+unknown` when run from files that were never installed."""
    try:
        return version("stembridge")
    except PackageNotFoundError:
        return "0+unknown"


def _db(peak: float) -> float:
    return 20 * math.log10(peak) if peak > 0 else -math.inf


def _finite(value: float) -> float | None:
    return round(value, 2) if math.isfinite(value) else None
