"""A MIDI controller as a remote of the engine."""
