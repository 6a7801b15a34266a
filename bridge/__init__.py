"""From a DAW, a network message or a command line to the engine, and back.

api                the OSC API as one table, and the page written from it
osc, mailbox       what carries it: sockets, or a folder of files
asking             requests made of what clients write: presets, prompts in names, paths allowed
handlers, serve    each request answered; the running engine wired together
batch, sessions    whole sessions: planned, rendered, resumed; the session files themselves
plugins, midi      a preset's plugin chains; a controller as a remote
install, launcher  scripts put into DAWs and taken away; the command that starts this engine
audacity, watch    beside a DAW that has no scripts: Audacity's pipes, a folder for any other
live_commands      how a gesture reaches the script in Ableton Live
doctor, demo       is this machine ready; the whole round trip, and its picture
cli                the command line over all of it
"""
