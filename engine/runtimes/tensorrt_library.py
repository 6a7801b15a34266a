"""TensorRT on this machine: which of its two packages, whether the driver suffices, and which plans may be loaded.

A plan is a program. One that was not built on this machine is never loaded, whatever its manifest says: what is built
here is sealed with a secret of this machine, and the seal is checked with the hashes.
"""

from __future__ import annotations

import ctypes
import hashlib
import hmac
import importlib
import importlib.metadata
import os
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import platformdirs

from engine.artefact import Artefact, export_again
from engine.errors import StembridgeError

LIBRARIES: Final = ("tensorrt", "tensorrt_rtx")
MIN_VERSION: Final = (10, 15)
"""Of `tensorrt`: the first with everything strongly typed networks here need. `tensorrt_rtx` counts from 1."""
PORTABLE: Final = "portable"
"""What TensorRT-RTX builds for: it finishes a plan on the GPU that runs it."""
SEAL: Final = "seal"
TARGET: Final = "target"


@dataclass(frozen=True)
class Library:
    """The TensorRT there is."""

    name: str
    version: str
    module: Any


def find_library() -> Library:
    """Raises `StembridgeError` (`runtime_missing`) when neither is installed, or `tensorrt` is too old or damaged."""
    reasons = []
    for name in LIBRARIES:
        try:
            module = importlib.import_module(name)
        except ImportError as e:
            reasons.append(f"{name}: {e}")
            continue
        version = str(module.__version__)
        if name == "tensorrt" and tuple(int(part) for part in version.split(".")[:2]) < MIN_VERSION:
            reasons.append(f"tensorrt is {version}, older than {'.'.join(map(str, MIN_VERSION))}")
            continue
        return Library(name, version, module)
    raise StembridgeError(
        "runtime_missing",
        f"TensorRT cannot be used ({'; '.join(reasons)}).",
        "Install it with: pip install 'stembridge[rtx]' (NVIDIA's licence applies), or NVIDIA's own tensorrt.",
    )


def log_of(trt: Any) -> tuple[Any, list[str]]:
    """A logger for the library that keeps what it calls errors, and the list it keeps them in."""
    errors: list[str] = []
    severe = (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR)

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            if severity in severe:
                errors.append(text.strip())

    return Logger(), errors


def check_driver(library: Library) -> None:
    """Raises `StembridgeError` (`runtime_missing`) without an NVIDIA driver, or with one that is older than the CUDA
    the library was made for."""
    found, wanted = _driver_cuda(), _made_for_cuda(library)
    if found is None:
        raise StembridgeError(
            "runtime_missing", f"{library.name} needs an NVIDIA driver, and none is here.", "Install NVIDIA's driver."
        )
    if wanted is not None and found // 1000 < wanted:
        has = f"{found // 1000}.{found % 1000 // 10}"
        raise StembridgeError(
            "runtime_missing",
            f"The NVIDIA driver is too old for {library.name} {library.version}: it knows CUDA {has}, not {wanted}.",
            f"Update NVIDIA's driver, or install a {library.name} made for CUDA {found // 1000}.",
        )


def _driver_cuda() -> int | None:
    """The newest CUDA the driver knows, as 1000 * major + 10 * minor; None without a driver."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        version = ctypes.c_int()
        return version.value if driver.cuDriverGetVersion(ctypes.byref(version)) == 0 else None
    except (OSError, AttributeError):
        return None


def _made_for_cuda(library: Library) -> int | None:
    """The major version of the CUDA it was made for, which is in its distribution's name; None where it is not."""
    for major in (13, 12):
        try:
            importlib.metadata.version(f"{library.name.replace('_', '-')}-cu{major}")
        except importlib.metadata.PackageNotFoundError:
            continue
        return major
    return None


def check_plans(artefact: Artefact, library: Library, architecture: str) -> None:
    """Raises `StembridgeError` (`model_corrupt`) for plans of another version or GPU, and for those that were not
    built on this machine. `architecture`: of the GPU here, such as `sm_89`."""
    if artefact.runtime != library.name or artefact.libraries.get(library.name) != library.version:
        others = {name: version for name, version in artefact.libraries.items() if name in LIBRARIES}
        built = ", ".join(f"{name} {version}" for name, version in others.items()) or "nothing that is known"
        raise _wrong(artefact, f"were built by {built}, and here is {library.name} {library.version}")
    target = artefact.libraries.get(TARGET, "")
    if target not in (architecture, PORTABLE):
        raise _wrong(artefact, f"were built for {target or 'no GPU that is known'}, and here is {architecture}")
    if not hmac.compare_digest(artefact.libraries.get(SEAL, ""), seal(artefact)):
        raise _wrong(artefact, "were not built on this machine")


def seal(artefact: Artefact) -> str:
    """What only this machine can write for these plans: the hashes of all their files under its secret.

    Raises `OSError` when the secret cannot be written.
    """
    lines = "".join(f"{n} {file['sha256']}\n" for s in artefact.stages.values() for n, file in sorted(s.files.items()))
    return hmac.new(_secret(), lines.encode(), hashlib.sha256).hexdigest()


def _secret() -> bytes:
    path = Path(platformdirs.user_state_dir("stembridge", appauthor=False)) / "plans.key"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}")
    if not path.exists():
        part.touch(mode=0o600)
        part.write_bytes(secrets.token_bytes(32))
        try:
            os.link(part, path)  # never over one that another process has just put there
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    return path.read_bytes()


def _wrong(artefact: Artefact, what: str) -> StembridgeError:
    remedy = f"{export_again(artefact.folder)} It builds them on this machine."
    return StembridgeError("model_corrupt", f"The plans in {artefact.folder} {what}.", remedy)
