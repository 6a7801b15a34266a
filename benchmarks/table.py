"""Figures with the bounds they are held against, as a table for people and as JSON for the next run."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One measured figure."""

    what: str
    value: float
    unit: str
    bound: float | None
    """What it must reach; None where it is only shown."""
    sense: Literal[">=", "<="]
    conditions: str

    @property
    def holds(self) -> bool | None:
        """Whether the bound is kept; None without one."""
        if self.bound is None:
            return None
        return self.value >= self.bound if self.sense == ">=" else self.value <= self.bound


def machine() -> dict[str, str | int]:
    """What the figures were measured on."""
    names = {line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")}
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": ", ".join(sorted(names)) or platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "onnxruntime": version("onnxruntime"),
    }


def show(figures: Sequence[Figure], title: str) -> None:
    """Print the table; a bound that does not hold is marked, not hidden."""
    table = Table(title=title, title_justify="left")
    for column in ("what", "measured", "bound", "", "conditions"):
        table.add_column(column, justify="right" if column == "measured" else "left")
    marks = {True: "[green]holds", False: "[red]FALLS SHORT", None: ""}
    for f in figures:
        bound = "" if f.bound is None else f"{f.sense} {f.bound:g} {f.unit}"
        table.add_row(f.what, f"{f.value:.4g} {f.unit}", bound, marks[f.holds], f.conditions)
    Console(width=150).print(table)


def save(figures: Sequence[Figure], path: Path) -> None:
    """Write the figures and the machine as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine(), "figures": [asdict(f) | {"holds": f.holds} for f in figures]}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
