"""Text to token numbers as uncased BERT models read it: lowercase, no accents, longest known pieces of each word."""

from __future__ import annotations

import unicodedata
from functools import cache
from pathlib import Path
from typing import Final

_LONGEST_WORD: Final = 100
"""Characters; longer words are unknown, as in the reference tokenizer."""


@cache
def read_vocabulary(path: Path) -> dict[str, int]:
    """Piece → number, one piece a line. Raises `OSError`."""
    return {piece: number for number, piece in enumerate(path.read_text(encoding="utf-8").splitlines())}


def tokenize(text: str, vocabulary: dict[str, int], longest: int) -> list[int]:
    """The numbers of a text's pieces between [CLS] and [SEP], at most `longest` in all; what is behind is dropped."""
    numbers = [number for word in _words(text) for number in _pieces(word, vocabulary)]
    return [vocabulary["[CLS]"], *numbers[: longest - 2], vocabulary["[SEP]"]]


def _words(text: str) -> list[str]:
    """Words and single marks, in order."""
    spaced = []
    for c in unicodedata.normalize("NFD", text.lower()):
        kind = unicodedata.category(c)
        if kind == "Mn" or c == "\ufffd" or (kind in ("Cc", "Cf", "Cn", "Co") and c not in "\t\n\r"):
            continue
        spaced.append(f" {c} " if kind.startswith("P") or c in "$+<=>^`|~" or _is_ideograph(c) else c)
    return "".join(spaced).split()


def _is_ideograph(c: str) -> bool:
    code = ord(c)
    return (
        0x4E00 <= code <= 0x9FFF or 0x3400 <= code <= 0x4DBF or 0xF900 <= code <= 0xFAFF or 0x20000 <= code <= 0x2FA1F
    )


def _pieces(word: str, vocabulary: dict[str, int]) -> list[int]:
    if len(word) > _LONGEST_WORD:
        return [vocabulary["[UNK]"]]
    found, at = [], 0
    while at < len(word):
        for end in range(len(word), at, -1):
            number = vocabulary.get(("##" if at else "") + word[at:end])
            if number is not None:
                found.append(number)
                at = end
                break
        else:
            return [vocabulary["[UNK]"]]
    return found
