"""Stembridge in Ableton Live: a Remote Script that hands what is selected to the engine and brings the stems in.

Live imports this folder and calls `create_instance`. It holds all it needs: Python's standard library and Live's own
`Live` module. It starts no thread; everything happens in the call that Live makes every 100 ms.
"""

from __future__ import annotations

from typing import Any

from .script import Script


def create_instance(c_instance: Any) -> Script:
    """What Live calls when Stembridge is chosen as a control surface."""
    return Script(c_instance)


def get_capabilities() -> dict[str, Any]:
    """No device belongs to it, so Live is told of none."""
    return {}
