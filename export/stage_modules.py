"""Each stage as a module of tensors in, tensors out: what the exporter traces and what a graph is compared with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from engine.model.dit import Dit
from engine.model.layers import rope_table
from engine.model.network import Network
from engine.model.watermark import Past, Watermark


class Encode(nn.Module):
    """`waveform` `(batch, frame, hop)`: whole frames by construction."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.codec = network.codec

    def forward(self, waveform: Tensor) -> Tensor:
        return self.codec.encode(waveform.flatten(1)[:, None])


class Decode(nn.Module):
    """`(batch, frame, channel)` → `(batch, 1, sample)`."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.codec = network.codec

    def forward(self, latents: Tensor) -> Tensor:
        return self.codec.decode(latents)


class Text(nn.Module):
    """Prompts of equal length, so that nothing is padded: `ids` `(batch, token)`."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, ids: Tensor) -> Tensor:
        features: Tensor = self.encoder(input_ids=ids).last_hidden_state
        return features


class OfDit(nn.Module):
    """What the flow transformer's stages share."""

    def __init__(self, dit: Dit) -> None:
        super().__init__()
        self.dit = dit


class Times(OfDit):
    """`(time,)` → modulation, final, memory, as `engine.model.dit.TimeConstants`."""

    def forward(self, times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        made = self.dit.time_constants(times)
        return made.modulation, made.final, made.memory


class Prompt(OfDit):
    """As `Dit.prompt_constants`, written without the in-place stores that an exporter turns into scatters."""

    def forward(self, text: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        heard = self.dit.memory(self.dit.memory_in(text) + memory[:, None, None, :])
        made = [block.cross.keys_values(heard) for block in self.dit.blocks]
        return torch.stack([keys for keys, _ in made], 1), torch.stack([values for _, values in made], 1)


class Clip(OfDit):
    """As `Dit.condition`."""

    def forward(self, latents: Tensor, tokens: Tensor) -> Tensor:
        return self.dit.condition(latents, tokens)


class Velocity(OfDit):
    """One evaluation. `token_bias` `(batch, token)` is 0 at tokens and -inf at padding: what attention adds, instead
    of a mask, which exporters guard against rows without any token."""

    rope: Tensor

    def __init__(self, dit: Dit) -> None:
        super().__init__(dit)
        sizes = dit.sizes
        self.register_buffer("rope", rope_table(sizes.max_frames, sizes.head_dim, sizes.rope_theta))

    def forward(
        self,
        x: Tensor,
        condition: Tensor,
        modulation: Tensor,
        final: Tensor,
        keys: Tensor,
        values: Tensor,
        token_bias: Tensor,
    ) -> Tensor:
        rope = self.rope[:, : x.shape[1]]
        bias = token_bias.to(keys.dtype)
        return self.dit(x, condition, modulation, final, keys, values, rope, None, bias)  # type: ignore[no-any-return]


class Mark(nn.Module):
    """A piece of the watermark: `waveform` `(batch, mark_frame, mark_hop)`, `bits` `(batch, bit)`, and what the piece
    before handed on, each with no frames at the waveform's start; LSTM states `(two, batch, hidden)` are zeros there.
    """

    def __init__(self, watermark: Watermark) -> None:
        super().__init__()
        self.watermark = watermark

    def forward(
        self,
        waveform: Tensor,
        bits: Tensor,
        clean: Tensor,
        heard: Tensor,
        told: Tensor,
        spoken: Tensor,
        remember: Tensor,
        remember_cell: Tensor,
        recall: Tensor,
        recall_cell: Tensor,
    ) -> tuple[Tensor, ...]:
        before = clean.flatten(1)[:, None]
        past = Past(before, heard, told, spoken, (remember, remember_cell), (recall, recall_cell))
        marked, after = self.watermark(waveform.flatten(1)[:, None], bits, past)
        clean = after.clean.unflatten(2, (-1, self.watermark.sizes.hop))[:, 0]
        return (
            marked.reshape(waveform.shape),
            clean,
            after.heard,
            after.told,
            after.spoken,
            *after.remember,
            *after.recall,
        )
