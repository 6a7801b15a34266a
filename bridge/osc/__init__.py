"""OSC on the wire.

packets, codec         bytes ↔ addresses and values ↔ the messages of the table
framing, sockets, transport    packets over a stream; UDP and TCP on one port, one thread
server, listeners      requests answered; who hears of a job
client                 a small synchronous client
"""
