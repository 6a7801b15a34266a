"""Separation, from a request to stems on disk. Knows no DAW, no OSC and no exporter.

request, errors     what is asked and answered, and every failure
audio, wav, stems   files in, files out: streamed, atomic, aligned to the sample
windows, stereo     cutting and joining long audio; a model's masks applied to the original channels
bundle, runtime     a model on disk, and the small face every model wears
models, separate    choosing and opening a model; one request end to end
cache, journal, jobs    results kept by content; a queue that survives the engine's death
"""

from engine.errors import CODES, Cancelled, ExitCode, StembridgeError, internal
from engine.request import Progress, Separation, SeparationRequest, Span

__all__ = [
    "CODES",
    "Cancelled",
    "ExitCode",
    "Progress",
    "Separation",
    "SeparationRequest",
    "Span",
    "StembridgeError",
    "internal",
]
