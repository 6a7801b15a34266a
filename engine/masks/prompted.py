"""The embedded open-vocabulary model: any prompt, with spans, by masks.

A bundle of kind `prompted-mask` holds three graphs: the text encoder, the trunk (the sound, no prompt) and the head
(one prompt asked of the trunk's features). The trunk's answers are kept, so a second prompt on the same sound costs
only the head.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.audio import Samples
from engine.bundle import Bundle
from engine.masks.bands import Real, band_edges, to_bins
from engine.masks.features import features_of
from engine.masks.kept import Heard, Kept
from engine.masks.presence import UNFITTED, read_calibration, signs_of
from engine.masks.two_stems import no_waveform
from engine.masks.vocabulary import NEAR, towards_taught
from engine.masks.wording import (
    answers_in_part,
    answers_well,
    joins,
    knows,
    names_a_sound,
    no_sound,
    read_prompt,
    spelling,
)
from engine.masks.wordpiece import read_vocabulary, tokenize
from engine.request import Span
from engine.runtime import Ask, ModelCard, Plan, Step
from engine.runtimes.onnx_runtime import OnnxGraph
from engine.stereo import Mask
from engine.stft import Analysis, Grid, Spectrum
from engine.windows import Window, cut, join

TRUNK_OUTPUTS: Final = ("scale0", "scale1", "scale2", "scale3", "scale4", "context", "activity")
TAUGHT: Final = "phrases.npy"
"""The file of a bundle that holds a vector for each of its `phrases`, in float16."""
OVERLAP_FRAMES: Final = 32
_KEPT_BYTES: Final = 128 << 20
"""Trunk answers kept: about five minutes of stereo."""
_UNWANTED_GAIN: Final = np.float32(0.05)
"""What a mask is multiplied by where a span says that the sound is not there: −26 dB."""
_PLANS_REMEMBERED: Final = 64


class PromptedModel:
    """A bundle of kind `prompted-mask`, opened. See `engine.runtime.Model` for the contract of each method."""

    why: Final = ""

    def __init__(self, bundle: Bundle) -> None:
        facts = bundle.facts
        rate_hz, n_fft, hop = facts["rate_hz"], facts["n_fft"], facts["hop_samples"]
        # The network hears every second frame of the grid its masks are given on: half overlap is too coarse to apply.
        self.card = ModelCard(
            name=bundle.name,
            title=bundle.title,
            kind=bundle.kind,
            version=bundle.version,
            licence=bundle.licence,
            weights_sha256=bundle.weights_sha256,
            knows=knows(bundle),
            grid=Grid(rate_hz, n_fft, hop // 2),
        )
        self.heard_grid = Grid(rate_hz, n_fft, hop)
        self.edges = band_edges(self.heard_grid.n_bins, facts["n_bands"])
        self._window: int = facts["frames_window"]
        self._multiple: int = facts["frames_multiple"]
        self._n_tokens: int = facts["n_tokens"]
        self._n_text: int = facts["n_text"]
        self._bundle = bundle
        # The first phrase of a spelling wins: "drums", not "the drums".
        self._spelt = {spelling(phrase): phrase for phrase in reversed(facts.get("phrases", ()))}
        has_taught = TAUGHT in bundle.files
        taught = np.load(bundle.path(TAUGHT)) if has_taught else np.zeros((0, self._n_text))
        self._taught: Real = taught.astype(np.float32)
        fitted = "presence.json" in bundle.files
        self._calibration = read_calibration(bundle.path("presence.json")) if fitted else UNFITTED
        self._vocabulary: Path = bundle.path("vocab.txt")
        self._text, self._trunk, self._head = (OnnxGraph(bundle.path(f"{n}.onnx")) for n in ("text", "trunk", "head"))
        self._kept = Kept(_KEPT_BYTES)
        self._presence: OrderedDict[Plan, float] = OrderedDict()

    @property
    def runtime(self) -> str:
        return f"onnx:{self._trunk.provider}"

    def close(self) -> None:
        self._kept.clear()

    def generate(self, mixture: Iterable[Samples], n_samples: int, plan: Plan, step: Step) -> Iterator[Samples]:
        raise no_waveform(self.card.name)

    def solve_ahead(self, mixture: Iterable[Samples], n_samples: int, plans: Sequence[Plan], step: Step) -> None:
        pass  # the trunk's answers are kept as they come, and the head costs little

    def hear_ahead(self, mixture: Iterable[Samples], n_samples: int, mixture_key: str, step: Step) -> None:
        pass  # the trunk's answers are kept as they come

    def facts(self, plan: Plan) -> Mapping[str, Any]:
        """`presence`: how sure the model is that the sound is there, 0 to 1, at the surest place. `found`: whether
        that is enough; where it is not, or hardly, `remark` says so."""
        if plan not in self._presence:
            return {}
        presence, (what, _) = self._presence[plan], read_prompt(plan.ask.prompt)
        what = what or "what the spans mark"
        found, remark = presence >= self._calibration.none, ""
        if not found:
            remark = f"This source was not found: {what}."
        elif presence < self._calibration.full:
            remark = f"It is not sure that this source is there: {what}."
        return {"presence": round(presence, 3), "found": found} | ({"remark": remark} if remark else {})

    def plan(self, ask: Ask) -> Plan:
        what, rest = read_prompt(ask.prompt)
        if not what and any(span.sign == "+" for span in ask.spans):
            return Plan(ask, "what sounds in the spans", "Spans alone find little: say what it is, too.", nfe=1)
        if not names_a_sound(what):
            raise no_sound(ask.prompt)
        but = f"This is everything but {what}." if rest else ""
        marked = any(span.sign == "+" for span in ask.spans)
        unsure = ""
        if not answers_well(self._bundle, ask.prompt, marked=marked):
            near = self._nearest(what)
            taken = f" It takes it much as {near!r}." if near else ""
            unsure = f"How well this model separates {what!r} was not measured, or not well: listen to it.{taken}"
            if answers_in_part(self._bundle, ask.prompt):
                unsure = f"This model separates {what!r} only in part: listen to it."
        note = " ".join(filter(None, (but, unsure)))
        return Plan(ask, f"not: {what}" if rest else what, note, nfe=1)

    def embed(self, phrase: str) -> Real:
        """The unit vector of a phrase, (384,); zeros for no words."""
        if not phrase:
            return np.zeros(self._n_text, np.float32)
        numbers = tokenize(phrase, read_vocabulary(self._vocabulary), self._n_tokens)
        tokens = np.zeros((1, self._n_tokens), np.int64)
        tokens[0, : len(numbers)] = numbers
        text: Real = self._text.run({"tokens": tokens}, ["text"])[0][0]
        return text

    def _understand(self, what: str) -> Real:
        """The vector of a phrase as it was taught, or of other words moved towards those that were."""
        if spelling(what) in self._spelt:
            return self.embed(self._spelt[spelling(what)])
        text = self.embed(what)
        return text if joins(what) else towards_taught(text, self._taught)

    def _nearest(self, what: str) -> str:
        """The taught phrase that other words are moved to, where they nearly become it."""
        if spelling(what) in self._spelt or joins(what) or not len(self._taught):
            return ""
        likeness = self._taught @ self.embed(what)
        nearest = int(likeness.argmax())
        return str(self._bundle.facts["phrases"][nearest]) if likeness[nearest] >= NEAR else ""

    def estimate(
        self,
        mixture: Iterable[Samples],
        channels: int,
        n_samples: int,
        plan: Plan,
        step: Step,
        *,
        wanted: tuple[int, int] | None = None,
    ) -> Iterator[Mask]:
        what, rest = read_prompt(plan.ask.prompt)
        text = self._understand(what)
        n_frames = self.heard_grid.n_frames(n_samples)
        spans = span_frames(plan.ask.spans, self.heard_grid, n_frames)
        windows = cut(n_frames, self._window, OVERLAP_FRAMES)

        def answers() -> Iterator[tuple[Window, Real]]:
            heard = self._hear(mixture, channels, windows, plan.ask.mixture_key)
            for window, pairs in zip(windows, heard, strict=True):
                gains, presence = self._ask(pairs, text, spans[window.start : window.end])
                self._remember(plan, presence, first=window is windows[0])
                yield window, 1 - gains[:channels] if rest else gains[:channels]
                step(window.end / windows[-1].end)

        for bands in _double(join(answers()), self.card.grid.n_frames(n_samples)):
            mask = to_bins(bands, self.edges)
            yield np.clip(mask, 0, 1, out=mask)  # rounding may step over by the last bit

    def _hear(
        self, mixture: Iterable[Samples], channels: int, windows: list[Window], mixture_key: str
    ) -> Iterator[list[Heard]]:
        """What the trunk made of each window, a pair of channels at a time. A mixture that is known by its key and
        still kept is not even read again."""
        firsts = range(0, channels, 2)
        keys = [[f"{mixture_key} {window.start} {first}" for first in firsts] for window in windows]
        kept = [[self._kept.get(key) for key in some] for some in keys] if mixture_key else []
        if kept and all(one is not None for some in kept for one in some):
            yield from ([one for one in some if one is not None] for some in kept)
            return
        for some, spectrum in zip(keys, _spectra(mixture, self.heard_grid, channels, windows), strict=True):
            pairs = [spectrum[first : first + 2] for first in firsts]
            yield [
                self._listen(pair if len(pair) == 2 else np.concatenate([pair, pair]), key if mixture_key else "")
                for key, pair in zip(some, pairs, strict=True)
            ]

    def _remember(self, plan: Plan, presence: float, *, first: bool) -> None:
        self._presence[plan] = presence if first else max(presence, self._presence.get(plan, 0.0))
        while len(self._presence) > _PLANS_REMEMBERED:
            self._presence.popitem(last=False)

    def _ask(self, pairs: list[Heard], text: Real, spans: Real) -> tuple[Real, float]:
        """`(channel, frame, band)` gains and presence. A last odd channel was heard beside itself: two equal gains."""
        gains, surest = [], 0.0
        for heard in pairs:
            signs, both = self._answer(heard, text, spans)
            probability = self._calibration.probability(signs)
            surest = max(surest, probability)
            # Who says where it is, or is not, knows better than any model.
            both = both * np.where(spans < 0, _UNWANTED_GAIN, np.float32(1))[:, None]
            sure = bool((spans > 0).any())
            gains.append(both if sure else both * np.float32(self._calibration.gain(probability)))
        return np.concatenate(gains), surest

    def signs(self, pair: Spectrum, text: Real) -> tuple[dict[str, float], Real]:
        """What presence is judged by, and the `(2, frame, band)` gains before it is: of a `(2, frame, bin)` spectrum
        on the grid `heard_grid`, at most a window long."""
        return self._answer(self._listen(pair, ""), text, np.zeros(pair.shape[1], np.float32))

    def _listen(self, pair: Spectrum, key: str) -> Heard:
        """What the trunk makes of a `(2, frame, bin)` spectrum, kept under a key; without one, under what it holds."""
        missing = -pair.shape[1] % self._multiple
        features, power = features_of(np.pad(pair, ((0, 0), (0, missing), (0, 0))), self.edges)
        key = key or hashlib.blake2b(np.ascontiguousarray(features).tobytes(), digest_size=16).hexdigest()
        heard = self._kept.get(key)
        if heard is None:
            found = self._trunk.run({"features": features[None]}, list(TRUNK_OUTPUTS))
            # Rounded the first time, too: a kept answer must not give another result than a fresh one.
            halves = {name: array.astype(np.float16) for name, array in zip(TRUNK_OUTPUTS, found, strict=True)}
            heard = Heard(halves, power)
            self._kept.put(key, heard)
        return heard

    def _answer(self, heard: Heard, text: Real, spans: Real) -> tuple[dict[str, float], Real]:
        n_frames, missing = len(spans), heard.power.shape[1] - len(spans)
        inputs = {name: array.astype(np.float32) for name, array in heard.halves.items()}
        asked = {**inputs, "text": text[None, None], "spans": np.pad(spans, (0, missing))[None, None]}
        masks, activity, presence = self._head.run(asked, ["masks", "heard", "presence"])
        gains: Real = masks[0, 0].transpose(0, 2, 1)[:, :n_frames]
        return signs_of(float(presence[0, 0]), activity[0, 0], gains, heard.power[:, :n_frames]), gains


def span_frames(spans: Iterable[Span], grid: Grid, n_frames: int) -> Real:
    """+1, −1 or 0 for each frame; where spans contradict each other the later one counts."""
    frames = np.zeros(n_frames, np.float32)
    for span in spans:
        start, end = (round(at_s * grid.sample_rate / grid.hop) for at_s in (span.start_s, span.end_s))
        frames[max(start, 0) : max(end, start + 1, 0)] = 1 if span.sign == "+" else -1
    return frames


def _spectra(
    mixture: Iterable[Samples], grid: Grid, channels: int, windows: list[Window]
) -> Iterator[npt.NDArray[np.complex64]]:
    """The `(channel, frame, bin)` spectrum of each window, from a stream of `(channel, sample)` blocks."""
    analysis, blocks = Analysis(grid, channels), iter(mixture)
    held = np.zeros((channels, 0, grid.n_bins), np.complex64)
    first = 0
    for window in windows:
        held, first = held[:, window.start - first :], window.start
        parts, have = [held], held.shape[1]
        while have < window.n_frames:
            block = next(blocks, None)
            parts.append(analysis.finish() if block is None else analysis.push(block))
            have += parts[-1].shape[1]
        held = np.concatenate(parts, axis=1)
        yield held[:, : window.n_frames]


def _double(blocks: Iterable[Real], n_frames: int) -> Iterator[Real]:
    """Twice as many frames, the new ones halfway between their neighbours; `n_frames` of them in all."""
    last: Real | None = None
    left = n_frames
    for block in blocks:
        known = block if last is None else np.concatenate([last, block], axis=1)
        between = (known[:, :-1] + known[:, 1:]) / 2
        out = np.stack([known[:, :-1], between], axis=2).reshape(known.shape[0], -1, known.shape[2])[:, :left]
        last = known[:, -1:]
        left -= out.shape[1]
        if out.shape[1]:
            yield out
    if last is not None and left:
        yield np.repeat(last, left, axis=1)
