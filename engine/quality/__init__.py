"""How good a model is, measured on the user's own material.

clips        pieces of a folder of audio, at a model's rate
stems        a folder of songs whose stems are known
measures     distances between two signals
baselines    what a model is compared with: bands, harmonic and percussive parts, the ideal mask
few_steps    a flow model's own results with fewer evaluations, against its 32
separation   any model on songs whose stems are known
report       tables, JSON and plots
"""
