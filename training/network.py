"""The network: a U-Net over bands and frames that knows no prompt, and a small head that asks it.

One pass of the trunk serves any number of prompts: the head scores each band and frame of each scale by a dot product
with a query made from the prompt's text embedding, and, where spans were given, from what the trunk heard inside them.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

N_FEATURES: Final = 3
N_TEXT: Final = 384
FRAMES_MULTIPLE: Final = 8
STRIDES: Final = ((2, 2), (2, 2), (2, 2), (2, 1))
"""Bands and frames that each level halves: the lowest has 1/16 of the bands and 1/8 of the frames."""
WIDTHS: Final = (24, 48, 80, 112, 160)
QUERY: Final = (24, 24, 32, 32, 32)
"""Dimensions of the dot product at each scale, finest first."""
N_PAN: Final = 8
"""Dimensions that tell the left channel's mask from the right's, at the finest scale."""
N_CONTEXT: Final = 256
N_ACTIVITY: Final = 96


def _conv(n_in: int, n_out: int, stride: int | tuple[int, int] = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True))


class _Block(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.first = _conv(n, n)
        self.second = nn.Sequential(nn.Conv2d(n, n, 3, 1, 1, bias=False), nn.BatchNorm2d(n))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)))


class _Context(nn.Module):
    """All bands of a coarse frame together, and its neighbours in time."""

    def __init__(self, n: int, n_bands: int) -> None:
        super().__init__()
        self.enter = nn.Conv1d(n * n_bands, N_CONTEXT, 1)
        self.past = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(N_CONTEXT, N_CONTEXT, 3, padding=d, dilation=d, bias=False), nn.BatchNorm1d(N_CONTEXT)
            )
            for d in (1, 2, 4)
        )
        self.leave = nn.Conv1d(N_CONTEXT, n * n_bands, 1)
        self.shape = (n, n_bands)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        context = F.relu(self.enter(x.flatten(1, 2)))
        for layer in self.past:
            context = F.relu(context + layer(context))
        return x + self.leave(context).unflatten(1, self.shape), context


class Trunk(nn.Module):
    """(batch, 3, band, frame) features in; features to ask at five scales, and the context, out."""

    def __init__(self, n_bands: int) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1, WIDTHS[0], n_bands, 1))
        self.enter = nn.Conv2d(N_FEATURES, WIDTHS[0], 3, 1, 1)
        self.down = nn.ModuleList(_conv(a, b, s) for a, b, s in zip(WIDTHS, WIDTHS[1:], STRIDES, strict=False))
        self.fall = nn.ModuleList(nn.Sequential(*(_Block(n) for _ in range(1 if n < 112 else 2))) for n in WIDTHS[1:])
        self.places = nn.ParameterList(
            torch.zeros(1, n, n_bands // 2**level, 1) for level, n in enumerate(WIDTHS[1:], start=1)
        )
        self.context = _Context(WIDTHS[-1], n_bands // 16)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(b, a, s, s) for a, b, s in zip(WIDTHS, WIDTHS[1:], STRIDES, strict=False)
        )
        self.rise = nn.ModuleList(_Block(n) for n in WIDTHS[1:-1])
        self.last = _conv(WIDTHS[0], WIDTHS[0] + N_PAN)
        sizes = (WIDTHS[0] + N_PAN, *WIDTHS[1:])
        outs = (QUERY[0] + N_PAN, *QUERY[1:])
        self.ask = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(sizes, outs, strict=True))
        self.activity = nn.Conv1d(N_CONTEXT, N_ACTIVITY, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        skips = [F.relu(self.enter(x) + self.place)]
        for down, fall, place in zip(self.down, self.fall, self.places, strict=True):
            skips.append(fall(down(skips[-1]) + place))
        h, context = self.context(skips[-1])
        asked = [self.ask[4](h)]
        for level in (3, 2, 1):
            h = self.rise[level - 1](self.up[level](h) + skips[level])
            asked.append(self.ask[level](h))
        h = self.last(F.relu(self.up[0](h) + skips[0]))
        asked.append(self.ask[0](h))
        return (*reversed(asked), context, self.activity(context))


class Head(nn.Module):
    """Prompts asked of a trunk's features. Text is (batch, prompt, 384), spans (batch, prompt, frame) of +1, 0, −1."""

    def __init__(self) -> None:
        super().__init__()
        self.text = nn.Linear(N_TEXT, 256)
        self.example = nn.Linear(3 * N_CONTEXT, 256)
        self.middle = nn.Linear(256, 256)
        self.query = nn.Linear(256, sum(QUERY) + N_PAN + N_ACTIVITY + 2)
        self.frames = nn.Sequential(nn.Conv1d(3, 24, 5, padding=2), nn.ReLU(), nn.Conv1d(24, 1, 5, padding=2))
        self.span_gain = nn.Parameter(torch.tensor([0.5, 2.0]))
        # Queries must differ by prompt from the first step on: unit variance from the text to the dot products.
        for layer in (self.text, self.middle):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.normal_(self.query.weight, std=256**-0.5)

    def listen(self, activity: Tensor, text: Tensor) -> Tensor:
        """Activity logits (batch, prompt, frame / 8) of prompts without spans: all that the concepts' loss needs."""
        hidden = F.relu(self.middle(F.relu(self.text(text * N_TEXT**0.5))))
        query = self.query(hidden)[..., -N_ACTIVITY - 2 :]
        heard: Tensor = torch.einsum("bct,bkc->bkt", activity, query[..., :-2]) / N_ACTIVITY**0.5 + query[..., -2:-1]
        return heard

    def forward(self, asked: tuple[Tensor, ...], text: Tensor, spans: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mask logits (batch, prompt, 2, band, frame) of left and right; activity logits (batch, prompt, frame / 8).

        The third: one presence logit a prompt, (batch, prompt).
        """
        *scales, context, activity = asked
        coarse = F.avg_pool1d(spans, FRAMES_MULTIPLE)
        yes, no = coarse.clamp(min=0), (-coarse).clamp(min=0)
        inside = _mean(context, yes)
        outside = _mean(context, (1 - yes).clamp(min=0))
        unwanted = _mean(context, no)
        given = (spans.abs().amax(dim=-1, keepdim=True) > 0).to(text.dtype)
        example = self.example(torch.cat([inside, outside, unwanted], dim=-1)) * given
        hidden = F.relu(self.middle(F.relu(self.text(text * N_TEXT**0.5) + example)))
        queries = self.query(hidden).split([*QUERY, N_PAN, N_ACTIVITY, 2], dim=-1)
        heard = torch.einsum("bct,bkc->bkt", activity, queries[-2]) / N_ACTIVITY**0.5
        heard = heard + queries[-1][..., :1]
        presence = (torch.logsumexp(heard * 2, dim=-1) - torch.ones_like(heard[0, 0]).sum().log()) / 2

        steps = torch.stack([heard, yes, no], dim=2).flatten(0, 1)
        bias = self.frames(steps).view_as(heard) + queries[-1][..., 1:]
        # The finest scale, the largest by far, is read once: for the mask's rows and the pan's together.
        fine = F.pad(queries[0] / QUERY[0] ** 0.5, (0, N_PAN))
        pan = F.pad(queries[5] / N_PAN**0.5, (QUERY[0], 0))
        finest, pan = _score(scales[0], torch.cat([fine, pan], dim=1)).chunk(2, dim=1)
        scores = [finest, *(_score(scales[i], queries[i] / QUERY[i] ** 0.5) for i in range(1, 5))]
        logits = scores[4] + bias.unsqueeze(2)
        for scale in range(3, -1, -1):
            up = [float(factor) for factor in STRIDES[scale]]
            logits = F.interpolate(logits.flatten(0, 1).unsqueeze(1), scale_factor=up, mode="nearest")
            logits = logits.squeeze(1).view_as(scores[scale]) + scores[scale]
        logits = logits + (
            self.span_gain[0] * spans.clamp(min=0) - self.span_gain[1] * (-spans).clamp(min=0)
        ).unsqueeze(2)
        return torch.stack([logits + pan, logits - pan], dim=2), heard, presence


def _score(features: Tensor, query: Tensor) -> Tensor:
    """(batch, channel, band, frame) and (batch, prompt, channel) to dot products (batch, prompt, band, frame)."""
    dots = torch.matmul(query, features.flatten(2))
    return dots.unflatten(2, features.shape[2:])  # type: ignore[no-untyped-call, no-any-return]


def _mean(context: Tensor, weight: Tensor) -> Tensor:
    """(batch, channel, frame) and (batch, prompt, frame) to (batch, prompt, channel)."""
    total = weight.sum(dim=-1, keepdim=True) + 1e-4
    return torch.einsum("bct,bkt->bkc", context, weight) / total


class Network(nn.Module):
    """Trunk and head together, as they are trained."""

    def __init__(self, n_bands: int) -> None:
        super().__init__()
        self.trunk = Trunk(n_bands)
        self.head = Head()

    def forward(self, features: Tensor, text: Tensor, spans: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        asked = self.trunk(features)
        return self.head(tuple(a.float() for a in asked), text, spans)  # type: ignore[no-any-return]
