"""A flow model run by torch: on the CPU, CUDA or Apple's GPU."""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from engine.audio import Samples
from engine.bundle import Bundle
from engine.errors import StembridgeError
from engine.flow.multidiffusion import WindowVelocity
from engine.flow.solve import Latents, State
from engine.runtimes.watermarked import message
from engine.windows import Window

if TYPE_CHECKING:
    from torch import Tensor

Device = Literal["auto", "cpu", "cuda", "mps"]
MAX_TEXTS: Final = 256
"""Prompts whose features are kept."""
_NO_MEMORY: Final = ("out of memory", "can't allocate memory", "not enough memory")
"""What torch says where it has no class for it: MPS, and the CPU's allocators."""
_CPUINFO: Final = Path("/proc/cpuinfo")
_BF16_FLAGS: Final = frozenset(("avx512_bf16", "amx_bf16"))
_INSTALL: Final = "Install it with: pip install 'stembridge[torch]'"


def check_installed() -> None:
    """Raises `StembridgeError` (`runtime_missing`) when a package that a flow model needs is not installed."""
    for name in ("torch", "safetensors", "tokenizers", "transformers"):
        if importlib.util.find_spec(name) is None:
            raise StembridgeError("runtime_missing", f"{name} is not installed.", _INSTALL)


def multiplies_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 itself, and torch is there to use that; elsewhere bfloat16 gains nothing."""
    if importlib.util.find_spec("torch") is None or platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    try:
        said = _CPUINFO.read_text(encoding="utf-8")
        flags = next((line for line in said.splitlines() if line.startswith("flags")), "").split()
        return not _BF16_FLAGS.isdisjoint(flags)
    except OSError:  # not Linux: torch knows, and is slow to load
        import torch

        asked = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
        return any(ask is not None and ask() for ask in asked)


@contextmanager
def within_memory(device: str, doing: str) -> Iterator[None]:
    """Whatever torch raises when memory does not suffice, as a `StembridgeError` (`out_of_memory`)."""
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as e:
        known = isinstance(e, torch.OutOfMemoryError | MemoryError)
        if not known and not any(words in str(e) for words in _NO_MEMORY):
            raise
        raise StembridgeError(
            "out_of_memory",
            f"There is not enough memory on {device} for {doing}.",
            "Close other programs, take a shorter region or a smaller model; fewer candidates need less, too.",
        ) from e


class TorchFlow:
    """See `engine.flow.solve.FlowRuntime` for the contract of each method.

    Float32 on the CPU unless bfloat16 is asked for; where there is a GPU the matrices are float16. In each, everything
    delicate stays float32.
    """

    def __init__(
        self,
        bundle: Bundle,
        text_folder: Path,
        *,
        device: Device = "auto",
        precision: Literal["fp32", "fp16", "bf16"] | None = None,
    ) -> None:
        """`precision`: of the big matrices; None takes the device's usual one."""
        check_installed()
        import torch

        from engine.model.text import load_text_encoder
        from engine.model.weights import load_network

        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        precision = precision or ("fp32" if device == "cpu" else "fp16")
        self._device = device
        with within_memory(device, f"the weights of {bundle.name}"):
            self._network = load_network(bundle, device=device, precision=precision)
            self._encoder = load_text_encoder(text_folder, device=device)
        sizes = self._network.sizes
        if self._encoder.dim != sizes.dit.text_dim:
            raise StembridgeError(
                "model_corrupt",
                f"The text encoder in {text_folder} is {self._encoder.dim} wide, not {sizes.dit.text_dim} as "
                f"{bundle.name} needs.",
                "Use the text encoder that the model was trained with: t5-base.",
            )
        self.name = f"torch:{device}:{precision}"
        self.sample_rate: int = bundle.facts["sample_rate"]
        self.hop = sizes.codec.hop
        self.n_channels = sizes.codec.n_channels
        self.max_frames = sizes.dit.max_frames
        self._texts: dict[str, tuple[Tensor, bool]] = {}

    def encode(self, waveform: Samples) -> Latents:
        import torch

        from engine.model.codec import pad_to_frames

        with torch.inference_mode(), within_memory(self._device, "encoding"):
            x = torch.from_numpy(waveform)[None].to(self._device)
            latents: Latents = self._network.codec.encode(pad_to_frames(x, self.hop))[0].cpu().numpy()
        return latents

    def is_cut(self, prompt: str) -> bool:
        return self._text(prompt)[1]

    def velocity(
        self, latents: Latents, tokens: npt.NDArray[np.int64], prompts: Sequence[str], times: Sequence[float]
    ) -> WindowVelocity[Any]:
        import torch

        from engine.model.layers import rope_table
        from engine.model.prepared import Prepared, prepare

        dit = self._network.dit
        heard = torch.from_numpy(latents)[None].to(self._device)
        spoken = torch.from_numpy(tokens).to(self._device)

        def condition(window: Window) -> Tensor:
            return dit.condition(heard[:, window.start : window.end], spoken[:, window.start : window.end])

        with torch.inference_mode(), within_memory(self._device, "conditioning"):
            features, mask = self._batch(prompts)
            begin = Window(0, min(len(latents), self.max_frames))
            shared: Prepared = prepare(dit, times, condition(begin), features, token_mask=mask)

        def velocity(x: Tensor, number: int, window: Window) -> Tensor:
            with torch.inference_mode(), within_memory(self._device, f"a window of {window.n_frames} frames"):
                rope = rope_table(window.n_frames, dit.sizes.head_dim, dit.sizes.rope_theta, self._device)
                return replace(shared, condition=condition(window), rope=rope).velocity(x, number)

        return velocity

    def _text(self, prompt: str) -> tuple[Tensor, bool]:
        """One prompt's `(token, dim)` features, and whether it was cut."""
        import torch

        from engine.model.text import encode_text

        if prompt not in self._texts:
            with torch.inference_mode(), within_memory(self._device, "a prompt"):
                made = encode_text(self._encoder, [prompt])
            while len(self._texts) >= MAX_TEXTS:
                del self._texts[next(iter(self._texts))]
            self._texts[prompt] = (made.features[0], made.cut[0])
        return self._texts[prompt]

    def _batch(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        """Features `(row, token, dim)` and their mask; one row and no mask when all prompts are the same."""
        import torch

        if len(set(prompts)) == 1:
            return self._text(prompts[0])[0][None], None
        rows = [self._text(prompt)[0] for prompt in prompts]
        features = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        lengths = torch.tensor([len(row) for row in rows], device=features.device)
        return features, torch.arange(features.shape[1], device=features.device) < lengths[:, None]

    def to_device(self, state: State) -> Any:
        import torch

        return torch.from_numpy(state).to(self._device)

    def to_host(self, state: Any) -> State:
        values: State = state.cpu().numpy()
        return values

    def decode(self, state: State, *, mark_seed: int | None) -> Iterator[Samples]:
        import torch

        from engine.model.codec import decode_chunks
        from engine.model.watermark import mark_pieces

        network = self._network
        with torch.inference_mode(), within_memory(self._device, "decoding"):
            both = torch.from_numpy(state).to(self._device)
            rows = torch.cat([both[..., : self.n_channels], both[..., self.n_channels :]])
            pieces = decode_chunks(network.codec, rows)
            if mark_seed is not None and network.watermark is not None:
                bits = message(mark_seed, len(rows), network.watermark.sizes.n_bits)
                pieces = mark_pieces(network.watermark, pieces, torch.from_numpy(bits).to(self._device))
            for piece in pieces:
                yield piece[:, 0].cpu().numpy()
