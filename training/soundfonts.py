"""Notes through FluidSynth, in this process: a sound font is loaded once and then renders hundreds of stems."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from training.notes import Note

RATE_HZ: Final = 44100
_DRUM_BANK: Final = 128
_BLOCK: Final = 64
_FLOATS: Final = ctypes.POINTER(ctypes.c_float)


class SoundFont:
    """A sound font, open. Raises `OSError` without libfluidsynth, `ValueError` when the file cannot be loaded."""

    def __init__(self, path: Path) -> None:
        name = ctypes.util.find_library("fluidsynth")
        if name is None:
            raise OSError("libfluidsynth is not installed (Debian: libfluidsynth3)")
        lib = self._lib = ctypes.CDLL(name)
        for function in (lib.new_fluid_settings, lib.new_fluid_synth):
            function.restype = ctypes.c_void_p
        settings = ctypes.c_void_p(lib.new_fluid_settings())
        lib.fluid_settings_setnum(settings, b"synth.sample-rate", ctypes.c_double(RATE_HZ))
        lib.fluid_settings_setnum(settings, b"synth.gain", ctypes.c_double(0.5))
        lib.fluid_settings_setint(settings, b"synth.reverb.active", 0)
        lib.fluid_settings_setint(settings, b"synth.chorus.active", 0)
        self._synth = ctypes.c_void_p(lib.new_fluid_synth(settings))
        self._font = lib.fluid_synth_sfload(self._synth, str(path).encode(), 1)
        if self._font < 0:
            raise ValueError(f"{path} is no sound font")

    def render(
        self, notes: Sequence[Note], program: int, length_s: float, *, drums: bool = False
    ) -> npt.NDArray[np.float32]:
        """Mono samples at 44.1 kHz."""
        lib, synth = self._lib, self._synth
        lib.fluid_synth_system_reset(synth)
        bank = _DRUM_BANK if drums else 0
        if lib.fluid_synth_program_select(synth, 0, self._font, bank, program) != 0:
            # A font of one kit may keep it outside the drum bank.
            lib.fluid_synth_program_select(synth, 0, self._font, 0, 0)
        events = [(note.start_s, 1, note) for note in notes] + [(n.start_s + n.length_s, 0, n) for n in notes]
        n_samples = int(length_s * RATE_HZ)
        left, right = np.zeros(n_samples, np.float32), np.zeros(n_samples, np.float32)
        at = 0

        def write(end: int) -> None:
            nonlocal at
            end = min(end, n_samples)
            if end > at:
                l_buf, r_buf = left.ctypes.data_as(_FLOATS), right.ctypes.data_as(_FLOATS)
                lib.fluid_synth_write_float(synth, end - at, l_buf, at, 1, r_buf, at, 1)
                at = end

        for when_s, on, note in sorted(events, key=lambda event: event[:2]):
            write(int(when_s * RATE_HZ) // _BLOCK * _BLOCK)
            if on:
                lib.fluid_synth_noteon(synth, 0, int(note.key), int(note.velocity))
            else:
                lib.fluid_synth_noteoff(synth, 0, int(note.key))
        write(n_samples)
        return (left + right) / np.float32(2)
