"""A disk small enough to be filled: a tmpfs in a mount namespace that ends with the command that runs in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def on_small_disk(folder: Path, size: str, command: list[str]) -> list[str]:
    """The command that runs `command` with an empty disk of that size mounted on `folder`.

    Skips the test where this cannot be done, but not on CI.
    """
    unshare = shutil.which("unshare") if sys.platform.startswith("linux") else None
    prefix = [str(unshare), *(["-m"] if os.geteuid() == 0 else ["-r", "-m"])] if unshare else []
    mount = ["sh", "-c", f'mount -t tmpfs -o size={size} none "$1" && shift && exec "$@"', "sh", str(folder)]
    works = unshare and subprocess.run([*prefix, *mount, "true"], capture_output=True, check=False).returncode == 0
    if not works and os.environ.get("CI") != "true":
        pytest.skip("this user may not mount a file system in a namespace of its own")
    assert works, (
        "a tmpfs cannot be mounted in a namespace of its own: unshare (util-linux) or the right to use it is missing"
    )
    return [*prefix, *mount, *command]
