"""The transformer by its identities: padding, prompts, times, conditions, precision, length."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

if not os.environ.get("CI"):
    pytest.importorskip("torch", reason="torch is not installed")

import torch

from engine.flow.sampling import noise, plan_sampling, solve
from engine.model.anchors import ABSENT, NULL, PADDING, PRESENT, frame_of, frame_tokens
from engine.model.config import RELEASED, DitSizes, Sizes
from engine.model.layers import rope_table, rotate, sinusoid
from engine.model.network import random_network
from engine.model.prepared import prepare

pytestmark = pytest.mark.torch
SIZES = DitSizes(
    dim=32,
    n_heads=4,
    n_layers=3,
    ffn_dim=48,
    n_channels=5,
    text_dim=12,
    video_dim=6,
    time_dim=16,
    rope_theta=20_000.0,
    max_frames=64,
)
CODEC = replace(RELEASED["small"].codec, encoder_dim=2, hidden_dim=4, n_channels=5, decoder_dim=32)
TIMES = plan_sampling(nfe=4).times


@pytest.fixture(scope="module", autouse=True)
def _inference():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def dit():
    return random_network(Sizes(SIZES, CODEC, None), 5).dit


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def clip(n_frames, seed=0):
    """(latents, tokens, state) of one clip."""
    tokens = torch.from_numpy(frame_tokens([("+", 0.1, 0.3)], n_frames, 1920))[None]
    return draw(1, n_frames, 5, seed=seed), tokens, torch.from_numpy(noise([seed], n_frames, 10))


def close(ours, theirs, atol=1e-5):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)


def test_a_padded_batch_is_its_items_alone(dit):
    text = draw(2, 6, 12, seed=9)
    n_tokens = (6, 4)
    clips = [clip(11, seed=1), clip(7, seed=2)]
    latents, tokens, x = torch.zeros(2, 11, 5), torch.full((2, 11), PADDING), torch.full((2, 11, 10), 3.0)
    frame_mask, token_mask = torch.zeros(2, 11, dtype=torch.bool), torch.zeros(2, 6, dtype=torch.bool)
    for item, (own_latents, own_tokens, own_x) in enumerate(clips):
        n_frames = own_x.shape[1]
        latents[item, :n_frames], tokens[item, :n_frames], x[item, :n_frames] = own_latents[0], own_tokens[0], own_x[0]
        frame_mask[item, :n_frames], token_mask[item, : n_tokens[item]] = True, True
    together = prepare(dit, TIMES, dit.condition(latents, tokens), text, frame_mask=frame_mask, token_mask=token_mask)
    result = solve(together.velocity, x, plan_sampling(nfe=4))
    for item, (own_latents, own_tokens, own_x) in enumerate(clips):
        own_text = text[item : item + 1, : n_tokens[item]]
        alone = prepare(dit, TIMES, dit.condition(own_latents, own_tokens), own_text)
        close(result[item : item + 1, : own_x.shape[1]], solve(alone.velocity, own_x, plan_sampling(nfe=4)))
    assert torch.equal(together.velocity(x, 0)[1, 7:], torch.zeros(4, 10))


def test_without_exact_padding_the_padding_is_heard(dit):
    """What the reference does with ragged batches, and why we do not."""
    latents, tokens, x = clip(9)
    mask = torch.arange(9)[None] < 6
    condition = dit.condition(latents, tokens)
    exact = prepare(dit, TIMES, condition, draw(1, 3, 12), frame_mask=mask).velocity(x, 0)
    heard = prepare(dit, TIMES, condition, draw(1, 3, 12), frame_mask=mask, exact_padding=False).velocity(x, 0)
    assert (exact - heard)[0, :6].abs().max() > 1e-3


def test_full_masks_change_nothing(dit):
    latents, tokens, x = clip(8)
    condition, text = dit.condition(latents, tokens), draw(1, 4, 12)
    plain = prepare(dit, TIMES, condition, text).velocity(x, 1)
    masked = prepare(
        dit,
        TIMES,
        condition,
        text,
        frame_mask=torch.ones(1, 8, dtype=torch.bool),
        token_mask=torch.ones(1, 4, dtype=torch.bool),
    )
    close(masked.velocity(x, 1), plain)


def test_one_prompt_serves_a_batch(dit):
    """Candidates: the same clip and prompt, several noises."""
    latents, tokens, _ = clip(8)
    x = torch.from_numpy(noise([1, 2, 3], 8, 10))
    text = draw(1, 4, 12)
    condition = dit.condition(latents, tokens)
    together = prepare(dit, TIMES, condition.expand(3, -1, -1), text).velocity(x, 2)
    for item in range(3):
        close(together[item : item + 1], prepare(dit, TIMES, condition, text).velocity(x[item : item + 1], 2))


def test_several_prompts_on_one_clip_are_one_batch(dit):
    latents, tokens, x = clip(8)
    text = draw(3, 4, 12)
    condition = dit.condition(latents, tokens)
    together = prepare(dit, TIMES, condition.expand(3, -1, -1), text).velocity(x.expand(3, -1, -1), 2)
    for item in range(3):
        close(together[item : item + 1], prepare(dit, TIMES, condition, text[item : item + 1]).velocity(x, 2))
    assert (together[0] - together[1]).abs().max() > 1e-3


def test_keys_held_or_made_anew_are_the_same(dit):
    latents, tokens, x = clip(8)
    condition, text = dit.condition(latents, tokens), draw(1, 4, 12)
    held, anew = (prepare(dit, TIMES, condition, text, keys_bytes=limit) for limit in (1 << 30, 0))
    assert held.prompt is not None
    assert anew.prompt is None
    for number in range(4):
        close(held.velocity(x, number), anew.velocity(x, number), atol=1e-6)


def test_a_window_of_the_condition_is_a_clip_of_its_own(dit):
    latents, tokens, x = clip(20)
    whole, text = dit.condition(latents, tokens), draw(1, 4, 12)
    ready = prepare(dit, TIMES, whole, text)
    alone = prepare(dit, TIMES, dit.condition(latents[:, 5:17], tokens[:, 5:17]), text)
    close(ready.velocity(x[:, 5:17], 1, whole[:, 5:17]), alone.velocity(x[:, 5:17], 1), atol=1e-6)


def test_every_condition_is_heard(dit):
    latents, tokens, x = clip(8)
    text = draw(1, 4, 12)

    def velocity(condition, words=text, times=TIMES):
        return prepare(dit, times, condition, words).velocity(x, 1)

    base = velocity(dit.condition(latents, tokens))
    others = {
        "latents": velocity(dit.condition(latents * 0.9, tokens)),
        "spans": velocity(dit.condition(latents, torch.zeros_like(tokens))),
        "video": velocity(dit.condition(latents, tokens, video=draw(1, 8, 6))),
        "video input": velocity(dit.condition(latents, tokens, has_video_input=False)),
        "text": velocity(dit.condition(latents, tokens), draw(1, 4, 12, seed=4)),
        "no text": velocity(dit.condition(latents, tokens), None),
        "time": velocity(dit.condition(latents, tokens), times=(0.0, 0.3)),
    }
    for what, other in others.items():
        assert (other - base).abs().max() > 1e-4, what


def test_no_video_is_a_video_of_zeros(dit):
    latents, tokens, _ = clip(8)
    close(dit.condition(latents, tokens, video=torch.zeros(1, 8, 6)), dit.condition(latents, tokens), atol=1e-7)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float16, 0.01), (torch.bfloat16, 0.06)])
def test_lower_precision_stays_near(dtype, error):
    dit = random_network(Sizes(SIZES, CODEC, None), 5).dit
    latents, tokens, x = clip(12)

    def velocity():
        return prepare(dit, TIMES, dit.condition(latents, tokens), draw(1, 4, 12)).velocity(x, 1)

    exact = velocity()
    dit.lower(dtype)
    kinds = {name: parameter.dtype for name, parameter in dit.named_parameters()}
    low = {name for name, kind in kinds.items() if kind == dtype}
    assert all(name.startswith(("layers.", "patcher.convs.")) for name in low)
    assert all(kind == torch.float32 for name, kind in kinds.items() if "norm" in name or "modulation" in name)
    other = velocity()
    assert other.dtype == torch.float32
    assert 0 < (other - exact).norm() / exact.norm() < error


def test_float16_survives_a_loud_residual_stream():
    """Cross-attention takes the stream without a norm: 1e5 in it must not become infinite."""
    dit = random_network(Sizes(SIZES, CODEC, None), 5).dit.lower(torch.float16)
    latents, tokens, x = clip(8)
    ready = prepare(dit, TIMES, dit.condition(latents, tokens), draw(1, 4, 12))
    ready = replace(ready, condition=ready.condition * 0 + 1e5 * torch.randn(1, 8, 32))
    assert torch.isfinite(ready.velocity(x, 0)).all()


def test_a_clip_longer_than_the_positions_is_refused(dit):
    with pytest.raises(ValueError, match="65 latent frames are more than the network's 64"):
        prepare(dit, TIMES, torch.zeros(1, 65, 32), None)


def test_rotation_depends_on_distance_alone():
    rope = rope_table(40, 16, 20_000.0)
    q, k = draw(16), draw(16, seed=1)
    placed = [rotate(vector.expand(1, 40, 16), rope)[0] for vector in (q, k)]
    products = placed[0] @ placed[1].T
    for distance in (0, 1, 7):
        along = products.diagonal(distance)
        close(along, along[:1].expand_as(along), atol=1e-4)
    close(placed[0].norm(dim=-1), q.norm().expand(40), atol=1e-5)


def test_sinusoids_begin_with_cosines():
    embedded = sinusoid(torch.tensor([0.0, 0.5]), 8)
    close(embedded[0], torch.tensor([1.0, 1, 1, 1, 0, 0, 0, 0]))
    close(embedded[1, [0, 4]], torch.tensor([0.5]).cos().repeat(2) * 0 + torch.tensor([0.87758256, 0.47942554]))
    close(embedded[1, 1], torch.cos(torch.tensor(0.5 * 10_000**-0.25)))


@pytest.mark.parametrize(
    ("time_s", "frame"), [(0.0, 0), (0.04, 1), (0.28, 8), (0.56, 15), (1.12, 29), (6.3, 158), (7.0, 175), (10.0, 250)]
)
def test_times_become_the_references_frames(time_s, frame):
    assert frame_of(time_s, 1920) == frame


def test_spans_become_tokens():
    def tokens(spans, n_frames=8, **more):
        return frame_tokens(spans, n_frames, 1920, **more).tolist()

    assert tokens([]) == [NULL] * 8
    golden = [("+", 0.05, 0.2), ("-", 0.2, 0.26)]
    assert tokens(golden) == [0, 0, 1, 1, 1, 2, 2, 0]
    assert tokens([*golden[::-1], ("+", 0.0, 0.32)]) == [PRESENT] * 8
    assert tokens([("+", 0.0, 0.32), ("-", 0.08, 0.16)]) == [1, 1, 2, 2, 1, 1, 1, 1]
    assert tokens([("-", 0.1, 99.0)]) == [0, 0, 0] + [ABSENT] * 5
    assert tokens([("+", 50.0, 99.0)]) == [NULL] * 8
    assert tokens([("+", -1.0, 0.08)]) == [1, 1, 0, 0, 0, 0, 0, 0]
    assert tokens([], 5, n_total=8) == [0, 0, 0, 0, 0, 3, 3, 3]
    assert tokens([("+", 0.16, 0.24)], 5, n_total=8) == [0, 0, 0, 0, 1, 1, 3, 3]
    with pytest.raises(ValueError, match=r"sign is '\*'"):
        tokens([("*", 0, 1)])
