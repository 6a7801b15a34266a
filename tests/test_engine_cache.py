"""The result cache: right bytes or none, bounded, shared between processes, and never a reason to fail."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from small_disk import on_small_disk

from engine.cache import RESULT_VERSION, ResultCache, result_key

ROOT = Path(__file__).parents[1]
DEADLINE_S = 60.0
SIZE = 1000


def key_of(number: int) -> str:
    return result_key("samples", {"number": number})


@pytest.fixture
def cache(tmp_path):
    return ResultCache(tmp_path / "cache", keep_free_bytes=0)


@pytest.fixture
def stem(tmp_path):
    path = tmp_path / "stem.wav"
    path.write_bytes(random.Random(0).randbytes(3_000_000))
    return path


def cached_files(cache: ResultCache) -> list[Path]:
    return sorted(path for path in cache.folder.rglob("*") if path.is_file()) if cache.folder.exists() else []


def make_cache(folder: Path, max_bytes: int) -> ResultCache:
    return ResultCache(folder / "cache", max_bytes, keep_free_bytes=0)


# Keys

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
PARAMETERS = st.dictionaries(st.text(), JSON, max_size=4)


@given(PARAMETERS, PARAMETERS, st.text(), st.text())
def test_keys_are_equal_when_the_request_is(one, other, one_source, other_source):
    same = one_source == other_source and json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (result_key(one_source, one) == result_key(other_source, other)) == same
    assert result_key(one_source, dict(reversed(one.items()))) == result_key(one_source, one)


def test_every_parameter_counts():
    base = {"prompt": "vocals", "spans": [["+", 0.0, 1.0]], "nfe": 8, "seed": 0, "weights": "ab", "output": "faithful"}
    changed = [{**base, name: "other"} for name in base] + [{**base, "new": None}]
    keys = {result_key("a", p) for p in [base, *changed]} | {result_key("b", base)}
    assert len(keys) == len(changed) + 2


def test_the_version_counts(monkeypatch):
    before = result_key("a", {})
    monkeypatch.setattr("engine.cache.RESULT_VERSION", RESULT_VERSION + 1)
    assert result_key("a", {}) != before


@pytest.mark.parametrize(("value", "error"), [(Path("a"), TypeError), (float("nan"), ValueError), (b"a", TypeError)])
def test_a_parameter_that_cannot_be_written_down_is_refused(value, error):
    with pytest.raises(error):
        result_key("a", {"value": value})


@pytest.mark.parametrize("key", ["", "../../etc", "g" * 40, "a" * 39, "A" * 40, "a" * 40 + "\n"])
def test_only_a_key_is_a_key(cache, stem, key):
    with pytest.raises(ValueError, match="result_key"):
        cache.find(key)
    with pytest.raises(ValueError, match="result_key"):
        cache.store(key, stem)


# In and out


def test_what_was_stored_is_found_byte_for_byte(cache, stem):
    assert cache.find(key_of(1)) is None
    assert cache.store(key_of(1), stem)
    found = cache.find(key_of(1))
    assert found is not None
    assert found.key == key_of(1)
    assert found.path.suffix == ".wav"
    assert found.path.read_bytes() == stem.read_bytes()
    assert cache.find(key_of(2)) is None
    assert ResultCache(cache.folder).find(key_of(1)) == found
    assert cached_files(cache) == [found.path]


def test_an_edited_stem_does_not_reach_the_cache(cache, stem):
    sound = stem.read_bytes()
    cache.store(key_of(1), stem)
    with stem.open("r+b") as file:  # in place, as a destructive editor does
        file.write(b"x" * 10_000)
    found = cache.find(key_of(1))
    assert found is not None
    assert found.path.read_bytes() == sound
    assert not found.path.samefile(stem)
    assert found.path.stat().st_nlink == 1


def test_storing_again_replaces(cache, stem):
    cache.store(key_of(1), stem)
    cache.store(key_of(1), stem)
    assert len(cached_files(cache)) == 1
    stem.write_bytes(b"another run made other bytes")
    cache.store(key_of(1), stem)
    found = cache.find(key_of(1))
    assert found is not None
    assert found.path.read_bytes() == b"another run made other bytes"


# Damage


def flip_a_byte(path: Path) -> None:
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_byte,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    ],
    ids=["flipped", "emptied", "cut", "extended"],
)
def test_a_damaged_result_is_removed_and_counts_as_missing(cache, stem, damage, caplog):
    cache.store(key_of(1), stem)
    (path,) = cached_files(cache)
    damage(path)
    assert cache.find(key_of(1)) is None
    assert str(path) in caplog.text
    assert cached_files(cache) == []
    assert cache.store(key_of(1), stem)
    assert cache.find(key_of(1)) is not None


def test_a_damaged_result_does_not_hide_a_sound_one(cache, stem):
    cache.store(key_of(1), stem)
    stem.write_bytes(b"newer")
    cache.store(key_of(1), stem)
    newer = cache.find(key_of(1))
    assert newer is not None
    newer.path.write_bytes(b"damaged")
    older = cache.find(key_of(1))
    assert older is not None
    assert older.path.stat().st_size == 3_000_000


def test_a_cache_that_was_thrown_away_is_just_empty(cache, stem):
    cache.store(key_of(1), stem)
    shutil.rmtree(cache.folder)
    assert cache.find(key_of(1)) is None
    assert cache.store(key_of(1), stem)


# Bounded


@settings(max_examples=30, deadline=None)
@example([("s", 0, 4), ("s", 1, 4), ("f", 0, 1), ("s", 2, 1)])
@example([("s", 0, 4), ("f", 0, 1), ("s", 1, 4), ("s", 2, 1)])
@given(st.lists(st.tuples(st.sampled_from("sf"), st.integers(0, 6), st.integers(1, 4)), max_size=30))
def test_the_least_recently_used_leaves_first(actions):
    """Against a model: a dict in order of use. s: store so many kB under a number; f: find it."""
    limit, model = 8 * SIZE, {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cache, source = make_cache(folder, limit), folder / "source.wav"
        for action, number, size in actions:
            if action == "s" and number not in model:
                source.write_bytes(bytes([number]) * size * SIZE)
                while sum(model.values()) + size * SIZE > limit:
                    del model[next(iter(model))]
                model[number] = size * SIZE
                assert cache.store(key_of(number), source)
            elif action == "f":
                found = cache.find(key_of(number))
                assert (found is not None) == (number in model)
                if found:
                    model[number] = model.pop(number)
                    assert found.path.read_bytes() == bytes([number]) * model[number]
            files = {path.name.split(".")[0]: path.stat().st_size for path in cached_files(cache)}
            assert files == {key_of(n): n_bytes for n, n_bytes in model.items()}
            assert sum(files.values()) <= limit


@pytest.mark.parametrize("max_bytes", [0, 2_999_999])
def test_what_is_larger_than_the_cache_is_not_kept_and_evicts_nothing(tmp_path, stem, max_bytes):
    cache, small = make_cache(tmp_path, max_bytes), tmp_path / "small.wav"
    small.write_bytes(b"x" * min(max_bytes, 100))
    cache.store(key_of(1), small)
    assert not cache.store(key_of(2), stem)
    assert cache.find(key_of(2)) is None
    assert cache.find(key_of(1)) is not None


def test_part_files_of_the_dead_are_swept_and_of_the_living_are_not(cache, stem):
    cache.store(key_of(1), stem)
    living, dead = cache.folder / "1.part", cache.folder / "2.part"
    for path in (living, dead):
        path.write_bytes(b"x")
    os.utime(dead, (1.0, 1.0))
    cache.store(key_of(2), stem)
    assert living.exists()
    assert not dead.exists()


# Trouble never fails a job


def test_the_disk_is_left_some_room(tmp_path, stem, caplog):
    cache = ResultCache(tmp_path / "cache", keep_free_bytes=1 << 60)
    assert not cache.store(key_of(1), stem)
    assert "free" in caplog.text
    assert cached_files(cache) == []


def test_a_source_that_is_gone_and_a_folder_that_cannot_be(cache, tmp_path, stem, caplog):
    assert not cache.store(key_of(1), tmp_path / "gone.wav")
    (tmp_path / "file").write_bytes(b"")
    blocked = ResultCache(tmp_path / "file", keep_free_bytes=0)
    assert not blocked.store(key_of(1), stem)
    assert caplog.text.count("could not be cached") == 2
    assert blocked.find(key_of(1)) is None
    assert "cannot be read" in caplog.text
    assert cached_files(cache) == []


_FILL = """
import json, logging, resource, shutil, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
logging.basicConfig(stream=sys.stderr)
from engine.cache import ResultCache, result_key
folder, limit = Path(sys.argv[1]), int(sys.argv[3])
source = folder / "source.wav"
cache = ResultCache(folder / "cache", keep_free_bytes=-(1 << 60))  # even what it knows will not fit
if limit:
    source.write_bytes(b"y" * (limit + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
small = folder / "small.wav"
small.write_bytes(b"x" * 100_000)
kept = [cache.store(result_key("a", {"n": n}), small) for n in range(3)]
if not limit:
    source.write_bytes(b"y" * (shutil.disk_usage(folder).free * 2 // 3))
full = cache.store(result_key("b", {}), source)
found = [cache.find(result_key("a", {"n": n})) is not None for n in range(3)]
files = [path.name for path in folder.rglob("*") if path.is_file() and path.parent != folder]
print(json.dumps([kept, full, found, sum(name.endswith(".wav") for name in files), len(files)]))
"""


def fill(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[True] * 3, False, [True] * 3, 3, 3]
    assert "could not be cached" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="limits of this kind exist on POSIX systems only")
def test_a_copy_that_the_system_refuses_leaves_nothing(tmp_path):
    fill([sys.executable, "-c", _FILL, str(tmp_path), str(ROOT), "1000000"])


def test_a_full_disk_leaves_nothing(tmp_path):
    fill(on_small_disk(tmp_path, "2m", [sys.executable, "-c", _FILL, str(tmp_path), str(ROOT), "0"]))


_HAMMER = """
import random, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from engine.cache import ResultCache, result_key
folder, seed = Path(sys.argv[1]), int(sys.argv[3])
chance, source = random.Random(seed), Path(sys.argv[1]) / f"source{seed}.wav"
cache = ResultCache(folder / "cache", 100_000, keep_free_bytes=0)
n_found = 0
for _ in range(300):
    number = chance.randrange(12)
    content = bytes([number]) * (number + 1) * 3000
    found = cache.find(result_key("a", {"n": number}))
    if found is None:
        source.write_bytes(content)
        cache.store(result_key("a", {"n": number}), source)
    else:
        try:
            assert found.path.read_bytes() == content
            n_found += 1
        except FileNotFoundError:
            pass
assert n_found > 10, n_found
print("sound")
"""


def test_processes_share_the_folder(tmp_path):
    """Three processes store, find and evict the same keys: never wrong bytes, nothing left over, bounded at the end."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _HAMMER, str(tmp_path), str(ROOT), str(seed)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in range(3)
    ]
    for process in processes:
        out, err = process.communicate(timeout=DEADLINE_S)
        assert out == "sound\n", err
        assert "damaged" not in err
    cache = make_cache(tmp_path, 100_000)
    assert all(path.suffix == ".wav" for path in cached_files(cache))
    (tmp_path / "last.wav").write_bytes(b"x")
    assert cache.store(key_of(1), tmp_path / "last.wav")
    assert sum(path.stat().st_size for path in cached_files(cache)) <= 100_000
