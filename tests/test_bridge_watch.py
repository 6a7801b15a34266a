"""The watch folder: what is dropped comes back once, whole and stamped; half-written files wait; errors lie beside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

import engine as engine_package
from bridge import watch as watching
from bridge.__main__ import main
from bridge.watch import Outcome, Watch, fields_of, look, open_folder
from engine.errors import Cancelled, ExitCode, StembridgeError
from engine.request import Separation, SeparationRequest
from engine.riff import read_time_reference
from engine.wav import WavWriter

EXCERPT = Path(engine_package.__file__).parent / "demo" / "mixture.flac"
NULL_DBFS = -120.0


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Folder:
    """A watched folder whose separations are made up."""

    def __init__(self, folder: Path) -> None:
        self.path, self.clock, self.fails, self.asked = folder, Clock(), None, []
        self.watch = self.open()

    def open(self) -> Watch:
        self.watch = open_folder(self.path, self.run, clock=self.clock)
        return self.watch

    def run(self, request: SeparationRequest, stopped: Callable[[], bool]) -> Separation:
        self.asked.append(request)
        if self.fails is not None:
            raise self.fails
        stem = request.out_dir / (request.name or "")
        return Separation(stem, stem, Path(f"{stem}.json"), 44_100, 2, 1, -150.0, "fake", "fake", 1, 0, 0.1)

    def drop(self, name: str, samples: int = 4410, seed: int = 0) -> Path:
        path = self.path / "In" / name
        audio = np.random.default_rng(seed).uniform(-0.5, 0.5, (samples, 2)).astype(np.float32)
        soundfile.write(path, audio, 44_100, subtype="FLOAT")
        return path

    def rounds(self, seconds: float = 5.0) -> list[Outcome]:
        """What came of several looks, a second apart."""
        outcomes = []
        for _ in range(round(seconds)):
            outcomes += look(self.watch)
            self.clock.now_s += 1
        return outcomes

    def notes(self) -> dict[str, str]:
        return {path.name: path.read_text(encoding="utf-8") for path in (self.path / "Out").glob("*.txt")}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "watched")


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        ("vocals.wav", "vocals"),
        ("My Song - vocals.wav", "vocals"),
        ("My - Song - 03_LeadVox (take 2).wav", "lead vocals"),
        ("bounce - BUS 7 :: tambourine.wav", "tambourine"),
        ("Lied - Gesang groß.wav", "gesang groß"),
    ],
)
def test_the_name_says_what_is_wanted(folder: Folder, name: str, prompt: str) -> None:
    path = folder.drop(name)
    (outcome,) = folder.rounds()
    assert outcome.source == path
    (request,) = folder.asked
    assert (request.prompt, request.source, request.name) == (prompt, (path.resolve(),), path.stem)
    assert request.out_dir == (folder.path / "Out").resolve()


def test_a_json_beside_it_carries_spans_and_words(folder: Folder) -> None:
    path = folder.drop("take - Audio 1.wav", 44_100)
    fields = {"prompt": "lead vocals", "span+": [[0.25, 0.5]], "span-": [["0.6", "0.7"]], "keep": "target"}
    path.with_suffix(".json").write_text(json.dumps(fields))
    folder.rounds()
    (request,) = folder.asked
    assert (request.prompt, request.keep) == ("lead vocals", "target")
    assert [(s.sign, s.start_s, s.end_s) for s in request.spans] == [("+", 0.25, 0.5), ("-", 0.6, 0.7)]


def test_a_time_stamp_is_handed_on(folder: Folder) -> None:
    path = folder.path / "In" / "song - vocals.wav"
    writer = WavWriter(path, 48_000, 1, time_reference=48_000 * 3600 + 7)
    writer.write(np.zeros((1, 4800), np.float32))
    writer.finish()
    writer.close()
    folder.rounds()
    assert round(folder.asked[0].position_s * 48_000) == 48_000 * 3600 + 7


def test_a_file_that_is_still_written_waits(folder: Folder) -> None:
    path = folder.drop("song - vocals.wav")
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    for n in range(2000, len(whole), 4000):
        assert list(look(folder.watch)) == []
        folder.clock.now_s += 1.5
        path.write_bytes(whole[:n])
    assert folder.asked == []
    path.write_bytes(whole)
    assert len(folder.rounds()) == 1


def test_an_empty_file_waits_for_its_content(folder: Folder) -> None:
    path = folder.path / "In" / "song - vocals.wav"
    path.touch()
    assert folder.rounds(60) == []
    folder.drop(path.name)
    assert len(folder.rounds()) == 1


def test_what_is_no_audio_is_given_time_and_then_said_once(folder: Folder) -> None:
    path = folder.path / "In" / "song - vocals.wav"
    path.write_text("these are words, for a long time")
    assert folder.rounds(25) == []
    (outcome,) = folder.rounds(60)
    assert outcome.error is not None
    assert outcome.error.code == "not_audio"
    assert list(folder.notes()) == ["song - vocals.error.txt"]
    folder.open()
    assert folder.rounds(60) == []
    folder.drop(path.name)  # mended under the same name
    assert [outcome.error for outcome in folder.rounds()] == [None]
    assert folder.notes() == {}


def test_the_same_file_is_done_once_also_after_a_restart(folder: Folder) -> None:
    path = folder.drop("song - vocals.wav")
    assert len(folder.rounds()) == 1
    assert folder.rounds() == []
    os.utime(path, (1, 1))  # copied again: another time, the same content
    assert folder.rounds() == []
    folder.open()
    assert folder.rounds() == []
    assert len(folder.asked) == 1


@pytest.mark.parametrize("change", ["content", "json", "name"])
def test_what_is_changed_is_done_again(folder: Folder, change: str) -> None:
    path = folder.drop("song - vocals.wav")
    folder.rounds()
    if change == "content":
        folder.drop(path.name, seed=1)
    elif change == "json":
        path.with_suffix(".json").write_text('{"seed": 3}')
    else:
        path.rename(path.with_name("song - drums.wav"))
    folder.rounds()
    assert len(folder.asked) == 2


def test_a_torn_ledger_is_read_as_far_as_it_goes(folder: Folder) -> None:
    folder.drop("one - vocals.wav")
    folder.rounds()
    ledger = folder.path / watching.LEDGER
    with ledger.open("ab") as file:
        file.write(b'\xff[1]\n{"key": 7}\n{"key": "to')
    folder.open()
    folder.drop("two - vocals.wav")
    assert [outcome.source.name for outcome in folder.rounds()] == ["two - vocals.wav"]
    folder.open()
    assert folder.rounds() == []


@pytest.mark.parametrize(
    ("sidecar", "code"),
    [
        (b"{", "bad_message"),
        (b"[]", "bad_message"),
        (b'{"promt": "vocals"}', "unknown_key"),
        (b'{"path": "/etc/passwd"}', "bad_value"),
        (b'{"out": "../.."}', "bad_value"),
        (b'{"span+": [[3, 1]]}', "bad_span"),
    ],
)
def test_what_is_wrong_lies_beside_the_stems_in_words(folder: Folder, sidecar: bytes, code: str) -> None:
    path = folder.drop("song - vocals.wav")
    path.with_suffix(".json").write_bytes(sidecar)
    (outcome,) = folder.rounds()
    assert outcome.error is not None
    assert outcome.error.code == code
    assert f"[{code}]" in folder.notes()["song - vocals.error.txt"]
    assert folder.asked == []
    path.with_suffix(".json").unlink()
    assert [outcome.error for outcome in folder.rounds()] == [None]
    assert folder.notes() == {}


def test_a_name_that_says_nothing_is_said(folder: Folder) -> None:
    folder.drop("Audio 3.wav")
    (outcome,) = folder.rounds()
    assert outcome.error is not None
    assert outcome.error.code == "no_prompt"


def test_what_the_machine_was_not_ready_for_is_tried_at_the_next_start(folder: Folder) -> None:
    folder.drop("song - vocals.wav")
    folder.fails = StembridgeError("disk_full", "The disk is full.", "Free some space.")
    assert len(folder.rounds()) == 1
    assert folder.rounds() == []  # not again and again
    folder.fails = None
    folder.open()
    assert [outcome.error for outcome in folder.rounds()] == [None]


def test_what_was_stopped_is_done_at_the_next_start(folder: Folder) -> None:
    folder.drop("song - vocals.wav")
    folder.fails = Cancelled()
    assert folder.rounds() == []
    folder.fails = None
    folder.open()
    assert len(folder.rounds()) == 1


def test_a_defect_ends_one_file_and_not_the_watching(folder: Folder) -> None:
    folder.drop("a - vocals.wav")
    folder.fails = ZeroDivisionError("a defect")
    (outcome,) = folder.rounds()
    assert outcome.error is not None
    assert outcome.error.code == "internal"
    folder.fails = None
    folder.drop("b - vocals.wav")
    assert [outcome.error for outcome in folder.rounds()] == [None]


def test_other_files_folders_and_links_are_passed_over(folder: Folder, tmp_path: Path) -> None:
    inside = folder.path / "In"
    for name in ("notes.txt", ".hidden - vocals.wav", "song - vocals.wav.part", "~song - vocals.wav"):
        (inside / name).write_bytes(b"x")
    (inside / "folder - vocals.wav").mkdir()
    outside = tmp_path / "private.wav"
    shutil.copy(folder.drop("real - vocals.wav"), outside)
    (inside / "link - vocals.wav").symlink_to(outside)
    assert [outcome.source.name for outcome in folder.rounds()] == ["real - vocals.wav"]


def test_a_folder_that_goes_away_is_said(folder: Folder) -> None:
    shutil.rmtree(folder.path / "In")
    with pytest.raises(StembridgeError) as caught:
        list(look(folder.watch))
    assert caught.value.code == "output_not_writable"


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert main(["watch", str(tmp_path / "file" / "under"), "--once"]) == ExitCode.NOT_READY


def test_a_watch_folder_is_made_and_taken_away(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--path", str(tmp_path / "Drop")]
    assert main(["install", "watch", *place, "--dry-run"]) == ExitCode.DONE
    assert not (tmp_path / "Drop").exists()
    assert main(["install", "watch", *place]) == ExitCode.DONE
    assert sorted(path.name for path in (tmp_path / "Drop").iterdir()) == ["How this folder works.txt", "In", "Out"]
    kept = tmp_path / "Drop" / "Out" / "stem.wav"
    kept.touch()
    assert main(["install", "watch", *place, "--uninstall"]) == ExitCode.DONE
    assert [path for path in (tmp_path / "Drop").rglob("*") if path.is_file()] == [kept]
    kept.unlink()
    assert main(["install", "watch", *place, "--uninstall"]) == ExitCode.DONE
    assert not (tmp_path / "Drop").exists()


def test_the_fields_of_a_plain_name() -> None:
    path = Path("/in/My Song - Lead Vox.wav")
    assert fields_of(path) == {"track": "Lead Vox", "path": str(path), "name": "My Song - Lead Vox"}


def test_a_dropped_song_comes_back_in_two_stems_and_once(tmp_path: Path) -> None:
    """The command itself, with the embedded model; a second run finds nothing to do."""
    samples, rate_hz = soundfile.read(EXCERPT, dtype="float32", always_2d=True, stop=4 * 44_100)
    inside = tmp_path / "In"
    inside.mkdir()
    writer = WavWriter(inside / "song - Lead Vox.wav", rate_hz, 2, time_reference=123_456)
    writer.write(np.ascontiguousarray(samples.T))
    writer.finish()
    writer.close()
    (inside / "song - Odd :: ???.wav").write_bytes((inside / "song - Lead Vox.wav").read_bytes())

    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "bridge", "watch", str(tmp_path), "--once"]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    first = run()
    assert first.returncode == 0, first.stderr
    assert sorted(first.stdout.splitlines()) == [
        "done song - Lead Vox.wav -> song - Lead Vox.json",
        "failed song - Odd :: ???.wav [unsupported_prompt]",
    ]
    assert sorted(path.name for path in (tmp_path / "Out").iterdir()) == [
        "song - Lead Vox.json",
        "song - Lead Vox.residual.wav",
        "song - Lead Vox.target.wav",
        "song - Odd :: ???.error.txt",
    ]
    stems = [tmp_path / "Out" / f"song - Lead Vox.{kind}.wav" for kind in ("target", "residual")]
    parts = [soundfile.read(path, dtype="float32", always_2d=True)[0] for path in stems]
    null = np.max(np.abs(parts[0].astype(np.float64) + parts[1] - samples))
    assert 20 * np.log10(max(null, 1e-12)) <= NULL_DBFS
    assert [read_time_reference(path) for path in stems] == [123_456, 123_456]
    again = run()
    assert (again.returncode, again.stdout) == (0, "")
