"""Ableton Live's script and the real engine with its embedded model, over the real OSC port."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from growing_engine import growing_engine
from live_host import Host, install_live
from live_set import LiveSet

import engine as engine_package
from bridge import child

EXCERPT = Path(engine_package.__file__).parent / "demo" / "mixture.flac"
NULL_DBFS = -120.0
LOOP_S = (78.7, 80.7)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("live")
    installed, _ = install_live(folder, "state")
    with child.engine(folder / "stems", folder / "state", roots=[folder]):
        yield installed


def open_song(library: Path, track: str) -> Host:
    folder = library.parent
    path = folder / "the song.wav"
    samples, rate_hz = soundfile.read(EXCERPT, dtype="float32", always_2d=True)
    if not path.exists():
        soundfile.write(path, samples, rate_hz, subtype="FLOAT")
    shutil.rmtree(folder / "project", ignore_errors=True)
    (folder / "project").mkdir()
    live_set = LiveSet(folder / "project" / "song.als", tempo=131.0)
    added = live_set.add_track(track, is_part_of_selection=True)
    live_set.view._state["detail_clip"] = live_set.add_clip(added, path, 77.7, 4.5, 0.25)
    beats = [second * 131 / 60 for second in LOOP_S]
    live_set.song._state.update(loop=True, loop_start=beats[0], loop_length=beats[1] - beats[0])
    return Host(library, live_set)


def only_the_note(messages: list[str]) -> bool:
    """Nothing went wrong, and what the model says of its stems was said once."""
    return len(messages) == 1 and ": This model takes all voices together" in messages[0]


def test_a_selection_becomes_a_stem(library: Path) -> None:
    host = open_song(library, "03_LeadVox (take 2)")
    host.press("extract")
    host.settle()
    assert only_the_note(host.messages)
    source, *stem_tracks = host.set.tracks
    assert [track._state["name"] for track in stem_tracks] == [
        "03_LeadVox (take 2) · lead vocals",
        "03_LeadVox (take 2) · no lead vocals",
    ]
    one, other = (track._state["arrangement_clips"][0] for track in stem_tracks)
    # The stem's samples lie where the source's do: its own times give what was heard there, to rounding.
    samples, rate_hz = one.samples
    times_s = one._state["start_time"] * 60 / 131 + np.arange(len(samples)) / rate_hz
    heard = source._state["arrangement_clips"][0].heard(times_s)
    parts = [clip.heard(times_s) for clip in (one, other)]
    for part in parts:
        assert 0.01 < np.linalg.norm(part) / np.linalg.norm(heard) < 0.9999
    null_dbfs = 20 * np.log10(max(np.max(np.abs(parts[0] + parts[1] - heard)), 1e-12))
    assert null_dbfs <= NULL_DBFS
    host.close()


def test_remove_with_words_from_the_command_line(library: Path) -> None:
    host = open_song(library, "Audio 3")
    host.set.song._state["loop"] = False
    host.command("remove", "vocals")
    host.settle()
    assert host.messages == []
    assert [track._state["name"] for track in host.set.tracks[1:]] == ["Audio 3 · no vocals", "Audio 3 · vocals"]
    assert host.set.tracks[0]._state["arrangement_clips"][0]._state["muted"]
    host.close()


def test_a_name_that_says_nothing_is_asked_for_and_answered_by_renaming(library: Path) -> None:
    host = open_song(library, "1-Audio")
    host.press("extract")
    host.settle()
    assert "does not say" in host.messages[0]
    host.set.rename(host.set.tracks[0], "1-Audio :: vocals")
    host.run_until(lambda: bool(host.desk.entries), "the new request")
    host.settle()
    assert host.set.tracks[1]._state["name"] == "1-Audio :: vocals · vocals"
    host.close()


def test_what_the_model_cannot_do_is_said_in_live(library: Path) -> None:
    host = open_song(library, "Odd :: ???")
    host.press("extract")
    host.settle()
    (message,) = host.messages
    assert "???" in message
    assert len(host.set.tracks) == 1
    host.close()


def test_a_file_outside_the_engine_s_folders_is_refused_in_words(library: Path, tmp_path: Path) -> None:
    host = open_song(library, "Lead Vox")
    elsewhere = Path(shutil.copy(library.parent / "the song.wav", tmp_path))
    host.set.tracks[0]._state["arrangement_clips"][0]._state["file_path"] = str(elsewhere)
    host.press("extract")
    host.settle()
    (message,) = host.messages
    assert "outside the allowed folders" in message
    host.close()


def test_cancel_reaches_the_engine(library: Path) -> None:
    host = open_song(library, "Lead Vox")
    host.press("extract")
    host.run_until(lambda: bool(host.desk.entries), "the request")
    host.press("cancel")
    host.settle()
    assert host.messages == []
    assert len(host.set.tracks) == 1
    host.close()


def test_the_engine_s_drafts_grow_from_the_playhead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library, _ = install_live(tmp_path)
    with growing_engine(tmp_path, monkeypatch) as (_, go_on):
        host = open_song(library, "03_LeadVox")
        song = host.set.song._state
        song.update(loop=False, current_song_time=(77.7 + 3.0) * 131 / 60)
        host.press("extract")
        go_on.release()
        source = host.set.tracks[0]._state["arrangement_clips"][0]
        for n, (begin_s, length_s) in enumerate(((3.0 - 0.1, 0.4), (3.0 - 0.3, 1.2), (0.0, 4.5)), 1):
            host.run_until(lambda n=n: len(host.set.undo_steps) == n and host.desk.arriving is None, f"{length_s} s")
            clips = [track._state["arrangement_clips"] for track in host.set.tracks[1:]]
            assert [len(on_track) for on_track in clips] == [1, 1]
            (one,), (other,) = clips
            samples, rate_hz = one.samples
            assert len(samples) == round(length_s * rate_hz)
            times_s = one._state["start_time"] * 60 / 131 + np.arange(len(samples)) / rate_hz
            assert abs(times_s[0] - 77.7 - begin_s) <= 1 / rate_hz
            heard = source.heard(times_s)
            np.testing.assert_allclose(one.heard(times_s) + other.heard(times_s), heard, atol=1e-6)
            go_on.release()
        host.settle()
    assert only_the_note(host.messages)
    assert not list(tmp_path.glob("out/**/*.draft*"))
    host.close()
