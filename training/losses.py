"""What training minimises, from the sums that an example keeps."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from training.network import FRAMES_MULTIPLE

_FLOOR: Final = 1e-3
"""Errors below −30 dB of the mixture are not worth more effort."""
_TILT: Final = 0.25
"""Power to which a band's share of the second term is raised: quiet bands count too."""


def losses(
    logits: Tensor, heard: Tensor, presence: Tensor, power: Tensor, product: Tensor, energy: Tensor, active: Tensor,
    present: Tensor,
) -> dict[str, Tensor]:  # fmt: skip
    """Shapes as `Head` gives and `Example` holds, with a batch dimension in front. `total` is their weighted sum.

    `error`: energy of the error over that of the target, in bels, or over that of the mixture where there is no target.
    `shape`: squared difference from the best gains, quiet bands counted. `activity`, `presence`: cross-entropies.
    """
    gains = torch.sigmoid(logits.float())
    power = power.unsqueeze(1)
    whole = power.sum(dim=(2, 3, 4)) + 1e-6
    error = ((power * gains - 2 * product) * gains).sum(dim=(2, 3, 4)) + energy
    error = error.clamp(min=0) / whole
    share = energy / whole
    bels = torch.where(
        present > 0, torch.log10((error + _FLOOR) / (share + _FLOOR)), 0.5 * (torch.log10(error + _FLOOR) + 1)
    )
    weight = (power + 1e-6) ** _TILT
    weight = weight / weight.mean(dim=(2, 3, 4), keepdim=True)
    best = (product / (power + 1e-6)).clamp(0, 1)
    shape = (weight * (gains - best) ** 2).mean(dim=(2, 3, 4))
    target = (F.avg_pool1d(active, FRAMES_MULTIPLE) > 0.3).float()
    found = {
        "error": bels.mean(),
        "shape": shape.mean(),
        "activity": F.binary_cross_entropy_with_logits(heard.float(), target),
        "presence": F.binary_cross_entropy_with_logits(presence.float(), present),
    }
    found["total"] = found["error"] + 4 * found["shape"] + 0.3 * found["activity"] + 0.3 * found["presence"]
    n_present = present.sum().clamp(min=1)
    found["gain_db"] = (-10 * torch.log10((error + 1e-6) / (share + 1e-6)) * present).sum().detach() / n_present
    found["mixture_db"] = (10 * torch.log10((share + 1e-6) / (1 - share).clamp(min=1e-6)) * present).sum() / n_present
    return found
