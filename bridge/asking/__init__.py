"""From what a client wrote to a `SeparationRequest`.

intake, again          the fields of a submit, checked; a job asked for once more with other words
presets                requests with a name
prompts, vocabulary    the prompt in a track's name
paths                  what may be read, and where may be written
"""
