"""The spectral codec: orthonormal and invertible in its band, the same in chunks, imported like any other codec."""

from __future__ import annotations

import os

import pytest

if not os.environ.get("CI"):
    pytest.importorskip("torch", reason="torch is not installed")

import torch
from torch import Tensor

from engine.model.codec import decode_chunks, encode_chunks
from engine.model.config import SAMPLE_RATE, Sizes, SpectralSizes
from engine.model.network import random_network
from engine.model.spectral_codec import LOUDEST, SpectralCodec, basis, window

pytestmark = pytest.mark.torch

SIZES = SpectralSizes(hop=960, n_channels=128)


def codec_of(sizes: SpectralSizes, knee: float = 0.05) -> SpectralCodec:
    codec = SpectralCodec(sizes)
    numbers = {"knee": torch.full((sizes.n_channels,), knee), "unit": torch.full((sizes.n_channels,), 0.8)}
    codec.load_state_dict({"basis": basis(sizes.hop, sizes.n_channels), "window": window(sizes.hop), **numbers})
    return codec.requires_grad_(requires_grad=False)


def noise(n_frames: int, *, seed: int = 0, n: int = 2) -> Tensor:
    return 0.1 * torch.randn(n, 1, n_frames * SIZES.hop, generator=torch.Generator().manual_seed(seed))


def below(wave: Tensor, hz: float) -> Tensor:
    spectrum = torch.fft.rfft(wave)
    spectrum[..., int(hz / SAMPLE_RATE * wave.shape[-1]) :] = 0
    return torch.fft.irfft(spectrum, n=wave.shape[-1])


def snr_db(true: Tensor, found: Tensor) -> float:
    return float(10 * torch.log10(true.square().sum() / (true - found).square().sum()))


@pytest.mark.parametrize("n_frames", [1, 2, 7])
def test_with_all_channels_nothing_is_lost(n_frames: int) -> None:
    whole = codec_of(SpectralSizes(SIZES.hop, SIZES.hop))
    wave = noise(n_frames)
    latents = whole.encode(wave)
    assert latents.shape == (2, n_frames, SIZES.hop)
    assert snr_db(wave, whole.decode(latents)) > 100
    assert float(whole.transform(wave).square().sum() / wave.square().sum()) == pytest.approx(1, abs=1e-5)


def test_what_lies_in_the_band_comes_back_and_what_lies_above_does_not() -> None:
    codec = codec_of(SIZES)
    assert SIZES.band_hz == 3200
    wave = noise(50)
    inside = below(wave, 2900)
    assert snr_db(inside, codec.decode(codec.encode(inside))) > 35
    outside = wave - below(wave, 3600)
    assert float(codec.decode(codec.encode(outside)).square().sum() / outside.square().sum()) < 0.01


def test_spectra_add_up_as_waveforms_do() -> None:
    codec = codec_of(SIZES)
    a, b = noise(5), noise(5, seed=1)
    torch.testing.assert_close(codec.transform(a + 0.5 * b), codec.transform(a) + 0.5 * codec.transform(b))


@pytest.mark.parametrize("chunk", [1, 3, 50])
def test_chunks_give_what_the_whole_gives(chunk: int) -> None:
    codec = codec_of(SIZES)
    wave = noise(20)
    latents = codec.encode(wave)
    torch.testing.assert_close(torch.cat([*encode_chunks(codec, wave, chunk)], dim=1), latents, atol=1e-5, rtol=1e-4)
    pieces = torch.cat([*decode_chunks(codec, latents, chunk)], dim=-1)
    torch.testing.assert_close(pieces, codec.decode(latents), atol=1e-6, rtol=1e-4)


def test_a_straying_solver_does_not_blast() -> None:
    decoded = codec_of(SIZES, knee=1e-3).decode(torch.full((1, 3, SIZES.n_channels), 1e4))
    limit = 1e-3 * float(torch.sinh(torch.tensor(LOUDEST))) * SIZES.n_channels
    assert bool(torch.isfinite(decoded).all())
    assert float(decoded.abs().max()) < limit


def test_samples_that_are_no_whole_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="961 samples are not whole frames of 960"):
        codec_of(SIZES).encode(torch.zeros(1, 1, 961))


def test_its_sizes_survive_the_manifest_and_a_drawn_network_has_it() -> None:
    from dataclasses import replace

    from engine.model.config import RELEASED

    released = RELEASED["small"]
    small = replace(released.dit, dim=64, n_heads=2, n_layers=1, ffn_dim=64, n_channels=32, text_dim=8, video_dim=8)
    sizes = Sizes(small, SpectralSizes(960, 32), None)
    assert Sizes.from_dict(sizes.to_dict()) == sizes
    network = random_network(sizes, 0)
    wave = below(noise(8), 500)
    assert snr_db(wave, network.codec.decode(network.codec.encode(wave))) > 20
