"""Stage 1 of the flow model: the rendered songs as spectra of its codec, `(stem, frame * channel)` float32.

The codec's transform is linear, so spectra are mixed and made louder as waveforms are, and training needs no transform
at all. Each song keeps its name and its labels; what is there is kept. At the end the codec's two numbers a channel
are found in random mixtures and written beside, as `codec.safetensors`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import soxr
import torch
from safetensors.torch import load_file, save_file

from engine.model.config import SAMPLE_RATE, SpectralSizes
from engine.model.spectral_codec import SpectralCodec, basis, window
from training.excerpts import Bank
from training.songs import write_spectra
from training.soundfonts import RATE_HZ

SPECTRAL: Final = SpectralSizes(hop=960, n_channels=80)
"""20 ms a frame and the band below 2 kHz. A lapped transform needs two values a second for each Hz, and the transformer
must carry noise and latents of target and rest beside the mixture's through its width: 3 * 80 channels fit in 256."""
CODEC: Final = "codec.safetensors"
LEVEL_DB: Final = (-20.0, 5.0)
"""Mean and deviation of a mixture's RMS, in dB of full scale within the band."""
KNEE: Final = 0.3
"""Of a channel's RMS, which its few loud values make: most values lie below a third of it."""
N_STATISTICS: Final = 300


def codec_of(constants: dict[str, torch.Tensor] | None = None) -> SpectralCodec:
    """The codec, with the constants that this stage found, or with none for its transform alone."""
    codec = SpectralCodec(SPECTRAL)
    ones = torch.ones(SPECTRAL.n_channels)
    found = constants or {"knee": ones, "unit": ones}
    state = {"basis": basis(SPECTRAL.hop, SPECTRAL.n_channels), "window": window(SPECTRAL.hop), **found}
    codec.load_state_dict(state)
    return codec.requires_grad_(requires_grad=False).eval()


def read_constants(folder: Path) -> dict[str, torch.Tensor]:
    """The codec's constants of a folder that this stage filled."""
    return load_file(folder / CODEC)


def spectra_of(codec: SpectralCodec, stems: npt.NDArray[np.int16], rate_hz: int) -> npt.NDArray[np.float32]:
    """`(stem, sample)` as `training.bank` keeps them → `(stem, frame * channel)`, in the same units."""
    made = []
    for stem in stems:
        wave = soxr.resample(stem.astype(np.float32), rate_hz, SAMPLE_RATE, quality="LQ")
        whole = torch.from_numpy(wave[: len(wave) // SPECTRAL.hop * SPECTRAL.hop])
        made.append(codec.transform(whole[None, None])[0].flatten().numpy())
    return np.stack(made)


def mixture_of(stems: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """`(stem, frame * channel)` from `Bank.draw` → `(stem, frame, channel)` at a random level, each with an equaliser
    of its own."""
    spectra = stems.reshape(len(stems), -1, SPECTRAL.n_channels)
    octave = np.log2(np.arange(SPECTRAL.n_channels) + 1)
    for one in spectra:
        if rng.random() < 0.5:
            one *= 10 ** (np.interp(octave, np.linspace(0, 7, 6), rng.normal(0, 3, 6)) / 20)
    loud = np.sqrt(np.square(spectra.sum(axis=0)).sum() / (spectra.shape[1] * SPECTRAL.hop))
    level: npt.NDArray[np.float32] = spectra * np.float32(10 ** (rng.normal(*LEVEL_DB) / 20) / max(loud, 1e-6))
    return level


def statistics(folder: Path, n_frames: int, n_mixtures: int, seed: int) -> dict[str, torch.Tensor]:
    """A knee at a share of each channel's RMS in random mixtures, and what then makes its bent values' RMS 1."""
    rng = np.random.default_rng(seed)
    n_values = n_frames * SPECTRAL.n_channels
    bank = Bank(folder, n_samples=n_values, step=SPECTRAL.n_channels)
    drawn = [mixture_of(bank.draw(rng)[1], rng).sum(axis=0) for _ in range(n_mixtures)]
    found = np.concatenate(drawn).astype(np.float64)
    knee = KNEE * np.sqrt(np.square(found).mean(axis=0)) + 1e-6
    unit = np.sqrt(np.square(np.arcsinh(found / knee)).mean(axis=0)) + 1e-6
    return {name: torch.from_numpy(value.astype(np.float32)) for name, value in (("knee", knee), ("unit", unit))}


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser("training flow_bank", description=__doc__)
    parser.add_argument("--bank", type=Path, required=True, help="songs that the stage bank rendered")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--songs", type=int, default=100_000, help="at most so many")
    parser.add_argument("--smoke", action="store_true", help="statistics of five mixtures")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    codec = codec_of()
    began, made_s = time.monotonic(), 0.0
    for number, song in enumerate(Bank(args.bank).songs[: args.songs]):
        if (args.out / song.path.name).exists():
            continue
        stems = np.stack([song.read(i) for i in range(len(song.labels))])
        spectra = spectra_of(codec, stems, RATE_HZ)
        write_spectra(args.out / song.path.name, song.labels, spectra)
        made_s += spectra.size / SPECTRAL.n_channels * SPECTRAL.hop / SAMPLE_RATE
        if number % 50 == 0:
            print(f"song {number}: {made_s / 3600:.2f} h of stems in {time.monotonic() - began:.0f} s", flush=True)
    if not (args.out / CODEC).exists():
        found = statistics(args.out, 32 if args.smoke else 128, 5 if args.smoke else N_STATISTICS, 0)
        save_file(found, args.out / CODEC)
