"""Stage 4 of the flow model: its own results with many evaluations teach it to need few. No stems are used.

The model answers random mixtures, and then learns the straight line from each noise to the answer it gave (rectified
flow, Liu et al., arXiv 2209.03003). Where paths are straight, one evaluation goes as far as thirty. The network, its
inputs and its solvers stay what they are, which a flow map's second time would not allow. Answers are kept in pieces
beside the checkpoint; both halves go on where they stopped.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from engine.flow.sampling import plan_sampling, solve
from training.flow_export import read_net
from training.flow_mixing import N_FRAMES, FlowExample, FlowStream, latents_of
from training.flow_network import velocity_of
from training.flow_text import CONCEPTS, features_of
from training.flow_train import average, draw_times
from training.train import save

TEACHER_NFE: Final = 16
RATE: Final = 3e-4
_SAVE_EVERY_S: Final = 60.0


@torch.no_grad()
def answers(
    net: nn.ModuleDict, tokenizer: Any, folder: Path, rows: list[FlowExample], noise: Tensor, nfe: int
) -> Tensor:
    """What the model makes of mixtures: latents of target and rest, `(row, frame, 2 * channel)`."""
    mixture, _, tokens = latents_of(folder, rows)
    text, mask = features_of(tokenizer, net["text"], [row.prompt for row in rows])
    plan = plan_sampling(nfe=nfe)

    def velocity(x: Tensor, number: int) -> Tensor:
        times = torch.full((len(rows),), plan.times[number])
        with torch.autocast("cpu", torch.bfloat16):
            return velocity_of(net["dit"], x, times, mixture, tokens, text, mask).float()  # type: ignore[arg-type]

    return solve(velocity, noise, plan)


def make_pairs(
    net: nn.ModuleDict,
    tokenizer: Any,
    spectra: Path,
    out: Path,
    n: int,
    size: tuple[int, int],
    nfe: int,
    asked: Sequence[str] = CONCEPTS,
) -> None:
    """Answer `n` mixtures in pieces of `size` (rows, frames), each in a file of its own."""
    n_rows, n_frames = size
    for number in range(-(-n // n_rows)):
        path = out / f"pairs-{number:04d}.npz"
        if path.exists():
            continue
        rows = next(iter(FlowStream(spectra, n_rows, n_frames, 10_000 + number, asked)))
        mixture, latents, tokens = latents_of(spectra, rows)
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(number))
        made = answers(net, tokenizer, spectra, rows, noise, nfe)
        part = out / f".part-{os.getpid()}.npz"
        np.savez(part, mixture=mixture, tokens=tokens, noise=noise, made=made, prompts=[row.prompt for row in rows])
        part.replace(path)


def straight_loss(net: nn.ModuleDict, tokenizer: Any, pairs: Path, draw: torch.Generator) -> Tensor:
    """Mean squared error of the velocity on the straight lines of one piece."""
    with np.load(pairs) as kept:
        mixture, tokens, noise, made = (torch.from_numpy(kept[name]) for name in ("mixture", "tokens", "noise", "made"))
        prompts = [str(prompt) for prompt in kept["prompts"]]
    times = draw_times(len(prompts), draw)
    at = times[:, None, None]
    text, mask = features_of(tokenizer, net["text"], prompts)
    with torch.autocast("cpu", torch.bfloat16):
        found = velocity_of(net["dit"], (1 - at) * noise + at * made, times, mixture, tokens, text, mask)  # type: ignore[arg-type]
    return (found.float() - (made - noise)).square().mean()


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser("training distil", description=__doc__)
    parser.add_argument("--spectra", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True, help="what the stage flow_train made")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=256)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--ask", default=",".join(CONCEPTS), help="as in the stage flow_train")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="two steps on two short pairs")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    n_pairs, n_steps, size, nfe = args.pairs, args.steps, (args.batch, N_FRAMES), TEACHER_NFE
    if args.smoke:
        n_pairs, n_steps, size, nfe = 4, 2, (2, 16), 2
    net, tokenizer = read_net(args.checkpoint)
    make_pairs(net, tokenizer, args.spectra, args.out, n_pairs, size, nfe, args.ask.split(","))
    ema = copy.deepcopy(net)
    net.requires_grad_(requires_grad=True)
    optimizer = torch.optim.AdamW(net["dit"].parameters(), lr=RATE, betas=(0.9, 0.95), fused=True)
    path = args.out / "checkpoint.pt"
    state = torch.load(args.checkpoint, map_location="cpu", weights_only=True)
    facts = {name: state[name] for name in ("sizes", "hop")}
    step, curve = 0, []
    if path.exists():
        state = torch.load(path, map_location="cpu", weights_only=True)
        for module, name in ((net, "net"), (ema, "ema")):
            module.load_state_dict(state[name])
        optimizer.load_state_dict(state["optimizer"])
        step, curve = state["step"], state["curve"]
    pieces = sorted(args.out.glob("pairs-*.npz"))
    draw, rng = torch.Generator().manual_seed(args.seed + step), np.random.default_rng(args.seed + step)

    def kept() -> dict[str, Any]:
        weights = {"net": net.state_dict(), "ema": ema.state_dict(), "optimizer": optimizer.state_dict()}
        return {**weights, **facts, "step": step, "curve": curve}

    saved = time.monotonic()
    while step < n_steps:
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 20, (n_steps - step) / n_steps + 0.02)
        loss = straight_loss(net, tokenizer, pieces[int(rng.integers(len(pieces)))], draw)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        step += 1
        average(ema, net, step)
        curve.append({"step": step, "loss": round(float(loss.detach()), 4)})
        if step % 20 == 0:
            print(json.dumps(curve[-1]), flush=True)
        if time.monotonic() - saved > _SAVE_EVERY_S:
            save(path, kept())
            saved = time.monotonic()
    save(path, kept())
