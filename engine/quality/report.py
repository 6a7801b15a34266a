"""Figures as a person reads them: tables of text, JSON, and plots."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from engine.errors import StembridgeError
from engine.quality.few_steps import Distance
from engine.quality.separation import COLUMNS, METHODS

HEADS: Final = {
    "si_sdr_gain_db": "SI-SDR gain",
    "sdr_db": "SDR",
    "mr_stft": "MR-STFT",
    "log_wmse": "log-WMSE",
    "span_iou": "span IoU",
    "leakage_db": "leakage",
    "null_db": "null",
    "presence": "presence",
}


def separation_rows(table: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The table of `engine.quality.separation.table`, for the columns `prompt, method, n` and `HEADS`."""
    rows = []
    for entry in table:
        n = f"{entry['n']}" + (f" (+{entry['refused']} not known)" if entry["refused"] else "")
        numbers = (_number(entry[key], 2 if key in ("mr_stft", "span_iou", "presence") else 1) for key in COLUMNS)
        rows.append((entry["prompt"], entry["method"], n, *numbers))
    return rows


def few_step_rows(distances: Sequence[Distance]) -> list[tuple[str, ...]]:
    """For the columns evaluations, solver, latent SNR, SI-SDR, log-mel, MR-STFT."""
    return [
        (
            str(one.nfe),
            one.solver,
            _number(one.latent_snr_db, 1),
            _number(one.si_sdr_db, 1),
            _number(one.log_mel_db, 2),
            _number(one.mr_stft, 3),
        )
        for one in sorted(distances, key=lambda one: (one.nfe, one.solver))
    ]


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write beside, then rename; infinities become null. Raises `StembridgeError` (`output_not_writable`)."""
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(_plain(values), indent=1) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as e:
        raise StembridgeError(
            "output_not_writable", f"{path} cannot be written: {e.strerror or e}.", "Give another folder: --out."
        ) from e


def plot_separation(table: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Bars of SI-SDR gain by prompt and method."""
    pyplot = _pyplot()
    prompts = list(dict.fromkeys(entry["prompt"] for entry in table))
    methods = [
        method for method in METHODS if any(e["method"] == method and e["si_sdr_gain_db"] is not None for e in table)
    ]
    figure, axes = pyplot.subplots(figsize=(9, 1.5 + 0.28 * len(prompts) * len(methods)))
    height = 0.84 / max(len(methods), 1)
    for place, method in enumerate(methods):
        gains = {
            e["prompt"]: e["si_sdr_gain_db"] for e in table if e["method"] == method and e["si_sdr_gain_db"] is not None
        }
        places = [index + height * (place + 0.5) - 0.42 for index, prompt in enumerate(prompts) if prompt in gains]
        axes.barh(places, [gains[prompt] for prompt in prompts if prompt in gains], 0.9 * height, label=method)
    axes.set_yticks(range(len(prompts)), prompts)
    axes.set_ylim(len(prompts) - 0.4, -0.6)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.set_xlabel("SI-SDR gain over the mixture, dB")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.6 / figure.get_figheight()), ncols=6, frameon=False)
    _save(figure, path)


def plot_few_steps(distances: Sequence[Distance], path: Path) -> None:
    """Latent SNR against evaluations, a line for each solver."""
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(figsize=(8, 5))
    for solver in dict.fromkeys(one.solver for one in distances):
        points = sorted((one.nfe, one.latent_snr_db) for one in distances if one.solver == solver)
        known = [(nfe, snr) for nfe, snr in points if math.isfinite(snr)]
        if known:
            axes.plot(*zip(*known, strict=True), marker="o", linewidth=3 if solver == "fitted" else 1.5, label=solver)
    nfes = sorted({one.nfe for one in distances})
    axes.set_xscale("log", base=2)
    axes.set_xticks(nfes, [str(nfe) for nfe in nfes])
    axes.set_xlabel("velocity evaluations")
    axes.set_ylabel("SNR against 32 evaluations, latents, dB")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    _save(figure, path)


def _pyplot() -> Any:
    try:
        import matplotlib
    except ImportError as e:
        raise StembridgeError(
            "runtime_missing", "Plots need matplotlib.", "Install it: pip install 'stembridge[plots]'."
        ) from e
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=120, bbox_inches="tight")
    _pyplot().close(figure)


def _number(value: float | None, digits: int) -> str:
    if value is None:
        return "-"
    if math.isinf(value):
        return "exact" if value > 0 else "silent"
    return f"{value:.{digits}f}"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
