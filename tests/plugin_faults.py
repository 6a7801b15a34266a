"""A plugin worker whose host also knows plugins that misbehave, by the name of their (empty) file.

Run as a program it is the worker, faults and all; nothing else of it differs from the real one.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np


class Misbehaving:
    """As pedalboard's plugins are, with one fault."""

    manufacturer_name, version, category, is_instrument = "Nobody", "1", "Fx", False
    reported_latency_samples = 0
    delay = 0

    def __init__(self, fault: str) -> None:
        self.name = fault
        self.fault, _, number = fault.partition("@")
        self.number = int(number or 0)
        self.parameters = {"amount": SimpleNamespace(range=(0.0, 1.0, None), type=float, units="", valid_values=[])}
        self._amount = 0.5
        self.heard = 0
        self.held: list[bytearray] = []
        self.reset()
        if self.fault == "crash at load":
            os.abort()
        if self.fault == "hang at load":
            time.sleep(3600)

    @property
    def amount(self) -> float:
        return 0.5 if self.fault == "stubborn" else self._amount

    @amount.setter
    def amount(self, value: float) -> None:
        self._amount = value

    def reset(self) -> None:
        # `number` samples late, of which "late" reports none; "early" reports as many and has none
        self.line = np.zeros((0, 0), np.float32)
        self.to_drop = self.number if self.fault == "early" else 0

    def process(self, audio, sample_rate, *, buffer_size, reset):
        if self.fault == "stereo only" and audio.shape[0] != 2:
            raise ValueError("does not support this many channels")
        # The faults begin behind what loading a plugin feeds it: silence, and one impulse.
        self.heard += audio.shape[1] if np.abs(audio).sum() > 1 else 0
        if self.fault == "forgetful" and self.heard == 0 and not hasattr(self, "forgot"):
            self.forgot = True
            self._amount = 0.1
        if self.heard > self.number:
            self.misbehave()
        if self.fault in ("late", "early"):
            return self.shifted(audio)
        if self.fault == "nan" and self.heard > self.number:
            return audio * np.float32("nan")
        if self.fault == "keeper" and self.heard > self.number:
            return audio[:, :0]
        return audio.copy()

    def misbehave(self) -> None:
        if self.fault == "crash":
            ctypes.string_at(0)
        if self.fault == "hang":
            time.sleep(3600)
        if self.fault == "hang and hold":  # Python cannot run meanwhile, as in a plugin that keeps its lock
            ctypes.PyDLL(None).sleep(3600)
        if self.fault == "leak":
            while True:
                self.held.append(bytearray(os.urandom(1 << 20) * 16))
        if self.fault == "print":
            print('{"n": 7}', flush=True)
            os.write(1, b"noise on stdout\n")
        if self.fault == "raise":
            raise RuntimeError("the plugin's own words")

    def shifted(self, audio):
        n = self.number if self.fault == "late" else 0
        if self.line.shape[0] != audio.shape[0]:
            self.line = np.zeros((audio.shape[0], n), np.float32)
        both = np.concatenate([self.line, audio], axis=1)
        out, self.line = both[:, : audio.shape[1]], both[:, audio.shape[1] :]
        dropped = min(self.to_drop, out.shape[1])
        self.to_drop -= dropped
        return out[:, dropped:].copy()


def main() -> int:
    from bridge.plugins import host, worker

    real = host._host()

    def load_plugin(path: str, **options):
        return real.load_plugin(path, **options) if Path(path).is_dir() else Misbehaving(Path(path).stem)

    def names(path: str) -> list[str]:
        Misbehaving(Path(path).stem)
        return [Path(path).stem]

    kind = SimpleNamespace(get_plugin_names_for_file=names)
    built_in = {name: getattr(real, name) for name in dir(real) if not name.startswith("_")}
    fake = SimpleNamespace(**built_in | {"load_plugin": load_plugin, "VST3Plugin": kind})
    host._host = lambda: fake
    return worker.main()


if __name__ == "__main__":
    sys.exit(main())
