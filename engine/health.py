"""Is what the engine needs on this machine? Quick questions for `stembridge doctor`, asked without opening a model."""

from __future__ import annotations

import os
import shutil
import tempfile
from errno import ENOSPC
from pathlib import Path

from engine.errors import StembridgeError
from engine.flow.open import foresee
from engine.models import find, installed, text_folder
from engine.text_encoder import state_of


def runtime() -> str:
    """The installed runtime and its version. Raises `StembridgeError` (`runtime_missing`): none, or two that clash."""
    from engine.runtimes.onnx_runtime import check_installed

    return check_installed()


def broken_providers() -> tuple[str, ...]:
    """Why providers that onnxruntime lists do not work on this machine, a sentence each; each is tried once."""
    from engine.runtimes.providers import probe

    return probe().reasons


def expected_runtime(name: str) -> tuple[str, str, list[tuple[str, str]]]:
    """What a flow model is expected to run on, why, and what is passed over, each with its reason and its remedy; opens
    nothing, but reads an export's files.

    Raises `StembridgeError`: `unknown_model`, `model_missing` without the text encoder it needs, `runtime_missing` when
    nothing can run it, `bad_value` for a choice by `STEMBRIDGE_RUNTIME` that does not exist.
    """
    bundle = find(name)
    match state_of(bundle, text_folder()):
        case "missing":
            text, remedy = "not on this machine", "stembridge models fetch t5-base"
        case "unfit":
            text, remedy = (
                "not the one that is on this machine",
                "stembridge models remove t5-base; stembridge models fetch t5-base",
            )
        case _:
            return foresee(bundle, text_folder())
    raise StembridgeError("model_missing", f"nothing yet: the text encoder that it needs is {text}", remedy)


def flow_models() -> list[str]:
    """The names of the installed models that have a choice of runtimes."""
    return sorted(name for name, bundle in installed().items() if bundle.kind == "flow")


def model_files(name: str) -> int:
    """Read every file of an installed model and compare its hash; returns the bytes read.

    Raises `StembridgeError`: `unknown_model`, `model_missing`, `model_corrupt`.
    """
    bundles = installed()
    if name not in bundles:
        raise StembridgeError(
            "unknown_model",
            f"There is no model {name!r} on this machine.",
            f"Installed: {', '.join(sorted(bundles)) or 'none'}.",
        )
    return sum(bundles[name].path(file).stat().st_size for file in bundles[name].files)


def writable_bytes(folder: Path) -> int:
    """Write a small nameless file where `folder` is or would be made, and drop it; returns the bytes free there.

    Raises `StembridgeError` (`output_not_writable`, `disk_full`).
    """
    try:
        nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=nearest) as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
        return shutil.disk_usage(nearest).free
    except OSError as e:
        raise StembridgeError(
            "disk_full" if e.errno == ENOSPC else "output_not_writable",
            f"{folder} cannot be written: {e.strerror}.",
            "Free some space." if e.errno == ENOSPC else "Choose another folder, or mend its permissions.",
        ) from e
