"""What cannot arise in a DAW: host → the reason, as a person would be told it → the scenarios it holds for.

A reason is a fact about the DAW or its scripting, never about the work left to do: what a script could do, it must do.
"""

from __future__ import annotations

from live_limits import LIVE

NOT_POSSIBLE: dict[str, dict[str, tuple[str, ...]]] = {
    "ardour": {},
    "reaper": {},
    "live": LIVE,
    "bitwig": {},
    "audacity": {},
}
