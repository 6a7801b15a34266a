"""Is this machine ready? One finding for each thing that can be missing, with the command that mends it."""

from __future__ import annotations

import platform
import secrets
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

import platformdirs

from bridge.api.protocol import DEFAULT_PORT, Pong
from bridge.api.requests import Ping
from bridge.asking import presets
from bridge.asking.paths import default_out_root
from bridge.install import elsewhere
from bridge.install import scheme as install
from bridge.osc.codec import decode_answer, encode
from bridge.plugins.places import require_host
from bridge.plugins.scan import scanned
from engine import health, models
from engine.errors import StembridgeError
from engine.separate import stembridge_version

State = Literal["ok", "note", "missing"]
"""`note`: works without; `missing`: does not work until it is mended."""
LITTLE_SPACE_BYTES: Final = 1_000_000_000
PING_S: Final = 1.0


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    what: str
    state: State
    detail: str
    remedy: str = ""
    """A command, or what else to do; empty when there is nothing to do."""


def examine(
    *, out_dir: Path | None = None, state_dir: Path | None = None, port: int = DEFAULT_PORT
) -> Iterator[Finding]:
    """Look at everything in turn; a finding is yielded as soon as it is known. Raises nothing of its own."""
    yield _python()
    yield from _runtime()
    yield from _models()
    yield from _choices()
    yield _folder("output folder", out_dir or default_out_root(), "stembridge serve --out FOLDER")
    state = state_dir or Path(platformdirs.user_state_dir("stembridge", appauthor=False))
    yield _folder("state folder", state, "")
    yield _port(port)
    yield from _presets()
    yield from _daws()
    yield _pictures()
    yield _plugins()


def ready(findings: list[Finding]) -> bool:
    """Whether nothing is missing."""
    return all(finding.state != "missing" for finding in findings)


def _python() -> Finding:
    return Finding("Python", "ok", f"{platform.python_version()}, {sys.executable}")


def _runtime() -> Iterator[Finding]:
    try:
        yield Finding("runtime", "ok", health.runtime())
        for reason in health.broken_providers():
            yield Finding("runtime", "note", reason, "Install what it needs; the CPU answers meanwhile.")
    except StembridgeError as e:
        yield Finding("runtime", "missing", e.text, e.remedy)


def _choices() -> Iterator[Finding]:
    """What each model that has a choice will run on, and why."""
    try:
        names = health.flow_models()
    except StembridgeError:
        return  # said among the models
    for name in names:
        what = f"{name} runs on"
        try:
            words, why, passed_over = health.expected_runtime(name)
        except StembridgeError as e:
            yield Finding(what, "missing", e.text, e.remedy)
            continue
        for reason, remedy in passed_over:
            yield Finding(what, "note", reason, remedy)
        yield Finding(what, "ok", f"{words}: {why}")


def _models() -> Iterator[Finding]:
    try:
        names = sorted(models.installed())
    except StembridgeError as e:
        yield Finding("models", "missing", e.text, e.remedy)
        return
    if not names:
        yield Finding("models", "missing", "no model is installed", "pip install --force-reinstall stembridge")
    for name in names:
        try:
            size = health.model_files(name)
        except StembridgeError as e:
            yield Finding(f"model {name}", "missing", e.text, e.remedy)
        else:
            yield Finding(f"model {name}", "ok", f"whole, {size / 1e6:.1f} MB")


def _folder(what: str, folder: Path, remedy: str) -> Finding:
    try:
        free = health.writable_bytes(folder)
    except StembridgeError as e:
        return Finding(what, "missing", e.text, remedy or e.remedy)
    if free < LITTLE_SPACE_BYTES:
        return Finding(what, "note", f"{folder} has only {free / 1e6:.0f} MB left", "Free some space.")
    return Finding(what, "ok", f"{folder}, {free / 1e9:.0f} GB free")


def _port(port: int) -> Finding:
    what = f"port {port}"
    try:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            with socket.socket(socket.AF_INET, kind) as probe:
                if kind == socket.SOCK_STREAM and sys.platform != "win32":
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a closed engine's port lingers
                probe.bind(("127.0.0.1", port))
    except OSError:
        version = _engine_version(port)
        if version is not None:
            if version != stembridge_version():
                detail = f"the engine is running, version {version}, but this is {stembridge_version()}"
                return Finding(what, "note", detail, "stop it, and start: stembridge serve")
            return Finding(what, "ok", f"the engine is running, version {version}")
        return Finding(what, "missing", "another program holds it", "stembridge serve --port N, with another N")
    return Finding(what, "ok", "free; start the engine with: stembridge serve")


def _engine_version(port: int) -> str | None:
    """The version of the engine that answers on `port` of this machine; None when none does within `PING_S`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        caller.settimeout(PING_S)
        try:
            caller.sendto(encode(Ping(secrets.token_hex(4))), ("127.0.0.1", port))
            answer = decode_answer(caller.recv(65_536))
        except (OSError, StembridgeError):
            return None
    return answer.version if isinstance(answer, Pong) else None


def _presets() -> Iterator[Finding]:
    problems = presets.check_presets()
    for problem in problems:
        yield Finding("presets", "note", problem.text, problem.remedy)
    if not problems:
        yield Finding("presets", "ok", f"your own go into {presets.user_folder()}")


def _daws() -> Iterator[Finding]:
    """Each DAW of this machine, and whether its scripts are those of this Stembridge."""
    for host in install.hosts():
        if not host.own:
            continue
        command = f"stembridge install {host.key}"
        folders = elsewhere.all_folders(host)
        if not folders:
            yield Finding(host.name, "note", "not found on this machine", f"{host.how_to_find} Then: {command}")
        for folder in folders:
            what = host.label(folder) or host.name
            try:
                version = install.installed_version(host, folder)
            except StembridgeError as e:
                yield Finding(what, "note", e.text, e.remedy)
                continue
            if version is None:
                yield Finding(what, "note", f"the scripts are not in {folder}", command)
            elif version != stembridge_version():
                detail = f"scripts of version {version} in {folder}, but this is {stembridge_version()}"
                yield Finding(what, "note", detail, command)
            else:
                yield Finding(what, "ok", f"scripts of version {version} in {folder}")


def _pictures() -> Finding:
    if find_spec("matplotlib") is None:
        return Finding("pictures", "note", "matplotlib is not installed", "pip install 'stembridge[plots]'")
    return Finding("pictures", "ok", "matplotlib is installed")


def _plugins() -> Finding:
    try:
        require_host()
    except StembridgeError as e:
        return Finding("plugins", "note", "pedalboard, which hosts the plugins of presets, is not installed", e.remedy)
    known = scanned()
    n_usable = sum(each.usable for each in known)
    if not known:
        return Finding("plugins", "ok", "the built-in effects", "stembridge plugins scan")
    return Finding("plugins", "ok", f"the built-in effects, and {n_usable} of {len(known)} plugins that were looked at")
