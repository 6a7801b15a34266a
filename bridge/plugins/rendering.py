"""A separation with its plugin chains: what the model hears runs through `pre`, the stems through `post`.

Each chain has a worker of its own. The chains are loaded before the separation, so that a plugin that is missing or
set wrong is told at once; the workers wait meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bridge.plugins.chain import Chain, PluginUse, from_text
from bridge.plugins.places import find_plugin, host_version, require_host, stamp
from bridge.plugins.process import COMMAND, Limits, PluginFailure, Worker
from bridge.plugins.stream import through
from engine import models
from engine.audio import Samples
from engine.cache import ResultCache
from engine.effects import OpenEffects
from engine.errors import Cancelled, StembridgeError
from engine.request import Progress, Separation, SeparationRequest
from engine.separate import separate as separate_alone

STEMS = ("target", "residual")

logger = logging.getLogger(__name__)


def separate(
    request: SeparationRequest,
    shelf: models.Shelf,
    *,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    cancelled: Callable[[], bool] = lambda: False,
    cache: ResultCache | None = None,
    limits: Limits | None = None,
    command: Sequence[str] = COMMAND,
) -> Separation:
    """The engine's `separate`, with the request's `pre` and `post` chains.

    A plugin that is missing or fails takes the job with it. Where the preset says that it is not required, the job is
    done once more without it. Raises as that does, and `PluginFailure`: `plugin_missing`, `plugin_failed`,
    `bad_plugin`.
    """
    if not (request.pre or request.post):
        return separate_alone(request, shelf, on_progress=on_progress, cancelled=cancelled, cache=cache)
    require_host()
    hosting = Hosting(limits or Limits(), tuple(command), cancelled)
    kept = tuple(stem for stem in STEMS if request.keep in (stem, "both"))
    chains = Chains(from_text(request.pre), from_text(request.post), hosting, kept)
    with ExitStack() as stack:
        if cache is None and chains.lenient:  # the second try need not separate again
            cache = ResultCache(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stembridge-"))))
        try:
            return separate_alone(
                request, shelf, on_progress=on_progress, cancelled=cancelled, cache=cache, effects=chains
            )
        except ChainFailure as e:
            less = chains.without(e)
            left_out = f"{e.text} It was left out."
            logger.warning("%s", left_out)
        made = separate_alone(request, shelf, on_progress=on_progress, cancelled=cancelled, cache=cache, effects=less)
    return replace(made, note=f"{left_out} {made.note}".strip())


@dataclass(frozen=True)
class Hosting:
    """How workers are run."""

    limits: Limits
    command: tuple[str, ...]
    cancelled: Callable[[], bool]

    def start(self) -> Worker:
        """A worker that is given up when the job is cancelled."""

        def give_up() -> None:
            if self.cancelled():
                raise Cancelled

        return Worker(limits=self.limits, command=self.command, give_up=give_up)


class ChainFailure(StembridgeError):
    """A plugin's failure, and whose it was."""

    def __init__(self, failure: PluginFailure, use: PluginUse) -> None:
        super().__init__(failure.code, failure.text, failure.remedy)
        self.failure, self.use = failure, use


@dataclass(frozen=True)
class Chains:
    """The chains of one request: the engine's `Effects`."""

    pre: Chain
    post: Chain
    hosting: Hosting
    stems: tuple[str, ...] = STEMS
    """Those that are kept."""
    left_out: tuple[str, str] | None = None
    """The plugin that an earlier try failed with, and how."""

    @property
    def lenient(self) -> bool:
        """Whether anything may be left out."""
        return not all(use.required for use in (*self.pre, *self.post))

    @property
    def heard_as(self) -> str:
        """See `engine.effects.Effects`."""
        return _named(self.pre)

    @property
    def delivered_as(self) -> str:
        """See `engine.effects.Effects`."""
        return _named(self.post)

    def without(self, failed: ChainFailure) -> Chains:
        """The chains less the plugin that failed. Raises its failure where it is required, or its settings are wrong:
        that is for a person to mend."""
        if failed.use.required or failed.code == "bad_plugin":
            raise failed
        pre = tuple(use for use in self.pre if use is not failed.use)
        post = tuple(use for use in self.post if use is not failed.use)
        return replace(self, pre=pre, post=post, left_out=(failed.use.title, failed.text))

    @contextmanager
    def open(self, sample_rate: int, channels: int) -> Iterator[OpenEffects]:
        """See `engine.effects.Effects`. Raises `ChainFailure`."""
        with ExitStack() as stack:

            def loaded(chain: Chain) -> _Loaded | None:
                if not chain:
                    return None
                worker = stack.enter_context(self.hosting.start())
                with _blaming(chain):
                    return _Loaded(worker, chain, worker.open(chain, sample_rate, channels), sample_rate)

            pre = loaded(self.pre)
            post = {stem: loaded(tuple(use for use in self.post if use.on in (stem, "both"))) for stem in self.stems}
            yield _Open(pre, {stem: each for stem, each in post.items() if each is not None}, self.left_out)


@dataclass(frozen=True)
class _Loaded:
    """A chain in its worker."""

    worker: Worker
    chain: Chain
    facts: list[dict[str, Any]]
    sample_rate: int

    def run(self, blocks: Iterator[Samples], tail_samples: int = 0) -> Iterator[Samples]:
        with _blaming(self.chain):
            yield from through(self.worker, blocks, tail_samples)


@dataclass
class _Open:
    """The engine's `OpenEffects`."""

    pre: _Loaded | None
    post: dict[str, _Loaded]
    left_out: tuple[str, str] | None
    peaks: dict[str, float] = field(default_factory=dict)

    def hear(self, blocks: Iterator[Samples]) -> Iterator[Samples]:
        return blocks if self.pre is None else self.pre.run(blocks)

    def treats(self, stem: str) -> bool:
        return stem in self.post

    def deliver(self, stem: str, blocks: Iterator[Samples]) -> Iterator[Samples]:
        loaded = self.post[stem]
        tail_s = sum(use.tail_s for use in loaded.chain)
        peak = 0.0
        for block in loaded.run(blocks, round(tail_s * loaded.sample_rate)):
            peak = max(peak, float(np.max(np.abs(block), initial=0.0)))
            self.peaks[stem] = peak
            yield block

    def facts(self) -> dict[str, Any]:
        told: dict[str, Any] = {"nulls": not self.post}
        if self.pre is not None:
            told["pre"] = self.pre.facts
        for stem, loaded in self.post.items():
            tail_s = sum(use.tail_s for use in loaded.chain)
            told[stem] = {"chain": loaded.facts, "tail_s": tail_s, "peak": round(self.peaks.get(stem, 0.0), 6)}
        if self.left_out is not None:
            told["left_out"] = {"plugin": self.left_out[0], "why": self.left_out[1]}
        return told


@contextmanager
def _blaming(chain: Chain) -> Iterator[None]:
    try:
        yield
    except PluginFailure as e:
        raise ChainFailure(e, chain[min(e.place, len(chain) - 1)]) from e


def _named(chain: Chain) -> str:
    """The same for what makes the same samples: settings, the plugins' and presets' files, and the host's version."""
    if not chain:
        return ""
    told = []
    for use in chain:
        try:
            file = stamp(find_plugin(use.plugin))
        except StembridgeError:
            file = "missing"  # loading it will say so
        settings = {key: value for key, value in vars(use).items() if key != "required"}
        told.append(settings | {"file": file, "preset": _content(use.preset)})
    text = json.dumps([host_version(), told], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _content(preset: str | None) -> str | None:
    try:
        return preset and hashlib.blake2b(Path(preset).read_bytes(), digest_size=16).hexdigest()
    except OSError:
        return "missing"
