"""The licence that weights come under: what it says, and whether the person at this machine has accepted it.

Asked once; the answer is kept in the configuration folder. The main points are facts in our words, not the licence.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import platformdirs

from engine.errors import StembridgeError
from engine.model.releases import LICENCE, LICENCE_URL

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Licence:
    """A licence to accept."""

    name: str
    dated: str
    """The text's own date: a newer text is to be accepted anew."""
    url: str
    points: tuple[str, ...]

    @property
    def key(self) -> str:
        """What an acceptance is kept under."""
        return f"{self.name}, {self.dated}"


SAM_LICENCE: Final = Licence(
    LICENCE,
    "19 November 2025",
    LICENCE_URL,
    (
        "It covers the weights and their makers' code. You may use, copy, change and pass them on free of charge; "
        "commercial use is not excluded.",
        "Whatever is made from the weights stays under it: a model imported here, or exported to ONNX or TensorRT, "
        "may only be passed on under this same licence and together with a copy of it.",
        "It forbids military and warfare uses, nuclear uses, espionage, guns and illegal weapons, anything under ITAR, "
        "and any use against the law or trade controls.",
        "It forbids taking part in reverse engineering of what it covers, or encouraging it.",
        "Publications that use it must say so.",
        "You answer for claims against its makers that come of your use; suing over it ends your rights. Its makers "
        "may change the terms, and end them on a breach. The law of California applies.",
    ),
)


def acceptances_file() -> Path:
    """Where acceptances are kept: JSON, licence → when."""
    return Path(platformdirs.user_config_dir("stembridge", appauthor=False)) / "accepted-licences.json"


def is_accepted(licence: Licence) -> bool:
    """Whether this text of the licence was accepted on this machine."""
    return licence.key in _read()


def accept(licence: Licence) -> None:
    """Keep that the licence was accepted. Raises `StembridgeError` (`output_not_writable`)."""
    path = acceptances_file()
    kept = _read() | {licence.key: {"url": licence.url, "accepted": datetime.now(UTC).isoformat(timespec="seconds")}}
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as e:
        part.unlink(missing_ok=True)
        raise StembridgeError(
            "output_not_writable",
            f"That the licence was accepted cannot be kept in {path}: {e.strerror or e}.",
            "Mend the permissions of that folder.",
        ) from e


def require(licence: Licence) -> None:
    """Raises `StembridgeError` (`licence_not_accepted`) unless the licence was accepted."""
    if not is_accepted(licence):
        raise StembridgeError(
            "licence_not_accepted",
            f"The {licence.name} ({licence.dated}) has not been accepted on this machine.",
            f"Read it at {licence.url}, then run the command again with --accept-licence.",
        )


def _read() -> dict[str, object]:
    """What was accepted. A file that cannot be read counts as nothing accepted: the question is asked again."""
    try:
        kept = json.loads(acceptances_file().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as e:
        logger.warning("%s cannot be read (%s): licences are asked about again", acceptances_file(), e)
        return {}
    return kept if isinstance(kept, dict) else {}
