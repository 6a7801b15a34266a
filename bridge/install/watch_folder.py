"""Makes a watch folder ready: `In`, `Out` and a text that says how it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import platformdirs

from bridge.install.scheme import Host, PlannedFile
from bridge.watch import IN, OUT

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
    """The text, besides the two folders that are made."""
    return [PlannedFile(folder / README, _TEXT.format(folder=folder).encode(), "how it is used; In and Out beside it")]


HOST: Final = Host(
    key="watch",
    name="The watch folder",
    folders=folders,
    plan=plan,
    own="",
    how_to_find="Name a folder with --path.",
    next_steps=(
        'Start in a terminal, and leave running: stembridge watch "{folder}"',
        "Then drop bounces named “name - prompt.wav” in its In; the stems come to its Out.",
    ),
    needs_mailbox=False,
    makes=(IN, OUT),
)
