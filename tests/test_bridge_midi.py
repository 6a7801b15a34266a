"""A MIDI controller over mido's own socket ports, with a real server at the other end."""

from __future__ import annotations

import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mido
import mido.sockets
import pytest
from fake_engine import FakeEngine, fake_engine
from hypothesis import given
from hypothesis import strategies as st

from bridge.__main__ import main
from bridge.midi.audition import Audition
from bridge.midi.bindings import (
    ACTIONS,
    DEFAULT,
    Binding,
    MidiMap,
    binding_of,
    load_map,
    save_map,
    with_programs,
)
from bridge.midi.remote import Remote, follow, open_port
from bridge.osc.client import Client
from engine.errors import StembridgeError

LIMIT_S = 60.0


def until(condition: Callable[[], Any]) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen"
        time.sleep(0.005)


@pytest.fixture
def wire() -> Iterator[tuple[mido.ports.BaseInput, mido.ports.BaseOutput]]:
    """(what Stembridge reads, what the controller writes)"""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]
    with mido.sockets.PortServer("127.0.0.1", number) as server, mido.sockets.connect("127.0.0.1", number) as pad:
        port = server.accept(block=True)  # the server's own `iter_pending` blocks; the connection's does not
        assert port is not None
        yield port, pad


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    with fake_engine(tmp_path) as running:
        yield running


class Desk:
    """A remote with its wire and what it told."""

    def __init__(self, engine: FakeEngine, wire: Any, player: tuple[str, ...] | None = None, **more: Any) -> None:
        self.port, self.pad = wire
        self.told: list[str] = []
        self.client = Client(engine.port)
        self.audition = Audition(player)
        found = with_programs(DEFAULT, ["karaoke", "extract-drums"])
        self.remote = Remote(self.client, self.audition, found, self.told.append, **more)
        self.remote.listen()

    def press(self, *messages: mido.Message) -> None:
        for message in messages:
            self.pad.send(message)
        left = len(messages)
        deadline_s = time.monotonic() + LIMIT_S
        while left > 0:
            left -= self.remote.step(self.port)
            assert time.monotonic() < deadline_s

    def __enter__(self) -> Desk:
        return self

    def __exit__(self, *_: object) -> None:
        self.audition.stop()
        self.client.close()


def note(action: str) -> mido.Message:
    binding = next(b for b in DEFAULT.bindings if b.action == action)
    return mido.Message("note_on", note=binding.number, velocity=100)


def test_a_program_and_a_note_run_the_newest_region_with_the_preset(engine: FakeEngine, wire: Any) -> None:
    with Client(engine.port) as daw, Desk(engine, wire) as desk:
        first = daw.submit({"path": str(engine.source), "prompt": "vocals", "start": 1.0, "end": 3.0})
        daw.wait(first, timeout_s=LIMIT_S)
        desk.press(mido.Message("program_change", program=1), note("best"), note("run"))
        until(lambda: len(engine.queue.jobs()) == 2)
        newest = engine.queue.jobs()[0].request
        assert (newest.start_s, newest.end_s, newest.keep, newest.quality) == (1.0, 3.0, "residual", "best")
        assert "preset: karaoke" in desk.told
        desk.press(note("plain"), mido.Message("control_change", control=1, value=0), note("run"))
        until(lambda: len(engine.queue.jobs()) == 3)
        assert engine.queue.jobs()[0].request.quality == "draft"


def test_cancel_reaches_every_job(engine: FakeEngine, wire: Any) -> None:
    engine.run.hold.clear()
    with Client(engine.port) as daw, Desk(engine, wire) as desk:
        jobs = [daw.submit({"path": str(engine.source), "prompt": prompt}) for prompt in ("vocals", "speech")]
        desk.press(note("cancel"))
        assert desk.told == ["cancel: 2 jobs"]
        engine.run.hold.set()
        until(lambda: all(engine.queue.job(job).state.final for job in jobs))


def test_the_newest_stems_are_played_and_silenced(engine: FakeEngine, wire: Any, tmp_path: Path) -> None:
    player, heard = tmp_path / "player", tmp_path / "heard"
    player.write_text(f'#!/bin/sh\necho "$1" >> {heard}\nexec sleep 600\n')
    player.chmod(player.stat().st_mode | stat.S_IEXEC)
    with Client(engine.port) as daw, Desk(engine, wire, (str(player),)) as desk:
        desk.press(note("target"))
        assert desk.told == ["target: nothing has come yet"]
        done = daw.wait(daw.submit({"path": str(engine.source), "prompt": "vocals"}), timeout_s=LIMIT_S)
        until(lambda: desk.remote.step(desk.port) == 0 and any(line.startswith("done") for line in desk.told))
        for stem in (done.target, done.residual):
            Path(stem).parent.mkdir(parents=True, exist_ok=True)
            Path(stem).write_bytes(b"RIFF")
        desk.press(note("target"))
        until(heard.exists)
        desk.press(note("residual"))
        until(lambda: heard.read_text().split() == [done.target, done.residual])
        desk.press(note("residual"))
        played = [line for line in desk.told if not line.startswith("done")]
        assert played[-3:] == ["target: playing", "residual: playing", "residual: stopped"]
        Path(done.target).unlink()
        desk.press(note("target"))
        assert "no longer on the disk" in desk.told[-1]


def test_without_a_player_that_is_said(engine: FakeEngine, wire: Any, tmp_path: Path) -> None:
    with Desk(engine, wire) as desk:
        stem = tmp_path / "x.wav"
        stem.touch()
        desk.remote._newest["target"] = stem
        desk.press(note("target"))
        assert "no program here that plays" in desk.told[-1]


def test_a_flood_is_one_request(engine: FakeEngine, wire: Any) -> None:
    with Client(engine.port) as daw, Desk(engine, wire) as desk:
        daw.wait(daw.submit({"path": str(engine.source), "prompt": "vocals"}), timeout_s=LIMIT_S)
        flood = [mido.Message("control_change", control=n % 128, value=n % 128) for n in range(3_000)]
        sender = threading.Thread(target=lambda: [desk.pad.send(m) for m in [*flood, *[note("run")] * 500]])
        sender.start()
        taken = steps = 0
        deadline_s = time.monotonic() + LIMIT_S
        while taken < 3_500:
            now = desk.remote.step(desk.port)
            taken += now
            steps += now > 0
            assert time.monotonic() < deadline_s
        sender.join()
        assert 1 <= len(engine.queue.jobs()) - 1 <= steps
        assert engine.queue.jobs()[0].request.prompt == "vocals"


def test_what_the_engine_refuses_is_told_and_the_remote_goes_on(engine: FakeEngine, wire: Any) -> None:
    with Desk(engine, wire, preset="no such") as desk:
        desk.press(note("run"))
        assert desk.told[-1].startswith("run: There is no job yet")
        desk.press(mido.Message("program_change", program=77))
        assert desk.told[-1] == "program 77: no preset"


def test_an_engine_that_goes_and_comes_is_waited_for(wire: Any, tmp_path: Path) -> None:
    told: list[str] = []
    end = threading.Event()
    with fake_engine(tmp_path) as engine:
        port = engine.port
        thread = threading.Thread(
            target=follow, args=(wire[0], port, DEFAULT, told.append), kwargs={"stopped": end.is_set}
        )
        thread.start()
        until(lambda: "The engine answers." in told)
    wire[1].send(note("run"))
    until(lambda: any("No engine answers" in line for line in told))
    end.set()
    thread.join(LIMIT_S)
    assert not thread.is_alive()
    assert sum("No engine answers" in line for line in told) == 1


bindings = st.builds(
    Binding,
    action=st.sampled_from(sorted(ACTIONS)),
    kind=st.sampled_from(["note", "control"]),
    number=st.integers(0, 127),
    channel=st.none() | st.integers(1, 16),
)
maps = st.builds(
    MidiMap, st.lists(bindings, max_size=8).map(tuple), st.dictionaries(st.integers(0, 127), st.text(max_size=20))
)


@given(maps)
def test_a_map_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, found: MidiMap) -> None:
    path = tmp_path_factory.mktemp("map") / "midi.toml"
    save_map(found, path)
    assert load_map(path) == (found if found.bindings or found.programs else MidiMap((), {}))


@given(maps, bindings)
def test_learning_replaces_the_key_and_the_action(found: MidiMap, binding: Binding) -> None:
    after = found.learned(binding).bindings
    assert [b for b in after if b.action == binding.action] == [binding]
    place = (binding.kind, binding.number, binding.channel)
    assert [b for b in after if (b.kind, b.number, b.channel) == place] == [binding]


@given(st.sampled_from(sorted(ACTIONS)), st.integers(0, 127), st.integers(0, 15), st.booleans())
def test_what_was_learned_is_what_triggers(action: str, number: int, channel: int, is_note: bool) -> None:
    message = (
        mido.Message("note_on", note=number, velocity=1, channel=channel)
        if is_note
        else mido.Message("control_change", control=number, value=127, channel=channel)
    )
    binding = binding_of(action, message)
    assert binding is not None
    assert binding.matches(message)
    assert not binding.matches(message.copy(channel=(channel + 1) % 16))
    assert binding_of(action, mido.Message("note_off", note=number)) is None


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('[[binding]]\naction = "runn"\nkind = "note"\nnumber = 1\n', "'run'"),
        ('[[binding]]\naction = "run"\nkind = "note"\nnumber = 128\n', "128"),
        ('[[binding]]\naction = "run"\nkind = "knob"\nnumber = 1\n', "knob"),
        ('[[binding]]\naction = "run"\nkind = "note"\nnumber = 1\nchannel = 17\n', "17"),
        ('[[binding]]\naction = "run"\nnote = 3\n', "note"),
        ('[programs]\n200 = "karaoke"\n', "200"),
        ('[program]\n1 = "karaoke"\n', "program"),
        ("[[binding\n", "midi.toml"),
    ],
)
def test_a_wrong_map_is_refused_by_name(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "midi.toml"
    path.write_text(text)
    with pytest.raises(StembridgeError) as caught:
        load_map(path)
    assert caught.value.code == "bad_preset"
    assert named in str(caught.value)


def test_the_commands_learn_and_list(wire: Any, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import nullcontext

    monkeypatch.setattr("bridge.midi.remote.open_port", lambda name: nullcontext(wire[0]))
    path = tmp_path / "map.toml"
    wire[1].send(mido.Message("control_change", control=21, value=127, channel=4))
    assert main(["midi", "learn", "run", "--map", str(path)]) == 0
    assert "run: control 21 on channel 5" in capsys.readouterr().out
    assert Binding("run", "control", 21, 5) in load_map(path).bindings
    assert main(["midi", "actions", "--map", str(path)]) == 0
    listed = capsys.readouterr().out
    assert "control 21 channel 5" in listed
    assert "karaoke" in listed
    assert main(["midi", "learn", "rnu", "--map", str(path)]) == 2


def test_a_machine_without_midi_says_so_in_one_line() -> None:
    pytest.importorskip("rtmidi")
    if Path("/dev/snd/seq").exists():
        with open_port() as port:  # this machine has it: then it must work
            assert list(port.iter_pending()) == []
        with pytest.raises(StembridgeError) as caught, open_port("no such port"):
            pass
        assert caught.value.code == "bad_value"
        return
    with pytest.raises(StembridgeError) as caught, open_port():
        pass
    assert caught.value.code == "runtime_missing"
    assert "MIDI is off" in caught.value.text
    assert "\n" not in str(caught.value)
