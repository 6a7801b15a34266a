"""What training minimises, from the sums that an example keeps."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from training.network import FRAMES_MULTIPLE

_FLOOR: Final = 1e-3
"""Errors below −30 dB of the mixture are not worth more effort."""
_FAINT: Final = 3e-3
"""Targets whose share of the mixture is smaller than this count less: nobody hears them."""
_TILT: Final = 0.25
"""Power to which a band's share of the third term is raised: quiet bands count too."""


def losses(
    logits: Tensor, heard: Tensor, presence: Tensor, power: Tensor, product: Tensor, energy: Tensor, active: Tensor,
    present: Tensor,
) -> dict[str, Tensor]:  # fmt: skip
    """Shapes as `Head` gives and `Example` holds, with a batch dimension in front. `total` is their weighted sum.

    Masks learn from prompts that are there, and from nothing else: whoever asks for a violin hears one, so an unsure
    mask is the likeliest violin. Rewarded for silence where there is none, masks went silent whenever they were unsure.
    `likeness`: minus the SI-SDR, in bels, which punishes a wrong choice more than it rewards a bold one.
    `error`: energy of the error over that of the target, in bels: the level. `shape`: squared difference from the best
    gains, quiet bands counted. `activity`, `presence`: cross-entropies, over all prompts.
    """
    gains = torch.sigmoid(logits.float())
    power = power.unsqueeze(1)
    whole = power.sum(dim=(2, 3, 4)) + 1e-6
    common = (gains * product).sum(dim=(2, 3, 4))
    given = (power * gains * gains).sum(dim=(2, 3, 4))
    error = (given - 2 * common + energy).clamp(min=0) / whole
    share = energy / whole
    weight = present * (share / _FAINT).clamp(max=1)
    weight = weight / weight.sum().clamp(min=1)
    alike = common.clamp(min=0) ** 2 / (energy * given + 1e-6 * whole * whole)
    alike = alike.clamp(max=1)
    likeness = torch.log10((1 - alike + _FLOOR) / (alike + _FLOOR))
    bels = torch.log10((error + _FLOOR) / (share + _FLOOR))
    tilted = (power + 1e-6) ** _TILT
    tilted = tilted / tilted.mean(dim=(2, 3, 4), keepdim=True)
    best = (product / (power + 1e-6)).clamp(0, 1)
    shape = (tilted * (gains - best) ** 2).mean(dim=(2, 3, 4))
    target = (F.avg_pool1d(active, FRAMES_MULTIPLE) > 0.3).float()
    found = {
        "likeness": (likeness * weight).sum(),
        "error": (bels * weight).sum(),
        "shape": (shape * weight).sum(),
        "activity": F.binary_cross_entropy_with_logits(heard.float(), target),
        "presence": F.binary_cross_entropy_with_logits(presence.float(), present),
    }
    found["total"] = found["likeness"] + 0.3 * found["error"] + 2 * found["shape"]
    found["total"] = found["total"] + 0.3 * found["activity"] + 0.5 * found["presence"]
    # SI-SDR of the mixture itself, for the improvement that is printed.
    whole_alike = (product.sum(dim=(2, 3, 4)) ** 2 / (energy * whole + 1e-9)).clamp(1e-4, 1)
    before = torch.log10((1 - whole_alike + _FLOOR) / (whole_alike + _FLOOR))
    found["gain_db"] = 10 * ((before - likeness) * weight).sum().detach()
    found["mixture_db"] = -10 * (before * weight).sum().detach()
    return found
