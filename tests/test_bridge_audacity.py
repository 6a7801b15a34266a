"""Audacity's pipes and what is read through them, without Audacity: faults, deadlines, numbers and names."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.audacity import project as audacity
from bridge.audacity.pipe import MAX_COMMAND_BYTES, Pipe, argument
from bridge.audacity.project import Piece, Selection, Track
from engine.errors import StembridgeError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="named pipes of Windows are not files")
OK = "\nBatchCommand finished: OK\n\n"
LIMIT_S = 60.0


@pytest.fixture
def pipes(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "to", tmp_path / "from"


@contextmanager
def audacity_that(
    answers: Callable[[str], str | None], pipes: tuple[Path, Path], owed: str = ""
) -> Iterator[list[str]]:
    """A thread that opens the pipes as Audacity does; `answers` None: it says nothing. Yields the commands it got but
    for the greeting, which it returns after whatever it `owed` an earlier caller.
    """
    for pipe in pipes:
        os.mkfifo(pipe)
    got: list[str] = []

    def serve() -> None:
        with pipes[0].open("rb") as commands, pipes[1].open("wb", buffering=0) as out:
            for line in commands:
                if line.startswith(b"Message: Text="):
                    out.write(owed.encode() + line.split(b'"')[1] + OK.encode())
                    continue
                got.append(line.decode().rstrip("\n"))
                if answer := answers(got[-1]):
                    out.write(answer.encode())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield got
    thread.join(LIMIT_S)
    assert not thread.is_alive(), "nobody hung up"


class refused:
    def __init__(self, code: str, says: str) -> None:
        self.code, self.says = code, says

    def __enter__(self) -> refused:
        return self

    def __exit__(self, kind, error, trace) -> bool:
        assert isinstance(error, StembridgeError), f"not refused: {error!r}"
        assert error.code == self.code
        assert self.says in str(error)
        return True


def test_a_command_and_its_answer(pipes: tuple[Path, Path]) -> None:
    with audacity_that(lambda command: f"[ 1 ]{OK}", pipes) as got, Pipe(pipes, open_s=LIMIT_S) as pipe:
        assert pipe.ask("GetInfo: Type=Tracks") == "[ 1 ]"
        assert pipe.ask("SelectAll:") == "[ 1 ]"
    assert got == ["GetInfo: Type=Tracks", "SelectAll:"]


@pytest.mark.parametrize("owed", [f"[ 2 ]{OK}", f"[ 2 ]{OK}\nBatchCommand finished: Failed!\n\n", "[ 2"])
def test_an_answer_that_was_meant_for_an_earlier_caller(pipes: tuple[Path, Path], owed: str) -> None:
    with audacity_that(lambda command: f"[ 1 ]{OK}", pipes, owed), Pipe(pipes, open_s=LIMIT_S) as pipe:
        assert pipe.ask("GetInfo: Type=Tracks") == "[ 1 ]"


def test_a_pipe_that_is_ready_and_empty(pipes: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    # Audacity hung up and opened its end again between two calls of ours: there is nothing to read, and no end.
    told = threading.Event()
    real = select.select

    def eager(reading, writing, failing, wait_s):
        if not told.is_set():
            told.set()
            return reading, [], []
        return real(reading, writing, failing, wait_s)

    def late(command: str) -> str:
        assert command == "SelectAll:" or told.wait(LIMIT_S)
        return f"[ 1 ]{OK}"

    with audacity_that(late, pipes), Pipe(pipes, open_s=LIMIT_S) as pipe:
        pipe.ask("SelectAll:")
        monkeypatch.setattr("bridge.audacity.pipe.select.select", eager)
        assert pipe.ask("GetInfo: Type=Tracks") == "[ 1 ]"
    assert told.is_set()


def test_no_audacity() -> None:
    with refused("daw_not_answering", "there is no pipe. Start Audacity 3 with Preferences > Modules"):
        Pipe((Path("/nonexistent/to"), Path("/nonexistent/from")), open_s=0.1)


def test_pipes_that_nobody_reads(pipes: tuple[Path, Path]) -> None:
    # What a killed Audacity leaves, and what the helper of a first start does.
    for pipe in pipes:
        os.mkfifo(pipe)
    with refused("daw_not_answering", "close it and start it once more"):
        Pipe(pipes, open_s=0.1)


def test_a_dialog_holds_the_answer(pipes: tuple[Path, Path]) -> None:
    with audacity_that(lambda command: None, pipes), Pipe(pipes, open_s=LIMIT_S) as pipe:
        with refused("daw_not_answering", "no answer to 'SelectAll' within 0.1 s. Close the dialog"):
            pipe.ask("SelectAll:", answer_s=0.1)
        with refused("daw_not_answering", "it still owes the answer to an earlier command"):
            pipe.ask("SelectAll:")


def test_half_an_answer_is_none(pipes: tuple[Path, Path]) -> None:
    with (
        audacity_that(lambda command: "BatchCommand finished: O", pipes),
        Pipe(pipes, open_s=LIMIT_S) as pipe,
        refused("daw_not_answering", "no answer"),
    ):
        pipe.ask("SelectAll:", answer_s=0.1)


def test_a_refusal(pipes: tuple[Path, Path]) -> None:
    with (
        audacity_that(lambda command: "\nBatchCommand finished: Failed!\n\n", pipes),
        Pipe(pipes, open_s=LIMIT_S) as pipe,
        refused("daw_refused", "did not carry out 'Import2:"),
    ):
        pipe.ask('Import2: Filename="/nowhere.wav"')


def test_a_command_that_audacity_would_cut(pipes: tuple[Path, Path]) -> None:
    with audacity_that(lambda command: OK, pipes) as got, Pipe(pipes, open_s=LIMIT_S) as pipe:
        with refused("daw_refused", f"at most {MAX_COMMAND_BYTES} bytes"):
            pipe.ask("x" * MAX_COMMAND_BYTES)
        assert pipe.ask("SelectAll:") == ""
    assert got == ["SelectAll:"]


def test_two_callers(pipes: tuple[Path, Path]) -> None:
    with (
        audacity_that(lambda command: OK, pipes),
        Pipe(pipes, open_s=LIMIT_S),
        refused("daw_not_answering", "another command of Stembridge is talking to it. Wait until it has ended."),
    ):
        Pipe(pipes, open_s=0.1)


@given(st.text())
def test_an_argument_is_one_line_in_quotes(text: str) -> None:
    quoted = argument(text)
    assert "\n" not in quoted
    assert quoted[0] == quoted[-1] == '"'
    inside = quoted[1:-1].replace("\\\\", "").replace('\\"', "")
    assert '"' not in inside
    assert "\\" not in inside


def lisp(text: str) -> str:
    """A string as Nyquist prints it: bytes beyond ASCII in octal, a backslash twice, a quote as it is."""
    return "".join(chr(b) if b < 128 and b != 92 else "\\\\" if b == 92 else f"\\{b:03o}" for b in text.encode("utf-8"))


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc"))))
def test_every_name_is_read(name: str) -> None:
    told = f'(1.500000000 3.000000000 48000.000000000 0.500000000 -0.250000000 1 ((1.0 2.0)) "{lisp(name)}")\n'
    start_s, end_s, track = audacity._track(3, told)
    assert (start_s, end_s) == (1.5, 3.0)
    assert track == Track(3, name, 48_000, 1, 0.5, -0.25, ((48_000, 96_000),))


def test_what_nyquist_says_of_a_stereo_track() -> None:
    told = (
        "(5.123457000 9.765452000 44100.000000000 1.000000000 0.000000000 2 "
        "#(((3.123457000 6.000010000) (7.000010000 23.123457000)) ((3.123457000 6.000010000) "
        '(7.000010000 23.123457000))) "Lead \\"1\\")\n'
    )
    track = audacity._track(0, told)[2]
    assert track.clips == ((137_744, 264_600), (308_700, 1_019_744))


def test_a_clip_before_the_start_of_the_project() -> None:
    told = '(0.0 1.0 8000.0 1.0 0.0 1 ((-2.0 -1.0) (-0.5 1.0)) "x")\n'
    assert audacity._track(0, told)[2].clips == ((0, 8_000),)


TRACK = Track(0, "Lead", 1_000, 1, 1.0, 0.0, ((1_000, 20_000), (21_000, 22_000)))


@pytest.mark.parametrize(
    ("gesture", "expected"),
    [
        (
            "extract",
            [
                Piece(TRACK, (1_000, 20_000), (19_000, 20_000), (14_000, 20_000), (19_000, 20_000)),
                Piece(TRACK, (21_000, 22_000), (21_000, 21_500), (21_000, 22_000), (21_000, 21_500)),
            ],
        ),
        (
            "by-example",
            [
                Piece(TRACK, (1_000, 20_000), (1_000, 20_000), (1_000, 20_000), (19_000, 20_000)),
                Piece(TRACK, (21_000, 22_000), (21_000, 22_000), (21_000, 22_000), (21_000, 21_500)),
            ],
        ),
        (
            "items",
            [
                Piece(TRACK, (1_000, 20_000), (1_000, 20_000), (1_000, 20_000), None),
                Piece(TRACK, (21_000, 22_000), (21_000, 22_000), (21_000, 22_000), None),
            ],
        ),
    ],
)
def test_pieces_of_two_clips(gesture: audacity.Gesture, expected: list[Piece]) -> None:
    assert audacity.pieces(Selection(19.0, 21.5, (TRACK,)), gesture, 5.0) == expected


@pytest.mark.parametrize(
    ("selection", "gesture", "says"),
    [
        (Selection(3.0, 3.0, (TRACK,)), "extract", "Nothing is selected"),
        (Selection(3.0, 3.0, (TRACK,)), "by-example", "Select a time range in which the sound is heard"),
        (Selection(30.0, 31.0, (TRACK,)), "extract", "no audio region in the selected range"),
    ],
)
def test_nothing_to_do(selection: Selection, gesture: audacity.Gesture, says: str) -> None:
    with refused("nothing_to_do", says):
        audacity.pieces(selection, gesture, 5.0)


@pytest.mark.parametrize(
    ("tracks", "says"),
    [
        ([], "Nothing is selected"),
        ([("note", 1), ("wave", 0)], "The selected track holds MIDI"),
        ([("label", 1)], "Nothing is selected"),
    ],
)
def test_no_audio_track_is_selected(tracks: list[tuple[str, int]], says: str, pipes: tuple[Path, Path]) -> None:
    told = ", ".join(f'{{ "name":"x", "focused":0, "selected":{on}, "kind":"{kind}" }}' for kind, on in tracks)
    with audacity_that(lambda command: f"[ {told} ]{OK}", pipes) as got, Pipe(pipes, open_s=LIMIT_S) as pipe:
        with refused("nothing_to_do", says):
            audacity.read_selection(pipe)
        assert len(got) == 1
