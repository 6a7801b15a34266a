"""REAPER's scripts and the real engine with its embedded model, over the real mailbox."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from growing_engine import growing_engine
from reaper_host import Host
from reaper_project import Source
from test_reaper_scenarios import heard_at, stem_times
from test_reaper_scenarios import install as install_scripts

import engine as engine_package
from bridge import child
from bridge.install import reaper
from bridge.install import scheme as install

EXCERPT = Path(engine_package.__file__).parent / "demo" / "mixture.flac"
NULL_DBFS = -120.0


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    folder = tmp_path_factory.mktemp("desk")
    resource_dir, state_dir = folder / "REAPER", folder / "state"
    resource_dir.mkdir()
    (resource_dir / "reaper.ini").write_text("")
    install.install(reaper.HOST, resource_dir, state_dir / "mailbox")
    with child.engine(folder / "stems", state_dir, roots=[folder]):
        yield folder, resource_dir / reaper.FOLDER


def open_song(folder: Path, scripts: Path, track: str, **values: float) -> Host:
    samples, rate_hz = soundfile.read(EXCERPT, dtype="float32", always_2d=True)
    path = folder / "the song.wav"
    if not path.exists():
        soundfile.write(path, samples, rate_hz, subtype="FLOAT")
    host = Host(scripts, folder / "project")
    host.add_track(track).add(Source(str(path)), 77.7, 4.5, **values)
    host.select(host.tracks[0], range_s=(78.7, 80.7))
    return host


def null_dbfs(host: Host) -> float:
    """How exactly the two stems give what the item gave, in the range that came back."""
    one, other = (track.items[0] for track in host.tracks[1:3])
    source = host.tracks[0].items[0]
    times_s = stem_times(one.takes[0])
    assert len(times_s) > 44_100
    heard = source.takes[0].heard(times_s - source.span[0])
    parts = [heard_at(item, times_s) for item in (one, other)]
    for part in parts:
        assert 0.01 < np.linalg.norm(part) / np.linalg.norm(heard) < 0.9999
    return float(20 * np.log10(max(np.max(np.abs(parts[0] + parts[1] - heard)), 1e-12)))


@pytest.mark.parametrize("playrate", [1.0, 1.25])
def test_a_selection_becomes_a_stem(desk: tuple[Path, Path], playrate: float) -> None:
    host = open_song(*desk, "03_LeadVox (take 2)", D_PLAYRATE=playrate)
    host.press("extract_selection")
    host.settle()
    assert host.messages == []
    assert [track.name for track in host.tracks[1:]] == [
        "03_LeadVox (take 2) · lead vocals",
        "03_LeadVox (take 2) · no lead vocals",
    ]
    assert host.tracks[1].items[0].span == pytest.approx((78.7, 2.0), abs=1e-9)
    for track in host.tracks[1:]:
        assert "takes all voices together" in track.items[0].strings["P_NOTES"]
    assert host.tracks[0].items[0].strings["P_NOTES"] == ""
    assert null_dbfs(host) <= NULL_DBFS


def test_a_nameless_track_is_asked_about_and_the_rest_is_kept(desk: tuple[Path, Path]) -> None:
    host = open_song(*desk, "Audio 3")
    host.answers = [["Audio 3"], ["vocals"]]
    host.press("remove")
    host.settle()
    assert len(host.asked) == 2
    assert [track.name for track in host.tracks[1:]] == ["Audio 3 · no vocals", "Audio 3 · vocals"]
    assert sorted((item.span[0], item.values["B_MUTE"]) for item in host.tracks[0].items) == [
        (77.7, 0),
        (78.7, 1),
        (80.7, 0),
    ]


def test_what_the_model_cannot_do_is_said_in_reaper(desk: tuple[Path, Path]) -> None:
    host = open_song(*desk, "Odd :: ???")
    host.press("extract_selection")
    host.settle()
    (message,) = host.messages
    assert "???" in message
    assert len(host.tracks) == 1


def test_a_file_outside_the_engine_s_folders_is_refused_in_words(desk: tuple[Path, Path]) -> None:
    host = open_song(*desk, "Lead Vox")
    host.tracks[0].items[0].takes[0].source.path = "/usr/share/../../etc/hostname"  # type: ignore[union-attr]
    host.tracks[0].items[0].takes[0].source._audio = soundfile.read(  # type: ignore[union-attr]
        EXCERPT, dtype="float32", always_2d=True
    )
    host.tracks[0].items[0].takes[0].source.__class__ = _Wave
    host.press("extract_selection")
    host.settle()
    (message,) = host.messages
    assert "outside the allowed folders" in message


class _Wave(Source):
    """A file that claims to be a WAV."""

    @property
    def kind(self) -> str:
        return "WAVE"


def test_the_engine_s_drafts_grow_from_the_edit_cursor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripts, _ = install_scripts(tmp_path)
    with growing_engine(tmp_path, monkeypatch) as (_, go_on):
        host = open_song(tmp_path, scripts, "03_LeadVox", D_PLAYRATE=1.0)
        host.select(host.tracks[0].items[0], range_s=(0.0, 0.0))
        host.cursor_s = 77.7 + 3.0
        host.press("extract_items")
        go_on.release()
        host.run_until(lambda: len(host.tracks) == 3, "the first draft")
        item, rest = (track.items[0] for track in host.tracks[1:])
        for begin_s, length_s in ((3.0 - 0.1, 0.4), (3.0 - 0.3, 1.2), (0.0, 4.5)):
            host.run_until(lambda n_s=length_s: item.span[1] == pytest.approx(n_s, abs=1e-9), f"{length_s} s")
            host.run_until(lambda: rest.span == item.span, "the other stem")
            assert item.span == pytest.approx((77.7 + begin_s, length_s), abs=1e-9)
            times_s = stem_times(item.takes[0])
            heard = host.tracks[0].items[0].takes[0].heard(times_s - 77.7)
            np.testing.assert_allclose(heard_at(item, times_s) + heard_at(rest, times_s), heard, atol=1e-6)
            go_on.release()
        host.settle()
    assert host.messages == []
    assert not list(tmp_path.glob("out/**/*.draft*"))
