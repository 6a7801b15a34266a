"""What happens to a stem before it is mixed: amplifier and cabinet, equaliser, room, compression."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import signal

from training.ladspa import Rack
from training.synthesis import RATE_HZ, Mono

_PEDALS: Final = 0.2
"""Share of the stems that go through a chorus, a phaser or a plate."""
_ACTIVE_DB: Final = -40.0


def treat(
    stem: Mono, rng: np.random.Generator, *, amp: float = 0.0, dry: float = 0.5, rack: Rack | None = None
) -> Mono:
    """A stem through a random chain, at a level of −20 dBFS RMS where it sounds.

    `dry`: chance of no room. `rack`: the plug-ins of CAPS, which then are most of the amplifiers, and the pedals.
    """
    if amp > 1 or (amp and rng.random() < 0.5):
        drive = amp * float(rng.uniform(0.6, 1.6))
        if rack is not None and rng.random() < 0.7:
            stem = _through_caps(stem, drive, rack, rng)
        else:
            stem = _amplify(stem, drive, rng)
    if rack is not None and rng.random() < _PEDALS:
        stem = _pedal(stem, rack, rng)
    if rng.random() < 0.6:
        stem = _equalise(stem, rng)
    if rng.random() < 0.3:
        drive = rng.uniform(0.5, 2)
        stem = np.tanh(level(stem) * drive * 5) / drive
    if rng.random() > dry:
        stem = _room(stem, rng)
    return level(stem)


def level(stem: Mono) -> Mono:
    """Scale to −20 dBFS RMS over the blocks that sound; silence stays."""
    n = len(stem) // 2048 * 2048
    power = (stem[:n].astype(np.float64) ** 2).reshape(-1, 2048).mean(axis=1)
    if not power.size or power.max() < 1e-10:
        return stem
    loud = power[power > power.max() * 10 ** (_ACTIVE_DB / 10)].mean()
    return np.asarray(stem * (0.1 / np.sqrt(loud)), np.float32)


def _through_caps(stem: Mono, drive: float, rack: Rack, rng: np.random.Generator) -> Mono:
    """A valve amplifier with its tone stack, and a cabinet, of CAPS; what is driven hard has a pedal before it."""
    stem = level(stem) * np.float32(10 ** (rng.uniform(-6, 6) / 20))
    if drive > 2 and rng.random() < 0.5:
        gain_db = 6 + 8 * np.log2(drive)
        stem = rack.run("Saturate", stem, {"mode": float(rng.integers(1, 12)), "gain (dB)": gain_db}) * np.float32(0.2)
    gain = float(np.clip(0.22 * np.log2(drive + 1) + rng.normal(0, 0.08), 0.05, 1))
    knobs = {
        knob: float(rng.uniform(0.1, 0.9)) for knob in ("bright", "power", "bass", "mid", "treble", "squash", "attack")
    }
    amplifier = {
        "over": 1.0,
        "gain": gain,
        "tonestack": float(rng.integers(9)),
        "lowcut": float(rng.uniform(0, 0.7)),
        **knobs,
    }
    loud = rack.run("AmpVTS", stem, amplifier)
    label, n_models = ("CabinetIV", 25) if rng.random() < 0.6 else ("CabinetIII", 17)
    return rack.run(label, loud, {"model": float(rng.integers(n_models))})


def _pedal(stem: Mono, rack: Rack, rng: np.random.Generator) -> Mono:
    """A chorus, a phaser or a plate, slow or fast, a little or much of it."""
    kind = int(rng.integers(3))
    if kind == 0:
        width_ms = float(rng.uniform(0.5, 6))
        blend = {"blend": float(rng.uniform(0.3, 1)), "feedforward": float(rng.uniform(0.3, 1))}
        sway = {"t (ms)": float(rng.uniform(7, 30)), "width (ms)": width_ms, "rate (Hz)": float(rng.uniform(0.1, 3))}
        return rack.run("ChorusI", stem, {**blend, **sway, "feedback": float(rng.uniform(0, 0.4))})
    if kind == 1:
        swing = {name: float(rng.uniform(0.1, 0.9)) for name in ("rate", "depth", "spread", "resonance")}
        return rack.run("PhaserII", stem, swing)
    plate = {name: float(rng.uniform(0.1, 0.9)) for name in ("bandwidth", "tail", "damping")}
    return rack.run("Plate", stem, {**plate, "blend": float(rng.uniform(0.05, 0.4))})


def _amplify(stem: Mono, drive: float, rng: np.random.Generator) -> Mono:
    """High-pass, a soft clipper with an offset, a cabinet that ends near 5 kHz."""
    tight = signal.sosfilt(signal.butter(1, rng.uniform(60, 250), "high", fs=RATE_HZ, output="sos"), level(stem))
    offset = rng.uniform(0, 0.3)
    hot = np.tanh(tight * drive * 4 + offset) - np.tanh(offset)
    cabinet = signal.butter(3, rng.uniform(3500, 6500), fs=RATE_HZ, output="sos")
    out = signal.sosfilt(cabinet, hot)
    return _peak(out, rng.uniform(80, 160), rng.uniform(0, 4)) if rng.random() < 0.7 else out.astype(np.float32)


def _peak(stem: Mono, hz: float, gain_db: float) -> Mono:
    b, a = signal.iirpeak(hz, 1.2, fs=RATE_HZ)
    return np.asarray(stem + (10 ** (gain_db / 20) - 1) * signal.lfilter(b, a, stem), np.float32)


def _equalise(stem: Mono, rng: np.random.Generator) -> Mono:
    out = _peak(stem, float(np.exp(rng.uniform(np.log(100), np.log(8000)))), float(rng.uniform(-8, 8)))
    if rng.random() < 0.25:
        out = signal.sosfilt(signal.butter(1, rng.uniform(2500, 14000), fs=RATE_HZ, output="sos"), out)
    return np.asarray(out, np.float32)


def _room(stem: Mono, rng: np.random.Generator) -> Mono:
    """A decaying noise tail with early echoes; longer at low frequencies."""
    decay_s, wet = rng.uniform(0.1, 1.6), 10 ** (rng.uniform(-22, -5) / 20)
    n = int(min(decay_s * 1.2, 1.5) * RATE_HZ)
    t = np.arange(n) / RATE_HZ
    white = rng.normal(0, 1, n)
    dull = signal.lfilter([0.25], [1, -0.75], white)
    tail = dull * np.exp(-6.9 * t / decay_s) + 0.3 * white * np.exp(-14 * t / decay_s)
    tail[: int(rng.uniform(0.001, 0.03) * RATE_HZ)] = 0
    for _ in range(4):
        tail[int(rng.uniform(0.003, 0.05) * RATE_HZ)] += rng.uniform(-4, 4)
    tail *= wet / max(np.sqrt((tail**2).sum()), 1e-9)
    return np.asarray(stem + signal.oaconvolve(stem, tail)[: len(stem)], np.float32)
