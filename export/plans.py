"""A model's TensorRT plans from beginning to end: its ONNX graphs, then one plan a stage, in place together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import platformdirs

from engine.artefact import MANIFEST, Artefact, StageFiles, folder_of, read_artefact, write_manifest
from engine.bundle import Bundle
from engine.errors import StembridgeError
from engine.model.config import Sizes
from engine.runtimes.tensorrt_library import (
    PORTABLE,
    SEAL,
    TARGET,
    Library,
    check_driver,
    check_plans,
    find_library,
    seal,
)
from engine.runtimes.tensorrt_runtime import open_tensorrt
from export.build import beside, build, put_in_place, said, share
from export.parts import load_parts
from export.stages import STAGES, ExportPrecision, axes, own_lengths
from export.to_tensorrt import build_plan, plan_key, profiles_of
from export.verify import refuse, verify


def build_plans(
    bundle: Bundle, text_folder: Path, precision: ExportPrecision, *, told: Callable[[str], None] = lambda what: None
) -> Artefact:
    """Build every stage's plan into `tensorrt-<precision>/` of the model's folder; what is there and whole is kept.

    Where there is a GPU they are compared with the model, and kept only when they equal it; elsewhere they are built,
    and nothing uses them until a GPU has run them. Plans of another version, GPU or machine are built again, and that
    is told.

    Raises `StembridgeError`: `unsupported_option` for int8, `runtime_missing` without TensorRT or with a driver that
    is too old for it, `export_failed` naming the stage, `not_equal`, and as `export.build.build` does.
    """
    if precision == "int8":
        raise StembridgeError(
            "unsupported_option", "TensorRT plans are not built in int8.", "Use --precision fp32 or fp16."
        )
    library = find_library()
    graphs, _ = build(bundle, text_folder, precision, told=told)
    sizes = Sizes.from_dict(bundle.facts["sizes"])
    profiles = {stage.name: profiles_of(stage, own_lengths(sizes), axes(sizes)) for stage in STAGES}
    target = _target(library)
    keys = {name: plan_key(graphs.stages[name].key, library, profiles[name], target) for name in profiles}
    out = folder_of(bundle, "tensorrt", precision)
    if _is_there(out, keys, library, target, told):
        return read_artefact(out)
    cache = Path(platformdirs.user_cache_dir("stembridge", appauthor=False)) / "tensorrt"
    cache.mkdir(parents=True, exist_ok=True)
    n_bytes = sum(file["bytes"] for stage in graphs.stages.values() for file in stage.files.values())
    with beside(out, 3 * n_bytes) as part:
        made = {}
        for stage in STAGES:
            told(f"{stage.name}: building its plan with {library.name} {library.version}")
            plan = part / f"{stage.name}-{keys[stage.name][:16]}.plan"
            # TensorRT-RTX times nothing when it builds: it chooses on the user's GPU.
            timings = None if library.name == "tensorrt_rtx" else cache / f"{library.version}-{target}.timing"
            plan.write_bytes(build_plan(library, stage.name, graphs.path(stage.name), profiles[stage.name], timings))
            made[stage.name] = StageFiles(keys[stage.name], graphs.stages[stage.name].precision, said(part, [plan]))
        for name in graphs.stages.keys() - profiles.keys():  # what TensorRT leaves to onnxruntime
            for file in graphs.stages[name].files:
                share(graphs.path(name).parent / file, part / file)
            made[name] = graphs.stages[name]
        libraries = {**graphs.libraries, library.name: library.version, TARGET: target}
        artefact = replace(graphs, folder=part, runtime=library.name, libraries=libraries, stages=made, verified=None)
        artefact = replace(artefact, libraries={**libraries, SEAL: seal(artefact)})
        write_manifest(replace(artefact, verified=compare_plans(bundle, artefact, text_folder, told)))
        put_in_place(part, out)
    return read_artefact(out)


def compare_plans(
    bundle: Bundle, artefact: Artefact, text_folder: Path, told: Callable[[str], None]
) -> Mapping[str, Any] | None:
    """What the plans' comparison with the model measured; None, and told why, where nothing here can run them.

    Raises `StembridgeError`: `not_equal` where they differ too much. Never ran: it needs a GPU.
    """
    try:
        opened = open_tensorrt(bundle, artefact, text_folder, verified=False)
    except StembridgeError as e:
        if e.code != "runtime_missing":
            raise
        told(f"not compared with the model: {e.text}")
        return None
    told("comparing it with the model")
    report = verify(load_parts(bundle, text_folder), bundle, artefact, text_folder, opened=opened)
    refuse(report, bundle.name, artefact.precision)
    return report.to_dict()


def _target(library: Library) -> str:
    """What plans are built for: any GPU that TensorRT-RTX knows, or the one here."""
    if library.name == "tensorrt_rtx":
        return PORTABLE
    check_driver(library)
    import torch

    if not torch.cuda.is_available():
        raise StembridgeError(
            "runtime_missing",
            "tensorrt builds for the GPU it runs on, and there is none here.",
            "Build on the machine with the GPU, or install stembridge[rtx], which builds without one.",
        )
    return "sm_{}{}".format(*torch.cuda.get_device_capability())


def _is_there(out: Path, keys: dict[str, str], library: Library, target: str, told: Callable[[str], None]) -> bool:
    """Whether what would be built is there, whole, and built on this machine; why it is built again is told."""
    if not (out / MANIFEST).exists():
        return False
    try:
        found = read_artefact(out)
        check_plans(found, library, target)
        for stage in found.stages:
            found.path(stage)
    except StembridgeError as e:
        told(f"building again: {e.text}")
        return False
    if keys.items() <= {name: stage.key for name, stage in found.stages.items()}.items():
        return True
    told("building again: the plans that are there were made from other graphs")
    return False
