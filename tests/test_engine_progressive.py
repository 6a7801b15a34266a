"""A draft first, the result in its place: what is told, what is left on disk, and how either comes to an end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from engine import models, progressive
from engine.audio import inspect
from engine.drafts import LEAD_S, PART_S, WHOLE_S, discard_drafts, draft_name, part_draft, whole_draft
from engine.errors import Cancelled, StembridgeError
from engine.jobs.job import JobState
from engine.jobs.journal import Journal
from engine.jobs.queue import JobQueue
from engine.models import Shelf
from engine.progressive import DRAFT_SHARE, deliver
from engine.request import MAX_NAME_BYTES, Progress, Separation, SeparationRequest, Span
from engine.separate import separate
from engine.stems import StemFiles

MakeFile = Callable[..., Path]
RATE = 8_000


@pytest.fixture
def song(tmp_path: Path) -> Path:
    """A minute and a half at a low rate."""
    path = tmp_path / "song.wav"
    soundfile.write(path, np.random.default_rng(3).uniform(-0.5, 0.5, 90 * RATE), RATE, subtype="FLOAT")
    return path


@pytest.fixture
def flow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request is answered by a model that has drafts."""
    monkeypatch.setattr(models, "choose", lambda request: "fake")
    monkeypatch.setattr(models, "find", lambda name: SimpleNamespace(kind="flow"))


class Made:
    """Separates by halving; keeps what it was asked, and may fail or be cancelled at one of its requests."""

    def __init__(self, fails: dict[int, BaseException] | None = None) -> None:
        self.asked: list[SeparationRequest] = []
        self.there: list[list[str]] = []
        self.fails = fails or {}

    def __call__(self, request: SeparationRequest, on_progress: Callable[[Progress], None]) -> Separation:
        self.asked.append(request)
        self.there.append(stems_in(request.out_dir))
        info = inspect(request.source)
        for fraction in (0.0, 0.5):
            on_progress(Progress(fraction, "separating", 1.0))
        if len(self.asked) in self.fails:
            raise self.fails[len(self.asked)]
        samples = soundfile.read(request.source[0], dtype="float32", always_2d=True)[0].T
        name = request.name or "song.drums"
        with StemFiles(request.out_dir, name, "both", info, time_reference=0, description="") as files:
            files.write(samples, samples / 2)
            paths, manifest = files.publish({"quality": request.quality})
        on_progress(Progress(1.0, "done", 0.0))
        n = samples.shape[1]
        return Separation(paths["target"], paths["residual"], manifest, RATE, 1, n, -140.0, "fake", "fake", 2, 0, 0.1)


def stems_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def ask(song: Path, **fields: Any) -> SeparationRequest:
    return SeparationRequest((song,), "drums", song.parent / "out", **{"quality": "progressive", **fields})


def test_the_draft_is_told_with_its_files_there_and_gone_when_the_result_is(song: Path, flow: None) -> None:
    seen: list[tuple[Progress, list[str]]] = []
    made = Made()
    request = ask(song)
    done = deliver(request, made, on_progress=lambda p: seen.append((p, stems_in(request.out_dir))))
    assert [one.quality for one in made.asked] == ["draft", "progressive"]
    ((told, there),) = [(p, files) for p, files in seen if p.draft is not None]
    assert told.draft is not None
    assert told.draft.offset_samples == 0
    name = draft_name(request)
    assert there == sorted(f"{name}.{end}" for end in ("json", "residual.wav", "target.wav"))
    assert told.draft.stems.target == request.out_dir / f"{name}.target.wav"
    assert stems_in(request.out_dir) == ["song.drums.json", "song.drums.residual.wav", "song.drums.target.wav"]
    assert done.target == request.out_dir / "song.drums.target.wav"
    fractions = [p.fraction for p, _ in seen]
    assert fractions == sorted(fractions)
    assert (told.fraction, fractions[-1]) == (DRAFT_SHARE, 1.0)
    assert {p.stage for p, _ in seen} == {"drafting", "refining", "done"}


@pytest.mark.parametrize("quality", ["draft", "fast", "best"])
def test_other_qualities_are_made_at_once(song: Path, flow: None, quality: Any) -> None:
    made, request = Made(), ask(song, quality=quality)
    deliver(request, made, on_progress=lambda p: pytest.fail("a draft") if p.draft else None)
    assert made.asked == [request]


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("error", [Cancelled(), StembridgeError("disk_full", "The disk is full."), KeyboardInterrupt()])
def test_a_cancel_or_failure_leaves_no_file(song: Path, flow: None, at: int, error: BaseException) -> None:
    request = ask(song)
    made = Made({at: error})
    with pytest.raises(type(error)):
        deliver(request, made)
    assert len(made.asked) == at
    assert stems_in(request.out_dir) == []


def test_a_draft_of_an_earlier_life_is_found_and_goes_too(song: Path, flow: None) -> None:
    request = ask(song)
    Made()(whole_draft(request), lambda p: None)
    Made()(whole_draft(request), lambda p: None)  # killed twice
    (request.out_dir / f"{draft_name(request)}.target.wav").with_name(f"{draft_name(request)} 3.target.wav").touch()
    assert len(stems_in(request.out_dir)) == 7
    deliver(request, Made())
    assert stems_in(request.out_dir) == ["song.drums.json", "song.drums.residual.wav", "song.drums.target.wav"]


def test_after_a_kill_between_draft_and_result_the_journal_runs_it_again_and_no_draft_is_left(
    song: Path, flow: None
) -> None:
    journal_path, request = song.parent / "jobs", ask(song)
    script = Path(__file__).with_name("draft_process.py")
    env = {**os.environ, "PYTHONPATH": f"{script.parent}:{script.parents[1]}"}
    command = [sys.executable, str(script), str(journal_path), str(song)]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "drafted\n"
        process.kill()
    assert [name for name in stems_in(request.out_dir) if draft_name(request) in name]
    made, told = Made(), []
    with (
        Journal(journal_path) as journal,
        JobQueue(
            lambda r, on_progress, cancelled: deliver(r, made, on_progress=on_progress),
            journal,
            on_event=lambda event: told.append(event.kind),
        ) as queue,
    ):
        (job,) = queue.jobs()
        assert queue.wait(job.id, 60).state is JobState.DONE
    assert [kind for kind in told if kind != "progress"] == ["queued", "draft", "done"]
    assert stems_in(request.out_dir) == ["song.drums.json", "song.drums.residual.wav", "song.drums.target.wav"]


def test_a_draft_that_was_edited_is_the_users_own_now(song: Path, flow: None) -> None:
    request = ask(song)
    kept: list[Path] = []

    def edit(progress: Progress) -> None:
        if progress.draft is not None and progress.draft.stems.target is not None:
            with progress.draft.stems.target.open("ab") as file:
                file.write(b"theirs")
            kept.append(progress.draft.stems.target)

    deliver(request, Made(), on_progress=edit)
    assert kept[0].read_bytes().endswith(b"theirs")
    assert not kept[0].with_name(kept[0].name.replace("target", "residual")).exists()


def test_only_the_requests_own_drafts_are_removed(song: Path, flow: None) -> None:
    request, other = ask(song), ask(song, seed=1)
    for one in (request, other):
        Made()(whole_draft(one), lambda p: None)
    theirs = request.out_dir / "song.drums.draft.target.wav"
    theirs.write_bytes(b"a person's own")
    assert draft_name(request) != draft_name(other)
    discard_drafts(request)
    assert stems_in(request.out_dir) == sorted(
        [theirs.name, *(f"{draft_name(other)}.{end}" for end in ("json", "residual.wav", "target.wav"))]
    )
    discard_drafts(replace(other, quality="fast"))  # has none
    assert len(stems_in(request.out_dir)) == 4


def test_a_long_name_leaves_room_for_the_drafts_mark(song: Path) -> None:
    name = draft_name(ask(song, name="ä" * (MAX_NAME_BYTES // 2)))
    assert len(name.encode()) <= MAX_NAME_BYTES
    assert ".draft-" in name


@pytest.mark.parametrize(
    ("playhead_s", "begin_s"),
    [(45.0, 45.0 - LEAD_S), (12.0, 10.0), (0.0, 10.0), (79.0, 80.0 - PART_S), (900.0, 80.0 - PART_S)],
)
def test_the_draft_of_a_long_region_is_the_part_around_the_playhead(
    song: Path, playhead_s: float, begin_s: float
) -> None:
    request = ask(song, start_s=10.0, end_s=80.0, playhead_s=playhead_s, position_s=100.0)
    part = part_draft(request)
    assert part is not None
    assert (part.start_s, part.end_s) == (begin_s, begin_s + PART_S)
    assert part.position_s == 100.0 + begin_s - 10.0
    assert (part.quality, part.playhead_s) == ("draft", None)


def test_short_regions_and_those_without_a_playhead_are_drafted_whole(song: Path, flow: None) -> None:
    assert part_draft(ask(song)) is None
    assert part_draft(ask(song, start_s=10.0, end_s=10.0 + WHOLE_S, playhead_s=20.0)) is None
    assert part_draft(ask(song, start_s=10.0, end_s=10.1 + WHOLE_S, playhead_s=20.0)) is not None


def test_spans_elsewhere_are_left_out_of_a_parts_request(song: Path) -> None:
    near, far = Span("+", 50.0, 51.0), Span("-", 80.0, 81.0)
    part = part_draft(ask(song, spans=(near, far), playhead_s=50.0))
    assert part is not None
    assert part.spans == (near,)
    nameless = replace(ask(song), prompt="", spans=(far, Span("+", 81.0, 82.0)), playhead_s=50.0)
    assert part_draft(nameless) is None  # nothing near the playhead says what to take


def test_a_part_tells_where_in_the_region_it_begins(song: Path, flow: None) -> None:
    seen: list[Progress] = []
    deliver(ask(song, start_s=10.0, playhead_s=45.0), Made(), on_progress=seen.append)
    (draft,) = [p.draft for p in seen if p.draft is not None]
    assert draft.offset_samples == 30 * RATE


def test_what_waits_for_the_same_region_is_turned_into_its_draft_and_then_into_itself(song: Path, flow: None) -> None:
    turns: list[list[str]] = []
    others = [ask(song, seed=1), ask(song, quality="best")]
    deliver(ask(song), Made(), ahead=lambda turn, told: turns.append([turn(one).quality for one in others]))
    assert turns == [["draft", "best"], ["progressive", "best"]]


# The model that ships


def test_a_mask_model_gives_its_result_at_once_and_says_so(mixture_file: MakeFile, tmp_path: Path) -> None:
    request = SeparationRequest((mixture_file(1.0),), "vocals", tmp_path / "out", quality="progressive")
    seen: list[Progress] = []
    shelf = Shelf()
    done = deliver(request, lambda r, told: separate(r, shelf, on_progress=told), on_progress=seen.append)
    assert not any(p.draft for p in seen)
    assert "no coarser result" in done.note
    assert "no coarser result" in json.loads(done.manifest.read_text(encoding="utf-8"))["note"]


def test_the_result_does_not_depend_on_the_playhead(
    mixture_file: MakeFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.drafts.WHOLE_S", 4.0)
    monkeypatch.setattr("engine.drafts.PART_S", 2.0)
    source, shelf, drafts = mixture_file(6.0), Shelf(), []

    def stem(name: str, **fields: Any) -> bytes:
        request = SeparationRequest((source,), "vocals", tmp_path / name, **fields)
        done = deliver(
            request,
            lambda r, told: separate(r, shelf, on_progress=told),
            on_progress=lambda p: drafts.append((p.draft, p.draft.stems.samples)) if p.draft else None,
        )
        assert done.target is not None
        return done.target.read_bytes()

    plain = stem("plain", quality="progressive")
    assert not drafts
    assert stem("heard", quality="progressive", playhead_s=3.0) == plain
    ((draft, n),) = drafts
    assert n == 2 * 44_100
    assert not (draft.stems.target or source).exists()
    assert progressive.draft_of(SeparationRequest((source,), "vocals", tmp_path)) is None
