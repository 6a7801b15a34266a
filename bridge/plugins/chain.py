"""What a preset says of its plugins: `[[pre]]` and `[[post]]` tables, checked, and as text in a request."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

from engine.errors import StembridgeError

On = Literal["target", "residual", "both"]
LatencyPolicy = Literal["measured", "reported"]
Value = float | bool | str
Place = Literal["pre", "post"]

MAX_PLUGINS: Final = 16
"""In one table of a preset."""
MAX_TAIL_S: Final = 60.0
BUILT_INS: Final = (
    "Bitcrush",
    "BrickwallLimiter",
    "Chorus",
    "Clipping",
    "Compressor",
    "Delay",
    "Distortion",
    "Gain",
    "HighShelfFilter",
    "HighpassFilter",
    "Invert",
    "LadderFilter",
    "Limiter",
    "LowShelfFilter",
    "LowpassFilter",
    "NoiseGate",
    "PeakFilter",
    "Phaser",
    "Reverb",
)
"""pedalboard's own effects that give the same samples in blocks as at once (a test holds them to it). Its codecs,
resampler and pitch shifter do not."""


@dataclass(frozen=True)
class PluginUse:
    """One plugin of a chain.

    Raises `StembridgeError` (`bad_preset`) naming the key that is out of range.
    """

    plugin: str
    """A built-in's name, the name of a plugin on this machine, or the path of a `.vst3` or `.component`."""
    parameters: Mapping[str, Value] = field(default_factory=dict)
    """Set after `preset`, each read back."""
    preset: str | None = None
    """A `.vstpreset` file; a relative path counts from the file that names it."""
    name: str | None = None
    """Which plugin, of a file that holds several."""
    on: On = "target"
    """Which stems run through it. For `[[post]]` alone."""
    tail_s: float = 0.0
    """How long it may ring on behind the region's end; the stem is longer by it. For `[[post]]` alone."""
    latency: LatencyPolicy = "measured"
    """`measured` corrects what it reports by an impulse; `reported` believes it. Built-ins are always believed."""
    required: bool = True
    """Whether the job fails with it; otherwise it is done again once, without it."""

    def __post_init__(self) -> None:
        if not self.plugin.strip() or not self.plugin.isprintable():
            raise _wrong("plugin", repr(self.plugin), "Give a built-in's name, a plugin's name, or its path.")
        for key, choices in (("on", get_args(On)), ("latency", get_args(LatencyPolicy))):
            if getattr(self, key) not in choices:
                raise _wrong(key, repr(getattr(self, key)), f"Use one of {', '.join(choices)}.")
        if not 0 <= self.tail_s <= MAX_TAIL_S:
            raise _wrong("tail_s", f"{self.tail_s:g}", f"Use 0 to {MAX_TAIL_S:g} seconds.")
        if self.preset is not None and not self.preset.lower().endswith(".vstpreset"):
            raise _wrong("preset", repr(self.preset), "Name a .vstpreset file.")
        for key, value in self.parameters.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise _wrong(f"parameters.{key}", str(value), "Use a finite number.")
        if self.plugin in BUILT_INS and (self.preset is not None or self.name is not None):
            key = "preset" if self.preset is not None else "name"
            raise _wrong(key, repr(getattr(self, key)), f"{self.plugin} is built in: set its parameters instead.")

    @property
    def title(self) -> str:
        """What a person calls it."""
        return self.name or (self.plugin if self.plugin in BUILT_INS else Path(self.plugin).stem)


Chain = tuple[PluginUse, ...]


def read_tables(place: Place, tables: Any, folder: Path | None = None) -> Chain:
    """The chain that a preset's `[[pre]]` or `[[post]]` tables are. Raises the first of `wrong_tables`."""
    for problem in wrong_tables(place, tables):
        raise problem
    return tuple(_located(PluginUse(**_floats(table)), folder) for table in tables)


def wrong_tables(place: Place, tables: Any) -> Iterator[StembridgeError]:
    """Everything that is wrong in them, each named with its place."""
    if not isinstance(tables, list | tuple) or not all(isinstance(table, dict) for table in tables):
        yield _wrong(place, "no list of tables", f"Write each plugin under a heading of its own: [[{place}]]")
        return
    if len(tables) > MAX_PLUGINS:
        yield _wrong(place, f"{len(tables)} plugins", f"Use at most {MAX_PLUGINS}.")
    for n, table in enumerate(tables, 1):
        problems = list(_wrong_keys(place, table))
        if not problems:
            try:
                PluginUse(**_floats(table))
            except StembridgeError as e:
                problems = [e]
        for problem in problems:
            yield StembridgeError(problem.code, f"{place} {n}: {problem.text}", problem.remedy)


def to_text(chain: Chain) -> str:
    """The chain as a request carries it; empty for an empty one. The same chain is always the same text."""
    return json.dumps([asdict(use) for use in chain], sort_keys=True, ensure_ascii=False) if chain else ""


def from_text(text: str) -> Chain:
    """The reverse of `to_text`. Raises `StembridgeError` (`bad_preset`)."""
    try:
        return tuple(PluginUse(**table) for table in json.loads(text)) if text else ()
    except (ValueError, TypeError) as e:
        raise StembridgeError("bad_preset", f"The request's plugins cannot be read: {e}.", "Ask for it again.") from e


def described(chain: Chain) -> str:
    """The chain as a person reads it: `Compressor (ratio 3, threshold_db -24) > Gain (gain_db 4)`."""
    return " > ".join(_told(use) for use in chain)


def _told(use: PluginUse) -> str:
    settings = [
        f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}" for key, value in use.parameters.items()
    ]
    settings += [Path(use.preset).name] if use.preset else []
    settings += [f"on {use.on}"] if use.on != "target" else []
    settings += [f"tail {use.tail_s:g} s"] if use.tail_s else []
    settings += [] if use.required else ["left out if it fails"]
    return f"{use.title} ({', '.join(settings)})" if settings else use.title


def _wrong_keys(place: Place, table: Mapping[str, Any]) -> Iterator[StembridgeError]:
    keys = [each.name for each in fields(PluginUse) if place == "post" or each.name not in ("on", "tail_s")]
    for key, value in table.items():
        if key not in keys:
            near = difflib.get_close_matches(key, keys, 1, cutoff=0.5)
            hint = (f"Did you mean {near[0]!r}? " if near else "") + f"The keys are {', '.join(keys)}."
            yield StembridgeError("bad_preset", f"{key} is no key of [[{place}]].", hint)
        elif key == "parameters":
            yield from _wrong_parameters(value)
        elif key == "required" and not isinstance(value, bool):
            yield _wrong(key, repr(value), "Use true or false.")
        elif key == "tail_s" and (isinstance(value, bool) or not isinstance(value, int | float)):
            yield _wrong(key, repr(value), "Use seconds.")
        elif key not in ("required", "tail_s") and not isinstance(value, str):
            yield _wrong(key, repr(value), "Write it as a text, in quotes.")
    if "plugin" not in table:
        yield StembridgeError("bad_preset", "plugin is missing.", "Say which plugin: plugin = 'Compressor'")


def _wrong_parameters(value: Any) -> Iterator[StembridgeError]:
    if not isinstance(value, dict):
        yield _wrong("parameters", repr(value), "Write parameters = { name = value, … }")
        return
    for key, one in value.items():
        if not isinstance(one, bool | int | float | str):
            yield _wrong(f"parameters.{key}", repr(one), "Use a number, true or false, or a text.")


def _floats(table: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers as floats: 4 and 4.0 are the same setting, and must be the same text."""
    told = {key: _float(value) for key, value in table.items()}
    if "parameters" in told:
        told["parameters"] = {key: _float(value) for key, value in table["parameters"].items()}
    return told


def _float(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _located(use: PluginUse, folder: Path | None) -> PluginUse:
    if use.preset is None:
        return use
    path = Path(use.preset).expanduser()
    return replace(use, preset=str(path if path.is_absolute() or folder is None else folder.absolute() / path))


def _wrong(key: str, what: str, remedy: str) -> StembridgeError:
    return StembridgeError("bad_preset", f"{key} is {what}.", remedy)
