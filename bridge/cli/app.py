"""The commands together, and what their failures return: 0 done, 2 wrong request, 3 not ready, 130 cancelled."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated

import typer

from bridge.cli import console, models_export
from bridge.cli.audacity import audacity
from bridge.cli.bench import bench
from bridge.cli.demo import demo
from bridge.cli.doctor import doctor
from bridge.cli.extract import extract
from bridge.cli.install import install
from bridge.cli.jobs import cancel, jobs, submit
from bridge.cli.live import live
from bridge.cli.midi import midi
from bridge.cli.models import models
from bridge.cli.plugins import plugins
from bridge.cli.presets import presets
from bridge.cli.serve import serve
from bridge.cli.session import session
from bridge.cli.watch import watch
from engine.errors import ExitCode, StembridgeError, internal, no_memory

app = typer.Typer(
    name="stembridge",
    help="Take one sound out of a mix, by name: on this machine, for your DAW.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (extract, serve, session, demo, submit, jobs, cancel, watch, install, live, doctor):
    app.command()(command)
app.add_typer(audacity)
app.add_typer(presets)
app.add_typer(plugins)
app.add_typer(midi)
app.add_typer(bench)
models_export.add_to(models)
app.add_typer(models)


def _version(wanted: bool) -> None:
    if wanted:
        from engine.separate import stembridge_version

        console.write_line(stembridge_version())
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take one sound out of a mix, by name: on this machine, for your DAW."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` name (None: the program's own); returns the exit status, raises nothing."""
    console.speak_utf8()
    try:
        app(args=None if arguments is None else list(arguments), prog_name="stembridge")
    except SystemExit as e:
        return e.code if isinstance(e.code, int) else int(e.code is not None)
    except StembridgeError as e:
        console.report(e)
        return int(e.exit_code)
    except KeyboardInterrupt:
        console.note("stembridge: stopped.")
        return int(ExitCode.CANCELLED)
    except MemoryError:
        error = no_memory()
        console.report(error)
        return int(error.exit_code)
    except Exception as e:
        logging.getLogger("stembridge").exception("unexpected")
        console.report(internal(e))
        return int(ExitCode.FAILED)
    return int(ExitCode.DONE)
