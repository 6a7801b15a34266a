"""SAM Audio's network in torch: codec, flow transformer, text encoder, and the import of its weights.

config      the sizes of one network
layers      what the blocks are made of
dit         the flow transformer: everything that can be computed once is, then one velocity evaluation
codec       waveform to latents and back, whole or in exact chunks; watermark marks a decoded waveform
anchors     spans to one token a frame
text        prompts to text features
prepared    one separation's constants, and the velocity that uses them
official, convert, weights   the official checkpoint: its keys, what becomes of each, the bundle they become
"""
