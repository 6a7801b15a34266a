"""A MIDI controller as a remote: a client of the engine beside it, so that a driver's crash or a flood harms nothing.

It knows no region: `run` asks for the newest job's again. What arrives while the engine is asked is taken together,
each action once, so that ten thousand messages a second are still one request.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from bridge.api import protocol as api
from bridge.api.requests import Again, CancelAll, Subscribe
from bridge.midi.audition import Audition
from bridge.midi.bindings import QUALITIES, MidiMap
from bridge.osc.client import Client, new_rid
from engine.errors import StembridgeError

if TYPE_CHECKING:
    import mido

PORT_NAME: Final = "Stembridge"
LOOK_S: Final = 0.02
"""How often the port is looked at while nothing comes."""
LISTEN_S: Final = 5.0
EVENT_S: Final = 0.001
"""How long an event of the engine is waited for at each look."""
_TAKEN: Final = 4_096
"""Messages taken at once; what a driver holds beyond them comes with the next."""


class Port(Protocol):
    """What is asked of a mido input port."""

    def iter_pending(self) -> Iterable[mido.Message]: ...


@contextmanager
def open_port(name: str | None = None) -> Iterator[Port]:
    """A port of the system: the one of that name, or a virtual one called `Stembridge` that any program can connect to.

    Raises `StembridgeError`: `runtime_missing` without python-rtmidi or a MIDI system, `bad_value` for a name that does
    not exist.
    """
    try:
        import mido.backends.rtmidi as backend  # importing it is what tells whether MIDI works here
        import rtmidi

        names = backend.get_devices()
        known = [each["name"] for each in names if each["is_input"]]
        if name is not None and name not in known:
            raise StembridgeError(
                "bad_value", f"There is no MIDI port {name!r}.", f"The ports are {', '.join(known) or 'none'}."
            )
        port = backend.Input(name or PORT_NAME, virtual=name is None)
    except ImportError as e:
        raise StembridgeError(
            "runtime_missing", "MIDI needs python-rtmidi.", "Install it with: pip install 'stembridge[midi]'."
        ) from e
    except (rtmidi.RtMidiError, OSError, NotImplementedError) as e:
        raise StembridgeError(
            "runtime_missing",
            f"MIDI is off: this system has no MIDI ports to offer ({e}).",
            "On Linux, ALSA's sequencer must be there: modprobe snd-seq.",
        ) from e
    try:
        yield port
    finally:
        port.close()


@dataclass
class Remote:
    """What a controller has chosen, and what it can do with an engine."""

    client: Client
    audition: Audition
    found: MidiMap
    tell: Callable[[str], None]
    """One line for a person, for everything that happens."""
    preset: str | None = None
    quality: str | None = None
    _newest: dict[str, Path] = field(default_factory=dict)
    """The newest result's stems."""

    def listen(self) -> None:
        """Subscribes to the engine's results. Raises `StembridgeError` (`engine_not_running`)."""
        self.client.ask(Subscribe(new_rid(), "", 0, ("done", "failed")))

    def step(self, port: Port) -> int:
        """Acts on what came from the port and from the engine since the last step; how many messages there were.

        What the engine refuses is told, not raised. Raises `StembridgeError` (`engine_not_running`).
        """
        messages = []
        for message in port.iter_pending():
            messages.append(message)
            if len(messages) >= _TAKEN:
                break
        while (event := self.client.event(EVENT_S)) is not None:
            self._hear(event)
        for action, value in self._actions(messages):
            try:
                self._do(action, value)
            except StembridgeError as e:
                if e.code == "engine_not_running":
                    raise
                self.tell(f"{action}: {e}")
        return len(messages)

    def _actions(self, messages: Iterable[mido.Message]) -> list[tuple[str, Any]]:
        """What the messages ask for, each action once, with its last value, in the order of their last messages."""
        wanted: dict[str, Any] = {}
        for message in messages:
            asked: list[tuple[str, Any]] = []
            if message.type == "program_change":
                asked = [("preset", message.program)]
            for binding in self.found.bindings:
                if binding.matches(message):
                    asked.append((binding.action, getattr(message, "value", 127)))
            for action, value in asked:
                # A button on a controller sends 127 when pressed and 0 when let go: only the first counts.
                if action != "quality" and message.type == "control_change" and value < 64:
                    continue
                wanted.pop(action, None)
                wanted[action] = value
        return list(wanted.items())

    def _hear(self, event: api.Event) -> None:
        if isinstance(event, api.JobDone):
            self._newest = {k: Path(p) for k, p in (("target", event.target), ("residual", event.residual)) if p}
            self.tell(f"done: {event.manifest}")
        elif isinstance(event, api.JobFailed):
            self.tell(f"failed: {event.text}")

    def _do(self, action: str, value: Any) -> None:
        if action == "preset":
            self._choose(value)
        elif action == "run":
            chosen = {"preset": self.preset, "quality": self.quality}
            words = tuple(word for key, chosen_word in chosen.items() if chosen_word for word in (key, chosen_word))
            job = self.client.ask(Again(new_rid(), "", words)).job
            self.tell(f"run: {' '.join(words) or 'as before'} ({job})")
        elif action == "cancel":
            self.tell(f"cancel: {self.client.ask(CancelAll(new_rid())).count} jobs")
        elif action in ("target", "residual"):
            self._play(action)
        elif action == "silence":
            self.audition.stop()
        elif action == "plain":
            self.preset = None
            self.tell("preset: none")
        else:
            self.quality = action if action in QUALITIES else QUALITIES[min(value * 3 // 128, 2)]
            self.tell(f"quality: {self.quality}")

    def _choose(self, program: int) -> None:
        name = self.found.programs.get(program)
        if name is None:
            self.tell(f"program {program}: no preset")
            return
        self.preset = name
        self.tell(f"preset: {name}")

    def _play(self, stem: str) -> None:
        path = self._newest.get(stem)
        if path is None:
            self.tell(f"{stem}: nothing has come yet")
        else:
            self.tell(f"{stem}: {'playing' if self.audition.toggle(path) else 'stopped'}")


def follow(
    port: Port,
    engine_port: int,
    found: MidiMap,
    tell: Callable[[str], None],
    *,
    stopped: Callable[[], bool] = lambda: False,
    play_with: tuple[str, ...] | None = None,
) -> None:
    """Serve a controller until `stopped()`. An engine that is not there, or goes, is waited for."""
    preset = quality = None
    absent = False
    with Audition(play_with) as audition:
        while not stopped():
            try:
                with Client(engine_port) as client:
                    remote = Remote(client, audition, found, tell, preset, quality)
                    remote.listen()
                    tell("The engine answers.")
                    absent = False
                    try:
                        _serve(remote, port, stopped)
                    finally:
                        preset, quality = remote.preset, remote.quality
            except StembridgeError as e:
                if e.code != "engine_not_running":
                    raise
                if not absent:
                    absent = True
                    tell(str(e))
                time.sleep(LOOK_S)


def _serve(remote: Remote, port: Port, stopped: Callable[[], bool]) -> None:
    listened_s = time.monotonic()
    while not stopped():
        if not remote.step(port):
            time.sleep(LOOK_S)
        if time.monotonic() - listened_s > LISTEN_S:  # an engine that was started anew knows no subscriptions
            remote.listen()
            listened_s = time.monotonic()
