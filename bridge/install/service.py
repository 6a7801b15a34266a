"""Starts the engine with the desktop: a systemd user unit, a launchd agent, or a Windows task. One file each.

Sources of the formats: systemd.service(5) and systemd.syntax(7); launchd.plist(5); Microsoft's Task Scheduler schema,
version 1.2.
"""

from __future__ import annotations

import os
import plistlib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from bridge import launcher
from bridge.install.scheme import Host, PlannedFile, default_mailbox
from engine.errors import ExitCode, StembridgeError

UNIT: Final = "stembridge.service"
LABEL: Final = "org.stembridge.engine"
TASK: Final = "Stembridge"
FILES: Final = {"linux": UNIT, "darwin": f"{LABEL}.plist", "win32": "stembridge-task.xml"}
COMMAND_S: Final = 30.0
"""How long one of the system's own commands may take."""

_UNIT: Final = """[Unit]
Description=Stembridge: takes one sound out of a mix, for the DAWs on this machine

[Service]
Type=exec
ExecStart={command}
Restart=on-failure
RestartSec=5
# The command is wrong, or this machine is not ready, or an engine runs already: trying again would not help.
RestartPreventExitStatus={final}

[Install]
WantedBy=default.target
"""
_TASK: Final = """<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo>
    <Description>Stembridge: takes one sound out of a mix, for the DAWs on this machine</Description>
  </RegistrationInfo>
  <Triggers><LogonTrigger><Enabled>true</Enabled>{user}</LogonTrigger></Triggers>
  <Principals>
    <Principal id="Author">
      {user}<LogonType>InteractiveToken</LogonType><RunLevel>LeastPrivilege</RunLevel>
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <Priority>5</Priority>
  </Settings>
  <Actions Context="Author"><Exec><Command>{program}</Command><Arguments>{arguments}</Arguments></Exec></Actions>
</Task>
"""


def folders(home: Path | None = None, env: Mapping[str, str] = os.environ, platform: str = sys.platform) -> list[Path]:
    """The one folder of this user whose files the system reads at log-in (on Windows: ours, it is told of the file)."""
    home = home or Path.home()
    if platform == "darwin":
        return [home / "Library" / "LaunchAgents"]
    if platform == "win32":
        return [Path(env.get("LOCALAPPDATA") or home / "AppData" / "Local") / "stembridge"]
    return [Path(env.get("XDG_CONFIG_HOME") or home / ".config") / "systemd" / "user"]


def plan(
    folder: Path, mailbox: Path, platform: str = sys.platform, env: Mapping[str, str] = os.environ
) -> list[PlannedFile]:
    """The one file. Raises `StembridgeError` (`daw_not_found`) on a system that has none of the three."""
    arguments = launcher.command(None if mailbox in (default_mailbox(), Path()) else mailbox)
    if platform not in FILES:
        raise StembridgeError(
            "daw_not_found",
            f"Programs cannot be started with the desktop on {platform}.",
            f"Start the engine yourself: {' '.join(arguments)}",
        )
    path = folder / FILES[platform]
    if platform == "darwin":
        agent = {
            "Label": LABEL,
            "ProgramArguments": arguments,
            "RunAtLoad": True,
            "KeepAlive": {"Crashed": True},
            "ProcessType": "Interactive",
            "StandardErrorPath": str(mailbox / "clients" / "engine.log"),
        }
        return [PlannedFile(path, plistlib.dumps(agent), "a launchd agent, read at log-in")]
    if platform == "win32":
        user = f"<UserId>{escape(env.get('USERDOMAIN', '.'))}\\{escape(env.get('USERNAME', ''))}</UserId>"
        rest = escape(subprocess.list2cmdline(arguments[1:]))
        text = _TASK.format(user=user, program=escape(arguments[0]), arguments=rest)
        return [PlannedFile(path, text.replace("\n", "\r\n").encode("utf-16"), "a task for the Task Scheduler")]
    final = f"{int(ExitCode.BAD_REQUEST)} {int(ExitCode.NOT_READY)}"
    unit = _UNIT.format(command=" ".join(_unit_word(word) for word in arguments), final=final)
    return [PlannedFile(path, unit.encode(), "a systemd user unit, read at log-in")]


def switched_on(folder: Path, platform: str = sys.platform) -> list[str]:
    """Has the system check the file and use it from now on. What fails is told with the commands to type."""
    path = folder / FILES[platform]
    if platform == "darwin":
        check = ["plutil", "-lint", str(path)]
        commands = [["launchctl", "bootstrap", f"gui/{os.getuid()}", str(path)]]
    elif platform == "win32":
        check = []  # the command below reads the file, and says what is wrong with it
        commands = [["schtasks", "/Create", "/F", "/TN", TASK, "/XML", str(path)], ["schtasks", "/Run", "/TN", TASK]]
    else:
        check = ["systemd-analyze", "--user", "verify", str(path)]
        commands = [["systemctl", "--user", "daemon-reload"], ["systemctl", "--user", "enable", "--now", UNIT]]
    lines, _ = _run([check] if check else [])
    more, left = _run(commands)
    if left:
        return [*lines, *more, f"When that is mended, type: {' && '.join(map(subprocess.list2cmdline, left))}"]
    return [*lines, *more, "The engine starts with the desktop from now on. `stembridge doctor` says whether it runs."]


def switched_off(folder: Path, platform: str = sys.platform) -> list[str]:
    """Has the system stop the engine and forget the file, before it is removed. Nothing where it is not there."""
    if not (folder / FILES[platform]).exists():
        return []
    if platform == "darwin":
        return _run([["launchctl", "bootout", f"gui/{os.getuid()}/{LABEL}"]])[0]
    if platform == "win32":
        return _run([["schtasks", "/End", "/TN", TASK]])[0] + _run([["schtasks", "/Delete", "/F", "/TN", TASK]])[0]
    return _run([["systemctl", "--user", "disable", "--now", UNIT]])[0]


def _run(commands: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Runs each command in turn, up to the first that fails. Returns a line for each, with its own words where it
    fails, and the commands that are left to do.
    """
    lines: list[str] = []
    for number, command in enumerate(commands):
        shown = subprocess.list2cmdline(command)
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=COMMAND_S, check=False
            )
            why = None if done.returncode == 0 else (done.stderr or done.stdout).strip() or f"status {done.returncode}"
        except (OSError, subprocess.TimeoutExpired) as e:
            why = str(e)
        if why is not None:
            return [*lines, f"did not work: {shown}: {why.splitlines()[-1]}"], commands[number:]
        lines.append(f"done: {shown}")
    return lines, []


def _unit_word(word: str) -> str:
    """One word of a unit's command line: quoted, and with what systemd would expand kept as it is."""
    for character, kept in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("$", "$$"), ("\n", "\\n")):
        word = word.replace(character, kept)
    return f'"{word}"'


HOST: Final = Host(
    key="service",
    name="The service",
    folders=lambda: folders(),
    plan=lambda folder, mailbox: plan(folder, mailbox),
    own="",
    how_to_find="Name the folder of the file with --path.",
    next_steps=(),
    switched_on=lambda folder: switched_on(folder),
    switched_off=lambda folder: switched_off(folder),
)
