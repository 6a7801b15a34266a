"""Audacity 3, from outside.

pipe       one command in, its answer out, never longer than a deadline
project    what is selected, its samples, and stems on new tracks
gestures   one gesture from the selection to the new tracks
"""
