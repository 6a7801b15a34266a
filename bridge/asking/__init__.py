"""From what a client wrote to a `SeparationRequest`: presets, the prompt in a track's name, paths allowed."""
