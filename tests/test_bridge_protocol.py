"""The table of messages: every one survives the wire, and what is not in it is refused with a reason."""

from __future__ import annotations

import contextlib
import re
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

from bridge.api import page as apidoc
from bridge.api import protocol as api
from bridge.api.fields import FIELDS
from bridge.api.requests import REQUESTS, Jobs, Ping, Submit, Subscribe
from bridge.handlers import HANDLERS
from bridge.osc import codec
from bridge.osc import packets as osc
from engine.errors import CODES

MESSAGES = [*REQUESTS, *api.ANSWERS, *api.EVENTS]

words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
plain = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=64)
doubles = st.floats(allow_nan=False, allow_infinity=False)
KINDS: dict[str, st.SearchStrategy[Any]] = {
    "s": words,
    "i": st.integers(-(2**31), 2**31 - 1),
    "h": st.integers(-(2**63), 2**63 - 1),
    "f": st.floats(allow_nan=False, allow_infinity=False, width=32),
    "d": doubles,
    "flag": st.booleans(),
    "time": st.none() | words | doubles | st.integers(-(2**63), 2**63 - 1),
}
KINDS["rest"] = st.lists(KINDS["time"] | st.booleans(), max_size=8).map(tuple)


def values_of(kind: type[api.Message]) -> st.SearchStrategy[api.Message]:
    given = {name: plain if name == "rid" else KINDS[arg.kind] for name, arg, _ in kind.args()}
    return st.builds(kind, **given)


def decode(message: api.Message, packet: bytes) -> api.Message:
    return codec.decode_request(packet) if isinstance(message, api.Request) else codec.decode_answer(packet)


@given(st.sampled_from(MESSAGES).flatmap(values_of))
def test_every_message_comes_back_as_it_was_sent(message: api.Message) -> None:
    packet = codec.encode(message)
    assert len(packet) % 4 == 0
    assert decode(message, packet) == message


@given(st.sampled_from(MESSAGES).flatmap(values_of))
def test_python_osc_reads_what_we_write(message: api.Message) -> None:
    assert OscMessage(codec.encode(message)).address == message.address


@pytest.mark.parametrize("kind", MESSAGES)
def test_each_message_says_what_it_is_and_its_example_is_one(kind: type[api.Message]) -> None:
    assert kind.__doc__
    assert not kind.__doc__.startswith(f"{kind.__name__}(")  # dataclass's own
    message = kind(**{name: arg.example for name, arg, _ in kind.args()})
    assert decode(message, codec.encode(message)) == message
    assert all(arg.doc for _, arg, _ in kind.args())


@pytest.mark.parametrize("kind", REQUESTS)
def test_each_request_has_a_handler_a_reply_and_known_codes(kind: type[api.Request]) -> None:
    assert kind in HANDLERS
    assert kind.reply in api.ANSWERS
    assert set(kind.errors) | set(api.COMMON_ERRORS) <= set(CODES)
    assert kind.address.startswith(api.PREFIX)


def test_addresses_are_unique() -> None:
    assert len({kind.address for kind in REQUESTS}) == len(REQUESTS)
    assert len({kind.address for kind in (*api.ANSWERS, *api.EVENTS)}) == len(api.ANSWERS) + len(api.EVENTS)


def test_the_wire_form_is_the_documented_one() -> None:
    packet = codec.encode(Submit("r1", "/a.wav", 1.5, 480_000, ("prompt", "vocals", "span+", "1", 2.0)))
    assert packet == (
        b"/stembridge/submit\0\0,ssdhssssd\0\0r1\0\0/a.wav\0\0"
        + struct.pack(">dq", 1.5, 480_000)
        + b"prompt\0\0vocals\0\0span+\0\0\x001\0\0\0"
        + struct.pack(">d", 2.0)
    )


@pytest.mark.parametrize(
    ("value", "tag"), [("3", "s"), (3, "i"), (3, "h"), (3.0, "f"), (3.0, "d")], ids=lambda v: repr(v)
)
def test_numbers_may_come_as_strings_and_the_other_way_round(value: Any, tag: str) -> None:
    assert codec.decode_request(osc.write("/stembridge/jobs", [("s", "r1"), (tag, value)])) == Jobs("r1", 3)
    assert codec.decode_request(osc.write("/stembridge/ping", [("i", 7)])) == Ping("7")


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        ([], "bad_message"),
        ([("s", "")], "bad_message"),
        ([("s", "r" * 65)], "bad_message"),
        ([("s", "a\nb")], "bad_message"),
        ([("T", True)], "bad_message"),
        ([("s", "r1"), ("d", 0.5)], "bad_message"),
        ([("s", "r1"), ("s", "x")], "bad_message"),
        ([("s", "r1"), ("N", None)], "bad_message"),
        ([("s", "r1"), ("T", True)], "bad_message"),
        ([("s", "r1"), ("h", 2**31)], "bad_message"),
        ([("s", "r1"), ("d", float("nan"))], "bad_message"),
        ([("s", "r1"), ("i", 0), ("i", 0)], "bad_message"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_the_usage(wire: list[tuple[str, Any]], code: str) -> None:
    with pytest.raises(osc.Rejected) as caught:
        codec.decode_request(osc.write("/stembridge/jobs", wire))
    assert caught.value.code == code
    assert caught.value.remedy
    if len(wire) > 1:
        assert caught.value.rid == "r1"


def test_an_answer_of_a_newer_engine_may_have_more_arguments_and_one_of_an_older_fewer() -> None:
    whole = [("s", word) for word in ("j1", "m", "t", "r", "a note", "of a later version")]
    assert codec.decode_answer(osc.write("/stembridge/job/done", whole)) == api.JobDone("j1", "m", "t", "r", "a note")
    assert codec.decode_answer(osc.write("/stembridge/job/done", whole[:4])) == api.JobDone("j1", "m", "t", "r", "")
    with pytest.raises(osc.Rejected):
        codec.decode_request(osc.write("/stembridge/ping", whole))


def test_an_address_that_resembles_none_gets_the_list() -> None:
    for name in ("bogus", "x", "nothing", "stem"):
        with pytest.raises(osc.Rejected, match="The addresses are /stembridge/ping") as caught:
            codec.decode_request(osc.write(f"/stembridge/{name}", [("s", "r1")]))
        assert "Did you mean" not in str(caught.value)


def test_an_address_that_does_not_exist_names_the_nearest() -> None:
    with pytest.raises(osc.Rejected, match="Did you mean /stembridge/submit") as caught:
        codec.decode_request(osc.write("/stembridge/sumbit", [("s", "r1")]))
    assert (caught.value.code, caught.value.rid) == ("unknown_address", "r1")


@pytest.mark.parametrize(
    "address", ["/stembridge/*", "/*/submit", "/stembridge/{submit,ping}", "/stembridge/pin?", "/?"]
)
def test_patterns_are_refused(address: str) -> None:
    with pytest.raises(osc.Rejected) as caught:
        codec.decode_request(osc.write(address, [("s", "r1")]))
    assert (caught.value.code, caught.value.rid) == ("wildcard_refused", "r1")


@pytest.mark.parametrize(
    "address", ["/live/error", "/fail", "/stembridge/error", "/stembridge/job/done", "/stembridge/ack"]
)
def test_what_could_echo_for_ever_is_not_answered(address: str) -> None:
    with pytest.raises(osc.NotForUs):
        codec.decode_request(osc.write(address, [("s", "r1"), ("s", "x"), ("s", "y")]))


def test_float32_times_are_off_by_samples_and_the_other_forms_are_not() -> None:
    sent_s = 3600.123456
    off = {}
    for tag, value in (("f", sent_s), ("d", sent_s), ("s", str(sent_s))):
        submit = codec.decode_request(
            osc.write("/stembridge/submit", [("s", "r1"), ("s", "/a"), (tag, value), ("N", None)])
        )
        assert isinstance(submit, Submit)
        off[tag] = abs(float(submit.start or 0) - sent_s) * 48_000
    assert off["f"] > 1
    assert off["d"] == off["s"] == 0


# Bundles, and the traps of python-osc's own parser


def bundle(*elements: bytes, time_tag: int = 1) -> bytes:
    return b"#bundle\0" + struct.pack(">Q", time_tag) + b"".join(struct.pack(">i", len(e)) + e for e in elements)


PING = codec.encode(Ping("r1"))


def test_a_bundle_is_its_messages_in_order_whatever_its_time_tag() -> None:
    others = [codec.encode(Ping(f"r{n}")) for n in range(5)]
    nested = bundle(others[0], bundle(others[1], others[2], time_tag=2**63), others[3], time_tag=2**64 - 1)
    assert osc.messages(bundle(nested, others[4])) == others
    builder = OscBundleBuilder(IMMEDIATELY)
    builder.add_content(OscMessageBuilder("/stembridge/ping").build())
    assert osc.messages(builder.build().dgram) == [b"/stembridge/ping\0\0\0\0,\0\0\0"]
    assert osc.messages(bundle()) == []


@pytest.mark.parametrize("size", [-4, 0, -(2**31), 3, 2**31 - 1, len(PING) + 4, len(PING) - 4])
def test_an_impossible_element_size_is_refused_and_not_looped_over(size: int) -> None:
    broken = b"#bundle\0" + struct.pack(">Qi", 1, size) + PING
    with pytest.raises(osc.Rejected) as caught:
        found = osc.messages(broken)
        for message in found:
            codec.decode_request(message)
    assert (caught.value.code, caught.value.rid) == ("bad_message", "r1")


def test_bundles_are_bounded_in_depth_and_length() -> None:
    deep = PING
    for _ in range(1000):
        deep = bundle(deep)
    with pytest.raises(osc.Rejected, match="nested") as caught:
        osc.messages(deep)
    assert caught.value.code == "bad_message"
    with pytest.raises(osc.Rejected) as caught:
        osc.messages(bundle(*[PING] * (osc.MAX_MESSAGES + 1)))
    assert (caught.value.code, caught.value.rid) == ("too_long", "r1")
    assert len(osc.messages(bundle(*[PING] * osc.MAX_MESSAGES))) == osc.MAX_MESSAGES


def test_a_packet_over_the_limit_is_named_by_its_rid() -> None:
    fits = osc.write("/stembridge/ping", [("s", "r1"), ("s", "x" * (api.MAX_PACKET_BYTES - 64))])
    assert osc.messages(fits) == [fits]
    with pytest.raises(osc.Rejected) as caught:
        osc.messages(osc.write("/stembridge/ping", [("s", "r1"), ("s", "x" * 60_000)]))
    assert (caught.value.code, caught.value.rid) == ("too_long", "r1")


@pytest.mark.parametrize("tag", "bIStcrm[]")
def test_tags_we_do_not_take_are_refused_and_not_skipped(tag: str) -> None:
    packet = b"/stembridge/jobs\0\0\0\0" + f",s{tag}i".encode() + b"\0\0\0\0" + b"r1\0\0" + bytes(12)
    with pytest.raises(osc.Rejected) as caught:
        codec.decode_request(packet)
    assert (caught.value.code, caught.value.rid) == ("bad_message", "r1")


@pytest.mark.parametrize(
    "message", [Ping("r1"), Subscribe("r1", "127.0.0.1", 9, ("done",)), Submit("r1", "/a", 1.0, 2)]
)
def test_no_truncated_message_is_taken_for_a_whole_one(message: api.Request) -> None:
    packet = codec.encode(message)
    readable = packet.index(b"r1\0\0") + 4
    for length in range(len(packet)):
        with pytest.raises((osc.Rejected, osc.NotForUs)) as caught:
            for piece in osc.messages(packet[:length]):
                codec.decode_request(piece)
        if length >= readable:  # then the client can be told which of its requests it was
            assert isinstance(caught.value, osc.Rejected)
            assert (caught.value.rid, caught.value.code) == ("r1", "bad_message")
    # A float's last bytes missing would be read as zeros by python-osc itself.
    with pytest.raises(osc.Rejected):
        osc.read(osc.write("/stembridge/jobs", [("s", "r1"), ("f", 1.0)])[:-4])


@given(st.binary(max_size=400) | st.binary(max_size=200).map(lambda b: b"/stembridge/submit\0\0" + b))
def test_random_bytes_are_refused_and_nothing_else(packet: bytes) -> None:
    with contextlib.suppress(osc.Rejected, osc.NotForUs):
        for message in osc.messages(packet):
            codec.decode_request(message)


@given(st.data())
def test_damaged_requests_are_refused_and_nothing_else(data: st.DataObject) -> None:
    packet = bytearray(codec.encode(data.draw(values_of(Submit))))
    for _ in range(data.draw(st.integers(1, 4))):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(osc.Rejected, osc.NotForUs):
        for message in osc.messages(bytes(packet)):
            codec.decode_request(message)


def test_what_osc_cannot_carry_is_replaced_and_never_breaks_a_reply() -> None:
    error = codec.decode_answer(codec.encode(api.Error("r1", "internal", "a\0b \udcff é 中")))
    assert error == api.Error("r1", "internal", "a?b ? é 中")


# The page


def test_the_committed_api_page_is_current() -> None:
    assert apidoc.PAGE.read_text(encoding="utf-8") == apidoc.page(), "run: python -m bridge.api.page"


def test_the_api_page_names_everything() -> None:
    page = apidoc.page()
    for kind in MESSAGES:
        assert f"`{codec.usage(kind)}`" in page
    for word in (*FIELDS, *CODES, *api.TOPICS):
        assert f"`{word}`" in page or word in page
    for target in re.findall(r"\]\(#([^)]+)\)", page):
        assert f'id="{target}"' in page or target == "the-mailbox"
