"""A stand-in for REAPER: runs the real scripts in Lua 5.4 against a `reaper` table that keeps a project's state.

It is as strict as REAPER's documentation: every argument's type is checked, nothing in the project may be changed
outside an undo block, and a script started twice without saying what then must happen fails. What the documentation
leaves open is taken as SWS, REAPER's best-known extension, relies on it: a take accessor gives the take before volume,
pan and fades.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lupa.lua54 as lua
from reaper_api import ProjectFunctions
from reaper_project import Item, Track, new_guid
from reaper_signatures import CHECKS, SIGNATURES

LIMIT_S = 60.0
"""How long a test waits for what must happen; never how long it takes."""


@dataclass(eq=False)
class Script:
    path: str
    runtime: Any
    deferred: list[Callable[[], None]] = field(default_factory=list)
    at_exit: list[Callable[[], None]] = field(default_factory=list)
    options: int = 0


class Host(ProjectFunctions):
    """One run of REAPER with one project in front. `messages` and `asked` are what the person saw; `answers` are what
    they will answer, in order (None: cancelled)."""

    def __init__(self, scripts: Path, project_dir: Path) -> None:
        self.scripts, self.project_dir = scripts, project_dir
        project_dir.mkdir(parents=True, exist_ok=True)
        self.tracks: list[Track] = []
        self.markers: list[tuple[bool, float, float, str]] = []
        self.range_s = (0.0, 0.0)
        self.project_file = ""
        """Empty until the project is saved; `project_dir` is then REAPER's own folder for recordings."""
        self.tempo = [(0.0, 120.0)]
        """From when on, beats a minute. Nothing that scripts ask for here is counted in beats."""
        self.messages: list[str] = []
        self.asked: list[tuple[str, list[str], list[str]]] = []
        self.answers: list[list[str] | None] = []
        self.undo_points: list[str] = []
        self.ext_state: dict[tuple[str, str], str] = {}
        self.project_ext: dict[str, str] = {}
        self.play_state = 0
        self.play_s = self.cursor_s = 0.0
        self.running: list[Script] = []
        self.tick_s: list[float] = []
        self.built_peaks: list[str] = []
        self._commands: list[str] = []
        self.window: Any = None
        """The `gfx` table of the script that has a window open."""
        self.window_lines: list[str] = []
        self.window_key = 0

    # What a person does.

    def add_track(self, name: str, **values: float) -> Track:
        track = Track()
        track.strings["P_NAME"] = name
        track.values |= values
        self.tracks.append(track)
        return track

    def select(self, *things: Track | Item, range_s: tuple[float, float] = (0.0, 0.0)) -> None:
        self.range_s = range_s
        for track in self.tracks:
            track.selected = track in things
            for item in track.items:
                item.selected = item in things

    def press(self, action: str) -> None:
        """Runs `stembridge_<action>.lua`."""
        self.start(str(self.scripts / f"stembridge_{action}.lua"))

    def run_until(self, condition: Callable[[], bool], what: str) -> None:
        deadline_s = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline_s, f"{what} did not happen; messages: {self.messages}"
            self.tick()
            time.sleep(0.001)

    def settle(self) -> None:
        """Until no script runs."""
        self.run_until(lambda: not self.running, "the end of all scripts")

    def named(self, name: str) -> Track:
        (track,) = (track for track in self.tracks if track.name == name)
        return track

    # What REAPER does.

    def start(self, path: str) -> None:
        for script in [script for script in self.running if script.path == path]:
            assert script.options == 3, f"{path} is already running: REAPER asks what to do"
            self._end(script)
        script = Script(path, lua.LuaRuntime(encoding="utf-8", unpack_returned_tuples=True))
        self.running.append(script)
        script.runtime.globals()["reaper"] = script.runtime.table_from(self._api(script))
        script.runtime.globals()["gfx"] = self._gfx(script)
        # A chunk named as REAPER names it: get_action_context tells it, not the chunk.
        script.runtime.eval("function(path) assert(loadfile(path))() end")(path)
        self._end_if_idle(script)

    def tick(self) -> None:
        for script in list(self.running):
            due, script.deferred = script.deferred, []
            for work in due:
                began_s = time.thread_time()
                work()
                assert not self._unmarked, "the project was changed and REAPER not told"
                self.tick_s.append(time.thread_time() - began_s)
            self._end_if_idle(script)

    def quit(self) -> None:
        """REAPER is closed; the project's own notes stay, what was kept in memory does not."""
        for script in list(self.running):
            self._end(script)
        self.ext_state.clear()

    def _gfx(self, script: Script) -> Any:
        """REAPER's drawing functions: what is drawn as text is kept in `window_lines`, newest frame only."""
        gfx = script.runtime.table(x=0, y=0, w=0, h=0, mouse_x=0, mouse_y=0, mouse_cap=0)

        def init(title: str, width: int, height: int) -> None:
            assert title == "Stembridge"
            gfx["w"], gfx["h"] = width, height
            self.window = gfx

        def rect(x: int, y: int, width: int, height: int, filled: bool) -> None:
            assert 0 <= x <= x + width <= gfx["w"]
            assert 0 <= y <= y + height <= gfx["h"]
            if (width, height) == (gfx["w"], gfx["h"]):
                self.window_lines.clear()

        def quit_window() -> None:
            self.window = None

        gfx["init"], gfx["rect"], gfx["quit"] = init, rect, quit_window
        gfx["drawstr"] = self.window_lines.append
        gfx["getchar"] = lambda: self.window_key
        gfx["set"] = gfx["setfont"] = lambda *_: None
        gfx["update"] = lambda: None
        return gfx

    def _end_if_idle(self, script: Script) -> None:
        if not script.deferred and script in self.running:
            self._end(script)

    def _end(self, script: Script) -> None:
        self.running.remove(script)
        for work in script.at_exit:
            work()

    def _api(self, script: Script) -> dict[str, Any]:
        table = {}
        for name, types in SIGNATURES.items():
            if name not in self.functions():
                continue
            method = getattr(self, f"_{name}")
            table[name] = self._checked(name, types.split(), lambda *a, method=method: method(script, *a))
        return table

    def _checked(self, name: str, types: list[str], method: Callable[..., Any]) -> Callable[..., Any]:
        needed = sum(not kind.endswith("?") for kind in types)

        def call(*arguments: Any) -> Any:
            assert needed <= len(arguments) <= len(types), f"{name} takes {types}, given {arguments!r}"
            for kind, value in zip(types, arguments, strict=False):
                assert CHECKS[kind.rstrip("?")](value), f"{name}: {value!r} is no {kind}"
                if kind == "take":
                    assert value.item.track in self.tracks, f"{name}: a take that is no more"
            return method(*arguments)

        return call

    def _get_action_context(self, script: Script) -> tuple[Any, ...]:
        return False, script.path, 0, 1, 0, 0, 0

    def _defer(self, script: Script, work: Any) -> bool:
        script.deferred.append(work)
        return True

    def _atexit(self, script: Script, work: Any) -> bool:
        script.at_exit.append(work)
        return True

    def _set_action_options(self, script: Script, options: int) -> None:
        script.options = options

    def _AddRemoveReaScript(self, _: Script, add: bool, section: int, path: str, commit: bool) -> int:
        if not Path(path).is_file():
            return 0
        path = str(Path(path))
        if path not in self._commands:
            self._commands.append(path)
        return 50_000 + self._commands.index(path)

    def _Main_OnCommand(self, _: Script, command: int, flag: int) -> None:
        self.start(self._commands[command - 50_000])

    def _time_precise(self, _: Script) -> float:
        return time.monotonic()

    def _genGuid(self, _: Script, text: str) -> str:
        return new_guid()

    def _ShowMessageBox(self, _: Script, text: str, title: str, kind: int) -> int:
        assert (title, kind) == ("Stembridge", 0)
        self.messages.append(text)
        return 1

    def _GetUserInputs(self, _: Script, title: str, n: int, captions: str, values: str) -> tuple[bool, str]:
        fields = captions.split(",")
        options = dict(field.split("=", 1) for field in fields if "=" in field)
        separator = options.get("separator", ",")
        names = [field for field in fields if "=" not in field]
        assert 1 <= n == len(names) <= 16
        self.asked.append((title, names, values.split(separator)))
        answer = self.answers.pop(0)
        return (False, values) if answer is None else (True, separator.join(answer))

    def _SetExtState(self, _: Script, section: str, key: str, value: str, persist: bool) -> None:
        self.ext_state[section, key] = value

    def _GetExtState(self, _: Script, section: str, key: str) -> str:
        return self.ext_state.get((section, key), "")

    def _DeleteExtState(self, _: Script, section: str, key: str, persist: bool) -> None:
        self.ext_state.pop((section, key), None)

    def _GetProjExtState(self, _: Script, project: int, section: str, key: str) -> tuple[int, str]:
        value = self.project_ext.get(f"{section}/{key}", "")
        return len(value), value

    def _SetProjExtState(self, _: Script, project: int, section: str, key: str, value: str) -> int:
        self.project_ext[f"{section}/{key}"] = value
        return len(value)

    def _EnumProjects(self, _: Script, index: int, text: str = "") -> tuple[int, str]:
        return 0, self.project_file

    def _GetProjectPathEx(self, _: Script, project: int, text: str = "") -> str:
        return str(self.project_dir)

    def _RecursiveCreateDirectory(self, _: Script, path: str, ignored: int) -> int:
        try:
            Path(path).mkdir(parents=True)
        except OSError:
            return 0
        return 1

    def _GetOS(self, _: Script) -> str:
        return "Other"  # Linux's

    def _ExecProcess(self, _: Script, line: str, timeout: int) -> str | None:
        raise AssertionError("on this system the shell starts programs")

    def _GetPlayState(self, _: Script) -> int:
        return self.play_state

    def _GetPlayPositionEx(self, _: Script, project: object) -> float:
        return self.play_s

    def _GetCursorPositionEx(self, _: Script, project: object) -> float:
        return self.cursor_s
