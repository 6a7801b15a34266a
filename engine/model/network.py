"""A whole network in memory, put together from its sizes and tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor, nn

from engine.errors import StembridgeError
from engine.model.codec import Codec, Residual, Snake
from engine.model.config import Sizes, SpectralSizes
from engine.model.dit import Dit
from engine.model.spectral_codec import SpectralCodec, basis, window
from engine.model.watermark import Watermark

Precision = Literal["fp32", "fp16", "bf16"]
DTYPES: Final[Mapping[Precision, torch.dtype]] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}
"""What the big matrices are in. Norms, gates, tables, the residual stream and the state are float32 in each."""


@dataclass(frozen=True)
class Network:
    """The parts of one model; `watermark` is None where the weights have none."""

    sizes: Sizes
    dit: Dit
    codec: Codec | SpectralCodec
    watermark: Watermark | None


def empty_network(sizes: Sizes) -> Network:
    """The modules without storage, for tensors to be put in."""
    with torch.device("meta"):
        mark = None if sizes.watermark is None else Watermark(sizes.watermark)
        codec = SpectralCodec(sizes.codec) if isinstance(sizes.codec, SpectralSizes) else Codec(sizes.codec)
        return Network(sizes, Dit(sizes.dit), codec, mark)


def random_network(sizes: Sizes, seed: int, *, device: str = "cpu", precision: Precision = "fp32") -> Network:
    """A network of drawn weights, made on `device`: for benchmarks and tests. It separates nothing, but its
    activations keep a trained network's order of magnitude from end to end."""
    network = empty_network(sizes)
    draw = torch.Generator(device).manual_seed(seed)
    for module in parts_of(network).values():
        module.to_empty(device=device).requires_grad_(requires_grad=False).eval()
        for name, parameter in module.named_parameters():
            _draw(name, parameter, draw)
        for part in module.modules():
            if isinstance(part, Snake):
                part.inverse.copy_(1 / (part.alpha + 1e-9))
            if isinstance(part, Residual):
                part.steps[3].get_parameter("weight").mul_(0.3)
    if isinstance(network.codec, SpectralCodec):
        hop, n_channels = network.codec.sizes.hop, network.codec.sizes.n_channels
        network.codec.basis.copy_(basis(hop, n_channels))
        network.codec.window.copy_(window(hop))
        network.codec.knee.fill_(0.1)
        network.codec.unit.fill_(1.0)
    else:
        network.codec.decoder[-1].get_parameter("weight").mul_(0.2)
    return place(network, device=device, precision=precision)


def _draw(name: str, parameter: Tensor, draw: torch.Generator) -> None:
    kind = name.rpartition(".")[2]
    if "norm" in name and kind != "bias":
        parameter.normal_(1, 0.1, generator=draw)
    elif kind == "alpha":
        parameter.uniform_(0.5, 1.5, generator=draw)
    elif parameter.dim() >= 2 and kind not in ("modulation", "final"):
        parameter.normal_(0, parameter[0].numel() ** -0.5, generator=draw)
    else:
        parameter.normal_(0, 0.1, generator=draw)


def parts_of(network: Network) -> dict[str, nn.Module]:
    """The modules by the name that prefixes their tensors."""
    parts: dict[str, nn.Module | None] = {
        "dit": network.dit,
        "codec": network.codec,
        "watermark": network.watermark,
    }
    return {name: module for name, module in parts.items() if module is not None}


def assemble(
    sizes: Sizes, tensors: Mapping[str, Tensor], *, device: str = "cpu", precision: Precision = "fp32"
) -> Network:
    """A network ready for inference on `device`, sharing `tensors`' memory where it can.

    `tensors` are named `dit.…`, `codec.…` and `watermark.…`. Raises `StembridgeError` (`model_corrupt`) when they are
    not exactly the network's.
    """
    network = empty_network(sizes)
    for name, module in parts_of(network).items():
        own = {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}
        try:
            module.load_state_dict(own, strict=True, assign=True)
        except RuntimeError as e:
            raise StembridgeError(
                "model_corrupt", f"The model's weights are not those of its manifest: {e}.", "Import the model again."
            ) from e
        module.requires_grad_(requires_grad=False).eval()
    return place(network, device=device, precision=precision)


def place(network: Network, *, device: str, precision: Precision) -> Network:
    """Move a network to a device and give its big matrices a precision. Changes the modules and returns them."""
    network.dit.lower(DTYPES[precision]).to(device)
    network.codec.lower(DTYPES[precision]).to(device)
    if network.watermark is not None:
        network.watermark.to(device)
    return network
