"""Stage 2: train within a budget of wall-clock seconds; the learning rate follows the clock.

Stops cleanly when a piece's seconds are spent and goes on from its checkpoint: `--budget-s` is the whole training,
`--piece-s` this run. The checkpoint is written beside and renamed.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from training.excerpts import Bank
from training.losses import losses
from training.mixing import N_BANDS, example, mix
from training.muon import Muon
from training.network import Network
from training.norms import hold, measure
from training.text import phrase_table

_PEAK_RATE: Final = 1.2e-3
_HEAD_SHARE: Final = 0.4
"""The head's rate over the trunk's: its inputs are hundreds of values of unit variance, so it moves faster."""
_WARM_STEPS: Final = 50
_EMA: Final = 0.999
_TEXT_NOISE: Final = 0.02
"""Standard deviation added to each of the 384 dimensions of a unit vector: paraphrases lie about so far apart."""
_RARE: Final = 6.0
"""Weight of a concept that sounds against one that does not, when all are listened for."""
_WORDLESS: Final = 0.1
"""How often a prompt with a positive span loses its words: a span alone must do, too."""
_DUETS: Final = 0.07
"""Share of examples that are a recorded source with its band, where the bank has any."""
_SAVE_EVERY_S: Final = 120.0
_MEASURED: Final = 120
"""Batches over which a training that goes on from another one measures the norms' statistics."""


class Stream(IterableDataset[tuple[torch.Tensor, ...]]):
    """Endless examples; each worker draws its own."""

    def __init__(self, bank: Path, rows: dict[str, range], seed: int, n_frames: int) -> None:
        self.bank, self.rows, self.seed, self.n_frames = bank, rows, seed, n_frames

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        torch.set_num_threads(1)
        info = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, info.id if info else 0])
        bank = Bank(self.bank, self.n_frames)
        made = 0
        while True:
            is_duet = bool(bank.duets) and rng.random() < _DUETS
            names, stems = bank.draw_duet(rng) if is_duet else bank.draw(rng)
            if not np.abs(stems).max() > 1e-3:
                continue
            one = example(mix(names, stems, rng), self.rows, rng)
            made += 1
            if made % 200 == 0:
                bank.refresh()
            fields = (
                one.features, one.power, one.product, one.energy, one.spans, one.active, one.present, one.phrases,
                one.everywhere, one.any_phrases,
            )  # fmt: skip
            yield tuple(torch.from_numpy(np.ascontiguousarray(field)) for field in fields)


def optimizers_of(net: Network, rate: float, *, muon: bool) -> list[torch.optim.Optimizer]:
    """AdamW for everything; or Muon for the trunk's kernels and matrices but the first, and AdamW for the rest."""
    kernels = {
        name: weight
        for name, weight in net.trunk.named_parameters()
        if muon and weight.dim() > 1 and "place" not in name and name != "enter.weight"
    }
    groups: list[dict[str, Any]] = [
        {"params": [weight for name, weight in net.trunk.named_parameters() if name not in kernels]},
        {"params": [*net.head.parameters()], "share": _HEAD_SHARE},
    ]
    rest = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    return [Muon(kernels.values(), rate), rest] if muon else [rest]


def rate_at(step: int, fraction: float, peak: float = _PEAK_RATE) -> float:
    """The learning rate: a short warm-up by steps, then a cosine by the fraction of the budget."""
    return peak * min(1.0, (step + 1) / _WARM_STEPS) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(fraction, 1))))


def average(ema: Network, net: Network, step: int) -> None:
    """Move the averaged weights and statistics towards the present ones."""
    keep = min(_EMA, (step + 1) / (step + 10))
    with torch.no_grad():
        for old, new in zip(ema.state_dict().values(), net.state_dict().values(), strict=True):
            if old.dtype.is_floating_point:
                old.lerp_(new, 1 - keep)
            else:
                old.copy_(new)


def save(path: Path, state: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.rename(path)


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser("training train", description=__doc__)
    parser.add_argument("--bank", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True, help="folder of the text encoder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget-s", type=float, default=3600)
    parser.add_argument("--piece-s", type=float, default=None)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--frames", type=int, default=64, help="of each example; a multiple of 8; 46 ms each")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="a checkpoint whose averaged weights this training goes on from")
    parser.add_argument("--smoke", action="store_true", help="three steps of one example")
    parser.add_argument("--rate", type=float, default=_PEAK_RATE, help="the learning rate at its highest")
    parser.add_argument("--muon", action="store_true", help="for the trunk's kernels, in the place of AdamW")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    device = torch.device(args.device)
    rows, table = phrase_table(args.text)
    texts = torch.from_numpy(table).to(device)

    rare = torch.tensor(_RARE, device=device)
    net: Network = Network(N_BANDS).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    ema = copy.deepcopy(net)
    optimizers = optimizers_of(net, args.rate, muon=args.muon)
    path = args.out / "checkpoint.pt"
    step, spent_s, curve, held = 0, 0.0, [], bool(args.start)
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        net.load_state_dict(state["net"])
        ema.load_state_dict(state["ema"])
        if len(state["optimizers"]) != len(optimizers):
            parser.error(f"{path} was begun {'without' if args.muon else 'with'} --muon: go on as it began")
        for optimizer, kept in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        step, spent_s, curve, held = state["step"], state["spent_s"], state["curve"], state["held"]
    batch = 1 if args.smoke else args.batch
    stream = Stream(args.bank, rows, args.seed + step, args.frames)
    loader = iter(DataLoader(stream, batch_size=batch, num_workers=0 if args.smoke else args.workers))
    if args.start and not path.exists():
        state = torch.load(args.start, map_location=device, weights_only=True)
        net.load_state_dict(state["ema"])
        batches = itertools.islice(loader, 2 if args.smoke else _MEASURED)
        measure(net.trunk, (features.to(device) for features, *_ in batches))
        ema.load_state_dict(net.state_dict())
        save(args.out / "start.pt", {"ema": ema.state_dict(), "of": state.get("of") or [state["step"]]})
    if held:
        hold(net)

    began, saved = time.monotonic(), time.monotonic()
    before_s = spent_s
    sums: dict[str, list[float]] = {}
    piece_s = args.piece_s or args.budget_s
    while spent_s < args.budget_s and spent_s - before_s < piece_s and not (args.smoke and step >= 3):
        features, power, product, energy, spans, active, present, phrases, everywhere, any_phrases = (
            field.to(device) for field in next(loader)
        )
        rate = rate_at(step, spent_s / args.budget_s, args.rate)
        for group in itertools.chain.from_iterable(optimizer.param_groups for optimizer in optimizers):
            group["lr"] = group.get("share", 1.0) * rate
        text = _noisy(texts[phrases])
        wordless = (spans.amax(dim=-1, keepdim=True) > 0) & (torch.rand(*text.shape[:2], 1, device=device) < _WORDLESS)
        text = text.masked_fill(wordless, 0.0)
        features = features.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            asked = net.trunk(features)
        heard_all = net.head.listen(asked[-1].float(), _noisy(texts[any_phrases]))
        logits, heard, presence = net.head(tuple(a.float() for a in asked), text, spans)
        found = losses(logits, heard, presence, power, product, energy, active, present)
        # Most concepts are silent most of the time; weighted so that these logits mean what the asked ones mean.
        found["concepts"] = F.binary_cross_entropy_with_logits(
            heard_all, everywhere.clamp(min=0), weight=(everywhere >= 0).float(), pos_weight=rare
        )
        found["total"] = found["total"] + found["concepts"]
        net.zero_grad(set_to_none=True)
        found["total"].backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        average(ema, net, step)
        step += 1
        for name, value in found.items():
            sums.setdefault(name, []).append(float(value.detach()))
        spent_s = before_s + time.monotonic() - began
        if step % 20 == 0 or args.smoke:
            line = {"step": step, "s": round(spent_s), **{k: round(float(np.mean(v)), 4) for k, v in sums.items()}}
            curve.append(line)
            sums = {}
            print(json.dumps(line), flush=True)
        if time.monotonic() - saved > _SAVE_EVERY_S:
            save(path, _state(net, ema, optimizers, step, spent_s, curve, held))
            saved = time.monotonic()
    save(path, _state(net, ema, optimizers, step, spent_s, curve, held))
    (args.out / "curve.json").write_text(json.dumps(curve), encoding="utf-8")


def _noisy(text: torch.Tensor) -> torch.Tensor:
    """Some of the embeddings moved a little, as a paraphrase would."""
    return text + _TEXT_NOISE * torch.randn_like(text) * (torch.rand(*text.shape[:2], 1, device=text.device) < 0.7)


def _state(
    net: Network,
    ema: Network,
    optimizers: list[torch.optim.Optimizer],
    step: int,
    spent_s: float,
    curve: list[dict[str, float]],
    held: bool,
) -> dict[str, Any]:
    return {
        "net": net.state_dict(), "ema": ema.state_dict(), "optimizers": [one.state_dict() for one in optimizers],
        "step": step, "spent_s": spent_s, "curve": curve, "held": held,
    }  # fmt: skip
