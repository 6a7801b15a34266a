"""The wheel holds what the folders hold, and our top-level names are ours alone."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("engine", "bridge", "export", "presets", "daw_scripts")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    out = tmp_path_factory.mktemp("wheel")
    code = f"from hatchling.build import build_wheel; print(build_wheel({str(out)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return zipfile.ZipFile(out / done.stdout.strip().splitlines()[-1])


def test_the_wheel_holds_every_tracked_file_of_our_packages(wheel: zipfile.ZipFile) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "-z", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    expected = {name for name in tracked if name and (ROOT / name).exists()}
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert expected
    assert expected - packed == set()
    assert {name.split("/")[0] for name in packed} == set(PACKAGES)


def test_the_wheel_carries_licences_and_the_command(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert any("embedded" in name and "LICENSE" in name for name in names)
    (entry,) = (name for name in names if name.endswith("entry_points.txt"))
    assert "stembridge = bridge.__main__:main" in wheel.read(entry).decode()


def test_the_base_install_has_no_torch_and_nothing_copyleft() -> None:
    required = [r for r in importlib.metadata.requires("stembridge") or [] if "extra ==" not in r]
    names = {r.split(">")[0].split("=")[0].split(" ")[0].lower() for r in required}
    assert names.isdisjoint({"torch", "pedalboard", "onnxruntime", "onnxruntime-gpu", "tensorrt"})


def test_our_top_level_names_are_ours_alone() -> None:
    owners = importlib.metadata.packages_distributions()
    foreign = {name: set(owners.get(name, [])) - {"stembridge"} for name in PACKAGES}
    assert not any(foreign.values()), foreign
