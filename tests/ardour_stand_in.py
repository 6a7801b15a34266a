"""A stand-in for the engine at the mailbox: answers at once, with stems whose content a test can predict.

The target is half of the mixture and the residual what is left, so the null holds and a misplaced stem shows.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from bridge.install import ardour_slots

KNOWN = ("vocals", "lead vocals", "drums")
DRAFT = ".draft-0a1b2c3d"
NAMELESS = ("Audio 7", "Track 1", "Track 2")


def forget_engine_start(parts_dir: Path, start_line: str | None = None) -> None:
    """Makes installed scripts know no way to start an engine, or another: no test starts a real one by accident."""
    config = parts_dir / "config.lua"
    text = re.sub(r', start_line = "(?:[^"\\]|\\.)*"', "", config.read_text(encoding="utf-8"))
    if start_line is not None:
        text = text.replace(" }", f", start_line = {ardour_slots.quoted(start_line)} }}")
    config.write_text(text, encoding="utf-8")


def mixture_of(fields: dict[str, Any]) -> tuple[np.ndarray, int]:
    """The samples a request asks for, (sample, channel), and their rate."""
    paths = [fields["path"]] if isinstance(fields["path"], str) else fields["path"]
    parts = [soundfile.read(path, dtype="float32", always_2d=True) for path in paths]
    samples = np.concatenate([part[0] for part in parts], axis=1)
    assert parts[0][1] == fields["rate"]
    return samples[fields["start"] : fields["end"]], parts[0][1]


class StandIn:
    """Serves one mailbox from a thread. What a test may set: `holding` keeps requests unanswered, `losing` deletes the
    stems it makes, `drafting` makes drafts where they are asked for (of the `parts` of the region, in s, one after the
    other as `grow` says), `torn_first` writes half a status file before the whole one, `rate_told_hz` and `note` are
    said of it."""

    def __init__(self, mailbox: Path, out_dir: Path, api: int) -> None:
        self.mailbox, self.out_dir, self.api = mailbox, out_dir, api
        self.requests: list[dict[str, Any]] = []
        self.holding = self.losing = self.torn_first = self.drafting = False
        self.parts: list[tuple[float, float]] = []
        self.offsets: dict[str, int] = {}
        self.rate_told_hz: int | None = None
        self.note = ""
        self.alive = True
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._waiting: list[dict[str, Any]] = []

    def run(self) -> None:
        while not self._stop.wait(0.02):
            with self._lock:
                if self.alive:
                    self._serve()

    def _serve(self) -> None:
        self._sign_of_life(time.time())
        for path in sorted((self.mailbox / "requests").glob("*.json")):
            fields = json.loads(path.read_text(encoding="utf-8"))
            path.unlink()
            self.requests.append(fields)
            self._take(fields)
        if not self.holding:
            for fields in self._waiting:
                self._render(fields)
            self._waiting.clear()

    def fall_silent(self) -> None:
        """Goes silent, as an engine that was killed, with its sign of life grown old."""
        with self._lock:
            self.alive = False
            self._sign_of_life(time.time() - 60)

    def _sign_of_life(self, time_s: float) -> None:
        self._write("engine.json", {"pid": os.getpid(), "version": "9.9", "api": self.api, "time_s": time_s, "port": 0})

    def _take(self, fields: dict[str, Any]) -> None:
        if fields["op"] == "cancel":
            for waiting in [w for w in self._waiting if w["rid"] == fields["of"]]:
                self._waiting.remove(waiting)
                self._status(waiting["rid"], state="cancelled", code="cancelled", text="The job was cancelled.")
            self._status(fields["rid"], state="done")
            return
        prompt = fields.get("prompt", fields.get("track"))
        if prompt in NAMELESS:
            self._status(fields["rid"], state="refused", code="no_prompt", text="There is no prompt.")
        elif prompt == "Tambourine":
            text = "The model “stand-in” cannot separate <tambourine> & more. Ask for vocals."
            self._status(fields["rid"], state="refused", code="unsupported_prompt", text=text)
        else:
            self._status(fields["rid"], state="queued")
            if self.drafting and fields.get("quality") == "progressive":
                self._draft(fields, 0)
            self._waiting.append(fields)

    def grow(self, n: int) -> None:
        """Tells of the draft number `n` of what waits, from 0, and takes the earlier ones away."""
        with self._lock:
            for fields in self._waiting:
                self._draft(fields, n)
                for path in self.out_dir.glob(f"*{DRAFT}*.wav"):
                    if f"{DRAFT}-{n}." not in path.name:
                        path.unlink()

    def _stems(
        self, fields: dict[str, Any], share: float, mark: str, part: slice = slice(None)
    ) -> tuple[dict[str, Path], np.ndarray, int]:
        mixture, rate_hz = mixture_of(fields)
        mixture = mixture[part]
        target = mixture * np.float32(share)
        paths = {}
        for kind, samples in (("target", target), ("residual", mixture - target)):
            paths[kind] = self.out_dir / f"{fields['name']}{mark}.{kind}.wav"
            soundfile.write(paths[kind], samples, rate_hz, subtype="FLOAT")
        return paths, mixture, rate_hz

    def _draft(self, fields: dict[str, Any], n: int) -> None:
        """A quarter of the mixture, an eighth of it the next time …: to be told from the result."""
        part = slice(None)
        if n < len(self.parts):
            part = slice(*(round(time_s * fields["rate"]) for time_s in self.parts[n]))
        paths, mixture, rate_hz = self._stems(fields, 0.25 / 2**n, f"{DRAFT}-{n}", part)
        self.offsets[fields["rid"]] = part.start or 0
        self._status(
            fields["rid"],
            state="running",
            stage="refining",
            fraction=0.3,
            prompt=fields.get("prompt") or "vocals",
            sample_rate=rate_hz,
            channels=mixture.shape[1],
            draft_samples=len(mixture),
            draft_position_samples=fields["position"] + (part.start or 0),
            **{f"draft_{kind}": str(path) for kind, path in paths.items()},
        )

    def _render(self, fields: dict[str, Any]) -> None:
        paths, mixture, rate_hz = self._stems(fields, 0.5, "")
        for kind, path in paths.items():
            for draft in self.out_dir.glob(f"*{DRAFT}*.{kind}.wav"):
                if draft.name.startswith(fields["name"] + DRAFT):
                    draft.unlink()
            if self.losing:
                path.unlink()
        if self.torn_first:
            (self.mailbox / "status" / f"{fields['rid']}.json").write_text('{"state": "do')
            time.sleep(0.3)
        self._status(
            fields["rid"],
            state="done",
            prompt=fields.get("prompt") or "vocals",
            sample_rate=self.rate_told_hz or rate_hz,
            channels=mixture.shape[1],
            samples=len(mixture),
            note=self.note or None,
            **{kind: str(path) for kind, path in paths.items()},
        )

    def _status(self, rid: str, **fields: Any) -> None:
        self._write(f"status/{rid}.json", {"rid": rid, "job": "j1", "eta_s": None, **fields})

    def _write(self, name: str, value: dict[str, Any]) -> None:
        draft = self.mailbox / f"{name}.tmp"
        draft.write_text(json.dumps(value), encoding="utf-8")
        draft.replace(self.mailbox / name)


@contextmanager
def serving(mailbox: Path, out_dir: Path, api: int = 1) -> Iterator[StandIn]:
    """A stand-in that runs while the block does."""
    out_dir.mkdir(parents=True, exist_ok=True)
    stand_in = StandIn(mailbox, out_dir, api)
    thread = threading.Thread(target=stand_in.run)
    thread.start()
    try:
        yield stand_in
    finally:
        stand_in._stop.set()
        thread.join()
        (mailbox / "engine.json").unlink(missing_ok=True)
