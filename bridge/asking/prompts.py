"""From the name of a track to a prompt: `03_LeadVox_DI (take 2)` → `lead vocals`.

A name is cut into words; the words of `bridge.asking.vocabulary` are spelt out or dropped, numbers and single letters
go, and adjectives come to stand before their noun. Words that nobody knows are kept: the prompt is open vocabulary. A
name of which nothing is left asks for nothing, and the user is asked instead.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Literal

from bridge.asking.vocabulary import Kind, Vocabulary, Word, default_vocabulary

AS_IT_STANDS: Final = "::"
"""What follows it in a track's name is the prompt, as it stands."""

_MAX_NAME_CHARS: Final = 4_096
"""Longer than any track's name; the rest of a hostile one is not read."""
_LINKS: Final = frozenset(["and", "or", "plus", "with", "without", "no", "not", "minus", "except", "but"])
_NEVER_FIRST: Final = frozenset(["and", "or", "plus", "with", "but"])
_SIGNS: Final = ((re.compile(r"\bw/o\b", re.I), " without "), (re.compile(r"\bw/", re.I), " with "))
_CASES: Final = re.compile(r"A+(?=Aa)|A?a+|A+|0+")
"""Words in the shape of a chunk: A capital, a small or caseless, 0 digit."""
_ROUNDS: Final = 8
"""A prompt is read again until it stands; ours need two, a user's words may follow one another a little further."""


@dataclass(frozen=True)
class _Item:
    kind: Kind | Literal["link", "other"]
    text: str


def prompt_from_track(name: str, vocabulary: Vocabulary | None = None) -> str | None:
    """The prompt that a track's name spells, or None when it spells none and the user has to be asked.

    Never raises for any text. Without `vocabulary` the default one is read, which raises `StembridgeError`
    (`bad_preset`) when the user's own file is wrong.
    """
    before, mark, after = name[:_MAX_NAME_CHARS].partition(AS_IT_STANDS)
    if mark:
        return " ".join(_printable(after).split()) or None
    vocabulary = default_vocabulary() if vocabulary is None else vocabulary
    prompt = unicodedata.normalize("NFKC", before)  # names from macOS come with their accents apart
    for _ in range(_ROUNDS):
        again = _read(prompt, vocabulary)
        if again == prompt:
            break
        prompt = again
    return prompt or None


def _read(text: str, vocabulary: Vocabulary) -> str:
    """One reading of a name; the empty text when nothing is left."""
    items = list(_items(_words(_printable(text), vocabulary), vocabulary))
    kept = [item for item in items if item.kind != "drop"]
    if not any(item.kind in ("noun", "other") for item in kept):
        kept = _alone(kept, items, vocabulary)
    return _lower(" ".join(_join(kept, vocabulary)))


def _printable(text: str) -> str:
    """Without what cannot be seen: joiners and marks of direction vanish, control characters become spaces."""
    seen = (c for c in text if unicodedata.category(c) != "Cf" and not "\ufe00" <= c <= "\ufe0f")
    return "".join(c if c.isprintable() else " " for c in seen)


def _lower(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())


# Cutting


def _words(text: str, vocabulary: Vocabulary) -> list[str]:
    """Lowercase words: cut at spaces and signs, and inside at capitals and digits."""
    for sign, spelt in _SIGNS:
        text = sign.sub(spelt, text)
    text = re.sub("[&+/]", " and ", text.replace("’", "'"))
    text = "".join(c if unicodedata.category(c)[0] in "LMN" or c == "'" else " " for c in text)
    words = (_lower(piece).strip("'") for chunk in text.split() for piece in _pieces(chunk, vocabulary))
    return [word for word in words if any(unicodedata.category(c)[0] in "LN" for c in word)]


def _pieces(chunk: str, vocabulary: Vocabulary) -> list[str]:
    """A chunk without spaces in its words, unless it is a word as it is: LeadVox is two, BGVs and SM57 one."""
    if _lower(chunk) in vocabulary.words:
        return [chunk]
    pieces = [chunk[m.start() : m.end()] for m in _CASES.finditer("".join(map(_case, chunk)))]
    for at in range(len(pieces) - 1):
        # GTRac is GTR and ac though BGVocals is BG and Vocals: the word that is known decides
        capitals, after = pieces[at], pieces[at + 1]
        if capitals.isupper() and _lower(after) not in vocabulary.words:
            longer = capitals + after[0]
            if after[0].isupper() and len(after) > 1 and _lower(longer) in vocabulary.words:
                pieces[at : at + 2] = [longer, after[1:]]
    return pieces


def _case(c: str) -> str:
    if unicodedata.category(c)[0] == "N":
        return "0"
    return "A" if c != c.lower() else "a"


# Reading


def _items(words: list[str], vocabulary: Vocabulary) -> Iterator[_Item]:
    """The longest known spelling at each place; what is not known is kept, but for numbers and single letters."""
    at = 0
    while at < len(words):
        for n in range(min(vocabulary.longest, len(words) - at), 0, -1):
            known = vocabulary.words.get(" ".join(words[at : at + n]))
            if known is not None:
                break
        else:
            n, known = 1, None
        yield _item(words, at, known)
        at += n


def _item(words: list[str], at: int, known: Word | None) -> _Item:
    word = words[at]
    if known is not None:
        return _Item(known.kind, known.text)
    if all(unicodedata.category(c)[0] == "N" for c in word) or re.fullmatch("[a-z]", word):
        return _Item("drop", word)
    if word == "no" and at + 1 < len(words) and unicodedata.category(words[at + 1][0])[0] == "N":
        return _Item("drop", word)  # number, not negation
    return _Item("link" if word in _LINKS else "other", word)


def _alone(kept: list[_Item], items: list[_Item], vocabulary: Vocabulary) -> list[_Item]:
    """What a name means that has adjectives or places only: 'Acoustic', 'OH L'."""
    for at in reversed(range(len(kept))):
        sound = vocabulary.alone.get(kept[at].text)
        if sound is not None:
            return [*kept[:at], _Item("noun", sound), *kept[at + 1 :]]
    dropped = (vocabulary.alone[item.text] for item in items if item.text in vocabulary.alone)
    sound = None if any(item.kind == "adjective" for item in kept) else next(dropped, None)
    return kept if sound is None else [_Item("noun", sound)]


# Joining


def _join(items: list[_Item], vocabulary: Vocabulary) -> list[str]:
    """The prompt's words: each stretch between 'and', 'without' … in order, without links that hang loose."""
    texts: list[str] = []
    stretch: list[_Item] = []
    link: list[str] = []
    for item in [*items, _Item("link", "")]:
        if item.kind != "link":
            stretch.append(item)
            continue
        if stretch:
            texts += [word for word in link if texts or word not in _NEVER_FIRST]
            texts += [each.text for each in _order(_distinct(stretch, vocabulary))]
            stretch, link = [], []
        if item.text not in link:
            link.append(item.text)
    return texts


def _distinct(items: list[_Item], vocabulary: Vocabulary) -> list[_Item]:
    """Without a family's name beside one of its members, and without saying a known word twice."""
    nouns = {item.text for item in items if item.kind == "noun"}
    said = {word for noun in nouns for word in noun.split()}
    kept: list[_Item] = []
    for item in items:
        family = item.kind == "noun" and bool(vocabulary.families.get(item.text, frozenset()) & (nouns - {item.text}))
        twice = item.kind != "other" and (item in kept or (item.kind == "adjective" and item.text in said))
        if not family and not twice:
            kept.append(item)
    return kept


def _order(items: list[_Item]) -> list[_Item]:
    """Adjectives that follow their noun go before it, the nearest to it staying nearest; those before a noun stay."""
    runs = [(kind, list(run)) for kind, run in groupby(items, key=lambda item: item.kind)]
    ordered: list[_Item] = []
    for at, (kind, run) in enumerate(runs):
        after_noun = at > 0 and runs[at - 1][0] == "noun"
        before_noun = at + 1 < len(runs) and runs[at + 1][0] == "noun"
        if kind == "adjective" and after_noun and not before_noun:
            place = len(ordered) - len(runs[at - 1][1])
            ordered[place:place] = reversed(run)
        else:
            ordered += run
    return ordered
