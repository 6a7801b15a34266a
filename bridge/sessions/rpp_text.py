"""REAPER's project text as a tree that remembers its lines, so that a writer can add to it and change nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

from bridge.sessions.media import bad_session

MAX_DEPTH: Final = 64
_QUOTES: Final = "\"'`"


@dataclass
class Node:
    """A chunk `<TAG …` to its `>`, or a single line."""

    text: str
    first: int
    """Its line's number, from 0."""
    last: int = -1
    """Of a chunk: the line of its `>`; of a line: its own."""
    chunk: bool = False
    children: list[Node] = field(default_factory=list)

    @cached_property
    def words(self) -> list[str]:
        """The line's words, unquoted; the first is the tag."""
        return split_words(self.text[1:] if self.chunk else self.text)

    @property
    def tag(self) -> str:
        """The first word, without looking at the rest."""
        return self.text[1:].split(" ", 1)[0] if self.chunk else self.text.split(" ", 1)[0]

    def word(self, n: int) -> str | None:
        """The n-th word, or None."""
        return self.words[n] if n < len(self.words) else None

    def all(self, tag: str) -> Iterator[Node]:
        """The children of that tag."""
        return (child for child in self.children if child.tag == tag)

    def one(self, tag: str) -> Node | None:
        """The first child of that tag."""
        return next(self.all(tag), None)


def read_tree(text: str, path: Path) -> tuple[list[str], Node]:
    """The lines with their ends, and the project's chunk. Raises `StembridgeError` (`bad_session`)."""
    lines = _lines(text)
    root: Node | None = None
    above: list[Node] = []
    for n, line in enumerate(lines):
        body = line.strip(" \t\r\n")
        if not body:
            continue
        if body == ">":
            if not above:
                raise bad_session(path, f"closes a chunk that is not open, in line {n + 1}")
            above.pop().last = n
            if not above:
                break  # REAPER, too, reads nothing after the project
            continue
        node = Node(body, n, n, chunk=body[0] == "<")
        if above:
            above[-1].children.append(node)
        elif node.chunk:
            root = node
        else:
            raise bad_session(path, "does not begin as a REAPER project does")
        if node.chunk:
            above.append(node)
            if len(above) > MAX_DEPTH:
                raise bad_session(path, f"nests more than {MAX_DEPTH} chunks, in line {n + 1}")
    if root is None or root.tag != "REAPER_PROJECT":
        raise bad_session(path, "does not begin as a REAPER project does")
    if above:
        raise bad_session(path, f"ends inside the chunk {above[-1].tag[:40]} of line {above[-1].first + 1}")
    return lines, root


def _lines(text: str) -> list[str]:
    """Lines end at a newline and nowhere else: names may hold what `str.splitlines` takes for an end."""
    *whole, rest = text.split("\n")
    return [f"{line}\n" for line in whole] + ([rest] if rest else [])


def split_words(text: str) -> list[str]:
    """Words parted by blanks; a word that begins with a quote runs to the next of its kind."""
    words, at, n = [], 0, len(text)
    while at < n:
        if text[at] in " \t":
            at += 1
        elif text[at] in _QUOTES:
            end = text.find(text[at], at + 1)
            end = n if end < 0 else end
            words.append(text[at + 1 : end])
            at = end + 1
        else:
            end = at
            while end < n and text[end] not in " \t":
                end += 1
            words.append(text[at:end])
            at = end
    return words


def quoted(text: str) -> str:
    """A word as REAPER writes it: in the first kind of quotes that it does not hold; backticks become primes else."""
    text = "".join(c if c >= " " else " " for c in text)
    quote = next((q for q in _QUOTES if q not in text), None)
    return f"`{text.replace('`', chr(39))}`" if quote is None else f"{quote}{text}{quote}"
