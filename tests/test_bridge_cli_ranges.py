"""Time ranges on the command line: every way to write one gives the same seconds, and nothing else passes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.cli.ranges import parse_range
from engine.errors import StembridgeError


def clock(milliseconds):
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes}:{rest // 1000:02d}.{rest % 1000:03d}"


def plain(milliseconds):
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}"


MILLISECONDS = st.integers(0, 10 * 3_600_000)


@given(st.tuples(MILLISECONDS, MILLISECONDS).filter(lambda pair: pair[0] != pair[1]).map(sorted))
def test_every_way_to_write_a_range_gives_its_seconds(ends):
    start, end = ends
    expected = (start / 1000, end / 1000)
    assert parse_range(f"{plain(start)}:{plain(end)}", "--span") == expected
    assert parse_range(f"{plain(start)}-{plain(end)}", "--span") == expected
    assert parse_range(f"{clock(start)}-{clock(end)}", "--span") == expected
    assert parse_range(f" {clock(start)} – {plain(end)} ", "--span") == expected
    with pytest.raises(StembridgeError, match="Give a start before its end"):
        parse_range(f"{plain(end)}:{plain(start)}", "--span")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12:20", (12.0, 20.0)),
        ("10-30", (10.0, 30.0)),
        ("0:3", (0.0, 3.0)),
        ("12.5:14", (12.5, 14.0)),
        ("1:05-1:20.5", (65.0, 80.5)),
        ("1:00:00-1:00:01", (3600.0, 3601.0)),
    ],
)
def test_the_forms_of_the_manual(text, expected):
    assert parse_range(text, "--span") == expected


@pytest.mark.parametrize("text", ["12:", "12-", "12 -"])
def test_the_end_may_be_left_out_only_where_it_is_allowed(text):
    assert parse_range(text, "--region", open_end=True) == (12.0, None)
    with pytest.raises(StembridgeError):
        parse_range(text, "--span")


@pytest.mark.parametrize(
    "text",
    ["", ":", "-", "12", ":20", "-20", "1:05:1:20", "a:b", "1-2-3", "-1:5", "nan:inf", "1:99-2:00", "5:5", "12:20:30"],
)
def test_what_is_no_range_is_refused_with_the_way_to_write_one(text):
    with pytest.raises(StembridgeError) as caught:
        parse_range(text, "--span")
    assert caught.value.code == "bad_value"
    assert caught.value.remedy
    assert "--span" in caught.value.text


@given(st.text(max_size=40))
def test_any_text_is_a_range_or_an_error(text):
    try:
        start_s, end_s = parse_range(text, "--region", open_end=True)
    except StembridgeError:
        return
    assert start_s >= 0
    assert end_s is None or end_s > start_s


def test_a_time_that_is_none_is_told_in_the_command_lines_words():
    with pytest.raises(StembridgeError) as caught:
        parse_range("one:2", "--span")
    assert caught.value.remedy == "Use seconds (12.5) or minutes and seconds (1:05.250)."
