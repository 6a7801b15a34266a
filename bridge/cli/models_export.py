"""`stembridge models export`, `verify` and `tune`: run by a process of their own, because they need libraries that the
bridge does not know."""

from __future__ import annotations

import signal
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bridge.cli.ranges import parse_counts
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
    models.command("tune")(tune_model)


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


def tune_model(
    name: Name,
    audio: Annotated[
        Path, typer.Option(help="A folder of music such as you separate; it is only read.", file_okay=False)
    ],
    nfe: Annotated[str, typer.Option(help="Numbers of evaluations to tune for, 1 to 16.")] = "1,2,4,8",
    prompts: Annotated[
        str | None, typer.Option(help="What you ask for, with commas between; common instruments if absent.")
    ] = None,
    clips: Annotated[int, typer.Option(help="Pieces of 5 s that are learned from.", min=2)] = 24,
    as_json: AsJson = False,
) -> None:
    """Make few evaluations of a flow model better: fit the solver to the model's own results of 32, on your audio.
    Takes long; what was done is kept, so the same command goes on after a stop. Requests of that many evaluations use
    the result by themselves."""
    numbers = [f"--nfe={number}" for number in parse_counts(nfe, "--nfe")]
    asked = [f"--prompt={prompt.strip()}" for prompt in (prompts or "").split(",") if prompt.strip()]
    _run(["tune", name, f"--audio={audio.expanduser().absolute()}", f"--clips={clips}", *numbers, *asked], as_json)


def _run(arguments: list[str], as_json: bool) -> None:
    """Run the exporter, which writes to our stdout and stderr; its exit status becomes ours."""
    # -P: a folder called "export" in the folder the user stands in must not be run in place of ours.
    command = [sys.executable, "-P", "-m", "export", *arguments, *(["--json"] if as_json else []), "--with-parent"]
    # Nothing is ever written into the pipe: that it closes tells the exporter that we are gone, killed perhaps.
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
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
