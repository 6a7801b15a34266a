"""The session that a batch leaves: a new file beside the old one, with the stems on tracks of their own."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bridge.batch.memory import STATE
from bridge.batch.plan import BatchPlan
from bridge.batch.run import Outcome
from bridge.sessions.model import NewClip, NewTrack
from bridge.sessions.reading import WRITERS
from engine.errors import StembridgeError
from engine.stems import file_errors

ADDED: Final = "stems"
_WRITTEN: Final = "written.json"


def new_tracks(plan: BatchPlan, outcomes: Sequence[Outcome]) -> tuple[NewTrack, ...]:
    """For each track and prompt a track of targets and, muted where there is one, a track of what is left."""
    made: dict[tuple[int, str, str], list[NewClip]] = {}
    for outcome in outcomes:
        result, job = outcome.result, outcome.job
        if result is None:
            continue
        clip = plan.session.tracks[job.track].clips[job.clip]
        length_s = result.samples / result.sample_rate
        for kind, path in (("", result.target), ("no ", result.residual)):
            if path is not None:
                placed = NewClip(clip, path, length_s, result.sample_rate, result.channels, result.samples)
                made.setdefault((job.track, job.request.prompt or "example", kind), []).append(placed)
    return tuple(
        NewTrack(
            f"{plan.session.tracks[track].name} · {kind}{prompt}",
            plan.session.tracks[track],
            tuple(clips),
            muted=bool(kind) and (track, prompt, "") in made,
        )
        for (track, prompt, kind), clips in made.items()
    )


def stamp(path: Path) -> tuple[int, int]:
    """What tells that a file was saved again. Raises `OSError`."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def not_placed(plan: BatchPlan, outcomes: Sequence[Outcome]) -> list[Path]:
    """Stems that a new session cannot hold: Ardour plays embedded files at the session's rate, whatever theirs is."""
    if plan.session.format != "ardour":
        return []
    made = [outcome.result for outcome in outcomes if outcome.result is not None]
    foreign = [result for result in made if result.sample_rate != plan.session.rate_hz]
    return [path for result in foreign for path in (result.target, result.residual) if path is not None]


def write_new_session(
    plan: BatchPlan, outcomes: Sequence[Outcome], out_dir: Path, read_as: tuple[int, int]
) -> Path | None:
    """Writes `<session> stems` beside the session, and answers its path; None where there is nothing to write or the
    format cannot be written. A file that an earlier run wrote and nobody changed is replaced by one that holds all that
    it holds; others are left alone.

    `read_as` is the session's `stamp` when it was read: hours may lie between. Raises `StembridgeError`: `bad_session`
    when it was saved since, `output_not_writable`, `disk_full`, and as the session's reader.
    """
    writer = WRITERS.get(plan.session.format)
    tracks = new_tracks(plan, outcomes)
    if writer is None or not tracks:
        return None
    old = plan.session.path.absolute()
    record = out_dir / STATE / _WRITTEN
    with file_errors(old.parent):
        if stamp(old) != read_as:
            raise StembridgeError(
                "bad_session",
                f"{old.name} was saved again while its stems were rendered, so no new session was made from it.",
                "Run the same command again: what has not changed is not rendered again.",
            )
        names = sorted({str(outcome.job.request.name) for outcome in outcomes if outcome.result is not None})
        path = _free(old, record, names)
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        try:
            writer(plan.session, tracks, part)
            digest = _digest(part)
            record.write_text(json.dumps({"path": str(path), "sha256": digest, "stems": names}), encoding="utf-8")
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    return path


def _free(old: Path, record: Path, names: Sequence[str]) -> Path:
    try:
        mine = json.loads(record.read_text(encoding="utf-8"))
        if not set(mine["stems"]) <= set(names):
            mine = {}  # it was asked for with other words, and holds what this one will not
    except (OSError, ValueError, KeyError, TypeError):
        mine = {}
    n = 1
    while True:
        path = old.with_name(f"{old.stem} {ADDED}{'' if n == 1 else f' {n}'}{old.suffix}")
        if not path.exists() or (mine.get("path") == str(path) and mine.get("sha256") == _digest(path)):
            return path
        n += 1


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
