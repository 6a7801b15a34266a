"""A model on disk: a folder with files and `bundle.json`, the manifest that names, sizes and hashes them.

Export writes bundles, runtimes read them, and that is all the two have in common.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from engine.errors import StembridgeError

MANIFEST: Final = "bundle.json"
SCHEMA: Final = 1
_REQUIRED: Final = ("schema", "name", "kind", "title", "version", "licence", "files")


@dataclass(frozen=True)
class Bundle:
    """What a model's folder says of itself. The files' hashes are checked when a file is opened."""

    folder: Path
    name: str
    kind: str
    """`mask` or `flow`."""
    title: str
    version: str
    licence: str
    files: Mapping[str, Mapping[str, Any]]
    """File name → `sha256`, `bytes`."""
    facts: Mapping[str, Any]
    """The whole manifest: what a runtime of this kind needs besides."""

    @property
    def tuned(self) -> Mapping[int, Mapping[str, Any]]:
        """Evaluations → `file`, `sha256`, `bytes` of the coefficients fitted to them. They are no weights: exports and
        hashes of the model do not depend on them. Raises `StembridgeError` (`model_corrupt`)."""
        try:
            said = {int(nfe): dict(file) for nfe, file in self.facts.get("tuned", {}).items()}
            if any(file["file"] != Path(file["file"]).name or len(file["sha256"]) != 64 for file in said.values()):
                raise ValueError("a file that cannot be its own")
        except (AttributeError, KeyError, TypeError, ValueError) as e:
            raise StembridgeError(
                "model_corrupt", f"{self.folder / MANIFEST} lists no usable tuned files: {e}.", _remedy(self.name)
            ) from e
        return dict(sorted(said.items()))

    @property
    def weights_sha256(self) -> str:
        """One hash over the hashes of all files: two bundles of equal hash give equal results."""
        lines = "".join(f"{name} {self.files[name]['sha256']}\n" for name in sorted(self.files))
        return hashlib.sha256(lines.encode()).hexdigest()

    def path(self, name: str) -> Path:
        """The path of one of its files, its hash checked.

        Raises `StembridgeError`: `model_missing` when it is not there, `model_corrupt` when its bytes are others.
        """
        return self._checked(name, self.files[name]["sha256"])

    def tuned_path(self, nfe: int) -> Path:
        """The path of the coefficients for a number of evaluations that `tuned` lists; raises as `path` does."""
        return self._checked(self.tuned[nfe]["file"], self.tuned[nfe]["sha256"])

    def _checked(self, name: str, sha256: str) -> Path:
        path = self.folder / name
        digest = hashlib.sha256()
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256")
        except OSError as e:
            raise StembridgeError(
                "model_missing", f"The model {self.name} lacks its file {path}: {e}.", _remedy(self.name)
            ) from e
        if digest.hexdigest() != sha256:
            raise StembridgeError(
                "model_corrupt",
                f"{path} is damaged: its sha256 is {digest.hexdigest()[:12]}…, not {sha256[:12]}….",
                _remedy(self.name),
            )
        return path


def read_bundle(folder: Path) -> Bundle:
    """Read a model's manifest.

    Raises `StembridgeError`: `model_missing` without a manifest, `model_corrupt` when it cannot be understood.
    """
    path = folder / MANIFEST
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise StembridgeError("model_missing", f"There is no model in {folder}: {e}.", _remedy(folder.name)) from e
    except ValueError as e:
        raise StembridgeError("model_corrupt", f"{path} is not JSON: {e}.", _remedy(folder.name)) from e
    missing = [key for key in _REQUIRED if key not in facts] if isinstance(facts, dict) else list(_REQUIRED)
    if missing or facts["schema"] != SCHEMA:
        what = f"lacks {', '.join(missing)}" if missing else f"is of schema {facts['schema']}, not {SCHEMA}"
        raise StembridgeError("model_corrupt", f"{path} {what}.", _remedy(folder.name))
    return Bundle(
        folder=folder,
        name=facts["name"],
        kind=facts["kind"],
        title=facts["title"],
        version=str(facts["version"]),
        licence=facts["licence"],
        files=facts["files"],
        facts=facts,
    )


def _remedy(name: str) -> str:
    return f"Install Stembridge again, or fetch the model {name} again; `stembridge doctor` checks it."
