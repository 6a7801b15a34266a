"""Which models this machine has, which of them answers a prompt, and the ones that are open."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import platformdirs

from engine.bundle import MANIFEST, Bundle, read_bundle
from engine.errors import StembridgeError
from engine.intent import read_intent
from engine.mask_model import MaskModel, unsupported_prompt
from engine.request import SeparationRequest
from engine.runtime import Model

EMBEDDED: Final = Path(__file__).parent / "embedded"
DEFAULT: Final = "spleeter-2stems"


def models_folder() -> Path:
    """Where the user's own models lie."""
    return Path(platformdirs.user_data_dir("stembridge", appauthor=False)) / "models"


def installed(folders: Sequence[Path] | None = None) -> dict[str, Bundle]:
    """Every model on this machine by name: the embedded ones and the user's, which win.

    A folder without a manifest is no model; a damaged manifest raises `StembridgeError` (`model_corrupt`).
    """
    found = {}
    for folder in folders or (EMBEDDED, models_folder()):
        if folder.is_dir():
            for manifest in sorted(folder.glob(f"*/{MANIFEST}")):
                bundle = read_bundle(manifest.parent)
                found[bundle.name] = bundle
    return found


def choose(request: SeparationRequest) -> str:
    """The name of the model that answers a request; quick, reads no audio and opens no model.

    Raises `StembridgeError`: `unknown_model` naming the nearest, `unsupported_prompt`, `unsupported_option`.
    """
    name = request.model or DEFAULT
    models = installed()
    if name not in models:
        near = difflib.get_close_matches(name, models, 1)
        raise StembridgeError(
            "unknown_model",
            f"There is no model {name!r} on this machine{f'; did you mean {near[0]!r}?' if near else '.'}",
            f"Installed: {', '.join(sorted(models)) or 'none'}.",
        )
    if models[name].kind == "mask" and read_intent(request.prompt) is None:
        raise unsupported_prompt(name, request.prompt)
    if request.output == "generative" and models[name].kind == "mask":
        raise StembridgeError(
            "unsupported_option",
            f"The model {name} makes masks; it has no waveform of its own for output=generative.",
            "Use output=faithful.",
        )
    return name


class Shelf:
    """Open models, each opened once and kept warm. Thread-safe."""

    def __init__(self) -> None:
        self._open: dict[str, Model] = {}
        self._lock = threading.Lock()

    def open(self, name: str) -> Model:
        """The model of that name, opened on first use. Raises `StembridgeError` as `installed` and the model do."""
        with self._lock:
            if name not in self._open:
                bundles = installed()
                if name not in bundles:
                    raise StembridgeError(
                        "unknown_model",
                        f"There is no model {name!r} on this machine.",
                        f"Installed: {', '.join(sorted(bundles)) or 'none'}.",
                    )
                self._open[name] = MaskModel(bundles[name])
            return self._open[name]

    def unload(self, name: str) -> bool:
        """Forget an open model; True when it was open. A job that uses it keeps it until it ends."""
        with self._lock:
            model = self._open.pop(name, None)
        if model is None:
            return False
        model.close()
        return True

    def names(self) -> list[str]:
        """The names of the models that are open."""
        with self._lock:
            return sorted(self._open)
