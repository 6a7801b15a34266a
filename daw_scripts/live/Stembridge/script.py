"""The face Live sees: the methods it calls on every control surface, most of which Stembridge has no use for."""

from __future__ import annotations

import time
import traceback
from pathlib import Path
from typing import Any

import Live

from . import arriving, commands, drafts, gestures, keys, messages, rounds
from .desk import Desk, name_of, open_desk, open_requests, say

BUDGET_S = 0.001
"""For copying, in one tick; a tick may take two milliseconds."""


class Script:
    """One control surface: lives from when a set is opened until it is closed."""

    def __init__(self, c_instance: Any) -> None:
        self._c_instance = c_instance
        self._desk: Desk = open_desk(c_instance, c_instance.song(), self.application(), Path(__file__).parent)
        self._keys, problem = keys.read(self._desk.settings.clients)
        if problem:
            say(self._desk, problem)
        self._answer_to: tuple[Path, int] | None = None
        self._pressed: list[str] = []
        self.defect = ""
        """The last error that should never be."""

    # What Live calls.

    def update_display(self) -> None:
        """Called every 100 ms: all of the script's work."""
        try:
            self._tick(self._desk, time.monotonic())
        except Exception as e:  # noqa: BLE001  (a defect of ours must not fill Live's log ten times a second)
            self._tell_of_defect(e)

    def _tick(self, desk: Desk, now_s: float) -> None:
        pressed, self._pressed = self._pressed, []
        for name in pressed:
            gestures.GESTURES[name](desk, now_s, None)
        self._take_command(now_s)
        rounds.listen(desk)
        rounds.take_answers(desk, now_s)
        if desk.arriving is None and (entries := rounds.ready(desk) or drafts.ready(desk)):
            arriving.begin(desk, entries)
        if desk.arriving is not None:
            deadline_s = time.monotonic() + BUDGET_S
            arriving.go_on(desk, now_s, lambda: time.monotonic() > deadline_s)
        if desk.entries or desk.unsent:
            rounds.ask(desk, now_s)
        self._show_progress(now_s)
        messages.refresh(desk.screen, now_s)
        self._answer_command()

    def build_midi_map(self, midi_map_handle: int) -> None:
        """Called when the MIDI ports change: asks Live for the notes that are gestures."""
        for note in self._keys.notes:
            Live.MidiMap.forward_midi_note(self._c_instance.handle(), midi_map_handle, self._keys.channel, note)

    def receive_midi(self, midi_bytes: tuple[int, ...]) -> None:
        """Called for the notes asked for. The gesture waits for the next tick, where changes are allowed."""
        name = keys.gesture_of(self._keys, tuple(midi_bytes))
        if name is not None:
            self._pressed.append(name)

    def receive_midi_chunk(self, midi_chunk: tuple[tuple[int, ...], ...]) -> None:
        """As `receive_midi`, several at once."""
        for midi_bytes in midi_chunk:
            self.receive_midi(midi_bytes)

    def disconnect(self) -> None:
        """Called when the set is closed; what is under way is in the ledger."""
        rounds.forget_question(self._desk)
        arriving.stop(self._desk)
        self._desk.link.close()

    def application(self) -> Any:
        """Live itself."""
        return Live.Application.get_application()

    def suggest_input_port(self) -> str:
        """No device belongs to it."""
        return ""

    def suggest_output_port(self) -> str:
        """No device belongs to it."""
        return ""

    def suggest_map_mode(self, cc_no: int, channel: int) -> int:
        """It maps no controllers."""
        return int(Live.MidiMap.MapMode.absolute)

    def can_lock_to_devices(self) -> bool:
        """It controls no devices."""
        return False

    def supports_pad_translation(self) -> bool:
        """It has no pads."""
        return False

    def connect_script_instances(self, instanciated_scripts: Any) -> None:
        """It needs no other script."""

    def refresh_state(self) -> None:
        """It has no lights to set."""

    def _tell_of_defect(self, error: Exception) -> None:
        """Once for each kind; where it happened goes to the log."""
        if repr(error) != self.defect:
            self.defect = repr(error)
            messages.write_log(self._desk.screen, "".join(traceback.format_exception(error)))
            say(self._desk, f"Stembridge met a defect of its own ({error}). Please report it, with live.log.")
        arriving.stop(self._desk)

    # What comes from `stembridge live`.

    def _take_command(self, now_s: float) -> None:
        if self._answer_to is not None:
            return
        command = commands.take(self._desk.settings.clients)
        if command is None:
            return
        self._answer_to = (command.answer, len(self._desk.screen.said))
        gesture = gestures.GESTURES.get(command.gesture)
        if gesture is None:
            say(self._desk, f"There is no gesture {command.gesture!r}: use one of {', '.join(gestures.GESTURES)}.")
        else:
            gesture(self._desk, now_s, command.prompt)

    def _answer_command(self) -> None:
        """As soon as it is known whether the requests went out."""
        if self._answer_to is None or (self._desk.unsent and not self._desk.starting):
            return
        place, n_said = self._answer_to
        self._answer_to = None
        desk = self._desk
        under_way = [gestures.progress_of(desk, entry) for entry in (*open_requests(desk), *desk.unsent)]
        try:
            commands.answer(
                place, {"said": desk.screen.said[n_said:], "under_way": under_way, "set": name_of(desk.song)}
            )
        except OSError as e:
            messages.write_log(desk.screen, f"A command could not be answered: {e}.")

    def _show_progress(self, now_s: float) -> None:
        desk = self._desk
        if now_s >= desk.show_until_s or desk.screen.waiting:
            return
        under_way = [*open_requests(desk), *desk.unsent]
        if not under_way:
            desk.show_until_s = 0.0
            return
        text = gestures.progress_of(desk, under_way[0])
        more = f" (and {len(under_way) - 1} more)" if len(under_way) > 1 else ""
        self._c_instance.show_message(f"Stembridge: {text}{more}")
