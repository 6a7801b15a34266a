"""Notes through FluidSynth, in this process: a sound font is loaded once and then renders hundreds of stems."""

from __future__ import annotations

import ctypes
import ctypes.util
import struct
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
_WARNINGS: Final = 2
_NO_KIT: Final = 48
"""From here on the drum bank holds orchestras, effects and marching bands."""
_VARIATIONS: Final = (8, 20, 30, 40)
_OTHERS: Final = (24, 26, 80)
"""Programs whose variations are other instruments: a ukulele, a Hawaiian guitar, a sine."""
_PRESET: Final = struct.Struct("<20sHH14x")


def read_presets(path: Path) -> frozenset[tuple[int, int]]:
    """The (bank, program) pairs of a sound font, by its `phdr` chunk (SoundFont 2.04, 7.2). The last record ends it."""
    data = path.read_bytes()
    at = data.rfind(b"phdr")
    if at < 0:
        raise ValueError(f"{path} is no sound font: it has no table of presets")
    (size,) = struct.unpack_from("<I", data, at + 4)
    records = list(_PRESET.iter_unpack(data[at + 8 : at + 8 + size]))[:-1]
    return frozenset((bank, program) for _, program, bank in records)


class SoundFont:
    """A sound font, open. Raises `OSError` without libfluidsynth, `ValueError` when the file cannot be loaded."""

    def __init__(self, path: Path) -> None:
        name = ctypes.util.find_library("fluidsynth")
        if name is None:
            raise OSError("libfluidsynth is not installed (Debian: libfluidsynth3)")
        lib = self._lib = ctypes.CDLL(name)
        for function in (lib.new_fluid_settings, lib.new_fluid_synth, lib.fluid_synth_get_sfont_by_id):
            function.restype = ctypes.c_void_p
        lib.fluid_set_log_function(_WARNINGS, None, None)  # one for each channel without a preset, each time
        settings = self._settings = ctypes.c_void_p(lib.new_fluid_settings())
        lib.fluid_settings_setnum(settings, b"synth.sample-rate", ctypes.c_double(RATE_HZ))
        lib.fluid_settings_setnum(settings, b"synth.gain", ctypes.c_double(0.5))
        lib.fluid_settings_setint(settings, b"synth.reverb.active", 0)
        lib.fluid_settings_setint(settings, b"synth.chorus.active", 0)
        self._owner = ctypes.c_void_p(lib.new_fluid_synth(settings))
        number = lib.fluid_synth_sfload(self._owner, str(path).encode(), 1)
        if number < 0:
            raise ValueError(f"{path} is no sound font")
        self._font = ctypes.c_void_p(lib.fluid_synth_get_sfont_by_id(self._owner, number))
        self.presets = read_presets(path)
        self.kits = tuple(sorted(program for bank, program in self.presets if bank == _DRUM_BANK and program < _NO_KIT))
        """Programs of its drum kits."""

    def banks(self, program: int) -> tuple[int, ...]:
        """Banks that hold a General MIDI program, and variations of the same instrument."""
        kept = () if program in _OTHERS else tuple(bank for bank in _VARIATIONS if (bank, program) in self.presets)
        return (0, *kept)

    def render(
        self, notes: Sequence[Note], program: int, length_s: float, *, drums: bool = False, bank: int = 0
    ) -> npt.NDArray[np.float32]:
        """Mono samples at 44.1 kHz; `bank` is one of `banks(program)`.

        By a synthesizer of its own: one that has played before keeps tails and the state of its voices.
        """
        lib = self._lib
        synth = ctypes.c_void_p(lib.new_fluid_synth(self._settings))
        number = lib.fluid_synth_add_sfont(synth, self._font)
        # A font of one kit may keep it outside the drum bank.
        place = (_DRUM_BANK if drums else bank, program)
        place = place if place in self.presets else (0, 0)
        lib.fluid_synth_program_select(synth, 0, number, *place)
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
        lib.fluid_synth_remove_sfont(synth, self._font)
        lib.delete_fluid_synth(synth)
        return (left + right) / np.float32(2)
