"""Reading broken off, folders that cannot be written, rubbish in the mailbox: said in words, and nothing changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from reaper_desk import Desk, open_desk
from reaper_project import Source


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with open_desk(tmp_path) as desk:
        yield desk


def start_reading(desk: Desk) -> None:
    """Presses on a half-speed item of a long file and stops in the middle of reading it."""
    samples, rate_hz = np.tile(soundfile.read(desk.path, dtype="float32")[0], (8, 1)), 44_100
    soundfile.write(desk.path, samples, rate_hz, subtype="FLOAT")
    desk.item.takes[0].source = Source(str(desk.path))
    desk.item.takes[0].values["D_PLAYRATE"] = 0.5
    desk.item.values["D_LENGTH"] = 60.0
    desk.host.select(desk.item)
    desk.host.press("extract_selection")
    desk.host.run_until(lambda: any(desk.mailbox.glob("clients/*.part")), "the reading")


def test_an_item_changed_while_it_is_read_is_said(desk: Desk) -> None:
    start_reading(desk)
    desk.item.takes[0].values["D_PLAYRATE"] = 0.75
    desk.host.settle()
    (message,) = desk.host.messages
    assert "was changed while it was read" in message
    assert desk.asked() == []
    assert not list(desk.mailbox.glob("clients/*.wav*"))


def test_reading_can_be_cancelled(desk: Desk) -> None:
    start_reading(desk)
    desk.host.press("cancel")
    desk.host.settle()
    assert (desk.host.messages, desk.engine.requests) == ([], [])
    assert not list(desk.mailbox.glob("clients/*.wav*"))


def test_reading_that_was_broken_off_is_begun_again(desk: Desk) -> None:
    start_reading(desk)
    desk.host.quit()
    assert not list(desk.mailbox.glob("clients/*.part"))
    desk.host.press("show_progress")
    assert "is being read from REAPER" in desk.host.window_lines[0]
    desk.host.settle()
    assert len(desk.host.undo_points) == 1
    assert desk.host.tracks[1].items[0].span == (10.0, 60.0)


def test_a_project_folder_that_cannot_be_written_is_said(desk: Desk) -> None:
    (desk.folder / "project" / "Stembridge").write_text("a file where the folder should be")
    desk.host.press("extract_selection")
    desk.host.settle()
    assert desk.names() == ["Lead Vox"]
    assert desk.host.undo_points == []
    text = desk.host.messages[0]
    assert "cannot be copied into the project's folder" in text
    assert Path(text.rsplit("It stays at ", 1)[1].split(".wav")[0] + ".wav").exists()


def test_a_stem_that_is_no_sound_file_is_said(desk: Desk) -> None:
    desk.hold()
    request = desk.asked()[0]
    rubbish = desk.folder / "rubbish.wav"
    rubbish.write_bytes(b"no sound")
    with desk.engine._lock:
        desk.engine._waiting.clear()
        desk.engine._status(request["rid"], state="done", prompt="vocals", target=str(rubbish), residual=str(rubbish))
    desk.release()
    assert "could not open" in desk.host.messages[0]
    assert desk.names() == ["Lead Vox"]


@pytest.mark.parametrize(
    "rubbish",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"state": "done"}',
        b'{"rid": "someone-else", "state": "done", "target": "/etc/passwd"}',
    ],
)
def test_rubbish_in_the_mailbox_is_passed_over(desk: Desk, rubbish: bytes) -> None:
    desk.hold()
    rid = desk.asked()[0]["rid"]
    with desk.engine._lock:
        (desk.mailbox / "status" / f"{rid}.json").write_bytes(rubbish)
        (desk.mailbox / "status" / "stray.json").write_bytes(rubbish)
    (ledger,) = desk.mailbox.glob("clients/*.jsonl")
    with ledger.open("ab") as file:
        file.write(rubbish.replace(b"\n", b"") + b"\n")
    for _ in range(20):
        desk.host.tick()
    assert (desk.host.messages, desk.host.undo_points) == ([], [])
    desk.release()
    assert len(desk.host.undo_points) == 1
