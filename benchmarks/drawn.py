"""Networks with drawn weights, and what they are given: speed does not depend on what the weights are."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from engine.flow.sampling import noise, plan_sampling
from engine.model.config import RELEASED, CodecSizes, Sizes
from engine.model.network import Network
from engine.model.prepared import Prepared, prepare

N_TOKENS = 8
CODEC_GFLOP_PER_S = {"encode": 48.7, "decode 1 stream": 109.6, "decode 2 streams": 219.2}
"""Operations a second of audio at the released sizes."""
_TOY_DIT = replace(
    RELEASED["small"].dit, dim=32, n_heads=4, n_layers=2, ffn_dim=64, n_channels=4, text_dim=8, video_dim=8, time_dim=16
)
_CODEC = RELEASED["small"].codec
assert isinstance(_CODEC, CodecSizes), "the released models hear waveforms"
TOY = Sizes(_TOY_DIT, replace(_CODEC, encoder_dim=2, hidden_dim=8, n_channels=4, decoder_dim=32), None)


def clip(sizes: Sizes, n_frames: int, batch: int, device: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(waveform, latents, text features, noise) drawn from a seed."""
    draw = torch.Generator().manual_seed(7)
    waveform = 0.1 * torch.randn(batch, 1, n_frames * sizes.codec.hop, generator=draw)
    latents = torch.randn(batch, n_frames, sizes.dit.n_channels, generator=draw)
    text = torch.randn(1, N_TOKENS, sizes.dit.text_dim, generator=draw)
    start = torch.from_numpy(noise(range(batch), n_frames, sizes.dit.n_state))
    return waveform.to(device), latents.to(device), text.to(device), start.to(device)


def prepared(network: Network, latents: Tensor, text: Tensor, nfe: int) -> Prepared:
    """A clip without spans, ready for `nfe` evaluations."""
    tokens = torch.zeros(latents.shape[:2], dtype=torch.long, device=latents.device)
    return prepare(network.dit, plan_sampling(nfe=nfe).times, network.dit.condition(latents, tokens), text)
