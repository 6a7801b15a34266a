"""`stembridge plugins …`: what a preset's chains can use on this machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli import asking, console
from engine.errors import StembridgeError

if TYPE_CHECKING:
    from bridge.plugins.scan import Found

plugins = typer.Typer(name="plugins", help="Plugins that presets can use.", no_args_is_help=True)


@plugins.command()
def scan(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Plugin files or folders of them; this system's when absent.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Look into those that were known, or failed, too.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds that one plugin may take.", min=1, max=600)] = 120,
    as_json: asking.AsJson = False,
) -> None:
    """Look into every plugin, each in a process of its own; one that crashes is listed and does no harm."""
    from bridge.plugins.places import require_host
    from bridge.plugins.scan import scan as look

    require_host()
    files = None if paths is None else [file for path in paths for file in _files(path)]

    def tell(found: Found) -> None:
        if not as_json:
            console.note(f"{found.name}: {found.error or 'ok'}")

    with console.stoppable() as stopped:
        found = look(files, again=again, limit_s=timeout, on_found=tell, stopped=stopped)
    if as_json:
        console.write_json([asdict(each) for each in found])
    else:
        failed = sum(bool(each.error) for each in found)
        console.write_line(f"{len(found) - failed} plugins can be used, {failed} cannot.")


@plugins.command("list")
def list_plugins(as_json: asking.AsJson = False) -> None:
    """The built-in effects, and what the last scan found."""
    from bridge.plugins.chain import BUILT_INS
    from bridge.plugins.places import require_host
    from bridge.plugins.scan import scanned

    require_host()
    found = scanned()
    if as_json:
        console.write_json([*({"path": n, "name": n} for n in BUILT_INS), *(asdict(each) for each in found)])
        return
    rows = [(name, "built-in", "any", "", "") for name in BUILT_INS]
    rows += [
        (
            each.name,
            str(each.facts.get("format", "")),
            "/".join(str(n) for n in each.facts.get("channels", ())),
            _latency(each),
            _remark(each),
        )
        for each in found
    ]
    console.write_table(("name", "format", "channels", "latency", "file, or why it cannot be used"), rows, wide=4)
    if not found:
        console.note("Those installed on this machine are listed after: stembridge plugins scan")


@plugins.command()
def show(
    plugin: Annotated[str, typer.Argument(help="A built-in's name, a plugin's name, or the path of its file.")],
    as_json: asking.AsJson = False,
) -> None:
    """A plugin's parameters, as a preset names them."""
    from bridge.plugins.scan import describe

    found = describe(plugin)
    if as_json:
        console.write_json([asdict(each) for each in found])
        return
    for each in found:
        facts = each.facts
        made = " ".join(str(facts[key]) for key in ("format", "maker", "version") if facts.get(key))
        console.write_line(f"{each.name}: {made}")
        if each.error:
            console.write_line(each.error)
        rows = [
            (p["name"], str(p["value"]), p["unit"], _range(p["low"], p["high"], p["choices"]))
            for p in facts.get("parameters", ())
        ]
        console.write_table(("parameter", "unless set", "unit", "range"), rows, wide=3)


def _files(path: Path) -> list[Path]:
    from bridge.plugins import places

    path = path.expanduser().absolute()
    if not path.exists():
        raise StembridgeError("plugin_missing", f"There is no file or folder {path}.", "Check the path.")
    return [path] if path.suffix.casefold() in places.SUFFIXES else places.plugin_files([path])


def _latency(found: Found) -> str:
    n = found.facts.get("latency_samples")
    return f"{n} samples" if n else ""


def _remark(found: Found) -> str:
    if found.error:
        return found.error
    return found.path if found.usable else f"takes no audio: {found.path}"


def _range(low: float | None, high: float | None, choices: list[str]) -> str:
    if choices:
        return ", ".join(choices)
    return "" if low is None or high is None else f"{low:g} to {high:g}"
