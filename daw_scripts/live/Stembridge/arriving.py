"""Brings one gesture's stems in: copies them into the set's project a little in each tick, then places all at once."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from . import drafts, placing, rounds
from .asking import file_name
from .desk import Desk, close_entries, say

FOLDER = ("Samples", "Stembridge")
"""In the set's project, beside the samples Live itself keeps there."""
BLOCK_BYTES = 131_072


@dataclass
class Copy:
    """One stem on its way into the project."""

    stem: placing.Stem
    kind: str
    source: Path
    place: Path


@dataclass
class Arriving:
    """One gesture's results."""

    entries: list[dict[str, Any]]
    stems: list[placing.Stem] = field(default_factory=list)
    nameless: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    """What the engine says of a request's stems: "not found", "not measured"."""
    to_copy: list[Copy] = field(default_factory=list)
    open_files: tuple[BinaryIO, BinaryIO] | None = None
    is_draft: bool = False
    """Whether it is a draft, of one request, that is coming: what goes wrong with it is said of the result."""


def begin(desk: Desk, entries: list[dict[str, Any]]) -> None:
    """Sorts out what has come."""
    arriving = Arriving(entries)
    project = project_folder(desk.song)
    for entry in entries:
        draft = drafts.status_of(desk, entry)
        arriving.is_draft = draft is not None
        if draft is not None:
            entry["passed"] = draft["target"]
            if entry.get("drafted") and not drafts.lying(desk.song, entry):
                return  # it was changed: that is said when the result comes
        status = draft or desk.answers[entry["rid"]]
        if entry.get("cancelled") or status["state"] == "cancelled":
            continue
        if status["state"] == "done":
            _expect(desk, arriving, entry, status, project)
            if status.get("note") and draft is None:
                arriving.notes[entry["rid"]] = f"“{entry['piece']['track']}”: {status['note']}"
        elif status["code"] == "no_prompt":
            arriving.nameless.append(entry)
        else:
            arriving.problems.append(f"“{entry['piece']['track']}”: {status['text']}")
    desk.arriving = arriving


def go_on(desk: Desk, now_s: float, is_late: Any) -> None:
    """Copies until `is_late()`; when all is copied and nothing is being recorded, places the stems."""
    arriving: Arriving = desk.arriving
    if arriving.is_draft and arriving.entries[0].get("cancelled"):
        stop(desk)
        return
    while arriving.to_copy:
        _copy_some(arriving)
        if is_late():
            return
    if placing.is_recording(desk.song):
        return
    stems = [stem for stem in arriving.stems if not stem.lost]
    new = [stem for stem in stems if not stem.entry.get("drafted")]
    arriving.problems += placing.place(desk.song, new)
    for stem in stems:
        if stem not in new:
            arriving.problems += drafts.swap(desk.song, stem, "more of it" if arriving.is_draft else "the result")
    desk.arriving = None
    if arriving.is_draft:
        drafts.remember(desk, arriving.entries[0], stems)
        say(desk, *(arriving.problems if stems else []))
        return
    close_entries(desk, arriving.entries)
    notes = [arriving.notes[stem.entry["rid"]] for stem in stems if stem.entry["rid"] in arriving.notes]
    say(desk, *arriving.problems, *notes)
    if arriving.nameless:
        rounds.put_question(desk, arriving.nameless, now_s)


def stop(desk: Desk) -> None:
    """Leaves it as it is; the requests are still in the ledger, and it is begun again when the set is opened again."""
    if desk.arriving is not None and desk.arriving.open_files is not None:
        _give_up(desk.arriving, desk.arriving.to_copy[0])
    desk.arriving = None


def project_folder(song: Any) -> Path | None:
    """Where the set's project keeps our stems; None while the set was never saved."""
    path = getattr(song, "file_path", "")
    return Path(path).parent.joinpath(*FOLDER) if path else None


def _expect(
    desk: Desk, arriving: Arriving, entry: dict[str, Any], status: dict[str, Any], project: Path | None
) -> None:
    paths = {kind: Path(status[kind]) for kind in ("target", "residual")}
    gone = [str(path) for path in paths.values() if not path.is_file()]
    if gone:
        text = f"the stem {gone[0]} is no longer on the disk. Please ask again."
        arriving.problems.append(f"“{entry['piece']['track']}”: {text}")
        return
    stem = placing.Stem(entry, _prompt_of(status), paths, status["job"], status.get("part"))
    arriving.stems.append(stem)
    if project is None or not placing.can_place(desk.song):
        return
    tail, n = entry["rid"].removeprefix("live-"), len(entry.get("drafted", ())) + 1
    # Live keeps what it has drawn of a file by its name, and Redo needs the earlier ones.
    mark = f".draft.{n}" if arriving.is_draft and n > 1 else ".draft" * arriving.is_draft
    for kind, path in paths.items():
        name = f"{file_name(placing.track_name(stem, kind))} {tail}{mark}.{kind}.wav"
        arriving.to_copy.append(Copy(stem, kind, path, project / name))


def _prompt_of(status: dict[str, Any]) -> str:
    """The words the engine made of the track's name: they stand in the manifest."""
    try:
        prompt = json.loads(Path(status["manifest"]).read_text(encoding="utf-8"))["prompt"]
    except (OSError, ValueError, KeyError, TypeError):  # the stems are there; only their name is poorer
        return "stem"
    return str(prompt)


def _copy_some(arriving: Arriving) -> None:
    """One block of the stem in front. A copy that cannot be made ends its pair."""
    copy = arriving.to_copy[0]
    try:
        if arriving.open_files is None:
            copy.place.parent.mkdir(parents=True, exist_ok=True)
            source: BinaryIO = copy.source.open("rb")
            try:
                arriving.open_files = (source, copy.place.with_suffix(".part").open("wb"))
            except OSError:
                source.close()
                raise
            return
        source, draft = arriving.open_files
        block = source.read(BLOCK_BYTES)
        if block:
            draft.write(block)
            return
        source.close()
        draft.close()
        arriving.open_files = None
        copy.place.with_suffix(".part").replace(copy.place)
    except OSError as e:
        _give_up(arriving, copy)
        copy.stem.lost = True
        for path in copy.stem.paths.values():
            if arriving.is_draft and path.parent == copy.place.parent:  # the other one, which is of no use now
                path.unlink(missing_ok=True)
        why = f"the stem cannot be copied into the project's folder: {e.strerror}. It stays at {copy.source}."
        arriving.problems.append(f"“{copy.stem.entry['piece']['track']}”: {why}")
        arriving.to_copy = [other for other in arriving.to_copy if other.stem is not copy.stem]
        return
    copy.stem.paths[copy.kind] = copy.place
    del arriving.to_copy[0]


def _give_up(arriving: Arriving, copy: Copy) -> None:
    for file in arriving.open_files or ():
        with contextlib.suppress(OSError):  # a full disk is told once, by what failed first
            file.close()
    arriving.open_files = None
    with contextlib.suppress(OSError):
        copy.place.with_suffix(".part").unlink(missing_ok=True)
