"""The server as clients meet it: real sockets, a real queue and journal, separations that a test steers."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_engine import LIMIT_S, NOTE, FakeEngine, fake_engine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.api import protocol as api
from bridge.api.requests import (
    Cancel,
    CancelAll,
    Info,
    Jobs,
    JobStatus,
    Ping,
    Presets,
    PresetShow,
    Submit,
    Subscribe,
    Unload,
    Unsubscribe,
    Warm,
)
from bridge.osc import codec
from bridge.osc import packets as osc
from bridge.osc.client import Client, new_rid
from bridge.osc.framing import Deframer, frame
from bridge.osc.listeners import MAX_SUBSCRIPTIONS, PROGRESS_INTERVAL_S, Listeners, client_text, peer_of
from bridge.osc.transport import Peer
from engine.errors import StembridgeError
from engine.jobs.job import PREVIEW_PRIORITY


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    with fake_engine(tmp_path) as running:
        yield running


@pytest.fixture
def client(engine: FakeEngine) -> Iterator[Client]:
    with Client(engine.port) as connected:
        yield connected


def song(engine: FakeEngine, **more: Any) -> dict[str, Any]:
    return {"path": str(engine.source), "start": 1.0, "end": 2.0, "prompt": "vocals", **more}


def events_of(client: Client, job: str) -> list[api.Event]:
    """The job's events up to its end."""
    found: list[api.Event] = []
    while not found or isinstance(found[-1], api.JobQueued | api.JobProgress):
        event = client.event(LIMIT_S)
        assert event is not None, f"no end after {found}"
        if event.job == job:
            found.append(event)
    return found


def until(condition: Callable[[], Any]) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen"
        time.sleep(0.005)


@contextlib.contextmanager
def raw_socket(port: int, host: str = "127.0.0.1") -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect((host, port))
        one.settimeout(LIMIT_S)
        yield one


def ask_raw(one: socket.socket, packet: bytes) -> api.Message:
    one.send(packet)
    return codec.decode_answer(one.recv(65_535))


# The main flow


@pytest.mark.parametrize("via", ["udp", "tcp"])
def test_a_submit_is_acknowledged_then_told_to_its_end(engine: FakeEngine, via: Any) -> None:
    with Client(engine.port, via=via) as client:
        ack = client.ask(Submit("r1", str(engine.source), 1.0, 2.0, ("prompt", "vocals", "name", "Lead")))
        assert isinstance(ack, api.Ack)
        events = events_of(client, ack.job)
        assert isinstance(events[0], api.JobQueued)
        assert isinstance(events[-1], api.JobDone)
        out = engine.source.parent.resolve() / "out" / "Lead"
        assert events[-1] == api.JobDone(ack.job, f"{out}.json", f"{out}.target.wav", f"{out}.residual.wav", NOTE)
        stands = client.ask(JobStatus("r2", ack.job))
        assert (stands.state, stands.note) == ("done", NOTE)


def test_the_acknowledgement_comes_before_the_jobs_first_event(engine: FakeEngine) -> None:
    with raw_socket(engine.port) as one:
        for n in range(50):
            one.send(codec.encode(Submit(f"r{n}", json.dumps(song(engine)))))
            seen: list[api.Message] = []
            while not seen or not isinstance(seen[-1], api.JobDone):
                seen.append(codec.decode_answer(one.recv(65_535)))
            assert isinstance(seen[0], api.Ack)
            assert isinstance(seen[1], api.JobQueued)


@pytest.mark.parametrize(
    "options",
    [
        ("prompt", "vocals", "span+", 1.25, "1.75", "span-", "0:01.8", 1.9, "span+", 1.1, 1.2),
        ('{"prompt": "vocals", "span+": [[1.25, "1.75"], [1.1, 1.2]], "span-": [["0:01.8", 1.9]]}',),
    ],
    ids=["pairs", "json"],
)
def test_options_come_as_pairs_or_json(engine: FakeEngine, client: Client, options: tuple[Any, ...]) -> None:
    client.wait(client.ask(Submit("r1", str(engine.source), "1.0", 2, options)).job, timeout_s=LIMIT_S)
    asked = engine.run.ran[0]
    assert [(s.sign, s.start_s, s.end_s) for s in asked.spans] == [("+", 1.25, 1.75), ("+", 1.1, 1.2), ("-", 1.8, 1.9)]
    assert (asked.start_s, asked.end_s, asked.prompt) == (1.0, 2.0, "vocals")


def test_ping_info_presets_and_memory(engine: FakeEngine, client: Client) -> None:
    assert client.ask(Ping("r1")) == api.Pong("r1", "1.2.3", 1, "idle")
    info = client.ask(Info("r2"))
    assert (info.models, info.runtime, info.device, info.rate) == ("fake,other", "fake", "cpu", 44_100)
    assert json.loads(info.limits) == {"max_spans": 256}
    listed = client.ask(Presets("r3")).presets
    assert "extract-vocals" in listed[::2]
    shown = client.ask(PresetShow("r4", "extract-vocals")).values
    assert dict(zip(shown[::2], shown[1::2], strict=True))["prompt"] == "vocals"
    with pytest.raises(StembridgeError) as caught:
        client.ask(PresetShow("r5", "extract-vocal"))
    assert caught.value.code == "unknown_preset"
    assert client.ask(Warm("r6", "fake")) == client.ask(Warm("r6", "fake")) == api.Ack("r6", "")
    client.ask(Unload("r7"))
    assert engine.warmed == ["fake", "fake", ""]


def test_ping_says_busy_while_a_job_runs(engine: FakeEngine, client: Client) -> None:
    engine.run.hold.clear()
    job = client.submit(song(engine))
    until(lambda: client.ask(Ping(new_rid())).state == "busy")
    engine.run.hold.set()
    client.wait(job, timeout_s=LIMIT_S)
    until(lambda: client.ask(Ping(new_rid())).state == "idle")


def test_jobs_are_listed_in_pages_for_those_who_come_late(engine: FakeEngine, client: Client) -> None:
    made = [client.submit(song(engine, prompt=f"vocals {n} " + "x" * 200)) for n in range(23)]
    client.wait(made[-1], timeout_s=LIMIT_S)
    found, page, more = [], 0, True
    while more:
        with raw_socket(engine.port) as one:
            one.send(codec.encode(Jobs("r1", page)))
            packet = one.recv(65_535)
        assert len(packet) < api.MAX_ANSWER_BYTES
        answer = codec.decode_answer(packet)
        assert isinstance(answer, api.JobsAnswer)
        found += answer.jobs[::4]
        assert set(answer.jobs[1::4]) == {"done"}
        page, more = page + 1, answer.more
    assert found == made[::-1]
    assert page == 3


def test_cancel_is_effective_and_idempotent(engine: FakeEngine, client: Client) -> None:
    engine.run.hold.clear()
    jobs = [client.submit(song(engine)) for _ in range(3)]
    assert engine.run.started.wait(LIMIT_S)
    for _ in range(2):
        assert client.ask(Cancel(new_rid(), jobs[0])).job == jobs[0]
    assert isinstance(events_of(client, jobs[0])[-1], api.JobCancelled)
    assert client.ask(CancelAll("r1")).count == 2
    for job in jobs[1:]:
        with pytest.raises(StembridgeError) as caught:
            client.wait(job, timeout_s=LIMIT_S)
        assert caught.value.code == "cancelled"
    client.cancel(jobs[0])
    assert client.ask(CancelAll("r2")).count == 0
    with pytest.raises(StembridgeError) as caught:
        client.cancel("nobody")
    assert caught.value.code == "unknown_job"


def test_a_preview_is_short_drafted_and_passes_the_others(engine: FakeEngine, client: Client) -> None:
    engine.run.hold.clear()
    client.submit(song(engine))
    client.submit(song(engine, name="second"))
    preview = client.submit(song(engine, name="preview"), preview=True)
    assert engine.queue.job(preview).priority == PREVIEW_PRIORITY
    engine.run.hold.set()
    client.wait(preview, timeout_s=LIMIT_S)
    until(lambda: len(engine.run.ran) == 3)
    assert [r.name for r in engine.run.ran] == [None, "preview", "second"]
    assert engine.run.ran[1].quality == "draft"
    for wrong in ({"end": 12.0}, {"end": None}):
        with pytest.raises(StembridgeError) as caught:
            client.submit(song(engine, **wrong), preview=True)
        assert caught.value.code == "too_long"


# Failures


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"prompt": "didgeridoo"}, "unsupported_prompt"),
        ({"prompt": "defect"}, "internal"),
        ({"prompt": "x" * 10_000}, "bad_prompt"),
        ({"prompt": ""}, "no_prompt"),
        ({"prompt": "", "track": "Audio 3"}, "no_prompt"),
        ({"promt": "vocals"}, "unknown_key"),
        ({"end": 0.5}, "bad_region"),
        ({"start": "soon"}, "bad_value"),
        ({"span+": [[2, 1]]}, "bad_span"),
        ({"path": "/etc/passwd"}, "path_refused"),
        ({"out": "/etc"}, "path_refused"),
        ({"preset": "nonsense"}, "unknown_preset"),
        ({"nfe": 10**9}, "bad_value"),
    ],
)
def test_a_wrong_submit_is_refused_at_once(engine: FakeEngine, client: Client, more: dict[str, Any], code: str) -> None:
    with pytest.raises(StembridgeError) as caught:
        client.submit(song(engine, **more))
    assert caught.value.code == code
    assert code in (*Submit.errors, *api.COMMON_ERRORS)
    assert str(caught.value)
    assert engine.queue.jobs() == []
    assert client.ask(Ping("r2"))


@pytest.mark.parametrize("error", [StembridgeError("disk_full", "Full.", "Make room."), ZeroDivisionError("a defect")])
def test_a_job_that_fails_says_why_and_the_queue_goes_on(engine: FakeEngine, client: Client, error: Exception) -> None:
    engine.run.fails = error
    failed = client.submit(song(engine))
    told = events_of(client, failed)[-1]
    assert isinstance(told, api.JobFailed)
    assert told.code == getattr(error, "code", "internal")
    with pytest.raises(StembridgeError) as caught:
        client.wait(failed, timeout_s=LIMIT_S)
    assert caught.value.code == told.code
    engine.run.fails = None
    assert client.wait(client.submit(song(engine)), timeout_s=LIMIT_S).state == "done"


def test_a_defect_in_a_handler_is_answered_and_logged(
    engine: FakeEngine, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StembridgeError) as caught:
        client.submit(song(engine, prompt="defect"))
    assert caught.value.code == "internal"
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("packet", "code"),
    [
        (osc.write("/stembridge/*", [("s", "r1")]), "wildcard_refused"),
        (osc.write("/stembridge/{submit,cancel_all}", [("s", "r1")]), "wildcard_refused"),
        (osc.write("/stembridge/nothing", [("s", "r1")]), "unknown_address"),
        (osc.write("/stembridge/ping", [("s", "r1"), ("s", "x" * 40_000)]), "too_long"),
        (codec.encode(Ping("r1")) + b"\0\0\0\0", "bad_message"),
        (codec.encode(Submit("r1", "/a", 1.0, 2.0))[:-4], "bad_message"),
        (b"#bundle\0" + bytes(8) + b"\0\0\0\x13" + codec.encode(Ping("r1")), "bad_message"),
    ],
)
def test_a_bad_packet_is_answered_by_its_rid(engine: FakeEngine, packet: bytes, code: str) -> None:
    with raw_socket(engine.port) as one:
        answer = ask_raw(one, packet)
    assert isinstance(answer, api.Error)
    assert (answer.rid, answer.code) == ("r1", code)


def test_every_message_of_a_bundle_is_answered_and_future_time_tags_do_not_wait(engine: FakeEngine) -> None:
    messages = [codec.encode(Ping(f"r{n}")) for n in range(5)]
    packet = b"#bundle\0" + b"\xff" * 8 + b"".join(len(m).to_bytes(4, "big") + m for m in messages)
    with raw_socket(engine.port) as one:
        one.send(packet)  # its time has come in the year 2036
        answers = [codec.decode_answer(one.recv(65_535)) for _ in messages]
    assert [getattr(a, "rid", "") for a in answers] == [f"r{n}" for n in range(5)]


def test_our_own_messages_and_foreign_ones_stay_unanswered(engine: FakeEngine) -> None:
    with raw_socket(engine.port) as one:
        for packet in (
            codec.encode(api.Error("r1", "internal", "x")),
            codec.encode(api.JobDone("j", "m", "t", "r")),
            osc.write("/fail", [("s", "/stembridge/error")]),
            b"noise",
            b"",
        ):
            one.send(packet)
        assert getattr(ask_raw(one, codec.encode(Ping("last"))), "rid", "") == "last"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(packet=st.binary(max_size=300) | st.binary(max_size=60).map(lambda b: codec.encode(Ping("r1")) + b))
def test_no_datagram_ends_the_loop(engine: FakeEngine, packet: bytes) -> None:
    with raw_socket(engine.port) as one:
        one.send(packet)
        one.send(codec.encode(Ping("after")))
        answer = codec.decode_answer(one.recv(65_535))
        while getattr(answer, "rid", "") != "after":
            answer = codec.decode_answer(one.recv(65_535))


# Several clients, lost and repeated datagrams


def test_a_repeated_submit_is_one_job(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    packet = codec.encode(Submit("r1", json.dumps(song(engine))))
    with raw_socket(engine.port) as one, raw_socket(engine.port) as other:
        acks = []
        for _ in range(3):
            one.send(packet)
            while not isinstance(answer := codec.decode_answer(one.recv(65_535)), api.Ack):
                pass
            acks.append(answer)
        assert acks[0] == acks[1] == acks[2]
        assert len(engine.queue.jobs()) == 1
        assert isinstance(ask_raw(other, packet), api.Ack)  # the same rid from someone else is another request
        one.send(codec.encode(Submit("r1", json.dumps(song(engine, name="other")))))  # and so is other content
        until(lambda: len(engine.queue.jobs()) == 3)
        monkeypatch.setattr("bridge.osc.server.REMEMBERED_S", 0.0)  # much later it is no repetition
        one.send(packet)
        until(lambda: len(engine.queue.jobs()) == 4)


def test_subscribers_hear_every_job_and_only_the_topics_they_chose(engine: FakeEngine, client: Client) -> None:
    with Client(engine.port) as all_events, Client(engine.port) as ends, Client(engine.port, via="tcp") as stream:
        all_events.ask(Subscribe("r1"))
        ends.ask(Subscribe("r1", "", 0, ("done", "failed")))
        stream.ask(Subscribe("r1", "", 0, ("queued", "done")))
        job = client.submit(song(engine))
        mine = events_of(client, job)
        assert events_of(all_events, job) == mine
        assert events_of(ends, job) == mine[-1:]
        assert events_of(stream, job) == [mine[0], mine[-1]]
        ends.ask(Unsubscribe("r2"))
        second = client.submit(song(engine))
        events_of(all_events, second)
        assert ends.ask(Ping("r3"))
        assert ends.event(0.0) is None


def test_a_program_that_listens_on_another_port_hears_all_there(engine: FakeEngine) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ears, raw_socket(engine.port) as mouth:
        ears.bind(("127.0.0.1", 0))
        ears.settimeout(LIMIT_S)
        subscribe = Subscribe("r1", "localhost", ears.getsockname()[1], ("done", "reply"))
        assert ask_raw(mouth, codec.encode(subscribe)) == api.Ack("r1", "")
        assert codec.decode_answer(ears.recv(65_535)) == api.Ack("r1", "")
        mouth.send(codec.encode(Submit("r2", json.dumps(song(engine)))))
        heard = [codec.decode_answer(ears.recv(65_535)) for _ in range(2)]
        assert [type(message) for message in heard] == [api.Ack, api.JobDone]


@pytest.mark.parametrize(
    ("host", "port"), [("10.0.0.1", 9000), ("example.org", 9000), ("127.0.0.1", 0), ("127.0.0.1", 99_999), ("", -1)]
)
def test_subscribing_elsewhere_is_refused(client: Client, host: str, port: int) -> None:
    with pytest.raises(StembridgeError) as caught:
        client.ask(Subscribe("r1", host, port))
    assert caught.value.code == "bad_value"


def test_subscribing_the_engine_to_itself_is_refused(engine: FakeEngine, client: Client) -> None:
    with pytest.raises(StembridgeError) as caught:
        client.ask(Subscribe("r1", "127.0.0.1", engine.port))
    assert caught.value.code == "bad_value"
    with pytest.raises(StembridgeError, match="topics are"):
        client.ask(Subscribe("r1", "", 0, ("ended",)))


def test_the_oldest_udp_subscription_gives_way_to_a_new_one() -> None:
    listeners = Listeners()
    stays = Peer("tcp", "127.0.0.1", 1, 1)
    listeners.add(stays, ())
    udp = [Peer("udp", "127.0.0.1", port) for port in range(1000, 1000 + MAX_SUBSCRIPTIONS)]
    for peer in udp[:-1]:
        listeners.add(peer, ())
    listeners.add(udp[0], ("done",))  # alive, so it says so
    listeners.add(udp[-1], ())
    assert listeners.of_topic("done", None) == [stays, *udp[2:-1], udp[0], udp[-1]]
    full = Listeners()
    for serial in range(MAX_SUBSCRIPTIONS):
        full.add(Peer("tcp", "127.0.0.1", 1, serial), ())
    with pytest.raises(StembridgeError) as caught:
        full.add(udp[0], ())
    assert caught.value.code == "too_long"


def test_a_subscriber_beyond_the_limit_is_served(engine: FakeEngine, client: Client) -> None:
    for port in range(20_000, 20_000 + MAX_SUBSCRIPTIONS):
        client.ask(Subscribe(f"r{port}", "127.0.0.1", port, ("failed",)))
    assert client.ask(Subscribe("last", "", 0)) == api.Ack("last", "")


def test_a_client_that_hangs_up_loses_its_events_and_not_its_job(engine: FakeEngine) -> None:
    engine.run.hold.clear()
    with Client(engine.port, via="tcp") as gone:
        gone.ask(Subscribe("r1", "", 0))
        jobs = [gone.submit(song(engine))]
    with Client(engine.port, via="udp") as gone_too:
        jobs.append(gone_too.submit(song(engine)))
    with Client(engine.port) as late:
        late.ask(Subscribe("r2", "", 0))
        engine.run.hold.set()
        for job in jobs:
            assert late.wait(job, timeout_s=LIMIT_S).state == "done"


def test_a_stream_that_is_no_osc_is_told_so_and_cut_off(engine: FakeEngine, client: Client) -> None:
    with socket.create_connection(("127.0.0.1", engine.port)) as browser:
        browser.settimeout(LIMIT_S)
        browser.sendall(frame(codec.encode(Ping("r1"))) + b"GET / HTTP/1.1\r\n\r\n")
        stream, received = Deframer(), []
        while data := browser.recv(65_536):
            received += stream.feed(data)
    answers = [codec.decode_answer(packet) for packet in received]
    assert [type(answer) for answer in answers] == [api.Pong, api.Error]
    assert getattr(answers[1], "code", "") == "too_long"
    with socket.create_connection(("127.0.0.1", engine.port)) as flood:
        flood.settimeout(LIMIT_S)

        def cut_off() -> bool:
            try:
                flood.sendall(b"\xff" * 65_536)
            except ConnectionError:
                return True
            return False

        until(cut_off)
    assert client.ask(Ping("r2"))


def test_a_udp_client_behind_a_closed_port_harms_nobody(engine: FakeEngine, client: Client) -> None:
    for n in range(20):
        with raw_socket(engine.port) as one:
            one.send(codec.encode(Ping(f"r{n}")))
    assert client.wait(client.submit(song(engine)), timeout_s=LIMIT_S).state == "done"


def test_a_job_outlives_the_engine_and_its_client_hears_the_end(tmp_path: Path) -> None:
    journal = tmp_path / "journal.sqlite3"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        one.settimeout(LIMIT_S)
        with fake_engine(tmp_path, journal=journal) as first:
            first.run.hold.clear()
            one.sendto(codec.encode(Submit("r1", json.dumps(song(first)))), ("127.0.0.1", first.port))
            ack = codec.decode_answer(one.recv(65_535))
            assert isinstance(ack, api.Ack)
            assert first.run.started.wait(LIMIT_S)
            first.queue.close()
        with fake_engine(tmp_path, journal=journal):
            heard = codec.decode_answer(one.recv(65_535))
            while not isinstance(heard, api.JobDone):
                heard = codec.decode_answer(one.recv(65_535))
        assert heard.job == ack.job


def test_eight_clients_lose_nothing_and_keep_their_order(engine: FakeEngine) -> None:
    n_clients, n_requests, window = 8, 1_000, 16
    engine.run.n_progress = 0
    problems: list[str] = []

    def client(number: int) -> None:
        order: list[str] = []
        with raw_socket(engine.port) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024 * 1024)
            sent = 0
            while len(order) < n_requests:
                while sent < n_requests and sent - len(order) < window:
                    rid = f"c{number}-{sent}"
                    submit = sent % 10 == 0
                    one.send(codec.encode(Submit(rid, json.dumps(song(engine))) if submit else Ping(rid)))
                    sent += 1
                try:
                    answer = codec.decode_answer(one.recv(65_535))
                except TimeoutError:
                    problems.append(f"client {number}: {len(order)} of {sent} answered, then silence")
                    return
                if isinstance(answer, api.Answer):
                    order.append(answer.rid)
                    if not isinstance(answer, api.Ack if (len(order) - 1) % 10 == 0 else api.Pong):
                        problems.append(f"{answer}")
        if order != [f"c{number}-{n}" for n in range(n_requests)]:
            problems.append(f"client {number}: out of order")

    threads = [threading.Thread(target=client, args=(n,)) for n in range(n_clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    until(lambda: sum(event.kind == "done" for event in engine.events) == n_clients * n_requests // 10)


def test_ipv6_too_where_there_is_one(tmp_path: Path) -> None:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no ::1")
    with fake_engine(tmp_path, hosts=("127.0.0.1", "::1")) as engine:
        for host in ("127.0.0.1", "::1"):
            for via in ("udp", "tcp"):
                with Client(engine.port, host, via=via) as client:  # type: ignore[arg-type]
                    assert client.wait(client.submit(song(engine)), timeout_s=LIMIT_S).state == "done"


# Pieces


def test_progress_is_told_at_most_ten_times_a_second() -> None:
    now_s = [0.0]
    listeners = Listeners(lambda: now_s[0])
    told = 0
    for n in range(1000):
        now_s[0] = n / 1000
        told += listeners.progress_due("j")
    assert told == 1 / PROGRESS_INTERVAL_S
    assert listeners.progress_due("other")
    listeners.ended("j")
    assert listeners.progress_due("j")


def test_a_client_is_found_again_by_its_journaled_text() -> None:
    for peer in (Peer("udp", "127.0.0.1", 4000), Peer("udp", "::1", 4000), Peer("tcp", "127.0.0.1", 4000, 7)):
        assert peer_of(client_text(peer, "r1")) == peer
    earlier = client_text(Peer("tcp", "127.0.0.1", 4000, 7), "r1").replace('"run": "', '"run": "0')
    for text in (earlier, "", "x", "[]", "{}", '{"via": "mailbox", "rid": "r"}', '{"via": "udp", "port": "x"}'):
        assert peer_of(text) is None


def test_the_client_says_when_no_engine_answers(tmp_path: Path) -> None:
    with fake_engine(tmp_path) as engine:
        port = engine.port
    for via in ("udp", "tcp"):
        with (
            pytest.raises(StembridgeError, match="stembridge serve") as caught,
            Client(port, via=via, timeout_s=0.3) as client,  # type: ignore[arg-type]
        ):
            client.ask(Ping("r1"))
        assert caught.value.code == "engine_not_running"


def test_the_client_heals_lost_answers_and_events(tmp_path: Path) -> None:
    """A relay drops the first copy of every request's answer, and all events."""
    with fake_engine(tmp_path) as engine, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as relay:
        relay.bind(("127.0.0.1", 0))
        relay.settimeout(0.05)
        stop = threading.Event()
        seen: set[str] = set()

        def pump() -> None:
            home: Any = None
            with raw_socket(engine.port) as beyond:
                beyond.settimeout(0.01)
                while not stop.is_set():
                    with contextlib.suppress(TimeoutError):
                        packet, home = relay.recvfrom(65_535)
                        beyond.send(packet)
                    with contextlib.suppress(TimeoutError):
                        answer = codec.decode_answer(packet := beyond.recv(65_535))
                        rid = getattr(answer, "rid", None)
                        if rid in seen:
                            relay.sendto(packet, home)
                        elif rid is not None:
                            seen.add(rid)

        thread = threading.Thread(target=pump)
        thread.start()
        try:
            with Client(relay.getsockname()[1]) as client:
                job = client.submit(song(engine))
                assert client.wait(job, timeout_s=LIMIT_S).state == "done"
        finally:
            stop.set()
            thread.join()
        assert len(engine.queue.jobs()) == 1


@pytest.mark.liblo
def test_liblos_own_programs_talk_to_us(engine: FakeEngine) -> None:
    oscsend, oscdump = shutil.which("oscsend"), shutil.which("oscdump")
    assert oscsend, "liblo-tools is not installed"
    assert oscdump, "liblo-tools is not installed"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    dump = subprocess.Popen([oscdump, "-L", str(port)], stdout=subprocess.PIPE, text=True)
    heard: list[str] = []
    reader = threading.Thread(target=lambda: heard.extend(iter(dump.stdout.readline, "")), daemon=True)  # type: ignore[union-attr]
    reader.start()

    def send(*words: str) -> None:
        subprocess.run([oscsend, "127.0.0.1", str(engine.port), *words], check=True, timeout=LIMIT_S)

    def has(*parts: str) -> bool:
        return any(all(part in line for part in parts) for line in heard)

    try:

        def subscribed() -> bool:
            send("/stembridge/subscribe", "ssiss", "lo1", "127.0.0.1", str(port), "done", "reply")
            return has("/stembridge/ack", '"lo1"')

        until(subscribed)  # oscdump takes a moment to listen
        send("/stembridge/submit", "ssdd", "lo2", str(engine.source), "1", "2")
        until(lambda: has("/stembridge/error", '"lo2"'))
        send(
            "/stembridge/submit",
            "sshhsisssdd",
            "lo3",
            str(engine.source),
            "48000",
            "96000",
            "rate",
            "48000",
            "prompt",
            "vocals",
            "span+",
            "50000",
            "60000",
        )
        until(lambda: has("/stembridge/ack", '"lo3"') and has("/stembridge/job/done"))
        send("/stembridge/cancel_all", "s", "lo4")
        until(lambda: has("/stembridge/cancel_all", '"lo4"', "0"))
    finally:
        dump.terminate()
        dump.wait(LIMIT_S)
        reader.join(LIMIT_S)
    asked = engine.run.ran[0]
    assert (asked.start_s, asked.end_s) == (1.0, 2.0)
    assert round(asked.spans[0].start_s * 48_000) == 50_000
