"""What an export left in a model's folder: one graph a stage, and a manifest that says what they were made from.

`onnx-fp32/artefact.json` and its like are written by `export`, after the graphs were held against the network, and
read by the runtimes. A graph is used only when it belongs to the model and the text encoder that are there now, when
its bytes are those of the manifest, and when the comparison was within its tolerances.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from engine.bundle import Bundle
from engine.errors import StembridgeError

MANIFEST: Final = "artefact.json"
SCHEMA: Final = 1
PRECISIONS: Final = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class StageFiles:
    """One stage's graph."""

    key: str
    """A hash over everything the graph was made from: equal keys mean equal graphs."""
    precision: str
    files: Mapping[str, Mapping[str, Any]]
    """File name → `sha256`, `bytes`; the graph itself is the first, its external weights follow."""


@dataclass(frozen=True)
class Artefact:
    """An export of a whole model."""

    folder: Path
    runtime: str
    """`onnx`, `tensorrt` or `tensorrt_rtx`"""
    precision: str
    weights_sha256: str
    """Of the bundle it was made from."""
    text_sha256: str
    """Of the text encoder's weights."""
    tokenizer_sha256: str
    opset: int
    libraries: Mapping[str, str]
    stages: Mapping[str, StageFiles]
    verified: Mapping[str, Any] | None
    """What the comparison with the network measured, and whether it `holds`; None where there was none."""

    def path(self, stage: str) -> Path:
        """The path of a stage's graph, the bytes of all its files checked.

        Raises `StembridgeError`: `model_missing` when a file is not there, `model_corrupt` when its bytes are others.
        """
        if stage not in self.stages:
            raise _wrong(self.folder, f"has no stage {stage!r}")
        files = self.stages[stage].files
        for name, said in files.items():
            found = file_sha256(self.folder / name)
            if found != said["sha256"]:
                text = f"{self.folder / name} is damaged: its sha256 is {found[:12]}…, not {said['sha256'][:12]}…."
                raise StembridgeError("model_corrupt", text, export_again(self.folder))
        return self.folder / next(iter(files))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = asdict(self)
        del values["folder"]
        return {"schema": SCHEMA, **values}


def folder_of(bundle: Bundle, runtime: str, precision: str) -> Path:
    """Where an export lies."""
    return bundle.folder / f"{runtime}-{precision}"


def read_artefact(folder: Path) -> Artefact:
    """Read an export's manifest.

    Raises `StembridgeError`: `model_missing` without one, `model_corrupt` when it cannot be understood.
    """
    path = folder / MANIFEST
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise StembridgeError("model_missing", f"There is no export in {folder}: {e}.", export_again(folder)) from e
    except ValueError as e:
        raise _wrong(folder, f"has a manifest that is not JSON ({e})") from e
    try:
        if said["schema"] != SCHEMA:
            raise _wrong(folder, f"is of schema {said['schema']!r}, not {SCHEMA}")
        stages = {
            name: StageFiles(str(stage["key"]), str(stage["precision"]), dict(stage["files"]))
            for name, stage in said["stages"].items()
        }
        for stage in stages.values():
            for name, file in stage.files.items():
                if name != Path(name).name or not isinstance(file["sha256"], str):
                    raise _wrong(folder, f"names a file that cannot be its own: {name!r}")
        return Artefact(
            folder=folder,
            runtime=str(said["runtime"]),
            precision=str(said["precision"]),
            weights_sha256=str(said["weights_sha256"]),
            text_sha256=str(said["text_sha256"]),
            tokenizer_sha256=str(said["tokenizer_sha256"]),
            opset=int(said["opset"]),
            libraries=dict(said["libraries"]),
            stages=stages,
            verified=None if said["verified"] is None else dict(said["verified"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise _wrong(folder, f"has a manifest without a usable {e}") from e


def check_usable(artefact: Artefact, bundle: Bundle, tokenizer: Path, *, verified: bool = True) -> None:
    """Raises `StembridgeError` (`model_corrupt`) for an export that was made from another model or text encoder, or,
    where `verified` is asked, whose graphs were not held against the network or did not equal it."""
    if artefact.weights_sha256 != bundle.weights_sha256:
        raise _wrong(artefact.folder, f"was made from other weights than {bundle.name} has now")
    if artefact.tokenizer_sha256 != file_sha256(tokenizer):
        raise _wrong(artefact.folder, "was made with another text encoder")
    if verified and not (artefact.verified or {}).get("holds"):
        raise _wrong(artefact.folder, "was not verified, or differed too much from the model")


def write_manifest(artefact: Artefact) -> None:
    """Write the manifest beside and put it in place. Raises `OSError` as the disk does."""
    path = artefact.folder / MANIFEST
    part = path.with_name(f"{path.name}.part-{os.getpid()}")
    try:
        part.write_text(json.dumps(artefact.to_dict(), indent=1) + "\n", encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def file_sha256(path: Path) -> str:
    """The hash of a file. Raises `StembridgeError` (`model_missing`) when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as e:
        raise StembridgeError(
            "model_missing", f"{path} cannot be read: {e.strerror or e}.", export_again(path.parent)
        ) from e


def export_again(folder: Path) -> str:
    """The command that makes the export of that folder anew."""
    runtime, _, precision = folder.name.partition(".")[0].partition("-")
    if precision not in PRECISIONS:  # no export's folder
        return "Run `stembridge models export` again."
    return f"Run `stembridge models export {folder.parent.name} --to {runtime} --precision {precision}`."


def _wrong(folder: Path, what: str) -> StembridgeError:
    return StembridgeError("model_corrupt", f"The export {folder} {what}.", export_again(folder))
