"""One picture of one separation: waveforms and spectrograms of mixture, target and residual over the same seconds."""

from __future__ import annotations

import io
import secrets
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import StembridgeError
from engine.request import Span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_PX: Final = 1_280
HEIGHT_PX: Final = 1_120
DPI: Final = 100
N_COLUMNS: Final = 1_000
"""Columns in time. A longer input is looked at in as many places, so the work and the memory stay the same."""
N_ROWS: Final = 220
WINDOW_S: Final = 0.08
"""Long enough to part the notes of a voice, short enough to show its vibrato."""
LOW_HZ: Final = 60.0
HIGH_HZ: Final = 16_000.0
RANGE_DB: Final = 75.0
N_COLOURS: Final = 128
"""Of the file's palette: more cannot be seen, and fewer make a picture a README can carry."""

TOP: Final = 0.95
BOTTOM: Final = 0.052
GAP: Final = 0.03
"""Above each stem's waveform, for its name; of the picture's height, like the two above."""

INK: Final = "#1f2328"
FAINT: Final = "#6e7781"
SPAN_COLOUR: Final = {"+": "#009e73", "-": "#cc79a7"}
SPAN_WORDS: Final = {"+": "span: it is here", "-": "span: it is not here"}
STEMS: Final = (
    ("Mixture", "what went in", "#57606a"),
    ("Target", "what the prompt names", "#0072b2"),
    ("Residual", "mixture − target", "#d55e00"),
)
"""Name, words, colour. The colours are Okabe and Ito's, which stay apart for every kind of colour vision."""

Audio = NDArray[np.floating]


def draw(
    mixture: Audio,
    target: Audio,
    residual: Audio,
    sample_rate: int,
    spans: Iterable[Span],
    title: str,
    path: Path,
) -> Path:
    """Write the picture as a PNG to `path` and return `path`; it appears whole or not at all.

    The audio is (channel, sample), all three of one shape; span times count in seconds from its first sample.
    Raises `StembridgeError`: `runtime_missing` without matplotlib, `output_not_writable`. Raises `ValueError` for
    shapes that differ.
    """
    if find_spec("matplotlib") is None:
        raise StembridgeError(
            "runtime_missing",
            "Drawing needs matplotlib, which is not installed.",
            "Run: pip install 'stembridge[plots]'",
        )
    figure = _figure((mixture, target, residual), sample_rate, tuple(spans), title)
    _save(figure, path)
    return path


def _figure(stems: Sequence[Audio], sample_rate: int, spans: Sequence[Span], title: str) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if len({stem.shape for stem in stems}) != 1 or stems[0].shape[1] == 0:
        raise ValueError(f"shapes differ or are empty: {[stem.shape for stem in stems]}")
    length_s = stems[0].shape[1] / sample_rate
    figure = Figure(figsize=(WIDTH_PX / DPI, HEIGHT_PX / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(
        6,
        1,
        sharex=True,
        gridspec_kw={
            "height_ratios": [1.0, 2.3] * 3,
            "hspace": 0.0,
            "left": 0.068,
            "right": 0.985,
            "top": TOP,
            "bottom": BOTTOM,
        },
    )
    peak = max(float(stems[0].max()), -float(stems[0].min()), 1e-9)
    pictures = [spectrogram_db(stem, sample_rate) for stem in stems]
    top_db = float(pictures[0].max())
    for row, (name, words, colour) in enumerate(STEMS):
        wave, spectrum = axes[2 * row], axes[2 * row + 1]
        _part_rows(wave, spectrum, row)
        _draw_wave(wave, stems[row], length_s, peak, colour)
        _draw_spectrum(spectrum, pictures[row], length_s, top_db, sample_rate)
        wave.text(0, 1.06, name, transform=wave.transAxes, color=colour, size=15, weight="bold", va="bottom")
        wave.text(0.098, 1.07, words, transform=wave.transAxes, color=FAINT, size=12, va="bottom")
        for span in spans:
            _draw_span(wave, spectrum, span, labelled=row == 0)
    axes[-1].set_xlabel("seconds", color=INK, size=12)
    axes[-1].set_xlim(0, length_s)
    figure.text(0.068, 0.979, title, color=INK, size=17, weight="bold", va="center")
    return figure


def spectrogram_db(audio: Audio, sample_rate: int) -> NDArray[np.float32]:
    """Power in dB as (row, column): rows spaced by equal musical intervals from `LOW_HZ` up, columns by equal times.

    Channels are added up in power. At most `N_COLUMNS` windows are transformed, however long the audio is.
    """
    n_window = 1 << int(np.ceil(np.log2(WINDOW_S * sample_rate)))
    n_samples = audio.shape[1]
    centres = np.linspace(0, n_samples - 1, min(N_COLUMNS, max(2, n_samples))).astype(np.int64)
    shape = np.hanning(n_window)
    shape /= shape.sum() / 2  # a full-scale sine is 0 dB
    edges_hz = np.geomspace(LOW_HZ, min(HIGH_HZ, sample_rate / 2), N_ROWS + 1)
    edges = edges_hz / sample_rate * n_window
    columns = np.empty((N_ROWS, len(centres)), dtype=np.float32)
    for column, centre in enumerate(centres):
        window = np.zeros((audio.shape[0], n_window))
        low, high = centre - n_window // 2, centre + n_window // 2
        inside = audio[:, max(low, 0) : min(high, n_samples)]
        window[:, max(-low, 0) : max(-low, 0) + inside.shape[1]] = inside
        power = np.sum(np.abs(np.fft.rfft(window * shape)) ** 2, axis=0) / audio.shape[0]
        columns[:, column] = _in_rows(power, edges)
    return np.asarray(10 * np.log10(columns + 1e-12), dtype=np.float32)


def _in_rows(power: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """The loudest bin of each row; between bins where rows are narrower than they are, interpolated."""
    middles = np.interp((edges[:-1] + edges[1:]) / 2, np.arange(len(power)), power)
    starts = np.minimum(np.ceil(edges[:-1]).astype(int), len(power) - 1)
    wide = np.floor(edges[1:]) >= np.ceil(edges[:-1])
    loudest = np.maximum.reduceat(power, starts)
    return np.where(wide, np.maximum(loudest, middles), middles)


def _draw_wave(axes: Axes, audio: Audio, length_s: float, peak: float, colour: str) -> None:
    """The lowest and highest sample of each column, over all channels."""
    n_columns = min(N_COLUMNS, audio.shape[1])
    starts = np.linspace(0, audio.shape[1], n_columns, endpoint=False).astype(np.int64)
    low = np.minimum.reduceat(audio, starts, axis=1).min(axis=0)
    high = np.maximum.reduceat(audio, starts, axis=1).max(axis=0)
    seconds = starts * (length_s / audio.shape[1])
    axes.fill_between(seconds, low / peak, high / peak, color=colour, linewidth=0.4, step="post")
    axes.axhline(0, color=colour, linewidth=0.5)
    axes.set_ylim(-1.08, 1.08)
    axes.set_yticks([])
    axes.tick_params(axis="x", length=0)
    for side in ("left", "right", "top", "bottom"):
        axes.spines[side].set_visible(False)


def _draw_spectrum(axes: Axes, picture: NDArray[np.float32], length_s: float, top_db: float, sample_rate: int) -> None:
    rows = picture.shape[0]
    axes.imshow(
        picture,
        cmap="magma",
        vmin=top_db - RANGE_DB,
        vmax=top_db - 3,
        aspect="auto",
        origin="lower",
        extent=(0, length_s, 0, rows),
        interpolation="bilinear",
    )
    highest_hz = min(HIGH_HZ, sample_rate / 2)
    marks = [hz for hz in (100, 1_000, 10_000) if LOW_HZ < hz < highest_hz]
    axes.set_yticks([rows * np.log(hz / LOW_HZ) / np.log(highest_hz / LOW_HZ) for hz in marks])
    axes.set_yticklabels([f"{hz} Hz" if hz < 1_000 else f"{hz // 1_000} kHz" for hz in marks], color=INK, size=11)
    axes.tick_params(axis="x", labelsize=11, labelcolor=INK, color=FAINT, length=0)
    axes.tick_params(axis="y", color=FAINT)
    for side in ("left", "right", "top", "bottom"):
        axes.spines[side].set_visible(False)


def _draw_span(wave: Axes, spectrum: Axes, span: Span, *, labelled: bool) -> None:
    colour = SPAN_COLOUR[span.sign]
    wave.axvspan(span.start_s, span.end_s, color=colour, alpha=0.16, linewidth=0, zorder=0, gid="span")
    for edge_s in (span.start_s, span.end_s):
        wave.axvline(edge_s, color=colour, linewidth=1.6)
        spectrum.axvline(edge_s, color="white", linewidth=1.2, linestyle=(0, (4, 3)), alpha=0.9)
    if labelled:
        top = wave.get_xaxis_transform()
        wave.plot((span.start_s, span.end_s), (1.0, 1.0), color=colour, linewidth=4, transform=top, clip_on=False)
        wave.text(
            (span.start_s + span.end_s) / 2,
            1.07,
            SPAN_WORDS[span.sign],
            transform=top,
            color=colour,
            size=12,
            weight="bold",
            ha="center",
            va="bottom",
        )


def _part_rows(wave: Axes, spectrum: Axes, row: int) -> None:
    """Leave room above each stem for its name, none between its waveform and its spectrogram."""
    shrink = 1 - 3 * GAP / (TOP - BOTTOM)
    for axes in (wave, spectrum):
        box = axes.get_position()
        bottom = BOTTOM + (box.y0 - BOTTOM) * shrink + (2 - row) * GAP
        axes.set_position((box.x0, bottom, box.width, box.height * shrink))


def _save(figure: Figure, path: Path) -> None:
    """As a PNG with a palette: a third of the bytes of full colour for a picture of few colours."""
    from PIL import Image

    full = io.BytesIO()
    figure.savefig(full, format="png", dpi=DPI)
    full.seek(0)
    with Image.open(full) as image:
        few = image.convert("RGB").quantize(N_COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        try:
            few.save(beside, format="PNG", optimize=True)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as e:
        raise StembridgeError(
            "output_not_writable", f"The picture {path} cannot be written: {e.strerror}.", "Choose another folder."
        ) from e
