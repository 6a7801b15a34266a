"""What happens to a whole mixture: a tilt, a bus compressor, a low-pass, a lossy codec.

The first three are gains, the same for every stem, so the stems of the mastered mixture are known. A codec is not: what
is heard is then no longer the stems' sum, and a mask is asked for the stems as they went in.
"""

from __future__ import annotations

import io
from typing import Final

import numpy as np
import numpy.typing as npt
import soundfile

from engine.stft import hann
from training.soundfonts import RATE_HZ

Real = npt.NDArray[np.float32]
Spectra = npt.NDArray[np.complex64]
_CODECS: Final = (("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III"))
_POOREST: Final = 0.9
"""Of libsndfile's compression levels: MP3 at about 40 kbit/s, Vorbis at 27, on three seconds of stereo."""
_FULL_SCALE: Final = 0.9
_QUIET: Final = 1e-9


def tilted(n_bins: int, rng: np.random.Generator) -> Real:
    """A gain for each bin: a gentle equaliser, and now and then the low-pass of a small loudspeaker or an old file."""
    gains = np.ones(n_bins, np.float32)
    if rng.random() < 0.5:
        place = np.log2(np.arange(n_bins) + 8)
        gains *= 10 ** (np.interp(place, np.linspace(3, 11, 5), rng.normal(0, 3, 5)) / 20)
    if rng.random() < 0.2:
        gains[int(rng.uniform(10_000, 18_000) / RATE_HZ * 2 * (n_bins - 1)) :] = 1e-3
    return gains


def glued(power: Real, frame_s: float, rng: np.random.Generator) -> Real:
    """A bus compressor's gain for each frame of a mixture, from the frames' powers: at once down, slowly up again."""
    level_db = 10 * np.log10(power + _QUIET * max(float(power.max()), _QUIET))
    threshold_db = float(np.median(level_db)) - rng.uniform(-3, 9)
    slope = 1 - 1 / rng.uniform(1.5, 8)
    keep = float(np.exp(-frame_s / rng.uniform(0.05, 0.8)))
    down_db, gains_db = 0.0, []
    for over_db in np.maximum(level_db - threshold_db, 0) * slope:
        down_db = max(float(over_db), keep * down_db)
        gains_db.append(-down_db)
    return np.asarray(10 ** (np.array(gains_db) / 20), np.float32)


def coded(spectra: Spectra, rng: np.random.Generator) -> Spectra:
    """`(2, frame, bin)` of a mixture after a lossy codec and back, aligned to the sample.

    Frames are of Hann windows half of which overlap, so their plain sum is the sound.
    """
    n_fft = 2 * (spectra.shape[-1] - 1)
    hop = n_fft // 2
    blocks = np.fft.irfft(spectra, axis=-1).astype(np.float32)
    sound = np.zeros((len(spectra), (spectra.shape[1] + 1) * hop), np.float32)
    for at in range(spectra.shape[1]):
        sound[:, at * hop : at * hop + n_fft] += blocks[:, at]
    peak = float(np.abs(sound).max()) or 1.0
    container, codec = _CODECS[int(rng.integers(len(_CODECS)))]
    file = io.BytesIO()
    level = float(rng.uniform(0, _POOREST))
    with soundfile.SoundFile(file, "w", RATE_HZ, 2, codec, format=container, compression_level=level) as out:
        out.write((sound / peak * _FULL_SCALE).T)
    file.seek(0)
    heard = soundfile.read(file, dtype="float32")[0].T * np.float32(peak / _FULL_SCALE)
    # Of the error alone: the first and last half of a frame would be windowed twice.
    error = np.zeros_like(sound)
    n = min(heard.shape[1], sound.shape[1])
    error[:, :n] = heard[:, :n] - sound[:, :n]
    frames = np.lib.stride_tricks.sliding_window_view(error, n_fft, axis=-1)[:, ::hop]
    return np.asarray(spectra + np.fft.rfft(frames * hann(n_fft)), np.complex64)
