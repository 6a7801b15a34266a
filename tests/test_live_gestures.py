"""What the scenario table has no row for: Live's own ways to select, to press and to keep clips."""

from __future__ import annotations

import ast
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from live_desk import RATE_HZ, Desk, open_live_desk
from live_host import NOTES
from live_set import Clip, WarpMode

from bridge import live_commands
from bridge.install.live import sources
from engine.errors import StembridgeError


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with open_live_desk(tmp_path) as desk:
        yield desk


def stems(desk: Desk) -> list[Clip]:
    """The clips on the two tracks under the first."""
    return [clip for track in desk.set.tracks[1:3] for clip in track._state["arrangement_clips"]]


def assert_fits(desk: Desk, from_s: float, to_s: float) -> None:
    """The two stems give what the source gives between two times, each half of it: not one sample off."""
    one, other = stems(desk)
    beats_per_s = desk.set.song._state["tempo"] / 60
    first_s = one._state["start_time"] / beats_per_s
    times_s = first_s + np.arange(len(one.samples[0])) / RATE_HZ
    times_s = times_s[(times_s > from_s - 1e-9) & (times_s < to_s - 1e-9)]
    assert len(times_s) >= int((to_s - from_s) * RATE_HZ) - 1
    heard = desk.clip.heard(times_s)
    np.testing.assert_allclose(one.heard(times_s), 0.5 * heard, atol=1e-6)
    np.testing.assert_allclose(one.heard(times_s) + other.heard(times_s), heard, atol=1e-6)


@pytest.mark.parametrize("gesture", ["extract", "clips"])
def test_a_clip_warped_at_the_set_s_tempo_is_its_file(desk: Desk, gesture: str) -> None:
    desk.warp(desk.clip, 120.0)
    desk.do(gesture)
    assert desk.host.messages == []
    assert_fits(desk, *((11.0, 12.0) if gesture == "extract" else (10.0, 13.0)))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda desk: desk.warp(desk.clip, 120.0, bent=True), "is warped so that its speed varies. Consolidate it"),
        (lambda desk: desk.clip._state.update(pitch_coarse=-2), "is transposed. Consolidate it"),
        (lambda desk: desk.clip._state.update(pitch_fine=3.5), "is transposed. Consolidate it"),
        (lambda desk: (desk.warp(desk.clip, 120.0), desk.clip._state.update(has_groove=True)), "plays with a groove"),
        (lambda desk: desk.tempo_changes(), "lies under a tempo that is automated"),
        (lambda desk: desk.path.write_bytes(b"OggS"), "plays a compressed file"),
    ],
)
def test_what_is_not_heard_as_its_file_is_refused(desk: Desk, change, says: str) -> None:
    desk.tempo_changes = lambda: desk.set.tempo_parameter._state.update(automation_state=1)
    change(desk)
    before = desk.set.snapshot()
    desk.do("extract")
    (message,) = desk.host.messages
    assert says in message
    assert desk.asked() == []
    assert desk.set.snapshot() == before


def assert_stretched(desk: Desk, from_beats: float, to_beats: float) -> None:
    """The stems are warped on the source's own line: at every beat they are at the file's same sample, to rounding."""
    begin = desk.asked()[-1]["start"]
    for stem in stems(desk):
        state = stem._state
        assert (state["warping"], state["looping"], state["warp_mode"]) == (True, False, desk.clip._state["warp_mode"])
        assert state["start_time"] == pytest.approx(from_beats, abs=1e-3)
        assert state["end_time"] == pytest.approx(to_beats, abs=1e-3)
        for beat in np.linspace(from_beats, to_beats, 7):
            of_stem = stem.sample_at(state["start_marker"] + beat - state["start_time"])
            of_source = desk.clip.sample_at(desk.clip._state["start_marker"] + beat - desk.clip._state["start_time"])
            assert of_stem + begin == pytest.approx(of_source, abs=1e-4)


@pytest.mark.parametrize("in_seconds", [False, True])
@pytest.mark.parametrize("bpm", [60.0, 90.0, 119.9, 174.0])
def test_a_clip_stretched_on_one_line_comes_back_stretched(desk: Desk, bpm: float, in_seconds: bool) -> None:
    desk.warp(desk.clip, bpm)
    desk.clip._state["warp_mode"] = WarpMode.complex
    desk.set.markers_in_seconds = in_seconds
    end = desk.clip._state["end_time"]
    desk.loop(10.5, 11.0)
    desk.do("extract")
    assert desk.host.messages == []
    assert_stretched(desk, 21.0, 22.0)
    desk.set.tracks[1:] = []
    desk.do("clips")
    assert_stretched(desk, 20.0, end)


def test_a_stretched_clip_may_lie_under_an_automated_tempo(desk: Desk) -> None:
    desk.warp(desk.clip, 120.0)
    desk.set.tempo_parameter._state["automation_state"] = 1
    desk.do("extract")
    assert desk.host.messages == []
    assert_stretched(desk, 22.0, 24.0)


def test_a_live_that_warps_otherwise_is_not_left_with_the_stems(desk: Desk) -> None:
    desk.warp(desk.clip, 90.0)
    desk.set.warps_otherwise = 0.9
    before = desk.set.snapshot()
    desk.do("extract")
    (message,) = desk.host.messages
    assert "does not warp a stem as its clip is" in message
    assert "Consolidate the clip first" in message
    assert desk.set.snapshot() == before


def test_under_an_automated_tempo_a_whole_clip_is_exact(desk: Desk) -> None:
    desk.set.tempo_parameter._state["automation_state"] = 1
    desk.clip._state["end_time"] = 26.5  # not what the tempo at the playhead would make of three seconds
    desk.no_loop()
    desk.hold()
    (asked,) = desk.asked()
    assert (asked["start"], asked["end"]) == (RATE_HZ // 2, RATE_HZ // 2 + 3 * RATE_HZ)
    desk.release()
    assert stems(desk)[0]._state["start_time"] == 20.0


def looped(desk: Desk) -> None:
    """Two seconds of the file, again and again for six."""
    desk.warp(desk.clip, 120.0)
    begin = desk.clip._state["start_marker"]
    desk.clip._state.update(looping=True, loop_start=begin, loop_end=begin + 4, end_time=32.0)


def test_one_pass_of_a_looped_clip_is_its_file(desk: Desk) -> None:
    looped(desk)
    desk.loop(14.25, 15.0)
    desk.do("extract")
    assert desk.host.messages == []
    assert_fits(desk, 14.25, 15.0)
    assert desk.asked()[0]["item"] == [desk.asked()[0]["start"], desk.asked()[0]["end"]]


@pytest.mark.parametrize("gesture", ["extract", "example", "clips"])
def test_a_loop_that_starts_again_in_the_range_is_refused(desk: Desk, gesture: str) -> None:
    looped(desk)
    desk.loop(11.0, 13.0) if gesture == "extract" else desk.loop(14.25, 15.0)
    desk.do(gesture)
    (message,) = desk.host.messages
    assert "starts its loop again" in message
    assert desk.asked() == []


def test_another_tempo_and_rate_of_time(desk: Desk) -> None:
    desk.set.song._state["tempo"] = 97.3
    desk.clip._state.update(start_time=10.0 * 97.3 / 60, end_time=13.0 * 97.3 / 60)
    desk.loop(10.7, 12.9)
    desk.do("extract")
    assert_fits(desk, 10.7, 12.9)


def test_without_a_loop_the_clip_in_view_is_meant(desk: Desk) -> None:
    desk.no_loop()
    desk.do("extract")
    assert desk.spans(desk.set.tracks[1]) == [(20.0, 26.0)]
    assert "span+" not in desk.asked()[0]


def test_a_selected_group_means_its_tracks(desk: Desk) -> None:
    group = desk.set.add_track("Choir", has_audio_input=False, is_part_of_selection=True)
    desk.track._state["is_part_of_selection"] = False
    inner = desk.set.add_track("Inner", group=group, has_audio_input=False)
    desk.add(desk.set.add_track("Alto", group=inner), 10.0)
    desk.add(desk.set.add_track("Tenor", group=group), 10.0)
    desk.hold(n=2)
    assert [fields["track"] for fields in desk.asked()] == ["Alto", "Tenor"]
    desk.release()


def test_a_session_clip_comes_back_in_its_scene(desk: Desk) -> None:
    slot = desk.track._state["clip_slots"][3]
    clip = desk.set.make_clip(str(desk.path), canonical_parent=slot, is_arrangement_clip=False)
    slot._state["clip"] = clip
    beats = {"start_marker": 0.0, "end_marker": 16.0, "loop_start": 2.0, "loop_end": 6.0}
    clip._state.update(markers=[(0, 0.0), (RATE_HZ / 2, 1.0)], gain=0.7, **beats)
    desk.set.app_view._state["focused_document_view"] = "Session"
    desk.set.view._state["highlighted_clip_slot"] = slot
    desk.do("extract")
    (asked,) = desk.asked()
    assert (asked["start"], asked["end"]) == (RATE_HZ, 3 * RATE_HZ)
    for track in desk.set.tracks[1:3]:
        (stem,) = [s._state["clip"] for s in track._state["clip_slots"] if s._state["clip"]]
        assert track._state["clip_slots"][3]._state["clip"] is stem
        assert (stem._state["warping"], stem._state["looping"], stem._state["gain"]) == (False, False, 0.7)
        assert stem._state["end_marker"] == 2.0
        assert track._state["arrangement_clips"] == []
    desk.do("example")
    assert (desk.asked()[1]["start"], desk.asked()[1]["end"]) == (0, 8 * RATE_HZ)
    assert desk.asked()[1]["span+"] == [[RATE_HZ, 3 * RATE_HZ]]
    assert len(desk.set.tracks) == 5  # the slots of the first two are taken
    desk.do("remove")
    assert clip._state["muted"]


def test_the_notes_are_asked_of_live_and_only_those(desk: Desk) -> None:
    assert desk.host.notes == [(15, note) for note in NOTES.values()]
    desk.host.script.receive_midi((0x90, 60, 100))  # another channel
    desk.host.script.receive_midi((0x9F, 60, 0))  # a note-off in disguise
    desk.host.script.receive_midi((0xF0, 1, 2, 3, 0xF7))
    desk.host.tick()
    assert not desk.host.desk.unsent


@pytest.mark.parametrize(
    ("text", "note"),
    [('{"channel": 1, "extract": 36}', (0x90, 36)), ('{"extract": 200}', (0x9F, 60)), ("{", (0x9F, 60))],
)
def test_a_person_s_own_keys(desk: Desk, text: str, note: tuple[int, int]) -> None:
    (desk.mailbox / "clients" / "live-keys.json").write_text(text)
    desk.host.close()
    desk.host.open()
    assert [("cannot be used" in said) for said in desk.host.messages] == ([True] if note[1] == 60 else [])
    desk.host.script.receive_midi_chunk(((*note, 64),))
    desk.host.settle()
    desk.host.tick()
    desk.host.settle()
    assert len(desk.asked()) == 1


def test_the_command_line_reaches_live(desk: Desk) -> None:
    answers: list[live_commands.Told] = []
    caller = threading.Thread(target=lambda: answers.append(live_commands.ask(desk.mailbox, "extract", "drums", 60.0)))
    desk.engine.holding = True
    caller.start()
    desk.host.run_until(lambda: not caller.is_alive(), "the answer")
    assert answers[0].said == ()
    assert answers[0].under_way == ("“Lead Vox”: is being sent",)
    desk.release()
    assert desk.asked()[0]["prompt"] == "drums"
    assert desk.names() == ["Lead Vox", "Lead Vox · drums", "Lead Vox · no drums"]
    assert not list((desk.mailbox / "clients").glob("live-*.json"))


def test_a_gesture_nobody_takes_is_withdrawn(tmp_path: Path) -> None:
    with pytest.raises(StembridgeError) as caught:
        live_commands.ask(tmp_path, "extract", limit_s=0.2)
    assert caught.value.code == "daw_not_found"
    assert not list((tmp_path / "clients").iterdir())
    with pytest.raises(StembridgeError) as caught:
        live_commands.ask(tmp_path, "exhale")
    assert caught.value.code == "bad_value"


def test_the_command_line_knows_the_script_s_gestures(desk: Desk) -> None:
    assert live_commands.GESTURES == tuple(sys.modules["Stembridge.gestures"].GESTURES) == tuple(NOTES)
    assert "There is no gesture 'exhale'" in desk.host.command("exhale")["said"][0]


def test_remove_from_a_part_says_how_to_mute_it(desk: Desk) -> None:
    desk.host.command("remove", "drums")
    desk.host.settle()
    assert desk.names()[1:] == ["Lead Vox · no drums", "Lead Vox · drums"]
    assert not desk.clip._state["muted"]
    (message,) = desk.host.messages
    assert "does not let scripts cut a clip" in message


def test_repeat_last_uses_the_same_words(desk: Desk) -> None:
    desk.do("repeat")
    assert desk.host.messages == ["There is nothing to repeat yet."]
    desk.host.command("extract", "drums")
    desk.host.settle()
    desk.loop(12.0, 13.0)
    desk.do("repeat")
    assert [fields["prompt"] for fields in desk.asked()] == ["drums", "drums"]
    assert desk.spans(desk.set.tracks[1]) == [(22.0, 24.0), (24.0, 26.0)]  # free there: the same tracks
    desk.do("repeat")
    assert len(desk.set.tracks) == 5


def test_a_person_s_track_of_that_name_is_left_alone(desk: Desk) -> None:
    theirs = desk.set.add_track("Lead Vox · vocals")
    desk.do("extract")
    assert theirs._state["arrangement_clips"] == []


def test_a_stem_selected_with_its_source_is_not_asked_for(desk: Desk) -> None:
    desk.do("extract")
    for track in desk.set.tracks:
        track._state["is_part_of_selection"] = True
    desk.hold()
    desk.release()
    assert [fields["track"] for fields in desk.asked()] == ["Lead Vox", "Lead Vox"]


def test_progress_is_said_in_the_status_bar(desk: Desk) -> None:
    desk.do("show")
    assert desk.host.messages == ["No request of this session is under way."]
    desk.hold()
    status = {"state": "running", "stage": "separating", "fraction": 0.426, "eta_s": 71.2}
    desk.engine._status(str(desk.asked()[0]["rid"]), **status)
    desk.host.press("show")
    desk.host.run_until(lambda: desk.host.bar[-1:] == ["Stembridge: “Lead Vox”: separating, 42 %, 1:12 left"], "it")
    assert desk.host.command("show")["under_way"] == ["“Lead Vox”: separating, 42 %, 1:12 left"]
    desk.engine._status(str(desk.asked()[0]["rid"]), state="queued")
    desk.engine._waiting = list(desk.engine.requests)
    desk.release()


def test_what_is_said_stands_in_the_status_bar_and_in_the_log(desk: Desk) -> None:
    desk.no_loop()
    desk.set.view._state["detail_clip"] = None
    desk.host.press("extract")
    shown = desk.host.bar[-1]
    assert shown.startswith("Stembridge: Nothing is selected")
    assert "Nothing is selected" in (desk.mailbox / "clients" / "live.log").read_text(encoding="utf-8")


def test_the_script_imports_the_standard_library_alone_and_starts_no_thread() -> None:
    for name, text in sources().items():
        for node in ast.walk(ast.parse(text, feature_version=(3, 11))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            roots = {full.split(".")[0] for full in names}
            assert roots <= sys.stdlib_module_names | {"Live"}, name
            assert not roots & {"threading", "subprocess", "multiprocessing", "concurrent", "asyncio"}, name


def test_what_is_known_of_a_stem_lies_on_its_track(desk: Desk) -> None:
    desk.do("extract")
    known = json.loads(desk.set.tracks[1]._state["data"]["stembridge"])
    assert (known["kind"], known["prompt"]) == ("target", "vocals")
    assert known["job"].startswith("job-live-")
