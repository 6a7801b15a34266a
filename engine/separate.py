"""One request end to end: the single place where reading, the model, the original channels and the files meet.

source → region → model's masks → original channels at the original rate → target, residual → stems and manifest
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from engine import models
from engine.audio import Region, Samples, Source, SourceInfo, resolve, sample_at
from engine.cache import ResultCache, result_key
from engine.effects import Effects, OpenEffects, heard_digest, require_effects
from engine.errors import Cancelled, StembridgeError
from engine.manifest import db, manifest_of, parameters, separation_of
from engine.manifest import stembridge_version as stembridge_version
from engine.passage import Report, at_rate, faithful, generated, returned
from engine.request import Progress, Separation, SeparationRequest
from engine.resample import resampled_length
from engine.runtime import Ask
from engine.stems import StemFiles, find_delivered, stem_name

OnProgress = Callable[[Progress], None]
IsCancelled = Callable[[], bool]

logger = logging.getLogger(__name__)


def separate(
    request: SeparationRequest,
    shelf: models.Shelf,
    *,
    on_progress: OnProgress = lambda progress: None,
    cancelled: IsCancelled = lambda: False,
    cache: ResultCache | None = None,
    effects: Effects | None = None,
) -> Separation:
    """Separate a region and write its stems and manifest into `request.out_dir`.

    `cancelled` is asked at least once a window; when it says yes, `Cancelled` is raised and no file is left. The
    source is only read. `effects` hosts what the request's `pre` and `post` ask for. Raises `StembridgeError` with the
    codes of `engine.errors`.
    """
    began = time.monotonic()
    require_effects(request, effects)
    model = shelf.open(models.choose(request))

    def report(fraction: float, stage: str) -> None:
        if cancelled():
            raise Cancelled
        spent_s = time.monotonic() - began
        on_progress(Progress(fraction, stage, spent_s * (1 - fraction) / fraction if fraction > 0 else None))

    with Source(request.source) as heard, Source(request.source) as original:
        info = heard.info
        region = resolve(request, info)
        report(0, "reading")
        digest = heard_digest(_digest(original.blocks(region.read_start, region.read_end)), effects)
        plan = model.plan(_ask(request, region, info, digest))
        key = result_key(digest, parameters(request, region, info, model, plan))
        name = request.name or stem_name(request.source[0], request.prompt)
        place = _place(request, region, info)
        identity = {"result_key": key, "keep": request.keep, "place_sample": place}
        identity["delivered_as"] = effects.delivered_as or None if effects else None
        delivered = find_delivered(request.out_dir, name, identity)
        if delivered is not None:
            on_progress(Progress(1, "done", 0.0))
            return separation_of(delivered, time.monotonic() - began)
        with (
            _opened(effects, info) as through,
            StemFiles(
                request.out_dir,
                name,
                request.keep,
                info,
                time_reference=place,
                description=f"{request.source[0].name}: {request.prompt}",
                generated=request.output == "generative",
            ) as files,
        ):
            earlier = _find(cache, key)
            if earlier is not None:
                with earlier:
                    targets = earlier.blocks(0, region.samples)
                    for mixture, target in zip(original.blocks(region.start, region.end), targets, strict=True):
                        files.write(mixture, target)
                        report(0.5, "copying")
            else:
                work = generated if request.output == "generative" else faithful
                hear = through.hear if through else None
                for mixture, *made in returned(work(heard, original, region, model, plan, report, hear), region):
                    files.write(mixture, *made)
            usual = not {"window_s", "redone"} & model.facts(plan).keys()  # what befell it once is not the rule
            untreated = files.finish()
            if cache and earlier is None and usual and "target" in untreated and request.output == "faithful":
                cache.store(key, untreated["target"])
            treated = _treat(files, through, region.samples, report) if through else ()
            report(0.99, "writing")
            separation = Separation(
                target=None,
                residual=None,
                manifest=Path(),
                sample_rate=info.sample_rate,
                channels=info.channels,
                samples=region.samples,
                null_db=db(files.null_peak),
                model=model.card.name,
                runtime=model.runtime,
                nfe=plan.nfe,
                seed=request.seed,
                seconds=round(time.monotonic() - began, 3),
                cached=earlier is not None,
                note=" ".join(filter(None, (plan.note, model.facts(plan).get("remark", "")))),
                treated=treated,
            )
            manifest = manifest_of(request, region, info, model, plan, files, separation) | identity
            if through:
                manifest["plugins"] = {"treated": list(treated), **through.facts()}
            paths, manifest_path = files.publish(manifest)
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


def solve_ahead(
    requests: Sequence[SeparationRequest],
    shelf: models.Shelf,
    *,
    on_progress: OnProgress = lambda progress: None,
    cancelled: IsCancelled = lambda: False,
) -> None:
    """Do what requests for one region of one source can share, so that `separate` of each finds it done.

    A flow model hears the mixture once and follows all prompts in one batch. Requests of other regions or models than
    the first one's are left alone, as are those that will be refused: their own turn says why. Raises
    `StembridgeError` as `separate` of the first does.
    """
    first = requests[0]
    name = models.choose(first)
    if models.find(name).kind in models.MASKS or not any(shares_region(r, first) for r in requests[1:]):
        return
    model = shelf.open(name)

    def step(fraction: float) -> None:
        if cancelled():
            raise Cancelled
        on_progress(Progress(fraction, "separating", None))

    with Source(first.source) as source:
        region = resolve(first, source.info)
        digest = _digest(source.blocks(region.read_start, region.read_end))
        plans = [model.plan(_ask(first, region, source.info, digest))]
        for other in requests[1:]:
            with contextlib.suppress(StembridgeError):
                if shares_region(other, first) and models.choose(other) == name:
                    plans.append(model.plan(_ask(other, resolve(other, source.info), source.info, digest)))
        rate = model.card.grid.sample_rate
        n_samples = resampled_length(region.read_end - region.read_start, source.info.sample_rate, rate)
        model.solve_ahead(at_rate(source, region, rate), n_samples, plans, step)


def hear_ahead(request: SeparationRequest, shelf: models.Shelf, cancelled: IsCancelled = lambda: False) -> None:
    """Do what any prompt on the request's region will need, so that `separate` finds it done: a flow model encodes the
    mixture. Raises `StembridgeError` as `separate` does, and `Cancelled`."""
    model = shelf.open(models.choose(request))

    def step(fraction: float) -> None:
        if cancelled():
            raise Cancelled

    if request.pre:
        return  # what will be heard is not what lies in the file
    with Source(request.source) as source:
        info, region, rate = source.info, resolve(request, source.info), model.card.grid.sample_rate
        step(0.0)
        key = _ask(request, region, info, _digest(source.blocks(region.read_start, region.read_end))).mixture_key
        n_samples = resampled_length(region.read_end - region.read_start, info.sample_rate, rate)
        model.hear_ahead(at_rate(source, region, rate), n_samples, key, step)
    logger.info("%s: heard ahead", request.source[0].name)


def shares_region(a: SeparationRequest, b: SeparationRequest) -> bool:
    """Whether two requests hear the same samples, and those of the source itself."""
    return not (a.pre or b.pre) and all(
        getattr(a, field) == getattr(b, field)
        for field in ("source", "start_s", "end_s", "item_start_s", "item_end_s", "context_s")
    )


def _treat(files: StemFiles, through: OpenEffects, n_samples: int, report: Report) -> tuple[str, ...]:
    """Run the stems through what delivers them; answers which were changed."""
    treated = tuple(stem for stem in files.finish() if through.treats(stem))
    for n, stem in enumerate(treated):

        def deliver(blocks: Iterator[Samples], n: int = n, stem: str = stem) -> Iterator[Samples]:
            done = 0
            for block in through.deliver(stem, blocks):
                yield block
                done += block.shape[1]
                report(0.98 + 0.01 * (n + min(1.0, done / n_samples)) / len(treated), "plugins")

        files.replace(stem, deliver)
    return treated


def _opened(effects: Effects | None, info: SourceInfo) -> AbstractContextManager[OpenEffects | None]:
    return effects.open(info.sample_rate, info.channels) if effects else nullcontext()


def _place(request: SeparationRequest, region: Region, info: SourceInfo) -> int:
    """The timeline sample of the region's start."""
    return region.start if request.position_s is None else sample_at(request.position_s, info.sample_rate)


def _ask(request: SeparationRequest, region: Region, info: SourceInfo, digest: str) -> Ask:
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


def _digest(blocks: Iterable[Samples]) -> str:
    digest = hashlib.blake2b(digest_size=32)
    for block in blocks:
        digest.update(block.data)
    return digest.hexdigest()
