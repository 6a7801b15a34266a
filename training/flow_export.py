"""Stage 3 of the flow model: a training's averaged weights as an official folder, with the text encoder beside.

`OUT/model` holds config.json and checkpoint.pt as the released models' folders do, `OUT/text` the text encoder:
`stembridge models import OUT/model --name NAME --text-encoder OUT/text` takes them like any other checkpoint. What
`engine.model.convert` makes of the official layout is undone here, parameter by parameter.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.model.anchors import N_TOKENS
from engine.model.config import SAMPLE_RATE, DitSizes
from engine.model.dit import Dit
from engine.model.official import SPECTRAL as SPECTRAL_KEYS
from training.flow_bank import SPECTRAL, codec_of, read_constants
from training.flow_network import fresh, sizes_of
from training.flow_packing import write_packed
from training.flow_text import build_encoder, build_tokenizer, save_encoder

LICENCE = "Apache-2.0"
"""Of the weights, as of this project; what they were trained with is in FLOW_CARD.md."""

Weights = dict[str, Tensor]


def official_dit(dit: Dit) -> Weights:
    """Every key of a released checkpoint that is the transformer's; undoes `engine.model.convert.convert_dit`."""
    sizes, own = dit.sizes, dit.state_dict()
    state = own["state_in"]
    mixture = own["mixture_in.weight"]
    made: Weights = {
        # columns: the state, what only ever sees zeros, the mixture twice
        "proj.weight": torch.cat([state, torch.zeros_like(state), mixture, torch.zeros_like(mixture)], dim=1),
        "proj.bias": own["mixture_in.bias"],
        "memory_proj.weight": own["memory_in.weight"],
        "memory_proj.bias": own["memory_in.bias"],
        "align_masked_video.gate": own["video_gate"].reshape(1),
        "align_masked_video.conv.weight": own["video_in.weight"][:, :, None],
        "align_masked_video.conv.bias": own["video_in.bias"],
        "align_masked_video.layer_norm.weight": own["video_norm.weight"],
        "align_masked_video.layer_norm.bias": own["video_norm.bias"],
        # the table is tanh(gate) * embed @ proj.T
        "embed_anchors.gate": torch.ones(1),
        "embed_anchors.embed.weight": torch.eye(N_TOKENS),
        "embed_anchors.proj.weight": own["token_table"].T / torch.tanh(torch.ones(1)),
        "transformer.t_block.weight": own["time_block.weight"],
        "transformer.t_block.bias": own["time_block.bias"],
        "transformer.final_layer_scale_shift_table": own["final"],
        "transformer.norm.weight": own["final_norm"],
        "transformer.output.weight": own["output"],
    }
    made |= _swiglu(own, "memory", "transformer.y_embedder.projection")
    made |= _swiglu(own, "time", "transformer.t_embedder.projection")
    for index in range(2):
        there = f"transformer.x_embedder.block.block{index + 1}"
        made[f"{there}.groupnorm.weight"] = own[f"patcher.norms.{index}.weight"]
        made[f"{there}.groupnorm.bias"] = own[f"patcher.norms.{index}.bias"]
        taps = own[f"patcher.convs.{index}.weight"].unflatten(1, (3, sizes.dim))
        made[f"{there}.project.weight"] = taps.transpose(1, 2)
        made[f"{there}.project.bias"] = own[f"patcher.convs.{index}.bias"]
    for layer in range(sizes.n_layers):
        made |= _layer(own, layer, sizes)
    return {key: tensor.detach().clone().contiguous() for key, tensor in made.items()}


def _swiglu(own: Weights, here: str, there: str) -> Weights:
    first, third = own[f"{here}.up.weight"].chunk(2)
    return {f"{there}.w1.weight": first, f"{there}.w3.weight": third, f"{there}.w2.weight": own[f"{here}.down.weight"]}


def _layer(own: Weights, layer: int, sizes: DitSizes) -> Weights:
    here, there = f"layers.{layer}", f"transformer.layers.{layer}"
    queries, keys, values = own[f"{here}.attention.qkv.weight"].chunk(3)
    cross_keys, cross_values = own[f"{here}.cross.kv.weight"].chunk(2)
    half = sizes.head_dim // 2
    rotary = torch.stack([torch.arange(half), half + torch.arange(half)], dim=1).flatten()
    made = {
        f"{there}.scale_shift_table": own["modulation"][layer],
        f"{there}.attention_norm.weight": own["norms"][layer, 0],
        f"{there}.ffn_norm.weight": own["norms"][layer, 1],
        f"{there}.attention.wq.weight": elements_first(queries, sizes.n_heads, rotary=True),
        f"{there}.attention.wk.weight": elements_first(keys, sizes.n_heads, rotary=True),
        f"{there}.attention.wv.weight": elements_first(values, sizes.n_heads, rotary=False),
        f"{there}.attention.wo.weight": own[f"{here}.attention.out.weight"],
        f"{there}.cross_attention.wq.weight": elements_first(
            own[f"{here}.cross.q.weight"], sizes.n_heads, rotary=False
        ),
        f"{there}.cross_attention.wk.weight": elements_first(cross_keys, sizes.n_heads, rotary=False),
        f"{there}.cross_attention.wv.weight": elements_first(cross_values, sizes.n_heads, rotary=False),
        f"{there}.cross_attention.wo.weight": own[f"{here}.cross.out.weight"],
        **_swiglu(own, f"{here}.ffn", f"{there}.feed_forward"),
    }
    for index, name in enumerate("qk"):
        made[f"{there}.attention.{name}_norm.weight"] = own[f"{here}.attention.qk_norm"][index, rotary]
        made[f"{there}.cross_attention.{name}_norm.weight"] = own[f"{here}.cross.qk_norm"][index]
    return made


def elements_first(weight: Tensor, n_heads: int, *, rotary: bool) -> Tensor:
    """The reverse of `engine.model.convert.heads_first`."""
    by_head = weight.reshape(n_heads, -1, weight.shape[1])
    if rotary:
        even, odd = by_head.chunk(2, dim=1)
        by_head = torch.stack([even, odd], dim=2).flatten(1, 2)
    return by_head.transpose(0, 1).reshape(weight.shape)


def official_codec(constants: Weights) -> Weights:
    """The spectral codec's keys."""
    codec = codec_of(constants)
    return {f"{SPECTRAL_KEYS}.{name}": getattr(codec, name).detach() for name in ("window", "knee", "unit")}


def official_config(sizes: DitSizes) -> dict[str, Any]:
    """config.json: the released models' fields, and the kind of the codec."""
    return {
        "title": "Small flow",
        "licence": LICENCE,
        "in_channels": 3 * sizes.n_state,
        "num_anchors": N_TOKENS - 1,
        "anchor_embedding_dim": N_TOKENS,
        "text_encoder": {"dim": sizes.text_dim},
        "vision_encoder": {"dim": sizes.video_dim},
        "transformer": {
            "dim": sizes.dim,
            "n_heads": sizes.n_heads,
            "n_layers": sizes.n_layers,
            "context_dim": sizes.dim,
            "out_channels": sizes.n_state,
            "frequency_embedding_dim": sizes.time_dim,
            "max_positions": sizes.max_frames,
        },
        "audio_codec": {
            "kind": "spectral",
            "hop": SPECTRAL.hop,
            "codebook_dim": SPECTRAL.n_channels,
            "sample_rate": SAMPLE_RATE,
        },
    }


def read_net(checkpoint: Path) -> tuple[nn.ModuleDict, Any]:
    """A training's averaged weights and its tokenizer."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    tokenizer = build_tokenizer()
    net = nn.ModuleDict({"dit": fresh(sizes_of(*state["sizes"]), 0), "text": build_encoder(tokenizer.get_vocab_size())})
    net.load_state_dict(state["ema"])
    return net.eval(), tokenizer


def write_folders(net: nn.ModuleDict, tokenizer: Any, constants: Weights, out: Path) -> None:
    """`out/model` and `out/text`."""
    (out / "model").mkdir(parents=True, exist_ok=True)
    dit = net["dit"]
    assert isinstance(dit, Dit)
    torch.save(official_dit(dit) | official_codec(constants), out / "model" / "checkpoint.pt")
    config = json.dumps(official_config(dit.sizes), indent=1) + "\n"
    (out / "model" / "config.json").write_text(config, encoding="utf-8")
    save_encoder(tokenizer, net["text"], out / "text")


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser("training flow_export", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument(
        "--spectra", type=Path, required=True, help="where the stage flow_bank wrote the codec's numbers"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--packed", type=Path, help="write it here as well, small: for the tests")
    parser.add_argument("--smoke", action="store_true", help="as without: it takes a second")
    args = parser.parse_args(argv)
    write_folders(*read_net(args.checkpoint), read_constants(args.spectra), args.out)
    if args.packed:
        write_packed(args.out, args.packed)
