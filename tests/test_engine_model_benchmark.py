"""The network's benchmarks run where there is no GPU, on a toy network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.torch
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))


def run(module, *arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(autouse=True)
def _torch():
    if not os.environ.get("CI"):
        pytest.importorskip("torch", reason="torch is not installed")


def test_gpu_smoke(tmp_path):
    done = run("gpu", "--smoke", "--out", str(tmp_path))
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


def test_without_a_gpu_it_says_so(tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    done = run("gpu", "--out", str(tmp_path))
    assert done.returncode == 2
    assert "no CUDA device" in done.stderr


def test_cpu_toy(tmp_path):
    figures = tmp_path / "cpu.json"
    done = run("sam_cpu", "--size", "toy", "--seconds", "0.4", "--threads", "1", "--json", str(figures))
    assert done.returncode == 0, done.stderr
    facts = json.loads(figures.read_text())
    for part in ("evaluation", "encode", "decode"):
        assert facts[part]["s"] > 0
        assert facts[part]["of_plain"] > 0
        assert part in done.stdout
    assert facts["memory"]["weights"] == sum_of_toy()


def sum_of_toy():
    from benchmarks.drawn import TOY
    from engine.model.network import empty_network, parts_of

    return 4 * sum(p.numel() for part in parts_of(empty_network(TOY)).values() for p in part.parameters())
