"""A LADSPA plug-in run over a stem, in this process: the amplifiers and cabinets of CAPS.

The structure is that of ladspa.h 1.1 (LGPL-2.1+, https://ladspa.org): only what `run` needs is named.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np

from training.synthesis import RATE_HZ, Mono

_INPUT, _CONTROL, _AUDIO = 1, 4, 8
_PLACES: Final = ("/usr/lib/ladspa", "/usr/lib/x86_64-linux-gnu/ladspa", "/usr/local/lib/ladspa")
_VOID: Final = ctypes.c_void_p


class _Descriptor(ctypes.Structure):
    _fields_ = (
        ("unique_id", ctypes.c_ulong),
        ("label", ctypes.c_char_p),
        ("properties", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("maker", ctypes.c_char_p),
        ("copyright", ctypes.c_char_p),
        ("n_ports", ctypes.c_ulong),
        ("ports", ctypes.POINTER(ctypes.c_int)),
        ("port_names", ctypes.POINTER(ctypes.c_char_p)),
        ("hints", _VOID),
        ("data", _VOID),
        ("instantiate", ctypes.CFUNCTYPE(_VOID, _VOID, ctypes.c_ulong)),
        ("connect_port", ctypes.CFUNCTYPE(None, _VOID, ctypes.c_ulong, _VOID)),
        ("activate", ctypes.CFUNCTYPE(None, _VOID)),
        ("run", ctypes.CFUNCTYPE(None, _VOID, ctypes.c_ulong)),
        ("run_adding", _VOID),
        ("set_gain", _VOID),
        ("deactivate", _VOID),
        ("cleanup", ctypes.CFUNCTYPE(None, _VOID)),
    )


class Rack:
    """The plug-ins of one LADSPA library. Raises `OSError` when it is not installed."""

    def __init__(self, library: str, material: Path | None = None) -> None:
        folders = [*(material.rglob("ladspa") if material else ()), *map(Path, _PLACES)]
        found = [folder / library for folder in folders if (folder / library).exists()]
        if not found:
            raise OSError(f"{library} is in none of {', '.join(map(str, folders))}")
        # Plug-ins switch their thread's arithmetic to flush tiny numbers to zero, and leave it so: they have their own.
        self._thread = ThreadPoolExecutor(1, "ladspa")
        self._plugins = self._thread.submit(_open, found[0]).result()

    def run(self, label: str, stem: Mono, controls: Mapping[str, float]) -> Mono:
        """A stem through one plug-in with `controls` by name; the first audio output.

        Raises `KeyError` for a plug-in or a control that it does not have.
        """
        plugin = self._plugins[label]
        names = [plugin.port_names[i].decode() for i in range(plugin.n_ports)]
        unknown = set(controls) - set(names)
        if unknown:
            raise KeyError(f"{label} has no control {sorted(unknown)}; it has {names}")
        return self._thread.submit(_run, plugin, names, stem, controls).result()


def _open(library: Path) -> dict[str, _Descriptor]:
    find = ctypes.CDLL(str(library)).ladspa_descriptor
    find.restype = ctypes.POINTER(_Descriptor)
    plugins: dict[str, _Descriptor] = {}
    while pointer := find(ctypes.c_ulong(len(plugins))):
        plugins[pointer.contents.label.decode()] = pointer.contents
    return plugins


def _run(plugin: _Descriptor, names: Sequence[str], stem: Mono, controls: Mapping[str, float]) -> Mono:
    handle = plugin.instantiate(ctypes.addressof(plugin), RATE_HZ)
    given = np.ascontiguousarray(stem, np.float32)
    kept: list[Mono] = []
    outputs: list[Mono] = []
    for i, name in enumerate(names):
        kind = plugin.ports[i]
        if kind & _CONTROL:
            kept.append(np.array([controls.get(name, 0.0)], np.float32))
        elif kind & _INPUT:
            kept.append(given)
        else:
            kept.append(np.zeros(len(given), np.float32))
            outputs.append(kept[-1])
        plugin.connect_port(handle, i, kept[-1].ctypes.data)
    if plugin.activate:
        plugin.activate(handle)
    plugin.run(handle, len(given))
    plugin.cleanup(handle)
    return outputs[0]
