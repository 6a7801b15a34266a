"""The fields of a submit → a `SeparationRequest`: checked, with preset and track name applied, and paths allowed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from bridge.api.fields import FIELDS, MAX_RATE_HZ, MIN_RATE_HZ, Field, check_key
from bridge.api.protocol import PREVIEW_MAX_S
from bridge.api.times import seconds
from bridge.asking.paths import PathPolicy, readable, writable
from bridge.asking.presets import Preset, find_preset, load_presets
from bridge.asking.prompts import prompt_from_track
from bridge.plugins.places import require_host
from engine.errors import StembridgeError
from engine.request import MAX_CANDIDATES, MAX_NFE, MAX_SOURCE_FILES, MAX_SPANS, SeparationRequest, Sign, Span

_TIMES: Final = {
    "start": "start_s",
    "end": "end_s",
    "context": "context_s",
    "position": "position_s",
    "playhead": "playhead_s",
}
ANY_PROMPT: Final = "sound"
"""No two-stem model knows it."""
_DIGITS: Final = re.compile(r"\s*[0-9]{1,20}\s*")


def to_request(
    fields: Mapping[str, Any],
    policy: PathPolicy,
    *,
    preview: bool = False,
    presets: Callable[[], Mapping[str, Preset]] = load_presets,
    prompt_of: Callable[[str], str | None] = prompt_from_track,
) -> SeparationRequest:
    """What the engine is asked. Explicit fields win over the preset, the preset over the defaults; a track's name makes
    the prompt only where neither gives one. Empty texts and None count as absent.

    Raises `StembridgeError`: `unknown_key`, `bad_value`, `unknown_preset`, `bad_preset`, `no_prompt`, `path_refused`
    and all that `SeparationRequest` raises; for a preview also `too_long`.
    """
    given = _present(fields)
    for key in given:
        check_key(key)
    rate_hz = _whole(given, "rate", MIN_RATE_HZ, MAX_RATE_HZ)
    named = _text(given, "preset")
    preset = find_preset(named, presets()) if named is not None else None
    if preview:
        given = {"quality": "draft", **given}
    if preset is not None:
        given = {**preset.fields(rate_hz), **given}
    values: dict[str, Any] = {"source": _sources(given, policy), "out_dir": writable(_text(given, "out"), policy)}
    for key, name in _TIMES.items():
        if key in given:
            values[name] = seconds(_one(given, key), key=key, rate_hz=rate_hz)
    if "item" in given:
        values["item_start_s"], values["item_end_s"] = _pair("item", given["item"], rate_hz)
    values["spans"] = (*_spans("+", given, rate_hz), *_spans("-", given, rate_hz))
    if preset is not None and preset.spans == "selection" and not values["spans"] and values.get("end_s") is not None:
        values["spans"] = (Span("+", values.get("start_s", 0.0), values["end_s"]),)
    for key in ("prompt", "model", "name"):
        values[key] = _text(given, key)
    for key in ("keep", "quality", "output", "schedule"):
        values[key] = _choice(given, FIELDS[key])
    values["nfe"] = _whole(given, "nfe", 1, MAX_NFE)
    values["candidates"] = _whole(given, "candidates", 1, MAX_CANDIDATES)
    values["seed"] = _whole(given, "seed", 0, 2**63 - 1)
    if values["prompt"] is None:
        values["prompt"] = _prompt_of_track(given, prompt_of)
    if values["name"] is None and preset is not None:
        track = _text(given, "track") or ""
        values["name"] = preset.file_name(source=values["source"][0], prompt=values["prompt"], track=track)
    if preset is not None:
        values |= _chains(preset)
    request = SeparationRequest(**{key: value for key, value in values.items() if value is not None})
    if preview:
        _require_short(request)
    return request


def _chains(preset: Preset) -> dict[str, str]:
    """The preset's plugins; where nothing can host them, this is the moment to say so."""
    chains = preset.chains()
    if any(chains.values()):
        require_host()
    return chains


def to_prefetch(
    fields: Mapping[str, Any], to_request: Callable[[Mapping[str, Any]], SeparationRequest]
) -> SeparationRequest:
    """The request whose mixture is to be encoded: where no prompt is known yet, one that only a model of any prompt
    answers stands for it. Raises `StembridgeError` as `to_request` does."""
    try:
        return to_request(fields)
    except StembridgeError as e:
        if e.code != "no_prompt":
            raise
    return to_request({**fields, "prompt": ANY_PROMPT})


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are there: None, empty texts and empty lists count as absent."""
    return {key: value for key, value in fields.items() if value is not None and value != "" and value != []}


def _sources(given: Mapping[str, Any], policy: PathPolicy) -> tuple[Any, ...]:
    listed = given.get("path+", [])
    single = given.get("path", [])
    if listed and single:
        raise StembridgeError(
            "bad_value", "Both path and path+ are given.", "Use path for one file, path+ for several."
        )
    texts = [text for value in (single, listed) for text in (value if isinstance(value, list) else [value])]
    if not texts:
        raise StembridgeError("bad_value", "There is no path.", "Name the source file.")
    if len(texts) > MAX_SOURCE_FILES:
        raise StembridgeError("bad_source", f"There are {len(texts)} source files.", f"Name 1 to {MAX_SOURCE_FILES}.")
    for text in texts:
        if not isinstance(text, str):
            raise _bad("path", text, "Send it as a string.")
    return tuple(readable(text, policy) for text in texts)


def _spans(sign: Sign, given: Mapping[str, Any], rate_hz: int | None) -> list[Span]:
    key = f"span{sign}"
    pairs = given.get(key, [])
    if isinstance(pairs, list | tuple) and len(pairs) == 2 and not any(isinstance(p, list | tuple) for p in pairs):
        pairs = [pairs]
    if not isinstance(pairs, list | tuple):
        raise _bad(key, pairs, "Send a start and an end.")
    if len(pairs) > MAX_SPANS:
        raise StembridgeError("too_long", f"There are {len(pairs)} spans.", f"Use at most {MAX_SPANS}.")
    return [Span(sign, *_pair(key, pair, rate_hz)) for pair in pairs]


def _pair(key: str, pair: Any, rate_hz: int | None) -> tuple[float, float]:
    if not isinstance(pair, list | tuple) or len(pair) != 2 or any(isinstance(t, list | dict) for t in pair):
        raise _bad(key, pair, "Send a start and an end.")
    return seconds(pair[0], key=key, rate_hz=rate_hz), seconds(pair[1], key=key, rate_hz=rate_hz)


def _one(given: Mapping[str, Any], key: str) -> Any:
    value = given[key]
    if isinstance(value, list | dict | tuple):
        raise _bad(key, value, f"Send one value, such as {FIELDS[key].example}.")
    return value


def _text(given: Mapping[str, Any], key: str) -> str | None:
    value = given.get(key)
    if value is not None and not isinstance(value, str):
        raise _bad(key, value, "Send it as a string.")
    return value


def _whole(given: Mapping[str, Any], key: str, low: int, high: int) -> int | None:
    value = given.get(key)
    if value is None:
        return None
    number: int | None = None
    if isinstance(value, str):
        number = int(value) if _DIGITS.fullmatch(value) else None
    elif not isinstance(value, bool) and isinstance(value, int | float) and value == value // 1:
        number = int(value)
    if number is None or not low <= number <= high:
        raise _bad(key, value, f"Use a whole number from {low} to {high}.")
    return number


def _choice(given: Mapping[str, Any], field: Field) -> str | None:
    value = given.get(field.key)
    if value is not None and (not isinstance(value, str) or value not in field.choices):
        raise _bad(field.key, value, f"Use one of {', '.join(field.choices)}.")
    return value


def _prompt_of_track(given: Mapping[str, Any], prompt_of: Callable[[str], str | None]) -> str:
    track = _text(given, "track")
    if track is None:
        return ""  # for `SeparationRequest` to judge: a `+` span may be prompt enough
    prompt = prompt_of(track)
    if prompt is None:
        raise StembridgeError(
            "no_prompt",
            f"The track's name {track[:80]!r} does not say what to extract.",
            "Type a prompt such as 'vocals', or name the track after what you want.",
        )
    return prompt


def _require_short(request: SeparationRequest) -> None:
    if request.end_s is None or request.end_s - request.start_s > PREVIEW_MAX_S + 1e-9:
        length = "to the end" if request.end_s is None else f"{request.end_s - request.start_s:g} s long"
        raise StembridgeError(
            "too_long",
            f"The preview's region is {length}.",
            f"Give it an end at most {PREVIEW_MAX_S:g} s after its start.",
        )


def _bad(key: str, value: object, remedy: str) -> StembridgeError:
    return StembridgeError("bad_value", f"{key} is {str(value)[:60]!r}.", remedy)
