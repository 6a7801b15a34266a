"""What cannot arise in Bitwig Studio's launcher: the reason → the scenarios. See `scenario_limits.py`."""

from __future__ import annotations

BITWIG: dict[str, tuple[str, ...]] = {
    "Bitwig shows its scripts no time selection and nothing of the arranger, only clips in the launcher.": (
        "a range",
        "a range in mono",
        "a range at 48000 Hz",
        "a range at 88200 Hz",
        "a range at 96000 Hz",
        "a range in mono at 96 kHz",
        "a range between samples",
        "a range over the item's end",
        "a range over two items",
        "a range and no track",
        "a range without audio",
        "a very long selection",
        "by example",
        "by example in mono at 48 kHz",
        "by example at 96 kHz",
        "by example at half speed",
        "by example without a range",
        "whole items in spite of a range",
        "regions that name what sounds where",
        "the last gesture again, elsewhere",
    ),
    "A clip in the launcher has no place in time.": (
        "a file from its first sample",
        "an item at the song's first sample",
        "an item between samples",
        "a tempo change",
        "a very long way into the song",
    ),
    "One clip is selected in the launcher at a time.": ("every item of a track",),
    "Bitwig does not tell its scripts how a clip plays its file; the whole file is separated as it is.": (
        "fades",
        "half as loud",
        "a fade cut by the range",
        "faster",
        "with stretch markers",
        "a section of a file",
        "a reversed section",
        "a loop longer than its file",
        "one channel of a stereo file",
        "a nameless track at another speed, asked",
        "a muted item",
        "a MIDI item",
    ),
    "A script cannot ask in Bitwig; the words stand in the panel before, or the message says to write them there.": (
        "remove, the name as it stands",
        "remove at 48 kHz",
        "remove in mono at 96 kHz",
        "remove, in other words",
        "remove, thought better of",
        "a nameless track, no answer",
    ),
    "A script makes a track in Bitwig by its position alone; whether it is frozen, armed or in a group is Bitwig's.": (
        "a frozen track",
        "an armed track",
        "a grouped track",
    ),
    "A script in Bitwig cannot write or look for files: the stems stay where the engine put them.": (
        "a project that was never saved",
        "a project folder that cannot be written",
        "a stem that is gone",
    ),
    "Bitwig does not tell its scripts which file a clip plays, so a draft that a person has changed could not be told "
    "from one as it came in: the script asks for none.": (
        "a draft, then its result",
        "drafts that grow from the playhead, then the result",
    ),
    "The script speaks OSC with the engine; there are no status files.": ("a torn status", "an answer of long ago"),
}
