"""Presets: requests with a name, in TOML. Ours lie in the package `presets`, the user's in the configuration folder.

A preset says only what it wants to set; a request's own fields win over it. A user's file replaces ours of its name.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_type_hints

from bridge.asking.paths import is_device_name
from bridge.asking.vocabulary import load_vocabulary, user_file
from bridge.plugins.chain import Chain, Place, read_tables, to_text, wrong_tables
from bridge.toml_file import Source, read_toml
from engine import models
from engine.errors import StembridgeError
from engine.request import Keep, Output, Quality, SeparationRequest

SCHEMA: Final = 1
VOCABULARY: Final = "vocabulary.toml"
"""Lies among the presets and is none."""
Spans = Literal["selection", "none"]
MAX_NAME_BYTES: Final = 180
"""Leaves room for `.residual.wav` and the like within the 255 bytes that file systems allow."""
_PLACES: Final = ("source", "prompt", "track")
_PLACE: Final = re.compile(r"\{([^{}]*)\}")
_LIMITED: Final = ("prompt", "keep", "quality", "nfe", "model", "context_s", "output")
"""Fields that mean what they mean in a `SeparationRequest`, which knows their limits."""
_CHAINS: Final[tuple[Place, ...]] = ("pre", "post")
_UNSAFE: Final = re.compile(r'[/\\:*?"<>|]')

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One preset; None leaves a field to the request or to the engine's default.

    Raises `StembridgeError` (`bad_preset`) naming the key that is out of range.
    """

    name: str
    """The file's name without `.toml`."""
    schema: Literal[1] = 1
    title: str
    description: str = ""
    prompt: str | None = None
    keep: Keep | None = None
    quality: Quality | None = None
    nfe: int | None = None
    model: str | None = None
    context_s: float | None = None
    output: Output | None = None
    spans: Spans = "selection"
    """Whether the DAW's selection is given to the model as a `+` span."""
    naming: str | None = None
    """The stems' file name, with {source}, {prompt} and {track} in their places."""
    colour: str | None = None
    """The new track's colour, `#rrggbb`."""
    pre: Chain = ()
    """Plugins that the mixture runs through before the model hears it; the stems are still taken from the mixture
    itself, and null."""
    post: Chain = ()
    """Plugins that the stems run through before they are delivered; such stems do not null."""

    def __post_init__(self) -> None:
        if not self.title.strip() or not self.title.isprintable():
            raise _wrong("title", f"is {self.title!r}", "Name the preset in a few words.")
        for key in _LIMITED:
            value = getattr(self, key)
            if value is not None:
                _check_limits(key, value)
        if self.spans not in get_args(Spans):
            raise _wrong("spans", f"is {self.spans!r}", f"Use one of {', '.join(get_args(Spans))}.")
        if self.colour is not None and not re.fullmatch("#[0-9a-fA-F]{6}", self.colour):
            raise _wrong("colour", f"is {self.colour!r}", 'Write it as red, green and blue: "#e0559a".')
        if self.naming is not None:
            _check_naming(self.naming)

    def fields(self, rate_hz: int | None = None) -> dict[str, Any]:
        """What it sets of a submit, under the submit's own keys; to be overlaid by what the request says itself.

        `rate_hz` is the request's `rate`: with it, a submit's times are sample counts, and so is `context` here.
        """
        told: dict[str, Any] = {key: getattr(self, key) for key in _LIMITED if key != "context_s"}
        if self.context_s is not None:
            told["context"] = self.context_s if rate_hz is None else round(self.context_s * rate_hz)
        return {key: value for key, value in told.items() if value is not None}

    def chains(self) -> dict[str, str]:
        """Its plugins as a request carries them; no submit can name plugins itself."""
        return {"pre": to_text(self.pre), "post": to_text(self.post)}

    def file_name(self, *, source: Path, prompt: str, track: str = "") -> str | None:
        """The stems' file name before `.target.wav`, or None when the preset leaves it to the engine."""
        if self.naming is None:
            return None
        values = {"source": source.stem, "prompt": prompt, "track": track}
        name = _PLACE.sub(lambda place: values[place[1]], self.naming)
        name = "".join(c if c.isprintable() else " " for c in _UNSAFE.sub("-", name))
        name = " ".join(name.split()).strip(". ")
        while len(os.fsencode(name)) > MAX_NAME_BYTES:
            name = name[:-1].rstrip(". ")
        if is_device_name(name):  # a track called Aux is no rarity, and Windows has no file of that name
            head, dot, rest = name.partition(".")
            name = f"{head}_{dot}{rest}"
        return name or None


def user_folder() -> Path:
    """Where the user's own presets lie."""
    import platformdirs

    return Path(platformdirs.user_config_dir("stembridge", appauthor=False)) / "presets"


def load_presets(user_dir: Path | None = None) -> dict[str, Preset]:
    """All presets by name, sorted: ours, and over them those of `user_dir` (the configuration folder when None).

    A wrong file is left out and logged: it must not stop the others. To name its preset raises what is
    wrong with it (`find_preset`), and so ours of that name does not stand in for it unnoticed.
    """
    presets = {}
    for name, path in sorted(_found(user_dir or user_folder()).items()):
        try:
            presets[name] = _read(name, path)
        except StembridgeError as e:
            logger.warning("A preset is left out. %s", e)
    return presets


def find_preset(name: str, presets: Mapping[str, Preset], user_dir: Path | None = None) -> Preset:
    """The preset of that name.

    Raises `StembridgeError`: `unknown_preset` naming the nearest, and all; `bad_preset` where `load_presets` had to
    leave it out.
    """
    if name in presets:
        return presets[name]
    left_out = _found(user_dir or user_folder()).get(name)
    if left_out is not None:
        return _read(name, left_out)
    near = difflib.get_close_matches(name.lower(), presets, 1)
    raise StembridgeError(
        "unknown_preset",
        f"There is no preset {name[:60]!r}." + (f" Did you mean {near[0]!r}?" if near else ""),
        f"The presets are {', '.join(sorted(presets)) or 'none'}.",
    )


def model_for(preset: Preset, choose: Callable[[SeparationRequest], str] = models.choose) -> str | None:
    """The model of this machine that answers a preset's prompt; None where there is none, and `""` where the prompt is
    the track's name."""
    if preset.prompt is None:
        return ""
    asked = SeparationRequest((Path("preset"),), preset.prompt, Path(), model=preset.model)
    try:
        return choose(asked)
    except StembridgeError:
        return None


def check_presets(paths: Iterable[Path] = ()) -> list[StembridgeError]:
    """Everything that is wrong in preset and vocabulary files, or in folders of them; without paths, in all in use."""
    given = list(paths)
    listed: list[Source] = [
        each for path in given for each in (sorted(path.glob("*.toml")) if path.is_dir() else [path])
    ]
    if not given:
        words = [path for path in (files("presets") / VOCABULARY, user_file()) if path.is_file()]
        listed = [*_found(user_folder()).values(), *words]
    return [problem for path in listed for problem in _problems(path)]


def _found(user_dir: Path) -> dict[str, Source]:
    """name → file; the user's win. The vocabulary lies among ours and is no preset."""
    ours = [path for path in files("presets").iterdir() if path.name.endswith(".toml")]
    both: list[Source] = [*ours, *user_dir.glob("*.toml")]
    return {path.name.removesuffix(".toml"): path for path in both if path.name != VOCABULARY}


def _read(name: str, path: Source) -> Preset:
    data = read_toml(path)
    for problem in _wrong_keys(path, data):
        raise problem
    return Preset(name=name, **_with_chains(path, data))


def _problems(path: Source) -> list[StembridgeError]:
    """What is wrong in one file, each named with its key."""
    try:
        data = read_toml(path)
        if path.name != VOCABULARY:
            return list(_wrong_keys(path, data))
        load_vocabulary(Path(str(path)))
    except StembridgeError as e:
        return [e]
    return []


def _wrong_keys(path: Source, data: dict[str, Any]) -> Iterator[StembridgeError]:
    """Unknown and missing keys and values of a wrong type; when there are none, the first value out of range."""
    from pydantic import ValidationError

    types, sound = _types(), True
    for key, value in data.items():
        if key not in types:
            near = difflib.get_close_matches(key, types, 1, cutoff=0.5)
            hint = (f"Did you mean {near[0]!r}? " if near else "") + f"The keys are {', '.join(types)}."
            sound = False
            yield _wrong(f"{path}: {key}", "is no key of a preset", hint)
            continue
        if key in _CHAINS:
            for problem in wrong_tables(key, value):
                sound = False
                yield StembridgeError(problem.code, f"{path}: {problem.text}", problem.remedy)
            continue
        try:
            types[key].validate_python(value, strict=True)
        except ValidationError as e:
            sound = False
            yield _wrong(f"{path}: {key}", f"is {value!r}", f"{e.errors(include_url=False)[0]['msg']}.")
    for key, remedy in (("schema", f"Begin the file with: schema = {SCHEMA}"), ("title", "Name it in a few words.")):
        if key not in data:
            sound = False
            yield _wrong(f"{path}: {key}", "is missing", remedy)
    if sound:
        try:
            Preset(name=path.name, **_with_chains(path, data))
        except StembridgeError as e:
            yield StembridgeError(e.code, f"{path}: {e.text}", e.remedy)


def _with_chains(path: Source, data: dict[str, Any]) -> dict[str, Any]:
    """Its plugins read; the files they name are looked for beside the preset."""
    folder = Path(str(path)).parent
    return data | {key: read_tables(key, data[key], folder) for key in _CHAINS if key in data}


@cache
def _types() -> dict[str, Any]:
    """key → pydantic's check of its type; built on first use, because importing pydantic takes a tenth of a second."""
    from pydantic import TypeAdapter

    return {key: TypeAdapter(hint) for key, hint in get_type_hints(Preset).items() if key != "name"}


def _check_limits(key: str, value: Any) -> None:
    try:
        SeparationRequest(source=(Path("preset"),), out_dir=Path(), **{"prompt": "any", key: value})
    except StembridgeError as e:
        raise StembridgeError("bad_preset", f"{key}: {e.text}", e.remedy) from e


def _check_naming(naming: str) -> None:
    usable = f"Use plain text with {', '.join(f'{{{place}}}' for place in _PLACES)} in it."
    places = _PLACE.findall(naming)
    for place in places:
        if place not in _PLACES:
            near = difflib.get_close_matches(place, _PLACES, 1)
            raise _wrong("naming", f"has {{{place}}}", f"Did you mean {{{near[0]}}}?" if near else usable)
    plain = _PLACE.sub("", naming)
    if not (places or plain.strip(". ")) or _UNSAFE.search(plain) or set("{}") & set(plain) or not plain.isprintable():
        raise _wrong("naming", f"is {naming!r}", usable)


def _wrong(key: str, what: str, remedy: str) -> StembridgeError:
    return StembridgeError("bad_preset", f"{key} {what}.", remedy)
