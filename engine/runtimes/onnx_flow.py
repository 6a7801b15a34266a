"""A flow model run by onnxruntime, from the graphs of an export, on the CPU or a provider that was found to work; torch
is not needed.

Arrays are NumPy's; on a device with memory of its own, what stays the same from evaluation to evaluation is put there
once, and the state travels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.artefact import Artefact, check_usable
from engine.audio import Samples
from engine.bundle import Bundle
from engine.flow.multidiffusion import WindowVelocity
from engine.flow.solve import Latents, State
from engine.model.config import Sizes
from engine.runtimes.graph_flow import TOKENIZER, Prompts, as_rows, decoded, load_tokenizer, pad_to_frames
from engine.runtimes.onnx_runtime import OnnxGraph
from engine.runtimes.providers import CPU
from engine.runtimes.watermarked import Marker
from engine.windows import Window

Floats = npt.NDArray[np.float32]

STAGES: Final = ("encode", "text", "times", "prompt", "clip", "velocity", "decode")
MARK: Final = "watermark"
KEYS_BYTES: Final = 1 << 30
"""Keys and values of all times are held when they take less than this; else they are made anew at each evaluation."""


class OnnxFlow:
    """See `engine.flow.solve.FlowRuntime` for the contract of each method.

    Raises `StembridgeError` at once when any graph is missing, damaged, of another model, not accepted by
    onnxruntime, or not run by the provider that was asked for: a model either opens whole or not at all.
    """

    def __init__(
        self, bundle: Bundle, artefact: Artefact, tokenizer: Any, *, threads: int = 0, provider: str = CPU
    ) -> None:
        self._sizes = Sizes.from_dict(bundle.facts["sizes"])
        self._graphs = {name: OnnxGraph(artefact.path(name), threads=threads, provider=provider) for name in STAGES}
        if MARK in artefact.stages:  # always on the CPU: two recurrent networks, step after step
            self._graphs[MARK] = OnnxGraph(artefact.path(MARK), threads=threads)
        providers = sorted({self._graphs[name].provider for name in STAGES})
        self.name = f"onnx:{'+'.join(providers)}:{artefact.precision}"
        self.sample_rate: int = bundle.facts["sample_rate"]
        self.hop = self._sizes.codec.hop
        self.n_channels = self._sizes.codec.n_channels
        self.max_frames = self._sizes.dit.max_frames
        self.prompts = Prompts(tokenizer, lambda ids: self.run_stage("text", ids=ids)[0])
        self._marker = Marker(bundle, self._graphs.get(MARK))

    def graph(self, stage: str) -> OnnxGraph:
        """A stage's open graph: for benchmarks."""
        return self._graphs[stage]

    def has(self, stage: str) -> bool:
        """Whether the export has a stage; those of `STAGES` are always there."""
        return stage in self._graphs

    def run_stage(self, stage: str, **inputs: Any) -> list[Floats]:
        """One stage on its own, arrays in, arrays out; float16 where the graph wants it."""
        graph = self._graphs[stage]
        return graph.run({k: v.astype(np.float16) if k in graph.is_half else v for k, v in inputs.items()})

    def encode(self, waveform: Samples) -> Latents:
        whole = pad_to_frames(waveform, self.hop)
        latents: Latents = self.run_stage("encode", waveform=whole.reshape(1, -1, self.hop))[0][0]
        return latents

    def is_cut(self, prompt: str) -> bool:
        return self.prompts.is_cut(prompt)

    def velocity(
        self, latents: Latents, tokens: npt.NDArray[np.int64], prompts: Sequence[str], times: Sequence[float]
    ) -> WindowVelocity[Any]:
        graph = self._graphs["velocity"]
        modulation, final, memory = self.run_stage("times", times=np.asarray(times, np.float32))
        own = list(dict.fromkeys(prompts))
        text, bias = self.prompts.batch(own)
        row_of = np.array([own.index(prompt) for prompt in prompts])
        dit = self._sizes.dit
        n_bytes = 2 * 4 * len(times) * dit.n_layers * len(own) * text.shape[1] * dit.dim
        keep = n_bytes <= KEYS_BYTES
        made = self._graphs["prompt"].run({"text": text, "memory": memory}) if keep else None
        of_time: dict[int, dict[str, Any]] = {}
        heard: dict[Window, Any] = {}

        def at(number: int) -> dict[str, Any]:
            """What only the time decides."""
            if number in of_time:
                return of_time[number]
            if made is None:
                parts = self._graphs["prompt"].run({"text": text, "memory": memory[number : number + 1]})
                keys, values = (part[0] for part in parts)
            else:
                keys, values = (part[number] for part in made)
            if len(own) < len(row_of):
                keys, values = keys[:, row_of], values[:, row_of]
            held = {"modulation": modulation[number], "final": final[number], "keys": keys, "values": values}
            held = {name: graph.place(value) for name, value in held.items()} | {"token_bias": placed_bias}
            if keep:
                of_time[number] = held
            return held

        def condition(window: Window) -> Any:
            if window not in heard:
                heard.clear()  # one window's: several would grow with the clip, and each is quickly made again
                piece = np.repeat(latents[None, window.start : window.end], len(tokens), axis=0)
                said = tokens[:, window.start : window.end]
                (heard[window],) = self._graphs["clip"].run({"latents": piece, "tokens": said}, keep=True)
            return heard[window]

        def velocity(x: Floats, number: int, window: Window) -> Floats:
            answer: Floats = graph.run({"x": x, "condition": condition(window), **at(number)})[0]
            return answer

        placed_bias = graph.place(bias[row_of])
        return velocity

    def to_device(self, state: State) -> Any:
        return state

    def to_host(self, state: Any) -> State:
        values: State = state
        return values

    def decode(self, state: State, *, mark_seed: int | None) -> Iterator[Samples]:
        pieces = decoded(
            lambda rows: self.run_stage("decode", latents=rows)[0], as_rows(state, self.n_channels), self.hop
        )
        for piece in pieces if mark_seed is None else self._marker.mark(pieces, mark_seed):
            yield piece[:, 0]


def open_onnx(
    bundle: Bundle, artefact: Artefact, text_folder: Path, *, threads: int = 0, provider: str = CPU
) -> OnnxFlow:
    """Open a verified export. Raises `StembridgeError` as `check_usable` and `OnnxFlow` do."""
    check_usable(artefact, bundle, text_folder / TOKENIZER)
    return OnnxFlow(bundle, artefact, load_tokenizer(text_folder), threads=threads, provider=provider)
