"""The words of track names: spellings, and what they stand for. Data, from `presets/vocabulary.toml`.

The user's own file, `vocabulary.toml` in the configuration folder, has the same form and wins where both speak.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal

from bridge.toml_file import Source, read_toml
from engine.errors import StembridgeError

SCHEMA: Final = 1
_SECTIONS: Final = ("schema", "nouns", "adjectives", "alone", "families", "drop")
Kind = Literal["noun", "adjective", "drop"]


@dataclass(frozen=True)
class Word:
    """What one spelling stands for."""

    kind: Kind
    text: str
    """The word in the prompt; for a dropped word, its spelling."""


@dataclass(frozen=True)
class Vocabulary:
    """All spellings, as lowercase words joined by single spaces."""

    words: Mapping[str, Word]
    alone: Mapping[str, str]
    """Adjective or dropped word → the sound it names when nothing else is in the name."""
    families: Mapping[str, frozenset[str]]
    """A noun → the nouns beside which it says nothing."""

    @cached_property
    def longest(self) -> int:
        """Words in the longest spelling."""
        return max((spelling.count(" ") + 1 for spelling in self.words), default=1)


def user_file() -> Path:
    """Where the user's own vocabulary lies, if there is one."""
    import platformdirs

    return Path(platformdirs.user_config_dir("stembridge", appauthor=False)) / "vocabulary.toml"


@cache
def default_vocabulary() -> Vocabulary:
    """Our words with the user's over them; read once. Raises `StembridgeError` as `load_vocabulary` does."""
    return load_vocabulary(user_file())


def load_vocabulary(over: Path | None = None) -> Vocabulary:
    """Our words, with those of the file `over` laid on top where it exists.

    Raises `StembridgeError` (`bad_preset`) naming the file and the line or key that is wrong.
    """
    ours = _read(files("presets") / "vocabulary.toml", None)
    return _read(over, ours) if over is not None and over.exists() else ours


def spelling(text: str) -> str:
    """The form in which spellings are compared: lowercase, hyphens and underscores as spaces, one space at a time."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    return " ".join(text.replace("-", " ").replace("_", " ").split())


def _read(path: Source, below: Vocabulary | None) -> Vocabulary:
    data = read_toml(path)
    for section in data:
        if section not in _SECTIONS:
            near = difflib.get_close_matches(section, _SECTIONS, 1)
            hint = f"Did you mean {near[0]!r}?" if near else f"The sections are {', '.join(_SECTIONS)}."
            raise _wrong(path, section, "is no section of a vocabulary", hint)
    if data.get("schema") != SCHEMA:
        raise _wrong(path, "schema", f"is {data.get('schema')!r}", f"Begin the file with: schema = {SCHEMA}")
    words: dict[str, Word] = {}
    joined: dict[str, Word] = {}
    for key, text, word in _entries(path, data):
        if text in words and words[text] != word:
            other = words[text]
            raise _wrong(
                path, key, f"gives {text!r} a second meaning", f"It already stands for {other.text!r} ({other.kind})."
            )
        words[text] = word
        joined.setdefault(text.replace(" ", ""), word)
    base = below or Vocabulary({}, {}, {})
    words = {**base.words, **joined, **words}
    alone = {**base.alone, **_alone(path, data, words)}
    return Vocabulary(words, alone, {**base.families, **_families(path, data, words)})


def _entries(path: Source, data: dict[str, Any]) -> Iterator[tuple[str, str, Word]]:
    """Each (key for messages, spelling, word) of the nouns, adjectives and dropped words."""
    kinds: dict[str, Kind] = {"nouns": "noun", "adjectives": "adjective", "drop": "drop"}
    for section, kind in kinds.items():
        for name, spellings in _table(path, data, section).items():
            key = f"{section}.{name}"
            if not isinstance(spellings, list) or not all(isinstance(s, str) and spelling(s) for s in spellings):
                raise _wrong(path, key, f"is {spellings!r}", 'Give it a list of words in quotes: ["one", "two"].')
            if kind != "drop":
                # A word stands for itself; its text may hold the hyphen that its spelling lacks.
                text = " ".join(name.lower().split())
                if not spelling(text) or not text.isprintable():
                    raise _wrong(path, key, "is not a word", "Name what can be heard, such as 'lead vocals'.")
                yield key, spelling(text), Word(kind, text)
            for each in map(spelling, spellings):
                yield key, each, Word(kind, each if kind == "drop" else text)


def _alone(path: Source, data: dict[str, Any], words: Mapping[str, Word]) -> dict[str, str]:
    alone = {}
    for name, sound in _table(path, data, "alone").items():
        key = f"alone.{name}"
        if not isinstance(sound, str) or not sound.strip():
            raise _wrong(path, key, f"is {sound!r}", 'Give it one phrase in quotes, such as "acoustic guitar".')
        word = words.get(spelling(name))
        if word is None or word.kind == "noun":
            raise _wrong(path, key, "is neither an adjective nor a dropped word", "List it under one of them first.")
        alone[word.text] = " ".join(sound.lower().split())
    return alone


def _families(path: Source, data: dict[str, Any], words: Mapping[str, Word]) -> dict[str, frozenset[str]]:
    families = {}
    for name, members in _table(path, data, "families").items():
        key = f"families.{name}"
        if not isinstance(members, list):
            raise _wrong(path, key, f"is {members!r}", 'Give it a list of nouns in quotes: ["one", "two"].')
        for noun in (name, *members):
            if not isinstance(noun, str) or words.get(spelling(noun), Word("drop", "")).text != noun:
                raise _wrong(path, key, f"names {noun!r}, which is not among the nouns", "List it under nouns first.")
        families[name] = frozenset(members)
    return families


def _table(path: Source, data: dict[str, Any], section: str) -> dict[str, Any]:
    table = data.get(section, {})
    if not isinstance(table, dict):
        raise _wrong(path, section, "is not a section", f"Write it as [{section}] on a line of its own.")
    return table


def _wrong(path: Source, key: str, what: str, remedy: str) -> StembridgeError:
    return StembridgeError("bad_preset", f"{path}: {key} {what}.", remedy)
