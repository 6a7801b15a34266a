"""A small synchronous client: for the command line, the tests and the demo, and as an example for DAW scripts."""

from __future__ import annotations

import json
import math
import secrets
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Literal

from bridge.api import protocol as api
from bridge.api.requests import Cancel, JobStatus, Preview, Submit
from bridge.osc import codec
from bridge.osc.framing import Deframer, frame
from bridge.osc.transport import MAX_DATAGRAM_BYTES
from engine.errors import CODES, StembridgeError
from engine.jobs.job import JobState

_RECEIVE_BUFFER_BYTES = 1024 * 1024
_RESEND_S = 0.5
"""An unanswered datagram is sent again after this long, under the same rid: it will not become a second job."""
_ASK_S = 1.0
"""While no event comes for this long, the job is asked for: an event may have been lost."""


class Client:
    """One connection to a running engine, over UDP or TCP. Not thread-safe; a context manager.

    Every call raises `StembridgeError`: with the engine's own code and text when it refuses, `engine_not_running` when
    nobody answers within `timeout_s`.
    """

    def __init__(
        self,
        port: int = api.DEFAULT_PORT,
        host: str = "127.0.0.1",
        *,
        via: Literal["udp", "tcp"] = "udp",
        timeout_s: float = 5.0,
    ) -> None:
        self._host, self._port, self._via, self._timeout_s = host, port, via, timeout_s
        self._answers: dict[str, api.Message] = {}
        self._events: deque[api.Event] = deque()
        self._deframer = Deframer(MAX_DATAGRAM_BYTES)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM if via == "udp" else socket.SOCK_STREAM)
        try:
            if via == "udp":
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
            self._socket.settimeout(timeout_s)
            self._socket.connect((host, port))  # for UDP: only the engine's datagrams come in, and its absence is told
        except OSError as e:
            self._socket.close()
            raise self._not_running(str(e)) from e

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; jobs go on."""
        self._socket.close()

    def ask(self, request: api.Request) -> Any:
        """Sends a request and returns its answer, a message of the request's `reply` class."""
        self.send(request)
        deadline_s = time.monotonic() + self._timeout_s
        resend_s = time.monotonic() + _RESEND_S
        while request.rid not in self._answers:
            now_s = time.monotonic()
            if now_s >= deadline_s:
                raise self._not_running(f"no answer within {self._timeout_s:g} s")
            if self._via == "udp" and now_s >= resend_s:
                self.send(request)
                resend_s = now_s + _RESEND_S
            self._receive(min(deadline_s, resend_s if self._via == "udp" else deadline_s) - now_s)
        return self._take(request.rid)

    def send(self, request: api.Request) -> None:
        """Sends a request without waiting; `answer` fetches what comes back."""
        packet = codec.encode(request)
        try:
            self._socket.settimeout(self._timeout_s)
            self._socket.sendall(packet if self._via == "udp" else frame(packet))
        except OSError as e:
            raise self._not_running(str(e)) from e

    def answer(self, rid: str, timeout_s: float) -> Any:
        """The answer to a request that was sent; raises `TimeoutError` when it does not come."""
        deadline_s = time.monotonic() + timeout_s
        while rid not in self._answers:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError(f"no answer to {rid} within {timeout_s:g} s")
            self._receive(left_s)
        return self._take(rid)

    def event(self, timeout_s: float) -> api.Event | None:
        """The next event, of any job this client submitted or subscribed to; None when none comes in time."""
        deadline_s = time.monotonic() + timeout_s
        while not self._events and (left_s := deadline_s - time.monotonic()) > 0:
            self._receive(left_s)
        return self._events.popleft() if self._events else None

    def submit(self, fields: Mapping[str, Any], *, preview: bool = False) -> str:
        """Submits a job with the fields of `bridge.api.fields` and returns its id."""
        kind = Preview if preview else Submit
        ack = self.ask(kind(new_rid(), json.dumps(dict(fields))))
        return str(ack.job)

    def wait(
        self,
        job: str,
        *,
        on_progress: Callable[[api.JobProgress], None] = lambda p: None,
        on_draft: Callable[[api.JobDraft], None] = lambda d: None,
        timeout_s: float = math.inf,
    ) -> api.JobAnswer:
        """Waits until a job is done and returns how it ended; events of other jobs are dropped meanwhile.

        Raises `StembridgeError` with the job's own code when it failed or was cancelled; `TimeoutError`.
        """
        deadline_s = time.monotonic() + timeout_s
        event: api.Event | None = None
        while True:
            if isinstance(event, api.JobProgress):
                on_progress(event)
            elif isinstance(event, api.JobDraft):
                on_draft(event)
            elif not isinstance(event, api.JobQueued):  # it ended, or nothing was heard for a while
                stands = self.ask(JobStatus(new_rid(), job))
                if stands.state == JobState.DONE:
                    return stands  # type: ignore[no-any-return]
                if JobState(stands.state).final:
                    raise refusal(stands.code, stands.text)
            event = self._event_of(job, min(_ASK_S, max(deadline_s - time.monotonic(), 0.0)))
            if event is None and time.monotonic() >= deadline_s:
                raise TimeoutError(f"the job {job} has not ended within {timeout_s:g} s")

    def _event_of(self, job: str, timeout_s: float) -> api.Event | None:
        deadline_s = time.monotonic() + timeout_s
        while True:
            event = self.event(max(deadline_s - time.monotonic(), 0.0))
            if event is None or event.job == job:
                return event

    def cancel(self, job: str) -> None:
        """Cancels a job; harmless when it has ended."""
        self.ask(Cancel(new_rid(), job))

    def _take(self, rid: str) -> api.Message:
        answer = self._answers.pop(rid)
        if isinstance(answer, api.Error):
            raise refusal(answer.code, answer.text)
        return answer

    def _receive(self, timeout_s: float) -> None:
        """Takes in one datagram or one piece of the stream, if it comes in time."""
        try:
            self._socket.settimeout(max(timeout_s, 0.001))
            received = self._socket.recv(MAX_DATAGRAM_BYTES)
        except TimeoutError:
            return
        except OSError as e:
            raise self._not_running(str(e)) from e
        if not received and self._via == "tcp":
            raise self._not_running("it hung up")
        for packet in [received] if self._via == "udp" else self._deframer.feed(received):
            message = codec.decode_answer(packet)
            if isinstance(message, api.Event):
                self._events.append(message)
            elif isinstance(message, api.Answer):
                self._answers[message.rid] = message

    def _not_running(self, why: str) -> StembridgeError:
        where = f"{self._host}:{self._port}"
        return StembridgeError("engine_not_running", f"No engine answers at {where}: {why}.", "Run: stembridge serve")


def new_rid() -> str:
    """A request id nobody has used."""
    return secrets.token_hex(6)


def refusal(code: str, text: str) -> StembridgeError:
    """The engine's refusal as an error here; a code that this version does not know becomes `internal`."""
    return StembridgeError(code if code in CODES else "internal", text)
