"""The shared table of scenarios is whole: every host passes a row or says why the row cannot arise there."""

from __future__ import annotations

from pathlib import Path

import pytest
import scenario_page
from scenario_limits import NOT_POSSIBLE
from scenarios import HOSTS, SCENARIOS, rows_for

N_ROWS = 25
"""So many situations every host passes, at least."""


def test_every_situation_has_a_name_of_its_own() -> None:
    names = [row.name for row in SCENARIOS]
    assert len(names) == len(set(names))


def test_every_host_says_what_is_not_possible() -> None:
    assert list(NOT_POSSIBLE) == list(HOSTS)


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_passes_a_row_or_gives_a_reason(host: str) -> None:
    reasons = NOT_POSSIBLE[host]
    given = [name for names in reasons.values() for name in names]
    assert set(given) <= {row.name for row in SCENARIOS}
    assert len(given) == len(set(given)), "two reasons for one row"
    assert all(len(reason) > 20 for reason in reasons)
    assert len(rows_for(host)) + len(given) == len(SCENARIOS)
    assert len(rows_for(host)) >= N_ROWS


@pytest.mark.parametrize("host", HOSTS)
def test_the_rows_a_host_must_pass_are_run(host: str) -> None:
    tests = Path(__file__).with_name(f"test_{host}_scenarios.py")
    assert f'rows_for("{host}")' in tests.read_text(encoding="utf-8")


def test_the_page_of_what_works_where_is_current() -> None:
    assert scenario_page.PAGE.read_text(encoding="utf-8") == scenario_page.text(), "run: python tests/scenario_page.py"
