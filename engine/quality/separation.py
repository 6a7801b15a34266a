"""Any model on songs whose stems are known, beside what needs no model and the best a mask can do."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile

from engine import models
from engine.audio import Samples
from engine.errors import StembridgeError
from engine.masks.intent import read_intent
from engine.metrics import sdr_db, si_sdr_db
from engine.quality.baselines import GRID, band_of, harmonic_percussive, ideal_ratio, is_percussive, signal, spectrum
from engine.quality.measures import leakage_db, log_wmse, mr_stft, sounding_runs, span_iou
from engine.quality.stems import Song
from engine.request import MAX_SPANS, Separation, SeparationRequest, Span
from engine.separate import separate

MODEL, WITH_SPANS, ABSENT = "model", "model, spans", "model, absent"
BAND, HPSS, SPLEETER, IDEAL = "band-pass", "HPSS", "Spleeter", "ideal mask"
METHODS: Final = (MODEL, WITH_SPANS, ABSENT, BAND, HPSS, SPLEETER, IDEAL)
N_ABSENT: Final = 2
"""Prompts of other songs that a song is asked for though it has none of it."""
WORST_DB: Final = -60.0
"""What a ratio of energies counts as in a mean where nothing of the target came out."""
Bands = dict[str, dict[str, tuple[float, float]]]
"""Prompt → song → the band of its stem, in Hz."""
Step = Callable[[float], None]


@dataclass(frozen=True)
class Row:
    """One method on one stem of one song. None where a number has no meaning there."""

    song: str
    prompt: str
    method: str
    si_sdr_gain_db: float | None = None
    """Over the mixture."""
    sdr_db: float | None = None
    mr_stft: float | None = None
    log_wmse: float | None = None
    span_iou: float | None = None
    leakage_db: float | None = None
    null_db: float | None = None
    """None for a method that makes no residual, and for an exact null."""
    presence: float | None = None
    """How sure the model was that the sound is there, where it says so."""
    note: str = ""
    """The code of a refusal, or what is to be known of a baseline."""


def bands_of(songs: Iterable[Song]) -> Bands:
    """The band of every stem, for baselines that know other songs."""
    bands: Bands = {}
    for song in songs:
        grid = GRID.at_rate(song.sample_rate)
        for prompt, stem in song.stems.items():
            if stem.any():
                bins = np.flatnonzero(band_of((np.abs(spectrum(stem, grid)) ** 2).sum(axis=(0, 1))))
                ends = (bins[0], bins[-1]) if len(bins) else (0, grid.n_bins - 1)
                low, high = (float(end) * grid.sample_rate / grid.n_fft for end in ends)
                bands.setdefault(prompt, {})[song.name] = (low, high)
    return bands


def measure_song(
    song: Song, bands: Bands, shelf: models.Shelf, model: str | None, step: Step, *, spans: bool = True, seed: int = 0
) -> list[Row]:
    """Every method on every stem of a song, and the model on prompts that are not in it.

    Raises `StembridgeError` as `separate` does, except where a model does not know a prompt: that is a row with its
    code.
    """
    rows: list[Row] = []
    mixture, rate = song.mixture, song.sample_rate
    with tempfile.TemporaryDirectory(prefix="stembridge-bench-") as folder:
        source = Path(folder) / "mixture.wav"
        soundfile.write(source, mixture.T, rate, subtype="FLOAT")
        for number, (prompt, stem) in enumerate(song.stems.items()):
            step(number / len(song.stems))
            if not stem.any():
                continue
            base = SeparationRequest((source,), prompt, Path(folder) / "out", model=model, seed=seed, keep="target")
            rows.append(_model_row(song, prompt, MODEL, base, shelf))
            marked = _spans(stem, rate) if spans and rows[-1].note == "" else ()
            if marked and models.find(models.choose(base)).kind != "mask":
                rows.append(_model_row(song, prompt, WITH_SPANS, replace(base, spans=marked, name="spans"), shelf))
            if read_intent(prompt) is not None and not (rows[-1].note == "" and models.choose(base) == models.DEFAULT):
                rows.append(_model_row(song, prompt, SPLEETER, replace(base, model=models.DEFAULT, name="s"), shelf))
            rows += _baselines(song, prompt, mixture, bands)
        for prompt in absent_prompts(song, bands):
            request = SeparationRequest((source,), prompt, Path(folder) / "out", model=model, seed=seed, keep="target")
            rows += _absent_rows(song, prompt, request, shelf)
    return rows


def absent_prompts(song: Song, bands: Bands) -> list[str]:
    """Prompts of other songs of which this one has nothing, not even a word in common, `N_ABSENT` at most. None where
    the mixture holds more than is asked for: nobody knows what."""
    if song.rest.any():
        return []
    words = {word for prompt in song.stems for word in prompt.split()}
    return [prompt for prompt in sorted(bands) if not words & set(prompt.split())][:N_ABSENT]


def calibration(rows: Sequence[Row]) -> dict[str, float] | None:
    """How far a model's presence tells what is there: its means where the sound is there and where it is absent, and
    the Brier score (0 always right and sure, 0.25 for a coin). None where no model said, or nothing was absent."""
    there = [row.presence for row in rows if row.method == MODEL and row.presence is not None]
    absent = [row.presence for row in rows if row.method == ABSENT and row.presence is not None]
    if not there or not absent:
        return None
    brier = float(np.mean([*((1 - p) ** 2 for p in there), *(p**2 for p in absent)]))
    return {"there": float(np.mean(there)), "absent": float(np.mean(absent)), "brier": brier}


def scored(song: Song, prompt: str, method: str, made: Samples, **told: Any) -> Row:
    """What a method made of a stem, measured; `told` is the rest of the row."""
    wanted, mixture, rate = song.stems[prompt], song.mixture, song.sample_rate
    before = max(si_sdr_db(mixture, wanted), WORST_DB)
    return Row(
        song.name,
        prompt,
        method,
        si_sdr_gain_db=max(si_sdr_db(made, wanted), WORST_DB) - before,
        sdr_db=sdr_db(made, wanted),
        mr_stft=mr_stft(made, wanted),
        log_wmse=log_wmse(made, wanted, mixture, rate),
        span_iou=span_iou(made, wanted, rate),
        leakage_db=leakage_db(made, wanted, mixture, rate),
        **told,
    )


def _model_row(song: Song, prompt: str, method: str, request: SeparationRequest, shelf: models.Shelf) -> Row:
    try:
        done = separate(request, shelf)
    except StembridgeError as e:
        if e.code not in ("unsupported_prompt", "unsupported_option"):
            raise
        return Row(song.name, prompt, method, note=e.code)
    null = done.null_db if np.isfinite(done.null_db) else None
    return scored(song, prompt, method, _target_of(done), null_db=null, presence=_presence_of(done))


def _absent_rows(song: Song, prompt: str, request: SeparationRequest, shelf: models.Shelf) -> list[Row]:
    """The level of what comes out for a sound that is not there, over the mixture; none where the model refuses."""
    try:
        done = separate(request, shelf)
    except StembridgeError as e:
        if e.code not in ("unsupported_prompt", "unsupported_option"):
            raise
        return []
    out, heard = (float(np.square(one, dtype=np.float64).sum()) for one in (_target_of(done), song.mixture))
    level = 10 * float(np.log10(out / heard)) if out > 0 else -np.inf
    return [Row(song.name, prompt, ABSENT, leakage_db=level, presence=_presence_of(done))]


def _target_of(done: Separation) -> Samples:
    assert done.target is not None
    made, _ = soundfile.read(done.target, dtype="float32", always_2d=True)
    return np.ascontiguousarray(made.T)


def _presence_of(done: Separation) -> float | None:
    presence = json.loads(done.manifest.read_text(encoding="utf-8")).get("presence")
    return None if presence is None else float(presence)


def _baselines(song: Song, prompt: str, mixture: Samples, bands: Bands) -> list[Row]:
    grid = GRID.at_rate(song.sample_rate)
    heard, n = spectrum(mixture, grid), mixture.shape[1]
    others = [band for name, band in bands[prompt].items() if name != song.name]
    low, high = np.median(others or [bands[prompt][song.name]], axis=0)
    hz = np.arange(grid.n_bins) * grid.sample_rate / grid.n_fft
    lasting, striking = harmonic_percussive(heard)
    masks = {
        BAND: ((hz >= low) & (hz <= high)).astype(np.float32),
        HPSS: striking if is_percussive(prompt) else lasting,
        IDEAL: ideal_ratio(spectrum(song.stems[prompt], grid), heard),
    }
    notes = {BAND: "" if others else "the band is this stem's own: no other song has one"}
    return [
        scored(song, prompt, method, signal(heard * mask, grid, n), note=notes.get(method, ""))
        for method, mask in masks.items()
    ]


def _spans(stem: Samples, sample_rate: int) -> tuple[Span, ...]:
    """Where a stem sounds, if that says anything: not for one that always does."""
    runs = sounding_runs(stem, sample_rate)
    share = sum(end - start for start, end in runs) * sample_rate / stem.shape[1]
    return tuple(Span("+", start, end) for start, end in runs[:MAX_SPANS]) if 0.05 < share < 0.85 else ()


def table(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Means by prompt and method, and over all prompts, in that order."""
    found = []
    for prompt in [*sorted({row.prompt for row in rows}), "all"]:
        for method in METHODS:
            some = [row for row in rows if row.method == method and prompt in (row.prompt, "all")]
            if some:
                known = [row for row in some if not row.note or row.si_sdr_gain_db is not None]
                means = {key: _mean([getattr(row, key) for row in known]) for key in COLUMNS}
                found.append(
                    {"prompt": prompt, "method": method, "n": len(known), "refused": len(some) - len(known)} | means
                )
    return found


COLUMNS: Final = ("si_sdr_gain_db", "sdr_db", "mr_stft", "log_wmse", "span_iou", "leakage_db", "null_db", "presence")


def _mean(values: Sequence[float | None]) -> float | None:
    """Of those that are numbers; silence counts as `WORST_DB`."""
    known = [max(value, WORST_DB) if value == -np.inf else value for value in values if value is not None]
    return float(np.mean(known)) if known else None
