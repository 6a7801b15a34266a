"""`stembridge demo`: the whole round trip on the bundled excerpt."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from bridge.cli import console

NO_PICTURE: Final = "left out; it needs matplotlib (pip install 'stembridge[plots]')"


def demo(
    out: Annotated[Path, typer.Option(help="The folder everything is left in.", file_okay=False)] = Path("demo_out"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """The whole round trip on ten seconds of music: an engine, a DAW's request, the stems, a picture, the figures."""
    from bridge.demo import run_demo

    console.note("Starting an engine and sending it what a DAW would send …")
    with console.progress_bar("separating") as on_progress:
        report = run_demo(out.expanduser(), on_progress)
    exact = math.isinf(report.null_db)
    if as_json:
        values = _plain(asdict(report))
        values["second"]["si_sdr_gain_db"] = report.second.si_sdr_gain_db
        if math.isinf(report.second.null_db):
            values["second"]["null_db"] = None
        gain = {"si_sdr_gain_db": report.si_sdr_gain_db}
        console.write_json({**values, "null_db": None if exact else report.null_db, **gain})
        return
    console.write_line(f"track      {report.track}  →  prompt: {report.prompt}")
    if report.note:
        console.write_line(f"note       {report.note}")
    for label in ("mixture", "target", "residual", "manifest", "picture"):
        path = getattr(report, label)
        console.write_line(f"{label:<10} {path or NO_PICTURE}")
    null = "-inf dBFS: they sum exactly" if exact else f"{report.null_db:.1f} dBFS"
    console.write_line(f"null       {null} (target + residual - mixture)")
    console.write_line(
        f"SI-SDR     {round(report.si_sdr_before_db, 1) + 0.0:.1f} dB → {report.si_sdr_after_db:.1f} dB, "
        f"a gain of {report.si_sdr_gain_db:.1f} dB against the known voice"
    )
    second = report.second
    console.write_line(
        f"second     prompt: {second.prompt}, with a span, by {second.model}  →  {second.target}: "
        f"a gain of {second.si_sdr_gain_db:.1f} dB against the known {second.prompt}"
    )
    console.write_line(f"time       engine ready in {report.engine_ready_s:.2f} s, the job took {report.job_s:.2f} s")


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Paths as text, also inside."""
    return {
        key: _plain(value) if isinstance(value, dict) else str(value) if isinstance(value, Path) else value
        for key, value in values.items()
    }
