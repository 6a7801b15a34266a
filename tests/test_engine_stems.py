"""Files out: readable by others, stamped, whole or absent, never over another result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from engine import StembridgeError
from engine.audio import SourceInfo
from engine.riff import read_time_reference
from engine.stems import PART, StemFiles, find_delivered, free_name, remove_dead_parts, stem_name
from engine.wav import WavWriter

INFO = SourceInfo((Path("song.wav"),), 48_000, 2, 96_000, ("WAV/FLOAT",))


def stems(folder: Path, name: str = "song.vocals", keep: str = "both") -> StemFiles:
    return StemFiles(folder, name, keep, INFO, time_reference=144_000, description="song.wav: vocals")  # type: ignore[arg-type]


def noise(n: int = 1_000, channels: int = 2) -> np.ndarray:
    return np.random.default_rng(n).standard_normal((channels, n)).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rf64", [False, True])
def test_a_written_file_reads_back_bit_for_bit(tmp_path: Path, channels: int, rf64: bool) -> None:
    path = tmp_path / "stem.wav"
    samples = noise(5_000, channels)
    writer = WavWriter(path, 96_000, channels, time_reference=2**33 + 5, riff_limit=10_000 if rf64 else 2**32 - 1)
    for start in range(0, 5_000, 777):
        writer.write(samples[:, start : start + 777])
    writer.finish()
    info = soundfile.info(path)
    assert (info.format, info.subtype) == ("RF64" if rf64 else "WAV", "FLOAT")
    back, rate = soundfile.read(path, dtype="float32", always_2d=True)
    assert rate == 96_000
    assert np.array_equal(back.T, samples)
    assert read_time_reference(path) == 2**33 + 5


def test_other_files_have_no_time_reference(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "plain.wav", np.zeros(10), 48_000)
    (tmp_path / "text").write_text("no audio")
    assert read_time_reference(tmp_path / "plain.wav") is None
    assert read_time_reference(tmp_path / "text") is None


def test_stems_sum_to_the_mixture_and_appear_whole(tmp_path: Path) -> None:
    mixture, target = noise(), 0.3 * noise(1_000)
    with stems(tmp_path) as files:
        files.write(mixture, target)
        assert {p.suffix for p in tmp_path.iterdir()} == {PART}
        paths, manifest = files.publish({"result_key": "a"})
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "song.vocals.json", "song.vocals.residual.wav", "song.vocals.target.wav",
    ]  # fmt: skip
    assert manifest.name == "song.vocals.json"
    sides = [soundfile.read(paths[stem], dtype="float32")[0].T for stem in ("target", "residual")]
    assert np.abs(sides[0] + sides[1] - mixture).max() <= 10 ** (-120 / 20)
    assert files.null_peak == np.abs(sides[0] + sides[1] - mixture).max()


@pytest.mark.parametrize("keep", ["target", "residual"])
def test_only_what_is_kept_is_written(tmp_path: Path, keep: str) -> None:
    with stems(tmp_path, keep=keep) as files:
        files.write(noise(), noise())
        files.publish({"result_key": "a"})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["song.vocals.json", f"song.vocals.{keep}.wav"]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), stems(tmp_path) as files:
        files.write(noise(), noise())
        raise RuntimeError("in the middle")
    assert list(tmp_path.iterdir()) == []


def deliver(folder: Path, key: str, name: str = "song.vocals") -> Path:
    with stems(folder, name) as files:
        files.write(noise(), noise())
        return files.publish({"result_key": key})[1]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    names = [deliver(tmp_path, key).name for key in ("a", "b", "a")]
    assert names == ["song.vocals.json", "song.vocals 2.json", "song.vocals 3.json"]
    (tmp_path / "other.target.wav").write_bytes(b"a person's own file")
    assert free_name(tmp_path, "other") == "other 2"


def test_the_same_result_is_found_again_while_nobody_has_touched_it(tmp_path: Path) -> None:
    first, second = deliver(tmp_path, "a"), deliver(tmp_path, "b")
    assert find_delivered(tmp_path, "song.vocals", {"result_key": "a"}) == first
    assert find_delivered(tmp_path, "song.vocals", {"result_key": "b"}) == second
    assert find_delivered(tmp_path, "song.vocals", {"result_key": "c"}) is None
    assert find_delivered(tmp_path, "song.vocals", {"result_key": "a", "keep": "target"}) is None
    edited = tmp_path / "song.vocals.target.wav"
    edited.write_bytes(edited.read_bytes())
    os.utime(edited, ns=(0, first.stat().st_mtime_ns + 1))
    assert find_delivered(tmp_path, "song.vocals", {"result_key": "a"}) is None, "it was edited"
    (tmp_path / "song.vocals 2.residual.wav").unlink()
    assert find_delivered(tmp_path, "song.vocals", {"result_key": "b"}) is None, "it is not whole"
    first.write_text("[]")
    assert find_delivered(tmp_path, "song.vocals", {"result_key": "a"}) is None


def test_other_programs_part_files_are_left_alone(tmp_path: Path) -> None:
    foreign = [tmp_path / name for name in ("film.mkv.part", "song.vocals.target.wav.part", "x.json.0123.part")]
    for path in foreign:
        path.write_bytes(b"a download")
    deliver(tmp_path, "a")
    assert all(path.read_bytes() == b"a download" for path in foreign)


def test_writers_of_one_name_at_once_lose_nothing(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        manifests = set(pool.map(lambda i: deliver(tmp_path, str(i)), range(24)))
    assert len(manifests) == 24
    for manifest in manifests:
        said = json.loads(manifest.read_text(encoding="utf-8"))
        assert all((tmp_path / said[stem]).stat().st_size == said["bytes"][stem] for stem in ("target", "residual"))
    assert not list(tmp_path.glob(f"*{PART}"))


def test_a_writer_that_died_is_cleaned_up_and_a_living_one_is_not(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; import numpy as np\n"
        "from engine.audio import SourceInfo; from engine.stems import StemFiles\n"
        "info = SourceInfo((Path('a.wav'),), 48000, 2, 96000, ('WAV/FLOAT',))\n"
        f"files = StemFiles(Path({str(tmp_path)!r}), 'dead', 'both', info, time_reference=0, description='')\n"
        "files.write(np.zeros((2, 100_000), np.float32), np.zeros((2, 100_000), np.float32))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=False)
    assert len(list(tmp_path.glob(f"dead*{PART}"))) == 2
    with stems(tmp_path, "alive") as files:
        assert list(tmp_path.glob(f"dead*{PART}")) == []
        assert remove_dead_parts(tmp_path) == []
        files.write(noise(), noise())
        files.publish({"result_key": "a"})
    assert len(list(tmp_path.glob("alive.*"))) == 3


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StembridgeError, match="cannot be written") as caught:
        stems(tmp_path / "file" / "out")
    assert caught.value.code == "output_not_writable"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(StembridgeError) as caught, stems(tmp_path) as files:
        # The writer's own descriptor now leads to a device that is always full.
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, files._writers["target"]._file.fileno())
        os.close(full)
        files.write(noise(100_000), noise(100_000))
    assert caught.value.code == "disk_full"
    assert list(tmp_path.iterdir()) == []


@given(source=st.text(min_size=1, max_size=300), prompt=st.text(max_size=1_000))
def test_names_are_plain_file_names(source: str, prompt: str) -> None:
    name = stem_name(Path(source.replace("/", "") or "x"), prompt)
    assert 0 < len(name.encode("utf-8", "surrogatepass")) <= 200
    assert "/" not in name
    assert "\\" not in name.removeprefix(Path(source.replace("/", "") or "x").stem)


def test_names_read_well() -> None:
    assert stem_name(Path("My Song.wav"), "lead vocals") == "My Song.lead vocals"
    assert stem_name(Path("Lied.flac"), "Flöte/oboe: 'solo'") == "Lied.Flöte oboe 'solo'"
    assert stem_name(Path("a.wav"), "") == "a.span"
    assert stem_name(Path("aux.wav"), "vocals") == "_aux.vocals"
