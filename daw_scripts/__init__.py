"""Data: the scripts that run inside each DAW. They import nothing of ours."""
