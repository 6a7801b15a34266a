"""What cannot arise in Audacity 3.2: the reason → the scenarios. See `scenario_limits.py`."""

from __future__ import annotations

AUDACITY: dict[str, tuple[str, ...]] = {
    "Left out in Audacity: labels are not read; a command takes the range that is selected.": (
        "regions that name what sounds where",
    ),
    "A command is repeated where it was typed; the terminal knows its words.": ("the last gesture again, elsewhere",),
    "Audacity's clips hold samples of their own: they have no fades, and cannot be muted one by one.": (
        "fades",
        "a fade cut by the range",
        "a muted item",
    ),
    "Audacity 3.2 plays every clip at its own speed, forwards and once; an effect that changes that writes samples.": (
        "by example at half speed",
        "faster",
        "with stretch markers",
        "a reversed section",
        "a loop longer than its file",
        "a nameless track at another speed, asked",
    ),
    "In Audacity a part of a file is a trimmed clip, as in every row; there are no sections besides.": (
        "a section of a file",
    ),
    "Audacity splits a stereo track into two tracks; a single channel is then a track of its own.": (
        "one channel of a stereo file",
    ),
    "Audacity copies every file into its project when it is imported.": ("a file that is gone",),
    "A MIDI track cannot be made through Audacity's pipes; what is said of one was not seen there.": ("a MIDI item",),
    "Audacity names every track itself, and a name cannot be emptied through its pipes.": ("a track without a name",),
    "Audacity has no frozen, armed or grouped tracks.": ("a frozen track", "an armed track", "a grouped track"),
    "Audacity 3.2 has no tempo.": ("a tempo change",),
    "Stems become part of Audacity's project file, which Audacity itself writes.": (
        "a project folder that cannot be written",
    ),
    "Audacity's clips hold samples of their own, not a file's: a draft that a person has changed could not be told "
    "from one as it came in, and the command asks for none.": (
        "a draft, then its result",
        "drafts that grow from the playhead, then the result",
    ),
    "The command speaks OSC on a connected socket: no answer lies in a file, and no one else's can come.": (
        "a torn status",
        "garbage among the answers",
        "an answer of long ago",
    ),
}
