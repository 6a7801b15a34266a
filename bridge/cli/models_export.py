"""`stembridge models export` and `models verify`: run by a process of their own, because exporting needs libraries
that the bridge does not know."""

from __future__ import annotations

import signal
import subprocess
import sys
from enum import StrEnum
from typing import Annotated

import typer

from engine.errors import ExitCode


class Target(StrEnum):
    """What a model can be exported to."""

    ONNX = "onnx"
    TENSORRT = "tensorrt"


class Precision(StrEnum):
    """What the large matrices become."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


Name = Annotated[str, typer.Argument(help="The model's name, as `stembridge models list` shows it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def add_to(models: typer.Typer) -> None:
    """Add the commands to the group of models."""
    models.command("export")(export_model)
    models.command("verify")(verify_model)


def export_model(
    name: Name,
    to: Annotated[Target, typer.Option(help="What it is exported to.")] = Target.ONNX,
    precision: Annotated[
        Precision, typer.Option(help="fp32; fp16 halves the files; int8 is the quickest on a CPU, and the least exact.")
    ] = Precision.FP32,
    as_json: AsJson = False,
) -> None:
    """Make a model quicker: write its graphs for another runtime, into the model's own folder, and compare them with
    the model. From then on they answer for it where there is no GPU."""
    _run(["build", name, "--to", to.value, "--precision", precision.value], as_json)


def verify_model(name: Name, as_json: AsJson = False) -> None:
    """Compare a model's exports with the model again; one that differs too much is no longer used."""
    _run(["verify", name], as_json)


def _run(arguments: list[str], as_json: bool) -> None:
    """Run the exporter, which writes to our stdout and stderr; its exit status becomes ours."""
    # -P: a folder called "export" in the folder the user stands in must not be run in place of ours.
    command = [sys.executable, "-P", "-m", "export", *arguments, *(["--json"] if as_json else [])]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    before = signal.signal(signal.SIGTERM, lambda number, frame: process.terminate())
    try:
        while True:
            try:
                status = process.wait()
                break
            except KeyboardInterrupt:
                # The terminal told the exporter too: it removes what it has begun, and then ends.
                continue
    finally:
        signal.signal(signal.SIGTERM, before)
    if status:
        raise typer.Exit(status if status > 0 else int(ExitCode.CANCELLED))
