"""Stage 5: what was measured, in one file. `evaluate` may run in parts, on several cores; this puts them together.

Writes `scores.json` with every prompt's row, rounded, and `curves.png`. `python -m benchmarks.readme` makes the tables
of the README and the model card from it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.evaluate import answered_in_part, answered_well, answered_well_with_spans, plot, print_table, table


def merged(parts: Sequence[dict[str, Any]], measured: str, presence: dict[str, Any] | None = None) -> dict[str, Any]:
    """One set of scores of the parts'; they must be of the same weights, else `ValueError`. `presence`: what the stage
    of that name found of its own judgement."""
    weights = {part["weights"] for part in parts}
    if len(weights) != 1:
        raise ValueError(f"these scores are of several weights: {', '.join(sorted(weights))}")
    rows = [row for part in parts for row in part["rows"]]
    return {
        "about": {"measured": measured, "weights": weights.pop()},
        "presence": presence or {},
        "good": answered_well(rows),
        "in part": answered_in_part(rows),
        "good with spans": answered_well_with_spans(rows),
        "absent": [[round(level, 2), presence] for part in parts for level, presence in part["absent"]],
        "rows": [{k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()} for row in rows],
    }


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser("training scores", description=__doc__)
    parser.add_argument("parts", type=Path, nargs="+", help="scores.json of `evaluate`, one or more")
    parser.add_argument("--measured", required=True, help="when, in words: 21 November 2026")
    parser.add_argument("--curve", type=Path, help="curve.json of `train`")
    parser.add_argument("--presence", type=Path, help="judged.json of `presence`")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    args = parser.parse_args(argv)
    judged = json.loads(args.presence.read_text(encoding="utf-8")) if args.presence else None
    scores = merged([json.loads(part.read_text(encoding="utf-8")) for part in args.parts], args.measured, judged)
    args.out.mkdir(parents=True, exist_ok=True)
    found = table(scores["rows"])
    print_table(found)
    lines = ",\n".join(f" {json.dumps(key)}: {_lines(value)}" for key, value in scores.items())
    (args.out / "scores.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    plot(json.loads(args.curve.read_text(encoding="utf-8")) if args.curve else [], found, args.out / "curves.png")


def _lines(value: Any) -> str:
    """JSON, a line for each entry of a long list."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n  " + ",\n  ".join(json.dumps(one, ensure_ascii=False) for one in value) + "\n ]"
    return json.dumps(value, ensure_ascii=False)
