"""`stembridge watch FOLDER`: for DAWs without scripts; files dropped in `In` come back as stems in `Out`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import typer

from bridge.cli import console
from engine.request import Separation, SeparationRequest

POLL_S: Final = 0.5


def watch(
    folder: Annotated[Path, typer.Argument(help="The folder; In and Out are made in it.", file_okay=False)],
    once: Annotated[bool, typer.Option("--once", help="Do what lies in In now, then end.")] = False,
) -> None:
    """Separate every file that is dropped in FOLDER/In until Ctrl-C: `name - prompt.wav`, stems come to FOLDER/Out."""
    from bridge import watch as watching
    from engine.models import Shelf
    from engine.separate import separate

    shelf = Shelf()

    def run(request: SeparationRequest, stopped: Callable[[], bool]) -> Separation:
        with console.progress_bar(request.prompt or "separating") as on_progress:
            return separate(request, shelf, on_progress=on_progress, cancelled=stopped)

    state = watching.open_folder(folder.expanduser().absolute(), run)
    console.note(f"Drop audio in {state.folder / watching.IN}, named “name - prompt.wav”; Ctrl-C ends.")
    with console.stoppable() as stopped:
        while not stopped():
            for outcome in watching.look(state, stopped=stopped):
                if outcome.result is not None:
                    console.write_line(f"done {outcome.source.name} -> {outcome.result.manifest.name}")
                elif outcome.error is not None:
                    console.write_line(f"failed {outcome.source.name} [{outcome.error.code}]")
                    console.report(outcome.error)
            if once and not watching.unsettled(state):
                return
            time.sleep(POLL_S)
