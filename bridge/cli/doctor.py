"""`stembridge doctor`: is this machine ready, what is missing, and the command that mends it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer

from bridge.api.protocol import DEFAULT_PORT
from bridge.cli import console
from engine.errors import ExitCode

MARKS: Final = {"ok": "ok", "note": "note", "missing": "MISSING"}


def doctor(
    out: Annotated[Path | None, typer.Option(help="The engine's output folder, if not the usual one.")] = None,
    port: Annotated[int, typer.Option(help="The engine's port.")] = DEFAULT_PORT,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Is this machine ready? What is missing, and the command that mends it."""
    from bridge.doctor import examine, ready

    findings = list(examine(out_dir=out, port=port))
    whole = ready(findings)
    if as_json:
        console.write_json({"ready": whole, "findings": [asdict(finding) for finding in findings]})
    else:
        rows = [(MARKS[finding.state], finding.what, finding.detail) for finding in findings]
        console.write_table(("", "what", "found"), rows, wide=2)
        mend = [finding for finding in findings if finding.remedy]
        for finding in mend:
            need = "needed" if finding.state == "missing" else "if you want it"
            console.write_line(f"{finding.what} ({need}): {finding.remedy}")
        console.write_line("This machine is ready." if whole else "This machine is not ready yet.")
    if not whole:
        raise typer.Exit(int(ExitCode.NOT_READY))
