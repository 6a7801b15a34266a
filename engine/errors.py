"""Every failure a user can meet: one class, stable codes, a remedy in each message.

The code is what programs match on; it never changes once released. The text is for a person: it names the
offending value and the valid ones. The remedy is what to do next.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class ExitCode(IntEnum):
    """What the command line returns for each family of failures."""

    DONE = 0
    FAILED = 1
    BAD_REQUEST = 2
    NOT_READY = 3
    CANCELLED = 130


_BAD, _NOT_READY, _FAILED = ExitCode.BAD_REQUEST, ExitCode.NOT_READY, ExitCode.FAILED

CODES: Final[dict[str, tuple[ExitCode, str]]] = {
    # the request is wrong
    "file_not_found": (_BAD, "The source file does not exist."),
    "file_unreadable": (_BAD, "The source file exists but cannot be opened."),
    "not_audio": (_BAD, "The source file is not audio that can be decoded, or it is truncated."),
    "empty_audio": (_BAD, "The source file holds no samples."),
    "bad_samples": (_BAD, "The source holds NaN or infinite samples."),
    "bad_source": (_BAD, "The sample rate or channel layout of the source files cannot be used."),
    "bad_region": (_BAD, "The region is empty, reversed or outside the file."),
    "bad_span": (_BAD, "A span is empty, reversed or outside the region."),
    "no_prompt": (_BAD, "No prompt was given and none can be read from the track's name."),
    "bad_prompt": (_BAD, "The prompt is too long or holds control characters."),
    "unsupported_prompt": (_BAD, "The prompt names no sound, or none that the model knows."),
    "unsupported_option": (_BAD, "The model or runtime cannot do what an option asks for."),
    "unknown_key": (_BAD, "A request carries a key that does not exist."),
    "bad_value": (_BAD, "A value is of the wrong type or out of range."),
    "too_long": (_BAD, "The region, the request or a list in it is longer than the limit."),
    "bad_message": (_BAD, "A datagram or mailbox file is not a well-formed request."),
    "unknown_address": (_BAD, "There is no such OSC address."),
    "wildcard_refused": (_BAD, "A wildcard address would change something."),
    "path_refused": (_BAD, "The path lies outside the allowed folders."),
    "unknown_job": (_BAD, "There is no job of that id."),
    "unknown_preset": (_BAD, "There is no preset of that name."),
    "bad_preset": (_BAD, "A preset or vocabulary file is wrong."),
    "bad_plugin": (_BAD, "A plugin has no such parameter or preset, or cannot take the audio's channels."),
    "unknown_model": (_BAD, "There is no model of that name."),
    "bad_session": (_BAD, "The session file is damaged, or is not what its name says."),
    "nothing_to_do": (_BAD, "Nothing in the session can be rendered as it was asked."),
    # the machine or model is not ready
    "queue_full": (_NOT_READY, "Too many jobs are waiting."),
    "output_not_writable": (_NOT_READY, "The output folder cannot be written."),
    "disk_full": (_NOT_READY, "The disk is full."),
    "model_missing": (_NOT_READY, "The model's files are not on this machine."),
    "model_corrupt": (_NOT_READY, "A file of the model is damaged or is not what its manifest says."),
    "runtime_missing": (
        _NOT_READY,
        "The package that runs the model is not installed, or two that clash are.",
    ),
    "licence_not_accepted": (_NOT_READY, "The licence of the weights has not been accepted on this machine."),
    "access_denied": (_NOT_READY, "The hub does not let this account read the model."),
    "fetch_failed": (_NOT_READY, "Files cannot be fetched from the hub, or came through damaged."),
    "export_failed": (_NOT_READY, "A stage of the model cannot be written for another runtime."),
    "not_equal": (_NOT_READY, "An export of the model differs too much from the model itself."),
    "out_of_memory": (_NOT_READY, "The device has not enough memory."),
    "port_in_use": (_NOT_READY, "Another program holds the port."),
    "engine_not_running": (_NOT_READY, "No engine answers."),
    "engine_running": (_NOT_READY, "Another engine already uses the same job journal."),
    "journal_failed": (_NOT_READY, "The file that keeps the jobs cannot be read or written."),
    "cluster_failed": (_NOT_READY, "The cluster cannot be reached, or one of its workers cannot do the work."),
    "daw_not_found": (_NOT_READY, "The DAW's folder is not on this machine."),
    "daw_not_answering": (_NOT_READY, "The DAW is not running, or does not listen or answer."),
    "plugin_missing": (_NOT_READY, "A plugin of the preset, or the package that hosts plugins, is not installed."),
    # neither
    "plugin_failed": (_FAILED, "A plugin crashed, hung, took too much memory or gave no audio."),
    "interrupted": (_FAILED, "The engine was stopped while it worked on the job."),
    "daw_refused": (_FAILED, "The DAW did not do what it was asked to."),
    "partly_done": (_FAILED, "Some stems of a batch could not be made."),
    "cancelled": (ExitCode.CANCELLED, "The job was cancelled."),
    "internal": (_FAILED, "A defect in Stembridge itself."),
}
"""code → (exit status, what it means). Driven from here: the command line, the wire, the docs and the tests."""


class StembridgeError(Exception):
    """A failure with a stable `code`, a `text` that names the value, and a `remedy`.

    Raises `ValueError` at construction for a code that is not in `CODES`.
    """

    def __init__(self, code: str, text: str, remedy: str = "") -> None:
        if code not in CODES:
            raise ValueError(f"unknown error code {code!r}; add it to engine.errors.CODES")
        super().__init__(code, text, remedy)
        self.code = code
        self.text = text
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.text} {self.remedy}".strip()

    @property
    def exit_code(self) -> ExitCode:
        """The command line's exit status for this failure."""
        return CODES[self.code][0]


class Cancelled(StembridgeError):
    """Raised inside the engine at the next window after a cancel; leaves no file behind."""

    def __init__(self, text: str = "The job was cancelled.") -> None:
        super().__init__("cancelled", text)


def no_memory() -> StembridgeError:
    """What a `MemoryError` means to whoever asked."""
    return StembridgeError(
        "out_of_memory",
        "The machine ran out of memory while it worked on this.",
        "Close other programs, or choose a shorter region.",
    )


def internal(error: BaseException) -> StembridgeError:
    """What a client is told of an unexpected exception; the traceback goes to the log, not to the wire."""
    return StembridgeError(
        "internal",
        f"Stembridge failed unexpectedly: {type(error).__name__}: {error}.",
        "Please report it with the engine's log.",
    )
