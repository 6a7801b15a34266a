"""A stand-in for Ableton Live: loads the installed script as Live does, calls it in ticks, keeps what it shows."""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from live_set import LiveSet, Plain, WarpMode
from live_stubs import checked

from bridge.install import live
from bridge.install import scheme as install

LIMIT_S = 60.0
"""How long a test waits for what must happen; never how long it takes."""
NOTES = {"extract": 60, "example": 62, "remove": 64, "clips": 65, "tracks": 67, "repeat": 69, "cancel": 71, "show": 72}
"""As the page says."""


class Instance:
    """What Live hands to a script: the way to the set and to the status bar."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def song(self) -> Any:
        return self._host.set.song

    def show_message(self, text: str) -> None:
        assert isinstance(text, str)
        assert len(text) < 200, "the status bar has one line"
        self._host.bar.append(text)

    def handle(self) -> int:
        return 7


class Host:
    """Live, with one set open in it."""

    def __init__(self, library: Path, live_set: LiveSet) -> None:
        self.library, self.set = library, live_set
        self.bar: list[str] = []
        """What the status bar showed."""
        self.notes: list[tuple[int, int]] = []
        """The channel and number of each note the script asked for."""
        self.tick_s: list[float] = []
        self.script: Any = None
        self.open()

    @property
    def desk(self) -> Any:
        return self.script._desk

    @property
    def messages(self) -> list[str]:
        return self.desk.screen.said

    @property
    def set_folder(self) -> Path:
        """Where the set lies; a folder without anything for one that was never saved."""
        return Path(self.set.song._state["file_path"] or "/nowhere/x").parent

    def module(self, name: str) -> Any:
        """A part of the script as it was loaded."""
        return sys.modules[f"Stembridge.{name}"]

    # What Live does.

    def open(self, live_set: LiveSet | None = None) -> None:
        """Opens a set: Live makes the script anew."""
        self.set = live_set or self.set
        sys.modules["Live"] = self._module()
        for name in [name for name in sys.modules if name.split(".")[0] == "Stembridge"]:
            del sys.modules[name]
        folder = str(self.library / "Remote Scripts")
        sys.path.insert(0, folder)
        importlib.invalidate_caches()
        try:
            self.script = importlib.import_module("Stembridge").create_instance(Instance(self))
        finally:
            sys.path.remove(folder)
        self.script.build_midi_map(3)

    def close(self) -> None:
        self.script.disconnect()

    def tick(self) -> None:
        began_s = time.thread_time()
        self.script.update_display()
        self.tick_s.append(time.thread_time() - began_s)
        assert not self.set.in_step, "an undo step is left open"
        assert not self.script.defect, self.script.defect

    def _module(self) -> ModuleType:
        def forward_midi_note(script: int, midi_map: int, channel: int, note: int, consume: bool = True) -> bool:
            assert (script, midi_map) == (7, 3)
            self.notes.append((channel, note))
            return True

        def warp_marker(sample_time: float, beat_time: float) -> Plain:
            return Plain(self.set, "Clip.WarpMarker", sample_time=sample_time, beat_time=beat_time)

        module = ModuleType("Live")
        module.MidiMap = ModuleType("Live.MidiMap")  # type: ignore[attr-defined]
        module.MidiMap.forward_midi_note = checked("MidiMap", "forward_midi_note", forward_midi_note)  # type: ignore[attr-defined]
        module.MidiMap.MapMode = type("MapMode", (int,), {"absolute": 0})  # type: ignore[attr-defined]
        module.Clip = ModuleType("Live.Clip")  # type: ignore[attr-defined]
        module.Clip.WarpMarker = warp_marker  # type: ignore[attr-defined]
        module.Clip.WarpMode = WarpMode  # type: ignore[attr-defined]
        module.Application = ModuleType("Live.Application")  # type: ignore[attr-defined]
        get = checked("Application", "get_application", lambda: self.set.application)
        module.Application.get_application = get  # type: ignore[attr-defined]
        return module

    # What a person does.

    def press(self, gesture: str) -> None:
        """Plays the gesture's note, and lets a tick pass."""
        self.script.receive_midi((0x9F, NOTES[gesture], 100))
        self.script.receive_midi((0x8F, NOTES[gesture], 0))
        self.tick()

    def command(self, gesture: str, prompt: str | None = None) -> dict[str, Any]:
        """As `stembridge live`: returns what the script answered."""
        clients = self.desk.settings.clients
        values = {"gesture": gesture} | ({"prompt": prompt} if prompt else {})
        (clients / "live-do-1.json").write_text(json.dumps(values), encoding="utf-8")
        answer = clients / "live-said-1.json"
        self.run_until(answer.exists, "the answer")
        said = json.loads(answer.read_text(encoding="utf-8"))
        answer.unlink()
        return said

    def run_until(self, condition: Callable[[], bool], what: str) -> None:
        deadline_s = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline_s, f"{what} did not happen; messages: {self.messages}"
            self.tick()
            time.sleep(0.002)

    def settle(self) -> None:
        """Until nothing is under way."""
        self.run_until(lambda: not (self.desk.entries or self.desk.unsent or self.desk.arriving), "the end")


def install_live(folder: Path, state: str = ".") -> tuple[Path, Path]:
    """The script as a user gets it, and its mailbox, which lies with the engine's state."""
    library, mailbox = folder / "User Library", folder / state / "mailbox"
    (library / "Remote Scripts").mkdir(parents=True)
    install.install(live.HOST, library, mailbox)
    engine_starts_with(library, "")  # no test starts a real engine by accident
    return library, mailbox


def engine_starts_with(library: Path, line: str) -> None:
    """Makes the installed script start the engine with that line; empty: it knows no way."""
    config = library / live.FOLDER / "config.json"
    values = json.loads(config.read_text(encoding="utf-8"))
    assert "serve" in values["start_line"] or not values["start_line"]
    config.write_text(json.dumps(values | {"start_line": line}), encoding="utf-8")
