"""Makes a watch folder ready: `In`, `Out` and a text that says how it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import platformdirs

from bridge.install import PlannedFile
from bridge.watch import IN, OUT
from engine.errors import StembridgeError

README: Final = "How this folder works.txt"
_TEXT: Final = """Stembridge watches this folder while this command runs in a terminal:

    stembridge watch "{folder}"

Bounce a track or a part of it into “In”. Name the file after what you want out of it:

    vocals.wav
    My Song - lead vocals.wav      (the part after the last “ - ” counts)

The stems come to “Out”: what you asked for (.target.wav), the rest (.residual.wav) and a .json that says how they were
made. They carry the bounce's time stamp, so “spot to original time” puts them back where they were.
If something is wrong, a text in “Out” says what and what to do.
"""


def folders() -> list[Path]:
    """Where the folder is made when nobody says otherwise."""
    return [Path(platformdirs.user_music_dir()) / "Stembridge Drop"]


def plan(folder: Path, mailbox: Path) -> list[PlannedFile]:
    """What `install` would write, besides the two folders."""
    return [PlannedFile(folder / README, _TEXT.format(folder=folder).encode(), "how it is used; In and Out beside it")]


def install(folder: Path, mailbox: Path) -> list[Path]:
    """Makes the folders and the text; returns the files written. Raises `StembridgeError` (`output_not_writable`)."""
    try:
        for name in (IN, OUT):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for file in plan(folder, mailbox):
            file.path.write_bytes(file.content)
    except OSError as e:
        raise _not_writable(e, folder) from e
    return [folder / README]


def uninstall(folder: Path) -> list[Path]:
    """Takes the text away, and the folders that are empty; audio stays. Raises as `install` does."""
    removed = []
    try:
        if (folder / README).exists():
            (folder / README).unlink()
            removed.append(folder / README)
        for place in (folder / IN, folder / OUT, folder):
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()
                removed.append(place)
    except OSError as e:
        raise _not_writable(e, folder) from e
    return removed


def _not_writable(error: OSError, folder: Path) -> StembridgeError:
    return StembridgeError(
        "output_not_writable", f"{error.filename or folder} cannot be changed: {error.strerror}.", "Choose another."
    )
