"""Which runtime answers for a flow model on this machine: the one place that chooses.

Runtimes are tried in the order of their promise, and the first that is verified is taken: plans of TensorRT, torch on
a GPU, the ONNX export on a GPU that onnxruntime really uses, torch in bfloat16 on a CPU that multiplies it, the ONNX
export on the CPU, torch on the CPU. The ONNX export on the CPU was held against the network when it was made;
everything on a GPU is held against the CPU here, once for each model and machine (`engine.flow.trust`), and is taken
only where it equals it and is quicker; so is bfloat16, which must err less than few evaluations do, as int8 must.
Whatever is passed over is logged with its reason, which every manifest states until it is mended; it never gives a
result.

`STEMBRIDGE_RUNTIME` (tensorrt, torch, onnx or cpu) and `STEMBRIDGE_PRECISION` (fp32, fp16, bf16 or int8) narrow the
choice; what they name must work, and is not replaced.
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

from engine.artefact import PRECISIONS, check_usable, read_artefact
from engine.bundle import Bundle
from engine.errors import StembridgeError
from engine.flow.candidates import (
    PRECISION_VARIABLE,
    VARIABLE,
    Candidate,
    Choice,
    candidates,
    choice,
    open_export,
)
from engine.flow.careful import Careful
from engine.flow.model import FlowModel
from engine.flow.solve import FlowRuntime
from engine.flow.trust import Verdict, judged, recall
from engine.runtimes.graph_flow import TOKENIZER
from engine.runtimes.providers import CPU
from engine.runtimes.tensorrt_library import check_driver, find_library
from engine.runtimes.torch_runtime import TorchFlow, check_installed

logger = logging.getLogger(__name__)
_ROUGH = ("int8", "bf16")
_PROVIDER = "Install what that provider of onnxruntime needs; the CPU answers meanwhile."


def open_flow(bundle: Bundle, text_folder: Path, *, exact: bool = False) -> FlowModel:
    """The model on the quickest runtime that is verified here; with `exact` not in int8 or bfloat16, unless the user
    asks for that: for work that takes the model's answers as the truth.

    Raises `StembridgeError`: `bad_value` for a choice that does not exist, and what the last runtime says when none
    could be used, with the reasons of the others before it.
    """
    wanted = choice()
    reasons: list[str] = []
    aside: list[str] = []
    too_rough: list[str] = []
    last: StembridgeError | None = None
    for candidate in candidates(bundle, text_folder, wanted, reasons):
        if exact and candidate.precision in _ROUGH and wanted.precision == "auto":
            too_rough.append(f"{_capital(candidate.words)} errs too much for this.")
            continue
        try:
            runtime, found = _verified(bundle, text_folder, candidate, wanted)
        except StembridgeError as e:
            last = e
            reason = f"{_capital(candidate.words)} is not used: {e.text}"
            if candidate.rounds and e.code == "not_equal":
                logger.info("%s: %s", bundle.name, reason)
                aside.append(reason)
                continue
            logger.warning("%s: %s %s", bundle.name, reason, e.remedy)
            if not any(before.endswith(e.text) for before in reasons):  # of two plans without a driver
                reasons.append(reason)
            continue
        if candidate.precision != "fp32":
            runtime = Careful(runtime, partial(_exact, bundle, text_folder, candidate))
        note = " ".join(reasons)
        why = " ".join([f"{_capital(candidate.words)}{found}; {_because(candidate, wanted)}.", *aside])
        logger.info("%s: %s", bundle.name, why)
        return FlowModel(bundle, runtime, note=note, why=why)
    if last is None:
        said = " ".join([*too_rough, *reasons]) or "Nothing that can run it is installed or exported."
        raise StembridgeError(
            "runtime_missing",
            f"There is no runtime for {bundle.name}{f', and {wanted.words}' if wanted.words else ''}. {said}",
            f"Set {VARIABLE} and {PRECISION_VARIABLE} to auto, or make one: {_export_of(bundle.name, wanted)}",
        )
    before = " ".join(reason for reason in [*aside, *reasons] if not reason.endswith(last.text))
    raise StembridgeError(last.code, f"{before} {last.text}".strip(), last.remedy) from last


def foresee(bundle: Bundle, text_folder: Path) -> tuple[str, str, list[tuple[str, str]]]:
    """What `open_flow` is expected to take, without opening it: what it is, why, and what is passed over, each with its
    reason and its remedy. Raises `StembridgeError` as `open_flow` does when there is nothing."""
    wanted, reasons, aside = choice(), list[str](), list[str]()
    passed: list[tuple[str, str]] = []
    for candidate in candidates(bundle, text_folder, wanted, reasons):
        try:
            _check_unopened(bundle, text_folder, candidate)
        except StembridgeError as e:
            passed.append((f"{_capital(candidate.words)} is not used: {e.text}", e.remedy))
            continue
        passed = [*((reason, _PROVIDER) for reason in reasons), *passed]
        reasons.clear()
        if candidate.verified:
            return candidate.words, ". ".join([_because(candidate, wanted), *aside]), passed
        known = recall(bundle, candidate.identity)
        if known is None:
            return candidate.words, "it will be held against float32 on the CPU when it is first used", passed
        try:
            _check(known, candidate, wanted)
        except StembridgeError as e:
            said = f"{_capital(candidate.words)} is not used: {e.text}"
            if candidate.rounds:
                aside.append(said)
            else:
                passed.append((said, e.remedy))
            continue
        return candidate.words, known.words, passed
    raise StembridgeError(
        "runtime_missing",
        f"Nothing can run {bundle.name}. {' '.join([*aside, *reasons, *(reason for reason, _ in passed)])}".strip(),
        "Install it with: pip install 'stembridge[torch]'",
    )


def _verified(bundle: Bundle, text_folder: Path, candidate: Candidate, wanted: Choice) -> tuple[FlowRuntime, str]:
    """A candidate, opened, and what its comparison found. Raises `StembridgeError`: as opening it does; `not_equal`
    where it differs from the CPU, or is no quicker or too rough and was not asked for."""
    if candidate.rounds and (known := recall(bundle, candidate.identity)) is not None:
        _check(known, candidate, wanted)  # what will not be used is not opened
    runtime = candidate.open()
    if candidate.verified:
        return runtime, ""
    if recall(bundle, candidate.identity) is None:
        logger.info("%s: %s is held against the CPU, once on this machine", bundle.name, candidate.words)
    verdict = judged(bundle, candidate.identity, candidate.precision, runtime, lambda: _reference(bundle, text_folder))
    _check(verdict, candidate, wanted)
    return runtime, f": it {verdict.words}"


def _check(verdict: Verdict, candidate: Candidate, wanted: Choice) -> None:
    """Raises `StembridgeError` (`not_equal`) where a comparison says that a candidate is not to be used."""
    if not verdict.holds:
        remedy = "" if candidate.rounds else "Update the driver and the library."
        raise StembridgeError("not_equal", f"{_capital(verdict.words)}.", remedy)
    if wanted.precision == candidate.precision or (not wanted.is_open and not candidate.rounds):
        return
    if not verdict.quicker:
        variable = PRECISION_VARIABLE if candidate.rounds else VARIABLE
        raise StembridgeError("not_equal", f"It {verdict.words}.", f"Set {variable} to use it all the same.")
    if not verdict.below_few_step_error:
        raise StembridgeError(
            "not_equal",
            f"It is rougher than few evaluations are: it {verdict.words}.",
            f"Set {PRECISION_VARIABLE}={candidate.precision} to use it all the same.",
        )


def _check_unopened(bundle: Bundle, text_folder: Path, candidate: Candidate) -> None:
    """What can be told without opening it; its files are read. Raises `StembridgeError` as opening it would."""
    if candidate.folder is None:
        check_installed()
        return
    artefact = read_artefact(candidate.folder)
    check_usable(artefact, bundle, text_folder / TOKENIZER, verified=candidate.family == "onnx")
    if candidate.family == "tensorrt":
        check_driver(find_library())
    for stage in artefact.stages:
        artefact.path(stage)


def _reference(bundle: Bundle, text_folder: Path) -> FlowRuntime:
    """What a GPU is held against: the verified float32 export on the CPU, else torch there."""
    try:
        return open_export(bundle, text_folder, "fp32", CPU)
    except StembridgeError:  # no export, or none that can be used: the network itself
        return TorchFlow(bundle, text_folder, device="cpu")


def _exact(bundle: Bundle, text_folder: Path, candidate: Candidate) -> FlowRuntime:
    """The same at full precision, for what half precision cannot hold; on the CPU where a GPU has no room for both."""
    if candidate.family == "torch" and candidate.gpu:
        try:
            return TorchFlow(bundle, text_folder, precision="fp32")
        except StembridgeError as e:
            if e.code != "out_of_memory":
                raise
    return _reference(bundle, text_folder)


def _because(candidate: Candidate, wanted: Choice) -> str:
    if not wanted.is_open:
        return wanted.words
    if candidate.gpu:
        return "it is the first that is verified, of those that promise most"
    if candidate.rounds:
        return "it errs less than few evaluations do, and no GPU is used"
    if candidate.precision == "int8":
        return "verified when it was exported, where it erred less than few evaluations do, and no GPU is used"
    if candidate.family == "onnx":
        return "verified when it was exported, and no GPU is used"
    return "no export is there that could be quicker, and no GPU is used"


def _export_of(name: str, wanted: Choice) -> str:
    """The command that makes what is asked for."""
    target = "tensorrt" if wanted.runtime == "tensorrt" else "onnx"
    precision = f" --precision {wanted.precision}" if wanted.precision in PRECISIONS else ""
    return f"stembridge models export {name} --to {target}{precision}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
