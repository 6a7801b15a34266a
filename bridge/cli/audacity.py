"""`stembridge audacity …`: what is selected in Audacity 3 is separated, and comes back on new tracks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.api.protocol import DEFAULT_PORT, JobProgress
from bridge.cli import asking, console
from bridge.cli.jobs import progress_of
from engine.errors import StembridgeError
from engine.request import Progress

if TYPE_CHECKING:
    from bridge.audacity.gestures import Desk
    from bridge.audacity.project import Gesture

audacity = typer.Typer(
    name="audacity",
    help="Separate what is selected in Audacity 3; the stems come back on new tracks, at their place.",
    no_args_is_help=True,
)
Prompt = Annotated[str | None, typer.Option("--prompt", help="What to take out, instead of the track's name.")]
Window = Annotated[bool, typer.Option("--window", help="Also show in Audacity what went wrong (for a shortcut).")]


@audacity.command()
def extract(prompt: Prompt = None, window: Window = False, port: asking.Port = DEFAULT_PORT) -> None:
    """The selected range of the selected tracks."""
    _do("extract", prompt, window, port)


@audacity.command("by-example")
def by_example(prompt: Prompt = None, window: Window = False, port: asking.Port = DEFAULT_PORT) -> None:
    """Whole clips, with the selected range as the example of the sound."""
    _do("by-example", prompt, window, port)


@audacity.command()
def items(prompt: Prompt = None, window: Window = False, port: asking.Port = DEFAULT_PORT) -> None:
    """Every clip that the selection touches, whole."""
    _do("items", prompt, window, port)


@audacity.command()
def remove(prompt: Prompt = None, window: Window = False, port: asking.Port = DEFAULT_PORT) -> None:
    """As extract, but what is left comes first, and the selected part goes aside, muted."""
    _do("remove", prompt, window, port)


@audacity.command()
def cancel(port: asking.Port = DEFAULT_PORT) -> None:
    """End what was asked for in Audacity and is not done."""
    from bridge.audacity.gestures import cancel_all

    count = cancel_all(_desk(port))
    console.note(f"{count} cancelled." if count else "No request of Audacity's is under way.")


def _do(gesture: Gesture, prompt: str | None, window: bool, port: int) -> None:
    from bridge.audacity import project as host
    from bridge.audacity.gestures import perform
    from bridge.audacity.pipe import Pipe

    try:
        with ExitStack() as stack:
            bars: list[Callable[[Progress], None]] = []

            def on_progress(track: str, event: JobProgress) -> None:
                if not bars:  # not before: a question may have to be asked
                    bars.append(stack.enter_context(console.progress_bar("separating")))
                bars[0](progress_of(event))

            outcome = perform(gesture, replace(_desk(port), on_progress=on_progress), prompt)
        for name in outcome.tracks:
            console.write_line(name)
        for trouble in outcome.troubles[:-1]:
            console.report(trouble)
        if outcome.troubles:
            raise outcome.troubles[-1]
    except StembridgeError as e:
        if window and e.code not in ("cancelled", "daw_not_answering"):
            with Pipe() as pipe:
                host.show(pipe, f"Stembridge: {e}")
        raise


def _desk(port: int) -> Desk:
    from bridge.audacity.gestures import Desk

    return Desk(_asked if sys.stdin.isatty() else None, console.note, lambda track, event: None, port)


def _asked(question: str, default: str) -> str:
    answer: str = typer.prompt(question, default=default, err=True)
    return answer.strip()
