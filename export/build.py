"""A model's export from beginning to end: write every stage, compare, put it in place.

Everything is written in a folder beside, compared there, and renamed: an export that is in place is whole and was held
against the network. What stops a build on the way leaves nothing.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from engine.artefact import Artefact, StageFiles, export_again, file_sha256, folder_of, read_artefact, write_manifest
from engine.bundle import Bundle
from engine.errors import StembridgeError
from engine.model.config import Sizes
from export import stages
from export.parts import Parts, load_parts, text_sha256
from export.quantize import quantize
from export.stages import ExportPrecision, Stage, stages_of
from export.to_onnx import OPSET, check_opset, write_stage
from export.verify import Report, refuse, verify

LIBRARIES: Final = ("torch", "onnx", "onnxscript", "onnxruntime")
LEFTOVER_S: Final = 86_400.0
"""A folder of a build that was not touched for so long is of one that was killed, whoever has its number now."""
Told = Callable[[str], None]
"""Called with what is being done, in words."""


def build(
    bundle: Bundle, text_folder: Path, precision: ExportPrecision, *, opset: int = OPSET, told: Told = lambda what: None
) -> tuple[Artefact, Report | None]:
    """Export a model to `onnx-<precision>/` in its own folder; no report when that is there already and whole.

    Raises `StembridgeError`: `bad_value` for an opset, `export_failed` naming stage and operator, `not_equal` when the
    export differs too much (and is not kept), `disk_full`, `output_not_writable`, and what loading the model raises.
    """
    check_opset(opset)
    parts = load_parts(bundle, text_folder)
    told("hashing the text encoder")
    plan = _plan(bundle, text_folder, precision, opset)
    out = plan.folder
    if _is_there(plan):
        return read_artefact(out), None
    with beside(out, sum(p.numel() * p.element_size() for m in parts.modules.values() for p in m.parameters())) as part:
        made = {}
        lowered: Parts | None = None
        for stage in stages_of(parts.network.sizes):
            key, own = plan.stages[stage.name].key, stage.precision(precision)
            files = _borrow(bundle, stage, key, part)
            if files is None and own == "int8":
                whole = _borrow(bundle, stage, _key(plan, stage, "fp32"), part)
                if whole is None:
                    told(f"{stage.name}: writing it as fp32")
                    whole = _write(parts, stage, part, opset)
                told(f"{stage.name}: turning it into int8")
                files = _quantized(whole, part)
            elif files is None:
                told(f"{stage.name}: writing it as {own}")
                if own == "fp16" and lowered is None:
                    lowered = load_parts(bundle, text_folder, "fp16")
                files = _write(parts, stage, part, opset, lowered if own == "fp16" else None)
            made[stage.name] = StageFiles(key, own, said(part, files))
        artefact = replace(plan, folder=part, stages=made)
        told("comparing it with the model")
        report = verify(parts, bundle, artefact, text_folder)
        refuse(report, bundle.name, precision)
        write_manifest(replace(artefact, verified=report.to_dict()))
        put_in_place(part, out)
    return read_artefact(out), report


def verify_in_place(bundle: Bundle, artefact: Artefact, text_folder: Path) -> Report:
    """Compare an export that is there again, and note the outcome in its manifest: past a tolerance it is no longer
    used. Raises `StembridgeError`: `model_corrupt` when it was made from another model, and as `verify`."""
    text, _ = text_sha256(text_folder)
    if (artefact.weights_sha256, artefact.text_sha256) != (bundle.weights_sha256, text):
        raise StembridgeError(
            "model_corrupt",
            f"The export {artefact.folder} was made from other weights than {bundle.name} has now.",
            export_again(artefact.folder),
        )
    report = verify(load_parts(bundle, text_folder), bundle, artefact, text_folder)
    write_manifest(replace(artefact, verified=report.to_dict()))
    return report


def _plan(bundle: Bundle, text_folder: Path, precision: ExportPrecision, opset: int) -> Artefact:
    """What will be there when it is built; its stages have keys and no files yet."""
    text, tokenizer = text_sha256(text_folder)
    plan = Artefact(
        folder=folder_of(bundle, "onnx", precision),
        runtime="onnx",
        precision=precision,
        weights_sha256=bundle.weights_sha256,
        text_sha256=text,
        tokenizer_sha256=tokenizer,
        opset=opset,
        libraries={name: version(name) for name in LIBRARIES},
        stages={},
        verified=None,
    )
    sizes = Sizes.from_dict(bundle.facts["sizes"])
    owns = [(stage, stage.precision(precision)) for stage in stages_of(sizes)]
    return replace(plan, stages={s.name: StageFiles(_key(plan, s, own), own, {}) for s, own in owns})


def _key(plan: Artefact, stage: Stage, precision: ExportPrecision) -> str:
    """A hash over everything a stage's graph is made from."""
    facts = {
        "model": plan.text_sha256 if stage.name == "text" else plan.weights_sha256,
        "stage": stage.name,
        "table": stages.VERSION,
        "precision": precision,
        "opset": plan.opset,
        "libraries": dict(plan.libraries),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _is_there(plan: Artefact) -> bool:
    """Whether what is planned is in place, whole and verified."""
    try:
        found = read_artefact(plan.folder)
        for stage in found.stages:
            found.path(stage)
    except StembridgeError:
        return False
    keys = [{name: stage.key for name, stage in each.stages.items()} for each in (found, plan)]
    return keys[0] == keys[1] and bool((found.verified or {}).get("holds"))


def _borrow(bundle: Bundle, stage: Stage, key: str, part: Path) -> list[Path] | None:
    """A stage of equal key from another export of the same model, linked into `part`; None when there is none."""
    for precision in stage.tolerances:
        try:
            other = read_artefact(folder_of(bundle, "onnx", precision))
            if stage.name not in other.stages or other.stages[stage.name].key != key:
                continue
            other.path(stage.name)
        except StembridgeError:
            continue
        files = []
        for name in other.stages[stage.name].files:
            files.append(part / name)
            share(other.folder / name, part / name)
        return files
    return None


def share(source: Path, out: Path) -> None:
    """Link a graph, or copy it where there are no links; weights beside a graph are copied, for onnx refuses to read
    them through a link."""
    if not source.name.endswith(".data"):
        try:
            os.link(source, out)
        except OSError:  # another file system, or one without links
            pass
        else:
            return
    shutil.copyfile(source, out)


def _write(parts: Parts, stage: Stage, part: Path, opset: int, lowered: Parts | None = None) -> list[Path]:
    """A stage's graph, traced with inputs the float32 network makes; of `lowered` where that is given."""
    lengths = stages.axes(parts.network.sizes)
    examples = {name: axis.example for name, axis in lengths.items()}
    inputs = dict(stages.example_inputs(parts.modules, parts.network.sizes, examples, 0)[stage.name])
    if lowered is not None and stage.name == "velocity":
        inputs |= {name: inputs[name].half() for name in ("keys", "values")}
    module = (lowered or parts).modules[stage.name]
    return write_stage(stage, module, inputs, lengths, part / f"{stage.name}.onnx", opset=opset)


def _quantized(whole: list[Path], part: Path) -> list[Path]:
    """The int8 form of a float32 graph in `part`, in its place."""
    # The external file's name is written in the graph, so both move to a folder of their own.
    source = part / "whole"
    source.mkdir()
    moved = [file.rename(source / file.name) for file in whole]
    files = quantize(moved[0], whole[0], external=len(moved) > 1)
    shutil.rmtree(source)
    return files


def said(part: Path, files: list[Path]) -> dict[str, Mapping[str, Any]]:
    return {file.name: {"sha256": file_sha256(part / file.name), "bytes": file.stat().st_size} for file in files}


@contextmanager
def beside(out: Path, n_bytes: int) -> Iterator[Path]:
    """A folder beside `out` for as long as the block runs; leftovers of builds that were killed are removed, those of
    other precisions too, and what such a build had put aside is back in its place."""
    part = out.with_name(f"{out.name}.part-{os.getpid()}")
    aside = _aside(out)
    if aside.exists() and not out.exists():
        aside.rename(out)
    for left in {*out.parent.glob(f"{out.name}.part-*"), *out.parent.glob("*-*.part-[0-9]*/")}:
        if _is_left(left):
            shutil.rmtree(left, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        free = shutil.disk_usage(part).free
        if free < 1.1 * n_bytes:
            raise OSError(errno.ENOSPC, f"{1.1 * n_bytes / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free")
        yield part
    except OSError as e:
        code = "disk_full" if e.errno == errno.ENOSPC else "output_not_writable"
        raise StembridgeError(
            code, f"The export cannot be written to {out}: {e.strerror or e}.", "Free space, or move the models folder."
        ) from e
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _is_left(part: Path) -> bool:
    """Whether a folder is of a build that has ended: its process is gone, or it was not touched for a day."""
    owner = part.name.rpartition("-")[2]
    if os.name == "posix" and owner.isdecimal() and int(owner) != os.getpid():
        try:
            os.kill(int(owner), 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # another user's, and alive
            return False
    return time.time() - part.stat().st_mtime > LEFTOVER_S


def put_in_place(part: Path, out: Path) -> None:
    """Rename a finished build to its place; what was there is aside for that moment."""
    old = _aside(out)
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    part.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def _aside(out: Path) -> Path:
    return out.with_name(f"{out.name}.part-old")
