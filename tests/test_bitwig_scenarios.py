"""The scenarios that can arise in Bitwig's launcher, in Bitwig's own script, with a known engine behind real OSC.

A row's item is a clip, and its file is what comes back whole: there are no places and ranges in the launcher.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import soundfile
from bitwig_host import DEADLINE_S, Bitwig, open_bitwig
from osc_stand_in import HalfEngine, half_engine
from scenarios import Scenario, rows_for

import bridge.api.protocol
from bridge.api.telling import _PROMPT_CHARS
from bridge.osc.client import Client

pytestmark = pytest.mark.node

SLOT = 5
NOTHING_LEFT = "Stembridge: No request of this session is under way."
GARBAGE = (
    b"/stembridge/job\0,\0\0\0",
    b"/stembridge/job\0,i\0\0\0\0\0\7",
    b"/stembridge/ack\0,ss\0bitwig-1-1\0\0j9\0\0",
    b"/other\0\0,s\0\0no\0\0",
)
"""OSC that is no answer to this script."""
SAYS = {"a file that is gone": "There is no file"}
"""Where the engine finds what other DAWs find themselves, in its words."""


def make_file(row: Scenario, folder: Path) -> Path:
    path = folder / row.file
    samples = np.random.default_rng(7).uniform(-0.5, 0.5, (round(row.length_s * row.rate_hz), row.n_channels))
    if path.suffix == ".ogg":
        soundfile.write(path, samples, row.rate_hz, format="OGG", subtype="VORBIS")
    else:
        soundfile.write(path, samples.astype(np.float32), row.rate_hz, subtype="FLOAT")
    return path


def build(row: Scenario, bitwig: Bitwig, path: Path) -> None:
    bitwig.add_track("Drums")
    bitwig.add_track(row.track, **{f"s{SLOT}": path})
    bitwig.add_track("Bass")
    if row.select != "nothing":
        bitwig.do("select", track=1, slot=SLOT)
    bitwig.do("set", label="Audio file", text=str(path))
    for answer in row.answers:
        assert answer is not None
        bitwig.do("set", label="Prompt (empty: track name)", text=answer[0])
    if row.offline:
        path.unlink()


@pytest.mark.parametrize("row", rows_for("bitwig"), ids=lambda row: row.name)
def test_in_bitwig(row: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_file(row, tmp_path)
    if row.engine == "other api":
        monkeypatch.setattr(bridge.api.protocol, "API", 99)
    engine = HalfEngine()
    with ExitStack() as stack:
        servers = stack.enter_context(ExitStack())
        if row.engine != "stopped":
            servers.enter_context(half_engine(tmp_path, engine))
        bitwig = stack.enter_context(open_bitwig(tmp_path, engine.port or unused_port()))
        build(row, bitwig, path)
        before = bitwig.do("state")["tracks"]
        if row.engine in ("holds", "dies"):
            engine.hold.clear()
        bitwig.do("press", label="Remove from clip" if row.gesture == "remove" else "Extract clip")
        meanwhile(row, bitwig, engine, servers, path)
        if row.says:
            says = SAYS.get(row.name, row.says)
            bitwig.until(lambda s: any(says in text for text in s["popups"]), says)
        if row.stems:
            check_stems(row, bitwig, path, engine)
        state = bitwig.do("state")
        assert bool(state["popups"]) == bool(row.says or row.engine == "holds"), state["popups"]
        if not row.stems:
            assert state["tracks"] == before


def meanwhile(row: Scenario, bitwig: Bitwig, engine: HalfEngine, servers: ExitStack, path: Path) -> None:
    """What happens beside the gesture."""
    if row.engine == "holds":
        bitwig.until(lambda s: "/stembridge/job" in s["sent"], "the job to be watched")
        bitwig.do("press", label="Cancel")
        bitwig.until(lambda s: NOTHING_LEFT in bitwig.do("press", label="Show progress")["popups"], "the job's end")
    if row.engine == "dies":
        assert engine.started.wait(DEADLINE_S)
        engine.hold.set()
        servers.close()
        bitwig.until(lambda s: s["popups"], "the message")
        servers.enter_context(half_engine(path.parent, engine))
    if row.engine == "shared":
        with Client(engine.port) as client:
            client.wait(client.submit({"path": str(path), "prompt": "drums", "name": "of another DAW"}))
    if row.engine == "garbage":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for packet in GARBAGE:
                stranger.sendto(packet, ("127.0.0.1", bitwig.own_port))


def check_stems(row: Scenario, bitwig: Bitwig, path: Path, engine: HalfEngine) -> None:
    state = bitwig.until(lambda s: len(s["tracks"]) == 5 and str(SLOT) in s["tracks"][3]["slots"], "two new tracks")
    prompt = engine.ran[0].prompt if engine.ran[0].name != "of another DAW" else "lead vocals"
    assert prompt == row.prompt or row.prompt is None
    prompt = prompt[:_PROMPT_CHARS]  # as the list of jobs tells it
    names = [f"{row.track} · {prompt}", f"{row.track} · no {prompt}"]
    names = names[::-1] if row.gesture == "remove" else names
    assert [track["name"] for track in state["tracks"]] == ["Drums", row.track, *names, "Bass"]
    source, first, second = state["tracks"][1:4]
    assert source["slots"][str(SLOT)]["path"] == str(path)
    assert (first["mute"], second["mute"]) == (False, True)
    assert first["color"] == second["color"] == source["color"]
    mixture = soundfile.read(path, dtype="float32", always_2d=True)[0]
    for track in (first, second):
        stem, rate_hz = soundfile.read(track["slots"][str(SLOT)]["path"], dtype="float32", always_2d=True)
        assert rate_hz == row.rate_hz
        np.testing.assert_allclose(stem, mixture / 2, atol=1e-6)


def unused_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
