"""The flow transformer while it is trained: fresh weights, and a velocity whose rows have times and prompts of their
own (at inference a batch shares its times: `engine.model.prepared`)."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from engine.model.config import DitSizes, rope_theta
from engine.model.dit import Dit
from engine.model.layers import rope_table
from training.flow_bank import SPECTRAL
from training.flow_text import DIM as TEXT_DIM

MAX_FRAMES: Final = 3_000
"""A minute."""


def sizes_of(dim: int, n_layers: int) -> DitSizes:
    """A transformer of the released models' proportions."""
    return DitSizes(
        dim=dim,
        n_heads=max(dim // 64, 1),
        n_layers=n_layers,
        ffn_dim=round(dim * 8 / 3 / 32) * 32,
        n_channels=SPECTRAL.n_channels,
        text_dim=TEXT_DIM,
        video_dim=8,
        time_dim=64,
        rope_theta=rope_theta(MAX_FRAMES),
        max_frames=MAX_FRAMES,
    )


def fresh(sizes: DitSizes, seed: int) -> Dit:
    """Random weights: every layer begins as nothing (closed gates, silent cross-attention), the output is small."""
    dit = Dit(sizes)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in dit.named_parameters():
            kind = name.rpartition(".")[2]
            if kind == "bias" or name in ("modulation", "final", "video_gate", "token_table"):
                parameter.zero_()
            elif "norm" in name:
                parameter.fill_(1.0)
            else:
                parameter.normal_(0, parameter[0].numel() ** -0.5, generator=draw)
        for quiet in (dit.output, dit.time_block.weight, *(block.cross.out.weight for block in dit.blocks)):
            quiet.mul_(0.1)
        dit.token_table.normal_(0, 0.1, generator=draw)
    return dit


def velocity_of(
    dit: Dit, x: Tensor, times: Tensor, mixture: Tensor, tokens: Tensor, text: Tensor, text_mask: Tensor
) -> Tensor:
    """`(row, frame, state)` → the same; `times` `(row,)`, `text` `(row, token, text_dim)`, the rest as `Dit`'s."""
    made = dit.time_constants(times)
    memory = dit.memory(dit.memory_in(text) + made.memory[:, None])
    keys, values = zip(*(block.cross.keys_values(memory) for block in dit.blocks), strict=True)
    rope = rope_table(x.shape[1], dit.sizes.head_dim, dit.sizes.rope_theta, x.device)
    return dit(  # type: ignore[no-any-return]
        x,
        dit.condition(mixture, tokens),
        made.modulation.permute(1, 2, 0, 3)[:, :, :, None],
        made.final.transpose(0, 1)[:, :, None],
        keys,
        values,
        rope,
        None,
        text_mask,
    )
