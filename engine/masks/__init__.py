"""Models that estimate masks.

two_stems, intent  the embedded vocals/accompaniment model, and what a prompt asks of it
prompted, features, bands, wordpiece    a model asked in words: its face, inputs, bands and tokenizer
kept, presence     what it heard lately; whether what a prompt names is there
"""
