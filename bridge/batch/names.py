"""The names of a batch's stems: from tracks' names, and each its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bridge.asking.presets import MAX_NAME_BYTES


def plain(name: str) -> str:
    """A track's name as part of a file name; its extension, if it looks like one, stays."""
    words = "".join(c if c.isalnum() or c in " -_'()" else " " for c in name.split("::")[0] or name)
    return " ".join(words.split())[:100].strip() or "track"


def own_names(wanted: Sequence[str]) -> Iterator[str]:
    """The names with a number where several are alike, in capitals or not; none comes twice."""
    groups: dict[str, int] = {}
    for name in wanted:
        groups[name.casefold()] = groups.get(name.casefold(), 0) + 1
    used: set[str] = set()
    counts: dict[str, int] = {}
    for name in wanted:
        key, own = name.casefold(), name
        if groups[key] > 1:
            width = max(2, len(str(groups[key])))
            while True:
                counts[key] = counts.get(key, 0) + 1
                own = f"{_fitting(name)} {counts[key]:0{width}d}"
                if own.casefold() not in used and own.casefold() not in groups:
                    break
        used.add(own.casefold())
        yield own


def _fitting(name: str) -> str:
    while len(name.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES:
        name = name[:-1]
    return name.rstrip(". ")
