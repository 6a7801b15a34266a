"""The real Ardour as a test host: a home of its own, a virtual screen, and a way to run Lua inside the program.

Nothing of the person's own Ardour is read or written. The host adds one hook to its private configuration, the
driver, which runs a Lua chunk it finds in a file and writes what the chunk returns. Stembridge's own scripts are put
in place by the installer that users run.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ardour_stand_in import forget_engine_start

from bridge.install import ardour, ardour_slots
from bridge.install import scheme as install

DEADLINE_S = 60.0
"""How long any one wait may take before the test fails; a healthy run takes a fraction of it."""

CONFIG = """<?xml version="1.0" encoding="UTF-8"?>
<Ardour>
  <Config>
    <Option name="hide-dummy-backend" value="0"/>
    <Option name="try-autostart-engine" value="1"/>
    <Option name="discover-plugins-on-start" value="0"/>
    <Option name="show-plugin-scan-window" value="0"/>
    <Option name="use-lxvst" value="0"/>
    <Option name="use-windows-vst" value="0"/>
    <Option name="use-vst3" value="0"/>
    <Option name="copy-demo-sessions" value="0"/>
  </Config>
  <Extra>
    <AudioMIDISetup>
      <EngineStates>
        <State backend="None (Dummy)" driver="Normal Speed" device="Silence" input-device="" output-device=""
               sample-rate="{rate_hz}" buffer-size="1024" n-periods="0" input-latency="0" output-latency="0"
               lm-input="" lm-output="" active="1" use-buffered-io="0" midi-option="1 in, 1 out, Silence"
               lru="1700000000"><MIDIDevices/></State>
      </EngineStates>
    </AudioMIDISetup>
  </Extra>
</Ardour>
"""

NEW_SESSION = """
AudioEngine:set_backend("None (Dummy)", "stembridge", ""):set_device_name("Silence")
local s = assert(create_session(arg[1], arg[2], math.tointeger(tonumber(arg[3]))))
s:add_master_bus(ARDOUR.ChanCount(ARDOUR.DataType("audio"), 2))
s:save_state("", false, false, false, false, false)
s:close()
"""

DRIVER = r"""
ardour { ["type"] = "EditorHook", name = "Test driver" }
function signals() return LuaSignal.Set():add({ [LuaSignal.LuaTimerDS] = true }) end
function factory()
	local place = "@PLACE@"
	return function()
		local file = io.open(place .. "/command.lua", "r")
		if not file then return end
		local text = file:read("a")
		file:close()
		os.remove(place .. "/command.lua")
		local id = text:match("^%-%-(%d+)")
		local chunk, why = load(text)
		local ok, answer = false, why
		if chunk then ok, answer = pcall(chunk) end
		local out = assert(io.open(place .. "/" .. id .. ".tmp", "w"))
		out:write(ok and "ok\n" or "error\n", tostring(answer))
		out:close()
		os.rename(place .. "/" .. id .. ".tmp", place .. "/" .. id .. ".answer")
	end
end
"""
KEYS = r"""
ardour { ["type"] = "EditorAction", name = "Test: keys arrive" }
function factory() return function() assert(io.open("@PLACE@/keys", "w")):close() end end
"""
"""A key that is pressed while Ardour still starts is lost; F1, this action's, is pressed until it acts."""


def wait_for(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """The first true value of `condition`, asked 20 times a second; AssertionError naming `what` at the deadline."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"{deadline_s:g} s went by without: {what}")


@dataclass
class Host:
    """One running Ardour with one session open."""

    home: Path
    session: Path
    """The session's folder; the session file in it has the same name."""
    env: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    n_commands: int = 0

    @property
    def config_dir(self) -> Path:
        return self.home / ".config" / "ardour7"

    @property
    def mailbox(self) -> Path:
        return self.home / ".local" / "state" / "stembridge" / "mailbox"

    @property
    def driver_dir(self) -> Path:
        return self.home / "driver"

    def windows(self) -> dict[str, str]:
        """Window id → title, of the titled windows on the host's screen."""
        tree = subprocess.run(["xwininfo", "-root", "-tree"], env=self.env, capture_output=True, text=True, check=False)
        found = {}
        for line in tree.stdout.splitlines():
            part = line.strip().split(" ", 1)
            if len(part) == 2 and part[0].startswith("0x") and part[1].startswith('"'):
                found[part[0]] = part[1][1:].split('"', 1)[0]
        return found

    def start(self) -> None:
        """Starts Ardour on the session and waits until its window and its driver answer."""
        with (self.home / "ardour.log").open("ab") as log:
            command = ["ardour", "-a", "-n", "-k", str(self.home / "test.keys"), str(self.session)]
            self.process = subprocess.Popen(command, env=self.env, stdout=log, stderr=log, start_new_session=True)
        self.main_window()
        assert self.lua("return Session:name()") == self.session.name
        told = self.driver_dir / "keys"
        told.unlink(missing_ok=True)
        wait_for(lambda: told.exists() or self.keys(self.main_window(), "F1"), "a key to act")

    def open_other(self, name: str, rate_hz: int) -> None:
        """Starts Ardour on a new, empty session."""
        self.session = new_session(self, name, rate_hz)
        self.start()

    def send(self, lua: str) -> Path:
        """Hands a chunk to the driver without waiting; returns the file that its answer will be in."""
        self.n_commands += 1
        name = str(self.n_commands)
        draft = self.driver_dir / f"{name}.draft"
        draft.write_text(f"--{name}\n{lua}", encoding="utf-8")
        command = self.driver_dir / "command.lua"
        wait_for(lambda: not command.exists(), "the driver to take its last command")
        draft.rename(command)
        return self.driver_dir / f"{name}.answer"

    def lua(self, lua: str) -> str:
        """What a Lua chunk returns, as text; AssertionError with Lua's message when it fails."""
        answer = self.send(lua)
        wait_for(lambda: answer.exists() or self._died(), f"an answer to {lua.strip()[:60]!r}")
        state, text = answer.read_text(encoding="utf-8").split("\n", 1)
        assert state == "ok", text
        return text

    def press(self, action: str) -> None:
        """Presses the key that a Lua action of ours is bound to; does not wait for what it does."""
        slot = ardour.slots_in_use(self.config_dir)[action]
        self.keys(self.main_window(), f"F{slot}")

    def main_window(self) -> str:
        title = f"{self.session.name} - Ardour"
        return wait_for(lambda: next((i for i, t in self.windows().items() if t.lstrip("*") == title), None), title)

    def dialog(self, title: str = "Stembridge") -> str:
        """Waits for a window of that title and returns its id."""
        return wait_for(lambda: next((i for i, t in self.windows().items() if t == title), None), f"window {title!r}")

    def keys(self, window: str, *keys: str) -> None:
        """Presses keys in a window, once it can take them: a new window is not on the screen at once."""
        wait_for(lambda: self._xdotool("windowfocus", "--sync", window), f"window {window} to take the keys")
        assert self._xdotool("key", "--delay", "20", *keys)

    def answer(self, *keys: str) -> None:
        """Presses keys in Stembridge's dialog and waits until it is gone."""
        window = self.dialog()
        self.keys(window, *keys)
        wait_for(lambda: window not in self.windows(), f"the dialog to close on {keys}")

    def told(self) -> str:
        """Waits for a message of Stembridge, closes it, and returns its text from the log."""
        self.answer("Return")
        return self.log_lines()[-1]

    def log_lines(self) -> list[str]:
        path = self.mailbox / "clients" / "ardour.log"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def open_requests(self) -> int:
        """How many lines this mailbox's ledgers have; 0 when every request was answered and dealt with."""
        lines = 0
        for path in (self.mailbox / "clients").glob("*.jsonl"):
            with contextlib.suppress(FileNotFoundError):  # Ardour removes a ledger with its last line, at any moment
                lines += len(path.read_text().splitlines())
        return lines

    def screenshot(self, path: Path) -> None:
        subprocess.run(["import", "-window", "root", str(path)], env=self.env, check=True, timeout=DEADLINE_S)

    def save(self) -> str:
        """Saves the session and returns the session file's text."""
        self.lua('Session:save_state("", false, false, false, false, false)')
        return (self.session / f"{self.session.name}.ardour").read_text(encoding="utf-8")

    def stop(self) -> None:
        """Ends Ardour; the session keeps what was saved."""
        if self.process is None:
            return
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(10)
        self.process = None

    def _xdotool(self, *arguments: str) -> bool:
        done = subprocess.run(
            ["xdotool", *arguments], env=self.env, capture_output=True, timeout=DEADLINE_S, check=False
        )
        return done.returncode == 0

    def _died(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"Ardour ended:\n{(self.home / 'ardour.log').read_text()[-2000:]}"
        return False


@contextmanager
def open_ardour(home: Path, name: str = "Song", rate_hz: int = 48_000) -> Iterator[Host]:
    """A running Ardour with a new session that has a master bus, and Stembridge installed as users install it."""
    with screen() as display:
        env = {key: value for key, value in os.environ.items() if not key.startswith("XDG_")}
        runtime_dir = home / "run"
        runtime_dir.mkdir(parents=True, mode=0o700)
        env |= {"HOME": str(home), "XDG_RUNTIME_DIR": str(runtime_dir), "DISPLAY": display, "LC_ALL": "C.UTF-8"}
        env |= {"ARDOUR_TRY_AUTOSTART_ENGINE": "1", "GTK_MODULES": "", "NO_AT_BRIDGE": "1"}
        host = Host(home, home / "sessions" / name, env)
        host.driver_dir.mkdir()
        host.config_dir.mkdir(parents=True)
        (host.config_dir / ".a7").touch()
        (host.config_dir / "config").write_text(CONFIG.format(rate_hz=rate_hz))
        driver = DRIVER.replace("@PLACE@", str(host.driver_dir))
        keys_arrive = KEYS.replace("@PLACE@", str(host.driver_dir))
        scripts = ardour_slots.activated(None, {"Test: keys arrive": keys_arrive}, {"Test driver": driver})
        (host.config_dir / "ui_scripts").write_text(scripts)
        keys = Path("/etc/ardour7/ardour.keys").read_text()
        (home / "test.keys").write_text(re.sub(r"Editor/goto-visual-state-(\d+)", r"LuaAction/script-\1", keys))
        install.install(ardour.HOST, host.config_dir, host.mailbox)
        forget_engine_start(host.config_dir / ardour.HOST.own)
        new_session(host, name, rate_hz)
        try:
            host.start()
            yield host
        finally:
            host.stop()


def new_session(host: Host, name: str, rate_hz: int) -> Path:
    """Makes an empty session with a master bus; returns its folder."""
    script = host.home / "new_session.lua"
    script.write_text(NEW_SESSION)
    folder = host.home / "sessions" / name
    folder.parent.mkdir(exist_ok=True)
    command = ["ardour7-lua", str(script), str(folder), name, str(rate_hz)]
    subprocess.run(command, env=host.env, check=True, capture_output=True, timeout=DEADLINE_S)
    return folder


@contextmanager
def screen() -> Iterator[str]:
    """A virtual screen of its own; yields its display name. It never resets: after its last client left (xwininfo that
    looks for a window, say) it would drop a program that is just connecting.
    """
    read_end, write_end = os.pipe()
    command = ["Xvfb", "-displayfd", str(write_end), "-screen", "0", "1400x900x24", "-nolisten", "tcp", "-noreset"]
    screen = subprocess.Popen(command, pass_fds=[write_end], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(write_end)
    try:
        with os.fdopen(read_end) as pipe:
            number = pipe.readline().strip()
        assert number, "Xvfb did not start"
        yield f":{number}"
    finally:
        screen.terminate()
        screen.wait(10)
