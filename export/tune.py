"""Fit a few-step solver to a model: gradient descent on its coefficients, never on the model.

The target is the model's own result of many evaluations from the same noise, so neither stems nor labels are needed.
What is minimised is the mean over examples of the log of the squared error, so that hard examples do not decide alone;
what counts is the error on examples that were held out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.flow.fitted import FittedPlan, euler_as_fitted, midpoint_as_fitted

Field = Callable[[Tensor, Tensor, slice], Tensor]
"""(state, time as a tensor of no axes, which examples the state is of) → velocity; differentiable in both tensors."""


@dataclass(frozen=True)
class Tuned:
    """A fitted plan and what it is worth."""

    plan: FittedPlan
    held_out_db: float
    """SNR of its results against the reference's, on the examples that were held out."""
    began_at_db: float
    """The same of the classic method the fit began with."""


def fit(
    field: Field,
    noise: Tensor,
    wanted: Tensor,
    nfe: int,
    *,
    held_out: float = 0.25,
    steps: int = 400,
    rate: float = 5e-3,
) -> Tuned:
    """Fit a plan of `nfe` evaluations to `wanted`, what the model makes of `noise`; both `(example, …)`.

    Begins with midpoint, or Euler where `nfe` is odd, and keeps the coefficients that were best on the held-out
    examples, the first ones included: a fit is never worse than what it began with. Raises `ValueError` for fewer than
    two examples.
    """
    n_held = max(1, round(held_out * len(noise)))
    if len(noise) <= n_held:
        raise ValueError(f"{len(noise)} examples are too few to hold {n_held} out")
    begin = euler_as_fitted(nfe) if nfe % 2 else midpoint_as_fitted(nfe // 2)
    raw = _Raw(begin)
    held, seen = slice(0, n_held), slice(n_held, len(noise))
    began_at_db = _snr_db(raw, field, noise, wanted, held)
    best = Tuned(begin, began_at_db, began_at_db)
    optimiser = torch.optim.Adam(raw.parameters, lr=rate)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(1, steps + 1):
        optimiser.zero_grad()
        error = _errors(raw.solve(field, noise, seen), wanted[seen])
        loss = torch.log(error + 1e-12).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(raw.parameters, 1.0)
        optimiser.step()
        decay.step()
        if step % 20 == 0 or step == steps:
            now = _snr_db(raw, field, noise, wanted, held)
            if now > best.held_out_db:
                best = Tuned(raw.plan(), now, began_at_db)
    return best


class _Raw:
    """Coefficients as tensors that can be fitted: times as logits, so that they stay within 0 to 1."""

    def __init__(self, plan: FittedPlan) -> None:
        self.times = torch.logit(torch.tensor(plan.times[1:], dtype=torch.float32), eps=1e-4).requires_grad_()
        self.scales = torch.tensor(plan.scales, dtype=torch.float32).requires_grad_()
        self.weights = [torch.tensor(row, dtype=torch.float32).requires_grad_() for row in plan.weights]

    @property
    def parameters(self) -> list[Tensor]:
        return [self.times, self.scales, *self.weights]

    def solve(self, field: Field, noise: Tensor, examples: slice) -> Tensor:
        noise = noise[examples]
        times = torch.cat([torch.zeros(1), torch.sigmoid(self.times)])
        x, found = noise, []
        for time, scale, row in zip(times, self.scales, self.weights, strict=True):
            found.append(field(x, time, examples))
            x = scale * noise + sum((weight * v for weight, v in zip(row, found, strict=True)), torch.zeros(()))
        return x

    def plan(self) -> FittedPlan:
        times = [0.0, *torch.sigmoid(self.times.detach()).tolist()]
        rows: Sequence[Tensor] = [row.detach() for row in self.weights]
        return FittedPlan(
            tuple(times), tuple(self.scales.detach().tolist()), tuple(tuple(row.tolist()) for row in rows)
        )


def _errors(made: Tensor, wanted: Tensor) -> Tensor:
    """Squared error over squared signal, an example."""
    axes = tuple(range(1, wanted.dim()))
    return (made - wanted).square().sum(axes) / wanted.square().sum(axes).clamp_min(1e-12)


@torch.no_grad()
def _snr_db(raw: _Raw, field: Field, noise: Tensor, wanted: Tensor, examples: slice) -> float:
    return float(-10 * torch.log10(_errors(raw.solve(field, noise, examples), wanted[examples]) + 1e-12).mean())
