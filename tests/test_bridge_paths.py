"""Reads only under the allowed folders, writes only under the output root, whatever the path looks like."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.asking.paths import (
    MAX_PATH_PARTS,
    PathPolicy,
    default_out_root,
    default_policy,
    is_device_name,
    local_policy,
    readable,
    writable,
)
from engine.errors import StembridgeError


@pytest.fixture
def policy(tmp_path: Path) -> PathPolicy:
    root = tmp_path / "music"
    (root / "inside").mkdir(parents=True)
    (root / "song.wav").write_bytes(b"RIFF")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key.wav").write_bytes(b"RIFF")
    (tmp_path / "out").mkdir()
    return PathPolicy((root.resolve(),), tmp_path / "out")


def root_of(policy: PathPolicy) -> Path:
    return policy.read_roots[0]


def code_of(call: object, *args: object) -> str:
    with pytest.raises(StembridgeError) as caught:
        call(*args)  # type: ignore[operator]
    assert caught.value.remedy
    return caught.value.code


def outcome(call: Callable[[str, PathPolicy], Path], text: str, policy: PathPolicy) -> Path | str:
    """The path, or the code of the refusal."""
    try:
        return call(text, policy)
    except StembridgeError as e:
        return e.code


def test_a_file_under_a_root_is_read_by_its_real_path(policy: PathPolicy) -> None:
    song = root_of(policy) / "song.wav"
    (root_of(policy) / "link.wav").symlink_to(song)
    for text in (song, root_of(policy) / "inside" / ".." / "song.wav", root_of(policy) / "link.wav"):
        assert readable(str(text), policy) == song


@pytest.mark.parametrize("name", ["file", "folder", "chain", "relative", "dangling"])
def test_symlinks_do_not_lead_out(policy: PathPolicy, name: str) -> None:
    root, secret = root_of(policy), root_of(policy).parent / "secret"
    (root / "file").symlink_to(secret / "key.wav")
    (root / "folder").symlink_to(secret)
    (root / "chain").symlink_to(root / "file")
    (root / "relative").symlink_to("../secret/key.wav")
    (root / "dangling").symlink_to(secret / "nothing")
    path = root / name / "key.wav" if name == "folder" else root / name
    assert code_of(readable, str(path), policy) == "path_refused"


def test_a_symlink_loop_is_unreadable_and_nothing_worse(policy: PathPolicy) -> None:
    loop = root_of(policy) / "loop"
    loop.symlink_to(loop)
    assert code_of(readable, str(loop), policy) == "file_unreadable"


def test_only_regular_files_are_read(policy: PathPolicy) -> None:
    root = root_of(policy)
    os.mkfifo(root / "pipe.wav")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        one.bind(str(root / "s"))
        for path in (root / "pipe.wav", root / "inside", root / "s", root):
            assert code_of(readable, str(path), policy) == "path_refused"
    everywhere = PathPolicy((Path("/"),), policy.out_root)
    for device in ("/dev/zero", "/dev/stdin", "/dev"):
        assert code_of(readable, device, everywhere) in ("path_refused", "file_unreadable", "file_not_found")


@pytest.mark.parametrize(
    "text",
    [
        *("", "song.wav", "./song.wav", "~/song.wav", "a\0b", "/music/a\0.wav", "x" * 5_000, "/" + "x" * 5_000),
        *("\\\\server\\share\\a.wav", "//server/share/a.wav", "\\\\?\\C:\\a.wav", "\\\\.\\pipe\\x", "/\\server\\a"),
        *("file:///etc/passwd", "http://example.org/a.wav", "/etc/passwd", "/etc/nothing", "/", "/proc/self/mem"),
    ],
)
def test_paths_that_lead_elsewhere_are_refused(policy: PathPolicy, text: str) -> None:
    assert code_of(readable, text, policy) == "path_refused"


@pytest.mark.parametrize("text", ["a/" * 1_500, "a/" * (MAX_PATH_PARTS + 1), "a\\" * 1_500])
def test_a_path_of_too_many_folders_is_refused_before_any_is_made(policy: PathPolicy, text: str) -> None:
    assert code_of(writable, text, policy) == "path_refused"
    assert code_of(readable, str(root_of(policy) / text), policy) == "path_refused"
    deep = writable("a/" * 200, policy)
    deep.mkdir(parents=True)
    assert deep.is_dir()


def test_half_a_surrogate_pair_is_refused_and_a_name_that_is_not_utf8_is_read(policy: PathPolicy) -> None:
    root = root_of(policy)
    if os.name == "posix":
        for text in ("\ud800", "a/\udfff.wav", "\ud83d"):
            assert code_of(readable, str(root / text), policy) == "path_refused"
            assert code_of(writable, text, policy) == "path_refused"
    name = os.fsdecode(b"caf\xe9.wav")
    try:
        (root / name).write_bytes(b"RIFF")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    assert readable(str(root / name), policy) == root / name
    assert writable(os.fsdecode(b"caf\xe9"), policy).parent == policy.out_root.resolve()


def test_the_person_at_the_keyboard_may_name_a_path_with_two_slashes(policy: PathPolicy) -> None:
    song = root_of(policy) / "song.wav"
    doubled = f"/{song}"
    assert code_of(readable, doubled, policy) == "path_refused"
    assert readable(doubled, local_policy([Path(doubled)], policy.out_root)) == song


def test_an_output_refused_at_the_keyboard_speaks_of_its_own_option(policy: PathPolicy) -> None:
    (policy.out_root / "file").write_bytes(b"")
    at_keyboard = local_policy([root_of(policy) / "song.wav"], policy.out_root / "file")
    with pytest.raises(StembridgeError) as caught:
        writable(None, at_keyboard)
    assert caught.value.remedy == "Choose another folder with --out."


@pytest.mark.parametrize("name", ["CON", "nul", "Com1", "LPT9.target", "aux .x", "NUL:", "PRN."])
def test_device_names_are_known_in_every_spelling(name: str) -> None:
    assert is_device_name(name)
    assert not is_device_name(f"{name[0]}x{name[1:]}")


def test_what_is_missing_inside_is_not_found_and_outside_refused(policy: PathPolicy) -> None:
    assert code_of(readable, str(root_of(policy) / "no.wav"), policy) == "file_not_found"
    assert code_of(readable, str(root_of(policy) / "song.wav" / "x"), policy) == "file_unreadable"
    # Neither answer tells whether a file exists outside.
    outside = [str(root_of(policy).parent / "secret" / name) for name in ("key.wav", "no.wav")]
    assert [code_of(readable, text, policy) for text in outside] == ["path_refused"] * 2


def test_a_root_is_not_a_prefix_of_names(policy: PathPolicy) -> None:
    twin = root_of(policy).with_name("music2")
    twin.mkdir()
    (twin / "a.wav").write_bytes(b"x")
    assert code_of(readable, str(twin / "a.wav"), policy) == "path_refused"


def test_a_root_may_itself_be_a_link(tmp_path: Path, policy: PathPolicy) -> None:
    (tmp_path / "linked").symlink_to(root_of(policy))
    via_link = default_policy([tmp_path / "linked"], tmp_path / "out")
    assert readable(str(tmp_path / "linked" / "song.wav"), via_link) == root_of(policy) / "song.wav"


parts = st.sampled_from(
    ["..", ".", "inside", "song.wav", "link", "deep", "secret", "key.wav", "", "...", " ", "é"]
) | st.text(max_size=8)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(st.lists(parts, max_size=8), st.booleans())
def test_no_path_leads_out(policy: PathPolicy, names: list[str], absolute: bool) -> None:
    root = root_of(policy)
    for name, target in (("link", root.parent / "secret"), ("deep", root / "inside")):
        if not (root / name).is_symlink():
            (root / name).symlink_to(target)
    text = "/".join([str(root), *names] if absolute else names)
    read = outcome(readable, text, policy)
    assert read in (root / "song.wav", "path_refused", "file_not_found", "file_unreadable")
    written = outcome(writable, "/".join([str(policy.out_root), *names]) if absolute else text, policy)
    if isinstance(written, Path):
        assert written.is_relative_to(policy.out_root.resolve())
    else:
        assert written in ("path_refused", "output_not_writable")


# Writing


def test_the_output_lies_in_the_root_whether_it_exists_or_not(policy: PathPolicy) -> None:
    out = policy.out_root.resolve()
    assert writable(None, policy) == out
    assert writable("a/b", policy) == writable(str(out / "a" / "b"), policy) == out / "a" / "b"
    assert writable("a/../b", policy) == out / "b"
    assert not (out / "a").exists()


@pytest.mark.parametrize(
    "text", ["..", "../music", "a/../../music", "/etc", "/", "//server/x", "a\0b", "\\\\server\\x"]
)
def test_the_output_does_not_leave_the_root(policy: PathPolicy, text: str) -> None:
    assert code_of(writable, text, policy) == "path_refused"


def test_a_link_in_the_output_does_not_lead_out(policy: PathPolicy) -> None:
    (policy.out_root / "link").symlink_to(root_of(policy))
    for text in ("link", "link/new", str(policy.out_root / "link")):
        assert code_of(writable, text, policy) == "path_refused"
    (policy.out_root / "loop").symlink_to(policy.out_root / "loop")
    assert code_of(writable, "loop/x", policy) == "output_not_writable"


def test_an_output_that_cannot_be_written_is_said_at_once(policy: PathPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    (policy.out_root / "file").write_text("x")
    for text in ("file", "file/deeper"):
        assert code_of(writable, text, policy) == "output_not_writable"
    # root may write anywhere, so the system's answer is given here instead
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert code_of(writable, "new", policy) == "output_not_writable"


# Defaults


def test_the_defaults_allow_home_current_folder_and_media(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    policy = default_policy([tmp_path / "more"])
    assert {Path.home().resolve(), tmp_path.resolve(), (tmp_path / "more").resolve()} <= set(policy.read_roots)
    assert Path("/media").resolve() in policy.read_roots
    assert policy.out_root == default_out_root()
    assert default_out_root().name == "Stembridge"
    assert default_out_root().resolve() in policy.read_roots  # a stem may be separated again
    twice = default_policy([tmp_path, tmp_path / "more", tmp_path / "more"])
    assert len(set(twice.read_roots)) == len(twice.read_roots)  # a refusal names each once


def test_the_file_systems_root_is_not_allowed_by_standing_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert Path("/") not in default_policy().read_roots
    assert Path("/") in default_policy([Path("/")]).read_roots
