"""Which models this machine has, which of them answers a prompt, and the ones that are open."""

from __future__ import annotations

import difflib
import logging
import threading
from pathlib import Path
from typing import Final

import platformdirs

from engine.bundle import MANIFEST, Bundle, read_bundle
from engine.errors import StembridgeError
from engine.flow.open import open_flow
from engine.masks.intent import read_intent
from engine.masks.prompted import PromptedModel
from engine.masks.two_stems import MaskModel, no_waveform, unsupported_prompt
from engine.masks.wording import names_a_sound, no_sound
from engine.request import SeparationRequest
from engine.runtime import Model

logger = logging.getLogger(__name__)

EMBEDDED: Final = Path(__file__).parent / "embedded"
DEFAULT: Final = "spleeter-2stems"
MASKS: Final = ("mask", "prompted-mask")
"""Kinds of model that have no waveform of their own."""


def models_folder() -> Path:
    """Where the user's own models lie."""
    return Path(platformdirs.user_data_dir("stembridge", appauthor=False)) / "models"


def text_folder() -> Path:
    """Where the text encoder that flow models share lies: t5-base with its tokenizer."""
    return models_folder() / "t5-base"


def installed() -> dict[str, Bundle]:
    """Every model on this machine by name: the embedded ones and the user's, which win.

    A folder without a manifest is no model. A user's model whose manifest is damaged is left out and logged: it must
    not stop the others (`stembridge doctor` names it). Raises `StembridgeError` when an embedded one is damaged.
    """
    found = {}
    for manifest in sorted(EMBEDDED.glob(f"*/{MANIFEST}")):
        bundle = read_bundle(manifest.parent)
        found[bundle.name] = bundle
    for manifest in sorted(models_folder().glob(f"*/{MANIFEST}")):
        try:
            bundle = read_bundle(manifest.parent)
        except StembridgeError as e:
            logger.warning("%s", e)
            continue
        found[bundle.name] = bundle
    return found


def find(name: str) -> Bundle:
    """The model of that name. Raises `StembridgeError`: `unknown_model` naming the nearest, `model_corrupt`."""
    models = installed()
    if name in models:
        return models[name]
    if name == Path(name).name and (models_folder() / name / MANIFEST).exists():
        return read_bundle(models_folder() / name)
    near = difflib.get_close_matches(name, models, 1)
    raise StembridgeError(
        "unknown_model",
        f"There is no model {name[:60]!r} on this machine{f'; did you mean {near[0]!r}?' if near else '.'}",
        f"Installed: {', '.join(sorted(models)) or 'none'}.",
    )


def choose(request: SeparationRequest) -> str:
    """The name of the model that answers a request; quick, reads no audio and opens no model.

    Without a name in the request: the embedded two-stem model where it knows the prompt, else the first flow model,
    else the prompted model, for any words; its plan says how well it was measured to answer them.
    Raises `StembridgeError`: `unknown_model`, `unsupported_prompt`, `unsupported_option`.
    """
    has_words = names_a_sound(request.prompt)
    if request.prompt.strip() and not has_words:
        raise no_sound(request.prompt)
    knows = read_intent(request.prompt) is not None
    kinds = {b.kind: b for b in reversed(installed().values())}
    prompted = kinds.get("prompted-mask")
    if request.model is not None:
        bundle = find(request.model)
    else:
        bundle = find(DEFAULT)
        if "flow" in kinds and (not knows or request.output == "generative"):
            bundle = kinds["flow"]
        elif not knows and prompted is not None and has_words:
            bundle = prompted
    if bundle.kind == "mask" and not knows:
        raise unsupported_prompt(bundle.name, request.prompt, prompted.name if prompted else None)
    if bundle.kind in MASKS and request.output == "generative":
        raise no_waveform(bundle.name)
    return bundle.name


class Shelf:
    """Open models, each opened once and kept warm. Thread-safe."""

    def __init__(self) -> None:
        self._open: dict[str, Model] = {}
        self._lock = threading.Lock()

    def open(self, name: str) -> Model:
        """The model of that name, opened on first use. Raises `StembridgeError` as `find` and the model do."""
        with self._lock:
            if name not in self._open:
                self._open[name] = _open(find(name))
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


def _open(bundle: Bundle) -> Model:
    match bundle.kind:
        case "mask":
            return MaskModel(bundle)
        case "prompted-mask":
            return PromptedModel(bundle)
        case "flow":
            return open_flow(bundle, text_folder())
    raise StembridgeError(
        "model_corrupt",
        f"The model {bundle.name} is of the kind {bundle.kind!r}; this version runs mask, prompted-mask and flow.",
        "Update Stembridge.",
    )
