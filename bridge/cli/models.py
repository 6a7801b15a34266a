"""`stembridge models …`: what this machine can separate with; fetch, import and remove models."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.cli import console
from engine.errors import Cancelled, StembridgeError
from engine.request import Progress

if TYPE_CHECKING:
    from engine.licences import Licence
    from engine.model_admin import ModelInfo

models = typer.Typer(name="models", help="The models on this machine.", no_args_is_help=True)
NewName = Annotated[str | None, typer.Option("--name", help="What the model is to be called; its own name if absent.")]


@models.callback()
def _group() -> None:
    """The models on this machine."""


@models.command("list")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list.")] = False,
) -> None:
    """The installed models: name, kind, licence, size, whether their text encoder is there, what they were exported
    and tuned to here, and what they know."""
    from engine.model_admin import describe

    found = describe()
    if as_json:
        console.write_json([_told(info) for info in found])
        return
    rows = [
        (
            info.bundle.name,
            info.bundle.kind,
            info.bundle.licence,
            _size(info.n_bytes),
            info.text or "-",
            ", ".join(info.made) or "-",
            info.knows,
        )
        for info in found
    ]
    console.write_table(("name", "kind", "licence", "size", "text encoder", "made here", "knows"), rows, wide=6)
    if any(info.text == "missing" for info in found):
        console.note("Models without their text encoder cannot be used yet: stembridge models fetch t5-base")


@models.command("fetch")
def fetch_model(
    repository: Annotated[str, typer.Argument(help="On the hub, such as facebook/sam-audio-small.")],
    name: NewName = None,
    token: Annotated[
        str | None,
        typer.Option(help="Who you are to the hub. Others on this machine can see it: better HF_TOKEN or a login."),
    ] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="You have read the licence of the weights and accept it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Fetch a SAM Audio checkpoint and its text encoder, and import it.

    The checkpoints are gated: ask for access on the model's page first. A fetch that was stopped goes on where it
    was. `t5-base` fetches the text encoder alone.
    """
    from engine import model_admin
    from engine.licences import SAM_LICENCE

    repository, _ = model_admin.resolve(repository, name)
    if model_admin.needs_licence(repository):
        model_admin.require_known(repository, token=token)
        _ask_licence(SAM_LICENCE, given=accept_licence)
    with _working(f"fetching {repository}", "What was fetched is kept: the same command goes on from there.") as step:
        info = model_admin.fetch_model(repository, name=name, token=token, on_progress=step)
    if info is not None:
        _write_result(info, as_json)
    elif as_json:
        console.write_json({"text_encoder": "here"})
    else:
        console.write_line("The text encoder is here.")


@models.command("import")
def import_model(
    folder: Annotated[Path, typer.Argument(help="An official folder: config.json and checkpoint.pt.")],
    name: Annotated[str, typer.Option("--name", help="What the model is to be called.")],
    text: Annotated[
        Path | None,
        typer.Option(help="A folder of t5-base: config.json, model.safetensors, tokenizer.json.", file_okay=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Import a SAM Audio checkpoint that is on this machine already. The folder is only read, and no code in it is
    ever run."""
    from engine import model_admin

    with _working(f"importing {name}", "Nothing was kept.") as step:
        info = model_admin.import_model(folder, name, text_folder=text, on_progress=step)
    _write_result(info, as_json)


@models.command("remove")
def remove_model(
    name: Annotated[str, typer.Argument(help="The model's name; t5-base is the text encoder.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove a model from this machine. Those that ship with Stembridge stay."""
    from engine import model_admin

    folder = model_admin.find_removable(name)
    if not yes:
        if not _on_terminal():
            raise StembridgeError("bad_value", f"Removing {name} needs a yes.", "Give --yes.")
        if not typer.confirm(f"Remove {folder}?", err=True):
            raise Cancelled(f"{name} stays.")
    console.write_line(f"{name} removed, {_size(model_admin.remove_model(name))}")


def _ask_licence(licence: Licence, *, given: bool) -> None:
    """Show a licence that was not accepted yet, and have it accepted. Raises `StembridgeError`."""
    from engine.licences import accept, is_accepted, require

    if is_accepted(licence):
        return
    console.note(f"The weights come under the {licence.name} of {licence.dated}. Its main points, in our words:")
    for point in licence.points:
        console.note(f"  - {point}")
    console.note(f"This is no substitute for the text itself: {licence.url}")
    if given or (_on_terminal() and typer.confirm("Have you read the licence, and do you accept it?", err=True)):
        accept(licence)
    require(licence)


@contextmanager
def _working(label: str, when_stopped: str) -> Iterator[Callable[[Progress], None]]:
    """A bar for long work that Ctrl-C stops at its next step."""
    with console.stoppable() as stopped, console.progress_bar(label) as bar:

        def step(progress: Progress) -> None:
            if stopped():
                raise Cancelled(f"Stopped while {label}. {when_stopped}")
            bar(progress)

        yield step


def _write_result(info: ModelInfo, as_json: bool) -> None:
    if as_json:
        console.write_json(_told(info))
        return
    console.write_line(f"{info.bundle.name}  {info.bundle.folder}")
    console.note(
        f"{_size(info.n_bytes)} on disk. Licence: {info.bundle.licence}; it may only be passed on under that licence."
    )
    if info.text == "missing":
        console.note("It needs a text encoder, which is not here yet: stembridge models fetch t5-base")
    elif info.text == "unfit":
        console.note("The text encoder on this machine is not the one it needs: stembridge models remove t5-base")


def _told(info: ModelInfo) -> dict[str, Any]:
    told = {key: getattr(info.bundle, key) for key in ("name", "title", "kind", "version", "licence")}
    return told | {
        "folder": str(info.bundle.folder),
        "bytes": info.n_bytes,
        "knows": info.knows,
        "text_encoder": info.text or None,
        "made": list(info.made),
        "embedded": info.embedded,
    }


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"


def _on_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()
