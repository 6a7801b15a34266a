"""ONNX graphs to TensorRT plans: one code for `tensorrt` (10.15 and later) and `tensorrt_rtx`, whichever is installed.

Precision is in the graphs, so networks are strongly typed; TF32 is off, because float32 is to mean float32. Lengths are
covered by a few optimisation profiles instead of padding, which would change every frame. A plan belongs to one version
of one library: its name is a hash of all it was built from, and a plan of another name is never loaded.

TensorRT-RTX builds ahead of time and needs no GPU for it; `tensorrt` needs the GPU it builds for.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final

from engine.errors import StembridgeError
from engine.runtimes.tensorrt_library import Library, log_of
from export.stages import Axis, Stage

Lengths = Mapping[str, tuple[int, int, int]]
"""Axis → least, usual and greatest length."""

PROFILES: Final[Mapping[str, Lengths]] = {
    "one": {
        "batch": (1, 1, 1),
        "frame": (1, 250, 500),
        "token": (1, 8, 64),
        "time": (1, 8, 64),
        "prompt": (1, 1, 1),
    },
    "several": {
        "batch": (2, 4, 16),
        "frame": (1, 250, 500),
        "token": (1, 8, 64),
        "time": (1, 8, 64),
        "prompt": (2, 4, 16),
    },
    "long": {
        "batch": (1, 1, 2),
        "frame": (501, 1500, 10_000),
        "token": (1, 16, 512),
        "time": (1, 32, 256),
        "prompt": (1, 1, 2),
    },
}
"""A window of up to 20 s alone; prompts, candidates or streams in a batch; whole songs and long prompts."""


def profiles_of(stage: Stage, sizes: Mapping[str, int], axes: Mapping[str, Axis]) -> list[dict[str, list[Any]]]:
    """Input name → its least, usual and greatest shape, for each profile that differs for this stage.

    `sizes`: of the axes that are the model's own. Profiles are cut to the model's limits; one that begins beyond them
    is left out.
    """
    found: list[dict[str, list[Any]]] = []
    for lengths in PROFILES.values():
        used = {axis for shape in stage.inputs.values() for axis in shape if axis in axes}
        if any(lengths[axis][0] > axes[axis].high for axis in used):
            continue
        cut = {axis: [min(length, axes[axis].high) for length in lengths[axis]] for axis in used}
        shapes = {
            name: [tuple(cut[axis][which] if axis in cut else sizes[axis] for axis in shape) for which in range(3)]
            for name, shape in stage.inputs.items()
        }
        if shapes not in found:
            found.append(shapes)
    return found


def plan_key(graph_key: str, library: Library, profiles: Sequence[Mapping[str, Any]], target: str) -> str:
    """A hash over everything a plan is built from. `target`: the GPU's architecture, or `portable`."""
    facts = [graph_key, library.name, library.version, target, list(map(dict, profiles))]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def build_plan(
    library: Library, stage: str, graph: Path, profiles: Sequence[Mapping[str, Any]], cache: Path | None = None
) -> bytes:
    """Build one stage's plan from its graph.

    `cache`: a file of timings, read and written where the library keeps them; a damaged one counts as none.
    Raises `StembridgeError` (`export_failed`) naming the stage and what the library does not accept, and
    `KeyboardInterrupt` soon after Ctrl-C or SIGTERM; timings found until then are kept.
    """
    trt = library.module
    logger, errors = log_of(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(_flags(trt))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(graph)):
        raise _failed(library, stage, "; ".join(_parse_errors(parser)) or "; ".join(errors))
    config = builder.create_builder_config()
    with contextlib.suppress(AttributeError):  # a flag that a library does not know is off there
        config.clear_flag(trt.BuilderFlag.TF32)
    for shapes in profiles:
        profile = builder.create_optimization_profile()
        for name, (least, usual, greatest) in shapes.items():
            profile.set_shape(name, least, usual, greatest)
        if config.add_optimization_profile(profile) < 0:
            raise _failed(library, stage, f"it refuses the lengths {dict(shapes)}")
    timings = _read_timings(config, cache)
    with _stops_noted() as stopped:
        monitor = _monitor(trt, stopped)
        if monitor is not None:
            config.progress_monitor = monitor
        plan = builder.build_serialized_network(network, config)
        if timings is not None and cache is not None:
            _write_beside(cache, bytes(config.get_timing_cache().serialize()))
        if stopped():
            raise KeyboardInterrupt
    if plan is None:
        raise _failed(library, stage, "; ".join(errors[-3:]) or "it gives no reason")
    return bytes(plan)


@contextlib.contextmanager
def _stops_noted() -> Iterator[Callable[[], bool]]:
    """While the block runs, Ctrl-C and SIGTERM only make the yielded function true: what they raise, the library would
    swallow in the function of ours that it happens to call, and build on."""
    asked = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True

    if threading.current_thread() is not threading.main_thread():  # which alone hears of signals
        yield lambda: False
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _monitor(trt: Any, stopped: Callable[[], bool]) -> Any:
    """What the library asks after each step whether to go on; None where it asks nobody."""
    if not hasattr(trt, "IProgressMonitor"):
        return None

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase: str, parent: str | None, n_steps: int) -> None:
            pass

        def phase_finish(self, phase: str) -> None:
            pass

        def step_complete(self, phase: str, step: int) -> bool:
            return not stopped()

    return Monitor()


def _flags(trt: Any) -> int:
    """Strongly typed, where that is still a choice."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _parse_errors(parser: Any) -> list[str]:
    found = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        operator = error.node_operator() if hasattr(error, "node_operator") else ""
        found.append(f"{error.desc()}{f' (operator {operator})' if operator else ''}")
    return found


def _read_timings(config: Any, cache: Path | None) -> Any:
    """Give the builder the timings of earlier builds; None where the library keeps none."""
    if cache is None or not hasattr(config, "create_timing_cache"):
        return None
    try:
        known = cache.read_bytes()
    except OSError:
        known = b""
    timings = config.create_timing_cache(known) or config.create_timing_cache(b"")
    if timings is None or not config.set_timing_cache(timings, ignore_mismatch=False):
        return None
    return timings


def _write_beside(path: Path, content: bytes) -> None:
    part = path.with_name(f"{path.name}.part-{os.getpid()}")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _failed(library: Library, stage: str, reason: str) -> StembridgeError:
    return StembridgeError(
        "export_failed",
        f"{library.name} {library.version} does not build the stage {stage}: {reason[:600]}.",
        "Export it to ONNX instead, or use the version that Stembridge was tested with.",
    )
