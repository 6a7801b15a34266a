"""The fields of a session request: one table for OSC and the docs, and what they come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bridge.api.fields import FIELDS, Field
from bridge.api.forms import from_options
from bridge.api.protocol import Value
from bridge.asking.paths import PathPolicy, readable, writable
from bridge.asking.presets import find_preset, load_presets
from bridge.batch.plan import Options, options_of
from engine.errors import StembridgeError

_YES_NO: Final = ("yes", "no")
_OF_REQUESTS: Final = ("keep", "model", "quality", "nfe", "seed", "candidates", "output")

SESSION_FIELDS: Final[dict[str, Field]] = {
    field.key: field
    for field in (
        Field("out", "path", "the folder for the stems, inside the engine's output folder or relative to it", "Song"),
        Field("track", "text", "only this track; all when absent", "Lead Vox", repeats=True),
        Field("prompt", "text", "for every track, instead of its name", "vocals", repeats=True),
        Field("preset", "text", "a preset for every track", "karaoke", repeats=True),
        *(FIELDS[key] for key in _OF_REQUESTS),
        Field("new_session", "choice", "write a session with the stems; `yes` when absent", "no", choices=_YES_NO),
        Field("dry_run", "choice", "`yes` plans and renders nothing; `no` when absent", "yes", choices=_YES_NO),
    )
}
"""`out` is `<session> stems` when absent."""


@dataclass(frozen=True)
class SessionWish:
    """What is asked of one session."""

    path: Path
    """A file, or a folder of audio."""
    out_dir: Path
    options: Options
    new_session: bool = True
    dry_run: bool = False


def to_wish(path: str, fields: Mapping[str, Any], policy: PathPolicy) -> SessionWish:
    """What the fields come to; reads nothing but the presets.

    Raises `StembridgeError`: `path_refused`, `file_not_found`, `file_unreadable`, `output_not_writable`, `unknown_key`,
    `bad_value`, `unknown_preset`, `bad_preset`.
    """
    session = readable(path, policy, folders=True)
    for key, value in fields.items():
        field = SESSION_FIELDS[key]
        for each in value if field.repeats and isinstance(value, list) else [value]:
            if field.choices and each not in field.choices:
                raise StembridgeError(
                    "bad_value", f"{key} is {str(each)[:60]!r}.", f"Use one of {', '.join(field.choices)}."
                )
    presets = _texts(fields, "preset")
    for name in presets:
        find_preset(name, load_presets())
    of_requests = {key: fields[key] for key in _OF_REQUESTS if key in fields}
    out = fields.get("out") or f"{session.stem} stems"
    if not isinstance(out, str):
        raise StembridgeError("bad_value", f"out is {str(out)[:60]!r}.", "Send it as a string.")
    return SessionWish(
        session,
        writable(out, policy),
        options_of(_texts(fields, "track"), _texts(fields, "prompt"), presets, of_requests),
        fields.get("new_session", "yes") == "yes",
        fields.get("dry_run", "no") == "yes",
    )


def fields_of(options: Sequence[Value]) -> dict[str, Any]:
    """The fields in a message's options. Raises `StembridgeError` (`unknown_key`, `bad_value`, `bad_message`)."""
    return from_options(options, SESSION_FIELDS)


def _texts(fields: Mapping[str, Any], key: str) -> list[str]:
    given = fields.get(key) or []
    texts = given if isinstance(given, list) else [given]
    for text in texts:
        if not isinstance(text, str):
            raise StembridgeError("bad_value", f"{key} is {str(text)[:60]!r}.", "Send it as a string.")
    return texts
