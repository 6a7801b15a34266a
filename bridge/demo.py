"""The whole main job on the bundled excerpt: an engine, the request a DAW sends, the stems, the figures, a picture."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from bridge import child, picture
from bridge.api.protocol import JobProgress
from bridge.osc.client import Client
from engine.errors import StembridgeError
from engine.metrics import null_db, si_sdr_db
from engine.request import Progress, Span

TRACK: Final = "01_LeadVox (take 2)"
"""The name of the track in the pretended session. It is the only prompt the engine is given."""
MIXTURE: Final = "mixture.flac"
PICTURE: Final = "demo.png"
JOB_LIMIT_S: Final = 300.0

OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class SecondStem:
    """What another prompt, with a span, took from the same mixture."""

    prompt: str
    model: str
    target: Path
    null_db: float
    si_sdr_before_db: float
    si_sdr_after_db: float
    """Of the target against the sound that is known."""

    @property
    def si_sdr_gain_db(self) -> float:
        """How much nearer to the known sound the target is than the mixture was."""
        return self.si_sdr_after_db - self.si_sdr_before_db


@dataclass(frozen=True)
class DemoReport:
    """What the demo left and measured."""

    mixture: Path
    target: Path
    residual: Path
    manifest: Path
    picture: Path | None
    """None where matplotlib is not installed."""
    track: str
    prompt: str
    """What the engine made of the track's name."""
    note: str
    """What the model has to say of its answer."""
    null_db: float
    """Peak of target + residual - mixture as read back from the files, in dBFS; -inf when they sum exactly."""
    si_sdr_before_db: float
    """Of the mixture against the known voice."""
    si_sdr_after_db: float
    """Of the target against the known voice."""
    engine_ready_s: float
    """From the engine's start to its first answer."""
    job_s: float
    """From the request to the finished stems, the model's loading included."""
    second: SecondStem

    @property
    def si_sdr_gain_db(self) -> float:
        """How much nearer to the known voice the target is than the mixture was."""
        return self.si_sdr_after_db - self.si_sdr_before_db


def run_demo(out_dir: Path, on_progress: OnProgress = lambda progress: None) -> DemoReport:
    """Run the demo into `out_dir` with an engine of its own, which is stopped again; an engine you run is left alone.

    Raises `StembridgeError`: what the engine or the picture refuse, `output_not_writable`.
    """
    excerpt = files("engine") / "demo"
    about = json.loads((excerpt / "excerpt.json").read_text(encoding="utf-8"))
    span = Span("+", *about["span_s"])
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        with as_file(excerpt / MIXTURE) as shipped:
            shutil.copyfile(shipped, out_dir / MIXTURE)
    except OSError as e:
        raise StembridgeError(
            "output_not_writable", f"{out_dir} cannot be written: {e.strerror}.", "Choose another folder with --out."
        ) from e
    mixture = out_dir.resolve() / MIXTURE
    fields = {
        "path": str(mixture),
        "track": TRACK,
        "start": 0.0,
        "end": about["samples"] / about["sample_rate"],
        "span+": [[span.start_s, span.end_s]],
        "name": Path(MIXTURE).stem,
    }
    with (
        tempfile.TemporaryDirectory(prefix="stembridge-demo-") as state,
        child.engine(out_dir.resolve(), Path(state), roots=[out_dir.resolve()]) as engine,
        Client(engine.port) as client,
    ):
        began_s = time.monotonic()
        done = _separated(client, fields, lambda progress: on_progress(_part(progress, 0)))
        job_s = time.monotonic() - began_s
        second = about["second"]
        named = {key: fields[key] for key in ("path", "start", "end")} | {"prompt": second["prompt"]}
        named |= {"span+": [second["span_s"]], "name": f"{fields['name']} {second['prompt']}"}
        other = _separated(client, named, lambda progress: on_progress(_part(progress, 1)))
    manifest = json.loads(Path(done.manifest).read_text(encoding="utf-8"))
    return _measured(mixture, done, manifest, span, engine.ready_s, job_s, _second(mixture, second["prompt"], other))


def _separated(client: Client, fields: dict[str, Any], on_progress: OnProgress) -> Any:
    job = client.submit(fields)
    return client.wait(job, on_progress=lambda event: on_progress(_progress(event)), timeout_s=JOB_LIMIT_S)


def _part(progress: Progress, number: int) -> Progress:
    """The progress of one of the two jobs as that of both."""
    return Progress((number + progress.fraction) / 2, progress.stage, progress.eta_s)


def _second(mixture: Path, prompt: str, done: Any) -> SecondStem:
    mixed, taken, rest = (_read(path)[0] for path in (mixture, Path(done.target), Path(done.residual)))
    with as_file(files("engine") / "demo" / f"{prompt}.flac") as known:
        sound = _read(known)[0]
    model = json.loads(Path(done.manifest).read_text(encoding="utf-8"))["model"]["name"]
    null = null_db(taken, rest, mixed)
    return SecondStem(prompt, model, Path(done.target), null, si_sdr_db(mixed, sound), si_sdr_db(taken, sound))


def _measured(
    mixture: Path,
    done: Any,
    manifest: dict[str, Any],
    span: Span,
    ready_s: float,
    job_s: float,
    second: SecondStem,
) -> DemoReport:
    target, residual = Path(done.target), Path(done.residual)
    mixed, rate = _read(mixture)
    taken, rest = _read(target)[0], _read(residual)[0]
    with as_file(files("engine") / "demo" / "voice.flac") as known:
        voice = np.broadcast_to(_read(known)[0], mixed.shape)
    drawn: Path | None = mixture.with_name(PICTURE)
    title = f"Track “{TRACK}” → “{manifest['prompt']}”"
    try:
        picture.draw(mixed, taken, rest, rate, [span], title, mixture.with_name(PICTURE))
    except StembridgeError as e:
        if e.code != "runtime_missing":  # the demo's result is the stems; the picture is an extra
            raise
        drawn = None
    return DemoReport(
        mixture=mixture,
        target=target,
        residual=residual,
        manifest=Path(done.manifest),
        picture=drawn,
        track=TRACK,
        prompt=manifest["prompt"],
        note=manifest["note"],
        null_db=null_db(taken, rest, mixed),
        si_sdr_before_db=si_sdr_db(mixed, voice),
        si_sdr_after_db=si_sdr_db(taken, voice),
        engine_ready_s=ready_s,
        job_s=job_s,
        second=second,
    )


def _progress(event: JobProgress) -> Progress:
    return Progress(event.fraction, event.stage, event.eta_s if event.eta_s >= 0 else None)


def _read(path: Path) -> tuple[NDArray[np.float32], int]:
    audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return audio.T, rate
