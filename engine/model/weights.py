"""From an official folder (config.json, checkpoint.pt) to a bundle of ours, and from the bundle to a network.

The checkpoint is mapped, not read, and tensors are converted and written one at a time, so an import needs little
more memory than the part of the file it keeps. Nothing of the checkpoint is executed: it is loaded as weights only.
"""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from engine.bundle import MANIFEST, SCHEMA, Bundle
from engine.errors import StembridgeError
from engine.model.config import SAMPLE_RATE, TEXT_TOKENS, Sizes, SpectralSizes
from engine.model.convert import Named, convert_codec, convert_dit, convert_watermark
from engine.model.derive import check_config, sizes_of
from engine.model.network import Network, Precision, assemble
from engine.model.official import VISION, Fate, check_keys, corrupt
from engine.model.releases import LICENCE
from engine.model.tensor_file import Written, write_tensors

CHECKPOINT: Final = "checkpoint.pt"
CONFIG: Final = "config.json"
VISION_FILE: Final = "vision.safetensors"
_MAX_POSITIONS: Final = 10_000
"""Where config.json does not say: the reference's default."""
_DTYPES: Final = (torch.float32, torch.float16, torch.bfloat16)

Step = Callable[[float], None]
"""Called with the fraction done; what it raises ends the import and leaves nothing."""


def import_folder(folder: Path, out: Path, *, name: str, title: str = "SAM Audio", step: Step = lambda f: None) -> Path:
    """Import an official folder as the bundle `out`, which appears whole or not at all.

    Raises `StembridgeError`: `model_missing` without the files, `model_corrupt` when they are damaged, hold code, or
    are of another network (naming what), `output_not_writable` when `out` exists or cannot be written, `disk_full`.
    """
    config = read_config(folder / CONFIG)
    official = read_checkpoint(folder / CHECKPOINT)
    shapes = {key: tuple(tensor.shape) for key, tensor in official.items()}
    said = config.get("transformer")
    positions = said.get("max_positions", _MAX_POSITIONS) if isinstance(said, Mapping) else _MAX_POSITIONS
    if not isinstance(positions, int) or positions < 1:
        raise corrupt(f"config.json says transformer.max_positions is {positions!r}")
    sizes = sizes_of(shapes, positions)
    fates = check_keys(shapes, sizes)
    check_config(config, sizes)
    own = isinstance(sizes.codec, SpectralSizes)  # no released model has this codec: its folder says whose it is
    if out.exists():
        raise StembridgeError(
            "output_not_writable", f"{out} exists already.", "Choose another name, or remove the model first."
        )
    part = out.with_name(f"{out.name}.part-{os.getpid()}")
    try:
        part.mkdir(parents=True)
        files = _write_files(part, official, sizes, fates, step)
        facts = {
            "schema": SCHEMA,
            "name": name,
            "kind": "flow",
            "title": str(config.get("title", title)) if own else title,
            "version": "1",
            "licence": str(config.get("licence", "unknown")) if own else LICENCE,
            "files": {file: {"sha256": done.sha256, "bytes": done.n_bytes} for file, done in files.items()},
            "sample_rate": SAMPLE_RATE,
            "text_tokens": TEXT_TOKENS,
            "sizes": sizes.to_dict(),
            "imported": {
                "checkpoint_bytes": (folder / CHECKPOINT).stat().st_size,
                "keys": dict(sorted(Counter(fates.values()).items())),
            },
        }
        (part / MANIFEST).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        part.rename(out)
    except OSError as e:
        code = "disk_full" if e.errno == errno.ENOSPC else "output_not_writable"
        raise StembridgeError(
            code, f"The model cannot be written to {out}: {e.strerror or e}.", "Free space, or choose another folder."
        ) from e
    finally:
        shutil.rmtree(part, ignore_errors=True)
    step(1.0)
    return out


def _write_files(
    part: Path, official: Mapping[str, Tensor], sizes: Sizes, fates: Mapping[str, Fate], step: Step
) -> dict[str, Written]:
    """Write every file of the bundle but the manifest; `{file name: what was written}`."""
    plans: dict[str, Callable[[Mapping[str, Tensor]], Named]] = {
        "dit.safetensors": lambda weights: convert_dit(weights, sizes.dit),
        "codec.safetensors": lambda weights: convert_codec(weights, sizes.codec),
    }
    watermark = sizes.watermark
    if watermark is not None:
        plans["watermark.safetensors"] = lambda weights: convert_watermark(weights, watermark)
    apart = [key for key, fate in fates.items() if fate is Fate.APART]
    if apart:
        plans[VISION_FILE] = lambda weights: ((key.removeprefix(VISION), weights[key]) for key in apart)
    # on the meta device the conversion costs nothing and tells every name and shape before the first byte is written
    outline = {key: tensor.to("meta") for key, tensor in official.items()}
    shapes = {file: {key: tuple(tensor.shape) for key, tensor in plan(outline)} for file, plan in plans.items()}
    n_values = sum(torch.Size(shape).numel() for of_file in shapes.values() for shape in of_file.values())
    free = shutil.disk_usage(part).free
    if free < 4 * n_values:
        raise OSError(errno.ENOSPC, f"{4 * n_values / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free")
    done = 0

    def watched(tensors: Named) -> Iterator[tuple[str, Tensor]]:
        nonlocal done
        for key, tensor in tensors:
            if not bool(torch.isfinite(tensor).all()):
                raise corrupt(f"{key} holds values that are not finite")
            yield key, tensor
            done += tensor.numel()
            step(done / n_values)

    return {file: write_tensors(part / file, shapes[file], watched(plan(official))) for file, plan in plans.items()}


def read_config(path: Path) -> dict[str, Any]:
    """An official config.json. Raises `StembridgeError`: `model_missing`, `model_corrupt`."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise _missing(path, e) from e
    except ValueError as e:
        raise corrupt(f"{path} is not JSON ({e})") from e
    if not isinstance(config, dict):
        raise corrupt(f"{path} is not a JSON object")
    return config


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The state dict of a checkpoint.pt, mapped into memory.

    Raises `StembridgeError`: `model_missing` without the file, `model_corrupt` when it is truncated, is not a torch
    file, holds anything but tensors (code is never run), or tensors that are not floating-point.
    """
    try:
        path.stat()
        loaded = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except OSError as e:
        raise _missing(path, e) from e
    except pickle.UnpicklingError as e:
        raise corrupt(f"{path} holds something else than weights, which is not loaded ({_first_line(e)})") from e
    except (RuntimeError, ValueError, EOFError, KeyError, AttributeError, TypeError, IndexError) as e:
        raise corrupt(f"{path} is damaged or not a torch checkpoint ({_first_line(e)})") from e
    if not isinstance(loaded, dict) or not loaded:
        raise corrupt(f"{path} holds {type(loaded).__name__}, not a state dict")
    for key, tensor in loaded.items():
        if not isinstance(key, str) or not isinstance(tensor, Tensor):
            raise corrupt(f"{path} holds {key!r}: {type(tensor).__name__}; a flat dict of tensors is expected")
        if tensor.dtype not in _DTYPES:
            raise corrupt(f"{key} is {tensor.dtype}, not floating-point")
    return dict(loaded)


def load_network(bundle: Bundle, *, device: str = "cpu", precision: Precision = "fp32") -> Network:
    """The network of a bundle that `import_folder` made; float32 weights on the CPU stay mapped to the files.

    Raises `StembridgeError`: `model_missing` and `model_corrupt`, as `Bundle.path` does and when the files do not
    hold what the manifest says.
    """
    try:
        sizes = Sizes.from_dict(bundle.facts["sizes"])
    except (KeyError, TypeError, ValueError) as e:
        raise _unlike(bundle, f"its manifest has no usable sizes ({e!r})") from e
    tensors: dict[str, Tensor] = {}
    for file in bundle.files:
        if file == VISION_FILE:
            continue
        try:
            with safe_open(bundle.path(file), framework="pt") as opened:
                for key in opened.keys():  # noqa: SIM118  not a dict: it does not iterate
                    tensors[f"{Path(file).stem}.{key}"] = opened.get_tensor(key)
        except SafetensorError as e:
            raise _unlike(bundle, f"{file} cannot be read ({e})") from e
    return assemble(sizes, tensors, device=device, precision=precision)


def _unlike(bundle: Bundle, what: str) -> StembridgeError:
    return StembridgeError(
        "model_corrupt", f"The model {bundle.name} cannot be loaded: {what}.", "Import the model again."
    )


def _missing(path: Path, error: OSError) -> StembridgeError:
    return StembridgeError(
        "model_missing",
        f"{path} cannot be read: {error.strerror or error}.",
        f"Name a folder that holds {CONFIG} and {CHECKPOINT}.",
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
