"""A TOML file, ours or the user's, read with errors that name the line."""

from __future__ import annotations

import tomllib
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from engine.errors import StembridgeError

Source = Path | Traversable


def read_toml(path: Source) -> dict[str, Any]:
    """The file's values. Raises `StembridgeError` (`bad_preset`) naming the file and the line that is wrong."""
    try:
        # The line break lets tomllib give a line for what is wrong at the very end.
        return tomllib.loads(path.read_text(encoding="utf-8") + "\n")
    except tomllib.TOMLDecodeError as e:
        raise StembridgeError(
            "bad_preset", f"{path}: {e}.", "Mend that line: words and texts stand in quotes, each key once."
        ) from e
    except (OSError, UnicodeDecodeError) as e:
        raise StembridgeError("bad_preset", f"{path} cannot be read: {e}.", "Save it as UTF-8 text.") from e
