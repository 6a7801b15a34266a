"""Separation, from a request to stems on disk. Knows no DAW, no OSC and no exporter.

request, errors            what is asked and answered, and every failure
audio, resample, blocks    files in, streamed, at any rate
stft, windows, stereo      transforms, long material, and a model's masks laid on the original channels
wav, riff, stems, manifest files out: whole or not at all, stamped with their place, described
bundle, models, runtime    a model on disk, choosing and opening one, and the small face every model wears
masks                      models that estimate masks, and what a prompt asks of one that knows two stems
flow                       models that follow a velocity: sampling, long audio, candidates
model, runtimes            SAM Audio's network in torch, and what runs the networks
separate, cache, jobs      one request end to end, results kept by content, the queue with its journal
progressive, drafts        drafts first, the result after them; their requests and files
known, passage             what a result is known by; a region's samples on their way through a model
effects                    what a host of plugins offers to do before the model and behind it
artefact, hub, fetch       exports of a model on disk; what a hub holds, and files brought from there
health, metrics            is this machine ready; how good is a stem
quality                    how good a model is, on songs whose stems are known, beside baselines
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
