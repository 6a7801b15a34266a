"""Audacity 3, from outside: its pipes, what is selected in it, and one gesture from end to end."""
