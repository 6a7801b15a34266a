"""A whole session: planned, rendered, resumed and reported.

plan, names, room      clips × prompts → requests; what stems are called; how much they take
run, memory            a plan rendered from a journal; what earlier runs did
cluster                the same jobs on a Dask cluster
session, report        the new session beside the old one; what is told and written of it
whole, desk            all of it in one call; and by the running engine, over OSC
"""
