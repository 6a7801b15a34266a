"""A whole session: planned, rendered, resumed, reported, on this machine or a cluster."""
