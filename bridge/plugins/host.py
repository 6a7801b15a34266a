"""Plugins loaded, set and verified. Runs in a worker's process only: the one module that imports pedalboard (GPL 3)."""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from bridge.plugins import latency
from bridge.plugins.chain import BUILT_INS, PluginUse, Value
from bridge.plugins.stage import Layout, Stage
from engine.errors import StembridgeError

INIT_LIMIT_S: Final = 30.0
"""How long pedalboard waits for a plugin that loads in the background."""
_PROBE_SAMPLES: Final = 2048
_CLOSE: Final = 1e-3
"""A parameter took a value when what it reads back is as close as this, as a share of its range …"""
_CLOSE_RELATIVE: Final = 0.01
"""… and of the value: plugins round to the steps they have (a ratio of 10 reads 10.006)."""


def load(use: PluginUse, sample_rate: int, channels: int, buffer_size: int) -> Stage:
    """The plugin, set and verified, for sources of that rate and channel count; its facts are the manifest's.

    `use.plugin` is a built-in's name or a path. Raises `StembridgeError`: `plugin_missing`, `bad_plugin`.
    """
    first = _make(use)
    layout, n_instances = _layout(first, use, sample_rate, channels)
    instances = [first, *(_make(use) for _ in range(n_instances - 1))]
    stage = Stage(use.title, instances, layout, sample_rate, channels, buffer_size)
    stage.whole(np.zeros((channels, _PROBE_SAMPLES), np.float32))
    for instance in instances:  # a program resets others, some go back once they have run: set those again, and look
        left = _not_taken(instance, use.parameters)
        if left:
            _set_parameters(instance, use, left)
            stage.whole(np.zeros((channels, _PROBE_SAMPLES), np.float32))
        _require_taken(instance, use)
    if use.latency == "measured" and use.plugin not in BUILT_INS:
        stage.correction = latency.measure(stage.whole, channels) or 0
        stage.rewind()
    stage.facts = _identity(first, use) | {
        "layout": layout,
        "latency_samples": stage.held_back(),
        "correction_samples": stage.correction,
        "parameters": {name: _plain(getattr(first, name)) for name in use.parameters},
        **({"preset": use.preset} if use.preset else {}),
    }
    return stage


def describe(use: PluginUse) -> dict[str, Any]:
    """What `stembridge plugins` tells of a plugin: who made it, what it takes, its parameters."""
    plugin = _make(use)
    channels = [n for n in (1, 2) if _takes(plugin, 48_000, n)]
    return _identity(plugin, use) | {
        "category": str(getattr(plugin, "category", "") or ""),
        "instrument": bool(getattr(plugin, "is_instrument", False)),
        "channels": channels,
        "latency_samples": int(getattr(plugin, "reported_latency_samples", 0)),  # built-ins do not tell theirs
        "parameters": [_described(plugin, name) for name in parameter_names(plugin)],
    }


def prepare() -> None:
    """Import pedalboard, which takes a moment."""
    _host()


def _host() -> Any:
    """pedalboard; its types say nothing of what it loads."""
    import pedalboard

    return pedalboard


def names_in(path: str) -> list[str]:
    """The plugins in a file. Raises `StembridgeError` (`bad_plugin`)."""
    host = _host()
    kind = host.VST3Plugin if Path(path).suffix.casefold() == ".vst3" else host.AudioUnitPlugin
    try:
        return [str(name) for name in kind.get_plugin_names_for_file(path)]
    except (ImportError, RuntimeError, ValueError) as e:
        raise StembridgeError("bad_plugin", f"{Path(path).name} is no plugin: {_line(e)}.", "Install it again.") from e


def parameter_names(plugin: Any) -> list[str]:
    """The names that a preset may set."""
    told = getattr(plugin, "parameters", None)
    if told is not None:
        return [str(name) for name in told]
    kind = type(plugin)
    return [name for name in dir(kind) if getattr(getattr(kind, name), "fset", None) is not None]


def _make(use: PluginUse) -> Any:
    if use.plugin in BUILT_INS:
        made = getattr(_host(), use.plugin)()
    else:
        try:
            made = _host().load_plugin(use.plugin, plugin_name=use.name, initialization_timeout=INIT_LIMIT_S)
        except (ImportError, RuntimeError, ValueError) as e:
            raise StembridgeError(
                "bad_plugin",
                f"The plugin {use.title} cannot be loaded: {_line(e)}.",
                "See what is in it with: stembridge plugins show PATH",
            ) from e
    _set_preset(made, use)
    _set_parameters(made, use, use.parameters)
    return made


def _set_preset(plugin: Any, use: PluginUse) -> None:
    if use.preset is None:
        return
    if not Path(use.preset).is_file():
        raise _bad(use, f"is to take the preset {use.preset}, and there is no such file", "Check its path.")
    try:
        plugin.load_preset(use.preset)
    except (RuntimeError, ValueError, OSError) as e:
        raise _bad(use, f"cannot take the preset {use.preset}: {_line(e)}", "Save the preset again.") from e


def _set_parameters(plugin: Any, use: PluginUse, wanted: Iterable[str]) -> None:
    names = parameter_names(plugin)
    for name in wanted:
        value = use.parameters[name]
        if name not in names:  # pedalboard would make it a plain attribute that does nothing
            near = difflib.get_close_matches(name, names, 1, cutoff=0.4)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise _bad(use, f"has no parameter {name!r}", f"{hint}It has {', '.join(names) or 'none'}.")
        try:
            setattr(plugin, name, _native(plugin, name, value))
        except (KeyError, TypeError) as e:
            raise _bad(use, f"does not take {name} = {value!r}", _range(plugin, name)) from e
        except ValueError as e:
            raise _bad(use, f"does not take {name} = {value!r}: {_line(e)}", _range(plugin, name)) from e


def _native(plugin: Any, name: str, value: Value) -> Any:
    now = getattr(plugin, name)
    if isinstance(now, enum.Enum) or hasattr(type(now), "__members__"):
        return type(now).__members__[str(value)]
    return value


def _not_taken(plugin: Any, wanted: Mapping[str, Value]) -> list[str]:
    return [name for name, value in wanted.items() if not _took(plugin, name, value)]


def _require_taken(plugin: Any, use: PluginUse) -> None:
    for name in _not_taken(plugin, use.parameters):
        now = _plain(getattr(plugin, name))
        raise _bad(use, f"did not take {name} = {use.parameters[name]!r}: it reads {now!r}", _range(plugin, name))


def _took(plugin: Any, name: str, value: Value) -> bool:
    now = _plain(getattr(plugin, name))
    if isinstance(value, float) and isinstance(now, float):
        low, high = _limits(plugin, name)
        return abs(now - value) <= _CLOSE * (high - low) + _CLOSE_RELATIVE * abs(value)
    return str(now) == str(value)


def _limits(plugin: Any, name: str) -> tuple[float, float]:
    told = getattr(plugin, "parameters", {})
    if name not in told:
        return 0.0, 0.0
    low, high = told[name].range[:2]
    return (float(low), float(high)) if low is not None and high is not None else (0.0, 0.0)


def _range(plugin: Any, name: str) -> str:
    told = getattr(plugin, "parameters", {})
    if name in told and told[name].type is not float and told[name].valid_values:
        return f"Use one of {', '.join(repr(each) for each in told[name].valid_values[:20])}."
    low, high = _limits(plugin, name)
    if high > low:
        return f"Use {low:g} to {high:g}."
    now = getattr(plugin, name)
    members = getattr(type(now), "__members__", None)
    return f"Use one of {', '.join(members)}." if members else f"It reads {_plain(now)!r} unless it is set."


def _layout(plugin: Any, use: PluginUse, sample_rate: int, channels: int) -> tuple[Layout, int]:
    """How the plugin takes that many channels, and how many of it are needed."""
    if getattr(plugin, "is_instrument", False):
        raise _bad(use, "is an instrument and takes no audio", "Use an effect.")
    if _takes(plugin, sample_rate, channels):
        return "whole", 1
    if _takes(plugin, sample_rate, 1):
        return "each", channels
    if channels == 1 and _takes(plugin, sample_rate, 2):
        return "doubled", 1
    taken = [n for n in range(1, 9) if _takes(plugin, sample_rate, n)]
    those = " or ".join(map(str, taken)) or "no"
    raise _bad(
        use,
        f"takes {those} channels, and the source has {channels}",
        "Use a plugin for one channel (it is used once for each), or one for as many as the source has.",
    )


def _takes(plugin: Any, sample_rate: int, channels: int) -> bool:
    try:
        silence = np.zeros((channels, _PROBE_SAMPLES), np.float32)
        plugin.process(silence, sample_rate, buffer_size=_PROBE_SAMPLES, reset=False)
    except ValueError:
        return False
    return True


def _identity(plugin: Any, use: PluginUse) -> dict[str, Any]:
    if use.plugin in BUILT_INS:
        return {"plugin": use.plugin, "format": "built-in"}
    return {
        "plugin": str(plugin.name),
        "format": "VST3" if Path(use.plugin).suffix.casefold() == ".vst3" else "Audio Unit",
        "path": use.plugin,
        "maker": str(plugin.manufacturer_name or ""),
        "version": str(plugin.version or ""),
    }


def _described(plugin: Any, name: str) -> dict[str, Any]:
    now = getattr(plugin, name)
    low, high = _limits(plugin, name)
    told = getattr(plugin, "parameters", {}).get(name)
    choices: list[str] = []
    if told is not None and told.type is str:
        choices = [str(each) for each in told.valid_values]
    elif hasattr(type(now), "__members__"):
        choices = list(type(now).__members__)
    return {
        "name": name,
        "value": _plain(now),
        "unit": str((told.units if told is not None else "") or ""),
        "low": low if high > low else None,
        "high": high if high > low else None,
        "choices": choices[:200],
    }


def _plain(value: Any) -> Value:
    """A parameter's value as JSON takes it."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return float(value)
    if hasattr(type(value), "__members__"):
        return str(value.name)
    return bool(value) if "bool" in type(value).__name__.lower() else str(value)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _bad(use: PluginUse, what: str, remedy: str) -> StembridgeError:
    return StembridgeError("bad_plugin", f"The plugin {use.title} {what}.", remedy)
