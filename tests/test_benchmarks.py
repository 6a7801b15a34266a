"""The benchmarks' own parts: bounds are judged the right way round, and the files they measure are what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile

from benchmarks.offline import long_file, run_measured
from benchmarks.table import Figure, save


@pytest.mark.parametrize(
    ("value", "bound", "sense", "holds"),
    [
        (26, 25, ">=", True),
        (24, 25, ">=", False),
        (24, 25, "<=", True),
        (26, 25, "<=", False),
        (25, 25, "<=", True),
        (1, None, "<=", None),
    ],
)
def test_a_bound_is_judged_the_right_way_round(value: float, bound: float | None, sense: str, holds: bool) -> None:
    assert Figure("speed", value, "×", bound, sense, "").holds is holds  # type: ignore[arg-type]


def test_results_say_what_machine_they_are_from(tmp_path: Path) -> None:
    save([Figure("speed", 26.0, "×", 25.0, ">=", "two cores")], tmp_path / "results" / "r.json")
    written = json.loads((tmp_path / "results" / "r.json").read_text(encoding="utf-8"))
    (figure,) = written["figures"]
    assert (figure["what"], figure["value"], figure["bound"], figure["holds"]) == ("speed", 26.0, 25.0, True)
    assert {"cpu", "cores", "system", "python", "onnxruntime", "made"} <= set(written["machine"])


def test_the_long_file_is_as_long_as_it_says(tmp_path: Path) -> None:
    info = soundfile.info(long_file(tmp_path, 23.5))
    assert (info.frames, info.channels, info.samplerate) == (round(23.5 * 44_100), 2, 44_100)


def test_a_process_that_fails_is_not_measured(tmp_path: Path) -> None:
    wall_s, peak_mb = run_measured(["python3", "-c", "b = bytes(50_000_000)"])
    assert wall_s > 0
    assert peak_mb > 50
    with pytest.raises(Exception, match="status 3"):
        run_measured(["python3", "-c", "raise SystemExit(3)"])
