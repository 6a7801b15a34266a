"""One gesture in Audacity from the selection to the new tracks: read, ask the engine, wait, bring in."""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import platformdirs

from bridge.api.protocol import API, DEFAULT_PORT, JobAnswer, JobProgress
from bridge.api.requests import Ping
from bridge.audacity import project as audacity
from bridge.audacity.pipe import Pipe
from bridge.audacity.project import Gesture, Piece, Stem
from bridge.osc.client import Client, new_rid
from engine.errors import Cancelled, StembridgeError

CONTEXT_S: Final = 5.0
"""Read on each side of a selection, as far as its clip goes: what the engine uses when nothing else is asked."""
_SLICE_S: Final = 0.5
"""How often, while a job is waited for, it is looked whether somebody cancelled it."""

Question = Callable[[str, str], str | None]
"""(what is asked, the text to start from) → the answer; None: closed."""


@dataclass(frozen=True)
class Desk:
    """What a gesture works with, and whom it talks to."""

    ask: Question | None
    """None where nobody can be asked."""
    tell: Callable[[str], None]
    on_progress: Callable[[str, JobProgress], None]
    """(the track, its job's progress)"""
    port: int = DEFAULT_PORT
    open_pipe: Callable[[], Pipe] = Pipe
    jobs_dir: Path = field(
        default_factory=lambda: Path(platformdirs.user_state_dir("stembridge", appauthor=False)) / "audacity"
    )
    """A file for each job that is waited for: what `cancel_all` cancels."""
    work_dir: Path = field(
        default_factory=lambda: Path(platformdirs.user_cache_dir("stembridge", appauthor=False)) / "audacity"
    )
    """Where the samples read from Audacity lie until their stems are made."""


@dataclass(frozen=True)
class Outcome:
    """What came of a gesture: the names of the new tracks, and what went wrong with single pieces."""

    tracks: tuple[str, ...]
    troubles: tuple[StembridgeError, ...]


def perform(gesture: Gesture, desk: Desk, prompt: str | None = None) -> Outcome:
    """Does one gesture and returns when its stems are in Audacity.

    Raises `StembridgeError`: `nothing_to_do`, `daw_not_answering`, `daw_refused`, `engine_not_running`, `cancelled`
    when every piece was; what goes wrong with single pieces is in the outcome.
    """
    _require_engine(desk.port)
    desk.work_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=desk.work_dir) as folder:
        files = _read(gesture, desk, Path(folder))
        troubles: list[StembridgeError] = []
        jobs: list[tuple[Piece, str]] = []
        try:
            words: dict[str, str] = {}
            for piece, path in files:
                try:
                    job = _submit(gesture, desk, piece, path, prompt, words)
                except StembridgeError as e:
                    if e.code == "engine_not_running":
                        raise
                    troubles.append(_of_track(piece, e))
                else:
                    if job is not None:
                        jobs.append((piece, job))
            done = []
            for piece, job in jobs:
                try:
                    done.append((piece, _wait(desk, piece, job)))
                except StembridgeError as e:
                    troubles.append(e if e.code == "cancelled" else _of_track(piece, e))
        except BaseException:
            cancel(desk, [job for _, job in jobs])
            raise
        finally:
            for _, job in jobs:
                (desk.jobs_dir / job).unlink(missing_ok=True)
        names = _bring_in(gesture, desk, done, troubles) if done else ()
    cancelled = [e for e in troubles if e.code == "cancelled"]
    if cancelled and len(cancelled) == len(files):
        raise cancelled[0]
    return Outcome(names, tuple(e for e in troubles if e.code != "cancelled"))


def cancel_all(desk: Desk) -> int:
    """Cancels every job that a gesture in Audacity waits for; returns how many. Raises `engine_not_running`."""
    waiting = sorted(path.name for path in desk.jobs_dir.glob("*")) if desk.jobs_dir.is_dir() else []
    cancel(desk, waiting, quietly=False)
    for job in waiting:
        (desk.jobs_dir / job).unlink(missing_ok=True)
    return len(waiting)


def cancel(desk: Desk, jobs: list[str], *, quietly: bool = True) -> None:
    """Cancels jobs; `quietly` also where the engine is gone."""
    try:
        for job in jobs:
            with Client(desk.port) as client:
                client.cancel(job)
    except StembridgeError:
        if not quietly:
            raise


def _require_engine(port: int) -> None:
    with Client(port) as client:
        pong = client.ask(Ping(new_rid()))
    if pong.api != API:
        raise StembridgeError(
            "engine_not_running",
            f"The Stembridge engine (version {pong.version}, API {pong.api}) and this command (API {API}) do not fit "
            "together, so nothing was sent.",
            "Stop the engine and start the one of this installation: stembridge serve",
        )


def _read(gesture: Gesture, desk: Desk, folder: Path) -> list[tuple[Piece, Path]]:
    with desk.open_pipe() as pipe:
        selection = audacity.read_selection(pipe)
        asked = audacity.pieces(selection, gesture, CONTEXT_S)
        audacity.refuse_envelopes(pipe, asked)
        files = []
        try:
            for n, piece in enumerate(asked, 1):
                path = audacity.capture(pipe, piece, folder / f"{n}.wav")
                named = folder / str(n) / f"{_file_name(piece.track.name)}.wav"
                named.parent.mkdir()
                files.append((piece, path.rename(named)))
        finally:
            audacity.select(pipe, selection)
    return files


def _submit(
    gesture: Gesture, desk: Desk, piece: Piece, path: Path, prompt: str | None, words: dict[str, str]
) -> str | None:
    """The job's id; None where the person closed the question. `words` keeps the answers, one for each track."""
    name = piece.track.name
    prompt = prompt or words.get(name)
    if gesture == "remove" and prompt is None and desk.ask is not None:
        answer = desk.ask(f"What is to be removed from “{piece.track.shown}”?", name)
        if not answer:
            return None
        prompt = None if answer == name else answer
    begin = piece.heard[0]
    fields: dict[str, Any] = {"path": str(path), "rate": piece.track.rate_hz, "context": _samples_of_context(piece)}
    fields |= {"start": piece.region[0] - begin, "end": piece.region[1] - begin, "position": piece.region[0]}
    if piece.span is not None:
        fields["span+"] = [[piece.span[0] - begin, piece.span[1] - begin]]
    with Client(desk.port) as client:
        try:
            job = client.submit(fields | _words(prompt, name))
        except StembridgeError as e:
            if e.code != "no_prompt" or prompt is not None or desk.ask is None:
                raise
            answer = desk.ask(f"“{piece.track.shown}” is no prompt. What is to be taken out?", "")
            if not answer:
                return None
            prompt = answer
            job = client.submit(fields | _words(prompt, name))
    if prompt is not None:
        words[name] = prompt
    desk.jobs_dir.mkdir(parents=True, exist_ok=True)
    (desk.jobs_dir / job).touch()
    return job


def _words(prompt: str | None, track: str) -> dict[str, str]:
    return {"track": track} if prompt is None else {"prompt": prompt}


def _samples_of_context(piece: Piece) -> int:
    return round(CONTEXT_S * piece.track.rate_hz)


def _wait(desk: Desk, piece: Piece, job: str) -> JobAnswer:
    """How a job ended. While the engine is gone it is waited for: it takes its jobs up again when it is back."""
    gone = False
    while (desk.jobs_dir / job).exists():
        try:
            with Client(desk.port) as client:
                while (desk.jobs_dir / job).exists():
                    with suppress(TimeoutError):
                        return client.wait(
                            job, on_progress=lambda p: desk.on_progress(piece.track.shown, p), timeout_s=_SLICE_S
                        )
        except StembridgeError as e:
            if e.code != "engine_not_running":
                raise
            if not gone:
                desk.tell(
                    "The Stembridge engine has stopped, and a request waits for it. Start it again with: "
                    "stembridge serve. Ctrl-C gives up."
                )
            gone = True
            time.sleep(_SLICE_S)
    raise Cancelled


def _bring_in(
    gesture: Gesture, desk: Desk, done: list[tuple[Piece, JobAnswer]], troubles: list[StembridgeError]
) -> tuple[str, ...]:
    """From the lowest track up, so that what lies above keeps its place; the latest piece of a track first."""
    names: list[str] = []
    n_new: Counter[int] = Counter()
    """New tracks under the track of that place."""
    done = sorted(done, key=lambda pair: (-pair[0].track.index, -pair[0].region[0]))
    with desk.open_pipe() as pipe:
        selection = None
        with suppress(StembridgeError):  # nothing is selected now: then nothing is selected again
            selection = audacity.read_selection(pipe)
        there = audacity.unchanged(pipe, [piece for piece, _ in done], selection.tracks if selection else ())
        n_tracks = audacity.count_tracks(pipe)
        for (piece, answer), in_place in zip(done, there, strict=True):
            stems = _stems(gesture, piece, answer)
            if lost := [stem.path for stem in stems if not stem.path.is_file()]:
                text = f"“{piece.track.shown}”: the stem {lost[0]} is no longer on the disk."
                troubles.append(StembridgeError("file_not_found", text, "Please ask again."))
                continue
            before = n_tracks
            above = piece.track.index + 1 if in_place else n_tracks
            if gesture == "remove" and in_place:
                audacity.set_aside(pipe, piece, above, n_tracks)
                n_tracks += 1
            elif gesture == "remove":
                text = f"“{piece.track.shown}” was changed meanwhile, so nothing was cut from it."
                troubles.append(StembridgeError("daw_refused", text, "Mute the part that was removed from."))
            for n, stem in enumerate(stems):
                audacity.bring_in(pipe, stem, above + n, n_tracks)
                n_tracks += 1
                names.append(stem.name)
            n_new[piece.track.index] += n_tracks - before if in_place else 0
            if answer.note:
                desk.tell(f"“{piece.track.shown}”: {answer.note}")
        if selection is not None:
            audacity.select(pipe, selection, n_new)
    return tuple(names)


def _stems(gesture: Gesture, piece: Piece, answer: JobAnswer) -> list[Stem]:
    prompt = json.loads(Path(answer.manifest).read_text(encoding="utf-8"))["prompt"]
    track, position = piece.track, piece.region[0]
    target = Path(answer.target), f"{track.shown} · {prompt}"
    residual = Path(answer.residual), f"{track.shown} · no {prompt}"
    first, second = (residual, target) if gesture == "remove" else (target, residual)
    return [Stem(*first, position, False, track), Stem(*second, position, True, track)]


def _of_track(piece: Piece, error: StembridgeError) -> StembridgeError:
    return StembridgeError(error.code, f"“{piece.track.shown}”: {error.text}", error.remedy)


def _file_name(track: str) -> str:
    """A track's name as a part of a file's name; the stems are named after it."""
    return re.sub(r"[^\w ()-]+", "_", track).strip(" _")[:40] or "track"
