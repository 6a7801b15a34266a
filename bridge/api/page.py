"""The API page `docs/osc-api.md`, written from the tables: run `python -m bridge.api.page`; a test holds it current."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from bridge.api import protocol as api
from bridge.api.fields import FIELDS, Field
from bridge.api.requests import REQUESTS
from bridge.api.session_fields import SESSION_FIELDS
from bridge.mailbox.box import HEARTBEAT_S, OPS
from bridge.mailbox.files import MAX_AGE_S, STATUS_MAX_AGE_S
from bridge.osc.codec import usage
from engine.errors import CODES

PAGE: Final = Path(__file__).parents[2] / "docs" / "osc-api.md"

_KINDS: Final[dict[api.Kind, str]] = {
    "s": "s",
    "i": "i",
    "h": "h",
    "f": "f",
    "d": "d",
    "flag": "T or F",
    "time": "d, h or s",
    "rest": "any, repeated",
}

_HEAD: Final = f"""# The OSC API, version {api.API}

<!-- Written by `python -m bridge.api.page` from the tables in `bridge/`. Change those, not this page. -->

`stembridge serve` answers OSC 1.0 on 127.0.0.1, port {api.DEFAULT_PORT}: over UDP, and over TCP with each packet's
length before it (a big-endian int32). DAWs whose scripts have no sockets use the [mailbox](#the-mailbox).

- **Every request begins with a request id** (`rid`) that the client chooses, 1 to {api.MAX_RID_CHARS} characters. It is
  answered exactly once, by its own answer or by `/stembridge/error`, both of which begin with the same `rid`. Answers
  go to the address the request came from. A client's requests are answered in their order.
- **Events** tell what becomes of a job. They begin with the job's id and go to the client that submitted it and to all
  who subscribed. Over UDP one may be lost; `/stembridge/job` tells how a job stands.
- **A lost answer**: send the same request with the same `rid` again. A repeated submit is still one job.
- **Types**: each argument has its usual tag in the tables below; a number may also come with another numeric tag or as
  a decimal string. Other tags (blobs, arrays, colours …) are refused.
- **Answers and events** may have more arguments at their end in a later version of the engine: leave alone what you do
  not know.
- **Times** are seconds (`d`, `f`, `i`, or text such as `12.5` or `1:05.250`), or sample counts where the request has a
  `rate`. Do not use `f` for times: at one hour it is off by up to six samples of 48 kHz.
- **Limits**: a packet has at most {api.MAX_PACKET_BYTES} bytes and a bundle at most 64 messages. Send paths, never
  audio. Answers stay below {api.MAX_ANSWER_BYTES} bytes unless paths are very long.
- **Bundles** are carried out at once and in order; their time tags are ignored. Address patterns (`*`, `?`, `[]`,
  `{{}}`) are refused. Addresses outside `/stembridge/` are ignored.
- **Paths** are absolute. Files are read under the home folder, the folder the engine was started in, mounted media and
  the folders given with `--root`; stems are written under the output folder, `--out`.

From a shell, with liblo's tools:

```
oscsend 127.0.0.1 {api.DEFAULT_PORT} /stembridge/submit ssddss r1 /music/song.wav 12 20 prompt vocals
```
"""


def page() -> str:
    """The whole page, Markdown."""
    about_requests = [*_requests(), *_answers(), *_events(), *_fields(), *_session_fields()]
    return "\n".join([_HEAD, *about_requests, *_mailbox(), *_errors()]).rstrip() + "\n"


def _requests() -> Iterator[str]:
    yield "## Requests\n"
    for kind in REQUESTS:
        yield from _message(kind)
        yield f"Answer: [`{kind.reply.address}`](#{_anchor(kind.reply)})."
        if kind.errors:
            yield f"Errors: {', '.join(f'`{code}`' for code in kind.errors)}."
        yield ""
    yield f"Any request may also be answered with {', '.join(f'`{code}`' for code in api.COMMON_ERRORS)}.\n"


def _answers() -> Iterator[str]:
    yield "## Answers\n"
    for kind in api.ANSWERS:
        yield from _message(kind)


def _events() -> Iterator[str]:
    yield "## Events\n"
    for kind in api.EVENTS:
        yield from _message(kind)
        yield f"Topic: `{kind.topic}`.\n"


def _message(kind: type[api.Message]) -> Iterator[str]:
    answer = not issubclass(kind, api.Request)
    yield f'<a id="{_anchor(kind)}"></a>\n'
    yield f"### `{usage(kind)}`\n"
    yield " ".join((kind.__doc__ or "").split()) + "\n"
    arguments = [(name, arg, required) for name, arg, required in kind.args() if name != "rid"]
    if arguments:
        yield "| argument | tag | unit | what it is |\n|---|---|---|---|"
    for name, arg, required in arguments:
        optional = "" if required or answer or arg.kind == "rest" else " May be left out."
        yield f"| `{name}` | {_KINDS[arg.kind]} | {arg.unit} | {_sentence(arg.doc)}{optional} |"
    if arguments:
        yield ""
    yield f"Example: `{_example(kind)}`\n"


def _example(kind: type[api.Message]) -> str:
    words: list[str] = [kind.address]
    for _, arg, _ in kind.args():
        for value in arg.example if arg.kind == "rest" else [arg.example]:
            words.append(f'"{value}"' if isinstance(value, str) else str(value))
    return " ".join(words)


def _anchor(kind: type[api.Message]) -> str:
    way = "ask" if issubclass(kind, api.Request) else "tell"
    return way + kind.address.removeprefix("/stembridge").replace("/", "-")


def _fields() -> Iterator[str]:
    yield "## The fields of a submit\n"
    yield (
        "The keys of `/stembridge/submit` and `/stembridge/preview`, of their JSON form, and of the mailbox. Without\n"
        "a `prompt`, the preset's is taken, else one is made from the `track`'s name; a name that says nothing is\n"
        'refused. In JSON, `span+` and `span-` are lists of pairs (`"span+": [[12.5, 14.0]]`), `path+` is a list and\n'
        "`item` a pair.\n"
    )
    yield from _table(FIELDS.values())


def _table(fields: Iterable[Field]) -> Iterator[str]:
    yield "| key | values | what it is | example |\n|---|---|---|---|"
    for field in fields:
        values = {"path": "text", "text": "text", "time": "time", "whole": "whole number"}.get(field.kind, "")
        values = ", ".join(f"`{choice}`" for choice in field.choices) or values
        times = (f"{field.n_values} × " if field.n_values > 1 else "") + values + (", repeats" if field.repeats else "")
        yield f"| `{field.key}` | {times} | {_sentence(field.doc)} | `{field.example}` |"
    yield ""


def _session_fields() -> Iterator[str]:
    yield "## The fields of a session\n"
    yield "The keys of `/stembridge/session`; what they mean is in [Stems of a whole session](batch.md).\n"
    yield from _table(SESSION_FIELDS.values())


def _mailbox() -> Iterator[str]:
    yield "## The mailbox\n"
    yield f"""A folder of UTF-8 JSON files, by default `~/.local/state/stembridge/mailbox` on Linux (`XDG_STATE_HOME` is
honoured), and the user's state folder elsewhere.

- `requests/RID.json` is one request: `{{"rid": "RID", "op": "submit", …fields}}`. Write it under another name that
  ends in `.tmp`, then rename it. RID is 1 to 64 of the characters `A-Z a-z 0-9 _ . -` and never used twice. `op` is one
  of {", ".join(f"`{op}`" for op in OPS)}; `cancel` takes `job`, or `of` (the RID of the submit), or `"all": true`;
  `prefetch` takes a submit's fields, a prompt among them or not, and is `done` at once. The
  engine removes the file when the job is safe in its journal.
- `status/RID.json` is the answer, rewritten at each change: one flat object with `rid`, `job`, `state` (`queued`,
  `running`, `done`, `failed`, `cancelled` or `refused`), `fraction`, `stage`, `eta_s`, `code`, `text`, `target`,
  `residual`, `manifest`, `sample_rate`, `channels`, `samples`, `position_samples` (the timeline place of the stem's
  first sample), `null_db`, `prompt`, `name` and `note` (what to know of the
  stems, for a person); what is not known is null. While a job goes on that has a draft, `draft_target`,
  `draft_residual`, `draft_samples` and `draft_position_samples` tell of the newest; other paths than before are a draft
  of more, which replaces it. Remove the file when you have acted on a final state. A job that outlives the engine is
  told under its RID by the next one.
- `engine.json` is renewed every {HEARTBEAT_S:g} s while the engine runs: `pid`, `version`, `api`, `time_s` (Unix time),
  `port`. When it is older than 10 s, no engine runs.

In a mailbox request `path` may itself be a list of mono files, which means what `path+` does. A submit sent again under
its RID makes no second job: its status is written again. Requests that nobody takes for {MAX_AGE_S / 86_400:g} days are
removed, and statuses after {STATUS_MAX_AGE_S / 86_400:g} days, when the engine forgets the job too.

On Linux and macOS the folder must belong to the engine's user, and no other user may write to it (`chmod 700`): the
engine refuses to start otherwise. It also refuses requests that belong to another user.
"""


def _errors() -> Iterator[str]:
    yield "## Errors\n"
    yield "The code never changes; the text that comes with it names what was wrong and what to do.\n"
    yield "| code | meaning |\n|---|---|"
    for code, (_, meaning) in CODES.items():
        yield f"| `{code}` | {meaning} |"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:].replace("|", "\\|") + ("" if text.endswith(".") else ".")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
