"""Models on this machine: fetch, import, describe, remove. The public face of what lies in the models folder."""

from __future__ import annotations

import difflib
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from engine import artefact, hub, models, text_encoder
from engine.bundle import MANIFEST, Bundle, read_bundle
from engine.errors import StembridgeError
from engine.fetch import check_space, fetch, missing_bytes
from engine.flow import model as flow_model
from engine.licences import SAM_LICENCE, require
from engine.masks import two_stems as mask_model
from engine.masks import wording
from engine.model.releases import RELEASES, TEXT_REPOSITORY
from engine.request import Progress

OnProgress = Callable[[Progress], None]
"""What it raises ends the work; nothing half-made stays but bytes that the next fetch goes on from."""
MODEL_FILES: Final = ("config.json", "checkpoint.pt")
UNUSED_BYTES: Final = 1_400_000_000
"""Of a released checkpoint, what an import leaves out: a text tower of 354 M parameters, in float32."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_FETCHED: Final = 0.9
"""The transfer's share of a fetch's progress; the rest is the import."""


@dataclass(frozen=True)
class ModelInfo:
    """A model as `stembridge models list` shows it."""

    bundle: Bundle
    n_bytes: int
    """On disk, without the text encoder that flow models share."""
    knows: str
    """What it can be asked for."""
    text: text_encoder.State
    made: tuple[str, ...]
    """What was made of it on this machine: exports (`onnx-fp32`), and the numbers of evaluations it was tuned to."""
    embedded: bool
    """Ships with Stembridge and cannot be removed."""


def describe() -> list[ModelInfo]:
    """Every model on this machine, by name. Raises `StembridgeError` as `engine.models.installed` does."""
    return [_info(bundle) for _, bundle in sorted(models.installed().items())]


def needs_licence(repository: str) -> bool:
    """Whether fetching it needs `engine.licences.SAM_LICENCE` accepted: everything but the text encoder does."""
    return repository != TEXT_REPOSITORY


def check_name(name: str) -> str:
    """A name for a new model. Raises `StembridgeError`: `bad_value`, `output_not_writable` when it is taken."""
    if _NAME.fullmatch(name) is None or name.endswith(".") or ".part" in name or _is_device(name):
        raise StembridgeError(
            "bad_value",
            f"{name[:80]!r} cannot be a model's name.",
            "Use up to 63 letters, digits, dots, dashes and underscores; the first a letter or digit.",
        )
    if name == models.text_folder().name or (models.EMBEDDED / name / MANIFEST).exists():
        raise StembridgeError("bad_value", f"{name!r} is a name of Stembridge's own.", "Choose another with --name.")
    if (models.models_folder() / name).exists():
        raise StembridgeError(
            "output_not_writable",
            f"There is a model {name!r} already.",
            f"Choose another name with --name, or remove it: stembridge models remove {name}",
        )
    return name


def import_model(
    folder: Path, name: str, *, text_folder: Path | None = None, on_progress: OnProgress = lambda progress: None
) -> ModelInfo:
    """Import an official folder (config.json, checkpoint.pt) as the model `name`; `folder` is only read.

    `text_folder` is copied as the text encoder that all flow models share, unless the same is there already. Nothing
    is left when something is refused. Raises `StembridgeError`: `runtime_missing`, `bad_value`, `output_not_writable`,
    `disk_full`, and `model_missing` or `model_corrupt` saying what is wrong with the files.
    """
    from engine.runtimes.torch_runtime import check_installed

    check_installed()
    from engine.model.text import load_text_encoder
    from engine.model.weights import import_folder

    check_name(name)
    if text_folder is not None:
        load_text_encoder(text_folder)  # refuse what cannot be used before the long work
        text_encoder.check_free(text_folder)
    out = models.models_folder() / name
    import_folder(folder, out, name=name, step=lambda done: on_progress(Progress(done, "importing", None)))
    try:
        bundle = read_bundle(out)
        if text_folder is not None:
            if text_encoder.state_of(bundle, text_folder) == "unfit":
                raise StembridgeError(
                    "model_corrupt",
                    f"The text encoder in {text_folder} is not as wide as this model needs "
                    f"({bundle.facts['sizes']['dit']['text_dim']}).",
                    "Name the folder of the text encoder the model was trained with: t5-base.",
                )
            text_encoder.install(text_folder)
        return _info(bundle)
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise


def fetch_model(
    repository: str,
    *,
    name: str | None = None,
    token: str | None = None,
    on_progress: OnProgress = lambda progress: None,
) -> ModelInfo | None:
    """Fetch a model and the text encoder it needs from the hub, and import it; None for the text encoder alone.

    `repository`: such as `facebook/sam-audio-small`; a released model's own name will do; `t5-base` is the text
    encoder alone. The download lies in the models folder until the import has succeeded, and is then removed; after
    a failure or a stop the next call goes on from it. Raises `StembridgeError`: `licence_not_accepted`, and as
    `engine.hub.look_up`, `engine.fetch.fetch` and `import_model` do.
    """
    repository, name = resolve(repository, name)
    with_model = needs_licence(repository)
    if with_model:
        require(SAM_LICENCE)
        check_name(name)
    hub.check_installed()
    from engine.runtimes.torch_runtime import check_installed

    check_installed()
    cellar = models.models_folder() / ".fetched"
    model_dir, text_dir = cellar / repository.replace("/", "--"), cellar / TEXT_REPOSITORY
    wanted = hub.look_up(repository, MODEL_FILES, token=token) if with_model else []
    with_text = not text_encoder.is_here()
    wanted_text = hub.look_up(TEXT_REPOSITORY, text_encoder.FILES, token=token) if with_text else []
    n_model, n_text = missing_bytes(wanted, model_dir), missing_bytes(wanted_text, text_dir)
    size = sum(remote.n_bytes or 0 for remote in wanted)
    check_space(models.models_folder(), n_model + n_text + max(0, size - UNUSED_BYTES))
    total = size + sum(remote.n_bytes or 0 for remote in wanted_text)
    here: dict[str, int] = {}

    def report(file: str, n_bytes: int) -> None:
        here[file] = n_bytes
        share = _FETCHED if with_model else 1.0
        done = share * min(1.0, sum(here.values()) / total) if total else 0.0
        on_progress(Progress(done, f"fetching {file.rpartition('/')[2]}", None))

    if with_text:
        fetch(wanted_text, text_dir, token=token, on_bytes=lambda file, n: report(f"text/{file}", n))
        text_encoder.install(text_dir, move=True)
        shutil.rmtree(text_dir, ignore_errors=True)
    info = None
    if with_model:
        release = next((r for r in RELEASES.values() if r.repository == repository), None)
        known = {"checkpoint.pt": release.sha256} if release else {}
        fetch(wanted, model_dir, token=token, sha256=known, on_bytes=report)
        share = 1 - _FETCHED
        info = import_model(
            model_dir, name, on_progress=lambda p: on_progress(replace(p, fraction=_FETCHED + share * p.fraction))
        )
        shutil.rmtree(model_dir, ignore_errors=True)
    on_progress(Progress(1.0, "done", 0.0))
    return info


def resolve(repository: str, name: str | None = None) -> tuple[str, str]:
    """The repository and the model's name that a request to fetch means. Raises `StembridgeError` (`unknown_model`)."""
    repository = repository.removeprefix(f"{hub.endpoint()}/").rstrip("/")
    if repository in RELEASES:
        repository = RELEASES[repository].repository
    if repository != TEXT_REPOSITORY and re.fullmatch(r"[\w.-]+/[\w.-]+", repository, re.ASCII) is None:
        raise StembridgeError(
            "unknown_model",
            f"{repository[:80]!r} is no repository of a model.",
            f"Name one such as {', '.join(release.repository for release in RELEASES.values())}.",
        )
    return repository, name or repository.rpartition("/")[2]


def require_known(repository: str, *, token: str | None = None) -> None:
    """That the hub has a repository with a model in it. Of a released one this is known, and the hub is not asked.

    Raises `StembridgeError` (`unknown_model`, and as `engine.hub.look_up` does); nothing where access is denied, which
    only a repository that is there can do.
    """
    if any(release.repository == repository for release in RELEASES.values()):
        return
    try:
        hub.look_up(repository, MODEL_FILES[:1], token=token)
    except StembridgeError as e:
        if e.code != "access_denied":
            raise


def remove_model(name: str) -> int:
    """Remove a model of the user's, or the text encoder (`t5-base`); returns the bytes it took.

    Raises `StembridgeError`: `unknown_model`, `bad_value` for one that ships with Stembridge, `output_not_writable`.
    """
    folder = find_removable(name)
    n_bytes = _n_bytes(folder)
    gone = models.models_folder() / ".removed" / f"{folder.name}-{os.getpid()}"
    try:
        if folder.is_symlink():
            folder.unlink()
        else:
            gone.parent.mkdir(exist_ok=True)
            folder.rename(gone)  # it is gone at once and whole, whatever becomes of its files
            shutil.rmtree(gone.parent)
    except OSError as e:
        raise StembridgeError(
            "output_not_writable",
            f"{folder} cannot be removed: {e.strerror or e}.",
            "Stop the engine if it runs, and check the folder's permissions.",
        ) from e
    return n_bytes


def find_removable(name: str) -> Path:
    """The folder that `remove_model` would remove. Raises `StembridgeError` as it does."""
    own = {b.name: b.folder for b in models.installed().values() if b.folder.parent == models.models_folder()}
    if text_encoder.is_here():
        own[models.text_folder().name] = models.text_folder()
    # one whose manifest is damaged is not installed, and is the first that should go
    own |= {
        m.parent.name: m.parent for m in models.models_folder().glob(f"*/{MANIFEST}") if m.parent not in own.values()
    }
    if name in own:
        return own[name]
    if (models.EMBEDDED / name / MANIFEST).exists():
        raise StembridgeError(
            "bad_value", f"{name!r} ships with Stembridge and stays.", f"Removable: {', '.join(sorted(own)) or 'none'}."
        )
    near = difflib.get_close_matches(name, own, 1)
    raise StembridgeError(
        "unknown_model",
        f"There is no model {name[:60]!r} of yours on this machine{f'; did you mean {near[0]!r}?' if near else '.'}",
        f"Removable: {', '.join(sorted(own)) or 'none'}.",
    )


def _info(bundle: Bundle) -> ModelInfo:
    knows = mask_model.KNOWS
    text: text_encoder.State = ""
    if bundle.kind == "prompted-mask":
        knows = wording.knows(bundle)
    elif bundle.kind == "flow":
        knows, text = flow_model.KNOWS, text_encoder.state_of(bundle, models.text_folder())
    embedded = bundle.folder.parent == models.EMBEDDED
    return ModelInfo(bundle, _n_bytes(bundle.folder), knows, text, _made(bundle), embedded)


def _made(bundle: Bundle) -> tuple[str, ...]:
    exports = sorted(path.parent.name for path in bundle.folder.glob(f"*/{artefact.MANIFEST}"))
    try:
        tuned = ", ".join(map(str, bundle.tuned))
    except StembridgeError:  # said with its remedy where the model is used; a list shows what there is
        return (*exports, "a damaged tuning")
    return (*exports, *([f"tuned to {tuned} NFE"] if tuned else []))


def _n_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _is_device(name: str) -> bool:
    """A name that Windows takes for a device: models may lie on a shared disk."""
    stem = name.split(".")[0].upper()
    return stem in {"CON", "PRN", "AUX", "NUL"} or re.fullmatch(r"(COM|LPT)\d", stem) is not None
