"""The watermark branch by its own facts: causal, additive, a message of bits, the same in pieces."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

if not os.environ.get("CI"):
    pytest.importorskip("torch", reason="torch is not installed")

import torch

from engine.model.config import RELEASED, WATERMARK, Sizes, WatermarkSizes
from engine.model.network import random_network
from engine.model.watermark import STRENGTH, mark_pieces

pytestmark = pytest.mark.torch
SIZES = WatermarkSizes(first_dim=4, strides=(2, 4, 5, 8), message_dim=6, n_bits=16)
SMALL = RELEASED["small"]
TOY = Sizes(
    replace(SMALL.dit, dim=16, n_heads=2, n_layers=1, ffn_dim=16, n_channels=4, text_dim=4, video_dim=4),
    replace(SMALL.codec, encoder_dim=2, hidden_dim=4, n_channels=4, decoder_dim=32),
    SIZES,
)
HOP = 1920


@pytest.fixture(scope="module", autouse=True)
def _inference():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def watermark():
    return random_network(TOY, 2).watermark


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def bits(*rows):
    return torch.tensor([[int(digit) for digit in f"{row:016b}"] for row in rows])


def test_the_released_branch_has_its_parameters():
    with torch.device("meta"):
        from engine.model.watermark import Watermark

        released = Watermark(WATERMARK)
    assert sum(parameter.numel() for parameter in released.parameters()) == 14_675_873
    assert (WATERMARK.hop, WATERMARK.hidden_dim) == (320, 512)


def test_the_mark_is_added_to_the_same_samples(watermark):
    clean = draw(2, 1, 2 * HOP)
    marked, _ = watermark(clean, bits(0, 0xBEEF))
    assert marked.shape == clean.shape
    mark = (marked - clean) / STRENGTH
    assert 1e-3 < mark.abs().mean() < 100


def test_each_bit_changes_the_mark(watermark):
    clean = draw(1, 1, HOP).expand(17, 1, HOP)
    marked, _ = watermark(clean, bits(0, *(1 << bit for bit in range(16))))
    changes = (marked[1:] - marked[0]).flatten(1)
    assert (changes.abs().amax(dim=1) > 1e-4).all()
    assert torch.linalg.matrix_rank(changes) == 16


def test_rows_are_independent_of_each_other(watermark):
    clean = draw(2, 1, HOP)
    together, _ = watermark(clean, bits(3, 5))
    for row, message in enumerate((3, 5)):
        alone, _ = watermark(clean[row : row + 1], bits(message))
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-6)


def test_it_is_causal_frame_by_frame(watermark):
    clean = draw(1, 1, 2 * HOP)
    later = clean.clone()
    at = 2087
    frame = at // watermark.sizes.hop * watermark.sizes.hop
    later[..., at:] += draw(1, 1, 2 * HOP - at, seed=1)
    marked, other = (watermark(x, bits(9))[0] for x in (clean, later))
    torch.testing.assert_close(marked[..., :frame], other[..., :frame], rtol=0, atol=1e-6)
    assert (marked - other)[..., at:].abs().max() > 1e-3


@pytest.mark.parametrize("frames", [(1, 5), (3, 3), (1, 1, 1, 1, 1, 1), (4, 2)])
def test_pieces_are_marked_like_the_whole(watermark, frames):
    clean = draw(2, 1, 6 * HOP)
    whole, _ = watermark(clean, bits(1, 2))
    pieces = torch.split(clean, [n * HOP for n in frames], dim=-1)
    joined = torch.cat(list(mark_pieces(watermark, iter(pieces), bits(1, 2))), dim=-1)
    torch.testing.assert_close(joined, whole, rtol=0, atol=1e-5)


def test_forgetting_the_past_would_be_heard(watermark):
    clean = draw(1, 1, 4 * HOP)
    whole, _ = watermark(clean, bits(1))
    alone, _ = watermark(clean[..., 2 * HOP :], bits(1))
    assert (whole[..., 2 * HOP :] - alone).abs().max() > 1e-4


def test_what_it_cannot_mark_is_refused(watermark):
    with pytest.raises(ValueError, match="321 samples are not whole frames of 320"):
        watermark(draw(1, 1, 321), bits(0))
    with pytest.raises(ValueError, match="for 2 rows of 16"):
        watermark(draw(2, 1, HOP), bits(0))
