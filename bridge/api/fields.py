"""The fields of a submit: one table for OSC, the mailbox, the command line and the docs."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

from engine.errors import StembridgeError
from engine.request import (
    MAX_CANDIDATES,
    MAX_CONTEXT_S,
    MAX_NFE,
    MAX_PROMPT_CHARS,
    MAX_SOURCE_FILES,
    MAX_SPANS,
    Keep,
    Output,
    Quality,
    ScheduleName,
)

FieldKind = Literal["path", "time", "text", "whole", "choice"]
MIN_RATE_HZ: Final = 1_000
MAX_RATE_HZ: Final = 1_000_000


@dataclass(frozen=True)
class Field:
    """One key of a submit: what it takes and means."""

    key: str
    kind: FieldKind
    doc: str
    example: str
    n_values: int = 1
    """Values the key takes; 2 for a time range."""
    repeats: bool = False
    """Whether the key may be given several times (in JSON: a list)."""
    choices: tuple[str, ...] = ()


FIELDS: Final[dict[str, Field]] = {
    field.key: field
    for field in (
        Field("path", "path", "the source file, absolute", "/music/song.wav"),
        Field(
            "path+",
            "path",
            f"instead of `path`: files of one rate and length, stacked as channels in this order (at most "
            f"{MAX_SOURCE_FILES})",
            "/music/song-L.wav",
            repeats=True,
        ),
        Field("start", "time", "the region's first sample; 0 when absent", "12.0"),
        Field("end", "time", "the region's end, exclusive; the item's end when absent", "20.0"),
        Field("prompt", "text", f"what to extract, at most {MAX_PROMPT_CHARS} characters", "lead vocals"),
        Field("track", "text", "the track's name; it is made into a prompt when there is none", "03_LeadVox_DI"),
        Field("span+", "time", f"where it sounds (at most {MAX_SPANS} spans)", "12.5 14.0", n_values=2, repeats=True),
        Field("span-", "time", "where it does not sound", "15.0 16.0", n_values=2, repeats=True),
        Field("item", "time", "the item around the region; context is never read outside it", "10.0 40.0", n_values=2),
        Field(
            "context", "time", f"heard on each side and not returned, at most {MAX_CONTEXT_S:g} s; 5 s when absent", "5"
        ),
        Field("preset", "text", "a preset; explicit fields win over it", "extract-vocals"),
        Field(
            "quality",
            "choice",
            "`fast` when absent; `progressive`: a draft first, then the result in its place",
            "fast",
            choices=get_args(Quality),
        ),
        Field(
            "nfe", "whole", f"velocity evaluations of a flow model, 1 to {MAX_NFE}; from `quality` when absent", "16"
        ),
        Field(
            "schedule",
            "choice",
            "how a flow model spends its evaluations; `auto` (default): as it was tuned, else `uniform`",
            "uniform",
            choices=get_args(ScheduleName),
        ),
        Field("keep", "choice", "which stems are written; `both` when absent", "both", choices=get_args(Keep)),
        Field(
            "output",
            "choice",
            "`faithful` (default): the mixture, masked; `generative`: the model's own waveform",
            "faithful",
            choices=get_args(Output),
        ),
        Field("model", "text", "a model's name; chosen by the prompt when absent", "spleeter-2stems"),
        Field("name", "text", "the stems' file name before `.target.wav`; `<source>.<prompt>` when absent", "Lead"),
        Field("out", "path", "the folder for the stems, inside the engine's output folder or relative to it", "takes"),
        Field("seed", "whole", "0 to 2^63 - 1; 0 when absent", "0"),
        Field(
            "candidates",
            "whole",
            f"seeds a generative model tries, 1 to {MAX_CANDIDATES}; the best by its scorers is kept; 1 when absent",
            "4",
        ),
        Field(
            "position",
            "time",
            "where the region begins on the DAW's timeline; its place in the file when absent",
            "96.5",
        ),
        Field(
            "playhead",
            "time",
            "where you listen, in the file: of a long region (more than 40 s) the 20 s around it are drafted first, "
            "then parts three times as long (`quality` `progressive`); the result does not depend on it",
            "14.0",
        ),
        Field(
            "rate", "whole", "in Hz; when given, **every time in the request is a sample count at this rate**", "48000"
        ),
    )
}


def check_key(key: str, known: Mapping[str, Field] = FIELDS) -> Field:
    """The field of a key. Raises `StembridgeError` (`unknown_key`) naming the nearest."""
    if key in known:
        return known[key]
    near = difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.65)
    raise StembridgeError(
        "unknown_key",
        f"There is no key {key[:60]!r}." + (f" Did you mean {near[0]!r}?" if near else ""),
        f"The keys are {', '.join(known)}.",
    )
