"""The mailbox: a folder of JSON files for DAWs whose scripts have no sockets.

box        requests taken, statuses kept, by the same handlers as OSC's
files      reading what is half-written or hostile; writing what is never seen half-written
"""
