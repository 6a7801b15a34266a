"""The JSON that Ardour's scripts write and read, run in the Lua version Ardour has, against Python's."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import lupa.lua53 as lua
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.install import scheme as install

PART = Path(install.__file__).parents[2] / "daw_scripts" / "ardour" / "stembridge" / "json.lua"
RUNTIME = lua.LuaRuntime(encoding="utf-8", unpack_returned_tuples=True)
SB = RUNTIME.table()
RUNTIME.globals()["sb"] = SB
RUNTIME.eval("function(text, sb) assert(load(text))(sb) end")(PART.read_text(encoding="utf-8"), SB)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    NUMBERS | TEXTS | st.booleans(),
    lambda inner: st.lists(inner, min_size=1, max_size=4) | st.dictionaries(TEXTS, inner, min_size=1, max_size=4),
    max_leaves=12,
)


def to_lua(value: Any) -> Any:
    if isinstance(value, dict):
        return RUNTIME.table_from({key: to_lua(item) for key, item in value.items()})
    if isinstance(value, list):
        return RUNTIME.table_from([to_lua(item) for item in value])
    return value


def from_lua(value: Any) -> Any:
    if lua.lua_type(value) == "table":
        items = dict(value.items())
        if items and set(items) == set(range(1, len(items) + 1)):
            return [from_lua(items[n]) for n in sorted(items)]
        return {key: from_lua(item) for key, item in items.items()}
    return value


@given(VALUES)
@settings(max_examples=200, deadline=None)
def test_what_lua_writes_python_reads(value: Any) -> None:
    assert json.loads(SB["encode"](to_lua(value))) == value


@given(VALUES, st.booleans())
@settings(max_examples=200, deadline=None)
def test_what_python_writes_lua_reads(value: Any, ascii_only: bool) -> None:
    read = SB["decode"](json.dumps(value, ensure_ascii=ascii_only))
    assert from_lua(read) == value
    if isinstance(value, int | float):
        assert math.copysign(1, read) == math.copysign(1, value)


def test_null_is_read_as_nothing() -> None:
    assert dict(SB["decode"]('{"eta_s": null, "state": "queued"}').items()) == {"state": "queued"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"a"',
        '{"a":}',
        '{"a":1,}',
        "[1 2]",
        '"\n"',
        '"\\u12"',
        '"\\ud800"',
        "nope",
        "1 2",
        "[" * 50 + "]" * 50,
    ],
)
def test_what_is_not_json_is_an_answer_and_no_error(text: str) -> None:
    value, problem = SB["decode"](text)
    assert value is None
    assert isinstance(problem, str)


@given(st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_no_text_makes_the_reader_fail(text: str) -> None:
    try:
        json.loads(text, parse_constant=lambda word: (_ for _ in ()).throw(ValueError(word)))
    except ValueError:
        return  # ours may be more lenient, it must only come back
    finally:
        SB["decode"](text)


def test_bytes_that_are_no_utf8_are_replaced() -> None:
    encoded = RUNTIME.execute('return sb.encode("a\\xffb")')
    assert json.loads(encoded) == "a?b"
