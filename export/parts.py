"""What an export is made of: a bundle's network and the text encoder, in float32 and lowered."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from engine.artefact import file_sha256
from engine.bundle import Bundle
from engine.errors import StembridgeError
from engine.model.network import Network, Precision
from engine.model.text import TOKENIZER, load_text_encoder
from engine.model.weights import load_network
from export.stages import modules


@dataclass(frozen=True)
class Parts:
    """A network, T5's encoder, and every stage's module over them."""

    network: Network
    encoder: Any
    modules: dict[str, nn.Module]


def load_parts(bundle: Bundle, text_folder: Path, precision: Precision = "fp32") -> Parts:
    """Load a flow model; its float32 weights stay mapped to the files.

    Raises `StembridgeError`: `unsupported_option` for a model of another kind, and what loading raises.
    """
    require_flow(bundle)
    network = load_network(bundle, precision=precision)
    encoder = load_text_encoder(text_folder).model
    # Written out, attention is operators that every exporter knows.
    encoder.set_attn_implementation("eager")
    return Parts(network, encoder, modules(network, encoder))


def require_flow(bundle: Bundle) -> None:
    """Raises `StembridgeError` (`unsupported_option`) for a model that is not exported."""
    if bundle.kind != "flow":
        raise StembridgeError(
            "unsupported_option",
            f"The model {bundle.name} is of the kind {bundle.kind!r}; only flow models are exported.",
            f"{bundle.name} comes as a graph already.",
        )


def text_sha256(text_folder: Path) -> tuple[str, str]:
    """Hashes of the text encoder: of all it computes with, and of the tokenizer alone."""
    hashes = [file_sha256(text_folder / name) for name in ("config.json", "model.safetensors", TOKENIZER)]
    return hashlib.sha256(" ".join(hashes).encode()).hexdigest(), hashes[-1]
