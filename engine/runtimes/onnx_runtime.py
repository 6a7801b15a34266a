"""Graphs run by onnxruntime."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.errors import StembridgeError
from engine.runtimes.providers import CPU, CUDA, DEVICES, DIRECTML, asked_for

Array = npt.NDArray[np.float32]

_INSTALL: Final = "Install it with: pip install 'stembridge[cpu]'"


def check_installed() -> str:
    """The installed onnxruntime distribution and its version.

    Raises `StembridgeError` (`runtime_missing`) when there is none, or when both the CPU and the GPU distribution are
    installed: they overwrite each other's files, and pip does not notice.
    """
    found = {}
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    if len(found) == 2:
        raise StembridgeError(
            "runtime_missing",
            "Both onnxruntime and onnxruntime-gpu are installed; they overwrite each other's files.",
            "Run: pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'stembridge[cpu]' (or [gpu])",
        )
    if not found or importlib.util.find_spec("onnxruntime") is None:
        raise StembridgeError("runtime_missing", "onnxruntime is not installed.", _INSTALL)
    ((name, version),) = found.items()
    return f"{name} {version}"


def load_library() -> Any:
    """The onnxruntime module. Raises `StembridgeError` (`runtime_missing`) when it cannot be loaded."""
    check_installed()
    try:
        import onnxruntime
    except ImportError as e:
        raise StembridgeError("runtime_missing", f"onnxruntime cannot be loaded: {e}.", _INSTALL) from e
    return onnxruntime


class OnnxGraph:
    """One open graph. `threads` is 0 for one per core.

    A graph that is asked to run elsewhere than on the CPU does so or is not opened: `StembridgeError`
    (`runtime_missing`) says that the provider does not work. On a device with memory of its own, inputs and outputs
    are bound there; none of that was ever run on a GPU by this project's tests, which have none.
    """

    def __init__(self, source: Path | bytes, *, threads: int = 0, provider: str = CPU) -> None:
        ort = load_library()
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or os.cpu_count() or 1
        options.log_severity_level = 3
        # Spinning threads would burn the cores that the transforms around the graph need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if provider == DIRECTML:  # it takes neither of them
            options.enable_mem_pattern = False
            options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        if provider == CUDA and hasattr(ort, "preload_dlls"):
            ort.preload_dlls()  # CUDA's libraries may be those that torch brought
        name = "a graph" if isinstance(source, bytes) else str(source)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that a provider is not there is asked for below
                self._session: Any = ort.InferenceSession(
                    source if isinstance(source, bytes) else str(source), options, providers=asked_for(provider)
                )
        except Exception as e:  # onnxruntime's own exceptions share no base class
            raise StembridgeError(
                "model_corrupt", f"onnxruntime cannot open {name}: {e}.", "Fetch or install the model again."
            ) from e
        if self.provider != provider:
            raise StembridgeError(
                "runtime_missing",
                f"onnxruntime was asked for {provider} and runs {name} on {self.provider}.",
                "Install that provider's driver and libraries; the CPU answers meanwhile.",
            )
        self._device = DEVICES.get(provider, "")
        self._held: dict[str, Any] = {}

    @property
    def provider(self) -> str:
        """The provider that really runs the graph."""
        return str(self._session.get_providers()[0])

    @property
    def is_half(self) -> frozenset[str]:
        """The inputs that the graph wants as float16."""
        return frozenset(each.name for each in self._session.get_inputs() if each.type == "tensor(float16)")

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of its inputs."""
        return tuple(each.name for each in self._session.get_inputs())

    def place(self, value: npt.NDArray[Any]) -> Any:
        """A value where the graph runs, for `run` to take again and again; the array itself on the CPU."""
        if not self._device:
            return value
        return load_library().OrtValue.ortvalue_from_numpy(np.ascontiguousarray(value), self._device, 0)

    def run(self, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None, *, keep: bool = False) -> list[Any]:
        """The named outputs, or all, for the named inputs: arrays, or what `place` or a `keep` before gave.

        `keep` leaves the outputs where the graph runs. Raises `StembridgeError`: `out_of_memory`.
        """
        try:
            if self._device:
                return self._run_bound(inputs, outputs, keep=keep)
            results: list[Any] = self._session.run(None if outputs is None else list(outputs), dict(inputs))
        except Exception as e:
            if "alloc" in str(e).lower() or "out of memory" in str(e).lower():
                raise StembridgeError(
                    "out_of_memory", f"The model needs more memory than there is: {e}.", "Close other programs."
                ) from e
            raise
        return results

    def _run_bound(self, inputs: Mapping[str, Any], outputs: Sequence[str] | None, *, keep: bool) -> list[Any]:
        binding = self._session.io_binding()
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, self._on_device(name, value))
        for name in outputs or [each.name for each in self._session.get_outputs()]:
            binding.bind_output(name, self._device if keep else "cpu")
        self._session.run_with_iobinding(binding)
        made = binding.get_outputs()
        return list(made) if keep else [value.numpy() for value in made]

    def _on_device(self, name: str, value: Any) -> Any:
        """An input on the device; an array goes into memory that is held for it while its shape stays the same."""
        if not isinstance(value, np.ndarray):
            return value
        held = self._held.get(name)
        if held is not None and (list(held.shape()), held.data_type()) == (list(value.shape), _TYPES.get(value.dtype)):
            held.update_inplace(np.ascontiguousarray(value))
        else:
            held = self._held[name] = self.place(value)
        return held


_TYPES: Final = {
    np.dtype(np.float32): "tensor(float)",
    np.dtype(np.float16): "tensor(float16)",
    np.dtype(np.int64): "tensor(int64)",
}
