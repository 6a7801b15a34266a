"""The mailbox: a folder of JSON files for DAWs whose scripts have no sockets."""
