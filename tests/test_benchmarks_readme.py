"""The tables of the README and the model card say what the result files say, and name what no file holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import prompted_quality
from benchmarks.readme import BEGIN, CPU_FILE, END, GPU_FILE, README, TORCH_FILE, pages, render, splice
from engine import models
from engine.bundle import read_bundle

TORCH: dict[str, Any] = {
    "size": "small",
    "seconds": 10.0,
    "threads": 2,
    "memory": {"used": 2_650_000_000},
    "encode": {"s": 3.4, "gflop_s": 150.4, "of_plain": 0.77},
    "evaluation": {"s": 1.4, "gflop_s": 150.4, "of_plain": 0.77},
    "decode": {"s": 7, "gflop_s": 150.4, "of_plain": 0.77},
}
STAGES = {"encode": 3.0, "text": 0.05, "velocity": 0.5, "decode, 2 streams": 9.0}
CPU: dict[str, Any] = {
    "machine": {
        "cpu": "Some CPU",
        "system": "Linux",
        "python": "3.11",
        "onnxruntime": "1.31",
        "torch": "2.13",
        "cores": 2,
    },
    "size": "small",
    "seconds": 10.0,
    "threads": 2,
    "repeats": 2,
    "gflop": {"velocity": 210.0},
    "matmul_gflop_s": {"float32": 420.0, "bfloat16": 840.0},
    "errors": {
        "bf16": {
            "below_few_step_error": False,
            "checks": [{"what": "velocity", "snr_db": 47.2, "cosine": 0.99999}, {"what": "solve", "snr_db": 49.6}],
            "few_step_error_db": 45.9,
            "few_step_sound_db": 34.7,
        }
    },
    "runtimes": {
        name: {
            "stages_s": STAGES,
            "end_to_end_s": {"10 s, 4 NFE": 14.0, "2 s preview, 1 NFE": 2.25},
            "memory_bytes": {"before": 1, "peak": 3_000_000_000},
            **({"overhead": 0.0123} if name == "fp32" else {}),
        }
        for name in ("torch", "bf16", "fp32")
    },
}
GPU: dict[str, Any] = {
    "about": {"device": "cuda", "gpu": "Some GPU", "torch": "2.13", "cuda": "13.0", "driver": "600.1"},
    "large": {"end to end graph, 8 NFE [ms]": 49.5, "fp32 weights [GB]": 11.7},
    "seconds": 400.0,
}


def write(folder: Path, **files: Any) -> Path:
    for name, content in files.items():
        (folder / {"cpu": CPU_FILE, "torch": TORCH_FILE, "gpu": GPU_FILE}[name]).write_text(json.dumps(content))
    return folder


def test_every_page_is_in_step_with_the_results() -> None:
    found = pages()
    assert {path.name for path in found} == {"README.md", "MODEL_CARD.md"}
    for path, text in found.items():
        assert path.read_text(encoding="utf-8") == text, "run: python -m benchmarks.readme"
    assert "ideal ratio mask" in found[README]


def test_the_scores_are_of_the_weights_that_ship() -> None:
    assert prompted_quality.read()["about"]["weights"] == read_bundle(models.EMBEDDED / "prompted").weights_sha256


def test_the_quality_table_is_arithmetic_on_the_rows() -> None:
    columns = {"mixture": -5.0, "paraphrase": 3.0, "band-pass": 1.0, "HPSS": 0.0, "ideal": 12.0, "wrong prompt": -4.0}
    spans = {"text+span": 6.0, "text+span±": 7.0, "span alone": 1.0, "wrong span": 2.0, "mixture cut": 1.0}
    rows = [
        {"group": "rendered", "concept": "drums", "text": 4.0} | columns,
        {"group": "rendered", "concept": "bass", "text": 9.0} | columns | spans | {"band-pass cut": 3.0},
        {"group": "real, crossed", "concept": "speech", "text": 2.0, "two stems": 8.0} | columns,
    ]
    scores = {"about": {"measured": "today"}, "rows": rows, "absent": [[-25.0, 0.1], [-5.0, 0.9]], "presence": {}}
    scores |= {"good": ["bass"], "in part": ["bass", "drums"], "good with spans": []}
    table = prompted_quality.readme(
        scores, {"times_real_time": 31.0, "eight_prompts_over_one": 1.5, "eight_stems_over_one": 2.5}
    )
    assert "| rendered, unseen instruments | 2 | −5.0 | **+6.5** | +3.0 | +1.0 | +0.0 | +12.0 |" in table
    assert "| drums | 1 | +4.0 |  | +1.0 | +0.0 | +12.0 | noted: in part |" in table
    assert "| bass | 1 | +9.0 | +6.0 | +1.0 | +0.0 | +12.0 | bare |" in table
    assert "| rendered: drums and bass ≥ 8 | drums +4.0, bass +9.0 | **no** |" in table
    assert "crossed: +1.0 | **no** |" in table
    assert "for 50 % of 2 absent prompts; median −5, worst −5 | **no** |" in table
    assert "| 31 × | yes |" in table
    assert "| 2.5 × | **no** |" in table


def test_without_any_file_nothing_is_claimed(tmp_path: Path) -> None:
    table = render(tmp_path)
    assert table.startswith("**Not measured:**")
    for what in ("onnxruntime at a released size", "anything on a GPU", "TensorRT", "base and large"):
        assert what in table
    assert "|" not in table


def test_figures_of_torch_alone_are_shown_until_all_runtimes_were_measured(tmp_path: Path) -> None:
    assert "| one velocity evaluation | 1.40 s | 150 | 0.77 |" in render(write(tmp_path, torch=TORCH))
    both = render(write(tmp_path, cpu=CPU))
    assert "1.40 s" not in both
    full, half = "0.50 s (420 GFLOP/s, 1.00)", "0.50 s (420 GFLOP/s, 0.50)"
    assert f"| one velocity evaluation | {full} | {half} | {full} |" in both
    assert "| **2 s preview, 1 NFE** | 2.25 s | 2.25 s | 2.25 s | ≤ 2.5 s |" in both
    assert "torch bf16: velocity 47 dB, solve 50 dB, 4 evaluations against 32 with these weights: 46 dB" in both
    assert "not idle" not in both
    busy = render(write(tmp_path, cpu={**CPU, "load_before": [4.2, 1, 1], "load_after": [8.9, 1, 1]}))
    assert "The machine was not idle: its load average was 9 on 2 cores" in busy
    assert "35 dB of the sound: not used unless it is asked for (velocity cosine 0.999990)" in both
    assert "| 1.2 % | ≤ 3 % |" in both
    assert "onnxruntime int8, onnxruntime fp16 on a CPU" in both
    assert "onnxruntime at a released size" not in both


def test_a_gpus_figures_name_device_driver_and_versions(tmp_path: Path) -> None:
    table = render(write(tmp_path, gpu=GPU))
    assert "On Some GPU (driver: 600.1; torch 2.13, CUDA 13.0)" in table
    assert "| large: end to end graph, 8 NFE | 49.50 |" in table
    assert "weights" not in table.split("**Not measured:**")[0].split("|---|---|")[1]
    assert "anything on a GPU" not in table
    assert "TensorRT: its plans are built" in table
    about = {**GPU["about"], "tensorrt": "tensorrt 11.1"}
    aim = {"run": "graph", "ms": 49.5, "target_ms": 50.0, "of_target": 0.99, "floor_ms": 15.0, "of_floor": 3.3}
    more = {"targets": {"large: end to end, 8 NFE": aim}, "where the time goes": {"large, 8 NFE": {"encode": 4.0}}}
    table = render(write(tmp_path, gpu={**GPU, **more, "about": about, "failed": {"small: TensorRT": "E: no room"}}))
    assert "(aim on an H200: 50 ms) | 49.5: 0.99 of the aim, 3.3 times the floor of 15.0 ms |" in table
    assert "| large, 8 NFE: where the time goes | encode 4.0 |" in table
    assert "| small: TensorRT | failed: E: no room |" in table
    assert "TensorRT: its plans are built" not in table


def test_a_readme_without_the_place_is_refused() -> None:
    assert splice(f"a\n{BEGIN}\nold\n{END}\nb", "new\n") == f"a\n{BEGIN}\nnew\n{END}\nb"
    with pytest.raises(ValueError, match="lacks"):
        splice("nothing here", "new")
