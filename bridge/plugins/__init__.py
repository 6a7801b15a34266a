"""Plugin chains of presets: VST3, Audio Units and built-in effects, each chain in a process of its own.

chain      what a preset says of its plugins, checked; as text in a request
places     where plugins lie on this machine, and the one that a name means
worker     the process that hosts one chain: told what to do on stdin, audio through shared memory
host       plugins loaded, set and verified; the only module that imports pedalboard
stage      one plugin fed block by block, its latency taken out to the sample
latency    how late a plugin really is, by impulse
shared     the memory that both processes see
process    the engine's side of a worker: deadlines, memory, and who is to blame when it dies
stream     blocks through a worker, in and out at once
rendering  a separation with its chains before and behind it
scan       every plugin of this machine, each tried in a process of its own

pedalboard is under the GNU GPL, version 3. It is an extra (`[plugins]`), and never loaded by the process that
separates: the worker is a program of its own, and the two exchange numbers.
"""
