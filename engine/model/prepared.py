"""One separation's constants, and the velocity that uses them: what a solver is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from torch import Tensor

from engine.model.dit import Dit, PromptConstants, TimeConstants
from engine.model.layers import rope_table

KEYS_BYTES: Final = 1 << 30
"""Keys and values of all times are held when they take less than this; else they are made anew at each evaluation."""


@dataclass(frozen=True)
class Prepared:
    """A clip, a prompt and a schedule."""

    dit: Dit
    times: TimeConstants
    text: Tensor | None
    """`(prompt, token, text_dim)`; one prompt serves a whole batch."""
    prompt: PromptConstants | None
    """None where it is made at each evaluation."""
    condition: Tensor
    """`(batch, frame, dim)`"""
    rope: Tensor
    frame_mask: Tensor | None
    token_mask: Tensor | None
    exact_padding: bool

    def velocity(self, x: Tensor, number: int, condition: Tensor | None = None) -> Tensor:
        """The velocity of `x` `(batch, frame, state)` at evaluation `number`.

        `condition`: that of a window, not longer than the clip this was prepared for; it takes the clip's place.
        """
        if self.prompt is None:
            made = self.dit.prompt_constants(self.text, self.times.at(number))
            keys, values = made.keys[0], made.values[0]
        else:
            keys, values = self.prompt.keys[number], self.prompt.values[number]
        return self.dit(  # type: ignore[no-any-return]
            x,
            self.condition if condition is None else condition,
            self.times.modulation[number],
            self.times.final[number],
            keys,
            values,
            self.rope[:, : x.shape[1]],
            self.frame_mask,
            self.token_mask,
            exact_padding=self.exact_padding,
        )


def prepare(
    dit: Dit,
    times: Sequence[float] | TimeConstants,
    condition: Tensor,
    text: Tensor | None,
    *,
    frame_mask: Tensor | None = None,
    token_mask: Tensor | None = None,
    exact_padding: bool = True,
    keys_bytes: int = KEYS_BYTES,
) -> Prepared:
    """Compute once what the evaluations of a schedule share.

    times    of the evaluations (`SamplingPlan.times`), or what was made of them before
    condition    `dit.condition` of the clips
    text    features of one prompt for all clips, or of one a clip
    frame_mask, token_mask    True where valid; None when all is

    Raises `ValueError` for clips longer than the network's positions.
    """
    sizes, n_frames = dit.sizes, condition.shape[1]
    if n_frames > sizes.max_frames:
        raise ValueError(f"{n_frames} latent frames are more than the network's {sizes.max_frames}")
    times = times if isinstance(times, TimeConstants) else dit.time_constants(times)
    n_prompts, n_tokens = (1, 1) if text is None else text.shape[:2]
    n_values = 2 * times.final.shape[0] * sizes.n_layers * n_prompts * n_tokens * sizes.dim
    fits = n_values * dit.blocks[0].cross.kv.weight.element_size() <= keys_bytes
    prompt = dit.prompt_constants(text, times) if fits else None
    rope = rope_table(n_frames, sizes.head_dim, sizes.rope_theta, condition.device)
    return Prepared(dit, times, text, prompt, condition, rope, frame_mask, token_mask, exact_padding)
