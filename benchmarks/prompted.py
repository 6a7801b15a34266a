"""The model of any prompt: speed end to end, and of eight prompts on one sound. `python -m benchmarks.prompted`."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile

from benchmarks.offline import REPEATS, long_file, run_measured
from engine import models
from engine.bundle import read_bundle
from engine.masks.prompted import PromptedModel
from engine.request import SeparationRequest
from engine.runtime import Ask
from engine.separate import separate

RESULT: Final = Path(__file__).parent / "results" / "prompted.json"
PROMPTS: Final = ("drums", "bass", "electric guitar", "strings", "trumpet", "violin", "hi-hat", "kick drum")
SONG_S: Final = 240
PART_S: Final = 60


def masks_s(song: Path) -> tuple[float, float]:
    """Seconds for the masks of one prompt on a minute that was not heard before, and of all eight."""
    audio, rate = soundfile.read(song, stop=PART_S * 44_100, dtype="float32")
    model = PromptedModel(read_bundle(models.EMBEDDED / "prompted"))
    mixture = np.ascontiguousarray(audio.T)

    def ask(prompt: str, key: str) -> None:
        plan = model.plan(Ask(prompt, mixture_key=key))
        for _ in model.estimate([mixture], len(mixture), mixture.shape[1], plan, lambda share: None):
            pass

    assert rate == model.card.grid.sample_rate
    return _one_and_eight(ask)


def stems_s(song: Path, folder: Path) -> tuple[float, float]:
    """Seconds from request to written stems in a warm engine, the same way."""
    shelf = models.Shelf()

    def ask(prompt: str, key: str) -> None:
        out = folder / key
        separate(SeparationRequest((song,), prompt, out, model="prompted", start_s=0.0, end_s=float(PART_S)), shelf)
        if prompt == PROMPTS[-1]:
            shelf.open("prompted").close()  # the next round hears the sound anew

    return _one_and_eight(ask)


def _one_and_eight(ask: Any) -> tuple[float, float]:
    rounds = []
    for number in range(REPEATS + 1):
        began = time.perf_counter()
        ask(PROMPTS[0], str(number))
        first = time.perf_counter()
        for prompt in PROMPTS[1:]:
            ask(prompt, str(number))
        rounds.append((first - began, time.perf_counter() - began))
    return tuple(statistics.median(column) for column in zip(*rounds[1:], strict=True))


def measure(folder: Path) -> dict[str, Any]:
    """Everything, as it goes into `results/prompted.json`. Writes below `folder`."""
    song, out = long_file(folder, SONG_S), folder / "out"
    command = [sys.executable, "-m", "bridge", "extract", str(song), "--prompt", PROMPTS[0], "--model", "prompted"]

    def runs() -> Iterator[tuple[float, float]]:
        for number in range(REPEATS):
            yield run_measured([*command, "--out", str(out / str(number))])

    times, peaks = zip(*runs(), strict=True)
    one_mask_s, eight_masks_s = masks_s(song)
    one_stem_s, eight_stems_s = stems_s(song, folder)
    return {
        "extract_s": statistics.median(times),
        "song_s": SONG_S,
        "times_real_time": SONG_S / statistics.median(times),
        "peak_mb": max(peaks),
        "minute": {"one_masks_s": one_mask_s, "eight_masks_s": eight_masks_s, "one_stem_s": one_stem_s,
                   "eight_stems_s": eight_stems_s},
        "eight_prompts_over_one": eight_masks_s / one_mask_s,
        "eight_stems_over_one": eight_stems_s / one_stem_s,
    }  # fmt: skip


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="stembridge-bench-") as scratch:
        found = measure(Path(scratch))
    RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))
