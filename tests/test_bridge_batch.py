"""Batches: the plan from names, presets and regions; the run, stopped, killed and resumed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import platformdirs
import pytest
import soundfile
from mixtures import make_mixture
from rpp_material import item, project, track

from bridge.__main__ import main
from bridge.batch.memory import Earlier, key_of, look
from bridge.batch.plan import BatchPlan, Options, Wanted, plan_batch
from bridge.batch.report import estimate, summary
from bridge.batch.room import require_room
from bridge.batch.run import Outcome, media_folder, raise_if_stopped, run_batch
from bridge.sessions.model import Clip, Marker, Media, Session, Track
from bridge.sessions.reading import read_session
from engine.errors import Cancelled, StembridgeError
from engine.request import Separation, Span

DEADLINE_S = 120.0
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}


@pytest.fixture
def take(tmp_path: Path) -> Media:
    path = tmp_path / "media" / "take.wav"
    path.parent.mkdir()
    soundfile.write(path, make_mixture(44_100 * 4), 44_100, subtype="PCM_16")
    return Media("take.wav", path)


def session_of(*tracks: Track, markers: tuple[Marker, ...] = ()) -> Session:
    return Session(Path("song.rpp"), "rpp", "song", tracks, markers)


def plan_of(session: Session, out: Path, *wanted: Wanted, **options: object) -> BatchPlan:
    fields = options.pop("fields", {})
    tracks = options.pop("tracks", ())
    return plan_batch(session, Options(wanted or (Wanted(),), fields, tracks), out, media_folder(out))


def test_a_name_is_the_prompt_and_the_clip_is_the_item(take: Media, tmp_path: Path) -> None:
    clip = Clip("c", 10.0, 2.0, (take,), source_start_s=0.5)
    plan = plan_of(session_of(Track("03_LeadVox_DI (take 2)", (clip,)), Track("Audio 3", (clip,))), tmp_path / "out")
    (job,) = plan.jobs
    request = job.request
    assert (request.prompt, request.start_s, request.item_start_s, request.item_end_s) == ("lead vocals", 0.5, 0.5, 2.5)
    assert (request.end_s, request.position_s, request.spans) == (None, 10.0, ())
    assert (job.length_s, job.n_bytes) == (2.0, 2 * 2 * 88_200 * 4)
    assert [(skip.code, skip.track, skip.problem) for skip in plan.skipped] == [("no_prompt", "Audio 3", False)]


def test_regions_named_after_the_prompt_are_spans(take: Media, tmp_path: Path) -> None:
    clip = Clip("c", 10.0, 2.0, (take,), source_start_s=0.5)
    markers = (
        Marker("Vocals", 9.0, 10.5),
        Marker("Vox", 11.75, 14.0),
        Marker("no vocals", 11.0, 11.25),
        Marker("-", 10.75, 11.0),
        Marker("- drums", 10.0, 11.0),
        Marker("vocals", 20.0, 30.0),
        Marker("vocals", 10.0),
        Marker("verse", 10.0, 12.0),
    )
    plan = plan_of(session_of(Track("vocals", (clip,)), markers=markers), tmp_path / "out")
    assert plan.jobs[0].request.spans == (
        Span("+", 0.5, 1.0),
        Span("+", 2.25, 2.5),
        Span("-", 1.5, 1.75),
        Span("-", 1.25, 1.5),
    )


@pytest.mark.parametrize(
    ("change", "code", "problem"),
    [
        ({"obstacle": "stretched"}, "stretched", True),
        ({"obstacle": "midi"}, "midi", False),
        ({"obstacle": "bad_time", "position_s": float("nan")}, "bad_time", True),
        ({"muted": True}, "muted", False),
        ({"media": (Media("gone.wav", None),)}, "file_not_found", True),
        ({"media": (Media("x", Path(__file__)),)}, "not_audio", True),
        ({"source_start_s": 100.0}, "bad_region", True),
    ],
)
def test_what_cannot_be_rendered_is_left_out_with_the_reason(
    take: Media, tmp_path: Path, change: dict, code: str, problem: bool
) -> None:
    clips = (replace(Clip("bad", 0.0, 1.0, (take,)), **change), Clip("good", 0.0, 1.0, (take,)))
    plan = plan_of(session_of(Track("vocals", clips)), tmp_path / "out")
    assert [job.clip for job in plan.jobs] == [1]
    assert [(skip.clip, skip.code, skip.problem) for skip in plan.skipped] == [("bad", code, problem)]


def test_what_the_model_does_not_know_is_left_out(take: Media, tmp_path: Path) -> None:
    plan = plan_of(session_of(Track("Odd :: ???", (Clip("c", 0.0, 1.0, (take,)),))), tmp_path / "out")
    assert [(skip.code, skip.problem) for skip in plan.skipped] == [("unsupported_prompt", False)]


def test_a_clip_that_plays_its_file_again_is_left_out(take: Media, tmp_path: Path) -> None:
    clips = [Clip("c", 0.0, length_s, (take,), 1.0, repeats=True) for length_s in (3.0, 3.0005, 3.5)]
    clips += [replace(clips[-1], repeats=False), replace(clips[-1], media=(Media("gone.wav", None),))]
    plan = plan_of(session_of(Track("vocals", tuple(clips))), tmp_path / "out")
    assert [(job.clip, job.length_s) for job in plan.jobs] == [(0, 3.0), (1, 3.0), (3, 3.0)]
    assert [(skip.code, skip.problem) for skip in plan.skipped] == [("looped", True), ("file_not_found", True)]


def test_one_channel_of_two_is_not_taken_for_both(take: Media, tmp_path: Path) -> None:
    one, both = replace(take, channel=1), (replace(take, channel=0), replace(take, channel=1))
    clips = (Clip("one", 0.0, 1.0, (one,)), Clip("both", 0.0, 1.0, both))
    plan = plan_of(session_of(Track("vocals", clips)), tmp_path / "out")
    assert [(job.clip, len(job.request.source)) for job in plan.jobs] == [(1, 1)]
    assert [skip.code for skip in plan.skipped] == ["unsupported_option"]


def test_presets_and_prompts_multiply_and_names_stay_apart(take: Media, tmp_path: Path) -> None:
    tracks = [Track("Audio 3", (Clip("a", 0.0, 1.0, (take,)), Clip("b", 2.0, 1.0, (take,)))), Track("audio 3", ())]
    tracks.append(Track("AUDIO 3", (Clip("c", 0.0, 1.0, (take,)),)))
    plan = plan_of(session_of(*tracks), tmp_path / "out", Wanted(preset="remove-vocals"), Wanted("speech"))
    names = [str(job.request.name).casefold() for job in plan.jobs]
    assert len(plan.jobs) == len(set(names)) == 6
    assert {job.request.keep for job in plan.jobs} == {"residual", "both"}
    assert all(not job.request.spans for job in plan.jobs)
    assert len({key_of(job) for job in plan.jobs}) == 6


def test_tracks_are_chosen_by_name_and_muted_ones_only_so(take: Media, tmp_path: Path) -> None:
    clip = Clip("c", 0.0, 1.0, (take,))
    session = session_of(Track("vocals", (clip,), muted=True), Track("speech", (clip,)))
    assert [job.track for job in plan_of(session, tmp_path).jobs] == [1]
    assert [job.track for job in plan_of(session, tmp_path, tracks=("VOCALS",)).jobs] == [0]
    with pytest.raises(StembridgeError, match="no track 'bass'"):
        plan_of(session, tmp_path, tracks=("bass",))
    with pytest.raises(StembridgeError, match="no preset 'remove-vocal'"):
        plan_of(session, tmp_path, Wanted(preset="remove-vocal"))


def test_a_disk_without_room_is_said_before_anything_is_rendered(take: Media, tmp_path: Path) -> None:
    plan = plan_of(session_of(Track("vocals", (Clip("c", 0.0, 1.0, (take,)),))), tmp_path / "out")
    big = replace(plan, jobs=(replace(plan.jobs[0], n_bytes=10**18),))
    with pytest.raises(StembridgeError) as caught:
        require_room(big, tmp_path / "not" / "there", Earlier(), new_session=True)
    assert caught.value.code == "disk_full"
    made = Separation(Path("t"), None, Path("m"), 44_100, 2, 44_100, -200.0, "fake", "none", 1, 0, 0.5)
    done = Earlier({key_of(big.jobs[0]): made})
    require_room(big, tmp_path, done, new_session=True)  # what is done before needs none
    packed = replace(big, session=replace(big.session, path=take.path, format="dawproject"))
    with pytest.raises(StembridgeError, match=r"1000000000\.0 GB"):  # it holds the stems a second time
        require_room(packed, tmp_path, done, new_session=True)
    require_room(packed, tmp_path, done, new_session=False)


# The run, with a stand-in for the engine


def fake_render(request, shelf, on_progress, cancelled, waiting):
    if cancelled():
        raise Cancelled
    if request.prompt == "speech":
        raise StembridgeError("out_of_memory", "Too much.")
    target, manifest = request.out_dir / f"{request.name}.target.wav", request.out_dir / f"{request.name}.json"
    target.write_text(request.prompt)
    manifest.write_text(json.dumps({"request": request.to_dict()}))
    return Separation(target, None, manifest, 44_100, 2, 44_100, -200.0, "fake", "none", 1, 0, 0.5)


def four(take: Media, out: Path) -> BatchPlan:
    clip = Clip("c", 0.0, 1.0, (take,))
    return plan_of(session_of(*(Track(name, (clip,)) for name in ("vocals", "speech", "choir", "singing"))), out)


@pytest.mark.parametrize("n_lanes", [1, 3])
def test_a_failure_leaves_the_others_and_is_tried_again(take: Media, tmp_path: Path, n_lanes: int) -> None:
    out = tmp_path / "out"
    outcomes = run_batch(four(take, out), out, n_lanes=n_lanes, render=fake_render)
    assert [(o.result is not None, o.error and o.error[0]) for o in outcomes] == [
        (True, None),
        (False, "out_of_memory"),
        (True, None),
        (True, None),
    ]
    assert sorted(p.name for p in out.iterdir() if p.suffix == ".wav") == [
        "choir.choir.target.wav",
        "singing.singing.target.wav",
        "vocals.vocals.target.wav",
    ]
    manifest = json.loads((out / "vocals.vocals.json").read_text())
    assert manifest["request"]["out_dir"] == str(out)
    tried = []

    def again(request, *rest):
        tried.append(request.prompt)
        return fake_render(replace(request, prompt="vocals"), *rest)

    second = run_batch(four(take, out), out, n_lanes=n_lanes, render=again)
    assert tried == ["speech"]
    assert [o.earlier for o in second] == [True, False, True, True]
    assert not list((out / ".stembridge" / "work").iterdir())


def test_a_stop_says_how_to_go_on(take: Media, tmp_path: Path) -> None:
    out, begun = tmp_path / "out", []

    def slow(request, shelf, on_progress, cancelled, waiting):
        begun.append(request.prompt)
        if len(begun) > 1:
            deadline_s = time.monotonic() + DEADLINE_S
            while not cancelled():
                assert time.monotonic() < deadline_s
                time.sleep(0.01)
        return fake_render(request, shelf, on_progress, cancelled, waiting)

    outcomes = run_batch(four(take, out), out, render=slow, stopped=lambda: len(begun) > 1)
    assert [o.result is not None for o in outcomes] == [True, False, False, False]
    with pytest.raises(Cancelled, match=r"1 of 4 are done.* from there: stembridge session x"):
        raise_if_stopped(outcomes, "stembridge session x")
    assert all(
        o.result for o in run_batch(four(take, out), out, render=fake_render) if o.job.request.prompt != "speech"
    )


def test_files_of_others_are_left_alone(take: Media, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "vocals.vocals.target.wav").write_text("mine")
    outcomes = run_batch(four(take, out), out, render=fake_render)
    assert (out / "vocals.vocals.target.wav").read_text() == "mine"
    assert outcomes[0].result.target == out / "vocals.vocals 2.target.wav"


def test_two_batches_in_one_folder_do_not_meet(take: Media, tmp_path: Path) -> None:
    out, codes = tmp_path / "out", []

    code = (
        "import sys; from pathlib import Path; from engine.jobs.journal import Journal\n"
        "from engine.errors import StembridgeError\n"
        f"try: Journal(Path({str(out)!r}) / '.stembridge' / 'batch.sqlite3')\n"
        "except StembridgeError as e: print(e.code)"
    )

    def other_process(request, *rest):
        if not codes:
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=ENV)
            codes.append(done.stdout.strip())
        return fake_render(request, *rest)

    run_batch(four(take, out), out, render=other_process)
    assert codes == ["engine_running"]


def test_a_deleted_stem_is_rendered_again(take: Media, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first: list[Outcome] = run_batch(four(take, out), out, render=fake_render)
    first[2].result.target.unlink()
    second = run_batch(four(take, out), out, render=fake_render)
    assert [o.earlier for o in second] == [True, False, False, True]
    assert second[2].result.target.exists()


def test_a_source_that_was_saved_again_is_rendered_again(take: Media, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_batch(four(take, out), out, render=fake_render)
    assert take.path is not None
    soundfile.write(take.path, make_mixture(44_100 * 3), 44_100, subtype="PCM_16")
    plan = four(take, out)
    assert not any(look(out).is_done(job) for job in plan.jobs)
    second = run_batch(plan, out, render=fake_render)
    assert [o.earlier for o in second] == [False] * 4
    assert second[0].result.target == out / "vocals.vocals 2.target.wav"
    assert (out / "vocals.vocals.target.wav").exists()


def test_what_is_left_is_estimated_from_what_is_done(take: Media, tmp_path: Path) -> None:
    out = tmp_path / "out"
    plan = four(take, out)
    assert estimate(plan, look(out)) == (pytest.approx(0.4), "a guess, until jobs of each model are done")
    assert "4 jobs, 0:04.0 of audio, about 0:00.4 of work" in summary(plan, look(out))
    run_batch(plan, out, render=fake_render)  # half a second for a second of audio; one fails
    earlier = replace(look(out), speeds={plan.jobs[0].model: 0.5})
    assert estimate(plan, earlier) == (0.5, "from the jobs that are done")
    assert look(out).speeds == {"fake": 0.5}
    assert "4 jobs (3 done before)" in summary(plan, earlier)
    strange = replace(plan, jobs=tuple(replace(job, model="sam-audio-large") for job in plan.jobs))
    assert estimate(strange, Earlier())[0] is None


# The command, with the embedded model


@pytest.fixture
def song(tmp_path: Path) -> Path:
    folder = tmp_path / "song"
    folder.mkdir()
    items = []
    for n in range(6):
        soundfile.write(folder / f"{n}.wav", make_mixture(30_000, seed=n), 44_100, subtype="PCM_16")
        items.append(item(n, 0.5, f"{n}.wav", soffs=0.125))
    path = folder / "Song.rpp"
    path.write_text(project(track("Lead Vox", *items[:4]), track("Choir", *items[4:], item(0, 1, "gone.wav"))))
    return path


def run(*arguments: object) -> int:
    return main([*map(str, arguments)])


def test_the_command_plans_renders_and_writes_a_session(song: Path, tmp_path: Path, capsys) -> None:
    out, digest = tmp_path / "out", hashlib.sha256(song.read_bytes()).hexdigest()
    assert run("session", song, "--out", out, "--dry-run", "--json") == 1
    planned = json.loads(capsys.readouterr().out)
    assert not out.exists()
    assert (planned["clips"], len(planned["jobs"]), planned["skipped"][0]["code"]) == (7, 6, "file_not_found")
    assert run("session", song, "--out", out, "--json") == 1
    told = capsys.readouterr()
    report = json.loads(told.out)
    assert (report["done"], report["failed"], report["not_reached"]) == (6, 0, 0)
    assert "1 clip could not be used" in told.err
    assert f"stembridge session {song} --out {out}" in told.err
    assert json.loads((out / "stembridge-session.json").read_text()) == report
    assert hashlib.sha256(song.read_bytes()).hexdigest() == digest
    again = read_session(Path(report["new_session"]))
    assert again.path == song.with_name("Song stems.rpp")
    assert [t.name for t in again.tracks[2:]] == [
        "Lead Vox · lead vocals",
        "Lead Vox · no lead vocals",
        "Choir · choir",
        "Choir · no choir",
    ]
    assert [t.muted for t in again.tracks[2:]] == [False, True, False, True]
    for before, stems in zip(again.tracks[:2], (again.tracks[2], again.tracks[4]), strict=True):
        places = [(clip.position_s, clip.length_s) for clip in before.clips if clip.media[0].path]
        assert [(clip.position_s, clip.length_s) for clip in stems.clips] == places
    # the same command again does nothing, and replaces its own session only
    assert run("session", song, "--out", out, "--json") == 1
    jobs = json.loads(capsys.readouterr().out)["jobs"]
    assert all(job["earlier"] for job in jobs)
    assert all("takes all voices together" in job["note"] for job in jobs)
    assert run("session", song, "--out", out) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if "takes all voices together" in line]
    assert len(said) == 1
    assert said[0].startswith("6 jobs: This model")
    assert sorted(p.name for p in song.parent.glob("*.rpp")) == ["Song stems.rpp", "Song.rpp"]


def test_a_session_with_other_stems_is_not_replaced(song: Path, tmp_path: Path, capsys) -> None:
    def written(*more: str) -> str:
        assert run("session", song, "--out", tmp_path / "out", "--track", "Choir", "--json", *more) == 1
        return Path(json.loads(capsys.readouterr().out)["new_session"]).name

    assert written() == "Song stems.rpp"
    assert written("--prompt", "speech", "--keep", "target") == "Song stems 2.rpp"  # it holds no choir
    assert written("--prompt", "speech", "--keep", "target") == "Song stems 2.rpp"
    assert written("--prompt", "speech", "--prompt", "choir") == "Song stems 2.rpp"
    assert [track.name for track in read_session(song.with_name("Song stems.rpp")).tracks[2:]] == [
        "Choir · choir",
        "Choir · no choir",
    ]


def test_a_session_saved_meanwhile_is_not_added_to(song: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    from bridge.batch import run as batch_run

    def save(*arguments: object, **more: object) -> list[Outcome]:
        made = run_batch(*arguments, **more)  # type: ignore[arg-type]
        song.write_text(song.read_text().replace("Choir", "Choir 2"))
        return made

    monkeypatch.setattr(batch_run, "run_batch", save)
    assert run("session", song, "--out", tmp_path / "out", "--track", "Lead Vox", "--json") == 2
    told = capsys.readouterr()
    report = json.loads(told.out)
    assert (report["done"], report["new_session"], report["new_session_error"]["code"]) == (4, None, "bad_session")
    assert "saved again" in told.err
    assert [p.name for p in song.parent.glob("*.rpp")] == ["Song.rpp"]


@pytest.mark.parametrize("prompts", [(), ("drums", "bass")])
def test_the_same_bytes_as_extract(song: Path, tmp_path: Path, capsys, prompts: tuple[str, ...]) -> None:
    words = [word for prompt in prompts for word in ("--prompt", prompt)]
    more = ("--track", "Lead Vox", "--no-new-session", "--json")
    assert run("session", song, "--out", tmp_path / "out", *words, *more) == 0
    for job in json.loads(capsys.readouterr().out)["jobs"][: len(prompts) or 1]:
        arguments = ("--prompt", job["prompt"], "--region", "0.125:0.625", "--context", "0", "--name", "one", "--json")
        assert run("extract", song.parent / "0.wav", "--out", tmp_path / job["prompt"], *arguments) == 0
        single = json.loads(capsys.readouterr().out)
        for stem in ("target", "residual"):
            batched, alone = (soundfile.read(each[stem], dtype="float32")[0] for each in (job, single))
            assert np.array_equal(batched, alone)


@pytest.mark.vst3
def test_a_presets_plugins_run_as_they_do_for_extract(song: Path, tmp_path: Path, capsys) -> None:
    folder = Path(platformdirs.user_config_dir("stembridge", appauthor=False)) / "presets"
    folder.mkdir(parents=True)
    (folder / "wet.toml").write_text(
        'schema = 1\ntitle = "Wet"\nprompt = "vocals"\n[[pre]]\nplugin = "ZamEQ2"\n'
        'parameters = { boost_cut_h_db = -20 }\n[[post]]\nplugin = "ZaMaximX2"\nparameters = { threshold_db = -20 }\n'
        '[[post]]\nplugin = "Delay"\non = "both"\ntail_s = 0.25\n'
    )
    arguments = ("--preset", "wet", "--preset", "extract-vocals", "--track", "Choir", "--no-new-session", "--json")
    assert run("session", song, "--out", tmp_path / "out", *arguments) == 1  # one clip has no file
    jobs = json.loads(capsys.readouterr().out)["jobs"]
    stems = ("target", "residual")
    for job, preset in zip(jobs[:2], ("wet", "extract-vocals"), strict=True):
        more = ("--region", "0.125:0.625", "--context", "0", "--name", preset, "--json")
        assert run("extract", job["sources"][0], "--preset", preset, "--out", tmp_path / "single", *more) == 0
        single = json.loads(capsys.readouterr().out)
        batched, alone = ([soundfile.read(each[stem])[0] for stem in stems] for each in (job, single))
        assert all(np.array_equal(one, other) for one, other in zip(batched, alone, strict=True))
    told = [json.loads(Path(job["manifest"]).read_text()).get("plugins") for job in jobs[:2]]
    assert [each["plugin"] for each in told[0]["target"]["chain"]] == ["ZaMaximX2", "Delay"]
    assert told[1] is None


TWO_CLIPS = (("vocals", 0.0), ("choir", 1.0))


def asked_thrice(take: Media, out: Path, prompts: tuple[str, ...], **fields: object) -> BatchPlan:
    tracks = [Track(name, (Clip("c", 0.0, 1.0, (take,), at_s),)) for name, at_s in TWO_CLIPS]
    return plan_of(session_of(*tracks), out, *(Wanted(prompt) for prompt in prompts), fields=fields)


def test_a_clip_is_heard_once_for_all_its_prompts(take: Media, tmp_path: Path, monkeypatch) -> None:
    from engine.masks import prompted

    heard: list[object] = []
    run_graph = prompted.OnnxGraph.run

    def counted(self, inputs, outputs):
        heard.extend([outputs] if tuple(outputs) == prompted.TRUNK_OUTPUTS else [])
        return run_graph(self, inputs, outputs)

    monkeypatch.setattr(prompted.OnnxGraph, "run", counted)
    plan = asked_thrice(take, tmp_path, ("drums", "bass", "violin"), model="prompted")
    assert [outcome.error for outcome in run_batch(plan, tmp_path)] == [None] * 6
    assert len(heard) == len(TWO_CLIPS)  # a second is one window


@pytest.mark.torch
def test_a_flow_model_encodes_a_clip_once_and_follows_its_prompts_together(
    take: Media, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from toy_bundle import NAME, write_models

    from engine import models
    from engine.runtimes.torch_runtime import TorchFlow

    folder = write_models(tmp_path / "models")
    monkeypatch.setattr(models, "models_folder", lambda: folder)
    monkeypatch.setenv("STEMBRIDGE_RUNTIME", "torch")
    heard, solved = [], []
    encode, velocity = TorchFlow.encode, TorchFlow.velocity
    monkeypatch.setattr(TorchFlow, "encode", lambda self, wave: heard.append(wave.shape) or encode(self, wave))
    monkeypatch.setattr(TorchFlow, "velocity", lambda self, *of: solved.append(len(of[2])) or velocity(self, *of))
    plan = asked_thrice(take, tmp_path / "out", ("drums", "bass", "a shout"), model=NAME, nfe=2)
    assert [outcome.error for outcome in run_batch(plan, tmp_path / "out")] == [None] * 6
    assert len(heard) == len(TWO_CLIPS)
    assert solved == [3] * len(TWO_CLIPS)


def test_nothing_to_do_says_so(tmp_path: Path, capsys) -> None:
    (tmp_path / "empty").mkdir()
    assert run("session", tmp_path / "empty", "--out", tmp_path / "out") == 2
    assert "nothing_to_do" in capsys.readouterr().err


def test_ctrl_c_stops_and_says_how_to_go_on(tmp_path: Path, mixture_file) -> None:
    for n in range(30):
        mixture_file(1.0, name=f"in/vocals {n}.wav", seed=n)
    command = [sys.executable, "-m", "bridge", "session", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    with subprocess.Popen(command, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        before = []
        for line in process.stderr:
            before.append(line)
            if line.startswith("done 1"):
                process.send_signal(signal.SIGINT)
                break
        told = process.stderr.read()
        assert process.stdout is not None
        process.stdout.read()
    assert process.returncode == 130, "".join([*before, told])
    assert "of 30 are done" in told
    assert f"stembridge session {tmp_path / 'in'} --out {tmp_path / 'out'}" in told
    report = json.loads((tmp_path / "out" / "stembridge-session.json").read_text())
    assert report["done"] + report["not_reached"] == 30
    assert report["not_reached"] > 0
    assert not list((tmp_path / "out").rglob("*.part"))


def test_killed_at_random_moments_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every stem once, whole, nulling, as without the kills; no job runs again once it has ended. More kills of more
    jobs: `python -m benchmarks.kills`."""
    from benchmarks.kills import figures

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    counted = figures(tmp_path, 6, 3, 6)
    assert {figure.what: (figure.value, figure.bound) for figure in counted if not figure.holds} == {}
