"""SAM Audio's network in torch: codec, flow transformer, text encoder, and the import of its weights.

config      the sizes of one network
layers      what the transformer's blocks are made of
dit         the flow transformer: what can be computed once is, then one velocity evaluation
prepared    one separation's constants, and the velocity that uses them
codec       waveform to latents and back, whole or in exact chunks
spectral_codec    the same for small models: a lapped transform, nothing learned
watermark   the reference's mark on a decoded waveform, whole or in pieces
anchors     spans to one token a frame
text        prompts to text features
network     the parts put together, moved to a device, given a precision
official, derive    the official checkpoint's keys and what becomes of each; the sizes they tell
convert, tensor_file, weights    from that checkpoint to a bundle, and from the bundle to a network
releases    the released checkpoints and their hashes
"""

import os

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
"""torch on Linux then takes large memory in huge pages: fetching the codec's hundreds of megabytes a layer in pages of
4 KB took a quarter of its time (benchmarks/sam_cpu.py). torch reads this when it first takes memory."""
