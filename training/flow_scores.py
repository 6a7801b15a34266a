"""Stage 5 of the flow model: what solvers and numbers of evaluations are worth on held-out songs.

An imported bundle is run by the engine's own runtime, solvers and schedules (so a plan that `stembridge models tune`
fitted is measured, too). For each: SI-SDR improvement of the target, as it was generated and as a mask on the mixture,
within the codec's band, and the distance of the latents from the model's own 32 evaluations. Writes scores.json,
few_steps.png, and curve.png from a training's curve.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from engine.bundle import Bundle, read_bundle
from engine.flow.sampling import noise
from engine.flow.schedule import Schedule
from engine.flow.solve import FlowRuntime
from engine.metrics import sdr_db
from engine.quality.few_steps import REFERENCE, solvers
from engine.runtimes.torch_runtime import TorchFlow
from engine.windows import Window
from training.flow_evaluate import held_out_batch, improvement_db, masked_db
from training.flow_mixing import N_FRAMES, FlowExample, latents_of
from training.flow_text import CONCEPTS

NFES: Final = (1, 2, 4, 8)
SHOWN: Final = ("euler", "midpoint", "ab2", "fitted")
Row = dict[str, Any]


def solved(stages: FlowRuntime, latents: np.ndarray, prompt: str, schedule: Schedule, seed: int) -> np.ndarray:
    """Latents of target and rest, `(1, frame, 2 * channel)`."""
    tokens = np.zeros((1, len(latents)), np.int64)
    velocity = stages.velocity(latents, tokens, [prompt], schedule.times)
    window = Window(0, len(latents))
    begin = stages.to_device(noise([seed], len(latents), 2 * stages.n_channels))
    made: np.ndarray = stages.to_host(schedule.solve(lambda x, number: velocity(x, number, window), begin))
    return made


def scores(
    bundle: Bundle, stages: FlowRuntime, examples: Sequence[FlowExample], spectra: Path, nfes: Sequence[int] = NFES
) -> list[Row]:
    """A row a solver and number of evaluations: the reference's 32 first."""
    asked = [("midpoint", REFERENCE)]
    asked += [(name, one) for nfe in nfes for name, one in solvers(bundle, nfe).items() if name in SHOWN]
    mixtures = latents_of(spectra, [*examples])[0].numpy()
    rows: list[Row] = [
        {"solver": name, "nfe": one.nfe, "snr_db": [], "better_db": [], "masked_db": []} for name, one in asked
    ]
    for seed, (example, latents) in enumerate(zip(examples, mixtures, strict=True)):
        exact: np.ndarray | None = None
        for row, (_, schedule) in zip(rows, asked, strict=True):
            made = solved(stages, latents, example.prompt, schedule, seed)
            exact = made if exact is None else exact
            row["snr_db"].append(sdr_db(made, exact))
            row["better_db"] += improvement_db(torch.from_numpy(made), [example], spectra)
            row["masked_db"] += masked_db(torch.from_numpy(made), [example], spectra)
    return [_mean(row, examples) for row in rows]


def _mean(row: Row, examples: Sequence[FlowExample]) -> Row:
    better, masked = (np.array(row[name]) for name in ("better_db", "masked_db"))
    concepts = np.array([example.concept for example in examples])
    each = {str(name): round(float(masked[concepts == name].mean()), 2) for name in np.unique(concepts)}
    snr = float(np.mean(row["snr_db"]))
    told = {"solver": row["solver"], "nfe": row["nfe"], "improvement_db": round(float(better.mean()), 2)}
    told["masked_db"] = round(float(masked.mean()), 2)
    return told | {"to_32_snr_db": round(snr, 2) if np.isfinite(snr) else None, "by_concept": each}


def plot(rows: Sequence[Row], path: Path) -> None:
    """Distance from the model's own 32 evaluations, and improvement over the mixture, by evaluations."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for name in SHOWN:
        own = [row for row in rows[1:] if row["solver"] == name]
        if own:
            left.plot([row["nfe"] for row in own], [row["to_32_snr_db"] for row in own], "o-", label=name)
            right.plot([row["nfe"] for row in own], [row["masked_db"] for row in own], "o-", label=name)
    right.axhline(rows[0]["masked_db"], color="grey", label="32 evaluations")
    for axis, title in (
        (left, "SNR to its own 32 evaluations, dB"),
        (right, "SI-SDR as a mask above the mixture's, dB"),
    ):
        axis.set(title=title, xlabel="evaluations", xscale="log")
        axis.set_xticks(sorted({row["nfe"] for row in rows[1:]}), labels=sorted({row["nfe"] for row in rows[1:]}))
        axis.minorticks_off()
        axis.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def plot_curve(curve: Sequence[Row], path: Path) -> None:
    """The loss of a training, and its held-out improvement with one evaluation."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, left = plt.subplots(figsize=(6, 3.4), layout="constrained")
    for name in ("early", "late", "loss"):
        left.plot([row["step"] for row in curve], [row[name] for row in curve if name in row], label=name)
    left.set(xlabel="step", ylabel="squared error of the velocity", ylim=(0, 1.6))
    heard = [row for row in curve if "held_out_db" in row]
    right = left.twinx()
    right.plot([row["step"] for row in heard], [row["held_out_db"] for row in heard], "k.-", label="held out")
    right.set_ylabel("held out, 1 evaluation: SI-SDR gained, dB")
    left.legend(loc="upper center", fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser("training flow_scores", description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True, help="folder of the imported model")
    parser.add_argument("--text", type=Path, required=True, help="folder of its text encoder")
    parser.add_argument("--spectra", type=Path, required=True, help="where the codec's numbers are")
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--curve", type=Path, help="curve.json of the training")
    parser.add_argument("--ask", default=",".join(CONCEPTS), help="as in the stage flow_train")
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--smoke", action="store_true", help="two short clips")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    bundle = read_bundle(args.bundle)
    n_clips, n_frames, nfes = (2, 16, (1, 2)) if args.smoke else (args.clips, N_FRAMES, NFES)
    examples = held_out_batch(args.held_out, n_clips, n_frames, asked=args.ask.split(","))
    rows = scores(bundle, TorchFlow(bundle, args.text, device="cpu"), examples, args.spectra, nfes)
    (args.out / "scores.json").write_text(json.dumps({"clips": n_clips, "rows": rows}, indent=1), encoding="utf-8")
    for row in rows:
        print(json.dumps(row), flush=True)
    plot(rows, args.out / "few_steps.png")
    if args.curve:
        plot_curve(json.loads(args.curve.read_text(encoding="utf-8")), args.out / "curve.png")
