"""What the command line writes: results on stdout, progress and errors on stderr, bars on a terminal only."""

from __future__ import annotations

import io
import json
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from rich.console import Console
from rich.table import Table

from engine.errors import StembridgeError
from engine.request import Progress


def speak_utf8() -> None:
    """Makes stdout and stderr take every text: a pipe on Windows has an old code page that lacks most characters, and
    a file's name may be no text at all.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def write_line(text: str) -> None:
    """One line of a result, on stdout, as it stands (no markup, no wrapping)."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def write_json(value: Mapping[str, Any] | list[Any]) -> None:
    """One JSON object on one line of stdout, in ASCII: whatever reads it need not guess the encoding."""
    write_line(json.dumps(value, allow_nan=False))


def write_table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], *, wide: int | None = None) -> None:
    """A table on stdout; in a pipe it is as wide as it needs. `wide` is the column that may wrap."""
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=False, width=None if sys.stdout.isatty() else 400)
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=any(columns))
    for number, name in enumerate(columns):
        table.add_column(name, no_wrap=number != wide, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    for line in _rendered(console, table):
        write_line(line)


def _rendered(console: Console, table: Table) -> list[str]:
    with console.capture() as capture:
        console.print(table)
    return [line.rstrip() for line in capture.get().splitlines()]


def note(text: str) -> None:
    """A line for a person, on stderr: never part of the result."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def report(error: StembridgeError) -> None:
    """An error on stderr: what is wrong, its code, and what to do."""
    note(f"stembridge: {error.text} [{error.code}]")
    if error.remedy:
        note(f"  {error.remedy}")


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[Progress], None]]:
    """A bar on stderr while the block runs, where stderr is a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda progress: None
        return
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    bar = Bar(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=40),
        TaskProgressColumn(),
        TextColumn("{task.fields[stage]}", markup=False),
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(label, total=1.0, stage="")
        yield lambda progress: bar.update(task, completed=progress.fraction, stage=progress.stage)


@contextmanager
def stoppable() -> Iterator[Callable[[], bool]]:
    """While the block runs, Ctrl-C and SIGTERM make the yielded function true; a second one stops the program at once.

    The first lets the work end at its next window, so that no file is left behind.
    """
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
