"""`stembridge midi`: a MIDI controller as a remote of the running engine."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from bridge.api.protocol import DEFAULT_PORT
from bridge.cli import asking, console
from engine.errors import StembridgeError

midi = typer.Typer(name="midi", help="Use a MIDI controller as a remote of the engine.", no_args_is_help=True)
PortName = Annotated[
    str | None, typer.Option("--midi-port", help="A MIDI port; without, one called Stembridge that others connect to.")
]
MapFile = Annotated[Path | None, typer.Option("--map", help="The file of what does what, instead of your own.")]


@midi.command()
def run(midi_port: PortName = None, map_file: MapFile = None, port: asking.Port = DEFAULT_PORT) -> None:
    """Follow a controller until Ctrl-C: programs choose presets, notes and controllers do what the map says."""
    from bridge.asking.presets import load_presets
    from bridge.midi.audition import player
    from bridge.midi.bindings import default_file, load_map, with_programs
    from bridge.midi.remote import follow, open_port

    found = with_programs(load_map(map_file or default_file()), load_presets())
    with open_port(midi_port) as opened, console.stoppable() as stopped:
        console.note("Listening. Ctrl-C ends it.")
        follow(opened, port, found, console.note, stopped=stopped, play_with=player())


@midi.command()
def learn(
    action: Annotated[str, typer.Argument(help="One of `stembridge midi actions`.")],
    midi_port: PortName = None,
    map_file: MapFile = None,
) -> None:
    """Bind an action to the next note that is pressed, or controller that is moved."""
    from bridge.midi.bindings import binding_of, default_file, load_map, require_action, save_map
    from bridge.midi.remote import LOOK_S, open_port

    require_action(action)
    path = map_file or default_file()
    found = load_map(path)
    with open_port(midi_port) as opened, console.stoppable() as stopped:
        console.note(f"Press what shall do {action!r}.")
        while not stopped():
            for message in opened.iter_pending():
                if (binding := binding_of(action, message)) is not None:
                    save_map(found.learned(binding), path)
                    console.write_line(
                        f"{action}: {binding.kind} {binding.number} on channel {binding.channel} ({path})"
                    )
                    return
            time.sleep(LOOK_S)
    raise StembridgeError("cancelled", "Nothing was learned.")


@midi.command()
def actions(map_file: MapFile = None) -> None:
    """List the actions, what each does, and what triggers it."""
    from bridge.asking.presets import load_presets
    from bridge.midi.bindings import ACTIONS, default_file, load_map, with_programs

    found = with_programs(load_map(map_file or default_file()), load_presets())
    rows = []
    for action, what in ACTIONS.items():
        bound = [b for b in found.bindings if b.action == action]
        told = ", ".join(f"{b.kind} {b.number}" + (f" channel {b.channel}" if b.channel else "") for b in bound)
        rows.append((action, told, what))
    rows += [("preset", f"program {number}", name) for number, name in sorted(found.programs.items())]
    console.write_table(("action", "by", "what it does"), rows)
