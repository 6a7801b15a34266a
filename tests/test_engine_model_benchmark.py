"""The GPU benchmark's steps run where there is no GPU, on a toy network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.torch
ROOT = Path(__file__).parents[1]


def run(*arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_smoke(tmp_path):
    if not os.environ.get("CI"):
        pytest.importorskip("torch", reason="torch is not installed")
    done = run("--smoke", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "gpu.json").read_text())
    assert "failed" not in facts, facts["failed"]
    assert facts["about"]["device"] == "cpu"
    assert {"ceilings", "codec", "toy"} <= facts.keys()
    assert facts["codec"]["bf16 decode against fp32 [dB]"] > 20
    assert facts["toy"]["bf16 velocity against fp32 [dB]"] > 30
    assert facts["toy"]["end to end eager, 32 NFE [ms]"] > 0
    for line in ("evaluation eager, batch 4", "end to end eager, 1 NFE"):
        assert line in done.stdout
