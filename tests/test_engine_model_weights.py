"""Checkpoints: every released key accounted for, an official folder imported, bad ones named and refused."""

from __future__ import annotations

import ast
import json
import os
import pickle
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

if not os.environ.get("CI"):
    pytest.importorskip("torch", reason="torch is not installed")

import torch

from engine.bundle import MANIFEST, read_bundle
from engine.errors import Cancelled, StembridgeError
from engine.model.config import RELEASED, CodecSizes, DitSizes, Sizes, WatermarkSizes
from engine.model.convert import convert_codec, convert_dit, convert_watermark
from engine.model.derive import sizes_of
from engine.model.network import assemble, empty_network, parts_of
from engine.model.official import Fate, check_keys, expected_keys, vision_keys
from engine.model.prepared import prepare
from engine.model.releases import RELEASES
from engine.model.weights import import_folder, load_network

pytestmark = pytest.mark.torch
LISTINGS = Path(__file__).parent / "golden" / "sam_listings"
ROOT = Path(__file__).parents[1]
KEPT_SMALL = {"dit": 496_226_818, "codec": 27_288_704 + 395_776 + 65_310_048 + 770, "watermark": 14_675_873}
"""Official parameters of the parts we load; the bundle's differ by what is folded."""

# another size than the golden network's and than any released one: other strides, heads, widths, a watermark
SIZES = Sizes(
    DitSizes(
        dim=48,
        n_heads=3,
        n_layers=2,
        ffn_dim=40,
        n_channels=6,
        text_dim=10,
        video_dim=14,
        time_dim=18,
        rope_theta=10_000.0,
        max_frames=500,
    ),
    CodecSizes(
        encoder_dim=4,
        encoder_strides=(2, 4, 5, 6),
        hidden_dim=20,
        n_channels=6,
        decoder_dim=64,
        decoder_strides=(6, 5, 4, 2),
    ),
    WatermarkSizes(first_dim=4, strides=(2, 3, 4, 5), message_dim=6, n_bits=16),
)
CONFIG = {
    "in_channels": 36,
    "num_anchors": 3,
    "anchor_embedding_dim": 7,
    "text_encoder": {"dim": 10, "name": "t5-base"},
    "vision_encoder": {"dim": 14},
    "transformer": {
        "dim": 48,
        "n_heads": 3,
        "n_layers": 2,
        "context_dim": 48,
        "out_channels": 12,
        "max_positions": 500,
    },
    "audio_codec": {"encoder_dim": 4, "encoder_rates": [2, 4, 5, 6], "latent_dim": 20, "codebook_dim": 6},
}


def listing(size):
    rows = (line.split("\t") for line in (LISTINGS / f"{size}.txt").read_text().splitlines())
    return {name: ast.literal_eval(shape) for name, shape, _ in rows}


def count(shapes):
    return sum(torch.Size(shape).numel() for shape in shapes)


@pytest.mark.parametrize("size", list(RELEASED))
def test_every_released_key_is_accounted_for(size):
    shapes = listing(size)
    sizes = sizes_of(shapes)
    assert sizes == RELEASED[size]
    fates = check_keys(shapes, sizes)
    assert fates.keys() == shapes.keys()
    assert Counter(fates.values())[Fate.DROPPED] == 294
    assert all(key.startswith("vision_encoder.") for key, fate in fates.items() if fate in (Fate.DROPPED, Fate.APART))
    # by part, the parameters the reference counts
    assert count(shape for key, shape in shapes.items() if fates[key] is Fate.DROPPED) == 353_986_561
    assert count(shape for key, shape in shapes.items() if fates[key] is Fate.APART) == 317_151_232
    kept = [shape for key, shape in shapes.items() if fates[key] in (Fate.KEPT, Fate.FOLDED)]
    assert count(kept) == count(shapes.values()) - 353_986_561 - 317_151_232
    if size == "small":
        assert count(kept) == sum(KEPT_SMALL.values())


@pytest.mark.parametrize("size", list(RELEASED))
def test_a_released_checkpoint_becomes_exactly_our_network(size):
    sizes = RELEASED[size]
    outline = {key: torch.empty(shape, device="meta") for key, shape in listing(size).items()}
    made = {f"dit.{key}": value for key, value in convert_dit(outline, sizes.dit)}
    made |= {f"codec.{key}": value for key, value in convert_codec(outline, sizes.codec)}
    made |= {f"watermark.{key}": value for key, value in convert_watermark(outline, sizes.watermark)}
    ours = {
        f"{part}.{key}": tuple(value.shape)
        for part, module in parts_of(empty_network(sizes)).items()
        for key, value in module.state_dict().items()
    }
    assert {key: tuple(value.shape) for key, value in made.items()} == ours
    # in the files every tensor begins on 64 bytes: only the last of a part has an odd length
    odd = [key for key, value in made.items() if 4 * value.numel() % 64]
    assert odd == ["dit.video_gate", "codec.decoder.23.bias", "watermark.speak.bias"]
    assert odd[0] == [key for key in made if key.startswith("dit.")][-1]


def test_releases_are_pinned_whole():
    assert set(RELEASES) == {f"sam-audio-{size}{tv}" for size in RELEASED for tv in ("", "-tv")}
    assert len({release.sha256 for release in RELEASES.values()}) == 6
    for size in RELEASED:
        tensors = 4 * count(listing(size).values())
        # the file is the tensors and about 350 bytes a key
        assert 300 < (RELEASES[f"sam-audio-{size}"].n_bytes - tensors) / len(listing(size)) < 400


def vision_shapes():
    """A picture and a caption tower of toy widths, under the official names."""
    official = listing("small")
    widths = {1024: 16, 3072: 48, 4096: 24, 577: 9, 336: 8, 49408: 11, 32: 5, 14: 2, 1280: 12}
    keep = [key for key in official if key.startswith("vision_encoder.")]
    keep = [key for key in keep if ".resblocks." not in key or ".resblocks.0." in key or ".resblocks.1." in key]
    return {key: tuple(widths.get(axis, axis) for axis in official[key]) for key in keep}


def official_state(seed=0):
    draw = torch.Generator().manual_seed(seed)
    shapes = {key: shape for key, (shape, _) in expected_keys(SIZES, 7)} | vision_shapes()
    state = {}
    for key, shape in shapes.items():
        n_inputs = max(count([shape[1:]]), 1) if len(shape) > 1 else 9
        state[key] = torch.randn(shape, generator=draw) / n_inputs**0.5
        if key.endswith("weight_g"):
            state[key] = 0.3 + 0.1 * state[key].abs()
        if key.endswith((".alpha", "norm.weight")):
            state[key] = state[key].abs() + 0.5
    return state


def write_folder(folder, state=None, config=None):
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(official_state() if state is None else state, folder / "checkpoint.pt")
    (folder / "config.json").write_text(json.dumps(CONFIG if config is None else config))
    return folder


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("official"))


@pytest.fixture(scope="module")
def bundle(official, tmp_path_factory):
    seen = []
    out = tmp_path_factory.mktemp("models") / "sam-toy"
    assert import_folder(official, out, name="sam-toy", step=seen.append) == out
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    return read_bundle(out)


def outputs(network):
    """A velocity, a waveform and a marked one."""
    draw = torch.Generator().manual_seed(1)
    with torch.inference_mode():
        latents = torch.randn(1, 9, 6, generator=draw)
        tokens = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 0]])
        condition = network.dit.condition(latents, tokens, video=torch.randn(1, 9, 14, generator=draw))
        ready = prepare(network.dit, (0.0, 0.25), condition, torch.randn(1, 3, 10, generator=draw))
        clean = network.codec.decode(latents)
        marked, _ = network.watermark(clean, torch.ones(1, 16, dtype=torch.long))
        encoded = network.codec.encode(clean)
        return [ready.velocity(torch.randn(1, 9, 12, generator=draw), 1), clean, marked, encoded]


def test_an_official_folder_of_other_sizes_gives_the_same_network(bundle):
    state = official_state()
    tensors = {f"dit.{key}": value for key, value in convert_dit(state, SIZES.dit)}
    tensors |= {f"codec.{key}": value for key, value in convert_codec(state, SIZES.codec)}
    tensors |= {f"watermark.{key}": value for key, value in convert_watermark(state, SIZES.watermark)}
    direct = outputs(assemble(SIZES, tensors))
    loaded = load_network(bundle)
    assert loaded.sizes == SIZES
    for ours, theirs in zip(outputs(loaded), direct, strict=True):
        assert theirs.abs().max() > 1e-3
        # not equal to the bit: where tensors lie in memory decides which vector code sums them
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_the_bundle_says_what_it_is(bundle):
    assert (bundle.kind, bundle.name, bundle.licence) == ("flow", "sam-toy", "SAM License")
    assert set(bundle.files) == {f"{part}.safetensors" for part in ("dit", "codec", "watermark", "vision")}
    assert Sizes.from_dict(bundle.facts["sizes"]) == SIZES
    keys = bundle.facts["imported"]["keys"]
    assert sum(keys.values()) == len(official_state())
    assert {path.name for path in bundle.folder.iterdir()} == {*bundle.files, MANIFEST}
    for name, said in bundle.files.items():
        assert bundle.path(name).stat().st_size == said["bytes"]


def test_the_picture_tower_is_set_apart_untouched(bundle):
    from safetensors.torch import load_file

    apart = load_file(bundle.path("vision.safetensors"))
    expected = {key for key, (_, fate) in vision_keys(vision_shapes()) if fate is Fate.APART}
    assert {f"vision_encoder.model.{key}" for key in apart} == expected
    state = official_state()
    assert all(torch.equal(value, state[f"vision_encoder.model.{key}"]) for key, value in apart.items())


def test_float32_weights_on_the_cpu_stay_in_the_file(bundle):
    """Loading maps the file: the memory that weights take is what is touched."""
    from safetensors.torch import load_file

    network = load_network(bundle)
    in_memory = load_file(bundle.path("dit.safetensors"))["time_block.weight"]
    weight = network.dit.time_block.weight
    assert torch.equal(weight, in_memory)
    address = weight.data_ptr()
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("this system does not list memory maps")
    spans = [line.split() for line in maps.read_text().splitlines() if "dit.safetensors" in line]
    ranges = [[int(end, 16) for end in span[0].split("-")] for span in spans]
    assert any(start <= address < end for start, end in ranges)


def test_lower_precision_loads(bundle):
    network = load_network(bundle, precision="bf16")
    exact = load_network(bundle)
    low, full = outputs(network)[0], outputs(exact)[0]
    assert low.dtype == torch.float32
    assert 0 < (low - full).norm() / full.norm() < 0.1


def refused(folder, out, code="model_corrupt"):
    with pytest.raises(StembridgeError) as caught:
        import_folder(folder, out, name="toy")
    assert caught.value.code == code
    assert caught.value.remedy
    assert not out.exists()
    assert list(out.parent.glob("*.part-*")) == []
    return caught.value.text


def changed(**changes):
    """The state with keys replaced; None takes one away."""
    state = official_state() | changes
    return {key: value for key, value in state.items() if value is not None}


WQ = "transformer.layers.1.attention.wq.weight"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({WQ: None}, f"lacks: {WQ}"),
        ({"proj.weight": None}, "no proj.weight"),
        ({"transformer.layers.0.scale_shift_table": None}, "no transformer.layers.0"),
        ({"transformer.layers.7.extra": torch.zeros(3)}, "unknown keys: transformer.layers.7.extra"),
        ({WQ: torch.zeros(48, 47)}, f"other shapes: {WQ} (48, 47) instead of (48, 48)"),
        ({"audio_codec.encoder.block.0.bias": torch.zeros(5)}, "audio_codec.encoder.block.0.bias (5,) instead of (4,)"),
        ({"audio_codec.quantizer.out_proj.weight_v": torch.zeros(20, 5, 1)}, "does not fit its transformer"),
        ({"vision_encoder.model.visual.proj": None}, "lacks: vision_encoder.model.visual.proj"),
        ({"vision_encoder.model.visual.new": torch.zeros(1)}, "unknown keys: vision_encoder.model.visual.new"),
        ({"proj.bias": torch.full((48,), float("nan"))}, "mixture_in.bias holds values that are not finite"),
        ({"proj.bias": torch.zeros(48, dtype=torch.int64)}, "proj.bias is torch.int64"),
        ({"proj.weight": torch.zeros(48, 35)}, "proj.weight is 48 x 35 for 12 outputs"),
        ({"proj.weight": torch.zeros(48)}, "proj.weight is (48,), not of 2 axes"),
    ],
)
def test_a_wrong_key_is_named(tmp_path, changes, said):
    assert said in refused(write_folder(tmp_path / "in", changed(**changes)), tmp_path / "out")


def test_many_missing_keys_are_counted(tmp_path):
    state = {key: value for key, value in official_state().items() if not key.startswith("transformer.layers.1.")}
    state["transformer.layers.1.scale_shift_table"] = torch.zeros(6, 48)
    said = refused(write_folder(tmp_path / "in", state), tmp_path / "out")
    assert "and 11 more" in said


def test_parts_that_are_loaded_from_elsewhere_may_be_there(tmp_path):
    state = changed(**{"text_encoder.shared.weight": torch.zeros(2, 2), "span_predictor.x": torch.zeros(1)})
    out = import_folder(write_folder(tmp_path / "in", state), tmp_path / "out", name="toy")
    assert read_bundle(out).facts["imported"]["keys"]["dropped"] > 2


def test_half_precision_checkpoints_are_taken(tmp_path, bundle):
    state = {key: value.to(torch.float16) for key, value in official_state().items()}
    out = import_folder(write_folder(tmp_path / "in", state), tmp_path / "out", name="toy")
    ours, full = (outputs(load_network(one))[0] for one in (read_bundle(out), bundle))
    assert 0 < (ours - full).norm() / full.norm() < 0.01


class Bomb:
    def __reduce__(self):
        return (os.system, ("touch /tmp/stembridge-pickled-code-ran",))


def damage(path, how):
    data = path.read_bytes()
    match how:
        case "truncated":
            path.write_bytes(data[: len(data) // 2])
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("version https://git-lfs.github.com/spec/v1\n")
        case "code":
            torch.save({"proj.weight": torch.zeros(2, 2), "x": Bomb()}, path)
        case "raw pickle":
            path.write_bytes(pickle.dumps(Bomb()))
        case "nested":
            torch.save({"state_dict": official_state()}, path)
        case "list":
            torch.save([torch.zeros(2)], path)
        case "old format":
            torch.save(official_state(), path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("how", ["truncated", "empty", "text", "code", "raw pickle", "nested", "list", "old format"])
def test_a_bad_checkpoint_is_refused(tmp_path, how):
    folder = write_folder(tmp_path / "in")
    damage(folder / "checkpoint.pt", how)
    assert "checkpoint" in refused(folder, tmp_path / "out")
    assert not Path("/tmp/stembridge-pickled-code-ran").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"transformer": {"dim": 1536}}, "transformer.dim is 1536"),
        ({"transformer": {"non_linearity": "gelu"}}, "transformer.non_linearity is 'gelu'"),
        ({"transformer": {"max_positions": "many"}}, "max_positions is 'many'"),
        ({"audio_codec": {"encoder_rates": [2, 8, 10, 12]}}, "audio_codec.encoder_rates is [2, 8, 10, 12]"),
        ({"in_channels": 768}, "in_channels is 768"),
        ({"num_anchors": 5}, "num_anchors is 5"),
    ],
)
def test_a_config_of_another_network_is_refused(tmp_path, change, said):
    folder = write_folder(tmp_path / "in", config=CONFIG | change)
    assert said in refused(folder, tmp_path / "out")


@pytest.mark.parametrize(("text", "code"), [("{", "model_corrupt"), ("[]", "model_corrupt"), (None, "model_missing")])
def test_a_config_that_is_none_is_refused(tmp_path, text, code):
    folder = write_folder(tmp_path / "in")
    (folder / "config.json").unlink()
    if text is not None:
        (folder / "config.json").write_text(text)
    assert "config.json" in refused(folder, tmp_path / "out", code)


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
    folder = write_folder(tmp_path / "in")
    (folder / "checkpoint.pt").unlink()
    assert "checkpoint.pt" in refused(folder, tmp_path / "out", "model_missing")


def test_the_rotary_base_comes_from_the_config(tmp_path):
    config = CONFIG | {"transformer": {**CONFIG["transformer"], "max_positions": 10_000}}
    out = import_folder(write_folder(tmp_path / "in", config=config), tmp_path / "out", name="toy")
    assert load_network(read_bundle(out)).sizes.dit == replace(SIZES.dit, rope_theta=20_000.0, max_frames=10_000)


def test_an_existing_model_is_not_overwritten(tmp_path, official):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("mine")
    with pytest.raises(StembridgeError, match="exists already") as caught:
        import_folder(official, out, name="toy")
    assert caught.value.code == "output_not_writable"
    assert (out / "mine").read_text() == "mine"


def test_a_cancelled_import_leaves_nothing(tmp_path, official):
    def cancel(fraction):
        if fraction > 0.3:
            raise Cancelled

    with pytest.raises(Cancelled):
        import_folder(official, tmp_path / "out", name="toy", step=cancel)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_said_before_anything_is_written(tmp_path, official, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("engine.model.weights.shutil.disk_usage", lambda path: usage)
    assert "GB are free" in refused(official, tmp_path / "out", "disk_full")


def test_a_disk_that_fills_leaves_nothing(tmp_path, official, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("engine.model.tensor_file.os.fsync", full)
    assert "No space left" in refused(official, tmp_path / "out", "disk_full")


@pytest.mark.parametrize("file", ["dit.safetensors", "codec.safetensors"])
def test_a_damaged_bundle_is_refused(tmp_path, official, file):
    out = import_folder(official, tmp_path / "out", name="toy")
    data = bytearray((out / file).read_bytes())
    data[-5] ^= 1
    (out / file).write_bytes(data)
    with pytest.raises(StembridgeError, match="damaged") as caught:
        load_network(read_bundle(out))
    assert caught.value.code == "model_corrupt"


@pytest.mark.parametrize(
    "change",
    [{"sizes": None}, {"sizes": {}}, {"sizes": {**SIZES.to_dict(), "dit": {**SIZES.to_dict()["dit"], "n_layers": 3}}}],
)
def test_a_manifest_of_another_network_is_refused(tmp_path, official, change):
    out = import_folder(official, tmp_path / "out", name="toy")
    facts = json.loads((out / MANIFEST).read_text()) | change
    (out / MANIFEST).write_text(json.dumps(facts))
    with pytest.raises(StembridgeError) as caught:
        load_network(read_bundle(out))
    assert caught.value.code == "model_corrupt"


MEASURE = """
import resource, sys
from pathlib import Path
import engine.model.weights as weights
import safetensors.torch, torch, numpy
torch.zeros(1) @ torch.zeros(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
out = weights.import_folder(Path(sys.argv[1]), Path(sys.argv[2]), name="toy")
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) * 1024, sum(path.stat().st_size for path in out.iterdir()))
"""


def test_an_import_needs_little_more_memory_than_it_keeps(tmp_path):
    wide = replace(SIZES.dit, dim=512, n_heads=4, n_layers=6, ffn_dim=1408)
    shapes = {key: shape for key, (shape, _) in expected_keys(replace(SIZES, dit=wide), 7)}
    draw = torch.Generator().manual_seed(0)
    state = {key: torch.rand(shape, generator=draw) + 0.1 for key, shape in shapes.items()}
    folder = write_folder(tmp_path / "in", state, {})
    config = {"transformer": {"max_positions": 500}}
    (folder / "config.json").write_text(json.dumps(config))
    del state
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(folder), str(tmp_path / "out")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    peak, kept = map(int, done.stdout.split())
    assert kept > 100e6
    assert peak <= 1.3 * kept, f"{peak / kept:.2f} times the weights kept"
