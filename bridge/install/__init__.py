"""How Stembridge is put into each DAW and onto the desktop, and taken away again."""
