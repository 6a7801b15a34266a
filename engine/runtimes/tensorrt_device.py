"""The thin layer under the TensorRT runtime: memory, stream, CUDA graphs, and running a plan.

Everything here but the two protocols needs an NVIDIA GPU and has never run: no machine that tests this project has
one. All that decides anything is above it (`tensorrt_runtime`) and is tested against a stand-in for this layer. Memory,
the solver's arithmetic and capture are torch's; plans run on torch's stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from engine.errors import StembridgeError
from engine.runtimes.tensorrt_library import Library, check_driver, log_of

Shape = tuple[int, ...]
Memory = Any
"""Memory on the device as an array of one shape: can be sliced, added and multiplied, and knows `copy_`, `clone`,
`view`, `new_tensor` and `data_ptr` as torch's tensors do."""


class Program(Protocol):
    """One execution context of a plan, with addresses and shapes of its own."""

    def prepare(self, profile: int, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
        """Switch to a profile and set the inputs' shapes; returns the outputs'."""

    def bind(self, memory: Mapping[str, Memory]) -> None:
        """Say where inputs and outputs lie."""

    def enqueue(self) -> None:
        """Put one run on the device's stream."""


class Plan(Protocol):
    """A plan on the device."""

    @property
    def profiles(self) -> list[dict[str, tuple[Shape, Shape, Shape]]]:
        """Input name → least, usual and greatest shape, for each profile."""

    @property
    def types(self) -> dict[str, npt.DTypeLike]:
        """Of every input and output."""

    def program(self) -> Program:
        """A new context."""


class Device(Protocol):
    """One GPU."""

    @property
    def name(self) -> str:
        """As its maker calls it."""

    @property
    def architecture(self) -> str:
        """Such as `sm_89`."""

    def load(self, plan: bytes, stage: str) -> Plan:
        """Raises `StembridgeError` (`model_corrupt`) naming the stage when the library does not take it."""

    def empty(self, shape: Shape, dtype: npt.DTypeLike) -> Memory:
        """New memory, its content undefined."""

    def upload(self, into: Memory, values: npt.NDArray[Any]) -> None:
        """Copy from the host."""

    def download(self, memory: Memory) -> npt.NDArray[Any]:
        """Copy to the host; waits for the stream."""

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record what `work` puts on the stream; what is returned puts all of it there again, at the same addresses."""

    def within(self, doing: str) -> AbstractContextManager[None]:
        """All work on the device is inside one of these: what the caller did before comes before it, what he does
        afterwards after it. Lack of memory inside it becomes a `StembridgeError` (`out_of_memory`)."""


class CudaDevice:
    """The current CUDA device, by torch and a TensorRT library. Never ran.

    Raises `StembridgeError` (`runtime_missing`): no driver or one that is too old, no torch, no GPU.
    """

    def __init__(self, library: Library) -> None:
        check_driver(library)
        try:
            import torch
        except ImportError as e:
            raise StembridgeError(
                "runtime_missing",
                f"{library.name} takes its memory from torch, which is not installed.",
                "Install it with: pip install 'stembridge[torch]'",
            ) from e
        if not torch.cuda.is_available():
            raise StembridgeError(
                "runtime_missing",
                f"torch {torch.__version__} finds no CUDA device for {library.name}.",
                "Install a build of torch with CUDA.",
            )
        self._torch: Any = torch
        self._library = library
        self._logger, self._errors = log_of(library.module)
        self._runtime = library.module.Runtime(self._logger)
        # not the default stream: TensorRT would synchronise the whole device around every run on it
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self.name = str(torch.cuda.get_device_name())
        self.architecture = "sm_{}{}".format(*torch.cuda.get_device_capability())

    def load(self, plan: bytes, stage: str) -> Plan:
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise self.failed(f"does not load the plan of the stage {stage}", "model_corrupt")
        return _CudaPlan(self, engine, stage)

    def failed(self, what: str, code: str = "internal") -> StembridgeError:
        """An error with what the library said of it."""
        said = "; ".join(self._errors[-3:]) or "it gives no reason"
        self._errors.clear()
        if "out of memory" in said.lower():
            code = "out_of_memory"
        return StembridgeError(
            code,
            f"{self._library.name} {self._library.version} {what}: {said}.",
            "Run `stembridge models export NAME --to tensorrt` again, or set STEMBRIDGE_RUNTIME to another runtime.",
        )

    def empty(self, shape: Shape, dtype: npt.DTypeLike) -> Memory:
        kind = getattr(self._torch, np.dtype(dtype).name)
        return self._torch.empty(shape, dtype=kind, device="cuda")

    def upload(self, into: Memory, values: npt.NDArray[Any]) -> None:
        into.copy_(self._torch.from_numpy(np.ascontiguousarray(values)))

    def download(self, memory: Memory) -> npt.NDArray[Any]:
        values: npt.NDArray[Any] = memory.cpu().numpy()
        return values

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        work()  # once outside: libraries set themselves up at their first run, which cannot be captured
        self._stream.synchronize()
        graph = self._torch.cuda.CUDAGraph()
        with self._torch.cuda.graph(graph, stream=self._stream):
            work()
        replay: Callable[[], None] = graph.replay
        return replay

    @contextmanager
    def within(self, doing: str) -> Iterator[None]:
        from engine.runtimes.torch_runtime import within_memory

        outer = self._torch.cuda.current_stream()  # the caller's thread has its own
        self._stream.wait_stream(outer)
        with within_memory(self.name, doing), self._torch.cuda.stream(self._stream):
            yield
        outer.wait_stream(self._stream)

    @property
    def stream(self) -> int:
        """The handle of the stream everything runs on."""
        return int(self._stream.cuda_stream)

    def dtype(self, kind: Any) -> npt.DTypeLike:
        """A TensorRT type as NumPy's."""
        found: npt.DTypeLike = np.dtype(self._library.module.nptype(kind))
        return found


class _CudaPlan:
    def __init__(self, device: CudaDevice, engine: Any, stage: str) -> None:
        self._device, self._engine, self._stage = device, engine, stage
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        self.types = {name: device.dtype(engine.get_tensor_dtype(name)) for name in names}
        mode = type(engine.get_tensor_mode(names[0]))
        inputs = [name for name in names if engine.get_tensor_mode(name) == mode.INPUT]
        self.outputs = tuple(name for name in names if name not in inputs)
        self.profiles = [
            {name: _three(engine.get_tensor_profile_shape(name, number)) for name in inputs}
            for number in range(engine.num_optimization_profiles)
        ]

    def program(self) -> Program:
        context = self._engine.create_execution_context()
        if context is None:  # it says nothing but in its log, and memory is the usual reason
            raise self._device.failed(f"cannot prepare the stage {self._stage}", "out_of_memory")
        return _CudaProgram(self._device, context, self.outputs, self._stage)


class _CudaProgram:
    def __init__(self, device: CudaDevice, context: Any, outputs: tuple[str, ...], stage: str) -> None:
        self._device, self._context, self._outputs, self._stage = device, context, outputs, stage

    def prepare(self, profile: int, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
        if not self._context.set_optimization_profile_async(profile, self._device.stream):
            raise self._device.failed(f"refuses profile {profile} of the stage {self._stage}")
        for name, shape in shapes.items():
            if not self._context.set_input_shape(name, shape):
                raise self._device.failed(f"refuses {name} of shape {shape} at the stage {self._stage}")
        return {name: tuple(self._context.get_tensor_shape(name)) for name in self._outputs}

    def bind(self, memory: Mapping[str, Memory]) -> None:
        for name, at in memory.items():
            if not self._context.set_tensor_address(name, at.data_ptr()):
                raise self._device.failed(f"refuses the memory of {name} at the stage {self._stage}")

    def enqueue(self) -> None:
        if not self._context.execute_async_v3(self._device.stream):
            raise self._device.failed(f"fails at the stage {self._stage}")


def _three(shapes: Any) -> tuple[Shape, Shape, Shape]:
    least, usual, greatest = (tuple(shape) for shape in shapes)
    return least, usual, greatest
