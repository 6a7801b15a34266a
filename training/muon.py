"""Steps of equal size in every direction of a weight matrix.

After Muon (K. Jordan, 2024, "Muon: an optimizer for hidden layers in neural networks"): the momentum of a matrix is
brought near the closest orthogonal one by five steps of its quintic iteration, whose coefficients are its author's. A
step is scaled as by J. Liu et al., 2025 ("Muon is scalable for LLM training"), so that rates fit AdamW's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import torch
from torch import Tensor, nn

_QUINTIC: Final = (3.4445, -4.7750, 2.0315)
_N_STEPS: Final = 5
_ADAM_LIKE: Final = 0.2
"""Root mean square of a step over its rate, as AdamW's usually are."""


class Muon(torch.optim.Optimizer):
    """For weights of two dimensions or more: all but the first are one, so a convolution's kernels are rows."""

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float, *, momentum: float = 0.95, weight_decay: float = 0.01
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One step for every parameter that has a gradient. `closure` is not called."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                held = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                held.lerp_(weight.grad, 1 - group["momentum"])
                ahead = weight.grad.lerp(held, group["momentum"]).flatten(1)
                step = nearly_orthogonal(ahead) * (_ADAM_LIKE * max(ahead.shape) ** 0.5)
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(step.view_as(weight), alpha=-group["lr"])


def nearly_orthogonal(matrix: Tensor) -> Tensor:
    """`(row, column)` with the same singular vectors, its singular values brought to about 0.7 to 1.2.

    Those that are less than a thousandth of the whole stay smaller.
    """
    a, b, c = _QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = (matrix.T if tall else matrix).bfloat16()
    x = x / (x.norm() + 1e-7)
    for _ in range(_N_STEPS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x.T if tall else x).float()
