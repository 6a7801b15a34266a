"""What the model of any prompt was measured at, as the README and its model card show it: from `training/scores.json`.

No figure here is written by hand. SI-SDR improvements over the mixture are in dB.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
SCORES: Final = ROOT / "training" / "scores.json"
SPEED: Final = Path(__file__).parent / "results" / "prompted.json"
SETS: Final = {
    "rendered": "rendered, unseen instruments",
    "real, crossed": "real loops, guitars, voices, crossed",
    "real rock guitar": "real rock songs: their guitars",
}
SHOWN: Final = (
    "kick", "snare", "hihat", "cymbals", "drums", "bass", "bass guitar", "electric guitar", "acoustic guitar", "piano",
    "organ", "strings", "violin", "brass", "saxophone", "flute", "synth lead", "synth pad", "lead vocals", "speech",
)  # fmt: skip
"""Concepts of the README's table; the card has all."""
ABSENT_DB: Final = -20.0
_SPEEDS: Final = ("times_real_time", "eight_prompts_over_one", "eight_stems_over_one")
Rows = Sequence[Mapping[str, Any]]


def read(path: Path = SCORES) -> dict[str, Any]:
    """What `python -m training scores` wrote."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def readme(scores: Mapping[str, Any], speed: Mapping[str, Any] | None) -> str:
    """The README's block: sets and some prompts, beside baselines and ceiling, and the aims."""
    lines = [
        f"SI-SDR improvement over the mixture in dB, means, {_when(scores)}; a prompt of text alone unless it says "
        "more. HPSS takes the struck or the sounding part; the ideal ratio mask is the best any mask can do. "
        "[The model card](training/MODEL_CARD.md) has every prompt and what limits it.",
        "",
        *_sets(scores),
        "",
        *_concepts(scores, SHOWN),
        "",
        *_aims(scores, speed),
    ]
    return "\n".join(lines) + "\n"


def card_sets(scores: Mapping[str, Any]) -> str:
    """The card's first block: the sets, then targets that come and go."""
    return "\n".join([*_sets(scores), "", *_intermittent(scores), "", *_presence(scores)]) + "\n"


def card_concepts(scores: Mapping[str, Any]) -> str:
    """The card's second block: every concept that the rendered set asks for."""
    return "\n".join(_concepts(scores, sorted({row["concept"] for row in _of(scores, "rendered")}))) + "\n"


def card_aims(scores: Mapping[str, Any], speed: Mapping[str, Any] | None) -> str:
    """The card's third block."""
    return "\n".join(_aims(scores, speed)) + "\n"


def _sets(scores: Mapping[str, Any]) -> Iterator[str]:
    yield "| set | prompts | mixture | **model** | unseen paraphrase | band-pass | HPSS | ideal ratio mask |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, words in SETS.items():
        rows = _of(scores, name)
        if rows:
            cells = [_gain(rows, c) for c in ("paraphrase", "band-pass", "HPSS", "ideal")]
            mixture = f"{_mean(rows, 'mixture'):.1f}".replace("-", "−")
            yield f"| {words} | {len(rows)} | {mixture} | **{_gain(rows, 'text')}** | {' | '.join(cells)} |"
    for name, words in SETS.items():
        known = [row for row in _of(scores, name) if "two stems" in row]
        if known:
            cells = [_gain(known, c) for c in ("paraphrase", "band-pass", "HPSS", "ideal")]
            said = f"{words}: prompts for voices (Spleeter: {_gain(known, 'two stems')})"
            mixture = f"{_mean(known, 'mixture'):.1f}".replace("-", "−")
            yield f"| {said} | {len(known)} | {mixture} | {_gain(known, 'text')} | {' | '.join(cells)} |"


def _intermittent(scores: Mapping[str, Any]) -> Iterator[str]:
    columns = {
        "text": "text", "text+span": "text + `+` spans", "text+span±": "text + `+` and `-`",
        "span alone": "spans alone", "wrong span": "wrong spans", "mixture cut": "mixture cut to the spans",
        "band-pass cut": "band-pass cut to the spans",
    }  # fmt: skip
    yield f"| targets that come and go | prompts | {' | '.join(columns.values())} |"
    yield "|---" * (len(columns) + 2) + "|"
    for name, words in SETS.items():
        rows = [row for row in _of(scores, name) if "text+span" in row]
        if rows:
            yield f"| {words} | {len(rows)} | {' | '.join(_gain(rows, c) for c in columns)} |"


def _presence(scores: Mapping[str, Any]) -> Iterator[str]:
    told = scores["presence"].get("held-out")
    if told:
        yield "| presence, on held-out songs | |"
        yield "|---|---|"
        yield f"| a sound that is there is judged likelier than one that is not | {100 * told['auc']:.0f} % of pairs |"
        yield f"| Brier score (0 right and sure, 0.25 a coin) | {told['brier']:.2f} |"
        before, after = (100 * told[f"absent_20_db_down{when}"] for when in ("_before", ""))
        yield f"| absent prompts 20 dB below the mixture: by the mask, turned down | {before:.0f} %, {after:.0f} % |"
        yield f"| what that costs a sound that is there, SDR, mean | {told['present_loss_db']:.2f} dB |"
        named = [f"{100 * told[f'{what}_called_not_found']:.1f} %" for what in ("absent", "present")]
        yield f"| said to be not found: absent, present | {', '.join(named)} |"


def _concepts(scores: Mapping[str, Any], names: Iterable[str]) -> Iterator[str]:
    yield "| rendered | prompts | model | with `+` spans | band-pass | HPSS | ideal | its result comes |"
    yield "|---|---|---|---|---|---|---|---|"
    for name in names:
        rows = [row for row in _of(scores, "rendered") if row["concept"] == name]
        if rows:
            cells = [_gain(rows, c) for c in ("text", "text+span", "band-pass", "HPSS", "ideal")]
            yield f"| {name} | {len(rows)} | {' | '.join(cells)} | {_taken(scores, name, rows)} |"


def _taken(scores: Mapping[str, Any], name: str, rows: Rows) -> str:
    if any("two stems" in row for row in rows):
        return "from Spleeter"
    for key, words in (("good", "bare"), ("in part", "noted: in part"), ("good with spans", "bare with a span")):
        if name in scores[key]:
            return words
    return "noted: not good"


def _aims(scores: Mapping[str, Any], speed: Mapping[str, Any] | None) -> Iterator[str]:
    yield "| aim | reached | |"
    yield "|---|---|---|"
    for aim, (met, said) in _judged(scores, speed):
        yield f"| {aim} | {said} | {'yes' if met else '**no**'} |"


def _judged(scores: Mapping[str, Any], speed: Mapping[str, Any] | None) -> Iterator[tuple[str, tuple[bool, str]]]:
    rendered = _of(scores, "rendered")
    drums, bass = (_mean([r for r in rendered if r["concept"] == name], "text") for name in ("drums", "bass"))
    yield "rendered: drums and bass ≥ 8", (min(drums, bass) >= 8, f"drums {_signed(drums)}, bass {_signed(bass)}")
    names = sorted({row["concept"] for row in rendered})
    means = {name: [row for row in rendered if row["concept"] == name] for name in names}
    below = [name for name, rows in means.items() if _mean(rows, "text") < _mean(rows, "band-pass")]
    every = _mean(rendered, "text")
    yield (
        "rendered: ≥ 5 over 20 prompts or more",
        (every >= 5 and len(names) >= 20, f"{_signed(every)} over {len(names)}"),
    )
    yield "rendered: no prompt below its band-pass", (not below, f"below: {', '.join(below)}" if below else "none is")
    ahead = {
        w: _mean(r, "text") - _mean(r, "band-pass")
        for n, w in SETS.items()
        if n != "rendered" and (r := _of(scores, n))
    }
    said = "; ".join(f"{words}: {_signed(value)}" for words, value in ahead.items())
    yield "real recordings: ≥ 2 above the band-pass", (bool(ahead) and min(ahead.values()) >= 2, said)
    come_and_go = [row for row in scores["rows"] if "text+span" in row]
    more = {
        n: _mean(r, "text+span") - _mean(r, "text") for n in SETS if (r := [x for x in come_and_go if x["group"] == n])
    }
    said = "; ".join(f"{SETS[name].split(',')[0]} {_signed(value)}" for name, value in more.items())
    yield "a right span: ≥ 0.5 above text alone, where the target comes and goes", (min(more.values()) >= 0.5, said)
    both = [row for row in come_and_go if "wrong span" in row]
    worse = _mean(both, "text+span") - _mean(both, "wrong span")
    yield "a wrong span is worse than a right one", (worse > 0, f"by {worse:.1f}")
    apart = sorted(abs(row["text"] - row["paraphrase"]) for row in rendered)
    middle, average = apart[len(apart) // 2], sum(apart) / len(apart)
    yield "paraphrases within 0.5 of each other", (average <= 0.5, f"median {middle:.1f}, mean {average:.1f}")
    asked = [row for row in scores["rows"] if "wrong prompt" in row]
    share = sum(row["wrong prompt"] < row["text"] for row in asked) / len(asked)
    by = _mean(asked, "text") - _mean(asked, "wrong prompt")
    yield (
        "a wrong prompt scores below the right one",
        (share == 1, f"for {100 * share:.0f} % of prompts, by {by:.1f} on average"),
    )
    levels = [level for level, _ in scores["absent"]]
    deep = sum(level <= ABSENT_DB for level in levels) / len(levels)
    middle = sorted(levels)[len(levels) // 2]
    said = (
        f"for {100 * deep:.0f} % of {len(levels)} absent prompts; median {middle:.0f}, worst {max(levels):.0f}".replace(
            "-", "−"
        )
    )
    yield "absent: output ≥ 20 below the mixture", (deep == 1, said)
    if speed is not None:
        times, eight, stems = (speed[name] for name in _SPEEDS)
        yield "one prompt, two cores, end to end: ≥ 30 × real time", (times >= 30, f"{times:.0f} ×")
        yield "eight prompts on one sound, their masks: ≤ 2 × the time of one", (eight <= 2, f"{eight:.1f} ×")
        yield "the same with all stems written", (stems <= 2, f"{stems:.1f} ×")


def _when(scores: Mapping[str, Any]) -> str:
    return str(scores["about"]["measured"])


def _of(scores: Mapping[str, Any], group: str) -> Rows:
    return [row for row in scores["rows"] if row["group"] == group]


def _mean(rows: Rows, column: str) -> float:
    values = [row[column] for row in rows if column in row]
    return sum(values) / len(values) if values else float("nan")


def _gain(rows: Rows, column: str) -> str:
    return _signed(_mean(rows, column)) if any(column in row for row in rows) else ""


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


BLOCKS: Final[dict[str, tuple[Path, Callable[[Mapping[str, Any], Mapping[str, Any] | None], str]]]] = {
    "quality of the model of any prompt": (ROOT / "README.md", readme),
    "sets": (ROOT / "training" / "MODEL_CARD.md", lambda scores, speed: card_sets(scores)),
    "prompts": (ROOT / "training" / "MODEL_CARD.md", lambda scores, speed: card_concepts(scores)),
    "aims": (ROOT / "training" / "MODEL_CARD.md", card_aims),
}
"""What stands between `<!-- NAME: …` and `<!-- end of NAME -->`, and in which file."""
