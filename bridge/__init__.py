"""From a DAW, a network message or a command line to the engine, and back."""
