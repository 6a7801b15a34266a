"""What cannot arise in Ableton Live, as facts about it: reason → the scenarios it holds for."""

from __future__ import annotations

LIVE: dict[str, tuple[str, ...]] = {
    "Live has locators, which are points in time, and no regions.": ("regions that name what sounds where",),
    "Live's scripts can neither read what a clip plays nor render it: a clip that is not heard as its file, at one "
    "speed, is refused, with what to do (consolidate).": (
        "with stretch markers",
        "a loop longer than its file",
        "a compressed file",
    ),
    "A clip in Live plays a stretch of one file, forwards and with all its channels; Reverse makes a new file.": (
        "a section of a file",
        "a reversed section",
        "one channel of a stereo file",
    ),
    "Live does not let scripts see or set the fades of a clip.": ("fades", "a fade cut by the range"),
    "Live does not let scripts cut a clip: of a part of one, Remove brings the stems in and says how to mute it.": (
        "remove, the name as it stands",
        "remove at 48 kHz",
        "remove in mono at 96 kHz",
        "remove, in other words",
    ),
    "Live has no field of text for scripts: Remove takes the track's name, or words given on the command line.": (
        "remove, thought better of",
    ),
    "Live tells scripts the tempo at the playhead, and of an automated tempo only that it is: under one a part of "
    "a clip that is not warped is refused, a whole clip is not.": ("a tempo change",),
    "An answer over OSC is one datagram, which comes whole or not at all.": ("a torn status",),
}
