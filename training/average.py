"""Between stages 2 and 3: the mean of the averaged weights of several trainings, each begun from the one before.

Trainings of one line differ in what they learnt by heart more than in what they learnt: half-way between two of them
the network answered held-out songs better than either did (MODEL_CARD.md has the numbers).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from training.train import save

Weights = dict[str, Tensor]


def mean_of(several: Sequence[Weights]) -> Weights:
    """Each parameter's and statistic's mean; counters are the last one's. Raises `ValueError` for other networks."""
    first = several[0]
    if any({k: v.shape for k, v in one.items()} != {k: v.shape for k, v in first.items()} for one in several):
        raise ValueError("these checkpoints are of different networks")
    return {
        name: torch.stack([one[name] for one in several]).mean(dim=0)
        if value.dtype.is_floating_point
        else several[-1][name]
        for name, value in first.items()
    }


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser("training average", description=__doc__)
    parser.add_argument("checkpoints", type=Path, nargs="+", help="checkpoint.pt of `train`, in the order of training")
    parser.add_argument("--out", type=Path, required=True, help="the averaged checkpoint, for `export`")
    parser.add_argument("--smoke", action="store_true", help="nothing is left out: it takes seconds")
    args = parser.parse_args(argv)
    states = [torch.load(path, map_location="cpu", weights_only=True) for path in args.checkpoints]
    of = [step for state in states for step in state.get("of") or [state["step"]]]
    save(args.out, {"ema": mean_of([state["ema"] for state in states]), "of": of})
