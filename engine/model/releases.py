"""The released checkpoints: where they are and the bytes they must be. Weights are the user's to fetch.

Sizes and hashes of `checkpoint.pt` as a public node pins them; the repositories are gated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

LICENCE: Final = "SAM License"
LICENCE_URL: Final = "https://github.com/facebookresearch/sam-audio/blob/main/LICENSE"
TEXT_REPOSITORY: Final = "t5-base"
"""T5 v1.0 base: the text encoder of every released model, which is not in the checkpoint."""


@dataclass(frozen=True)
class Release:
    """One released checkpoint."""

    repository: str
    sha256: str
    """Of checkpoint.pt."""
    n_bytes: int | None
    """Of checkpoint.pt; None where it is not known."""


_SHA256: Final = {
    "small": "8c44fda9821fd9f2ec8977304e3c0f55290d9eacb6bbf25b4b8fb1f69c2a8c06",
    "base": "b5f3e29ea7a9e80e90a00da495a8aafe890571f371c4bfb88c052c65a5636839",
    "large": "ca55418b1d23e8c8a4dcc55f259d9801c8f79da0131a66e525d862c1289e3c4f",
    "small-tv": "1a9693b235efc3176986664dac349eb64022c7468cf8d4195954490a2457e6a9",
    "base-tv": "569e3fecdefe267047b02d117acb5a67c03d2f73c4943d3d8bd43df9e9b9148d",
    "large-tv": "90e047269238c498c5abe0da6e6ba40859d152111d4a09f582a209027a33b72f",
}
_BYTES: Final = {"small": 5_100_547_943, "base": 7_725_405_659, "large": 14_861_356_211}

RELEASES: Final[Mapping[str, Release]] = {
    f"sam-audio-{size}": Release(f"facebook/sam-audio-{size}", sha256, _BYTES.get(size))
    for size, sha256 in _SHA256.items()
}
"""Model name → release."""
