"""A stand-in for the engine at its OSC port: answers at once, with stems whose content a test can predict."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ardour_stand_in import StandIn

from bridge.api import protocol as api
from bridge.api import requests
from bridge.osc import codec


class OscStandIn(StandIn):
    """As at the mailbox, but over UDP. `garbage` sends what is no answer before every answer; `deaf_to` names messages
    whose next datagram is lost; `forgetful` knows no job of before."""

    def __init__(self, mailbox: Path, out_dir: Path, api_version: int) -> None:
        super().__init__(mailbox, out_dir, api_version)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(0.01)
        self.port = self.socket.getsockname()[1]
        self.statuses: dict[str, dict[str, Any]] = {}
        self.garbage = False
        self.deaf_to: list[type[api.Request]] = []
        self.pings = 0
        self._peer = ("", 0)

    def run(self) -> None:
        self._sign_of_life(time.time())
        while not self._stop.is_set():
            try:
                packet, peer = self.socket.recvfrom(65_536)
            except TimeoutError:
                packet, peer = b"", ("", 0)
            except ConnectionError:
                continue
            with self._lock:
                if not self.alive:
                    continue
                if packet:
                    self._hear(codec.decode_request(packet), peer)
                if not self.holding:
                    for fields in self._waiting:
                        self._render(fields)
                    self._waiting.clear()
        self.socket.close()

    def _hear(self, request: api.Request, peer: tuple[str, int]) -> None:
        self._peer = peer
        if type(request) in self.deaf_to:
            self.deaf_to.remove(type(request))
            return
        if self.garbage:
            for rubbish in (b"", b"no OSC", b"/stembridge/job\0,s\0\0", b"/stembridge/job\0,ss\0\xff\xfe\0\0ab\0\0"):
                self.socket.sendto(rubbish, peer)
            stray = api.JobAnswer("q.nobody", "j9", "done", 1.0, "", 0.0, "", "", "", "/etc/passwd", "/etc/passwd")
            self.socket.sendto(codec.encode(stray), peer)
        self.socket.sendto(codec.encode(self._answer(request)), peer)

    def _answer(self, request: api.Request) -> api.Message:
        rid = request.rid
        if isinstance(request, requests.Ping):
            self.pings += 1
            return api.Pong(rid, "9.9", self.api, "idle")
        if isinstance(request, requests.Submit):
            if rid not in self.statuses:
                fields = {"rid": rid, "op": "submit", **json.loads(request.path)}
                self.requests.append(fields)
                self._take(fields)
            status = self.statuses[rid]
            if status["state"] == "refused":
                return api.Error(rid, status["code"], status["text"])
            return api.Ack(rid, f"job-{rid}")
        assert isinstance(request, requests.Cancel | requests.JobStatus)
        of = request.job.removeprefix("job-")
        if of not in self.statuses:
            return api.Error(rid, "unknown_job", "There is no such job.")
        if isinstance(request, requests.Cancel):
            fields = {"rid": rid, "op": "cancel", "of": of}
            self.requests.append(fields)
            self._take(fields)
            return api.Ack(rid, request.job)
        s = self.statuses[of]
        keys = ("code", "text", "manifest", "target", "residual", "note", "draft_target", "draft_residual")
        words = [s.get(key) or "" for key in keys]
        numbers = s.get("fraction", 0.0), s.get("stage", ""), -1.0 if s["eta_s"] is None else s["eta_s"]
        place = (self.offsets[of], s["draft_samples"]) if "draft_samples" in s else ()
        return api.JobAnswer(rid, request.job, s["state"], *numbers, *words, *place)

    def _take(self, fields: dict[str, Any]) -> None:
        if fields["op"] == "submit" and not fields.get("prompt", fields.get("track")):
            self._status(fields["rid"], state="refused", code="no_prompt", text="There is no prompt.")
        else:
            super()._take(fields)

    def _sign_of_life(self, time_s: float) -> None:
        sign = {"pid": 1, "version": "9.9", "api": self.api, "time_s": time_s, "port": self.port}
        self._write("engine.json", sign)

    def _status(self, rid: str, **fields: Any) -> None:
        if fields.get("state") == "done" and "target" in fields:
            manifest = self.out_dir / f"{rid}.json"
            manifest.write_text(json.dumps({"prompt": fields["prompt"]}), encoding="utf-8")
            fields["manifest"] = str(manifest)
        if "draft_target" in fields:
            manifest = Path(fields["draft_target"].removesuffix(".target.wav") + ".json")
            manifest.write_text(json.dumps({"prompt": fields["prompt"]}), encoding="utf-8")
        self.statuses[rid] = {"rid": rid, "eta_s": None, **fields}
        if fields.get("state") == "done":
            done = api.JobDone(f"job-{rid}", *(str(fields.get(key)) for key in ("manifest", "target", "residual")))
            self.socket.sendto(codec.encode(done), self._peer)


@contextmanager
def serving_osc(mailbox: Path, out_dir: Path, api_version: int = 1) -> Iterator[OscStandIn]:
    """A stand-in that runs while the block does, and has told its port."""
    out_dir.mkdir(parents=True, exist_ok=True)
    stand_in = OscStandIn(mailbox, out_dir, api_version)
    stand_in._sign_of_life(time.time())
    thread = threading.Thread(target=stand_in.run)
    thread.start()
    try:
        yield stand_in
    finally:
        stand_in._stop.set()
        thread.join()
        (mailbox / "engine.json").unlink(missing_ok=True)
