"""A stand-in for the device under the TensorRT runtime: memory is NumPy's, a plan runs the ONNX graph it stands for.

It keeps what a GPU would insist on: a captured graph replays the same work at the same addresses and sees nothing else;
while it is captured nothing is copied from or to the host, allocated or switched. What was called is in `calls`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.artefact import Artefact, StageFiles, folder_of, read_artefact, write_manifest
from engine.bundle import Bundle
from engine.errors import StembridgeError
from engine.model.config import Sizes
from engine.runtimes.onnx_runtime import OnnxGraph
from engine.runtimes.tensorrt_library import SEAL, TARGET, Library, seal

LIBRARY = Library("tensorrt_rtx", "1.7.1", None)
ARCHITECTURE = "sm_89"
STAGES = ("encode", "text", "times", "prompt", "clip", "velocity", "decode")


class Cell(np.ndarray):
    """Memory on the stand-in: what torch's tensors can, as far as it is used."""

    def __array_finalize__(self, other: Any) -> None:
        self.owner = getattr(other, "owner", None)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        raw = tuple(bare(each) for each in inputs)
        device = next(each.owner for each in inputs if isinstance(each, Cell))
        made = getattr(ufunc, method)(*raw, **options) if out is None else bare(out[0])
        if device.tape is not None:
            device.put(lambda: getattr(ufunc, method)(*raw, out=(made,), **options))
        elif out is not None:
            getattr(ufunc, method)(*raw, out=(made,), **options)
        return device.cell(made) if out is None else out[0]

    def copy_(self, other: Any) -> Cell:
        mine, theirs = bare(self), bare(other)
        self.owner.put(lambda: np.copyto(mine, theirs))
        return self

    def clone(self) -> Cell:
        return self.owner.cell(np.empty_like(bare(self))).copy_(self)

    def view(self, *shape: Any) -> Any:
        return self.reshape(shape) if shape and isinstance(shape[0], int) else super().view(*shape)

    def new_tensor(self, values: Any) -> Cell:
        return self.owner.cell(np.asarray(values, self.dtype))

    def data_ptr(self) -> int:
        return int(self.ctypes.data)


def bare(value: Any) -> Any:
    return np.ndarray.view(value, np.ndarray) if isinstance(value, Cell) else value


class Program:
    def __init__(self, device: StandIn, plan: Plan) -> None:
        self.device, self.plan = device, plan
        self.shapes: Mapping[str, Any] = {}
        self.memory: dict[str, Any] = {}

    def prepare(self, profile: int, shapes: Mapping[str, Any]) -> dict[str, Any]:
        assert self.device.tape is None, "a profile is switched while a graph is captured"
        self.device.calls.append(("prepare", self.plan.stage, profile))
        for name, (low, _, high) in self.plan.profiles[profile].items():
            assert all(a <= n <= b for a, n, b in zip(low, shapes[name], high, strict=True)), (name, shapes[name])
        self.shapes = dict(shapes)
        made = self.plan.graph.run({name: np.zeros(shapes[name], self.plan.types[name]) for name in shapes})
        return dict(zip(self.plan.outputs, (tuple(each.shape) for each in made), strict=True))

    def bind(self, memory: Mapping[str, Any]) -> None:
        for name, each in memory.items():
            assert each.flags.c_contiguous, f"{name} is not in one piece"
            assert each.dtype == self.plan.types[name], (name, each.dtype)
        self.memory = {**self.memory, **memory}

    def enqueue(self) -> None:
        memory = {name: bare(each) for name, each in self.memory.items()}
        inputs = {name: memory[name] for name in self.shapes}
        assert {name: each.shape for name, each in inputs.items()} == self.shapes

        def run() -> None:
            self.device.n_runs += 1
            for name, made in zip(self.plan.outputs, self.plan.graph.run(inputs), strict=True):
                np.copyto(memory[name], made)

        self.device.put(run)


class Plan:
    def __init__(self, device: StandIn, graph: OnnxGraph, stage: str) -> None:
        from export.stages import STAGES as TABLE
        from export.stages import axes, own_lengths
        from export.to_tensorrt import profiles_of

        self.device, self.graph, self.stage = device, graph, stage
        (row,) = (each for each in TABLE if each.name == stage)
        self.outputs = row.outputs
        self.profiles = profiles_of(row, own_lengths(device.sizes), axes(device.sizes))
        kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64}
        session = graph._session
        self.types = {each.name: np.dtype(kinds[each.type]) for each in session.get_inputs() + session.get_outputs()}

    def program(self) -> Program:
        self.device.calls.append(("program", self.stage))
        return Program(self.device, self)


class StandIn:
    """The device. `refuses`: shapes it has no memory for."""

    name = "Stand-in 9000"
    architecture = ARCHITECTURE

    def __init__(self, sizes: Sizes, refuses: Callable[[tuple[int, ...]], bool] = lambda shape: False) -> None:
        self.sizes, self.refuses = sizes, refuses
        self.calls: list[tuple[Any, ...]] = []
        self.tape: list[Callable[[], None]] | None = None
        self.n_runs = self.depth = 0

    def cell(self, values: Any) -> Cell:
        made = np.ndarray.view(values, Cell)
        made.owner = self
        return made

    def put(self, work: Callable[[], None]) -> None:
        assert self.depth, "work on the device outside `within`"
        if self.tape is not None:
            self.tape.append(work)
        work()

    def count(self, what: str) -> int:
        return sum(call[0] == what for call in self.calls)

    def load(self, plan: bytes, stage: str) -> Plan:
        self.calls.append(("load", stage))
        graph = OnnxGraph(Path(plan.decode()), threads=1)
        return Plan(self, graph, stage)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Cell:
        assert self.tape is None, "memory is taken while a graph is captured"
        self.calls.append(("empty", tuple(shape)))
        if self.refuses(tuple(shape)):
            raise MemoryError
        return self.cell(np.full(shape, 7, dtype))  # what was there before

    def upload(self, into: Cell, values: Any) -> None:
        assert self.tape is None, "a copy from the host while a graph is captured"
        into.copy_(values)

    def download(self, memory: Cell) -> Any:
        assert self.tape is None, "a copy to the host while a graph is captured"
        return np.array(bare(memory))

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        self.calls.append(("capture",))
        self.tape = tape = []
        try:
            work()
        finally:
            self.tape = None

        def replay() -> None:
            self.calls.append(("replay",))
            for each in tape:
                self.put(each)

        return replay

    @contextmanager
    def within(self, doing: str) -> Iterator[None]:
        self.depth += 1
        try:
            yield
        except MemoryError as e:
            text = f"There is not enough memory on {self.name} for {doing}."
            raise StembridgeError("out_of_memory", text, "Take less.") from e
        finally:
            self.depth -= 1


def write_plans(bundle: Bundle, precision: str = "fp32") -> Artefact:
    """Plans of a model that has its ONNX export: files that name the graph they stand for, sealed as real ones are."""
    from export.build import said

    graphs = read_artefact(folder_of(bundle, "onnx", precision))
    folder = folder_of(bundle, "tensorrt", precision)
    folder.mkdir()
    stages = {}
    for name in STAGES:
        plan = folder / f"{name}.plan"
        plan.write_text(str(graphs.path(name)))
        stages[name] = StageFiles(graphs.stages[name].key, precision, said(folder, [plan]))
    libraries = {**graphs.libraries, LIBRARY.name: LIBRARY.version, TARGET: ARCHITECTURE}
    made = replace(graphs, folder=folder, runtime=LIBRARY.name, libraries=libraries, stages=stages)
    made = replace(made, libraries={**libraries, SEAL: seal(made)})
    write_manifest(made)
    return made
