"""The OSC API, version 1: one frozen dataclass a message, and one table of them all.

The table drives the codec (`bridge.osc.codec`), the checks, the API page (`bridge.api.page`) and the round-trip tests.
Every request's first argument is `rid`, a request id the client chooses; every request is answered exactly once, by
its `reply` or by `Error`. Events follow later and carry the job's id.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, ClassVar, Final, Literal, TypeAlias

API: Final = 1
"""The version of this API; it changes only when a client would have to."""
PREFIX: Final = "/stembridge/"
DEFAULT_PORT: Final = 9129
MAX_PACKET_BYTES: Final = 32_768
"""The longest datagram or TCP packet that is read as a request; longer ones are answered with `too_long`."""
MAX_RID_CHARS: Final = 64
MAX_ANSWER_BYTES: Final = 4_096
"""Answers stay below this (paths of unusual length aside): some OSC stacks drop longer datagrams without a word."""
PAGE_JOBS: Final = 10
"""Jobs on one page of the `jobs` answer, so that a page stays below `MAX_ANSWER_BYTES`."""
PREVIEW_MAX_S: Final = 10.0

Value: TypeAlias = str | int | float | bool | None
"""What one OSC argument can carry here: tags s, i/h, f/d, T/F, N."""
Kind = Literal["s", "i", "h", "f", "d", "flag", "time", "rest"]
Topic = Literal["queued", "progress", "draft", "done", "failed", "cancelled", "reply"]

COMMON_ERRORS: Final = ("bad_message", "too_long", "unknown_address", "wildcard_refused", "internal")
"""Codes any request can be answered with."""
SUBMIT_ERRORS: Final = (
    *("path_refused", "file_not_found", "file_unreadable", "bad_source", "bad_region", "bad_span", "no_prompt"),
    *("bad_prompt", "unsupported_prompt", "unsupported_option", "unknown_key", "bad_value", "unknown_preset"),
    *("bad_preset", "plugin_missing", "unknown_model", "model_missing", "model_corrupt", "output_not_writable"),
    *("queue_full", "disk_full", "journal_failed", "engine_not_running"),
)


@dataclass(frozen=True)
class Arg:
    """One argument of a message: its kind on the wire, what it means, in which unit, and an example."""

    kind: Kind
    doc: str
    unit: str
    example: Any


def arg(kind: Kind, doc: str, *, unit: str = "", example: Any = None, **default: Any) -> Any:
    """A dataclass field that carries its `Arg`; `default=` makes the argument one that may be left out at the end."""
    return field(metadata={"arg": Arg(kind, doc, unit, example)}, **default)


@dataclass(frozen=True)
class Message:
    """What every message of the table has: an OSC address and typed arguments in the order of its fields."""

    address: ClassVar[str]

    @classmethod
    def args(cls) -> list[tuple[str, Arg, bool]]:
        """Each argument's name, its `Arg`, and whether it must be present."""
        return [(f.name, f.metadata["arg"], _required(f)) for f in fields(cls)]


def _required(item: Field[Any]) -> bool:
    return item.default is MISSING and item.default_factory is MISSING


@dataclass(frozen=True)
class Request(Message):
    """A message to the engine. `changes` is true where it changes something."""

    changes: ClassVar[bool] = False
    reply: ClassVar[type[Message]]
    errors: ClassVar[tuple[str, ...]] = ()

    rid: str = arg("s", f"the request id, 1 to {MAX_RID_CHARS} characters that the client chooses", example="r1")


@dataclass(frozen=True)
class Answer(Message):
    """A message from the engine to the client that asked; `rid` is the request's."""

    rid: str = arg("s", "the request's id", example="r1")


@dataclass(frozen=True)
class Event(Message):
    """A message from the engine about a job, to the client that submitted it and to all who subscribed."""

    topic: ClassVar[Topic]

    job: str = arg("s", "the job's id", example="7f3a9c")


# Answers


@dataclass(frozen=True)
class Error(Answer):
    """The request was refused or failed. `code` is stable, `text` says what was wrong and what to do."""

    address: ClassVar[str] = "/stembridge/error"
    code: str = arg("s", "one of the codes of the error table", example="no_prompt")
    text: str = arg("s", "what is wrong and what to do, for a person", example="There is no prompt.")


@dataclass(frozen=True)
class Ack(Answer):
    """The request was carried out, or the job it asks for is safe in the queue."""

    address: ClassVar[str] = "/stembridge/ack"
    job: str = arg("s", "the job's id; empty when the request is not about one job", example="7f3a9c")


@dataclass(frozen=True)
class Pong(Answer):
    """The engine is there."""

    address: ClassVar[str] = "/stembridge/pong"
    version: str = arg("s", "the engine's version", example="0.1.0")
    api: int = arg("i", "the version of this API", example=1)
    state: str = arg("s", "`idle`, or `busy` while jobs wait or run", example="idle")


@dataclass(frozen=True)
class InfoAnswer(Answer):
    """What this engine is and can do."""

    address: ClassVar[str] = "/stembridge/info"
    version: str = arg("s", "the engine's version", example="0.1.0")
    api: int = arg("i", "the version of this API", example=1)
    models: str = arg("s", "names of the installed models, separated by commas", example="embedded")
    runtime: str = arg("s", "what runs the models", example="onnx")
    device: str = arg("s", "where they run", example="cpu")
    rate: int = arg("i", "the model's own sample rate; stems keep the source's", unit="Hz", example=44100)
    limits: str = arg("s", "a JSON object of the limits of a request", example='{"max_spans": 256}')
    reason: str = arg("s", "why open models run on what they run on; may be empty", example="", default="")


@dataclass(frozen=True)
class JobsAnswer(Answer):
    """One page of the queue. After `more`, each job takes four arguments: job, state, fraction (f), prompt."""

    address: ClassVar[str] = "/stembridge/jobs"
    page: int = arg("i", "this page's number, from 0", example=0)
    more: bool = arg("flag", "whether another page follows", example=False)
    jobs: tuple[Value, ...] = arg("rest", "job, state, fraction, prompt of each job", example=(), default=())


@dataclass(frozen=True)
class JobAnswer(Answer):
    """One job as it stands now: for those who came late, and for datagrams that were lost."""

    address: ClassVar[str] = "/stembridge/job"
    job: str = arg("s", "the job's id", example="7f3a9c")
    state: str = arg("s", "queued, running, done, failed or cancelled", example="running")
    fraction: float = arg("f", "how much is done, 0 to 1", example=0.5)
    stage: str = arg("s", "what is being done", example="separating")
    eta_s: float = arg("f", "time left; -1 while it cannot be told", unit="s", example=1.5)
    code: str = arg("s", "the error's code; empty unless failed or cancelled", example="")
    text: str = arg("s", "the error's text; empty unless failed or cancelled", example="")
    manifest: str = arg("s", "path of the manifest; empty until done", example="")
    target: str = arg("s", "path of the target; empty until done, or when it is not kept", example="")
    residual: str = arg("s", "path of the residual; empty until done, or when it is not kept", example="")
    note: str = arg(
        "s",
        "what to know of the stems, for a person; often empty",
        example="This model takes all voices together.",
        default="",
    )
    draft_target: str = arg(
        "s", "path of the newest draft's target while the job goes on; else empty", example="", default=""
    )
    draft_residual: str = arg("s", "path of its residual, likewise", example="", default="")
    draft_offset: int = arg(
        "h", "where in the region that draft begins; 0 where there is none", unit="sample", example=0, default=0
    )
    draft_samples: int = arg("h", "how long it is; 0 where there is none", unit="sample", example=0, default=0)


@dataclass(frozen=True)
class CancelAllAnswer(Answer):
    """How many jobs were cancelled."""

    address: ClassVar[str] = "/stembridge/cancel_all"
    count: int = arg("i", "jobs that were waiting or running", example=3)


@dataclass(frozen=True)
class PresetsAnswer(Answer):
    """The presets. Each takes two arguments: name, title."""

    address: ClassVar[str] = "/stembridge/presets"
    presets: tuple[Value, ...] = arg(
        "rest", "name, title of each preset", example=("extract-vocals", "Extract vocals"), default=()
    )


@dataclass(frozen=True)
class PresetAnswer(Answer):
    """One preset, as alternating keys and values."""

    address: ClassVar[str] = "/stembridge/preset"
    values: tuple[Value, ...] = arg("rest", "key, value, key, value …", example=("prompt", "vocals"), default=())


# Events


@dataclass(frozen=True)
class JobQueued(Event):
    """The job waits in the queue."""

    address: ClassVar[str] = "/stembridge/job/queued"
    topic: ClassVar[Topic] = "queued"


@dataclass(frozen=True)
class JobProgress(Event):
    """The job is being worked on. At most ten a second a job; the fraction never falls."""

    address: ClassVar[str] = "/stembridge/job/progress"
    topic: ClassVar[Topic] = "progress"
    fraction: float = arg("f", "how much is done, 0 to 1", example=0.5)
    stage: str = arg("s", "what is being done", example="separating")
    eta_s: float = arg("f", "time left; -1 while it cannot be told", unit="s", example=1.5)


@dataclass(frozen=True)
class JobDraft(Event):
    """A draft is on disk, to be heard while the job goes on. Only jobs of `quality` `progressive` have one. Where the
    region is long and the request has a `playhead`, several come: each holds all of the one before, which it replaces,
    and begins at an `offset` of its own. A draft's files are removed soon after the next is told, and when the job
    ends, however it ends: copy what you want to keep. Where one is gone before you have read it, a newer one, or the
    end, is there to be asked for.
    """

    address: ClassVar[str] = "/stembridge/job/draft"
    topic: ClassVar[Topic] = "draft"
    manifest: str = arg(
        "s", "path of the draft's manifest (JSON)", example="/music/out/song.vocals.draft-1f0c9a2b.json"
    )
    target: str = arg(
        "s",
        "path of the draft's target; empty when it is not kept",
        example="/music/out/song.vocals.draft-1f0c9a2b.target.wav",
    )
    residual: str = arg("s", "path of the draft's residual; empty when it is not kept", example="")
    offset: int = arg(
        "h",
        "where in the region the draft begins: 0, or later when it is of a part around the `playhead`",
        unit="sample",
        example=0,
    )


@dataclass(frozen=True)
class JobDone(Event):
    """The stems are on disk, whole: the final ones, where a draft came before."""

    address: ClassVar[str] = "/stembridge/job/done"
    topic: ClassVar[Topic] = "done"
    manifest: str = arg("s", "path of the manifest (JSON)", example="/music/out/song.vocals.json")
    target: str = arg("s", "path of the target; empty when it is not kept", example="/music/out/song.vocals.target.wav")
    residual: str = arg("s", "path of the residual; empty when it is not kept", example="")
    note: str = arg(
        "s",
        "what to know of the stems, for a person; often empty",
        example="This model takes all voices together.",
        default="",
    )


@dataclass(frozen=True)
class JobFailed(Event):
    """The job failed and left no file. The queue goes on."""

    address: ClassVar[str] = "/stembridge/job/failed"
    topic: ClassVar[Topic] = "failed"
    code: str = arg("s", "one of the codes of the error table", example="disk_full")
    text: str = arg("s", "what went wrong and what to do, for a person", example="The disk is full.")


@dataclass(frozen=True)
class JobCancelled(Event):
    """The job was cancelled and left no file."""

    address: ClassVar[str] = "/stembridge/job/cancelled"
    topic: ClassVar[Topic] = "cancelled"


@dataclass(frozen=True)
class SessionPlanned(Event):
    """The session was read. Its jobs are rendered one after the other."""

    address: ClassVar[str] = "/stembridge/session/planned"
    topic: ClassVar[Topic] = "queued"
    jobs: int = arg("i", "jobs that will be rendered, or are done", example=12)
    skipped: int = arg("i", "clips and tracks left out, with reasons in the plan", example=2)
    audio_s: float = arg("d", "audio to separate", unit="s", example=2400.0)
    size: int = arg("h", "bytes of all stems", unit="byte", example=1_690_000_000)
    plan: str = arg("s", "path of the plan (JSON)", example="/music/out/Song stems/stembridge-plan.json")


@dataclass(frozen=True)
class SessionProgress(Event):
    """The session is being rendered."""

    address: ClassVar[str] = "/stembridge/session/progress"
    topic: ClassVar[Topic] = "progress"
    done: int = arg("i", "jobs that have ended", example=3)
    jobs: int = arg("i", "jobs in all", example=12)
    fraction: float = arg("f", "how much is done, 0 to 1", example=0.25)
    eta_s: float = arg("f", "time left; -1 while it cannot be told", unit="s", example=120.0)


@dataclass(frozen=True)
class SessionStem(Event):
    """One job of the session has ended: its stems are on disk, whole, or it failed. The jobs of a session have no other
    events."""

    address: ClassVar[str] = "/stembridge/session/stem"
    topic: ClassVar[Topic] = "done"
    track: str = arg("s", "the track's name", example="Lead Vox")
    prompt: str = arg("s", "what was extracted", example="lead vocals")
    manifest: str = arg("s", "path of the manifest; empty when it failed", example="/music/out/Lead Vox.vocals.json")
    target: str = arg("s", "path of the target; empty when it is not kept, or it failed", example="")
    residual: str = arg("s", "path of the residual; empty when it is not kept, or it failed", example="")
    code: str = arg("s", "the error's code; empty unless it failed", example="")
    text: str = arg("s", "the error's text; empty unless it failed", example="")


@dataclass(frozen=True)
class SessionDone(Event):
    """The session is rendered; after `dry_run` the report is the plan."""

    address: ClassVar[str] = "/stembridge/session/done"
    topic: ClassVar[Topic] = "done"
    done: int = arg("i", "jobs whose stems are there", example=12)
    failed: int = arg("i", "jobs that failed, with reasons in the report", example=0)
    report: str = arg("s", "path of the report (JSON)", example="/music/out/Song stems/stembridge-session.json")
    session: str = arg("s", "path of the new session; empty when none was written", example="/music/Song stems.rpp")


@dataclass(frozen=True)
class SessionFailed(Event):
    """The session cannot be planned or rendered, or was cancelled. What was done stays."""

    address: ClassVar[str] = "/stembridge/session/failed"
    topic: ClassVar[Topic] = "failed"
    code: str = arg("s", "one of the codes of the error table", example="nothing_to_do")
    text: str = arg("s", "what went wrong and what to do, for a person", example="The session holds no audio clips.")


EVENTS: Final[tuple[type[Event], ...]] = (
    *(JobQueued, JobProgress, JobDraft, JobDone, JobFailed, JobCancelled),
    *(SessionPlanned, SessionProgress, SessionStem, SessionDone, SessionFailed),
)
ANSWERS: Final[tuple[type[Answer], ...]] = (
    *(Error, Ack, Pong, InfoAnswer, JobsAnswer, JobAnswer, CancelAllAnswer, PresetsAnswer, PresetAnswer),
)
TOPICS: Final[tuple[Topic, ...]] = (*dict.fromkeys(event.topic for event in EVENTS), "reply")
