"""The script's own reader and writer of OSC: the engine and it understand each other, and it trusts nothing else."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.api import protocol as api
from bridge.api import requests
from bridge.osc import codec

SOURCE = Path(__file__).parents[1] / "daw_scripts" / "live" / "Stembridge" / "osc.py"
_spec = importlib.util.spec_from_file_location("live_osc", SOURCE)
osc = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(osc)

WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=40)
RIDS = st.text("abcXYZ019_.-", min_size=1, max_size=64)


@given(RIDS, WORDS)
def test_the_engine_reads_what_the_script_writes(rid: str, text: str) -> None:
    assert codec.decode_request(osc.write("/stembridge/submit", rid, text)) == requests.Submit(rid, text)


@given(
    RIDS, WORDS, st.floats(0, 1, width=32), st.floats(-1, 1e9, width=32), st.sampled_from(["done", "running", "failed"])
)
def test_the_script_reads_what_the_engine_writes(
    rid: str, text: str, fraction: float, eta_s: float, state: str
) -> None:
    answer = api.JobAnswer(rid, "j1", state, fraction, text, eta_s, "", text, "", "/a b", "")
    address, values = osc.read(codec.encode(answer))
    assert address == "/stembridge/job"
    assert values[:7] == [rid, "j1", state, fraction, text, eta_s, ""]
    assert values[7:11] == [text, "", "/a b", ""]


@pytest.mark.parametrize(("tag", "data", "value"), [("h", b"\0" * 7 + b"\5", 5), ("d", b"\x40\x09" + b"\0" * 6, 3.125)])
def test_long_numbers_are_read(tag: str, data: bytes, value: float) -> None:
    assert osc.read(b"/a\0\0," + tag.encode() + b"\0\0" + data) == ("/a", [value])


def test_constants_are_read() -> None:
    assert osc.read(b"/a\0\0,TFN\0\0\0\0") == ("/a", [True, False, None])


@given(st.binary(max_size=200))
def test_anything_else_is_refused_and_nothing_worse_happens(packet: bytes) -> None:
    try:
        address, values = osc.read(packet)
    except ValueError:
        return
    assert address.startswith("/")
    assert all(value is None or isinstance(value, str | int | float) for value in values)


@given(st.data())
def test_a_packet_that_is_cut_off_is_refused(data: st.DataObject) -> None:
    whole = codec.encode(api.Pong("rid", "1.2.3", 1, "idle"))
    cut = data.draw(st.integers(0, len(whole) - 5))
    with pytest.raises(ValueError):
        osc.read(whole[:cut])
