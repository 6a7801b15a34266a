"""What all tests share: a home of their own, small seeded mixtures, and the rule for what a machine may lack."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from ctypes.util import find_library
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import soundfile
from mixtures import make_mixture

if TYPE_CHECKING:
    from audacity_host import Host
    from xdist.scheduler import LoadScopeScheduling

_ENVIRONMENT = frozenset(os.environ)
_NEEDS = {
    "ardour": ("ardour", "ardour7-lua", "Xvfb", "xdotool", "xwininfo"),
    "audacity": ("audacity", "Xvfb", "xwininfo"),
    "node": ("node",),
    "liblo": ("oscsend", "oscdump"),
    "systemd": ("systemd-analyze",),
    "voices": ("flite", "espeak-ng"),
    "mma": ("mma",),
}


def _missing(marker: str) -> str:
    if marker in _NEEDS:
        absent = [program for program in _NEEDS[marker] if shutil.which(program) is None]
        return f"not on this machine: {', '.join(absent)} (see .ci/run)" if absent else ""
    if marker == "torch":
        try:
            import torch
        except ImportError:
            return "torch is not installed"
    if marker == "sounds":
        files = (Path("/usr/lib/ladspa/caps.so"), Path("/usr/share/sounds/sf2/TimGM6mb.sf2"))
        absent = [str(file) for file in files if not file.exists()]
        absent += [] if find_library("fluidsynth") else ["libfluidsynth"]
        return f"not on this machine: {', '.join(absent)} (see .ci/run)" if absent else ""
    if marker == "vst3":
        folder = Path("/usr/lib/vst3")
        absent = [name for name in ("ZamCompX2", "ZaMaximX2", "ZamEQ2") if not (folder / f"{name}.vst3").exists()]
        absent += [] if find_spec("pedalboard") else ["pedalboard"]
        return f"not on this machine: {', '.join(absent)} (see .ci/run)" if absent else ""
    if marker == "gpu":
        try:
            import torch
        except ImportError:
            return "torch is not installed"
        return "" if torch.cuda.is_available() else "no CUDA device"
    return ""


def pytest_configure() -> None:
    """Ctrl-C reaches what the tests start; a suite in a shell's background ignores it, and so would they."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Where processes share the tests, a file stays in one of them, and so do all of Ardour's and all of Audacity's:
    one of each program runs at a time, and first, since they mostly wait.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = Path(nodeid.partition("::")[0]).stem
            return next((program for program in ("ardour", "audacity") if f"test_{program}_" in file), file)

    return Together(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run and say why; on CI everything but the GPU must run."""
    for item in items:
        for marker in (*_NEEDS, "torch", "vst3", "sounds", "gpu"):
            if item.get_closest_marker(marker) is None:
                continue
            reason = _missing(marker)
            if reason and (marker == "gpu" or os.environ.get("CI") != "true"):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the state, cache, config or music of the person who runs it."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for name in ("STATE", "CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
    monkeypatch.setenv("XDG_MUSIC_DIR", str(home / "Music"))


@pytest.fixture(autouse=True)
def _own_threads() -> Iterator[None]:
    """How many threads torch uses decides the last bit of its sums: what one test chose is not the next one's. Dask,
    too, leaves OMP_NUM_THREADS=1 in the environment, for every process that is started later.
    """
    for name in [name for name in os.environ if name.endswith("_NUM_THREADS") and name not in _ENVIRONMENT]:
        del os.environ[name]
    torch = sys.modules.get("torch")
    n_threads = torch.get_num_threads() if torch else None
    yield
    if torch and torch.get_num_threads() != n_threads:
        torch.set_num_threads(n_threads)


@pytest.fixture(autouse=True)
def _own_subnormals() -> Iterator[None]:
    """A plugin or library may leave the processor flushing subnormal numbers to zero, for all tests that follow."""
    yield
    assert sys.float_info.min / 2 > 0, "what this test loaded switched subnormal numbers off: load it in a process"


@pytest.fixture(scope="session")
def audacity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """The real Audacity, started once: it takes as long as many tests."""
    from audacity_host import open_audacity

    with open_audacity(tmp_path_factory.mktemp("audacity") / "home") as host:
        yield host


@pytest.fixture
def mixture_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a seeded mixture: `mixture_file(seconds, sample_rate=…, channels=…, name=…, subtype=…)`."""

    def write(
        seconds: float = 3.0,
        *,
        sample_rate: int = 44_100,
        channels: int = 2,
        name: str = "mixture.wav",
        subtype: str = "FLOAT",
        seed: int = 0,
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = make_mixture(round(seconds * sample_rate), sample_rate, channels, seed)
        soundfile.write(path, samples, sample_rate, subtype=subtype)
        return path

    return write
