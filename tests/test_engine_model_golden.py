"""The network against the reference's own outputs: `tests/golden/sam_tiny`, every row within 2e-6."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

if not os.environ.get("CI"):
    pytest.importorskip("torch", reason="torch is not installed")

import torch
from safetensors.torch import load_file

from engine.flow.sampling import plan_sampling, solve
from engine.model.codec import pad_to_frames
from engine.model.convert import convert_codec, convert_dit
from engine.model.derive import sizes_of
from engine.model.network import assemble
from engine.model.prepared import prepare

pytestmark = pytest.mark.torch
GOLDEN = Path(__file__).parent / "golden" / "sam_tiny"
MAX_POSITIONS = 600
TOLERANCE = 2e-6


@pytest.fixture(scope="module")
def io():
    return load_file(GOLDEN / "io.safetensors")


@pytest.fixture(scope="module")
def network():
    weights = load_file(GOLDEN / "weights.safetensors")
    sizes = sizes_of({key: tuple(tensor.shape) for key, tensor in weights.items()}, MAX_POSITIONS)
    tensors = {f"dit.{key}": tensor for key, tensor in convert_dit(weights, sizes.dit)}
    tensors |= {f"codec.{key}": tensor for key, tensor in convert_codec(weights, sizes.codec)}
    return assemble(sizes, tensors)


@pytest.fixture(scope="module", autouse=True)
def _inference():
    with torch.inference_mode():
        yield


def same(ours, theirs):
    return torch.testing.assert_close(ours, theirs, rtol=0, atol=TOLERANCE)


def latents(io):
    return io["audio_features"][..., :8]


def full_condition(network, io):
    tokens = io["anchor_ids"].gather(1, io["anchor_alignment"])
    return network.dit.condition(latents(io), tokens, video=io["video"].transpose(1, 2))


def test_encode(network, io):
    # the padded batch as it stands: item 1's zeros are part of it, as in the reference
    ours = network.codec.encode(pad_to_frames(io["wav"], network.sizes.codec.hop))
    same(torch.cat([ours, ours], dim=-1), io["audio_features"])


def test_decode(network, io):
    same(network.codec.decode(io["lat"].transpose(1, 2)), io["clean"])


def velocities(network, io, condition, **conditions):
    """Item k at its own time: times are a schedule's, not an item's, so each item is taken from a run of its own."""
    runs = [prepare(network.dit, [t], condition, exact_padding=False, **conditions) for t in io["t"].tolist()]
    return torch.stack([run.velocity(io["noise"], 0)[item] for item, run in enumerate(runs)])


def masks(io):
    return {"frame_mask": io["mask"].bool(), "token_mask": io["text_mask"].bool()}


def test_velocity_with_text_video_spans_and_masks(network, io):
    same(velocities(network, io, full_condition(network, io), text=io["text"], **masks(io)), io["v"])


def test_velocity_without_video_and_spans(network, io):
    tokens = io["anchor_ids0"].gather(1, io["anchor_alignment0"])
    same(velocities(network, io, network.dit.condition(latents(io), tokens), text=io["text"], **masks(io)), io["v0"])


def test_velocity_without_any_condition(network, io):
    condition = network.dit.condition(latents(io), None, has_video_input=False)
    same(velocities(network, io, condition, text=None), io["vn"])


@pytest.mark.parametrize("keys_bytes", [1 << 30, 0], ids=["keys held", "keys made at each evaluation"])
def test_the_32_evaluations_of_the_reference(network, io, keys_bytes):
    plan = plan_sampling("best")
    ready = prepare(
        network.dit,
        plan.times,
        full_condition(network, io),
        io["text"],
        exact_padding=False,
        keys_bytes=keys_bytes,
        **masks(io),
    )
    assert (ready.prompt is None) == (keys_bytes == 0)
    ode = solve(ready.velocity, io["noise"], plan)
    same(ode, io["ode"])
    target_and_residual = ode.transpose(1, 2).reshape(4, 8, -1)
    same(target_and_residual, io["lat"])


def test_a_wrong_head_order_would_be_seen(network, io):
    """The golden values really pin the layout: the same weights, heads read in the ordinary order, miss them."""
    ready = prepare(network.dit, io["t"].tolist(), full_condition(network, io), io["text"], **masks(io))
    block = network.dit.blocks[0].attention.qkv
    kept = block.weight
    block.weight = torch.nn.Parameter(kept.view(3, 6, 16, -1).transpose(1, 2).reshape(kept.shape), requires_grad=False)
    try:
        assert (ready.velocity(io["noise"], 0)[0] - io["v"][0]).abs().max() > 1e-3
    finally:
        block.weight = kept
