"""Long latents under windows: one window is the plain solution, several leave no seam."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.flow.multidiffusion import cover, joint_velocity, weights_of
from engine.flow.sampling import noise, plan_sampling, solve
from engine.windows import Window

PLAN = plan_sampling(nfe=8)


@given(st.integers(1, 400), st.integers(1, 60), st.data())
@settings(max_examples=100, deadline=None)
def test_windows_cover_every_frame_once(n_frames, window, data):
    stride = data.draw(st.integers(1, window))
    windows = cover(n_frames, window, stride)
    assert {w.n_frames for w in windows} == {min(window, n_frames)}
    assert windows[0].start == 0
    assert windows[-1].end == n_frames
    starts = [w.start for w in windows]
    assert starts == sorted(set(starts))
    assert all(b - a <= stride for a, b in pairwise(starts))
    for blend in ("ramp", "mean"):
        total = np.zeros(n_frames)
        for w, share in zip(windows, weights_of(windows, n_frames, blend), strict=True):
            assert (share > 0).all()
            total[w.start : w.end] += share
        np.testing.assert_allclose(total, 1, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("n_frames", "window", "stride"), [(0, 4, 2), (4, 4, 0), (4, 4, 5)])
def test_windows_that_cannot_be_are_refused(n_frames, window, stride):
    with pytest.raises(ValueError, match="no windows of"):
        cover(n_frames, window, stride)


def test_a_frame_in_no_window_is_named():
    with pytest.raises(ValueError, match="frame 4 is in no window"):
        weights_of([Window(0, 4), Window(5, 8)], 8)


def towards(data):
    """A flow that is straight in every frame: windows do not matter to it."""
    return lambda piece, number, window: (data[:, window.start : window.end] - piece) / (1 - PLAN.times[number])


def test_where_windows_agree_the_result_is_the_one_shot_result():
    x, data = noise([0], 50, 3), noise([1], 50, 3)
    once = solve(joint_velocity(towards(data), cover(50, 50, 50), 50), x, PLAN)
    np.testing.assert_allclose(solve(joint_velocity(towards(data), cover(50, 20, 15), 50), x, PLAN), once, atol=1e-5)


def test_the_caller_is_asked_before_every_window_and_can_stop():
    windows = cover(50, 20, 15)
    asked = []
    solve(
        joint_velocity(towards(noise([1], 50, 3)), windows, 50, between=lambda *at: asked.append(at)),
        noise([0], 50, 3),
        PLAN,
    )
    assert asked == [(number, index) for number in range(PLAN.nfe) for index in range(len(windows))]

    class Stop(Exception):
        pass

    def stop(number, index):
        if (number, index) == (2, 1):
            raise Stop

    heard = []

    def velocity(piece, number, window):
        heard.append((number, window))
        return piece

    with pytest.raises(Stop):
        solve(joint_velocity(velocity, windows, 50, between=stop), noise([0], 50, 3), PLAN)
    assert heard[-1] == (2, windows[0])


def step_at(error, joints):
    """How far the error jumps at the joints, against its typical change from frame to frame."""
    jumps = np.abs(np.diff(error, axis=1)).mean(axis=(0, 2))
    return max(jumps[joint - 1] for joint in joints) / np.median(jumps)


def chunked(velocity, x, windows):
    """Plain chunking: every window solved alone; each frame is taken from the first window that has it."""
    out = np.zeros_like(x)
    for window in reversed(windows):
        piece = x[:, window.start : window.end]
        out[:, window.start : window.end] = solve(lambda y, number, w=window: velocity(y, number, w), piece, PLAN)
    return out


def test_no_seam_where_windows_disagree():
    """Every window believes in a level of its own, as a network that norms over its window does."""
    n_frames, windows = 200, cover(200, 50, 30)
    smooth = np.sin(np.arange(n_frames) / 9)[None, :, None] + np.zeros((1, 1, 4))
    levels = {window: 0.5 * (-1) ** index for index, window in enumerate(windows)}

    def velocity(piece, number, window):
        data = smooth[:, window.start : window.end] + levels[window]
        return (data - piece) / (1 - PLAN.times[number])

    x = noise([3], n_frames, 4).astype(np.float64)
    joined = solve(joint_velocity(velocity, windows, n_frames), x, PLAN) - smooth
    joints = [window.end for window in windows[:-1]]
    assert step_at(chunked(velocity, x, windows) - smooth, joints) > 10
    starts = [window.start for window in windows[1:]]
    # nowhere does the level change by more than a ramp's share of the whole difference a frame
    assert np.abs(np.diff(joined, axis=1)).max() < 1.0 / 10
    assert np.abs(np.diff(joined, axis=1))[:, [*joints, *starts]].max() < 1.0 / 10


@pytest.mark.torch
def test_no_seam_on_a_network():
    if not os.environ.get("CI"):
        pytest.importorskip("torch", reason="torch is not installed")
    import torch

    from engine.model.config import RELEASED, Sizes
    from engine.model.network import random_network
    from engine.model.prepared import prepare

    small = RELEASED["small"]
    dit_sizes = replace(
        small.dit, dim=32, n_heads=4, n_layers=2, ffn_dim=32, n_channels=4, text_dim=8, video_dim=4, time_dim=16
    )
    codec_sizes = replace(small.codec, encoder_dim=2, hidden_dim=4, n_channels=4, decoder_dim=32)
    dit = random_network(Sizes(dit_sizes, codec_sizes, None), 1).dit
    n_frames = 300
    draw = torch.Generator().manual_seed(0)
    # loudness moves along the clip, so windows norm differently
    level = torch.linspace(0.2, 3.0, n_frames)[None, :, None]
    latents = level * torch.randn(1, n_frames, 4, generator=draw)
    tokens = torch.zeros(1, n_frames, dtype=torch.long)
    x = torch.from_numpy(noise([0], n_frames, 8))
    windows = cover(n_frames, 100, 75)
    with torch.inference_mode():
        condition = dit.condition(latents, tokens)
        ready = prepare(dit, PLAN.times, condition, torch.randn(1, 5, 8, generator=draw))

        def velocity(piece, number, window):
            return ready.velocity(piece, number, condition[:, window.start : window.end])

        once = solve(ready.velocity, x, PLAN)
        whole = cover(n_frames, n_frames, n_frames)
        assert torch.equal(solve(joint_velocity(velocity, whole, n_frames), x, PLAN), once)
        joined = solve(joint_velocity(velocity, windows, n_frames), x, PLAN)
        chunks = torch.zeros_like(x)
        for window in reversed(windows):
            frames = slice(window.start, window.end)
            chunks[:, frames] = solve(lambda y, k, w=window: velocity(y, k, w), x[:, frames], PLAN)
    joints = [window.end for window in windows[:-1]]
    ours, plain = (step_at((result - once).numpy(), joints) for result in (joined, chunks))
    assert torch.isfinite(joined).all()
    assert plain > 3
    assert ours < plain / 2
