"""Bitwig's script in Node, with a stand-in for Bitwig around it: started, told what to do, and looked at."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ardour_host import wait_for

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "daw_scripts" / "bitwig" / "Stembridge.control.js"
DEADLINE_S = 60.0


@dataclass
class Bitwig:
    """One running script and its project."""

    process: subprocess.Popen[str]
    own_port: int
    """Where the script listens."""

    def do(self, what: str, **values: Any) -> dict[str, Any]:
        """The project after a command; AssertionError with the script's own error when it fails."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": what, **values}) + "\n")
        self.process.stdin.flush()
        told = json.loads(self.process.stdout.readline() or '{"defect": "the script ended"}')
        assert "defect" not in told, told["defect"]
        return told

    def add_track(self, name: str, **clips: Path) -> None:
        """A track with clips: `s3=path` is one in the fourth slot, named as Bitwig names it."""
        slots = {int(key[1:]): {"name": path.stem, "path": str(path)} for key, path in clips.items()}
        self.do("track", name=name, color=[0.2, 0.4, 0.8], slots=slots)

    def until(self, condition: Callable[[dict[str, Any]], Any], what: str) -> dict[str, Any]:
        """The project once a condition on it holds."""
        return wait_for(lambda: (state := self.do("state")) and condition(state) and state, what, DEADLINE_S)


@contextmanager
def open_bitwig(folder: Path, engine_port: int) -> Iterator[Bitwig]:
    """The script as it is, but for its two ports: several tests run on one machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        own_port = probe.getsockname()[1]
    text = SCRIPT.read_text(encoding="utf-8")
    for name, port in (("ENGINE_PORT", engine_port), ("OWN_PORT", own_port)):
        text, count = re.subn(rf"var {name} = \d+;", f"var {name} = {port};", text)
        assert count == 1
    script = folder / "Stembridge.control.js"
    script.write_text(text, encoding="utf-8")
    command = ["node", str(Path(__file__).with_name("bitwig_host.js")), str(script)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert first == {"ready": True}, first
        yield Bitwig(process, own_port)
    finally:
        process.kill()
        process.communicate()
