"""The tree is the architecture: imports run one way, and nothing heavy is imported before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("engine", "bridge", "export", "presets", "daw_scripts", "training", "benchmarks", "tests")
MAY_IMPORT = {
    "engine": {"engine"},
    "bridge": {"bridge", "engine"},
    "export": {"export", "engine"},
    "training": {"training", "engine"},
    "presets": set(),
    "daw_scripts": set(),
}
HEAVY = {"torch", "onnxruntime", "tensorrt", "matplotlib", "pedalboard", "transformers", "onnx"}
ENGINE_INSIDE = {"engine.runtimes", "engine.model", "engine.masks.two_stems", "engine.masks.prompted"}
"""What the bridge must not reach into."""


def imports_of(path: Path) -> list[tuple[str, bool]]:
    """Every module a file imports, and whether it does so when it is imported itself."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    late = (ast.FunctionDef, ast.AsyncFunctionDef)
    for_types = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    inner = {id(n) for f in [*for_types, *(n for n in ast.walk(tree) if isinstance(n, late))] for n in ast.walk(f)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) not in inner) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # A script that Live loads lies in a folder whose name is Live's business, not ours.
            assert node.level == 0 or (node.level == 1 and "daw_scripts" in path.parts), f"{path}: a relative import"
            if node.level:
                continue
            names = [node.module or ""] + [f"{node.module}.{alias.name}" for alias in node.names]
            found += [(name, id(node) not in inner) for name in names]
    return found


def files_of(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_run_one_way(folder: str) -> None:
    files = files_of(folder)
    assert files
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files
        for name, _ in imports_of(path)
        if name.split(".")[0] in OURS and name.split(".")[0] not in MAY_IMPORT[folder]
    ]
    assert not wrong, "\n".join(wrong)


def test_the_bridge_uses_the_engines_public_modules_and_no_runtime() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files_of("bridge")
        for name, _ in imports_of(path)
        if name.split(".")[0] in HEAVY - {"matplotlib", "pedalboard"}
        or any(name == inside or name.startswith(f"{inside}.") for inside in ENGINE_INSIDE)
    ]
    assert not wrong, "\n".join(wrong)


def test_heavy_libraries_are_imported_where_they_are_needed() -> None:
    # engine/model is the torch network itself: it is imported by the torch runtime alone.
    wrong = [
        f"{path.relative_to(ROOT)} imports {name} at its top"
        for folder in ("engine", "bridge")
        for path in files_of(folder)
        if "model" not in path.relative_to(ROOT).parts
        for name, top in imports_of(path)
        if top and name.split(".")[0] in HEAVY
    ]
    assert not wrong, "\n".join(wrong)


def test_what_is_under_the_gpl_is_imported_in_one_place_that_only_the_worker_runs() -> None:
    files = [path for folder in ("engine", "bridge", "export") for path in files_of(folder)]
    hosts = [path for path in files if any(name.split(".")[0] == "pedalboard" for name, _ in imports_of(path))]
    assert [str(path.relative_to(ROOT)) for path in hosts] == ["bridge/plugins/host.py"]
    users = [path for path in files if "bridge.plugins.host" in {name for name, _ in imports_of(path)}]
    assert [str(path.relative_to(ROOT)) for path in users] == ["bridge/plugins/worker.py"]


@pytest.mark.parametrize("module", ["engine.separate", "engine.models", "bridge.__main__", "bridge.osc.server"])
def test_starting_up_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({HEAVY!r} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert loaded.split() == []


def test_a_planted_violation_is_caught(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text("from bridge import server\ndef f():\n    import torch\n")
    assert imports_of(planted) == [("bridge", True), ("bridge.server", True), ("torch", False)]
