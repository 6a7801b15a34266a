"""The page `docs/daws.md`: what works in which DAW, from the scenario table. Run `python tests/scenario_page.py`."""

from __future__ import annotations

from pathlib import Path

from scenario_limits import NOT_POSSIBLE
from scenarios import HOSTS, SCENARIOS, reason, rows_for

PAGE = Path(__file__).parents[1] / "docs" / "daws.md"
_HEAD = """# What works in which DAW

<!-- Written by `python tests/scenario_page.py` from the table in `tests/scenarios.py`. Change that, not this page. -->

One table of situations holds for every DAW: [what a script does](../daw_scripts/README.md) in each is the same, and a
test runs it. Where a situation cannot arise in a DAW, a number says why.

| DAW | page | the situations are run in | situations |
|---|---|---|---|
"""
_PAGES = {
    "ardour": "ardour.md",
    "reaper": "reaper.md",
    "live": "live.md",
    "bitwig": "bitwig.md",
    "audacity": "audacity.md",
}
_REST = """
Every other DAW (Logic, Pro Tools, Cubase, FL Studio, Studio One …) works through [the watch folder](watch-folder.md),
and whole sessions through [batches](batch.md).

“A stand-in” is a program of ours that behaves as the DAW's documentation says, and refuses what that does not know. It
shows that the script does what it should, not that the DAW does.

## The situations

✓: run, and as it should be.

"""


def text() -> str:
    """The page."""
    lines = [_HEAD.rstrip("\n")]
    for key, program in HOSTS.items():
        rows = f"{len(rows_for(key))} of {len(SCENARIOS)}"
        lines.append(f"| {program.name} | [{_PAGES[key]}]({_PAGES[key]}) | {program.run_in} | {rows} |")
    lines += ["", _REST.strip("\n"), ""]
    lines += ["| situation | " + " | ".join(program.name for program in HOSTS.values()) + " |"]
    lines += ["|---|" + ":-:|" * len(HOSTS)]
    for row in SCENARIOS:
        cells = [_mark(key, reason(key, row.name)) for key in HOSTS]
        lines.append(f"| {row.name} | {' | '.join(cells)} |")
    for key, program in HOSTS.items():
        if NOT_POSSIBLE[key]:
            lines += ["", f"## {program.name}: what cannot arise, and why", ""]
            lines += [f"{number}. {why}" for number, why in enumerate(NOT_POSSIBLE[key], 1)]
    return "\n".join(lines) + "\n"


def _mark(host: str, why: str | None) -> str:
    return "✓" if why is None else str(list(NOT_POSSIBLE[host]).index(why) + 1)


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
