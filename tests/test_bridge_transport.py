"""Packets over real sockets: none lost, cut or mixed up, and no client can stop the others."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fake_engine import LIMIT_S
from hypothesis import given
from hypothesis import strategies as st
from pythonosc.dispatcher import Dispatcher
from pythonosc.osc_server import ThreadingOSCUDPServer

from bridge.osc import transport
from bridge.osc.framing import Deframer, frame
from bridge.osc.sockets import bind
from bridge.osc.transport import Peer, Transport
from engine.errors import StembridgeError

LARGEST_DATAGRAM = 65_507


@dataclass
class Loop:
    """A transport that answers each packet as `answer` says."""

    port: int = 0
    answer: Callable[[bytes], list[bytes]] = field(default=lambda packet: [packet])
    gone: list[Peer] = field(default_factory=list)
    packets: list[bytes] = field(default_factory=list)
    woken: threading.Event = field(default_factory=threading.Event)
    wake: Callable[[], None] = field(default=lambda: None)


@pytest.fixture
def loop() -> Iterator[Loop]:
    echo = Loop()

    def on_packet(peer: Peer, packet: bytes) -> None:
        echo.packets.append(packet)
        if packet == b"raise":
            raise ZeroDivisionError("a defect")
        for one in echo.answer(packet):
            running.send(peer, one)

    bound = bind()
    echo.port = bound.port
    running = Transport(
        bound,
        on_packet=on_packet,
        on_gone=echo.gone.append,
        on_wake=echo.woken.set,
        on_stream_error=lambda e: e.code.encode(),
    )
    echo.wake = running.wake
    thread = threading.Thread(target=running.run)
    thread.start()
    yield echo
    running.stop()
    thread.join(LIMIT_S)
    assert not thread.is_alive()


@contextlib.contextmanager
def udp(port: int) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(LIMIT_S)
        one.connect(("127.0.0.1", port))
        yield one


@contextlib.contextmanager
def tcp(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as one:
        yield one


def read_packets(one: socket.socket, n: int) -> list[bytes]:
    deframer, found = Deframer(10**6), []
    while len(found) < n:
        data = one.recv(65_536)
        assert data, f"hung up after {found}"
        found += deframer.feed(data)
    return found


def until(condition: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen"
        time.sleep(0.005)


# Framing


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=20), st.data())
def test_packets_come_out_of_a_stream_however_it_is_cut(packets: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(frame(packet) for packet in packets)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=30)))
    deframer = Deframer()
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += deframer.feed(stream[start:end])
    assert found == packets


@pytest.mark.parametrize("size", [0, -1, -(2**31), 1001, 2**31 - 1])
def test_an_impossible_length_is_refused_before_anything_is_kept(size: int) -> None:
    deframer = Deframer(1000)
    with pytest.raises(StembridgeError) as caught:
        deframer.feed(frame(b"whole") + size.to_bytes(4, "big", signed=True) + b"x" * 50)
    assert caught.value.code == "too_long"
    assert deframer.ready == [b"whole"]


# UDP


@pytest.mark.parametrize("size", [1, 8_180, 8_184, 9_217, 32_768, LARGEST_DATAGRAM])
def test_datagrams_of_every_size_arrive(loop: Loop, size: int) -> None:
    with udp(loop.port) as one:
        one.send(b"x" * size)
        assert one.recv(65_535) == b"x" * size


def test_the_trap_this_avoids_is_still_there() -> None:
    """python-osc's own server loses an 8,184-byte datagram without a word; when it no longer does, ours may go."""
    heard: list[str] = []
    arrived = threading.Event()
    dispatcher = Dispatcher()
    dispatcher.set_default_handler(lambda address, *_: (heard.append(address), arrived.set()))
    with ThreadingOSCUDPServer(("127.0.0.1", 0), dispatcher) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        with udp(server.server_address[1]) as one:
            one.send(b"/large\0\0,s\0\0" + b"x" * 9_000 + b"\0\0\0\0")
            one.send(b"/small\0\0,\0\0\0")
            assert arrived.wait(LIMIT_S)
        server.shutdown()
        thread.join(LIMIT_S)
    assert heard == ["/small"]


def test_no_server_of_python_osc_is_used() -> None:
    """Its asyncio server does not await handlers and sleeps through future time tags; its others lose datagrams."""
    for path in Path(transport.__file__).parents[1].rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "osc_server" not in text
        assert "osc_tcp_server" not in text
        assert "dispatcher" not in text


def test_the_receive_buffer_is_enlarged() -> None:
    bound = bind()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as usual:
        default = usual.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    ours = bound.udp[socket.AF_INET].getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    bound.close()
    assert ours > default


def test_a_burst_waits_in_the_buffer_in_order(loop: Loop) -> None:
    busy = threading.Event()
    loop.answer = lambda packet: (busy.wait(LIMIT_S), [packet])[1] if packet == b"wait" else [packet]
    with udp(loop.port) as one:
        one.send(b"wait")
        for n in range(200):
            one.send(b"%d" % n)
        busy.set()
        assert [one.recv(65_535) for _ in range(201)] == [b"wait", *(b"%d" % n for n in range(200))]


def test_a_defect_in_a_callback_is_logged_and_the_loop_goes_on(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    with udp(loop.port) as one, tcp(loop.port) as stream:
        one.send(b"raise")
        stream.sendall(frame(b"raise"))
        one.send(b"after")
        assert one.recv(65_535) == b"after"
    until(lambda: len(caplog.records) == 2)
    assert caplog.text.count("ZeroDivisionError: a defect") == 2


# TCP


def test_a_stream_may_come_byte_by_byte_or_all_at_once(loop: Loop) -> None:
    packets = [b"a", b"bb" * 100, b"c" * 32_768]
    stream = b"".join(frame(packet) for packet in packets)
    with tcp(loop.port) as one:
        for n in range(300):
            one.sendall(stream[n : n + 1])
        one.sendall(stream[300:])
        assert read_packets(one, 3) == packets


def test_answers_that_do_not_fit_at_once_are_sent_whole(loop: Loop) -> None:
    loop.answer = lambda packet: [packet * 3000] * 120
    with tcp(loop.port) as one:
        one.sendall(frame(b"0123456789"))
        assert read_packets(one, 120) == [b"0123456789" * 3000] * 120


def test_a_client_that_never_reads_is_dropped_and_the_others_are_served(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAX_UNREAD_BYTES", 100_000)
    loop.answer = lambda packet: [packet * 30_000]
    with tcp(loop.port) as deaf, tcp(loop.port) as other:
        with contextlib.suppress(ConnectionError):
            while not loop.gone:
                deaf.sendall(frame(b"x"))
        until(lambda: loop.gone)  # the reset can reach us before the loop has told of it
        assert [peer.port for peer in loop.gone] == [deaf.getsockname()[1]]
        other.sendall(frame(b"y"))
        assert read_packets(other, 1) == [b"y" * 30_000]


def test_a_refused_stream_hears_why_after_its_good_packets(loop: Loop) -> None:
    with tcp(loop.port) as one:
        one.sendall(frame(b"good") + b"GET / HTTP/1.1\r\n\r\n" + b"x" * 30_000)
        assert read_packets(one, 2) == [b"good", b"too_long"]
        assert one.recv(1) == b""
    until(lambda: loop.gone)


def test_connections_are_bounded(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_CONNECTIONS", 3)
    with contextlib.ExitStack() as stack:
        few = [stack.enter_context(tcp(loop.port)) for _ in range(3)]
        for one in few:
            one.sendall(frame(b"x"))
            assert read_packets(one, 1) == [b"x"]
        with tcp(loop.port) as one_too_many:
            assert one_too_many.recv(1) == b""
        few[0].close()
        until(lambda: loop.gone)
        with tcp(loop.port) as again:
            again.sendall(frame(b"y"))
            assert read_packets(again, 1) == [b"y"]


def test_a_reset_connection_is_gone_and_nothing_else(loop: Loop) -> None:
    with tcp(loop.port) as rude:
        rude.sendall(frame(b"x"))
        read_packets(rude, 1)
        rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    until(lambda: len(loop.gone) == 1)
    with tcp(loop.port) as one:
        one.sendall(frame(b"x"))
        assert read_packets(one, 1) == [b"x"]


# The port


def test_wake_may_come_from_any_thread(loop: Loop) -> None:
    threading.Thread(target=loop.wake).start()
    assert loop.woken.wait(LIMIT_S)


def test_one_port_for_udp_and_tcp() -> None:
    bound = bind()
    assert {one.getsockname()[1] for one in (*bound.udp.values(), *bound.listeners)} == {bound.port}
    assert {one.getsockname()[0] for one in (*bound.udp.values(), *bound.listeners)} == {"127.0.0.1"}
    bound.close()


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_port_in_use_is_said_and_nothing_stays_open(kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", 0))
        if kind is socket.SOCK_STREAM:
            other.listen()
        port = other.getsockname()[1]
        with pytest.raises(StembridgeError, match="--port") as caught:
            bind(port=port)
        assert caught.value.code == "port_in_use"
    bind(port=port).close()


def test_two_engines_cannot_share_a_port() -> None:
    first = bind()
    with pytest.raises(StembridgeError) as caught:
        bind(port=first.port)
    assert caught.value.code == "port_in_use"
    first.close()


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 65_536), ("127.0.0.1", -1), ("192.0.2.1", 0)])
def test_an_address_that_cannot_be_opened_is_a_bad_value(host: str, port: int) -> None:
    with pytest.raises(StembridgeError) as caught:
        bind((host,), port)
    assert caught.value.code == "bad_value"
