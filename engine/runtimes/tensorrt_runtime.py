"""A flow model run by TensorRT, from plans that were built on this machine.

A window that holds the whole clip is solved and decoded by one CUDA graph, captured once for each number of rows,
frames and tokens and each schedule: every evaluation, the solver's arithmetic and the decoder, without the host between
them.
Longer clips, whose windows overlap, run evaluation by evaluation. Memory persists: a graph replays addresses.

Everything here runs in the tests against a stand-in for the device (`tensorrt_device` is the only part that needs a
GPU). On a GPU it has never run.
"""

from __future__ import annotations

import logging
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.artefact import Artefact, check_usable
from engine.audio import Samples
from engine.bundle import Bundle
from engine.errors import StembridgeError
from engine.flow.multidiffusion import WindowVelocity
from engine.flow.schedule import Schedule
from engine.flow.solve import CHUNK_FRAMES, Latents, State
from engine.model.config import Sizes
from engine.runtimes.graph_flow import TOKENIZER, Prompts, as_rows, decoded, load_tokenizer, pad_to_frames
from engine.runtimes.onnx_runtime import OnnxGraph
from engine.runtimes.tensorrt_device import CudaDevice, Device, Memory, Plan, Program, Shape
from engine.runtimes.tensorrt_library import check_plans, find_library
from engine.runtimes.watermarked import Marker
from engine.windows import Window

logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float32]
STAGES: Final = ("encode", "text", "times", "prompt", "clip", "velocity", "decode")
MARK: Final = "watermark"
TOKENS: Final = 8
"""Tokens are padded to a multiple of this, which attention ignores: a graph a length would be many graphs."""
MAX_LOOPS: Final = 4
"""Captured graphs that are kept; each holds its own memory."""
MAX_SOUNDS: Final = 64
"""Rows whose decoded waveforms wait to be fetched."""
_OF_TIME: Final = ("modulation", "final", "keys", "values")


@dataclass(frozen=True)
class _Loop:
    """One captured solve."""

    inputs: Mapping[str, Memory]
    """`x`, `condition`, `token_bias`."""
    of_time: Sequence[Mapping[str, Memory]]
    """For each evaluation, what only its time decides."""
    state: Memory
    sound: Memory | None
    """`(2 * row, 1, sample)`; None where memory did not suffice for the decoder."""
    replay: Callable[[], None]


class _Stage:
    """A plan run on its own, with one context and memory that grows and is never given back in between."""

    def __init__(self, device: Device, plan: Plan, name: str) -> None:
        self._device, self.plan, self.name = device, plan, name
        self._program: Program | None = None
        self._flat: dict[str, Memory] = {}

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Memory]:
        """Outputs on the device, until the next run; inputs are arrays of the host or memory of the device."""
        if self._program is None:
            self._program = self.plan.program()
        shapes = {name: tuple(value.shape) for name, value in inputs.items()}
        made = self._program.prepare(profile_of(self.plan, self.name, shapes), shapes)
        memory = {name: self._memory(name, shape) for name, shape in {**shapes, **made}.items()}
        for name, value in inputs.items():
            if isinstance(value, np.ndarray) and not hasattr(value, "data_ptr"):
                self._device.upload(memory[name], value.astype(np.dtype(self.plan.types[name]), copy=False))
            else:
                memory[name].copy_(value)
        self._program.bind(memory)
        self._program.enqueue()
        return {name: memory[name] for name in made}

    def _memory(self, name: str, shape: Shape) -> Memory:
        n = math.prod(shape)
        held = self._flat.get(name)
        if held is None or held.shape[0] < n:
            held = self._flat[name] = self._device.empty((n,), self.plan.types[name])
        return held[:n].view(*shape)


class TensorRtFlow:
    """See `engine.flow.solve.FlowRuntime` for the contract of each method; `solve_whole` is what it can do besides."""

    def __init__(self, bundle: Bundle, artefact: Artefact, tokenizer: Any, device: Device) -> None:
        self._device = device
        self._sizes = Sizes.from_dict(bundle.facts["sizes"])
        with device.within(f"the plans of {bundle.name}"):
            plans = {name: device.load(artefact.path(name).read_bytes(), name) for name in STAGES}
        self._stages = {name: _Stage(device, plan, name) for name, plan in plans.items()}
        self.name = f"{artefact.runtime}:{device.name}:{artefact.precision}"
        self.sample_rate: int = bundle.facts["sample_rate"]
        self.hop = self._sizes.codec.hop
        self.n_channels = self._sizes.codec.n_channels
        self.max_frames = self._sizes.dit.max_frames
        self.prompts = Prompts(tokenizer, lambda ids: self.run_stage("text", ids=ids)[0])
        mark = OnnxGraph(artefact.path(MARK)) if MARK in artefact.stages else None
        self._marker = Marker(bundle, mark)
        self._loops: OrderedDict[Any, _Loop] = OrderedDict()
        self._sounds: deque[tuple[Floats, Floats]] = deque(maxlen=MAX_SOUNDS)

    def has(self, stage: str) -> bool:
        """Whether there is a plan of a stage."""
        return stage in self._stages

    def run_stage(self, stage: str, **inputs: Any) -> list[Floats]:
        """One stage on its own, arrays in, arrays out."""
        with self._device.within(f"the stage {stage}"):
            made = self._stages[stage].run(inputs)
            return [self._device.download(memory) for memory in made.values()]

    def encode(self, waveform: Samples) -> Latents:
        whole = pad_to_frames(waveform, self.hop)
        latents: Latents = self.run_stage("encode", waveform=whole.reshape(1, -1, self.hop))[0][0]
        return latents

    def is_cut(self, prompt: str) -> bool:
        return self.prompts.is_cut(prompt)

    def velocity(
        self, latents: Latents, tokens: npt.NDArray[np.int64], prompts: Sequence[str], times: Sequence[float]
    ) -> WindowVelocity[Any]:
        text, bias = self.prompts.batch(prompts, multiple=TOKENS)
        with self._device.within("conditioning"):
            of_time = self._of_time(text, times)
        heard: dict[Window, Memory] = {}

        def velocity(x: Memory, number: int, window: Window) -> Memory:
            with self._device.within(f"a window of {window.n_frames} frames"):
                if window not in heard:
                    heard.clear()  # one window's: several would grow with the clip
                    heard[window] = self._condition(latents, tokens, window).clone()
                given = {"x": x, "condition": heard[window], "token_bias": bias, **of_time[number]}
                (answer,) = self._stages["velocity"].run(given).values()
                return answer.clone()  # a solver may keep it beyond the next evaluation

        return velocity

    def solve_whole(
        self,
        latents: Latents,
        tokens: npt.NDArray[np.int64],
        prompts: Sequence[str],
        schedule: Schedule,
        start: State,
    ) -> State:
        """Carry `start` `(row, frame, 2 * channel)` from time 0 to time 1 in one window, and decode it for `decode` to
        find: one captured graph.

        Raises `StembridgeError` (`out_of_memory`) when the graph does not fit even alone and without the decoder, or
        when no plan takes so many rows: half of them may fit.
        """
        text, bias = self.prompts.batch(prompts, multiple=TOKENS)
        key = (*start.shape[:2], bias.shape[1], schedule)
        with self._device.within(f"a solve of {start.shape[1]} frames"):
            of_time = self._of_time(text, schedule.times)
            condition = self._condition(latents, tokens, Window(0, start.shape[1]))
            loop = self._loop(key, start, condition, bias, of_time, schedule)
            self._device.upload(loop.inputs["x"], start)
            self._device.upload(loop.inputs["token_bias"], bias)
            loop.inputs["condition"].copy_(condition)
            for mine, made in zip(loop.of_time, of_time, strict=True):
                for name in _OF_TIME:
                    mine[name].copy_(made[name])
            loop.replay()
            state: State = self._device.download(loop.state)
            if loop.sound is not None:
                self._keep(state, self._device.download(loop.sound))
        return state

    def to_device(self, state: State) -> Any:
        with self._device.within("a state"):
            memory = self._device.empty(state.shape, np.float32)
            self._device.upload(memory, state)
            return memory

    def to_host(self, state: Any) -> State:
        with self._device.within("a state"):
            values: State = self._device.download(state)
            return values

    def decode(self, state: State, *, mark_seed: int | None) -> Iterator[Samples]:
        kept = self._sound_of(state[0])
        pieces = (
            decoded(lambda rows: self.run_stage("decode", latents=rows)[0], as_rows(state, self.n_channels), self.hop)
            if kept is None
            else _chunks(kept, CHUNK_FRAMES * self.hop)
        )
        for piece in pieces if mark_seed is None else self._marker.mark(pieces, mark_seed):
            yield piece[:, 0]

    def _of_time(self, text: Floats, times: Sequence[float]) -> list[dict[str, Memory]]:
        """For each time: modulation, final, keys, values, on the device."""
        made = self._stages["times"].run({"times": np.asarray(times, np.float32)})
        heard = self._stages["prompt"].run({"text": text, "memory": made["memory"]})
        parts = {name: (made | heard)[name] for name in _OF_TIME}
        return [{name: part[number] for name, part in parts.items()} for number in range(len(times))]

    def _condition(self, latents: Latents, tokens: npt.NDArray[np.int64], window: Window) -> Memory:
        piece = np.repeat(latents[None, window.start : window.end], len(tokens), axis=0)
        said = tokens[:, window.start : window.end]
        (condition,) = self._stages["clip"].run({"latents": piece, "tokens": said}).values()
        return condition

    def _loop(
        self,
        key: Any,
        start: State,
        condition: Memory,
        bias: Floats,
        of_time: Sequence[Mapping[str, Memory]],
        schedule: Schedule,
    ) -> _Loop:
        if key in self._loops:
            self._loops.move_to_end(key)
            return self._loops[key]
        while len(self._loops) >= MAX_LOOPS:
            self._loops.popitem(last=False)
        for with_sound in (True, False):
            try:
                loop = self._captured(start, condition, bias, of_time, schedule, with_sound=with_sound)
            except StembridgeError as e:
                if e.code != "out_of_memory" or not with_sound:
                    raise
                logger.warning("%s The decoder runs apart.", e.text)
                self._loops.clear()  # their memory may be what is missing
            else:
                self._loops[key] = loop
                return loop
        raise AssertionError("one of the two returns or raises")

    def _captured(
        self,
        start: State,
        condition: Memory,
        bias: Floats,
        of_time: Sequence[Mapping[str, Memory]],
        schedule: Schedule,
        *,
        with_sound: bool,
    ) -> _Loop:
        device, stage = self._device, self._stages["velocity"]
        with device.within(f"a solve of {len(start)} rows of {start.shape[1]} frames"):
            given = {"x": start, "condition": condition, "token_bias": bias, **of_time[0]}
            shapes = {name: tuple(value.shape) for name, value in given.items()}
            program = stage.plan.program()
            # the profile before the capture: switching it may copy, which a graph must not replay
            made = program.prepare(profile_of(stage.plan, "velocity", shapes), shapes)
            types = stage.plan.types
            inputs = {name: device.empty(shapes[name], types[name]) for name in ("x", "condition", "token_bias")}
            own = [{n: device.empty(shapes[n], types[n]) for n in _OF_TIME} for _ in range(schedule.nfe)]
            ((answer, shape),) = made.items()
            velocities = [device.empty(shape, types[answer]) for _ in range(schedule.nfe)]
            begin, state = device.empty(start.shape, np.float32), device.empty(start.shape, np.float32)
            heard, sound, decoder = self._decoder(start) if with_sound else (None, None, None)

            def evaluate(x: Memory, number: int) -> Memory:
                inputs["x"].copy_(x)
                program.bind({**inputs, **own[number], answer: velocities[number]})
                program.enqueue()
                return velocities[number]

            def work() -> None:
                state.copy_(schedule.solve(evaluate, begin))
                if decoder is not None and heard is not None:
                    heard[: len(start)].copy_(state[..., : self.n_channels])
                    heard[len(start) :].copy_(state[..., self.n_channels :])
                    decoder.enqueue()

            # real values while it is tried: memory that was never written may hold what slows arithmetic down
            device.upload(inputs["token_bias"], bias)
            device.upload(begin, start)
            inputs["condition"].copy_(condition)
            for mine, now in zip(own, of_time, strict=True):
                for name in _OF_TIME:
                    mine[name].copy_(now[name])
            replay = device.capture(work)
        return _Loop({**inputs, "x": begin}, own, state, sound, replay)

    def _decoder(self, start: State) -> tuple[Memory, Memory, Program]:
        """The decoder's input and output, and its context, bound to them."""
        plan = self._stages["decode"].plan
        shape = (2 * len(start), start.shape[1], self.n_channels)
        program = plan.program()
        made = program.prepare(profile_of(plan, "decode", {"latents": shape}), {"latents": shape})
        ((name, out),) = made.items()
        memory = {"latents": self._device.empty(shape, plan.types["latents"])}
        memory[name] = self._device.empty(out, plan.types[name])
        program.bind(memory)
        return memory["latents"], memory[name], program

    def _keep(self, state: State, sound: Floats) -> None:
        """Let `decode` find the waveforms of each row."""
        for row in range(len(state)):
            self._sounds.append((state[row], sound[[row, len(state) + row]]))

    def _sound_of(self, state: Floats) -> Floats | None:
        """What a graph decoded of these frames `(frame, 2 * channel)`, or of a longer state that they are part of."""
        for whole, sound in reversed(self._sounds):
            for first in np.flatnonzero((whole == state[0]).all(axis=1)):
                if np.array_equal(whole[first : first + len(state)], state):
                    return sound[..., first * self.hop : (first + len(state)) * self.hop]
        return None


def profile_of(plan: Plan, stage: str, shapes: Mapping[str, Shape]) -> int:
    """The first profile that takes these shapes. Raises `StembridgeError` (`out_of_memory`): fewer rows may fit."""
    for number, profile in enumerate(plan.profiles):
        if all(
            all(least <= n <= greatest for least, n, greatest in zip(low, shapes[name], high, strict=True))
            for name, (low, _, high) in profile.items()
        ):
            return number
    raise StembridgeError(
        "out_of_memory",
        f"No plan of the stage {stage} takes {', '.join(f'{name} {shape}' for name, shape in shapes.items())}.",
        "Take fewer candidates or prompts at once.",
    )


def open_tensorrt(
    bundle: Bundle, artefact: Artefact, text_folder: Path, *, device: Device | None = None, verified: bool = True
) -> TensorRtFlow:
    """Open plans that were built on this machine for this GPU.

    `device`: the current CUDA device when None. `verified`: whether the comparison with the model must have held.
    Raises `StembridgeError`: `runtime_missing` without library, driver or GPU, `model_corrupt` for plans that are
    damaged, of another version, GPU, machine or model.
    """
    library = find_library()
    check_usable(artefact, bundle, text_folder / TOKENIZER, verified=verified)
    on = CudaDevice(library) if device is None else device
    check_plans(artefact, library, on.architecture)
    return TensorRtFlow(bundle, artefact, load_tokenizer(text_folder), on)


def _chunks(sound: Floats, n_samples: int) -> Iterator[Floats]:
    for start in range(0, sound.shape[-1], n_samples):
        yield sound[..., start : start + n_samples]
