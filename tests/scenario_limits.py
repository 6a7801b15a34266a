"""What cannot arise in a DAW: host → the reason, as a person would be told it → the scenarios it holds for.

A reason is a fact about the DAW or its scripting, never about the work left to do: what a script could do, it must do.
"""

from __future__ import annotations

from audacity_limits import AUDACITY
from bitwig_limits import BITWIG
from live_limits import LIVE

NOT_POSSIBLE: dict[str, dict[str, tuple[str, ...]]] = {
    "ardour": {
        "Ardour selects and places audio by whole samples.": ("a range between samples", "an item between samples"),
        "Left out in Ardour: “Extract selection” takes all selected regions.": (
            "whole items in spite of a range",
            "every item of a track",
        ),
        "Left out in Ardour: “Regions to jobs” and “Repeat last”; each gesture takes what is selected.": (
            "regions that name what sounds where",
            "the last gesture again, elsewhere",
        ),
        "Ardour stretches, pitches and reverses by writing a new file, which is read like any other.": (
            "by example at half speed",
            "faster",
            "with stretch markers",
            "a reversed section",
            "a nameless track at another speed, asked",
        ),
        "In Ardour a part of a file is a region, as in every row; there are no sections besides.": (
            "a section of a file",
        ),
        "Ardour's regions do not repeat their file.": ("a loop longer than its file",),
        "Ardour takes a file's channels apart when it is imported; a single channel is then a file.": (
            "one channel of a stereo file",
        ),
        "Ardour writes compressed files out as WAV when they are imported.": ("a compressed file",),
        "Ardour's scripts can set a region's fades, but cannot read them.": ("fades", "a fade cut by the range"),
        "A track in Ardour always has a name.": ("a track without a name",),
        "A range without a track is a range on all tracks in Ardour.": ("a range and no track",),
        "Ardour freezes a track by writing a file and playing that; it is then a region like any other.": (
            "a frozen track",
        ),
        "A session of Ardour has its folder from the first moment.": ("a project that was never saved",),
        "Ardour opens a session whose folder cannot be written for reading only, and makes no tracks in it.": (
            "a project folder that cannot be written",
        ),
    },
    "reaper": {},
    "live": LIVE,
    "bitwig": BITWIG,
    "audacity": AUDACITY,
}
