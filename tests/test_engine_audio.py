"""Reading: every format, any block size, the right samples; and a clear refusal of everything else."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from engine import SeparationRequest, Span, StembridgeError
from engine.audio import Source, SourceInfo, inspect, resolve, sample_at

MakeFile = Callable[..., Path]
RATES = (8_000, 44_100, 48_000, 88_200, 96_000, 192_000)


def read(paths: tuple[Path, ...], start: int, end: int, size: int = 1 << 16) -> np.ndarray:
    with Source(paths) as source:
        return np.concatenate(list(source.blocks(start, end, size)), axis=1)


@pytest.mark.parametrize(
    ("name", "subtype", "tolerance"),
    [
        ("a.wav", "PCM_16", 2**-15),
        ("a.wav", "PCM_24", 2**-23),
        ("a.wav", "PCM_32", 2**-24),
        ("a.wav", "FLOAT", 0),
        ("a.wav", "DOUBLE", 0),
        ("a.aiff", "PCM_24", 2**-23),
        ("a.flac", "PCM_24", 2**-23),
        ("a.rf64", "FLOAT", 0),
    ],
)
def test_formats_read_as_written(mixture_file: MakeFile, name: str, subtype: str, tolerance: float) -> None:
    reference = soundfile.read(mixture_file(0.5, name="reference.wav"), dtype="float32", always_2d=True)[0].T
    path = mixture_file(0.5, name=name, subtype=subtype)
    assert np.abs(read((path,), 0, reference.shape[1]) - reference).max() <= tolerance


@pytest.mark.parametrize(("name", "subtype"), [("a.ogg", "VORBIS"), ("a.mp3", "MPEG_LAYER_III")])
def test_lossy_formats_seek_to_the_sample(mixture_file: MakeFile, name: str, subtype: str) -> None:
    path = mixture_file(2.0, name=name, subtype=subtype)
    whole = read((path,), 0, inspect((path,)).samples)
    assert np.abs(read((path,), 30_011, 50_000) - whole[:, 30_011:50_000]).max() <= 1e-4


@given(size=st.integers(1, 5_000), start=st.integers(0, 2_000), n=st.integers(1, 2_000))
def test_block_size_does_not_matter(tmp_path_factory: pytest.TempPathFactory, size: int, start: int, n: int) -> None:
    path = tmp_path_factory.getbasetemp() / "blocks.wav"
    if not path.exists():
        soundfile.write(path, np.arange(8_000, dtype=np.float32).reshape(-1, 2) / 8_192, 8_000, subtype="FLOAT")
    samples = read((path,), start, start + n, size)
    assert np.array_equal(samples[0] * 4_096, np.arange(start, start + n, dtype=np.float32))


def test_mono_files_stack_as_channels(mixture_file: MakeFile, tmp_path: Path) -> None:
    stereo = soundfile.read(mixture_file(0.2), dtype="float32")[0]
    sides = []
    for i, side in enumerate(("L", "R")):
        sides.append(tmp_path / f"take%{side}.wav")
        soundfile.write(sides[-1], stereo[:, i], 44_100, subtype="FLOAT")
    assert np.array_equal(read(tuple(sides), 0, len(stereo)), stereo.T)
    other = mixture_file(0.3, channels=1, name="other.wav")
    with pytest.raises(StembridgeError, match="differ in rate or length") as caught:
        inspect((sides[0], other))
    assert caught.value.code == "bad_source"


def write_bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda p, f: p / "nowhere.wav", "file_not_found"),
        (lambda p, f: p, "file_unreadable"),
        (lambda p, f: Path("/dev/zero"), "file_unreadable"),
        (lambda p, f: write_bytes(p / "zero.wav", b""), "empty_audio"),
        (lambda p, f: write_bytes(p / "text.wav", b"not audio at all" * 100), "not_audio"),
        (lambda p, f: write_bytes(p / "head.wav", f(0.1).read_bytes()[:20]), "not_audio"),
        (lambda p, f: f(0, name="no_samples.wav"), "empty_audio"),
        (lambda p, f: write_bytes(p / "\x07.wav", b"RIFF"), "not_audio"),
        (lambda p, f: f(0.1, sample_rate=4_000), "bad_source"),
    ],
)
def test_bad_files_are_refused(
    tmp_path: Path, mixture_file: MakeFile, make: Callable[[Path, MakeFile], Path], code: str
) -> None:
    path = make(tmp_path, mixture_file)
    with pytest.raises(StembridgeError) as caught:
        inspect((path,))
    assert caught.value.code == code
    assert path.name in str(caught.value)
    assert caught.value.remedy


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps permissions otherwise")
def test_a_file_without_permission_is_unreadable(mixture_file: MakeFile) -> None:
    path = mixture_file(0.1)
    path.chmod(0)
    me = os.geteuid()
    if me == 0:
        os.seteuid(65_534)  # the superuser reads every file: ask as nobody
    try:
        with pytest.raises(StembridgeError) as caught:
            inspect((path,))
    finally:
        os.seteuid(me)
    assert caught.value.code == "file_unreadable"


def test_a_truncated_flac_says_where_it_ends(mixture_file: MakeFile) -> None:
    path = mixture_file(2.0, name="cut.flac", subtype="PCM_16")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(StembridgeError) as caught:
        read((path,), 0, 88_200)
    assert caught.value.code == "not_audio"


def test_a_truncated_wav_is_not_taken_for_a_short_one(mixture_file: MakeFile) -> None:
    path = mixture_file(2.0, subtype="PCM_16")
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(StembridgeError, match=r"truncated: \d+ bytes") as caught:
        inspect((path,))
    assert caught.value.code == "not_audio"


def test_a_recording_whose_header_was_never_finished_is_read(mixture_file: MakeFile) -> None:
    path = mixture_file(0.5, subtype="PCM_16")
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert inspect((path,)).samples == 22_050


@pytest.mark.skipif(os.name == "nt", reason="file names are Unicode there")
def test_a_file_name_need_not_be_unicode(mixture_file: MakeFile) -> None:
    path = mixture_file(0.1)
    odd = Path(os.fsdecode(os.fsencode(path.parent) + b"/bad\xff.wav"))
    path.rename(odd)
    assert inspect((odd,)).samples == 4_410


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_named_with_their_time(tmp_path: Path, bad: float) -> None:
    samples = np.zeros((44_100, 2), np.float32)
    samples[22_050, 1] = bad
    path = tmp_path / "bad.wav"
    soundfile.write(path, samples, 44_100, subtype="FLOAT")
    with pytest.raises(StembridgeError, match=r"0\.500 s") as caught:
        read((path,), 0, 44_100)
    assert caught.value.code == "bad_samples"
    assert read((path,), 0, 22_050).shape == (2, 22_050)


@given(sample=st.integers(0, 2**40), rate=st.sampled_from(RATES))
def test_samples_survive_seconds(sample: int, rate: int) -> None:
    assert sample_at(sample / rate, rate) == sample


def request(tmp_path: Path = Path("out"), **fields: object) -> SeparationRequest:
    return SeparationRequest((Path("a.wav"),), "vocals", tmp_path, **fields)  # type: ignore[arg-type]


INFO = SourceInfo((Path("a.wav"),), 48_000, 2, 480_000, ("WAV/FLOAT",))


def test_context_is_cut_at_the_items_ends() -> None:
    region = resolve(request(start_s=3.0, end_s=4.0), INFO)
    assert (region.read_start, region.start, region.end, region.read_end) == (0, 144_000, 192_000, 432_000)
    region = resolve(request(start_s=3.0, end_s=4.0, item_start_s=2.5, item_end_s=4.0), INFO)
    assert (region.read_start, region.read_end) == (120_000, 192_000)
    region = resolve(request(), INFO)
    assert (region.read_start, region.start, region.end, region.read_end) == (0, 0, 480_000, 480_000)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"start_s": 10.0}, "bad_region"),
        ({"start_s": 9.0, "end_s": 10.1}, "bad_region"),
        ({"start_s": 1.0, "end_s": 1.000001}, "bad_region"),
        ({"start_s": 1.0, "end_s": 3.0, "item_start_s": 2.0}, "bad_region"),
        ({"start_s": 1.0, "end_s": 2.0, "context_s": 1.0, "spans": (Span("+", 5.0, 6.0),)}, "bad_span"),
    ],
)
def test_regions_and_spans_outside_the_file_are_refused(fields: dict[str, object], code: str) -> None:
    with pytest.raises(StembridgeError) as caught:
        resolve(request(**fields), INFO)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"start_s": 2.0, "end_s": 1.0}, "bad_region"),
        ({"start_s": 1.0, "end_s": 1.0}, "bad_region"),
        ({"start_s": -1.0}, "bad_region"),
        ({"start_s": float("nan")}, "bad_region"),
        ({"end_s": float("inf")}, "bad_region"),
        ({"context_s": -1.0}, "bad_value"),
        ({"keep": "all"}, "bad_value"),
        ({"quality": "good"}, "bad_value"),
        ({"nfe": 0}, "bad_value"),
        ({"seed": -1}, "bad_value"),
        ({"name": "../up"}, "bad_value"),
        ({"name": ".."}, "bad_value"),
        ({"position_s": -0.1}, "bad_value"),
        ({"position_s": 1e300}, "bad_value"),
        ({"end_s": 1e300}, "bad_region"),
        ({"name": "CON"}, "bad_value"),
        ({"name": "あ" * 70}, "bad_value"),
    ],
)
def test_requests_check_themselves(fields: dict[str, object], code: str) -> None:
    with pytest.raises(StembridgeError) as caught:
        request(**fields)
    assert caught.value.code == code
    assert caught.value.remedy


@pytest.mark.parametrize(("prompt", "code"), [("", "no_prompt"), ("x" * 10_000, "bad_prompt"), ("a\nb", "bad_prompt")])
def test_prompts_are_checked(prompt: str, code: str) -> None:
    with pytest.raises(StembridgeError) as caught:
        SeparationRequest((Path("a.wav"),), prompt, Path("out"))
    assert caught.value.code == code


def test_a_request_survives_the_journal() -> None:
    made = request(start_s=0.1, end_s=0.2, spans=(Span("+", 0.1, 0.15), Span("-", 0.15, 0.2)), position_s=12.5, seed=7)
    assert SeparationRequest.from_dict(made.to_dict()) == made
    with pytest.raises(StembridgeError) as caught:
        SeparationRequest.from_dict(made.to_dict() | {"startt": 1})
    assert caught.value.code == "unknown_key"
