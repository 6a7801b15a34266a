"""Stage 3: measure an exported bundle, end to end through the engine's own model face.

Prints a table, writes `scores.json` and `curves.png`. SI-SDR improvement is over the mixture, in dB.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.bundle import read_bundle
from engine.masks.intent import read_intent
from engine.masks.prompted import PromptedModel, span_frames
from engine.metrics import si_sdr_db
from engine.models import DEFAULT, Shelf
from engine.request import Span
from engine.runtime import Ask, Model
from engine.stereo import Mask
from engine.stft import Analysis, Grid, Spectrum, Synthesis
from training.baselines import bandpasses, harmonic_percussive, ideal_banded, ideal_ratio
from training.clips import CLIP_S, Clip, Stereo, crossed, frets_on_fire, rendered, runs, sounding
from training.phrases import concepts
from training.sources import DRUM_PARTS

_GRID = Grid(44100, 4096, 1024)
_ENOUGH: Final = 3
"""Prompts of a concept without which nothing is said of it."""
_AHEAD_DB: Final = 2.0
_WORTH_DB: Final = 3.0
_SLACK_DB: Final = 0.5
_SMOOTHED: Final = 10
"""Lines of a training's curve, of 20 steps each, over which its picture takes means."""


def spectrum(audio: Stereo) -> Spectrum:
    analysis = Analysis(_GRID, 2)
    return np.concatenate([analysis.push(audio), analysis.finish()], axis=1)


def signal(frames: Spectrum, n: int) -> Stereo:
    synthesis = Synthesis(_GRID, 2, n)
    return np.concatenate([synthesis.push(frames.astype(np.complex64)), synthesis.finish()], axis=1)


def masks(model: Model, clip: Clip, prompt: str, spans: tuple[Span, ...] = ()) -> Mask:
    ask = Ask(prompt, spans)
    n = clip.mixture.shape[1]
    return np.concatenate(list(model.estimate([clip.mixture], 2, n, model.plan(ask), lambda _: None)), axis=1)


def measure(
    model: PromptedModel, clip: Clip, bands: dict[str, Any], voices: Model | None = None
) -> list[dict[str, Any]]:
    """One row a prompt: SI-SDR of the mixture, and improvements of the model and the baselines.

    `voices`: the embedded model of two stems, compared with where it knows the prompt.
    """
    mixture, n = spectrum(clip.mixture), clip.mixture.shape[1]
    lasting, striking = harmonic_percussive(mixture)
    rows = []
    others = list(clip.asked)
    for i, (name, stem) in enumerate(clip.asked.items()):
        if not stem.any():
            continue
        concept, target = concepts()[name], spectrum(stem)
        base = si_sdr_db(clip.mixture, stem)

        def gain(mask: Mask, stem: Stereo = stem, base: float = base) -> float:
            found = signal(mixture * mask, n)
            return max(si_sdr_db(found, stem), -30.0) - base if found.any() else -30.0 - base

        flags = sounding(stem)
        row: dict[str, Any] = {"clip": clip.name, "group": clip.group, "concept": name, "mixture": base}
        row["text"] = gain(masks(model, clip, concept.phrases[0]))
        row["presence"] = float(model.facts(model.plan(Ask(concept.phrases[0])))["presence"])
        row["paraphrase"] = gain(masks(model, clip, concept.held_out[0]))
        row["active"] = float(flags.mean())
        if 0.1 < flags.mean() < 0.8 and runs(flags):
            right = tuple(Span("+", a, min(b, CLIP_S)) for a, b in runs(flags))
            row["text+span"] = gain(masks(model, clip, concept.phrases[0], right))
            inside = np.maximum(span_frames(right, _GRID, mixture.shape[1]), 0)[:, None]
            row["mixture cut"] = gain(np.broadcast_to(inside, mixture.shape))
            row["band-pass cut"] = gain(np.broadcast_to(inside * bands[name], mixture.shape)) if name in bands else 0.0
            row["span alone"] = gain(masks(model, clip, "", right))
            no = tuple(Span("-", a, min(b, CLIP_S)) for a, b in runs(~flags))
            row["text+span±"] = gain(masks(model, clip, concept.phrases[0], right + no))
            if no:
                wrong = tuple(Span("+", span.start_s, span.end_s) for span in no)
                row["wrong span"] = gain(masks(model, clip, concept.phrases[0], wrong))
        wrong_names = [o for o in others if not concepts()[o].covers & concept.covers]
        if wrong_names:
            row["wrong prompt"] = gain(masks(model, clip, concepts()[wrong_names[i % len(wrong_names)]].phrases[0]))
        row["band-pass"] = gain(np.broadcast_to(bands[name], mixture.shape)) if name in bands else 0.0
        row["HPSS"] = gain(striking if concept.covers <= set(DRUM_PARTS) else lasting)
        if voices is not None and read_intent(concept.phrases[0]) is not None:
            row["two stems"] = gain(masks(voices, clip, concept.phrases[0]))
        row["ideal bands"] = gain(ideal_banded(target, mixture))
        row["ideal"] = gain(ideal_ratio(target, mixture))
        rows.append(row)
    return rows


def absent(model: PromptedModel, clip: Clip) -> list[tuple[float, float]]:
    """For prompts that are not there: the level of what comes out over the mixture in dB, and the presence."""
    mixture = spectrum(clip.mixture)
    whole = float((np.abs(mixture) ** 2).sum())
    found = []
    for name in clip.absent:
        out = mixture * masks(model, clip, concepts()[name].phrases[0])
        presence = float(model.facts(model.plan(Ask(concepts()[name].phrases[0])))["presence"])
        found.append((float(10 * np.log10((np.abs(out) ** 2).sum() / whole + 1e-9)), presence))
    return found


def answered_well(rows: list[dict[str, Any]]) -> list[str]:
    """Concepts that a user can ask for by name alone, by these rows.

    The first phrase must beat the best of the baselines by `_AHEAD_DB`, and a paraphrase never trained on beat it;
    among recordings, too, where there are any of that concept. Rendered, it must improve the mixture by `_WORTH_DB`.
    """
    return _chosen(rows, _AHEAD_DB, _WORTH_DB)


def answered_in_part(rows: list[dict[str, Any]]) -> list[str]:
    """Concepts that are answered better than by the baselines, and no more than that; those answered well included.
    The unseen paraphrase may lie `_SLACK_DB` behind them: what is asked most are phrases that were learnt."""
    return _chosen(rows, 0.0, _AHEAD_DB, _SLACK_DB)


def _chosen(rows: list[dict[str, Any]], ahead_db: float, worth_db: float, slack_db: float = 0.0) -> list[str]:
    found = []
    for concept in concepts().values():
        sets: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in rows:
            if row["concept"] == concept.name:
                sets["rendered" if row["group"] == "rendered" else "real"].append(row)
        good = all(_beats(some, ahead_db, slack_db) for some in sets.values() if some)
        if len(sets["rendered"]) >= _ENOUGH and good and _mean(sets["rendered"], "text") >= worth_db:
            found.append(concept.name)
    return found


def _mean(rows: list[dict[str, Any]], column: str) -> float:
    return float(np.mean([row[column] for row in rows]))


def _beats(rows: list[dict[str, Any]], ahead_db: float, slack_db: float) -> bool:
    best = max(_mean(rows, "band-pass"), _mean(rows, "HPSS"))
    return _mean(rows, "text") >= best + ahead_db and _mean(rows, "paraphrase") > best - slack_db


def answered_well_with_spans(rows: list[dict[str, Any]]) -> list[str]:
    """Concepts that a user can ask for who marks where they sound.

    Better than what the spans cut from the mixture or its band-pass, by `_AHEAD_DB`, and worth `_WORTH_DB`.
    """
    found = []
    for name in concepts():
        some = [row for row in rows if row["concept"] == name and "text+span" in row]
        if len(some) >= _ENOUGH:
            cut = max(_mean(some, "mixture cut"), _mean(some, "band-pass cut"))
            if _mean(some, "text+span") >= max(_WORTH_DB, cut + _AHEAD_DB):
                found.append(name)
    return found


def table(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Means by group and by concept of the rendered clips."""
    columns: tuple[str, ...] = ("mixture", "text", "paraphrase", "text+span", "text+span±", "span alone")
    columns += (
        "mixture cut",
        "band-pass cut",
        "wrong span",
        "wrong prompt",
        "band-pass",
        "HPSS",
        "two stems",
        "ideal bands",
        "ideal",
    )
    sets: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        sets[f"= {row['group']}"].append(row)
        sets[row["concept"] if row["group"] == "rendered" else f"{row['group']}: {row['concept']}"].append(row)
        if "text+span" in row:
            sets[f"= {row['group']}, intermittent"].append(row)
    return {
        name: {"n": len(some)} | {c: float(np.mean(v)) for c in columns if (v := [r[c] for r in some if c in r])}
        for name, some in sorted(sets.items())
    }


def print_table(found: dict[str, dict[str, float]]) -> None:
    columns = list(dict.fromkeys(c for row in found.values() for c in row))
    print(f"{'':34}" + "".join(f"{c:>13}" for c in columns))
    for name, row in found.items():
        print(f"{name:34}" + "".join(f"{row[c]:13.1f}" if c in row else " " * 13 for c in columns))


def plot(curve: list[dict[str, float]], found: dict[str, dict[str, float]], path: Path) -> None:
    import matplotlib
    from scipy import ndimage

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=(15, 13))
    grid = figure.add_gridspec(2, 2, width_ratios=(1, 1.3))
    gained, lost, right = (figure.add_subplot(grid[at]) for at in ((0, 0), (1, 0), (slice(None), 1)))
    for axes, columns in ((gained, ("gain_db",)), (lost, ("likeness", "error", "activity", "presence", "concepts"))):
        for name in columns if curve else ():
            steps, values = zip(*((line["step"], line[name]) for line in curve if name in line), strict=True)
            (seen,) = axes.plot(steps, values, alpha=0.25)
            smooth = ndimage.uniform_filter1d(np.array(values), _SMOOTHED, mode="nearest")
            axes.plot(steps, smooth, color=seen.get_color(), label=name)
            axes.legend()
        axes.set(xlabel="step")
    gained.set(ylabel="SI-SDR improvement, dB", title=f"the last training: means of 20 steps, and of {20 * _SMOOTHED}")
    lost.set(ylabel="loss")
    names = [name for name in found if not name.startswith("=")]
    height = np.arange(len(names))
    for i, column in enumerate(("text", "band-pass", "ideal bands")):
        right.barh(height + 0.25 * i, [found[name].get(column, 0) for name in names], 0.25, label=column)
    right.set_yticks(height + 0.25, names, fontsize=7)
    right.set(xlabel="SI-SDR improvement, dB", title="held-out songs and recordings", ylim=(-1, len(names)))
    right.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def clips(args: argparse.Namespace) -> Iterable[Clip]:
    yield from rendered(args.held_out, 2 if args.smoke else args.clips)
    if args.guitars and not args.smoke:
        yield from frets_on_fire(args.guitars, 2)
        if args.loops and args.speech:
            yield from crossed(args.loops, args.guitars, args.speech, 10)


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser("training evaluate", description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--bank", type=Path, required=True, help="training songs, for the band-pass baseline")
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--guitars", type=Path, help="folder of Frets on Fire songs")
    parser.add_argument("--loops", type=Path, help="Sonic Pi's samples")
    parser.add_argument("--speech", type=Path, help="folder of recorded voices in .ogg")
    parser.add_argument("--curve", type=Path)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--smoke", action="store_true", help="two clips")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    bundle = read_bundle(args.bundle)
    model = PromptedModel(bundle)
    bands = bandpasses(args.bank, 4 if args.smoke else 600)
    voices = None if args.smoke else Shelf().open(DEFAULT)
    rows, silent, began = [], [], time.monotonic()
    for clip in clips(args):
        rows += measure(model, clip, bands, voices)
        silent += absent(model, clip)
    found = table(rows)
    print_table(found)
    levels = [level for level, _ in silent]
    deep = np.mean([level <= -20 for level in levels])
    print(f"absent prompts: median {np.median(levels):.1f} dB, {deep:.0%} at -20 or below, worst {max(levels):.1f} dB")
    good = answered_well(rows)
    marked = answered_well_with_spans(rows)
    print(f"answered well by text alone: {', '.join(good)}; with spans: {', '.join(marked)}")
    print(f"{time.monotonic() - began:.0f} s")
    curve = json.loads(args.curve.read_text(encoding="utf-8")) if args.curve else []
    scores = {
        "weights": bundle.weights_sha256,
        "good": good,
        "in part": answered_in_part(rows),
        "good with spans": marked,
        "table": found,
        "absent": silent,
        "rows": rows,
    }
    (args.out / "scores.json").write_text(json.dumps(scores, indent=1), encoding="utf-8")
    plot(curve, found, args.out / "curves.png")
