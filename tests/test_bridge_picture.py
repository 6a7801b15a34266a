"""The picture: a PNG of a README's size, the spans in it, the right frequencies, bounded memory, clear failures."""

import tracemalloc

import numpy as np
import pytest

from bridge import picture
from bridge.picture import HEIGHT_PX, HIGH_HZ, LOW_HZ, N_COLUMNS, N_ROWS, WIDTH_PX, draw, spectrogram_db
from engine.errors import StembridgeError
from engine.request import Span

pytest.importorskip("matplotlib", reason="the picture needs matplotlib (pip install 'stembridge[plots]')")
RATE = 44_100


def stems(seconds=2.0, rate=RATE):
    rng = np.random.default_rng(1)
    at = np.arange(round(seconds * rate)) / rate
    target = 0.3 * np.stack([np.sin(2 * np.pi * 440 * at)] * 2).astype(np.float32)
    residual = 0.1 * rng.standard_normal(target.shape).astype(np.float32)
    return target + residual, target, residual


def test_it_is_a_png_of_the_promised_size_and_weight(tmp_path):
    from PIL import Image

    path = draw(*stems(), RATE, [Span("+", 0.5, 1.5)], "vocals", tmp_path / "new" / "picture.png")
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.size == (WIDTH_PX, HEIGHT_PX)
        assert len(image.convert("RGB").getcolors(1 << 16)) > 50
    assert path.stat().st_size <= 400_000
    assert [item.name for item in path.parent.iterdir()] == ["picture.png"], "nothing lies beside it"


def test_every_span_is_marked_on_every_waveform():
    spans = (Span("+", 0.5, 1.25), Span("-", 1.5, 1.75))
    figure = picture._figure(stems(), RATE, spans, "vocals")
    for axes in figure.axes[::2]:
        marked = [patch for patch in axes.patches if patch.get_gid() == "span"]
        assert [(p.get_x(), round(p.get_x() + p.get_width(), 6)) for p in marked] == [(0.5, 1.25), (1.5, 1.75)]
    words = {text.get_text() for text in figure.axes[0].texts}
    assert {picture.SPAN_WORDS["+"], picture.SPAN_WORDS["-"]} <= words


def test_the_span_can_be_seen_in_the_pixels(tmp_path):
    from PIL import Image

    with Image.open(draw(*stems(), RATE, [Span("+", 0.5, 1.5)], "vocals", tmp_path / "picture.png")) as image:
        shown = np.asarray(image.convert("RGB")).astype(int)
    tint = 255 + 0.16 * (np.array([0x00, 0x9E, 0x73]) - 255)
    tinted = np.abs(shown - tint).max(axis=2) < 8
    columns = np.flatnonzero(tinted.sum(axis=0) > 100)
    left, right = 0.068 * WIDTH_PX, 0.985 * WIDTH_PX
    at_s = (columns - left) / (right - left) * 2.0
    assert at_s.min() == pytest.approx(0.5, abs=0.02)
    assert at_s.max() == pytest.approx(1.5, abs=0.02)


@pytest.mark.parametrize("rate", [8_000, 44_100, 192_000])
@pytest.mark.parametrize("tone_hz", [100, 1_000, 3_000])
def test_a_tone_lights_its_own_row_at_its_own_level(rate, tone_hz):
    tone = 0.5 * np.sin(2 * np.pi * tone_hz * np.arange(rate) / rate)[np.newaxis]
    shown = spectrogram_db(tone, rate)
    assert shown.shape == (N_ROWS, min(N_COLUMNS, rate))
    middle = shown[:, shown.shape[1] // 2]
    row_hz = LOW_HZ * (min(HIGH_HZ, rate / 2) / LOW_HZ) ** ((np.argmax(middle) + 0.5) / N_ROWS)
    assert row_hz == pytest.approx(tone_hz, rel=0.08)
    assert middle.max() == pytest.approx(20 * np.log10(0.5), abs=1.6)


def test_a_long_input_needs_no_more_memory_than_a_short_one():
    def peak_bytes(seconds):
        one = np.zeros((1, round(seconds * RATE)), dtype=np.float32)
        tracemalloc.start()
        try:
            picture._figure((one, one, one), RATE, (), "silence")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak_bytes(1)  # what importing the library takes
    assert peak_bytes(200) <= 1.2 * peak_bytes(2)


def test_silence_and_one_sample_can_be_drawn(tmp_path):
    for n_samples in (1, 100):
        silent = np.zeros((2, n_samples), dtype=np.float32)
        assert draw(silent, silent, silent, RATE, [], "nothing", tmp_path / "picture.png").is_file()


def test_shapes_that_differ_are_refused(tmp_path):
    mixture, target, residual = stems(0.1)
    with pytest.raises(ValueError, match="shapes"):
        draw(mixture, target[:, :-1], residual, RATE, [], "vocals", tmp_path / "picture.png")


def test_without_matplotlib_the_error_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(picture, "find_spec", lambda name: None)
    with pytest.raises(StembridgeError, match=r"pip install 'stembridge\[plots\]'") as caught:
        draw(*stems(0.1), RATE, [], "vocals", tmp_path / "picture.png")
    assert caught.value.code == "runtime_missing"


def test_a_folder_that_is_a_file_is_reported_and_nothing_is_left(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(StembridgeError) as caught:
        draw(*stems(0.1), RATE, [], "vocals", tmp_path / "taken" / "picture.png")
    assert caught.value.code == "output_not_writable"
    assert [item.name for item in tmp_path.iterdir()] == ["taken"]
