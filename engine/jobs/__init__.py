"""A queue of separations that outlives its process: one worker, priorities, cancel, progress, a journal on disk.

job         what a job is, its states and events
queue       the queue itself: submit, cancel, close
waiting     the order of those that wait
attempt     one run; whatever it raises becomes an error
progress    a fraction that never falls, a calm estimate of the time left
outbox      events to one listener, in order, never under the queue's lock
journal, journal_file    SQLite: what was promised survives `kill -9` and power cuts
"""
