"""What is asked of the engine and what it answers: frozen, checked when made, plain values only.

Times are float64 seconds from the start of the source file (a float64 resolves far below one sample at any length
we accept). The engine turns them into sample counts in one place, `engine.audio.resolve`.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, get_args

from engine.errors import StembridgeError

Sign = Literal["+", "-"]
Keep = Literal["both", "target", "residual"]
Quality = Literal["draft", "fast", "best", "progressive"]
"""`progressive`: a draft first, replaced by the result when that is made; see `engine.progressive`."""
Output = Literal["faithful", "generative"]
ScheduleName = Literal["auto", "uniform", "sway", "epss", "fitted"]
"""How a flow model spends its evaluations; see `engine.flow.schedule`."""

MAX_PROMPT_CHARS: Final = 1_000
MAX_SPANS: Final = 256
MAX_SOURCE_FILES: Final = 64
MAX_CONTEXT_S: Final = 60.0
MAX_TIME_S: Final = 1e8
"""Three years: what is later is a mistake, and would overflow a sample count."""
MAX_NAME_BYTES: Final = 200
RESERVED_NAME: Final = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")
"""Names that Windows keeps for devices."""
MAX_NFE: Final = 256
MAX_CANDIDATES: Final = 16


@dataclass(frozen=True)
class Span:
    """A time range where the target is present (`+`) or absent (`-`); elsewhere it is unknown, not silent.

    Raises `StembridgeError` (`bad_span`) unless 0 <= start_s < end_s and both are finite.
    """

    sign: Sign
    start_s: float
    """Seconds from the start of the source file."""
    end_s: float
    """Seconds from the start of the source file, exclusive."""

    def __post_init__(self) -> None:
        if self.sign not in get_args(Sign):
            raise StembridgeError("bad_span", f"A span's sign is {self.sign!r}.", "Use '+' or '-'.")
        if not 0 <= self.start_s < self.end_s <= MAX_TIME_S:
            raise StembridgeError(
                "bad_span",
                f"The span {self.start_s:g} to {self.end_s:g} s is empty, reversed or negative.",
                "Give it a start before its end, in seconds from the start of the file.",
            )


@dataclass(frozen=True)
class SeparationRequest:
    """One separation: a region of a source, what to take from it, and where the stems go.

    Raises `StembridgeError` naming the field when a value is out of range. What depends on the file (does the
    region lie inside it?) is checked when the file is opened.
    """

    source: tuple[Path, ...]
    """One file with all its channels, or several files of one rate and length whose channels are stacked in order."""
    prompt: str
    """What to extract: a lowercase noun or verb phrase. May be empty only when there is a `+` span."""
    out_dir: Path
    """The folder the stems and the manifest are written to."""
    start_s: float = 0.0
    """The region's first sample, in seconds of the file."""
    end_s: float | None = None
    """The region's end, exclusive, in seconds of the file; None is the item's end."""
    item_start_s: float = 0.0
    """The item around the region begins here; context is never read before it."""
    item_end_s: float | None = None
    """The item around the region ends here; None is the end of the file."""
    context_s: float = 5.0
    """Seconds heard on each side of the region, cut at the item's ends, and not returned."""
    spans: tuple[Span, ...] = ()
    keep: Keep = "both"
    """Which stems are written. The manifest is always written."""
    quality: Quality = "fast"
    nfe: int | None = None
    """Velocity evaluations of a flow model; None takes the number that `quality` names."""
    schedule: ScheduleName = "auto"
    """How a flow model spends them; `auto` takes what the model was tuned to, where it was."""
    seed: int = 0
    candidates: int = 1
    """Seeds a generative model tries, from `seed` on; the best is kept. A model without noise makes one."""
    model: str | None = None
    """A model's name; None lets the engine choose one that can answer the prompt."""
    output: Output = "faithful"
    name: str | None = None
    """The stems' file name before `.target.wav`; None makes `<source>.<prompt>`."""
    position_s: float | None = None
    """Where the region's first sample lies on the DAW's timeline, for the stem's `bext` time reference; None takes
    the region's place in the file."""
    playhead_s: float | None = None
    """Where the person listens, in seconds of the file: the drafts of a long region grow from there. The result does
    not depend on it."""
    pre: str = ""
    """What the mixture runs through before the model hears it, in the words of whoever hosts it (`engine.effects`)."""
    post: str = ""
    """What the stems run through before they are delivered, likewise."""

    def __post_init__(self) -> None:
        _check(
            0 < len(self.source) <= MAX_SOURCE_FILES,
            "bad_source",
            f"A request names {len(self.source)} source files.",
            f"Name 1 to {MAX_SOURCE_FILES}.",
        )
        _check(
            len(self.prompt) <= MAX_PROMPT_CHARS,
            "bad_prompt",
            f"The prompt has {len(self.prompt)} characters.",
            f"Use at most {MAX_PROMPT_CHARS}.",
        )
        _check(
            all(c.isprintable() for c in self.prompt),
            "bad_prompt",
            f"The prompt {self.prompt[:60]!r} holds control characters.",
            "Use plain words.",
        )
        _check(
            bool(self.prompt.strip()) or any(s.sign == "+" for s in self.spans),
            "no_prompt",
            "There is no prompt.",
            "Name the track after what you want, or type a prompt such as 'vocals'.",
        )
        _check_range("region", self.start_s, self.end_s)
        _check_range("item", self.item_start_s, self.item_end_s)
        _check(
            len(self.spans) <= MAX_SPANS,
            "too_long",
            f"There are {len(self.spans)} spans.",
            f"Use at most {MAX_SPANS}.",
        )
        _check(
            math.isfinite(self.context_s) and 0 <= self.context_s <= MAX_CONTEXT_S,
            "bad_value",
            f"context is {self.context_s:g} s.",
            f"Use 0 to {MAX_CONTEXT_S:g}.",
        )
        for field, kind in (("keep", Keep), ("quality", Quality), ("output", Output), ("schedule", ScheduleName)):
            value = getattr(self, field)
            _check(
                value in get_args(kind),
                "bad_value",
                f"{field} is {value!r}.",
                f"Use one of {', '.join(get_args(kind))}.",
            )
        _check(
            self.nfe is None or 1 <= self.nfe <= MAX_NFE,
            "bad_value",
            f"nfe is {self.nfe}.",
            f"Use 1 to {MAX_NFE}.",
        )
        _check(
            1 <= self.candidates <= MAX_CANDIDATES,
            "bad_value",
            f"candidates is {self.candidates}.",
            f"Use 1 to {MAX_CANDIDATES}.",
        )
        _check(0 <= self.seed < 2**63, "bad_value", f"seed is {self.seed}.", "Use 0 to 2^63 - 1.")
        _check(
            self.position_s is None or 0 <= self.position_s <= MAX_TIME_S,
            "bad_value",
            f"position is {self.position_s} s.",
            f"Use 0 to {MAX_TIME_S:g} s.",
        )
        _check(
            self.playhead_s is None or 0 <= self.playhead_s <= MAX_TIME_S,
            "bad_value",
            f"playhead is {self.playhead_s} s.",
            f"Use 0 to {MAX_TIME_S:g} s.",
        )
        _check(
            self.name is None
            or (
                self.name == Path(self.name).name
                and self.name.strip(". ") != ""
                and self.name.isprintable()
                and len(os.fsencode(self.name)) <= MAX_NAME_BYTES
                and RESERVED_NAME.fullmatch(self.name) is None
            ),
            "bad_value",
            f"name is {self.name!r}.",
            f"Use a plain file name of at most {MAX_NAME_BYTES} bytes, without folders.",
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, for the journal and the manifest; the reverse of `from_dict`."""
        values = asdict(self)
        values["source"] = [str(path) for path in self.source]
        values["out_dir"] = str(self.out_dir)
        values["spans"] = [[s.sign, s.start_s, s.end_s] for s in self.spans]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SeparationRequest:
        """The reverse of `to_dict`. Raises `StembridgeError` (`unknown_key`) for keys that do not exist."""
        known = {field.name for field in fields(cls)}
        for key in values:
            _check(
                key in known,
                "unknown_key",
                f"A request has no key {key!r}.",
                f"The keys are {', '.join(sorted(known))}.",
            )
        return cls(
            **{
                **values,
                "source": tuple(Path(path) for path in values["source"]),
                "out_dir": Path(values["out_dir"]),
                "spans": tuple(Span(*span) for span in values.get("spans", ())),
            }
        )


@dataclass(frozen=True)
class Progress:
    """How far a job is."""

    fraction: float
    """0 to 1, never falling."""
    stage: str
    """One word for a person: reading, separating, writing …"""
    eta_s: float | None
    """Seconds left. None while it cannot be told but for what the fraction says; NaN where that would mislead."""
    draft: Draft | None = None
    """A draft that was just made."""


@dataclass(frozen=True)
class Draft:
    """Stems that stand in for a result until a draft of more of it, or the end of the job; then their files are
    removed."""

    stems: Separation
    offset_samples: int
    """Samples of the region before the draft's first; 0 unless it is of the part around the playhead."""


@dataclass(frozen=True)
class Separation:
    """What one separation left on disk."""

    target: Path | None
    residual: Path | None
    manifest: Path
    sample_rate: int
    channels: int
    samples: int
    null_db: float
    """Peak of target + residual - mixture, in dBFS, of the samples as written; -inf when they are equal."""
    model: str
    runtime: str
    nfe: int
    seed: int
    seconds: float
    """Wall time the separation took."""
    cached: bool = False
    note: str = ""
    """What a person should know of the answer; may be empty."""
    treated: tuple[str, ...] = ()
    """Stems that ran through plugins. They do not null; `null_db` is that of the stems before them."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; -inf dB becomes None, since JSON has no infinity. The reverse of `from_dict`."""
        values = asdict(self)
        for key in ("target", "residual", "manifest"):
            values[key] = None if values[key] is None else str(values[key])
        values["null_db"] = self.null_db if math.isfinite(self.null_db) else None
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Separation:
        """The reverse of `to_dict`."""
        paths = {k: None if values[k] is None else Path(values[k]) for k in ("target", "residual", "manifest")}
        null_db = -math.inf if values["null_db"] is None else values["null_db"]
        return cls(**{**values, **paths, "null_db": null_db, "treated": tuple(values.get("treated", ()))})


def _check(ok: bool, code: str, text: str, remedy: str) -> None:
    if not ok:
        raise StembridgeError(code, text, remedy)


def _check_range(what: str, start_s: float, end_s: float | None) -> None:
    ends = [start_s] if end_s is None else [start_s, end_s]
    ok = all(0 <= t <= MAX_TIME_S for t in ends) and (end_s is None or start_s < end_s)
    _check(
        ok,
        "bad_region",
        f"The {what} is {start_s:g} to {'the end' if end_s is None else f'{end_s:g} s'}.",
        "Give it a start of 0 or more that lies before its end, in seconds.",
    )
