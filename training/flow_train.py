"""Stage 2 of the flow model: flow matching within a budget of wall-clock seconds.

State t is `(1 - t) noise + t latents` of target and rest together, and the network learns `latents - noise` given the
mixture's latents, a prompt and spans, each left out now and then. Stops when a piece's seconds are spent and goes on
from its checkpoint, which is written beside and renamed. Rate, averaging and files are those of `training.train`.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from training.flow_bank import SPECTRAL
from training.flow_evaluate import held_out_batch, one_step_db
from training.flow_mixing import N_FRAMES, FlowExample, FlowStream, latents_of
from training.flow_network import fresh, sizes_of, velocity_of
from training.flow_text import CONCEPTS, build_encoder, build_tokenizer, features_of
from training.train import save

PEAK_RATE: Final = 1e-3
_WARM_STEPS: Final = 100
_EMA: Final = 0.999
_EARLY: Final = 1.5
"""Times are a uniform number to this power: what is asked for is decided near the noise."""
_SAVE_EVERY_S: Final = 120.0
_HEAR_EVERY: Final = 250
"""Steps between two measurements on held-out songs."""
N_HELD_OUT: Final = 32


def rate_at(step: int, fraction: float) -> float:
    """The learning rate: warm-up by steps, then a cosine by the fraction of the budget."""
    warm = min(1.0, (step + 1) / _WARM_STEPS)
    return PEAK_RATE * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(fraction, 1))))


def draw_times(n: int, draw: torch.Generator) -> Tensor:
    """One time a row, one in each n-th of the range."""
    return ((torch.arange(n) + torch.rand(n, generator=draw)) / n) ** _EARLY


def average(ema: nn.Module, net: nn.Module, step: int) -> None:
    """Move the averaged weights towards the present ones."""
    keep = min(_EMA, (step + 1) / (step + 10))
    with torch.no_grad():
        torch._foreach_lerp_([*ema.parameters()], [*net.parameters()], 1 - keep)


def matching_loss(
    net: nn.ModuleDict, tokenizer: Any, folder: Path, rows: list[FlowExample], draw: torch.Generator
) -> Tensor:
    """Mean squared error of the velocity, a value a row."""
    mixture, latents, tokens = latents_of(folder, rows)
    text, mask = features_of(tokenizer, net["text"], [row.prompt for row in rows])
    times = draw_times(len(rows), draw)
    noise = torch.randn(latents.shape, generator=draw)
    at = times[:, None, None]
    with torch.autocast("cpu", torch.bfloat16):
        found = velocity_of(net["dit"], (1 - at) * noise + at * latents, times, mixture, tokens, text, mask)  # type: ignore[arg-type]
    return (found.float() - (latents - noise)).square().mean(dim=(1, 2))


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser("training flow_train", description=__doc__)
    parser.add_argument("--spectra", type=Path, required=True, help="what the stage flow_bank made")
    parser.add_argument("--held-out", type=Path, help="the same of songs that are held out, to be measured on the way")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget-s", type=float, default=4000)
    parser.add_argument("--piece-s", type=float, default=None)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--ask", default=",".join(CONCEPTS), help="with commas between: a short training learns few")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="three steps of a toy")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    sizes = sizes_of(64, 1) if args.smoke else sizes_of(args.dim, args.layers)
    n_rows, n_frames = (2, 16) if args.smoke else (args.batch, N_FRAMES)
    asked = args.ask.split(",")
    tokenizer = build_tokenizer()
    net = nn.ModuleDict({"dit": fresh(sizes, args.seed), "text": build_encoder(tokenizer.get_vocab_size())})
    ema = copy.deepcopy(net)
    used = [p for name, p in net.named_parameters() if ".video_" not in f".{name}"]  # no pictures: as a clip without
    optimizer = torch.optim.AdamW(used, lr=PEAK_RATE, betas=(0.9, 0.95), weight_decay=0.01, fused=True)
    path = args.out / "checkpoint.pt"
    step, spent_s, curve = 0, 0.0, []
    if path.exists():
        state = torch.load(path, map_location="cpu", weights_only=True)
        for module, name in ((net, "net"), (ema, "ema")):
            module.load_state_dict(state[name])
        optimizer.load_state_dict(state["optimizer"])
        step, spent_s, curve = state["step"], state["spent_s"], state["curve"]
    draw = torch.Generator().manual_seed(args.seed + step)
    stream = iter(FlowStream(args.spectra, n_rows, n_frames, args.seed + step, asked))
    heard = held_out_batch(args.held_out, N_HELD_OUT, N_FRAMES, asked=asked) if args.held_out else None

    def kept() -> dict[str, Any]:
        return {
            "net": net.state_dict(), "ema": ema.state_dict(), "optimizer": optimizer.state_dict(), "step": step,
            "spent_s": spent_s, "curve": curve, "sizes": [sizes.dim, sizes.n_layers], "hop": SPECTRAL.hop,
        }  # fmt: skip

    began = saved = time.monotonic()
    before_s, losses = spent_s, []
    piece_s = args.piece_s or args.budget_s
    while spent_s < args.budget_s and spent_s - before_s < piece_s and not (args.smoke and step >= 3):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, spent_s / args.budget_s)
        loss = matching_loss(net, tokenizer, args.spectra, next(stream), draw)
        optimizer.zero_grad(set_to_none=True)
        loss.mean().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(used, 1.0)
        optimizer.step()
        average(ema, net, step)
        step += 1
        losses.append(loss.detach().numpy())
        spent_s = before_s + time.monotonic() - began
        if step % 50 == 0 or args.smoke:
            early, late = np.array_split(np.mean(losses, axis=0), 2)
            line = {"step": step, "s": round(spent_s), "loss": round(float(np.mean(losses)), 4)}
            line |= {"early": round(float(early.mean()), 4), "late": round(float(late.mean()), 4)}
            if heard is not None and step % _HEAR_EVERY == 0:
                line["held_out_db"] = round(one_step_db(ema, tokenizer, args.spectra, heard), 3)
            curve.append(line)
            losses = []
            print(json.dumps(line), flush=True)
        if time.monotonic() - saved > _SAVE_EVERY_S:
            save(path, kept())
            saved = time.monotonic()
    save(path, kept())
    (args.out / "curve.json").write_text(json.dumps(curve), encoding="utf-8")
