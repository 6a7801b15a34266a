"""What the transformer's blocks are made of. Norms, tables and gates compute in float32 whatever the weights are."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.model.config import NORM_EPS

CROSS_QUERY_SCALE = 1 / 16
"""The residual stream enters cross-attention without a norm. It is scaled down before it is cast so that float16 does
not overflow; the query's RMS norm undoes the scale, exactly, because it is a power of two."""


def sinusoid(times: Tensor, width: int) -> Tensor:
    """Embed times of 0 to 1: `(time,)` → `(time, width)`, cosines first, float32."""
    half = width // 2
    rate = torch.exp(torch.arange(half, dtype=torch.float32, device=times.device) * (-math.log(10_000) / half))
    angle = times.float()[:, None] * rate
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


def rope_table(n_frames: int, head_dim: int, theta: float, device: torch.device | str | None = None) -> Tensor:
    """Rotary cosines and sines: `(2, frame, head_dim / 2)`, float32, position = frame index.

    The angles are made on the CPU: float32 powers differ between devices, and at the last frames an angle is large.
    """
    rate = 1.0 / theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angle = torch.outer(torch.arange(n_frames, dtype=torch.float32), rate)
    return torch.stack([angle.cos(), angle.sin()]).to(device)


def rotate(x: Tensor, rope: Tensor) -> Tensor:
    """Rotate `(batch, frame, …, head_dim)` by its frame's angles; the pairs are channels i and i + head_dim / 2."""
    cos, sin = (table.view(table.shape[0], *[1] * (x.dim() - 3), table.shape[1]) for table in rope)
    left, right = x.chunk(2, dim=-1)
    return torch.cat([left * cos - right * sin, left * sin + right * cos], dim=-1)


def rms(x: Tensor, weight: Tensor | None, eps: float = NORM_EPS) -> Tensor:
    """RMS norm over the last axis in float32; `weight` is of that axis alone, or, in training, a row's own."""
    if weight is not None and weight.dim() > 1:
        return F.rms_norm(x.float(), (x.shape[-1],), None, eps) * weight
    return F.rms_norm(x.float(), (x.shape[-1],), weight, eps)


def masked_group_norm(x: Tensor, weight: Tensor, bias: Tensor, mask: Tensor | None) -> Tensor:
    """Normalise each item of `(batch, frame, channel)` over its frames and channels together.

    With `mask` `(batch, frame)`, True at valid frames, the statistics are of the valid frames alone, which makes a
    padded batch equal to its items alone.
    """
    if mask is None:
        variance, mean = torch.var_mean(x, dim=(1, 2), correction=0, keepdim=True)
    else:
        valid = mask[:, :, None].to(x.dtype)
        n_values = valid.sum(dim=(1, 2), keepdim=True) * x.shape[2]
        mean = (x * valid).sum(dim=(1, 2), keepdim=True) / n_values
        variance = ((x - mean).square() * valid).sum(dim=(1, 2), keepdim=True) / n_values
    return (x - mean) * torch.rsqrt(variance + NORM_EPS) * weight + bias


class SwiGlu(nn.Module):
    """`w2(silu(w1 x) * w3 x)`, with w1 and w3 stacked in `up`."""

    def __init__(self, n_in: int, n_hidden: int, n_out: int) -> None:
        super().__init__()
        self.up = nn.Linear(n_in, 2 * n_hidden, bias=False)
        self.down = nn.Linear(n_hidden, n_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate).mul_(value))  # type: ignore[no-any-return]


class FrameConv(nn.Module):
    """A convolution over 3 frames with zero padding, as one matrix product on `(batch, frame, channel)`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim, 3 * dim))
        self.bias = nn.Parameter(torch.empty(dim))

    def forward(self, x: Tensor) -> Tensor:
        n_frames = x.shape[1]
        padded = F.pad(x, (0, 0, 1, 1))
        taps = torch.cat([padded[:, tap : tap + n_frames] for tap in range(3)], dim=-1)
        return F.linear(taps, self.weight, self.bias)


class Patcher(nn.Module):
    """The residual pair of convolutions that the state passes before the blocks."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.GroupNorm(1, dim, NORM_EPS) for _ in range(2))
        self.convs = nn.ModuleList(FrameConv(dim) for _ in range(2))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """`(batch, frame, dim)` float32; `mask` makes padded frames count for nothing."""
        h = x
        norms, convs = cast(Iterable[nn.GroupNorm], self.norms), cast(Iterable[FrameConv], self.convs)
        for norm, conv in zip(norms, convs, strict=True):
            h = F.silu(masked_group_norm(h, norm.weight, norm.bias, mask))
            if mask is not None:
                h = h * mask[:, :, None]
            h = conv(h.to(conv.weight.dtype)).float()
        return x + h


class SelfAttention(nn.Module):
    """Attention among frames, heads in the ordinary layout, rotary pairs half a head apart."""

    def __init__(self, dim: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.qk_norm = nn.Parameter(torch.empty(2, dim // n_heads))

    def forward(self, x: Tensor, rope: Tensor, key_mask: Tensor | None) -> Tensor:
        """`x` `(batch, frame, dim)`; `key_mask` `(batch, 1, 1, frame)`, True where a frame may be attended to."""
        batch, n_frames, dim = x.shape
        qkv = self.qkv(x).view(batch, n_frames, 3, self.n_heads, dim // self.n_heads)
        qk = rotate(rms(qkv[:, :, :2], None) * self.qk_norm[:, None, :], rope).to(x.dtype)
        q, k, v = (part.transpose(1, 2) for part in (qk[:, :, 0], qk[:, :, 1], qkv[:, :, 2]))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=key_mask)
        return self.out(mixed.transpose(1, 2).reshape(batch, n_frames, dim))  # type: ignore[no-any-return]


class CrossAttention(nn.Module):
    """Attention from frames to the prompt's tokens, whose keys and values are computed once a prompt and time."""

    def __init__(self, dim: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.q = nn.Linear(dim, dim, bias=False)
        self.kv = nn.Linear(dim, 2 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.qk_norm = nn.Parameter(torch.empty(2, dim // n_heads))

    def keys_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """`(…, token, dim)` → keys and values, each `(…, head, token, head_dim)`, in the weights' dtype."""
        dim = memory.shape[-1]
        kv = self.kv(memory.to(self.kv.weight.dtype))
        keys, values = kv.view(*memory.shape[:-1], 2, self.n_heads, dim // self.n_heads).unbind(-3)
        keys = rms(keys, self.qk_norm[1]).to(values.dtype)
        return keys.transpose(-2, -3), values.transpose(-2, -3)

    def forward(self, h: Tensor, keys: Tensor, values: Tensor, token_mask: Tensor | None) -> Tensor:
        """`h` `(batch, frame, dim)`, the residual stream as it is; `token_mask` `(batch, 1, 1, token)`."""
        batch, n_frames, dim = h.shape
        q = self.q((h * CROSS_QUERY_SCALE).to(keys.dtype)).view(batch, n_frames, self.n_heads, dim // self.n_heads)
        q = rms(q, self.qk_norm[0], NORM_EPS * CROSS_QUERY_SCALE**2).to(keys.dtype).transpose(1, 2)
        if keys.shape[0] != batch:
            keys, values = (part.expand(batch, -1, -1, -1) for part in (keys, values))
        mixed = F.scaled_dot_product_attention(q, keys, values, attn_mask=token_mask)
        return self.out(mixed.transpose(1, 2).reshape(batch, n_frames, dim))  # type: ignore[no-any-return]


class Block(nn.Module):
    """One layer: self-attention and feed-forward, each normed, modulated and gated; cross-attention plain."""

    def __init__(self, dim: int, n_heads: int, ffn_dim: int) -> None:
        super().__init__()
        self.attention = SelfAttention(dim, n_heads)
        self.cross = CrossAttention(dim, n_heads)
        self.ffn = SwiGlu(dim, ffn_dim, dim)

    def forward(
        self,
        h: Tensor,
        modulation: Tensor,
        keys: Tensor,
        values: Tensor,
        rope: Tensor,
        key_mask: Tensor | None,
        token_mask: Tensor | None,
    ) -> Tensor:
        """`h` `(batch, frame, dim)` float32. `modulation` `(6, dim)`: shift, scale and gate of attention, then of the
        feed-forward; the scales already hold the norms' weights."""
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = modulation.unbind(0)
        compute = self.ffn.up.weight.dtype
        a = (rms(h, scale) + shift).to(compute)
        h = h + gate * self.attention(a, rope, key_mask)
        h = h + self.cross(h, keys, values, token_mask)
        f = (rms(h, ffn_scale) + ffn_shift).to(compute)
        return h + ffn_gate * self.ffn(f)  # type: ignore[no-any-return]
