"""A draft first, the result in its place: what is told, what is left on disk, and how either comes to an end."""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import models, progressive
from engine.audio import Source, SourceInfo, inspect, resolve
from engine.cache import ResultCache
from engine.drafts import GROWTH, LARGEST, LEAD, PART_S, discard_drafts, draft_name, part_drafts, whole_draft
from engine.errors import Cancelled, StembridgeError
from engine.jobs.job import JobEvent, JobState
from engine.jobs.journal import Journal
from engine.jobs.progress import ProgressMeter
from engine.jobs.queue import JobQueue
from engine.known import at_hand
from engine.models import Shelf
from engine.progressive import DRAFT_SHARE, deliver
from engine.request import MAX_NAME_BYTES, Draft, Progress, Separation, SeparationRequest, Span
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


@pytest.fixture(autouse=True)
def slow(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """By the clock every draft takes so long that no part is left out, or as long as a test says (s)."""

    def takes(each_s: float) -> None:
        times_s = itertools.count(step=each_s)
        monkeypatch.setattr(progressive, "monotonic", lambda: next(times_s))

    takes(1e6)
    return takes


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


ENDS = ("json", "residual.wav", "target.wav")


def stems_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


PLAYHEAD_S = 45.0


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
    journal_path, request = song.parent / "jobs", ask(song, playhead_s=PLAYHEAD_S)
    script = Path(__file__).with_name("draft_process.py")
    env = {**os.environ, "PYTHONPATH": f"{script.parent}:{script.parents[1]}"}
    command = [sys.executable, str(script), str(journal_path), str(song)]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "drafted\n"
        process.kill()
    assert len([name for name in stems_in(request.out_dir) if draft_name(request, 1) in name]) == 3
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
    assert [kind for kind in told if kind != "progress"] == ["queued", "draft", "draft", "done"]
    assert len({one.name for one in made.asked}) == 3
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


def test_of_the_draft_that_stays_no_file_is_removed(song: Path) -> None:
    request = ask(song, playhead_s=45.0)
    (part,) = part_drafts(request)
    Made()(part, lambda p: None)
    whole = Made()(whole_draft(request), lambda p: None)
    (request.out_dir / f"{draft_name(request)}.generated_residual.wav").touch()  # of `output` `generative`
    discard_drafts(request, but=whole)
    ends = ("json", "generated_residual.wav", "residual.wav", "target.wav")
    assert stems_in(request.out_dir) == sorted(f"{draft_name(request)}.{end}" for end in ends)


def test_a_long_name_leaves_room_for_the_drafts_mark(song: Path) -> None:
    name = draft_name(ask(song, name="ä" * (MAX_NAME_BYTES // 2)))
    assert len(name.encode()) <= MAX_NAME_BYTES
    assert ".draft-" in name


LEAD_S = LEAD * PART_S


@pytest.mark.parametrize(
    ("playhead_s", "begin_s"),
    [(45.0, 45.0 - LEAD_S), (12.0, 10.0), (0.0, 10.0), (79.0, 80.0 - PART_S), (900.0, 80.0 - PART_S)],
)
def test_the_first_draft_of_a_long_region_is_the_part_around_the_playhead(
    song: Path, playhead_s: float, begin_s: float
) -> None:
    request = ask(song, start_s=10.0, end_s=80.0, playhead_s=playhead_s, position_s=100.0)
    (part,) = part_drafts(request)
    assert (part.start_s, part.end_s) == (begin_s, begin_s + PART_S)
    assert part.position_s == 100.0 + begin_s - 10.0
    assert (part.quality, part.playhead_s) == ("draft", None)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 4_000), st.integers(1, 40_000), st.integers(-100, 50_000), st.integers(0, 90))
def test_each_part_holds_the_one_before_and_lies_in_the_region(start: int, n: int, playhead: int, context: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        info = SourceInfo((Path("/a.wav"),), 48_017, 2, 50_000, ("WAV/FLOAT",))
        patch.setattr("engine.drafts.inspect", lambda source: info)
        end = min(start + n, 50_000)
        request = SeparationRequest(
            (Path("/a.wav"),),
            "drums",
            Path("/out"),
            start_s=start / info.sample_rate,
            end_s=end / info.sample_rate,
            playhead_s=max(0, playhead) / info.sample_rate,
            context_s=context / info.sample_rate,
            quality="progressive",
        )
        patch.setattr("engine.drafts.PART_S", 97 / info.sample_rate)
        parts = [resolve(part, info) for part in part_drafts(request)]
    assert [part.samples for part in parts] == [97 * GROWTH**k for k in range(len(parts))]
    assert bool(parts) == (LARGEST * (end - start) > 97)
    for one, other in pairwise([*parts, resolve(request, info)]):
        assert other.start <= one.start
        assert one.end <= other.end
    if parts:
        assert parts[-1].samples < LARGEST * (end - start) <= GROWTH * parts[-1].samples
    for part in parts:
        assert part.start <= min(max(playhead, start), end - 1) < part.end


def test_short_regions_and_those_without_a_playhead_are_drafted_whole(song: Path, flow: None) -> None:
    whole_s = PART_S / LARGEST
    assert part_drafts(ask(song)) == []
    assert part_drafts(ask(song, start_s=10.0, end_s=10.0 + whole_s, playhead_s=20.0)) == []
    assert len(part_drafts(ask(song, start_s=10.0, end_s=10.1 + whole_s, playhead_s=20.0))) == 1


def test_spans_elsewhere_are_left_out_of_a_parts_request(song: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.drafts.PART_S", 4.0)
    near, far, farther = Span("+", 50.0, 51.0), Span("-", 62.0, 63.0), Span("+", 84.0, 85.0)
    parts = part_drafts(ask(song, spans=(near, far, farther), playhead_s=50.0))
    assert [part.spans for part in parts] == [(near,), (near, far), (near, far)]  # of 4, 12 and 36 s
    nameless = replace(ask(song, spans=(far, Span("+", 62.0, 62.5))), prompt="", playhead_s=50.0)
    parts = part_drafts(nameless)  # near the playhead nothing says what to take: such a part is passed over
    assert [part.end_s - part.start_s for part in parts] == [12.0, 36.0]
    assert [part.name for part in parts] == [draft_name(nameless, 1), draft_name(nameless, 2)]
    elsewhere = replace(ask(song, spans=(farther,)), prompt="", playhead_s=20.0)
    assert part_drafts(elsewhere) == []


class Told:
    """Keeps what is told of a progressive request, and which files were there then."""

    def __init__(self, request: SeparationRequest) -> None:
        self.folder = request.out_dir
        self.seen: list[tuple[Progress, list[str]]] = []

    def __call__(self, progress: Progress) -> None:
        self.seen.append((progress, stems_in(self.folder)))

    @property
    def drafts(self) -> list[Draft]:
        return [p.draft for p, _ in self.seen if p.draft is not None]


@pytest.mark.parametrize(("kind", "n_drafts"), [("flow", 4), ("mask", 3)])
def test_the_drafts_grow_from_the_playhead_each_in_the_place_of_the_last(
    song: Path, monkeypatch: pytest.MonkeyPatch, kind: str, n_drafts: int
) -> None:
    monkeypatch.setattr(models, "choose", lambda request: "fake")
    monkeypatch.setattr(models, "find", lambda name: SimpleNamespace(kind=kind))
    monkeypatch.setattr("engine.drafts.PART_S", 4.0)
    request, made = ask(song, start_s=10.0, playhead_s=45.0), Made()
    told = Told(request)
    deliver(request, made, on_progress=told)
    parts = [(44.0, 48.0), (42.0, 54.0), (36.0, 72.0)]
    whole = [(10.0, None)]
    assert [(one.start_s, one.end_s) for one in made.asked] == parts + whole * (n_drafts - 2)
    assert [one.quality for one in made.asked] == ["draft"] * n_drafts + ["progressive"]
    assert [draft.offset_samples for draft in told.drafts] == [34 * RATE, 32 * RATE, 26 * RATE, 0][:n_drafts]
    # Told with its files there, and the last one's still; then those go.
    names = [draft_name(request, n) for n in (1, 2, 3)] + [draft_name(request)]
    for n, there in enumerate(files for p, files in told.seen if p.draft is not None):
        assert there == sorted(f"{name}.{end}" for name in names[max(n - 1, 0) : n + 1] for end in ENDS)
    assert [len(files) for files in made.there] == [0] + [3] * n_drafts
    assert stems_in(request.out_dir) == sorted(f"song.drums.{end}" for end in ENDS)
    fractions = [p.fraction for p, _ in told.seen]
    assert fractions == sorted(fractions)
    shares = [p.fraction for p, _ in told.seen if p.draft is not None]
    lengths_s = [4, 12, 36, 80][:n_drafts]
    done_s = list(itertools.accumulate(lengths_s))
    assert shares == pytest.approx([DRAFT_SHARE * n / done_s[-1] for n in done_s])
    stages = [p.stage for p, _ in told.seen if p.draft is not None]
    assert stages == ["drafting"] * (n_drafts - 1) + ["refining"]


@pytest.mark.parametrize(
    ("kind", "took_s", "lengths_s"),
    [
        # By then 3 s lie ahead of the playhead, then 9, then 27; the whole is twenty times the first part.
        ("mask", 0.1, [4]),
        ("mask", 0.2, [4, 12]),  # 4 s for the whole at first; of the second, which took no longer, it is 1.3 s
        ("mask", 10.0, [4, 12, 36]),
        ("flow", 0.1, [4, 80]),
        ("flow", 0.2, [4, 12, 80]),
        ("flow", 10.0, [4, 12, 36, 80]),
    ],
)
def test_no_part_is_made_where_the_whole_will_be_there_in_time(
    song: Path,
    monkeypatch: pytest.MonkeyPatch,
    slow: Callable[[float], None],
    kind: str,
    took_s: float,
    lengths_s: list[int],
) -> None:
    monkeypatch.setattr(models, "choose", lambda request: "fake")
    monkeypatch.setattr(models, "find", lambda name: SimpleNamespace(kind=kind))
    monkeypatch.setattr("engine.drafts.PART_S", 4.0)
    slow(took_s)
    made, request = Made(), ask(song, start_s=10.0, playhead_s=45.0)
    told = Told(request)
    deliver(request, made, on_progress=told)
    assert [(one.end_s or 90.0) - one.start_s for one in made.asked] == [*lengths_s, 80]
    fractions = [p.fraction for p, _ in told.seen]
    assert fractions == sorted(fractions)
    last = [p for p, _ in told.seen if p.draft is not None][-1]
    assert (last.fraction, last.stage) == (pytest.approx(DRAFT_SHARE), "refining")


def test_a_part_that_an_earlier_life_left_says_nothing_of_the_speed(
    song: Path, monkeypatch: pytest.MonkeyPatch, slow: Callable[[float], None]
) -> None:
    monkeypatch.setattr(models, "choose", lambda request: "fake")
    monkeypatch.setattr(models, "find", lambda name: SimpleNamespace(kind="mask"))
    monkeypatch.setattr("engine.drafts.PART_S", 4.0)
    slow(0.0)
    made, request = Made(), ask(song, start_s=10.0, playhead_s=45.0)
    deliver(request, lambda r, told: replace(made(r, told), cached=r.name == draft_name(request, 1)))
    assert [(one.end_s or 90.0) - one.start_s for one in made.asked] == [4, 12, 80]


def test_a_time_left_is_told_where_it_is_the_whole_jobs(song: Path, flow: None) -> None:
    request = ask(song, playhead_s=45.0)
    told = Told(request)
    deliver(request, Made(), on_progress=told)
    eta_s = [p.eta_s for p, _ in told.seen]
    assert all(one is not None and math.isnan(one) for one in eta_s[:-3])
    assert eta_s[-3:] == [1.0, 1.0, 0.0]
    meter = ProgressMeter(0.0)
    shown = [meter.update(Progress(n / 10, "", eta_s), 10.0 * n)[0].eta_s for n, eta_s in enumerate(
        [None, None, math.nan, math.nan, 50.0, math.nan, None], 1
    )]  # fmt: skip
    assert shown == [90.0, 80.0, None, None, 50.0, None, pytest.approx(30.0)]


@pytest.mark.parametrize("at", [1, 2, 3, 4])
@pytest.mark.parametrize("error", [Cancelled(), StembridgeError("disk_full", "The disk is full.")])
def test_a_cancel_or_failure_at_any_draft_leaves_no_file(
    song: Path, flow: None, monkeypatch: pytest.MonkeyPatch, at: int, error: BaseException
) -> None:
    monkeypatch.setattr("engine.drafts.PART_S", 10.0)
    request, made = ask(song, playhead_s=45.0), Made({at: error})
    with pytest.raises(type(error)):
        deliver(request, made)
    assert len(made.asked) == at
    assert stems_in(request.out_dir) == []


def test_what_is_at_hand_has_no_draft(song: Path, flow: None) -> None:
    request, made = ask(song, playhead_s=45.0), Made()
    Made()(whole_draft(request), lambda p: None)  # of an earlier life
    told = Told(request)
    deliver(request, made, on_progress=told, at_hand=lambda asked: asked == request)
    assert made.asked == [request]
    assert told.drafts == []
    assert stems_in(request.out_dir) == sorted(f"song.drums.{end}" for end in ENDS)


def test_a_draft_that_was_edited_stays_when_a_larger_one_comes(
    song: Path, flow: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.drafts.PART_S", 10.0)
    request = ask(song, playhead_s=45.0)

    def edit(progress: Progress) -> None:
        if (
            progress.draft is not None
            and progress.draft.stems.target == request.out_dir / f"{draft_name(request, 1)}.target.wav"
        ):
            progress.draft.stems.target.write_bytes(b"theirs")

    deliver(request, Made(), on_progress=edit)
    kept = [f"{draft_name(request, 1)}.{end}" for end in ("json", "target.wav")]
    assert stems_in(request.out_dir) == sorted([*(f"song.drums.{end}" for end in ENDS), *kept])


def test_what_waits_for_the_same_region_is_turned_into_its_draft_and_then_into_itself(song: Path, flow: None) -> None:
    turns: list[list[str]] = []
    others = [ask(song, seed=1), ask(song, quality="best")]
    deliver(ask(song), Made(), ahead=lambda turn, told: turns.append([turn(one).quality for one in others]))
    assert turns == [["draft", "best"], ["progressive", "best"]]


def test_others_that_wait_are_turned_into_drafts_of_the_same_part(song: Path, flow: None) -> None:
    turns: list[list[tuple[float, float | None]]] = []
    broken = ask(song, seed=3, playhead_s=45.0, spans=(Span("+", 900.0, 901.0),))
    others = [ask(song, seed=1, playhead_s=45.0), ask(song, seed=2), broken]
    deliver(
        ask(song, playhead_s=45.0),
        Made(),
        ahead=lambda turn, told: turns.append([(turn(one).start_s, turn(one).end_s) for one in others]),
    )
    assert turns == [[(40.0, 60.0), (0.0, None), (0.0, None)], [(0.0, None)] * 3, [(0.0, None)] * 3]


# The model that ships


def test_a_mask_model_gives_its_result_at_once(mixture_file: MakeFile, tmp_path: Path) -> None:
    request = SeparationRequest((mixture_file(1.0),), "vocals", tmp_path / "out", quality="progressive")
    seen: list[Progress] = []
    shelf = Shelf()
    done = deliver(request, lambda r, told: separate(r, shelf, on_progress=told), on_progress=seen.append)
    assert not any(p.draft for p in seen)
    assert done.target is not None
    assert done.note == json.loads(done.manifest.read_text(encoding="utf-8"))["note"] == ""


def test_the_result_does_not_depend_on_the_playhead(
    mixture_file: MakeFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.drafts.PART_S", 0.6)
    source, shelf = mixture_file(6.0), Shelf()
    drafts: list[tuple[Draft, np.ndarray]] = []

    def stem(name: str, **fields: Any) -> bytes:
        request = SeparationRequest((source,), "vocals", tmp_path / name, **fields)
        done = deliver(
            request,
            lambda r, told: separate(r, shelf, on_progress=told),
            on_progress=lambda p: drafts.append((p.draft, both(p.draft.stems))) if p.draft else None,
        )
        assert done.target is not None
        return done.target.read_bytes()

    plain = stem("plain", quality="progressive")
    assert not drafts
    assert stem("heard", quality="progressive", playhead_s=3.0) == plain
    mixture = soundfile.read(source, dtype="float32")[0]
    for (draft, heard), n in zip(drafts, (26_460, 79_380), strict=True):  # of 0.6 and 1.8 s; 5.4 s would be the whole
        part = mixture[draft.offset_samples : draft.offset_samples + n]
        assert len(heard) == len(part) == draft.stems.samples
        assert np.abs(heard - part).max() <= 1e-6  # its stems are its own place's, and null
        assert not (draft.stems.target or source).exists()
    assert progressive.drafts_of(SeparationRequest((source,), "vocals", tmp_path)) == []


@pytest.mark.parametrize("n_drafts", [1, 2])
def test_a_cancel_after_any_draft_is_honoured_before_the_next(
    mixture_file: MakeFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_drafts: int
) -> None:
    monkeypatch.setattr("engine.drafts.PART_S", 0.4)
    shelf, asked, stages = Shelf(), [], []
    request = SeparationRequest(
        (mixture_file(3.0),), "vocals", tmp_path / "out", quality="progressive", playhead_s=1.0, name="song"
    )

    def run(
        request: SeparationRequest, on_progress: Callable[[Progress], None], cancelled: Callable[[], bool]
    ) -> Separation:
        def one(r: SeparationRequest, told: Callable[[Progress], None]) -> Separation:
            asked.append(r.name)
            return separate(r, shelf, on_progress=lambda p: stages.append(len(asked)) or told(p), cancelled=cancelled)

        return deliver(request, one, on_progress=on_progress)

    def on_event(event: JobEvent) -> None:
        if event.kind == "draft" and len(asked) == n_drafts:
            queue.cancel(event.job.id)

    with Journal(None) as journal, JobQueue(run, journal, on_event=on_event) as queue:
        job = queue.wait(queue.submit(request).id, 60)
    assert job.state is JobState.CANCELLED
    assert len(asked) == n_drafts + 1
    assert stages.count(n_drafts + 1) == 0  # what came next reported nothing: it was not even read
    assert stems_in(request.out_dir) == []


def both(stems: Separation) -> np.ndarray:
    """What is heard of a draft's stems together."""
    assert stems.target is not None
    assert stems.residual is not None
    return np.asarray(sum(soundfile.read(path, dtype="float32")[0] for path in (stems.target, stems.residual)))


def test_a_result_that_is_kept_is_delivered_at_once(
    mixture_file: MakeFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.drafts.PART_S", 0.6)
    source, shelf, cache = mixture_file(3.0), Shelf(), ResultCache(tmp_path / "cache", keep_free_bytes=0)

    def drafts(name: str, **fields: Any) -> int:
        request = SeparationRequest((source,), "vocals", tmp_path / name, quality="progressive", **fields)
        told = Told(request)
        deliver(
            request,
            lambda r, on_progress: separate(r, shelf, on_progress=on_progress, cache=cache if r is request else None),
            on_progress=told,
            at_hand=lambda asked: at_hand(asked, shelf, cache=cache),
        )
        return len(told.drafts)

    assert drafts("first", playhead_s=1.0) == 1
    assert drafts("again", playhead_s=2.0) == 0  # from the cache
    assert drafts("other", playhead_s=1.0, keep="target", spans=(Span("+", 0.2, 0.4),)) == 1
    shutil.rmtree(cache.folder)
    assert drafts("again", playhead_s=0.5) == 0  # it lies there already
    assert drafts("first", playhead_s=0.5, end_s=2.9) == 1


def test_looking_for_a_kept_result_reads_only_where_one_may_be(
    mixture_file: MakeFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, source = ResultCache(tmp_path / "cache", keep_free_bytes=0), mixture_file(0.5)
    request = SeparationRequest((source,), "vocals", tmp_path / "out", quality="progressive")
    shelf = Shelf()
    separate(request, shelf, cache=cache)
    read: list[int] = []
    blocks = Source.blocks
    monkeypatch.setattr(Source, "blocks", lambda self, *span: read.append(1) or blocks(self, *span))
    assert not at_hand(replace(request, end_s=0.4, name="x"), shelf, cache=cache)
    assert read == []
    assert at_hand(replace(request, name="x"), shelf, cache=cache)
    assert read == [1]
    with pytest.raises(Cancelled):
        at_hand(request, shelf, cancelled=lambda: True, cache=cache)
