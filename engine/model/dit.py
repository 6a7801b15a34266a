"""The flow transformer, split by how often each part changes.

Once a checkpoint: weights. Once a schedule: `time_constants`. Once a prompt and schedule: `prompt_constants`. Once a
clip: `condition`. What is left, `forward`, is one velocity evaluation: tensors in, a tensor out, the unit that is
exported, captured and timed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.model.anchors import N_TOKENS
from engine.model.config import NORM_EPS, DitSizes
from engine.model.layers import Block, Patcher, SwiGlu, rms, sinusoid


@dataclass(frozen=True)
class TimeConstants:
    """All that depends on the times of a schedule alone; float32."""

    modulation: Tensor
    """`(time, layer, 6, dim)`; the scales hold the norms' weights: weight * (1 + scale)."""
    final: Tensor
    """`(time, 2, dim)`: shift, then scale, of the last norm."""
    memory: Tensor
    """`(time, dim)`: what a time adds to the prompt's memory."""

    def at(self, number: int) -> TimeConstants:
        """Those of one evaluation."""
        return TimeConstants(*(part[number : number + 1] for part in (self.modulation, self.final, self.memory)))


@dataclass(frozen=True)
class PromptConstants:
    """Cross-attention's keys and values of one or several prompts at each time, in the weights' dtype."""

    keys: Tensor
    """`(time, layer, prompt, head, token, head_dim)`"""
    values: Tensor
    """As `keys`."""


class Dit(nn.Module):
    """The network; parameters are in the layout that `engine.model.convert` makes."""

    def __init__(self, sizes: DitSizes) -> None:
        super().__init__()
        self.sizes = sizes
        dim, n_layers = sizes.dim, sizes.n_layers
        self.state_in = nn.Parameter(torch.empty(dim, sizes.n_state))
        self.mixture_in = nn.Linear(sizes.n_channels, dim)
        self.video_gate = nn.Parameter(torch.empty(()))
        self.video_in = nn.Linear(sizes.video_dim, dim)
        self.video_norm = nn.LayerNorm(dim, NORM_EPS)
        self.token_table = nn.Parameter(torch.empty(N_TOKENS, dim))
        self.memory_in = nn.Linear(sizes.text_dim, dim)
        self.memory = SwiGlu(dim, dim, dim)
        self.time = SwiGlu(sizes.time_dim, dim, dim)
        self.time_block = nn.Linear(dim, 6 * dim)
        self.modulation = nn.Parameter(torch.empty(n_layers, 6, dim))
        self.norms = nn.Parameter(torch.empty(n_layers, 2, dim))
        self.final = nn.Parameter(torch.empty(2, dim))
        self.final_norm = nn.Parameter(torch.empty(dim))
        self.patcher = Patcher(dim)
        self.layers = nn.ModuleList(Block(dim, sizes.n_heads, sizes.ffn_dim) for _ in range(n_layers))
        self.output = nn.Parameter(torch.empty(sizes.n_state, dim))

    @property
    def blocks(self) -> Sequence[Block]:
        """The layers, in order."""
        return cast(Sequence[Block], self.layers)

    def lower(self, dtype: torch.dtype) -> Dit:
        """Give the blocks' and convolutions' matrices `dtype`; norms, tables, gates and all that is computed once
        stay float32. Changes the module and returns it."""
        for module in (self.patcher.convs, self.layers):
            for name, parameter in module.named_parameters():
                if not name.endswith("qk_norm"):
                    parameter.data = parameter.data.to(dtype)
        return self

    def time_constants(self, times: Sequence[float] | Tensor) -> TimeConstants:
        """Everything the schedule's `times` (0 noise, 1 data) decide."""
        t = torch.as_tensor(times, dtype=torch.float32, device=self.final.device)
        embedded = self.time(sinusoid(t, self.sizes.time_dim))
        shared = self.time_block(F.silu(embedded)).view(-1, 1, 6, self.sizes.dim)
        modulation = shared + self.modulation
        scales = (1 + modulation[:, :, 1::3]) * self.norms
        modulation = torch.cat(
            [modulation[:, :, :1], scales[:, :, :1], modulation[:, :, 2:4], scales[:, :, 1:], modulation[:, :, 5:]],
            dim=2,
        )
        final = self.final + embedded[:, None]
        final = torch.stack([final[:, 0], (1 + final[:, 1]) * self.final_norm], dim=1)
        return TimeConstants(modulation, final, sinusoid(t, self.sizes.dim))

    def prompt_constants(self, text: Tensor | None, times: TimeConstants) -> PromptConstants:
        """Keys and values of `text` `(prompt, token, text_dim)` at every time.

        None is the network without a text condition (one token that holds the time alone); an empty prompt is not
        None but the text features of "".
        """
        memory = times.memory[:, None, None, :]
        if text is not None:
            memory = self.memory_in(text) + memory
        memory = self.memory(memory)
        n_times, n_prompts, n_tokens, _ = memory.shape
        shape = (n_times, self.sizes.n_layers, n_prompts, self.sizes.n_heads, n_tokens, self.sizes.head_dim)
        keys, values = (memory.new_empty(shape, dtype=self.blocks[0].cross.kv.weight.dtype) for _ in range(2))
        for layer, block in enumerate(self.blocks):
            keys[:, layer], values[:, layer] = block.cross.keys_values(memory)
        return PromptConstants(keys, values)

    def condition(
        self, latents: Tensor, tokens: Tensor | None, *, video: Tensor | None = None, has_video_input: bool = True
    ) -> Tensor:
        """What a clip adds to every evaluation: `(batch, frame, dim)`.

        `latents` `(batch, frame, channel)` of the mixture. `tokens` `(batch, frame)` as `engine.model.anchors` makes
        them; None leaves spans out. `video` `(batch, frame, video_dim)`; None is a clip without pictures, which is
        zeros to the network and not nothing. `has_video_input=False` leaves the video input out altogether.
        """
        h = self.mixture_in(latents)
        if has_video_input:
            picture = self.video_in(video) if video is not None else self.video_in.bias
            h = h + torch.tanh(self.video_gate) * self.video_norm(picture)
        if tokens is not None:
            h = h + self.token_table[tokens]
        return h  # type: ignore[no-any-return]

    def forward(
        self,
        x: Tensor,
        condition: Tensor,
        modulation: Tensor,
        final: Tensor,
        keys: Tensor,
        values: Tensor,
        rope: Tensor,
        frame_mask: Tensor | None = None,
        token_mask: Tensor | None = None,
        *,
        exact_padding: bool = True,
    ) -> Tensor:
        """One velocity evaluation: `(batch, frame, state)` → the same, float32.

        x, condition    float32; the state and what `condition` made of the clip
        modulation, final    of this time: `(layer, 6, dim)` and `(2, dim)`
        keys, values    of this time: `(layer, batch or 1, head, token, head_dim)`
        rope    `engine.model.layers.rope_table` of the clip's frames
        frame_mask    `(batch, frame)`, True at valid frames; None when all are
        token_mask    `(batch or 1, token)`; None when all are valid
        exact_padding    a padded item's velocity is that of the item alone, and 0 at its padding. Without it padded
            frames enter the group norms, as they do in the reference's ragged batches.
        """
        inner_mask = frame_mask if exact_padding else None
        key_mask = None if frame_mask is None else frame_mask[:, None, None, :]
        if token_mask is not None:
            token_mask = token_mask[:, None, None, :].expand(x.shape[0], -1, -1, -1)
        h = self.patcher(F.linear(x, self.state_in) + condition, inner_mask)
        for layer, block in enumerate(self.blocks):
            h = block(h, modulation[layer], keys[layer], values[layer], rope, key_mask, token_mask)
        velocity = F.linear(rms(h, final[1]) + final[0], self.output)
        return velocity if inner_mask is None else velocity * inner_mask[:, :, None]
