"""The requests of the OSC API: the half of the table that clients send. The answers are in `bridge.api.protocol`."""

# ruff: noqa: RUF009  (`arg` makes a dataclass field; nothing is shared between instances)

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from bridge.api.protocol import (
    PREVIEW_MAX_S,
    SUBMIT_ERRORS,
    TOPICS,
    Ack,
    CancelAllAnswer,
    InfoAnswer,
    JobAnswer,
    JobsAnswer,
    Message,
    Pong,
    PresetAnswer,
    PresetsAnswer,
    Request,
    Value,
    arg,
)


@dataclass(frozen=True)
class Ping(Request):
    """Is the engine there?"""

    address: ClassVar[str] = "/stembridge/ping"
    reply: ClassVar[type[Message]] = Pong


@dataclass(frozen=True)
class Info(Request):
    """What is this engine, and what can it do?"""

    address: ClassVar[str] = "/stembridge/info"
    reply: ClassVar[type[Message]] = InfoAnswer


@dataclass(frozen=True)
class Subscribe(Request):
    """Send events there too. Only this machine's own addresses are allowed. A subscription lasts until the engine or
    its TCP connection ends; beyond 64 the oldest over UDP gives way, and to subscribe again makes one the newest.

    Answers still go to the address that asked. A program that cannot listen on the port it sends from subscribes the
    port it listens on and names the topic `reply` too: it gets a copy of every answer, and knows its own by their rid.
    """

    address: ClassVar[str] = "/stembridge/subscribe"
    changes: ClassVar[bool] = True
    reply: ClassVar[type[Message]] = Ack
    errors: ClassVar[tuple[str, ...]] = ("bad_value",)
    host: str = arg(
        "s", "an IP address or `localhost`; empty for the sender's own address", example="127.0.0.1", default=""
    )
    port: int = arg("i", "a UDP port; 0 for the sender's own address", example=9130, default=0)
    topics: tuple[Value, ...] = arg(
        "rest",
        f"any of {', '.join(TOPICS)}; none means all events, without `reply`",
        example=("done", "failed"),
        default=(),
    )


@dataclass(frozen=True)
class Unsubscribe(Request):
    """Send no more events there. Without a subscription it does nothing."""

    address: ClassVar[str] = "/stembridge/unsubscribe"
    changes: ClassVar[bool] = True
    reply: ClassVar[type[Message]] = Ack
    errors: ClassVar[tuple[str, ...]] = ("bad_value",)
    host: str = arg("s", "as given to subscribe", example="127.0.0.1", default="")
    port: int = arg("i", "as given to subscribe", example=9130, default=0)


@dataclass(frozen=True)
class Submit(Request):
    """Separate a region. The job is safe from a crash before the answer is sent.

    After `end` come alternating keys and values (table below), or one JSON object as a string. The whole request may
    also be one JSON object in place of `path`. The same request sent twice by one client under one rid is one job.
    """

    address: ClassVar[str] = "/stembridge/submit"
    changes: ClassVar[bool] = True
    reply: ClassVar[type[Message]] = Ack
    errors: ClassVar[tuple[str, ...]] = SUBMIT_ERRORS
    path: str = arg(
        "s",
        "the source file, absolute; empty when `path+` follows; or the whole request as a JSON object",
        example="/music/song.wav",
    )
    start: Value = arg("time", "the region's first sample, from the start of the file", example=12.0, default=None)
    end: Value = arg("time", "the region's end, exclusive; empty or nil for the file's end", example=20.0, default=None)
    options: tuple[Value, ...] = arg(
        "rest", "key, value, key, value … or one JSON object", example=("prompt", "vocals"), default=()
    )


@dataclass(frozen=True)
class Preview(Submit):
    """Like submit, at draft quality and ahead of everything that waits: to hear whether the prompt is right."""

    address: ClassVar[str] = "/stembridge/preview"
    errors: ClassVar[tuple[str, ...]] = (*SUBMIT_ERRORS, "too_long")
    end: Value = arg(
        "time", f"the region's end, exclusive, at most {PREVIEW_MAX_S:g} s after start", example=20.0, default=None
    )


@dataclass(frozen=True)
class Prefetch(Submit):
    """Get ready for a submit of this region: encode what will be heard, when the engine has nothing else to do.

    Any job and any newer prefetch takes its place; nothing is told of it. The fields are a submit's; a prompt need not
    be known. A model that has nothing to encode (the one that ships) does nothing.
    """

    address: ClassVar[str] = "/stembridge/prefetch"
    options: tuple[Value, ...] = arg(
        "rest", "key, value, key, value … or one JSON object", example=("context", "5"), default=()
    )


@dataclass(frozen=True)
class Again(Request):
    """Separate the region of an earlier job again, with another preset, prompt or quality: for pads and remotes, which
    know no region. A preset stands for all that the job said besides its region and spans.
    """

    address: ClassVar[str] = "/stembridge/again"
    changes: ClassVar[bool] = True
    reply: ClassVar[type[Message]] = Ack
    errors: ClassVar[tuple[str, ...]] = (*SUBMIT_ERRORS, "unknown_job")
    job: str = arg("s", "the job's id; empty for the newest that is no part of a session", example="", default="")
    options: tuple[Value, ...] = arg(
        "rest",
        "key, value, key, value … or one JSON object; the keys are `prompt`, `preset`, `name`, `keep`, `quality`, "
        "`output`, `nfe`, `model`, `seed` and `candidates`",
        example=("quality", "best"),
        default=(),
    )


@dataclass(frozen=True)
class Session(Request):
    """Render the stems of a whole session: plan it, render each job, write a new session beside the old one.

    After `path` come alternating keys and values (table below), or one JSON object as a string. The answer carries the
    session's id: its events begin with it, and `/stembridge/cancel` takes it. It survives the engine's death, and the
    same request sent again later renders only what is not done.
    """

    address: ClassVar[str] = "/stembridge/session"
    changes: ClassVar[bool] = True
    reply: ClassVar[type[Message]] = Ack
    errors: ClassVar[tuple[str, ...]] = (
        *("path_refused", "file_not_found", "file_unreadable", "unknown_key", "bad_value", "unknown_preset"),
        *("bad_preset", "output_not_writable", "queue_full", "disk_full"),
    )
    path: str = arg("s", "the DAW's session file, or a folder of audio; absolute", example="/music/Song.rpp")
    options: tuple[Value, ...] = arg(
        "rest", "key, value, key, value … or one JSON object", example=("preset", "karaoke"), default=()
    )


@dataclass(frozen=True)
class Cancel(Request):
    """Cancel a job, waiting or running, or a session. A job leaves no file; what a session has done stays. One that has
    ended stays as it is."""

    address: ClassVar[str] = "/stembridge/cancel"
    changes: ClassVar[bool] = True
    reply: ClassVar[type[Message]] = Ack
    errors: ClassVar[tuple[str, ...]] = ("unknown_job", "journal_failed")
    job: str = arg("s", "the job's or the session's id", example="7f3a9c")


@dataclass(frozen=True)
class CancelAll(Request):
    """Cancel every job that waits or runs, and every session, whoever sent it."""

    address: ClassVar[str] = "/stembridge/cancel_all"
    changes: ClassVar[bool] = True
    reply: ClassVar[type[Message]] = CancelAllAnswer
    errors: ClassVar[tuple[str, ...]] = ("journal_failed",)


@dataclass(frozen=True)
class Jobs(Request):
    """List the jobs, a page at a time."""

    address: ClassVar[str] = "/stembridge/jobs"
    reply: ClassVar[type[Message]] = JobsAnswer
    errors: ClassVar[tuple[str, ...]] = ("bad_value", "journal_failed")
    page: int = arg("i", "the page, from 0", example=0, default=0)


@dataclass(frozen=True)
class JobStatus(Request):
    """How does one job stand?"""

    address: ClassVar[str] = "/stembridge/job"
    reply: ClassVar[type[Message]] = JobAnswer
    errors: ClassVar[tuple[str, ...]] = ("unknown_job", "journal_failed")
    job: str = arg("s", "the job's id", example="7f3a9c")


@dataclass(frozen=True)
class Presets(Request):
    """List the presets. One whose file is wrong is left out; to ask for it by name tells what is wrong."""

    address: ClassVar[str] = "/stembridge/presets"
    reply: ClassVar[type[Message]] = PresetsAnswer


@dataclass(frozen=True)
class PresetShow(Request):
    """Describe one preset."""

    address: ClassVar[str] = "/stembridge/preset"
    reply: ClassVar[type[Message]] = PresetAnswer
    errors: ClassVar[tuple[str, ...]] = ("unknown_preset", "bad_preset")
    name: str = arg("s", "the preset's name", example="extract-vocals")


@dataclass(frozen=True)
class Warm(Request):
    """Load a model now, so that the first job does not wait for it. Answered at once; loading goes on behind."""

    address: ClassVar[str] = "/stembridge/warm"
    changes: ClassVar[bool] = True
    reply: ClassVar[type[Message]] = Ack
    errors: ClassVar[tuple[str, ...]] = ("unknown_model", "model_missing", "model_corrupt", "runtime_missing")
    model: str = arg("s", "the model's name; empty for the one the engine prefers", example="", default="")


@dataclass(frozen=True)
class Unload(Request):
    """Give a model's memory back. It is loaded again when a job needs it."""

    address: ClassVar[str] = "/stembridge/unload"
    changes: ClassVar[bool] = True
    reply: ClassVar[type[Message]] = Ack
    errors: ClassVar[tuple[str, ...]] = ("unknown_model",)
    model: str = arg("s", "the model's name; empty for all", example="", default="")


REQUESTS: Final[tuple[type[Request], ...]] = (
    *(Ping, Info, Subscribe, Unsubscribe, Submit, Preview, Prefetch, Again, Session),
    *(Cancel, CancelAll, Jobs, JobStatus, Presets, PresetShow, Warm, Unload),
)
