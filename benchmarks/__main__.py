"""`make bench`: the main job's figures beside their bounds. Run it on a machine that does nothing else."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from benchmarks import offline, online
from benchmarks.table import Figure, save, show


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "main_job.json")
    parser.add_argument("--without-hour", action="store_true", help="leave out the one-hour file (4 GB of disk)")
    options = parser.parse_args()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="stembridge-bench-") as name, Console(stderr=True).status("") as status:
        for figure in measure(Path(name), with_hour=not options.without_hour):
            figures.append(figure)
            status.update(f"{figure.what}: {figure.value:.4g} {figure.unit}")
    show(figures, "The main job")
    save(figures, options.out)


def measure(folder: Path, *, with_hour: bool) -> Iterator[Figure]:
    """All figures, the short ones first."""
    yield from online.figures(folder)
    yield from offline.figures(folder, with_hour=with_hour)


if __name__ == "__main__":
    main()
