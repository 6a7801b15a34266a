"""What `stembridge models export`, `verify` and `tune` run: `python -m export build|verify|tune NAME …`.

A process of its own, because an exporter's libraries are large and the bridge knows none of them. It says what it does
on stderr, prints its result on stdout, and ends with the exit status of `engine.errors`.
"""

from __future__ import annotations

import _thread
import argparse
import json
import logging
import math
import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from engine import models
from engine.artefact import MANIFEST, PRECISIONS, read_artefact
from engine.bundle import Bundle
from engine.errors import ExitCode, StembridgeError, internal, no_memory


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m export", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    building = commands.add_parser("build")
    building.add_argument("--to", choices=["onnx", "tensorrt"], default="onnx")
    building.add_argument("--precision", choices=PRECISIONS, default="fp32")
    building.add_argument("--opset", type=int)
    verifying = commands.add_parser("verify")
    tuning = commands.add_parser("tune")
    tuning.add_argument("--nfe", type=int, action="append", required=True)
    tuning.add_argument("--audio", type=Path, required=True)
    tuning.add_argument("--prompt", action="append", default=[])
    tuning.add_argument("--clips", type=int, default=24)
    for each in (building, verifying, tuning):
        each.add_argument("name")
        each.add_argument("--json", action="store_true")
        each.add_argument("--with-parent", action="store_true", help="stop when stdin is closed")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _stop)
    if given.with_parent:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        bundle = models.find(given.name)
        return {"build": _build, "verify": _verify, "tune": _tune}[given.command](bundle, given)
    except StembridgeError as e:
        return _refused(e)
    except ImportError as e:
        return _refused(
            StembridgeError(
                "runtime_missing",
                f"Exporting needs {e.name}, which is not installed.",
                "Install it with: pip install 'stembridge[torch,export,cpu]'",
            )
        )
    except KeyboardInterrupt:
        kept = (
            "what was done is kept, the same command goes on" if given.command == "tune" else "nothing was left behind"
        )
        _note(f"stembridge: stopped; {kept}.")
        return int(ExitCode.CANCELLED)
    except MemoryError:
        return _refused(no_memory())
    except Exception as e:
        logging.getLogger("stembridge").exception("unexpected")
        return _refused(internal(e))


def _build(bundle: Bundle, given: argparse.Namespace) -> int:
    from export.build import build
    from export.to_onnx import OPSET

    if given.to == "tensorrt":
        return _plans(bundle, given)
    artefact, report = build(
        bundle, models.text_folder(), given.precision, opset=given.opset or OPSET, told=lambda what: _note(f"  {what}")
    )
    n_bytes = sum(file["bytes"] for stage in artefact.stages.values() for file in stage.files.values())
    if given.json:
        _write(json.dumps({"folder": str(artefact.folder), "bytes": n_bytes, "verified": artefact.verified}))
        return int(ExitCode.DONE)
    if report is None:
        _note("It was exported before, and nothing has changed since.")
    _table(artefact.verified or {})
    _write(f"{artefact.folder}  {n_bytes / 1e6:.1f} MB")
    if report is not None:
        _note("An engine that has the model open takes the export up when it is started again.")
    return int(ExitCode.DONE)


def _plans(bundle: Bundle, given: argparse.Namespace) -> int:
    from export.plans import build_plans

    artefact = build_plans(bundle, models.text_folder(), given.precision, told=lambda what: _note(f"  {what}"))
    files = {name: file["bytes"] for stage in artefact.stages.values() for name, file in stage.files.items()}
    if given.json:
        said = {"folder": str(artefact.folder), "bytes": sum(files.values()), "files": files}
        _write(json.dumps({**said, "verified": artefact.verified}))
        return int(ExitCode.DONE)
    for name, n_bytes in files.items():
        _write(f"{n_bytes / 1e6:10.1f} MB  {name}")
    _write(str(artefact.folder))
    if artefact.verified is None:
        _note("The plans were built, not run: they are compared with the model, and used, on a machine with a GPU.")
    else:
        _table(artefact.verified)
    return int(ExitCode.DONE)


def _verify(bundle: Bundle, given: argparse.Namespace) -> int:
    from export.parts import require_flow

    require_flow(bundle)
    found = [bundle.folder / f"{runtime}-{p}" for runtime in ("onnx", "tensorrt") for p in PRECISIONS]
    found = [folder for folder in found if (folder / MANIFEST).exists()]
    if not found:
        raise StembridgeError(
            "model_missing",
            f"{bundle.name} has no export.",
            f"Make one: stembridge models export {bundle.name} --to onnx",
        )
    failed: StembridgeError | None = None
    reports: dict[str, Any] = {}
    for folder in found:
        _note(f"  comparing {folder.name} with the model")
        try:
            reports[folder.name] = _compared(bundle, folder, as_json=given.json)
        except StembridgeError as e:  # the others are compared all the same
            if failed is not None:
                _refused(failed)
            failed = e
    if given.json:
        _write(json.dumps(reports))
    if failed is not None:
        raise failed
    return int(ExitCode.DONE)


def _compared(bundle: Bundle, folder: Path, *, as_json: bool) -> Mapping[str, Any] | None:
    """One export, held against the model and told of; None for plans that nothing here can run. Raises
    `StembridgeError`: `not_equal`, and as reading and opening it do."""
    from export.build import verify_in_place
    from export.plans import compare_plans
    from export.verify import refuse

    artefact = read_artefact(folder)
    if artefact.runtime != "onnx":
        measured = compare_plans(bundle, artefact, models.text_folder(), lambda what: _note(f"  {what}"))
        if measured is not None and not as_json:
            _write(folder.name)
            _table(measured)
        return measured
    report = verify_in_place(bundle, artefact, models.text_folder())
    if not as_json:
        _write(folder.name)
        _table(report.to_dict())
    refuse(report, bundle.name, artefact.precision)
    if not as_json:
        _note(f"  {folder.name} equals the model as far as {artefact.precision} is asked to.")
    return report.to_dict()


def _tune(bundle: Bundle, given: argparse.Namespace) -> int:
    from engine.flow.open import open_flow
    from export.telling import Telling
    from export.tune_model import PROMPTS, check, tune

    if bundle.kind != "flow":
        raise StembridgeError(
            "bad_value", f"{bundle.name} is a {bundle.kind} model; only flow models are tuned.", "Name another model."
        )
    prompts, nfes = given.prompt or list(PROMPTS), sorted(set(given.nfe))
    check(given.audio, prompts, nfes)
    stages = open_flow(bundle, models.text_folder(), exact=True).stages
    _note(f"  tuning {bundle.name} on {stages.name}")
    telling = Telling()
    try:
        found = tune(bundle, stages, given.audio, prompts, nfes, n_examples=given.clips, told=telling)
    finally:
        telling.end()
    if given.json:
        _write(json.dumps([tuned.to_dict() for tuned in found]))
        return int(ExitCode.DONE)
    _write("SNR against the model's own 32 evaluations, on clips that were not fitted to:")
    _write(f"{'evaluations':<12}{'uniform dB':>12}{'fitted dB':>12}")
    for tuned in found:
        file = tuned.file.name if tuned.file else "no better: nothing was written"
        _write(f"{tuned.nfe:<12}{tuned.uniform_db:>12.1f}{tuned.held_out_db:>12.1f}  {file}")
    return int(ExitCode.DONE)


def _table(verified: Mapping[str, Any]) -> None:
    _write(f"{'':<18}{'max error':>12}{'SNR dB':>10}{'cosine':>12}")
    for check in verified.get("checks", []):
        snr = "exact" if check["snr_db"] is None else f"{check['snr_db']:.1f}"
        error = "none" if check["max_error"] is None else f"{check['max_error']:.1e}"
        mark = "" if check["holds"] else "  too much"
        _write(f"{check['what']:<18}{error:>12}{snr:>10}{check['cosine']:>12.7f}{mark}")
    if verified.get("few_step_error_db") is not None:
        solved = next(check["snr_db"] for check in verified["checks"] if check["what"] == "solve")
        if verified["below_few_step_error"]:
            said = "errs less, and is used by itself"
        else:
            said = "errs more, and is used only with STEMBRIDGE_PRECISION=int8"
        few = (
            f"The model's own {verified['nfe']} evaluations are within {verified['few_step_error_db']:.1f} dB of its 32"
        )
        _write(f"{few}; this export, at {solved or math.inf:.1f} dB, {said}.")


def _refused(error: StembridgeError) -> int:
    _note(f"stembridge: {error.text} [{error.code}]")
    if error.remedy:
        _note(f"  {error.remedy}")
    return int(error.exit_code)


def _end_with_parent() -> None:
    """Wait until stdin is closed, which happens when the process that started this one is gone, and stop as for
    SIGTERM: nobody wants the result any more, and hours of a processor may be left."""
    while os.read(0, 1):  # not through sys.stdin, whose lock this thread would hold when the interpreter ends
        pass
    _thread.interrupt_main(signal.SIGTERM)


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _write(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _note(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
