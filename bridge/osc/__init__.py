"""OSC on the wire: packets, sockets, the server, and a small client."""
