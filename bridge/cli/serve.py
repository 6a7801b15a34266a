"""`stembridge serve`: the engine that every DAW on this machine shares."""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from bridge.api.protocol import DEFAULT_PORT
from bridge.cli import console
from engine.errors import StembridgeError


def serve(
    port: Annotated[int, typer.Option(help="UDP and TCP port on this machine; 0 takes a free one.")] = DEFAULT_PORT,
    root: Annotated[
        list[Path] | None, typer.Option(help="A further folder the engine may read from. Repeats.", file_okay=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The folder stems are written to.", file_okay=False, show_default="Stembridge in your music folder"
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(help="Where jobs and the mailbox are kept, if not in the usual place.", file_okay=False),
    ] = None,
    mailbox: Annotated[
        Path | None, typer.Option(help="The mailbox folder, if it is not in the state folder.", file_okay=False)
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log what the engine does, on stderr.")] = False,
) -> None:
    """Run the engine until Ctrl-C. It prints one line when it is ready; jobs that wait are kept for the next start."""
    from bridge.asking.paths import default_policy, writable
    from bridge.serve import Settings, default_state_dir, serving
    from engine.separate import stembridge_version

    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    state_dir = state.expanduser().absolute() if state else default_state_dir()
    settings = Settings(
        port=port,
        policy=default_policy([path.expanduser() for path in root or []], out.expanduser() if out else None),
        state_dir=state_dir,
        mailbox=mailbox.expanduser().absolute() if mailbox else state_dir / "mailbox",
    )
    for path in root or []:
        if not path.expanduser().is_dir():
            raise StembridgeError("bad_value", f"--root {path} is no folder.", "Name a folder that is there.")
    writable(None, settings.policy)
    stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), ask)
    with serving(settings) as running:
        console.write_line(
            f"Stembridge {stembridge_version()} is ready on port {running.port}. "
            f"Stems go to {settings.policy.out_root}; the mailbox is {running.mailbox}."
        )
        while not stop.wait(0.5):  # a wait without an end would not hear Ctrl-C on Windows
            pass
