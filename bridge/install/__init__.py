"""How Stembridge is put into each DAW and onto the desktop, and taken away again.

scheme, elsewhere      one scheme for every host; folders that were named by hand
ardour, ardour_slots, reaper, live, bitwig, watch_folder   where each host's files go
lua_files, reapack     the Lua scripts as shipped; the list for ReaPack
service                the engine started with the desktop
"""
