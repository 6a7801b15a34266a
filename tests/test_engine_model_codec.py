"""The codec by its identities: chunks, padding, layout, and transformers' DAC as a second opinion."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

if not os.environ.get("CI"):
    pytest.importorskip("torch", reason="torch is not installed")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model.codec import (
    CONTEXT_FRAMES,
    Conv,
    Downsample,
    Residual,
    Snake,
    Upsample,
    decode_chunks,
    encode_chunks,
    pad_to_frames,
)
from engine.model.config import RELEASED, CodecSizes, Sizes, n_frames_of
from engine.model.network import random_network

pytestmark = pytest.mark.torch
SIZES = CodecSizes(
    encoder_dim=4,
    encoder_strides=(2, 8, 10, 12),
    hidden_dim=16,
    n_channels=6,
    decoder_dim=64,
    decoder_strides=(12, 10, 8, 2),
)
DIT = replace(RELEASED["small"].dit, dim=16, n_heads=2, n_layers=1, ffn_dim=16, n_channels=6, text_dim=4, video_dim=4)


@pytest.fixture(scope="module", autouse=True)
def _inference():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def codec():
    codec = random_network(Sizes(DIT, SIZES, None), 3).codec
    for module in codec.modules():
        if isinstance(module, Upsample):
            # one bias a channel, as a transposed convolution has
            module.conv.bias.copy_(module.conv.bias[: module.n_out].repeat(module.stride))
    return codec


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("chunk_frames", [1, 5, 16, 40, 100])
def test_chunks_decode_to_the_same_samples(codec, chunk_frames):
    latents = draw(2, 40, SIZES.n_channels)
    pieces = list(decode_chunks(codec, latents, chunk_frames))
    assert len(pieces) == -(-40 // chunk_frames)
    torch.testing.assert_close(torch.cat(pieces, dim=-1), codec.decode(latents), rtol=0, atol=1e-5)


@pytest.mark.parametrize("chunk_frames", [1, 5, 16, 40, 100])
def test_chunks_encode_to_the_same_latents(codec, chunk_frames):
    waveform = draw(2, 1, 40 * SIZES.hop)
    pieces = list(encode_chunks(codec, waveform, chunk_frames))
    torch.testing.assert_close(torch.cat(pieces, dim=1), codec.encode(waveform), rtol=0, atol=1e-5)


def test_less_context_would_not_be_exact(codec, monkeypatch):
    """The context is needed: without a frame of it, chunks differ."""
    latents = draw(1, 30, SIZES.n_channels)
    whole = codec.decode(latents)
    monkeypatch.setattr("engine.model.codec.CONTEXT_FRAMES", CONTEXT_FRAMES - 2)
    short = torch.cat(list(decode_chunks(codec, latents, 10)), dim=-1)
    assert (short - whole).abs().max() > 1e-5


def test_batches_are_their_items(codec):
    waveform, latents = draw(3, 1, 4 * SIZES.hop), draw(3, 4, SIZES.n_channels)
    for item in range(3):
        one = slice(item, item + 1)
        torch.testing.assert_close(codec.encode(waveform)[one], codec.encode(waveform[one]), rtol=0, atol=1e-5)
        torch.testing.assert_close(codec.decode(latents)[one], codec.decode(latents[one]), rtol=0, atol=1e-5)


def test_a_waveform_that_is_not_whole_frames_is_refused(codec):
    with pytest.raises(ValueError, match="1921 samples are not whole frames of 1920"):
        codec.encode(draw(1, 1, 1921))


@pytest.mark.parametrize("stride", [2, 3, 5, 8])
def test_upsampling_is_a_transposed_convolution(stride):
    n_in, n_out, n_samples = 4, 3, 7
    weight, bias, x = draw(n_in, n_out, 2 * stride), draw(n_out, seed=1), draw(2, n_in, n_samples, seed=2)
    layer = Upsample(n_in, n_out, stride)
    taps = torch.stack([weight[:, :, stride:], weight[:, :, :stride]])
    layer.conv.weight.data = taps.permute(3, 2, 0, 1).flatten(0, 1)
    layer.conv.bias.data = bias.repeat(stride)
    theirs = torch.nn.functional.conv_transpose1d(
        x, weight, bias, stride=stride, padding=(stride + 1) // 2, output_padding=stride % 2
    )
    torch.testing.assert_close(layer(x[:, :, None])[:, :, 0], theirs, rtol=0, atol=1e-5)


@given(st.integers(1, 5000), st.sampled_from([4, 100, 1920]))
@settings(max_examples=60, deadline=None)
def test_padding_reflects_to_whole_frames(n_samples, hop):
    waveform = torch.arange(n_samples, dtype=torch.float32)[None, None]
    padded = pad_to_frames(waveform, hop)
    n_total = n_frames_of(n_samples, hop) * hop
    assert padded.shape[-1] == n_total
    assert torch.equal(padded[..., :n_samples], waveform)
    if n_total - n_samples < n_samples:
        reflected = torch.nn.functional.pad(waveform, (0, n_total - n_samples), mode="reflect")
        assert torch.equal(padded, reflected)
    elif n_samples > 1:
        assert (padded.diff().abs() == 1).all()
    else:
        assert (padded == 0).all()


def test_an_empty_waveform_is_refused():
    with pytest.raises(ValueError, match="no samples"):
        pad_to_frames(torch.zeros(1, 1, 0), 1920)


@pytest.mark.parametrize(
    ("n_samples", "n_frames"), [(1, 1), (1920, 1), (1921, 2), (28_800_000, 15_000), (28_800_001, 15_001)]
)
def test_frames_are_counted_exactly(n_samples, n_frames):
    # in float32, as the reference counts, the last one comes out as 15000
    assert n_frames_of(n_samples, 1920) == n_frames


def test_lower_precision_keeps_snake_and_the_ends_in_float32():
    codec = random_network(Sizes(DIT, SIZES, None), 3).codec
    latents, waveform = draw(1, 4, SIZES.n_channels), draw(1, 1, 4 * SIZES.hop)
    exact, exact_latents = codec.decode(latents), codec.encode(waveform)
    codec.lower(torch.bfloat16)
    kinds = {type(module).__name__: set() for module in codec.modules() if isinstance(module, Conv | Snake)}
    for module in codec.modules():
        if isinstance(module, Conv | Snake):
            kinds[type(module).__name__] |= {parameter.dtype for parameter in module.parameters()}
    assert kinds == {"Conv": {torch.float32, torch.bfloat16}, "Snake": {torch.float32}}
    for ours, theirs in ((codec.decode(latents), exact), (codec.encode(waveform), exact_latents)):
        assert ours.dtype == torch.float32
        assert 0 < (ours - theirs).abs().max() < 0.1 * theirs.abs().max()


def test_transformers_dac_computes_the_same(codec):
    """An independent implementation of the same blocks, given our weights."""
    transformers = pytest.importorskip("transformers")
    from transformers.models.dac.modeling_dac import DacDecoder, DacEncoder

    config = transformers.DacConfig(
        encoder_hidden_size=SIZES.encoder_dim,
        downsampling_ratios=list(SIZES.encoder_strides),
        decoder_hidden_size=SIZES.decoder_dim,
        upsampling_ratios=list(SIZES.decoder_strides),
    )
    config.hidden_size = SIZES.hidden_dim
    encoder, decoder = DacEncoder(config).eval(), DacDecoder(config).eval()
    load(encoder, codec.encoder[:-1])
    load(decoder, codec.decoder[1:])
    waveform, latents = draw(1, 1, 6 * SIZES.hop), draw(1, 6, SIZES.n_channels)
    theirs = encoder(waveform)
    theirs = torch.nn.functional.conv1d(theirs, codec.encoder[-1].weight.transpose(1, 2), codec.encoder[-1].bias)
    torch.testing.assert_close(codec.encode(waveform), theirs.transpose(1, 2), rtol=0, atol=1e-5)
    first = codec.decoder[0]
    inner = torch.nn.functional.conv1d(latents.transpose(1, 2), first.weight.transpose(1, 2), first.bias)
    torch.testing.assert_close(codec.decode(latents), decoder(inner), rtol=0, atol=1e-5)


def load(theirs, ours):
    """Give their modules, in order, the tensors of ours: both list the same layers in the order they run."""
    snakes, convs = [], []
    for module in ours.modules():
        if isinstance(module, Snake):
            snakes.append(module.alpha)
        elif isinstance(module, (Conv, Downsample)):
            convs.append(module)
    upsamples = {id(module.conv): module for module in ours.modules() if isinstance(module, Upsample)}
    assert sum(isinstance(module, Residual) for module in ours.modules()) == 12
    for module in in_running_order(theirs):
        if type(module).__name__ == "Snake1d":
            module.alpha.data = snakes.pop(0)[None, :, None]
            continue
        conv = convs.pop(0)
        weight = conv.weight
        if id(conv) in upsamples:
            stride, n_out = upsamples[id(conv)].stride, upsamples[id(conv)].n_out
            taps = weight.view(stride, n_out, 2, -1).permute(3, 1, 2, 0)
            module.weight.data = torch.cat([taps[:, :, 1], taps[:, :, 0]], dim=-1)
            module.bias.data = conv.bias[:n_out]
        else:
            module.weight.data = weight.transpose(1, 2)
            module.bias.data = conv.bias
    assert not snakes
    assert not convs


def in_running_order(root):
    """Their leaves in the order of ours: a block registers its layers in another order than it runs them."""
    order = ("conv1", "block", "snake1", "conv_t1", "res_unit1", "res_unit2", "res_unit3")
    names = dict(root.named_children())
    kind = type(root).__name__
    if kind in ("Snake1d", "Conv1d", "ConvTranspose1d"):
        return [root]
    if kind == "DacResidualUnit":
        keys = ["snake1", "conv1", "snake2", "conv2"]
    elif kind == "DacEncoderBlock":
        keys = ["res_unit1", "res_unit2", "res_unit3", "snake1", "conv1"]
    elif kind == "DacDecoderBlock":
        keys = ["snake1", "conv_t1", "res_unit1", "res_unit2", "res_unit3"]
    elif kind in ("DacEncoder", "DacDecoder"):
        keys = ["conv1", "block", "snake1", "conv2"]
    else:
        keys = sorted(names, key=lambda key: order.index(key) if key in order else len(order))
    return [leaf for key in keys if key in names for leaf in in_running_order(names[key])]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_snake_in_blocks_is_snake(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    snake = Snake(12)
    snake.alpha.copy_(draw(12).abs() + 0.5)
    snake.inverse.copy_(1 / snake.alpha)
    x = draw(2, 12, 1, 101).contiguous(memory_format=torch.channels_last).to(dtype)
    wanted = snake(x.float()).to(dtype)
    monkeypatch.setattr("engine.model.codec._BLOCK_VALUES", 100)
    made = snake(x)
    assert made.dtype == dtype
    assert made.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(made, wanted)
