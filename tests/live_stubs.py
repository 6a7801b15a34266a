"""Live's API as the package ableton-live-stubs describes it: which names there are, and what types they take."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Parameter:
    name: str
    kind: str
    needed: bool


@dataclass(frozen=True)
class Member:
    """A property (`takes` is what it may be set to; None: read only) or, with `parameters`, a method."""

    takes: str | None = None
    parameters: tuple[Parameter, ...] | None = None


@cache
def api() -> dict[str, dict[str, Member]]:
    """“Module.Class” (views: “Module.Class.View”), or “Module” for its functions → member → what it is."""
    files = [file for file in metadata.files("ableton-live-stubs") or [] if file.name.endswith(".pyi")]
    assert files, "ableton-live-stubs holds no stubs"
    found: dict[str, dict[str, Member]] = {}
    for file in files:
        module = Path(file.name).stem
        tree = ast.parse(file.read_text(encoding="utf-8"))
        _add(found, module, tree.body)
    for name, members in list(found.items()):
        found[name] = {**found["LomObject.LomObject"], **members} if name.count(".") else members
    return found


def _add(found: dict[str, dict[str, Member]], name: str, body: list[ast.stmt]) -> None:
    members = found.setdefault(name, {})
    for node in body:
        if isinstance(node, ast.ClassDef):
            _add(found, f"{name}.{node.name}", node.body)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            members[node.target.id] = Member()
        elif isinstance(node, ast.FunctionDef):
            marks = [ast.unparse(mark) for mark in node.decorator_list]
            if "property" in marks:
                members.setdefault(node.name, Member())
            elif any(mark.endswith(".setter") for mark in marks):
                members[node.name] = Member(takes=_parameters(node)[0].kind)
            else:
                members[node.name] = Member(parameters=_parameters(node))


def _parameters(node: ast.FunctionDef) -> tuple[Parameter, ...]:
    arguments = [*node.args.posonlyargs, *node.args.args]
    n_optional = len(node.args.defaults)
    found = [
        Parameter(a.arg, ast.unparse(a.annotation), n < len(arguments) - n_optional)
        for n, a in enumerate(arguments)
        if a.annotation is not None
    ]
    return tuple(found)


def member(stub: str, name: str) -> Member:
    """Raises `AttributeError` for a name that Live does not have."""
    members = api()[stub]
    if name not in members:
        raise AttributeError(f"Live's {stub} has no {name!r}")
    return members[name]


def check(kind: str, value: Any) -> bool:
    """Whether a value is of an annotated type, as strictly as Live's bindings."""
    return any(_is(part.strip(), value) for part in kind.split("|"))


def checked(stub: str, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """A method that refuses arguments of other types, as Live does."""
    parameters = member(stub, name).parameters
    assert parameters is not None, f"{stub}.{name} is no method"

    def run(*arguments: Any) -> Any:
        needed = sum(parameter.needed for parameter in parameters)
        if not needed <= len(arguments) <= len(parameters):
            raise TypeError(f"{stub}.{name} takes {[p.name for p in parameters]}, given {arguments!r}")
        for parameter, value in zip(parameters, arguments, strict=False):
            if not check(parameter.kind, value):
                raise TypeError(f"{stub}.{name}: {parameter.name} is {value!r}, not {parameter.kind}")
        return call(*arguments)

    return run


def _is(kind: str, value: Any) -> bool:
    plain: dict[str, Callable[[], bool]] = {
        "Any": lambda: True,
        "object": lambda: True,
        "None": lambda: value is None,
        "bool": lambda: isinstance(value, bool),
        "int": lambda: isinstance(value, int) and not isinstance(value, bool),
        "float": lambda: isinstance(value, int | float) and not isinstance(value, bool),
        "str": lambda: isinstance(value, str),
    }
    if kind in plain:
        return plain[kind]()
    if kind.startswith("Callable"):
        return callable(value)
    return getattr(value, "_stub", "").split(".")[-1] == kind
