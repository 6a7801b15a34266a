"""How sure an exported model is that a sound is there, fitted on training songs.

Writes `presence.json` and, how good it is, `judged.json`.

A logistic regression of what the head says (`engine.masks.presence`) on prompts half of which are absent, and the two
probabilities between which the mask is turned down: as many absent prompts as can be are brought 20 dB below the
mixture while what is there loses at most `MAY_LOSE_DB` of its SDR, on average. The trunk is not touched.
Minutes on one core; what was heard is kept beside the result, so a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.bundle import read_bundle
from engine.masks.bands import to_bands
from engine.masks.presence import SIGNS, Calibration, write_calibration
from engine.masks.prompted import PromptedModel
from engine.stft import Analysis, Spectrum
from training.clips import Clip, rendered
from training.phrases import concepts

MAY_LOSE_DB: Final = 0.2
ABSENT_DB: Final = -20.0
N_ABSENT: Final = 6
_RIDGE: Final = 1e-3
_HEARD: Final = "heard.jsonl"
Rows = Sequence[dict[str, Any]]


def hear(model: PromptedModel, clip: Clip) -> list[dict[str, Any]]:
    """What the head says of each prompt, asked and absent, and the energies that tell what a gain would cost."""
    mixture = _spectrum(model, clip.mixture)
    power = to_bands(mixture.real**2 + mixture.imag**2, model.edges)
    whole = float(power.sum())
    found = []
    for name in [*(name for name, stem in clip.asked.items() if stem.any()), *clip.absent]:
        signs, gains = model.signs(mixture, model.embed(concepts()[name].phrases[0]))
        out = float((power * gains * gains).sum())
        row: dict[str, Any] = {"concept": name, "there": name in clip.asked, **signs, "level_db": _db(out / whole)}
        if row["there"]:
            target = _spectrum(model, clip.asked[name])
            product = to_bands(target.real * mixture.real + target.imag * mixture.imag, model.edges)
            energy = float((target.real**2 + target.imag**2).sum())
            row |= {"out": out, "common": float((product * gains).sum()), "target": energy}
        found.append(row)
    return found


def fit(rows: Rows) -> Calibration:
    """The regression, by Newton's method, and the gentlest gate that silences the most."""
    signs = np.array([[row[name] for name in SIGNS] for row in rows])
    there = np.array([row["there"] for row in rows], np.float64)
    centre, spread = signs.mean(axis=0), signs.std(axis=0) + 1e-6
    x = np.concatenate([(signs - centre) / spread, np.ones((len(signs), 1))], axis=1)
    # Both halves count alike: the probability is that of a prompt that is as likely there as not.
    share = np.where(there > 0, 0.5 / there.mean(), 0.5 / (1 - there).mean())
    w = np.zeros(x.shape[1])
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ w))
        gradient = x.T @ (share * (p - there)) / len(x) + _RIDGE * w
        curve = (x * (share * p * (1 - p))[:, None]).T @ x / len(x) + _RIDGE * np.eye(len(w))
        w -= np.linalg.solve(curve, gradient)
    weights = w[:-1] / spread
    fitted = Calibration(tuple(map(float, weights)), float(w[-1] - weights @ centre), 0.0, 0.0)
    return _gated(fitted, rows)


def _gated(fitted: Calibration, rows: Rows) -> Calibration:
    best, most = fitted, -1.0
    for full in np.arange(0.05, 0.75, 0.025):
        for none in np.arange(0.0, full, 0.025):
            tried = replace(fitted, full=float(full), none=float(none))
            loss_db, silenced = consequences(tried, rows)
            if loss_db <= MAY_LOSE_DB and silenced > most:
                best, most = tried, silenced
    return best


def consequences(fitted: Calibration, rows: Rows) -> tuple[float, float]:
    """Mean loss of SDR in dB of what is there (a gain counts as nothing), and the share of absent prompts whose output
    lies 20 dB below the mixture."""
    losses_db, deep = [], []
    for row in rows:
        gain = fitted.gain(fitted.probability(row))
        if row["there"]:
            losses_db.append(max(0.0, _sdr_db(row, 1.0) - _sdr_db(row, gain)))
        else:
            deep.append(row["level_db"] + _db(gain**2) <= ABSENT_DB)
    return float(np.mean(losses_db)), float(np.mean(deep))


def judged(fitted: Calibration, rows: Rows) -> dict[str, float]:
    """How good the judgement is: area under the curve, Brier score (0.25 for a coin), and what the gate does."""
    p = np.array([fitted.probability(row) for row in rows])
    there = np.array([row["there"] for row in rows])
    loss_db, deep = consequences(fitted, rows)
    before = consequences(replace(fitted, full=0.0, none=0.0), rows)[1]
    return {
        "auc": float((p[there][:, None] > p[~there][None]).mean()),
        "brier": float(0.5 * ((1 - p[there]) ** 2).mean() + 0.5 * (p[~there] ** 2).mean()),
        "present_loss_db": loss_db,
        "absent_20_db_down_before": before,
        "absent_20_db_down": deep,
        "present_called_not_found": float((p[there] < fitted.none).mean()),
        "absent_called_not_found": float((p[~there] < fitted.none).mean()),
    }


def _sdr_db(row: dict[str, Any], gain: float) -> float:
    error = gain**2 * row["out"] - 2 * gain * row["common"] + row["target"]
    return _db(row["target"] / max(error, 1e-9 * row["target"]))


def _spectrum(model: PromptedModel, audio: npt.NDArray[np.float32]) -> Spectrum:
    analysis = Analysis(model.heard_grid, len(audio))
    return np.concatenate([analysis.push(audio), analysis.finish()], axis=1)


def _db(ratio: float) -> float:
    return float(10 * np.log10(max(ratio, 1e-12)))


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser("training presence", description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--bank", type=Path, required=True, help="training songs")
    parser.add_argument("--held-out", type=Path, help="songs that the result is only tried on")
    parser.add_argument("--clips", type=int, default=300)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--out", type=Path, required=True, help="folder")
    parser.add_argument("--smoke", action="store_true", help="three clips")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    model = PromptedModel(read_bundle(args.bundle))
    n_clips = 3 if args.smoke else args.clips
    rows = _heard(model, args.bank, n_clips, args.seed, args.out / _HEARD)
    fitted = fit(rows)
    write_calibration(args.out / "presence.json", fitted)
    found = {"training": judged(fitted, rows)}
    if args.held_out:
        other = _heard(model, args.held_out, 3 if args.smoke else 72, args.seed, args.out / f"held-out-{_HEARD}")
        found["held-out"] = judged(fitted, other)
    (args.out / "judged.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


def _heard(model: PromptedModel, bank: Path, n_clips: int, seed: int, kept: Path) -> list[dict[str, Any]]:
    """A line a clip, of the same weights only."""
    head = {"weights": model.card.weights_sha256, "bank": str(bank), "seed": seed}
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.exists() else []
    if not lines or json.loads(lines[0]) != head:
        lines = [json.dumps(head)]
        kept.write_text(lines[0] + "\n", encoding="utf-8")
    with kept.open("a", encoding="utf-8") as file:
        for number, clip in enumerate(rendered(bank, n_clips, seed, N_ABSENT)):
            if number >= len(lines) - 1:
                lines.append(json.dumps(hear(model, clip)))
                file.write(lines[-1] + "\n")
                file.flush()
    return [row for line in lines[1:] for row in json.loads(line)]
