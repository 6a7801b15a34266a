"""What a run on a GPU has measured so far, and on what."""

from __future__ import annotations

import gc
import json
import platform
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import is_cuda


@dataclass
class Report:
    """What was measured so far; written to disk after every figure, so that a run cut short leaves its numbers."""

    path: Path
    deadline_s: float
    device: str
    facts: dict[str, Any]

    def add(self, part: str, name: str, value: float, unit: str, note: str = "") -> None:
        """Record a figure and print it."""
        self.facts.setdefault(part, {})[f"{name} [{unit}]"] = value
        print(f"{part:>10}  {name:<52}{value:>10.3f} {unit:<8}{note}", flush=True)
        self.save()

    def save(self) -> None:
        """Write what there is."""
        self.path.write_text(json.dumps(self.facts, indent=1) + "\n", encoding="utf-8")

    def left_s(self) -> float:
        """Seconds of the budget that are left."""
        return self.deadline_s - time.monotonic()

    @contextmanager
    def guarded(self, part: str, step: str) -> Iterator[None]:
        """Run a step; when it fails, record how and go on with the next."""
        try:
            yield
        except Exception as e:  # noqa: BLE001  a benchmark of many variants reports each failure and goes on
            self.facts.setdefault("failed", {})[f"{part}: {step}"] = f"{type(e).__name__}: {e}"
            print(f"{part:>10}  {step}: FAILED\n{traceback.format_exc()}", flush=True)
            self.save()
        finally:
            gc.collect()
            if is_cuda(self.device):
                torch.cuda.empty_cache()


def describe(device: str) -> dict[str, Any]:
    """What this ran on."""
    facts: dict[str, Any] = {"python": platform.python_version(), "torch": torch.__version__, "device": device}
    if is_cuda(device):
        free, total = torch.cuda.mem_get_info()
        facts |= {
            "gpu": torch.cuda.get_device_name(),
            "capability": torch.cuda.get_device_capability(),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            "memory_free_gb": free / 1e9,
            "memory_total_gb": total / 1e9,
        }
        driver = Path("/proc/driver/nvidia/version")
        if driver.exists():
            facts["driver"] = driver.read_text(encoding="utf-8").splitlines()[0]
    return facts


def peak_gb(device: str) -> float:
    """Most device memory in use since the last call, in GB."""
    if not is_cuda(device):
        return 0.0
    peak = torch.cuda.max_memory_allocated() / 1e9
    torch.cuda.reset_peak_memory_stats()
    return peak
