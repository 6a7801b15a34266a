"""Plugins that crash, hang and leak, for real: they take their worker with them, are named, and harm nothing else."""

from __future__ import annotations

import json
import platform
import shutil
import struct
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_disk import on_small_disk

from bridge.plugins.chain import PluginUse
from bridge.plugins.places import find_plugin
from bridge.plugins.process import Limits, PluginFailure, Worker
from bridge.plugins.scan import describe, scan, scanned
from bridge.plugins.stream import through
from bridge.plugins.worker import GRACE_S
from engine.errors import Cancelled, StembridgeError

pytestmark = pytest.mark.vst3
ROOT = Path(__file__).parent.parent
FAULTS = (sys.executable, str(Path(__file__).parent / "plugin_faults.py"))
LOUD = np.full((2, 65_536), 0.5, np.float32)
X86 = pytest.mark.skipif(
    platform.machine() != "x86_64" or sys.platform != "linux", reason="the machine code is for Linux on x86-64"
)


@pytest.fixture
def faulty(tmp_path):
    def make(fault: str, **settings) -> PluginUse:
        path = tmp_path / f"{fault}.vst3"
        path.touch()
        return PluginUse(plugin=str(path), **settings)

    return make


def fails(use: PluginUse, limits: Limits, n_blocks: int = 4) -> PluginFailure:
    chain = (PluginUse(plugin="Gain"), use, PluginUse(plugin="Invert"))
    with Worker(command=FAULTS, limits=limits) as worker, pytest.raises(PluginFailure) as caught:
        worker.open(chain, 48_000, 2)
        for _ in through(worker, [LOUD] * n_blocks):
            pass
    assert worker._process.poll() is not None  # whatever happened, no process is left
    return caught.value


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("crash at load", "crashed (SIGABRT)"),
        ("crash", "crashed (SIGSEGV)"),
        ("crash@100000", "crashed (SIGSEGV)"),
        ("hang at load", "did not answer within 4 s"),
        ("hang@100000", "did not answer within 2 s"),
        ("hang and hold", "did not answer within 2 s"),
        ("leak", "of memory"),
        ("nan", "NaN"),
        ("keeper", "keeps"),
        ("raise", "the plugin's own words"),
    ],
)
def test_a_fault_is_told_with_the_plugins_name(faulty, fault, said):
    limits = Limits(load_s=4 if fault == "hang at load" else 60, block_s=2 if fault.startswith("hang") else 60)
    error = fails(faulty(fault), replace(limits, memory_bytes=1 << 30))
    assert error.code == "plugin_failed"
    assert error.place == 1
    assert fault in error.text
    assert said in error.text
    assert error.remedy


def test_what_a_plugin_prints_is_no_answer(faulty):
    with Worker(command=FAULTS) as worker:
        worker.open((faulty("print"),), 48_000, 2)
        made = np.concatenate(list(through(worker, [LOUD, LOUD])), axis=1)
    np.testing.assert_array_equal(made, np.concatenate([LOUD, LOUD], axis=1))


def test_a_cancel_need_not_wait_for_a_plugin_that_hangs(faulty):
    asked = threading.Event()

    def give_up() -> None:
        if asked.is_set():
            raise Cancelled

    with Worker(command=FAULTS, give_up=give_up) as worker:
        worker.open((faulty("hang"),), 48_000, 2)
        asked.set()
        with pytest.raises(Cancelled):
            list(through(worker, [LOUD]))


def test_the_worker_ends_with_its_engine():
    worker = Worker()
    worker.open((PluginUse(plugin="Gain"),), 48_000, 2)
    assert worker._process.stdin is not None
    worker._process.stdin.close()  # as when the engine is killed
    assert worker._process.wait(60) == 0
    worker.close()


def test_a_plugin_that_hangs_ends_with_an_engine_that_is_killed(faulty):
    code = """
        import sys
        import numpy as np
        from bridge.plugins.chain import PluginUse as Use
        from bridge.plugins.process import Worker
        from bridge.plugins.stream import through
        with Worker(command=sys.argv[2:]) as worker:
            worker.open((Use(plugin=sys.argv[1]),), 48_000, 2)
            print(worker.pid, flush=True)
            list(through(worker, [np.full((2, 65_536), 0.5, np.float32)] * 4))
    """
    command = [sys.executable, "-c", textwrap.dedent(code), faulty("hang").plugin, *FAULTS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as engine:
        assert engine.stdout is not None
        place = Path("/proc", engine.stdout.readline().strip())
        engine.kill()
    deadline_s = time.monotonic() + 60  # the watchdog alone would take 80 s
    while _lives(place):
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def test_a_plugin_that_hangs_is_ended_though_its_engine_lives():
    with subprocess.Popen(FAULTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as worker:
        assert worker.stdin is not None
        for path, limit_s in (("fine.vst3", 60), ("hang at load.vst3", 0.5 - GRACE_S)):
            worker.stdin.write(json.dumps({"do": "names", "path": path, "limit_s": limit_s}) + "\n")
        worker.stdin.flush()
        assert worker.wait(60) != 0
        assert worker.stdout is not None
        assert [json.loads(line)["names"] for line in worker.stdout] == [["fine"]]


def _lives(place: Path) -> bool:
    try:
        return "(zombie)" not in (place / "status").read_text()
    except OSError:
        return False


@pytest.mark.parametrize(
    ("plugin", "said"),
    [
        ("AUReverb.component", "an Audio Unit, which macOS alone"),
        ("/usr/lib/vst/dpf.so", "a VST2 plugin"),
        ("Old.dll", "a VST2 plugin"),
        ("Surge.clap", "a CLAP plugin"),
        ("x42.lv2", "an LV2 plugin"),
    ],
)
def test_what_no_host_here_can_load_is_told_by_its_kind(plugin, said):
    with pytest.raises(StembridgeError, match=said) as caught:
        find_plugin(plugin)
    assert caught.value.code == "plugin_missing"
    assert "VST3" in caught.value.remedy


def test_no_name_of_the_shared_memory_is_left():
    with Worker() as worker:
        worker.open((PluginUse(plugin="Gain"),), 48_000, 2)
        assert worker.audio is not None
        assert not worker.audio.path.exists()


def test_shared_memory_without_room_is_an_error_and_not_a_crash(tmp_path):
    code = """
        import sys, tempfile
        from pathlib import Path
        from bridge.plugins import shared
        from engine.errors import StembridgeError
        shared._RAM = Path(sys.argv[1])
        tempfile.tempdir = sys.argv[2]
        made = shared.SharedAudio.create(2)  # not in the small one: there is room elsewhere
        print(made.path.parent == Path(sys.argv[2]), list(shared._RAM.iterdir()))
        made.view(1, shared.CAPACITY)[:] = 1
        made.close()
        tempfile.tempdir = sys.argv[1]
        try:
            shared.SharedAudio.create(2)
        except StembridgeError as e:
            print(e.code, list(shared._RAM.iterdir()))
    """
    small, large = tmp_path / "small", tmp_path / "large"
    small.mkdir()
    large.mkdir()
    command = [sys.executable, "-c", textwrap.dedent(code), str(small), str(large)]
    ran = subprocess.run(on_small_disk(small, "500k", command), capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout.splitlines() == ["True []", "disk_full []"]
    assert list(large.iterdir()) == []


def broken_copy(folder: Path, code: bytes) -> Path:
    """A real VST3 whose factory begins with this machine code."""
    bundle = folder / "Broken.vst3"
    shutil.copytree("/usr/lib/vst3/ZamCompX2.vst3", bundle)
    old = bundle / "Contents/x86_64-linux/ZamCompX2.so"
    binary = bytearray(old.read_bytes())
    at = _offset_of(bytes(binary), b"GetPluginFactory")
    binary[at : at + len(code)] = code
    old.with_name("Broken.so").write_bytes(binary)
    old.unlink()
    return bundle


def _offset_of(elf: bytes, symbol: bytes) -> int:
    """Where in a shared object's file a function lies."""
    (sections_at,) = struct.unpack_from("<Q", elf, 40)
    size, count = struct.unpack_from("<HH", elf, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", elf, sections_at + n * size) for n in range(count)]
    symbols = next(section for section in sections if section[1] == 11)  # SHT_DYNSYM
    names_at = sections[symbols[6]][4]
    for at in range(symbols[4], symbols[4] + symbols[5], 24):
        name, _, _, _, value, _ = struct.unpack_from("<IBBHQQ", elf, at)
        if elf[names_at + name :].startswith(symbol + b"\0"):
            home = next(s for s in sections if s[1] == 1 and s[3] <= value < s[3] + s[5])
            return int(value - home[3] + home[4])
    raise LookupError(symbol)


@X86
@pytest.mark.parametrize(("code", "said"), [(b"\x0f\x0b", "crashed (SIGILL)"), (b"\xeb\xfe", "did not answer")])
def test_a_real_plugin_that_breaks_when_it_is_loaded(tmp_path, code, said):
    bundle = broken_copy(tmp_path, code)
    limits = Limits(load_s=3 if code == b"\xeb\xfe" else 60)
    with Worker(limits=limits) as worker, pytest.raises(PluginFailure) as caught:
        worker.open((PluginUse(plugin=str(bundle)),), 48_000, 2)
    assert caught.value.code == "plugin_failed"
    assert "Broken" in caught.value.text
    assert said in caught.value.text


@X86
def test_a_scan_lists_what_crashes_and_goes_on(tmp_path):
    broken = broken_copy(tmp_path, b"\x0f\x0b")
    sound, none = Path("/usr/lib/vst3/ZaMaximX2.vst3"), tmp_path / "none.vst3"
    none.write_text("no plugin")
    found = {each.name: each for each in scan([broken, sound, none])}
    assert found["ZaMaximX2"].usable
    assert found["ZaMaximX2"].facts["latency_samples"] == 480
    assert "crashed (SIGILL)" in found["Broken"].error
    assert "none.vst3" in found["none"].error
    assert [each.name for each in scanned()] == ["Broken", "ZaMaximX2", "none"]
    # what is known is not tried again: this worker could not even start
    assert scan([broken, sound], command=("/nonexistent",)) == [found["Broken"], found["ZaMaximX2"]]
    with pytest.raises(StembridgeError) as caught:
        describe(str(broken))
    assert caught.value.code == "plugin_failed"


def test_a_scan_looks_again_at_what_changed(tmp_path):
    path = tmp_path / "one.vst3"
    path.write_text("no plugin")
    (first,) = scan([path], command=FAULTS)
    assert not first.error  # the stand-in host takes any file
    path.write_text("changed")
    assert scanned() == []
    assert scan([path])[0].error
    assert not scan([path], again=True, command=FAULTS)[0].error


def test_a_worker_that_cannot_start_is_an_error_of_ours():
    with pytest.raises(StembridgeError, match="cannot be started") as caught:
        Worker(command=("/nowhere/python",))
    assert caught.value.code == "plugin_failed"
    with Worker(command=(sys.executable, "-c", "raise SystemExit(3)")) as worker, pytest.raises(PluginFailure) as dead:
        worker.open((PluginUse(plugin="Gain"),), 48_000, 2)
    assert "exit status 3" in dead.value.text
