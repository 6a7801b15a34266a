"""The text encoder that all flow models share: whether it is on this machine, and how it gets there.

Nothing heavy is imported here; `engine.model.text` opens it.
"""

from __future__ import annotations

import errno
import filecmp
import json
import os
import shutil
from pathlib import Path
from typing import Any, Final, Literal

from engine import models
from engine.bundle import Bundle
from engine.errors import StembridgeError

FILES: Final = ("config.json", "model.safetensors", "tokenizer.json")
State = Literal["", "here", "missing", "unfit"]
"""Of the text encoder a model needs; empty where it needs none."""


def is_here() -> bool:
    """Whether it is on this machine, whole."""
    return all((models.text_folder() / file).is_file() for file in FILES)


def state_of(bundle: Bundle, folder: Path) -> State:
    """Whether the encoder in `folder` is there and as wide as a flow model needs."""
    if not all((folder / file).is_file() for file in FILES):
        return "missing"
    sizes: Any = bundle.facts.get("sizes", {})
    try:
        said = json.loads((folder / FILES[0]).read_text(encoding="utf-8"))
        return "here" if said["d_model"] == sizes["dit"]["text_dim"] else "unfit"
    except (OSError, ValueError, KeyError, TypeError):
        return "unfit"


def check_free(folder: Path) -> None:
    """Refuse an encoder other than the one that is here, which other models rely on.

    Raises `StembridgeError` (`output_not_writable`).
    """
    there = models.text_folder()
    if is_here() and not all(filecmp.cmp(folder / file, there / file, shallow=False) for file in FILES):
        raise StembridgeError(
            "output_not_writable",
            f"There is another text encoder in {there} already.",
            f"Leave --text out to use that one, or remove it first: stembridge models remove {there.name}",
        )


def install(folder: Path, *, move: bool = False) -> None:
    """Copy or move an encoder's files to where models look for it, whole or not at all, unless it is here.

    Raises `StembridgeError`: `disk_full`, `output_not_writable`.
    """
    there = models.text_folder()
    if is_here():
        return
    part = there.with_name(f".{there.name}.part-{os.getpid()}")
    try:
        part.mkdir(parents=True)
        for file in FILES:
            if move:
                (folder / file).rename(part / file)
            else:
                shutil.copyfile(folder / file, part / file)
        shutil.rmtree(there, ignore_errors=True)
        part.rename(there)
    except OSError as e:
        raise StembridgeError(
            "disk_full" if e.errno == errno.ENOSPC else "output_not_writable",
            f"The text encoder cannot be written to {there}: {e.strerror or e}.",
            "Free space, or mend the folder's permissions.",
        ) from e
    finally:
        shutil.rmtree(part, ignore_errors=True)
