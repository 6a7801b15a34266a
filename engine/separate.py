"""One request end to end: the single place where reading, the model, the original channels and the files meet.

source → region → model's masks → original channels at the original rate → target, residual → stems and manifest
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from engine import models
from engine.audio import Samples, Source, SourceInfo, resolve
from engine.cache import ResultCache
from engine.effects import Effects, OpenEffects, heard_digest, require_effects
from engine.errors import Cancelled, StembridgeError
from engine.known import ask_of, digest_of, identity_of, name_of, place_of
from engine.manifest import db, manifest_of, separation_of
from engine.manifest import stembridge_version as stembridge_version
from engine.passage import Report, at_rate, faithful, generated, returned
from engine.request import Progress, Separation, SeparationRequest
from engine.resample import resampled_length
from engine.stems import StemFiles, find_delivered

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
    first: tuple[float, float] | None = None  # when work was first told of, and how much of it was done by then

    def report(fraction: float, stage: str) -> None:
        nonlocal first
        if cancelled():
            raise Cancelled
        now_s = time.monotonic()
        first = first or ((now_s, fraction) if fraction > 0 else None)
        on_progress(Progress(fraction, stage, _left_s(first, now_s, fraction)))

    with Source(request.source) as heard, Source(request.source) as original:
        info = heard.info
        region = resolve(request, info)
        report(0, "reading")
        digest = heard_digest(digest_of(original.blocks(region.read_start, region.read_end)), effects)
        plan = model.plan(ask_of(request, region, info, digest))
        name, place = name_of(request), place_of(request, region, info)
        key, identity = identity_of(request, region, info, model, plan, digest, effects)
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


def _left_s(first: tuple[float, float] | None, now_s: float, fraction: float) -> float | None:
    """The time left at the speed since the first report; before it lies what may have been made for another request."""
    if first is None or fraction <= first[1]:
        return None
    return (now_s - first[0]) * (1 - fraction) / (fraction - first[1])


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
        digest = digest_of(source.blocks(region.read_start, region.read_end))
        plans = [model.plan(ask_of(first, region, source.info, digest))]
        for other in requests[1:]:
            with contextlib.suppress(StembridgeError):
                if shares_region(other, first) and models.choose(other) == name:
                    plans.append(model.plan(ask_of(other, resolve(other, source.info), source.info, digest)))
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
        key = ask_of(request, region, info, digest_of(source.blocks(region.read_start, region.read_end))).mixture_key
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
