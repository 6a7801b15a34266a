"""A MIDI controller as a remote of the engine.

remote     a client of the engine that listens to a port
bindings   which message does what, and the user's file
audition   plays a stem with the system's own player
"""
