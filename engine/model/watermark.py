"""The mark that the reference adds to every waveform it decodes: 16 bits, a quarter of a small network's output.

It hears the past and the frame of 320 samples it is in, and two LSTMs remember everything before, so a long waveform is
marked piece after piece with a state handed on, which gives the same samples as marking it whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.model.config import WatermarkSizes

STRENGTH: Final = 0.25
"""What of the branch's output is added: its 32 channels over the 128 of its message."""
_HIDDEN_TAPS: Final = 7
_HEARD_FRAMES: Final = 2
"""Innermost frames of waveform that a frame of the inner layers hears before itself; 478 samples of 640 are needed."""
_SPOKEN_FRAMES: Final = 4
"""Innermost frames that a sample of the mark hears before its own."""


class CausalConv(nn.Conv1d):
    """A convolution that hears the past alone: zeros before, none after."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (self.kernel_size[0] - self.stride[0], 0)))


class CausalUpsample(nn.ConvTranspose1d):
    """A transposed convolution whose last, unfinished samples are cut."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        return super().forward(x, output_size)[..., : x.shape[-1] * self.stride[0]]


class Unit(nn.Module):
    """ELU, 3 taps to half the channels, ELU, 1 tap back, added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.narrow = CausalConv(width, width // 2, 3)
        self.widen = CausalConv(width // 2, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.widen(F.elu(self.narrow(F.elu(x))))  # type: ignore[no-any-return]


class Down(nn.Module):
    """One level down: a unit, then fewer frames of twice the channels."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.unit = Unit(width)
        self.conv = CausalConv(width, 2 * width, 2 * stride, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.elu(self.unit(x)))  # type: ignore[no-any-return]


class Up(nn.Module):
    """One level up: more frames of half the channels, then a unit."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.conv = CausalUpsample(2 * width, width, 2 * stride, stride)
        self.unit = Unit(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.unit(self.conv(F.elu(x)))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Past:
    """What one piece hands to the next."""

    clean: Tensor
    """The last samples, `(batch, 1, sample)`."""
    heard: Tensor
    """The last frames before the message, `(batch, hidden, frame)`."""
    told: Tensor
    """The last frames with the message, `(batch, message, frame)`."""
    spoken: Tensor
    """The last frames before the way up, `(batch, hidden, frame)`."""
    remember: tuple[Tensor, Tensor]
    recall: tuple[Tensor, Tensor]


class Watermark(nn.Module):
    """The branch; parameters are in the layout that `engine.model.convert` makes. Always float32."""

    def __init__(self, sizes: WatermarkSizes) -> None:
        super().__init__()
        self.sizes = sizes
        hidden, widths = sizes.hidden_dim, [sizes.first_dim << level for level in range(len(sizes.strides))]
        pairs = list(zip(widths, sizes.strides, strict=True))
        self.listen = CausalConv(1, sizes.first_dim, 7)
        self.down = nn.ModuleList(Down(width, stride) for width, stride in pairs)
        self.remember = nn.LSTM(hidden, hidden, 2, batch_first=True)
        self.hidden = CausalConv(hidden, sizes.message_dim, _HIDDEN_TAPS)
        self.message = nn.Parameter(torch.empty(2 * sizes.n_bits, sizes.message_dim))
        self.told = CausalConv(sizes.message_dim, hidden, _HIDDEN_TAPS)
        self.recall = nn.LSTM(hidden, hidden, 2, batch_first=True)
        self.up = nn.ModuleList(Up(width, stride) for width, stride in pairs)
        self.speak = CausalConv(sizes.first_dim, 1, 7)

    def forward(self, clean: Tensor, bits: Tensor, past: Past | None = None) -> tuple[Tensor, Past]:
        """The marked piece and what the next one needs.

        clean    `(batch, 1, sample)`, a multiple of the branch's hop and at least 6 frames of it, unless it is whole
        bits    `(batch, bit)` of 0 and 1
        past    None at the waveform's start

        Raises `ValueError` for another number of samples or bits.
        """
        hop = self.sizes.hop
        if clean.shape[-1] % hop or clean.shape[-1] == 0:
            raise ValueError(f"{clean.shape[-1]} samples are not whole frames of {hop}")
        if bits.shape != (clean.shape[0], self.sizes.n_bits):
            raise ValueError(f"a message of {tuple(bits.shape)} bits for {clean.shape[0]} rows of {self.sizes.n_bits}")
        x = clean if past is None else torch.cat([past.clean, clean], dim=-1)
        h = self.listen(x)
        for down in cast(Sequence[Down], self.down):
            h = down(h)
        h = _new(h, clean.shape[-1] // hop)
        h, remember = _with_lstm(self.remember, h, None if past is None else past.remember)
        heard = _joined(None if past is None else past.heard, F.elu(h))
        told = _new(self.hidden(heard), h.shape[-1]) + self._said(bits)
        told = _joined(None if past is None else past.told, told)
        h, recall = _with_lstm(self.recall, _new(self.told(told), h.shape[-1]), None if past is None else past.recall)
        spoken = _joined(None if past is None else past.spoken, h)
        y = spoken
        for up in reversed(cast(Sequence[Up], self.up)):
            y = up(y)
        mark = _new(self.speak(F.elu(y)), clean.shape[-1])
        after = Past(
            _new(x, _HEARD_FRAMES * hop),
            _new(heard, _HIDDEN_TAPS - 1),
            _new(told, _HIDDEN_TAPS - 1),
            _new(spoken, _SPOKEN_FRAMES),
            remember,
            recall,
        )
        return clean + STRENGTH * mark, after

    def _said(self, bits: Tensor) -> Tensor:
        """The message's code, `(batch, message, 1)`: a row of the table a bit, summed."""
        rows = 2 * torch.arange(self.sizes.n_bits, device=bits.device) + bits.long()
        return self.message[rows].sum(dim=1)[:, :, None]


def mark_pieces(watermark: Watermark, pieces: Iterator[Tensor], bits: Tensor) -> Iterator[Tensor]:
    """Mark consecutive `(batch, 1, sample)` pieces of one waveform."""
    past: Past | None = None
    for clean in pieces:
        marked, past = watermark(clean, bits, past)
        yield marked


def _with_lstm(lstm: nn.LSTM, x: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    out, after = lstm(x.transpose(1, 2), state)
    return out.transpose(1, 2) + x, after


def _joined(past: Tensor | None, now: Tensor) -> Tensor:
    return now if past is None else torch.cat([past, now], dim=-1)


def _new(x: Tensor, n: int) -> Tensor:
    begin = torch.sym_max(x.shape[-1] - n, 0)  # type: ignore[no-untyped-call]  # an exporter's length is no int
    return x[..., begin:]
