"""From a submit's fields to the engine's request: no sample is lost, nothing is guessed, every misfit is named."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.api.fields import FIELDS
from bridge.api.forms import from_json, from_pairs, from_submit
from bridge.api.requests import Submit
from bridge.api.times import seconds
from bridge.asking.intake import to_request
from bridge.asking.paths import PathPolicy
from bridge.asking.presets import Preset
from bridge.osc import codec
from engine.errors import StembridgeError
from engine.request import SeparationRequest, Span

RATES_HZ = (8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 88_200, 96_000, 176_400, 192_000)
rates = st.sampled_from(RATES_HZ) | st.integers(8_000, 192_000)
samples = st.integers(0, 2**39)

PRESETS = {
    "plain": Preset(name="plain", title="Plain"),
    "full": Preset(
        name="full",
        title="Full",
        prompt="speech",
        keep="residual",
        quality="best",
        nfe=32,
        model="big",
        context_s=2.5,
        output="generative",
        naming="{source}.{prompt}.{track}",
        spans="none",
    ),
}


@pytest.fixture
def song(tmp_path: Path) -> Path:
    path = tmp_path / "song.wav"
    path.write_bytes(b"RIFF")
    return path


def ask(song: Path, /, *, preview: bool = False, **fields: Any) -> SeparationRequest:
    policy = PathPolicy((song.parent.resolve(),), song.parent / "out")
    given = {"path": str(song), "prompt": "vocals", **fields}
    prompts = {"LeadVox": "lead vocals"}
    return to_request(given, policy, preview=preview, presets=lambda: PRESETS, prompt_of=prompts.get)


def refused(song: Path, /, **fields: Any) -> StembridgeError:
    with pytest.raises(StembridgeError) as caught:
        ask(song, **fields)
    assert caught.value.remedy
    return caught.value


# Times


@given(samples, rates)
def test_no_sample_is_lost_in_any_form_of_a_time(sample: int, rate_hz: int) -> None:
    exact_decimal = f"{sample // rate_hz}.{(sample % rate_hz) * 10**12 // rate_hz:012d}"
    minutes, rest = divmod(sample, 60 * rate_hz)
    clock = f"{minutes}:{rest // rate_hz:02d}.{(rest % rate_hz) * 10**12 // rate_hz:012d}"
    for value, rate in (
        (sample, rate_hz),
        (str(sample), rate_hz),
        (float(sample), rate_hz),
        (sample / rate_hz, None),
        (repr(sample / rate_hz), None),
        (exact_decimal, None),
        (clock, None),
    ):
        if value == clock and minutes >= 10**6:
            continue
        assert round(seconds(value, key="start", rate_hz=rate) * rate_hz) == sample, value


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(samples, st.integers(1, 2**20), st.sampled_from(RATES_HZ))
def test_no_sample_is_lost_from_the_wire_to_the_request(song: Path, start: int, length: int, rate_hz: int) -> None:
    end = start + length
    forms: list[tuple[Any, ...]] = [
        (start, end, ("rate", rate_hz, "span+", start, end, "item", 0, end, "position", start)),
        (str(start), str(end), ("rate", str(rate_hz), "span+", str(start), end, "item", 0, end, "position", start)),
        (start / rate_hz, end / rate_hz, ("span+", start / rate_hz, repr(end / rate_hz), "position", start / rate_hz)),
        (None, None, (json.dumps({"start": start, "end": end, "rate": rate_hz, "position": start}),)),
    ]
    for first, last, options in forms:
        sent = codec.decode_request(codec.encode(Submit("r1", str(song), first, last, options)))
        assert isinstance(sent, Submit)
        asked = ask(song, **from_submit(sent))
        times_s = [
            asked.start_s,
            asked.end_s,
            asked.position_s,
            *(t for s in asked.spans for t in (s.start_s, s.end_s)),
        ]
        expected = [start, end, start, *(t for _ in asked.spans for t in (start, end))]
        assert [round((t or 0) * rate_hz) for t in times_s] == expected


@pytest.mark.parametrize(
    ("text", "expected_s"),
    [
        ("0", 0),
        ("12.5", 12.5),
        (" 12.5 ", 12.5),
        ("1e3", 1000),
        ("1:05.25", 65.25),
        ("90:00", 5400),
        ("1:00:00.5", 3600.5),
    ],
)
def test_times_are_read_as_people_write_them(text: str, expected_s: float) -> None:
    assert seconds(text, key="start") == expected_s


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            "soon",
            "1:60",
            "1:60:00",
            "-1",
            "1,5",
            "nan",
            "inf",
            "0x10",
            "1e999",
            "9" * 400,
            "1::2",
            ":5",
            "5:",
            "1/2",
        ),
        *(True, None, float("nan"), float("inf"), -0.5, -1),
    ],
)
def test_what_is_no_time_is_refused(value: Any) -> None:
    with pytest.raises(StembridgeError) as caught:
        seconds(value, key="start")
    assert caught.value.code == "bad_value"
    assert "start" in caught.value.text


@pytest.mark.parametrize("value", [0.5, "0.5", "0:01", 2**49, -1, "1e-3"])
def test_with_a_rate_only_whole_sample_counts_are_times(value: Any) -> None:
    with pytest.raises(StembridgeError) as caught:
        seconds(value, key="end", rate_hz=48_000)
    assert caught.value.code == "bad_value"


# Forms


def test_pairs_and_json_say_the_same() -> None:
    words = (
        "prompt",
        "vocals",
        "span+",
        1,
        2.5,
        "span+",
        "3",
        "4",
        "span-",
        5,
        6,
        "item",
        0,
        9,
        "path+",
        "/a",
        "path+",
        "/b",
    )
    fields = from_pairs(words)
    assert fields == {
        "prompt": "vocals",
        "span+": [[1, 2.5], ["3", "4"]],
        "span-": [[5, 6]],
        "item": [0, 9],
        "path+": ["/a", "/b"],
    }
    assert from_json(json.dumps(fields)) == fields
    assert from_submit(Submit("r", json.dumps(fields))) == fields
    assert from_submit(Submit("r", "/x.wav", 1.0, "", words[:5])) == from_pairs(words[:5]) | {
        "path": "/x.wav",
        "start": 1.0,
    }


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("prompt",), "bad_value"),
        (("span+", 1), "bad_value"),
        (("promt", "x"), "unknown_key"),
        ((1, "x"), "bad_value"),
        (("seed", 1, "seed", 2), "bad_value"),
        (("prompt", "x", '{"a": 1}'), "unknown_key"),
    ],
)
def test_pairs_that_do_not_pair_are_refused(words: tuple[Any, ...], code: str) -> None:
    with pytest.raises(StembridgeError) as caught:
        from_pairs(words)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "bad_message"),
        ("[]", "bad_message"),
        ('{"start": NaN}', "bad_message"),
        ('{"start": -Infinity}', "bad_message"),
        ('{"seed": 1, "seed": 2}', "bad_message"),
        ('{"seed": ' + "9" * 5_000 + "}", "bad_message"),
        ('{"span+": ' + "[" * 15_000, "bad_message"),
        ('{"prompt": "' + "x" * 40_000 + '"}', "too_long"),
        ('{"stat": 1}', "unknown_key"),
    ],
)
def test_hostile_json_is_refused(text: str, code: str) -> None:
    with pytest.raises(StembridgeError) as caught:
        from_json(text)
    assert caught.value.code == code


def test_a_key_that_resembles_none_is_not_taken_for_another() -> None:
    for key in ("bogus", "colour", "x"):
        with pytest.raises(StembridgeError) as caught:
            from_pairs((key, "x"))
        assert "Did you mean" not in str(caught.value)


def test_a_key_without_its_values_says_what_to_send() -> None:
    for words, told in ((("seed",), "seed stands without a value. Send seed 0."), (("span+", 1.0), "without 2 values")):
        with pytest.raises(StembridgeError) as caught:
            from_pairs(words)
        assert told in str(caught.value)


def test_a_track_called_aux_is_named_so_that_windows_has_it_too() -> None:
    preset = Preset(name="p", title="P", naming="{track}")
    assert preset.file_name(source=Path("song.wav"), prompt="vocals", track="Aux") == "Aux_"
    assert preset.file_name(source=Path("song.wav"), prompt="vocals", track="Aux.2") == "Aux_.2"


def test_an_unknown_key_names_the_nearest_and_all() -> None:
    with pytest.raises(StembridgeError, match=r"Did you mean 'prompt'\?.*path, path\+, start") as caught:
        from_pairs(("Promt", "x"))
    assert caught.value.code == "unknown_key"


def test_a_field_by_position_and_by_key_is_refused() -> None:
    with pytest.raises(StembridgeError, match="start is given twice"):
        from_submit(Submit("r", "/a", 1.0, None, ("start", 2.0)))


def test_the_table_is_complete_and_its_examples_are_valid(song: Path) -> None:
    examples: dict[str, Any] = {}
    for field in FIELDS.values():
        assert field.doc
        assert field.n_values == len(field.example.split()) or field.kind in ("text", "path")
        examples[field.key] = field.example.split() if field.n_values > 1 else field.example
    examples |= {"path": str(song), "path+": None, "rate": None, "preset": "plain"}
    asked = ask(song, **examples)
    assert asked.spans == (Span("+", 12.5, 14.0), Span("-", 15.0, 16.0))
    assert asked.position_s == 96.5
    assert asked.model == "spleeter-2stems"


# The request


def test_defaults_are_the_requests_own(song: Path) -> None:
    expected = SeparationRequest(source=(song.resolve(),), prompt="vocals", out_dir=song.parent.resolve() / "out")
    assert ask(song) == expected
    absent = {key: None for key in FIELDS if key not in ("path", "prompt")}
    assert ask(song, **absent) == ask(song, **dict.fromkeys(absent, "")) == expected


def test_everything_arrives(song: Path) -> None:
    right = song.with_name("right.wav")
    right.write_bytes(b"RIFF")
    fields = {
        "path": None,
        "path+": [str(song), str(right)],
        "start": "1",
        "end": 3,
        "item": [0.5, "0:08"],
        "context": 2,
        "span+": [1.0, 2.0],
        "span-": [[2.5, 3.0], [2.0, 2.1]],
        "quality": "best",
        "nfe": "16",
        "keep": "target",
        "output": "generative",
        "model": "m",
        "name": "Lead",
        "out": "takes/one",
        "seed": 2**62,
        "position": 60.5,
        "playhead": "0:02.5",
    }
    assert ask(song, **fields) == SeparationRequest(
        source=(song.resolve(), right.resolve()),
        prompt="vocals",
        out_dir=song.parent.resolve() / "out" / "takes" / "one",
        start_s=1.0,
        end_s=3.0,
        item_start_s=0.5,
        item_end_s=8.0,
        context_s=2.0,
        spans=(Span("+", 1.0, 2.0), Span("-", 2.5, 3.0), Span("-", 2.0, 2.1)),
        keep="target",
        quality="best",
        nfe=16,
        seed=2**62,
        model="m",
        output="generative",
        name="Lead",
        position_s=60.5,
        playhead_s=2.5,
    )
    assert ask(song, path=[str(song), str(right)]).source == (song.resolve(), right.resolve())


def test_a_preset_lies_under_the_fields_and_over_the_defaults(song: Path) -> None:
    preset = ask(song, prompt=None, preset="full", track="LeadVox")
    assert (preset.prompt, preset.keep, preset.quality, preset.nfe) == ("speech", "residual", "best", 32)
    assert (preset.model, preset.context_s, preset.output) == ("big", 2.5, "generative")
    assert preset.name == "song.speech.LeadVox"
    mine = ask(
        song, preset="full", keep="both", quality="draft", nfe=1, model="m", context=1, output="faithful", name="n"
    )
    assert (mine.prompt, mine.keep, mine.quality, mine.nfe) == ("vocals", "both", "draft", 1)
    assert (mine.model, mine.context_s, mine.output, mine.name) == ("m", 1.0, "faithful", "n")
    assert ask(song, preset="plain") == ask(song)
    assert ask(song, preset="full", rate=48_000).context_s == 2.5
    assert ask(song, preset="plain", start=1, end=2).spans == (Span("+", 1.0, 2.0),), "the selection is the span"
    assert ask(song, preset="plain", start=1, end=2, **{"span+": [0, 3]}).spans == (Span("+", 0.0, 3.0),)
    assert ask(song, preset="full", start=1, end=2).spans == ()
    assert refused(song, preset="ful").code == "unknown_preset"
    assert "full" in str(refused(song, preset="ful"))


def test_the_track_makes_the_prompt_only_where_nothing_else_does(song: Path) -> None:
    assert ask(song, prompt=None, track="LeadVox").prompt == "lead vocals"
    assert ask(song, prompt="", track="LeadVox").prompt == "lead vocals"
    assert ask(song, track="LeadVox").prompt == "vocals"
    for spans in (None, [[0, 1]]):  # a name that says nothing is asked about, never guessed
        error = refused(song, prompt=None, track="Audio 3", **{"span+": spans})
        assert error.code == "no_prompt"
        assert "Audio 3" in error.text
    assert refused(song, prompt=None).code == "no_prompt"
    assert ask(song, prompt=None, **{"span+": [0, 1]}).prompt == ""


def test_a_preview_is_a_draft_unless_told_otherwise(song: Path) -> None:
    region = {"start": 5.0, "end": 15.0}
    assert ask(song, preview=True, **region).quality == "draft"
    assert ask(song, preview=True, preset="full", **region).quality == "draft"
    assert ask(song, preview=True, quality="best", **region).quality == "best"
    for end in (None, 15.001):
        with pytest.raises(StembridgeError) as caught:
            ask(song, preview=True, start=5.0, end=end)
        assert caught.value.code == "too_long"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"start": 2, "end": 2}, "bad_region"),
        ({"start": 3, "end": 2}, "bad_region"),
        ({"item": [5, 4]}, "bad_region"),
        ({"span+": [[2, 2]]}, "bad_span"),
        ({"span-": [[2, 1]]}, "bad_span"),
        ({"span+": [1]}, "bad_value"),
        ({"span+": "1-2"}, "bad_value"),
        ({"span+": [[1, 2, 3]]}, "bad_value"),
        ({"span+": [[1, [2]]]}, "bad_value"),
        ({"span+": {"a": 1}}, "bad_value"),
        ({"span+": [[0, 1]] * 257}, "too_long"),
        ({"item": 5}, "bad_value"),
        ({"item": [1]}, "bad_value"),
        ({"start": [1]}, "bad_value"),
        ({"start": {}}, "bad_value"),
        ({"prompt": 808}, "bad_value"),
        ({"prompt": ["vocals"]}, "bad_value"),
        ({"prompt": "x" * 10_000}, "bad_prompt"),
        ({"prompt": "a\nb"}, "bad_prompt"),
        ({"keep": "all"}, "bad_value"),
        ({"keep": 1}, "bad_value"),
        ({"quality": "Fast"}, "bad_value"),
        ({"seed": -1}, "bad_value"),
        ({"seed": 2**63}, "bad_value"),
        ({"seed": True}, "bad_value"),
        ({"seed": 0.5}, "bad_value"),
        ({"seed": float("inf")}, "bad_value"),
        ({"seed": float("nan")}, "bad_value"),
        ({"seed": "²"}, "bad_value"),
        ({"nfe": 0}, "bad_value"),
        ({"rate": 0}, "bad_value"),
        ({"rate": "44.1k"}, "bad_value"),
        ({"rate": 44_100, "start": 0.5}, "bad_value"),
        ({"context": 61}, "bad_value"),
        ({"position": -1}, "bad_value"),
        ({"name": "a/b"}, "bad_value"),
        ({"name": ".."}, "bad_value"),
        ({"path": None}, "bad_value"),
        ({"path": 5}, "bad_value"),
        ({"path+": ["/a"]}, "bad_value"),
        ({"path": ["/a"] * 65}, "bad_source"),
        ({"path": "/nowhere/x.wav"}, "path_refused"),
        ({"out": "../.."}, "path_refused"),
        ({"preset": 5}, "bad_value"),
        ({"colour": "red"}, "unknown_key"),
    ],
)
def test_a_wrong_field_is_refused_with_a_remedy(song: Path, fields: dict[str, Any], code: str) -> None:
    assert refused(song, **fields).code == code


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(st.dictionaries(st.sampled_from([*FIELDS]), json_values, max_size=6))
def test_any_values_make_a_request_or_a_refusal(song: Path, fields: dict[str, Any]) -> None:
    with contextlib.suppress(StembridgeError):
        assert isinstance(ask(song, **fields), SeparationRequest)
