"""Graphs run by onnxruntime."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.errors import StembridgeError

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


class OnnxGraph:
    """One open graph on the CPU. `threads` is 0 for one per core."""

    def __init__(self, path: Path, *, threads: int = 0) -> None:
        check_installed()
        try:
            import onnxruntime as ort
        except ImportError as e:
            raise StembridgeError("runtime_missing", f"onnxruntime cannot be loaded: {e}.", _INSTALL) from e
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or os.cpu_count() or 1
        options.log_severity_level = 3
        # Spinning threads would burn the cores that the transforms around the graph need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session: Any = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as e:  # onnxruntime's own exceptions share no base class
            raise StembridgeError(
                "model_corrupt", f"onnxruntime cannot open {path}: {e}.", "Fetch or install the model again."
            ) from e

    @property
    def provider(self) -> str:
        """The provider that really runs the graph."""
        return str(self._session.get_providers()[0])

    @property
    def is_half(self) -> frozenset[str]:
        """The inputs that the graph wants as float16."""
        return frozenset(each.name for each in self._session.get_inputs() if each.type == "tensor(float16)")

    def run(self, inputs: Mapping[str, npt.NDArray[Any]], outputs: Sequence[str] | None = None) -> list[Array]:
        """The named outputs, or all, for the named inputs. Raises `StembridgeError`: `out_of_memory`."""
        try:
            results: list[Array] = self._session.run(None if outputs is None else list(outputs), dict(inputs))
        except Exception as e:
            if "alloc" in str(e).lower():
                raise StembridgeError(
                    "out_of_memory", f"The model needs more memory than there is: {e}.", "Close other programs."
                ) from e
            raise
        return results
