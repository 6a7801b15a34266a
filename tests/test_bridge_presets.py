"""Presets: those that ship, the user's over them, and what a wrong one is told."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import platformdirs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.api.fields import FIELDS
from bridge.asking.intake import to_request
from bridge.asking.paths import local_policy
from bridge.asking.presets import MAX_NAME_BYTES, Preset, check_presets, find_preset, load_presets, model_for
from bridge.asking.prompts import prompt_from_track
from bridge.plugins.chain import BUILT_INS, from_text, read_tables, to_text, wrong_tables
from bridge.plugins.process import Worker
from engine.errors import StembridgeError
from engine.masks.intent import read_intent
from engine.request import SeparationRequest

SHIPPED = Path(__file__).parent.parent / "presets"
OURS = load_presets(Path("/nowhere"))


@pytest.fixture
def written(tmp_path):
    def write(text: str | bytes, name: str = "mine.toml") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def test_the_named_presets_ship():
    parts = ("vocals", "drums", "bass", "guitar", "piano", "strings", "brass", "synth", "crowd", "room-noise")
    named = {f"{verb}-{part}" for verb in ("extract", "remove") for part in parts}
    named |= {"dialogue", "remove-dialogue", "music-under-dialogue", "karaoke", "de-bleed", "minus-one"}
    assert named | {"sample-clearance"} <= set(OURS)


def test_every_shipped_file_is_sound():
    assert check_presets([SHIPPED]) == []
    assert check_presets(sorted(SHIPPED.glob("*.toml"))) == []


@pytest.mark.parametrize("preset", OURS.values(), ids=lambda preset: preset.name)
def test_a_shipped_preset_is_described_and_makes_a_request(preset):
    assert preset.title
    assert preset.description
    assert preset.colour
    told = preset.fields()
    assert set(told) <= set(FIELDS)
    told.setdefault("prompt", "lead vocals")  # a preset without one takes the track's
    request = SeparationRequest(
        source=(Path("song.wav"),),
        out_dir=Path(),
        context_s=told.pop("context", 5.0),
        name=preset.file_name(source=Path("song.wav"), prompt=told["prompt"]),
        **told,
    )
    assert request.prompt == (preset.prompt or "lead vocals")
    assert preset.prompt is None or prompt_from_track(preset.prompt) == preset.prompt


@pytest.mark.parametrize("name", ["extract-vocals", "remove-vocals", "dialogue"])
def test_the_embedded_model_answers_them(name):
    intent = read_intent(OURS[name].prompt or "")
    assert intent is not None
    assert intent.stem == "vocals"


def test_the_model_that_answers_a_preset_is_told():
    def choose(request) -> str:
        if request.prompt == "crowd":
            raise StembridgeError("unsupported_prompt", "Never.")
        return f"for {request.prompt}"

    names = ("extract-drums", "extract-bass", "extract-crowd", "de-bleed")
    assert [model_for(OURS[name], choose) for name in names] == ["for drums", "for bass", None, ""]
    assert model_for(OURS["karaoke"]) == "spleeter-2stems"


def test_karaoke_is_the_residual_of_the_vocals():
    assert OURS["remove-vocals"].fields() == {"prompt": "vocals", "keep": "residual", "quality": "fast"}


def test_a_preset_sets_only_what_it_says():
    assert Preset(name="bare", title="Bare").fields() == {}


def test_a_request_in_samples_gets_its_context_in_samples():
    preset = Preset(name="wide", title="Wide", context_s=2.5)
    assert preset.fields() == {"context": 2.5}
    assert preset.fields(rate_hz=48_000) == {"context": 120_000}


def test_presets_do_not_change():
    with pytest.raises(FrozenInstanceError):
        OURS["dialogue"].keep = "target"


def test_a_users_file_replaces_ours_of_its_name_and_adds_others(written, tmp_path):
    written('schema = 1\ntitle = "Talk"\nprompt = "man speaking"\nnfe = 8', "dialogue.toml")
    written('schema = 1\ntitle = "Tambourine"\nprompt = "tambourine"', "tambourine.toml")
    written("schema = 1\n[nouns]\n", "vocabulary.toml")
    presets = load_presets(tmp_path)
    assert list(presets) == sorted([*OURS, "tambourine"])
    assert presets["dialogue"].fields() == {"prompt": "man speaking", "nfe": 8}
    assert presets["extract-vocals"] == OURS["extract-vocals"]


def test_the_users_presets_lie_in_the_configuration_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(platformdirs, "user_config_dir", lambda *_, **__: str(tmp_path))
    assert load_presets() == OURS
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "mine.toml").write_text('schema = 1\ntitle = "Mine"')
    assert load_presets()["mine"].title == "Mine"
    assert check_presets() == []
    (tmp_path / "vocabulary.toml").write_text("schema = 1\n[nouns]\nkazoo = 3")
    assert [problem.code for problem in check_presets()] == ["bad_preset"]


def test_an_unknown_preset_names_the_nearest_and_all():
    assert find_preset("dialogue", OURS) is OURS["dialogue"]
    with pytest.raises(StembridgeError) as caught:
        find_preset("Extract-vocal", OURS)
    assert caught.value.code == "unknown_preset"
    assert "'extract-vocals'" in caught.value.text
    assert all(name in caught.value.remedy for name in OURS)


GOOD = 'schema = 1\ntitle = "Mine"\n'
WRONG = [
    ("schema = 1\ntitle = 'a' 'b'\n", "line 2", ""),
    (b"title = '\xff'", "UTF-8", ""),
    ('title = "Mine"', "schema", "schema = 1"),
    ('schema = 2\ntitle = "Mine"', "schema", "1"),
    ("schema = 1", "title", ""),
    ("schema = 1\ntitle = ''", "title", ""),
    ("schema = 1\ntitle = 3", "title", "string"),
    (GOOD + "promt = 'vocals'", "promt", "'prompt'"),
    (GOOD + "context = 3", "context", "'context_s'"),
    (GOOD + "color = '#ffffff'", "color", "'colour'"),
    (GOOD + "name = 'x'", "name", "'naming'"),
    (GOOD + "zzzz = 1", "zzzz", "colour"),
    (GOOD + "[plugins]\na = 1", "plugins", "keys are"),
    (GOOD + "prompt = ''", "prompt", ""),
    (GOOD + "prompt = ['vocals']", "prompt", "string"),
    (GOOD + 'prompt = "a\\u0000b"', "prompt", ""),
    (GOOD + f"prompt = '{'x' * 2000}'", "prompt", "1000"),
    (GOOD + "keep = 'all'", "keep", "'residual'"),
    (GOOD + "quality = 'good'", "quality", "'draft'"),
    (GOOD + "output = 'mask'", "output", "'faithful'"),
    (GOOD + "spans = 'all'", "spans", "'selection'"),
    (GOOD + "nfe = 0", "nfe", "1 to"),
    (GOOD + "nfe = 1.5", "nfe", "integer"),
    (GOOD + "nfe = true", "nfe", "integer"),
    (GOOD + "context_s = -1", "context_s", "0 to"),
    (GOOD + "context_s = nan", "context_s", "0 to"),
    (GOOD + "context_s = '3'", "context_s", "number"),
    (GOOD + "colour = 'red'", "colour", "#"),
    (GOOD + "colour = '#12345'", "colour", "#"),
    (GOOD + "naming = '{sorce}'", "naming", "{source}"),
    (GOOD + "naming = '{source'", "naming", "{source}"),
    (GOOD + "naming = '{source.stem}'", "naming", "{source}"),
    (GOOD + "naming = '../{source}'", "naming", "{source}"),
    (GOOD + "naming = ''", "naming", "{source}"),
    (GOOD + "pre = 3", "pre", "[[pre]]"),
    (GOOD + "[post]\nplugin = 'Gain'", "post", "[[post]]"),
    (GOOD + "[[posts]]\nplugin = 'Gain'", "posts", "'post'"),
    (GOOD + "[[post]]\nplugn = 'Gain'", "plugn", "'plugin'"),
    (GOOD + "[[post]]\non = 'both'", "plugin", "plugin = "),
    (GOOD + "[[post]]\nplugin = ''", "plugin", "name"),
    (GOOD + "[[post]]\nplugin = 3", "plugin", "quotes"),
    (GOOD + "[[post]]\nplugin = 'Gain'\non = 'all'", "on", "residual"),
    (GOOD + "[[post]]\nplugin = 'Gain'\nlatency = 'none'", "latency", "measured"),
    (GOOD + "[[post]]\nplugin = 'Gain'\nrequired = 'no'", "required", "true or false"),
    (GOOD + "[[post]]\nplugin = 'Gain'\ntail_s = 100", "tail_s", "60"),
    (GOOD + "[[post]]\nplugin = 'Gain'\ntail = 1", "tail", "'tail_s'"),
    (GOOD + "[[post]]\nplugin = 'Gain'\nparameter = { gain_db = 1 }", "parameter", "'parameters'"),
    (GOOD + "[[post]]\nplugin = 'Gain'\nparameters = 3", "parameters", "name = value"),
    (GOOD + "[[post]]\nplugin = 'Gain'\nparameters = { gain_db = [1] }", "gain_db", "number"),
    (GOOD + "[[post]]\nplugin = 'Gain'\nparameters = { gain_db = inf }", "gain_db", "finite"),
    (GOOD + "[[post]]\nplugin = 'Gain'\npreset = 'a.vstpreset'", "preset", "built in"),
    (GOOD + "[[post]]\nplugin = 'X'\npreset = 'a.fxp'", "preset", ".vstpreset"),
    (GOOD + "[[pre]]\nplugin = 'Gain'\non = 'both'", "on", "keys are"),
    (GOOD + 17 * "[[pre]]\nplugin = 'Gain'\n", "17 plugins", "16"),
]


@pytest.mark.parametrize(("text", "named", "helped"), WRONG)
def test_a_wrong_preset_is_named_with_file_key_and_remedy(written, tmp_path, text, named, helped):
    path = written(text)
    problems = check_presets([path])
    with pytest.raises(StembridgeError) as caught:
        find_preset("mine", load_presets(tmp_path), tmp_path)
    assert problems
    for error in (problems[0], caught.value):
        assert error.code == "bad_preset"
        assert str(path) in error.text
        assert named in str(error).replace(str(path), "")
        assert helped in error.remedy
        assert error.remedy


def test_a_wrong_preset_takes_no_other_away_and_is_logged(written, tmp_path, caplog):
    written("schema = 1\ntitle = 3", "dialogue.toml")
    written('schema = 1\ntitle = "Tambourine"\nprompt = "tambourine"', "tambourine.toml")
    presets = load_presets(tmp_path)
    assert set(presets) == {*OURS, "tambourine"} - {"dialogue"}
    assert str(tmp_path / "dialogue.toml") in caplog.text
    with pytest.raises(StembridgeError) as caught:  # ours does not stand in for it
        find_preset("dialogue", presets, tmp_path)
    assert caught.value.code == "bad_preset"
    with pytest.raises(StembridgeError) as caught:
        find_preset("../dialogue", presets, tmp_path)
    assert caught.value.code == "unknown_preset"


def test_every_wrong_key_of_a_file_is_listed(written):
    path = written("schema = 1\npromt = 'vocals'\nkeep = 'all'\nnfe = 'x'")
    said = [str(problem) for problem in check_presets([path])]
    assert len(said) == 4
    assert all(any(key in text for text in said) for key in ("promt", "keep", "nfe", "title"))


@pytest.mark.parametrize("name", ["none.toml", "vocabulary.toml"])
def test_an_empty_folder_has_no_problems_and_a_missing_file_is_one(tmp_path, name):
    assert check_presets([tmp_path]) == []
    assert [problem.code for problem in check_presets([tmp_path / name])] == ["bad_preset"]


CHAINED = """schema = 1
title = "Chained"
prompt = "vocals"
[[pre]]
plugin = "HighpassFilter"
parameters = { cutoff_frequency_hz = 60 }
[[post]]
plugin = "ZamCompX2"
preset = "hard.vstpreset"
[[post]]
plugin = "Reverb"
on = "both"
tail_s = 2
required = false
"""


def test_a_presets_chains_reach_the_request(written, tmp_path, mixture_file, monkeypatch):
    written(CHAINED, "chained.toml")
    preset = load_presets(tmp_path)["chained"]
    assert [use.plugin for use in preset.post] == ["ZamCompX2", "Reverb"]
    assert preset.pre[0].parameters == {"cutoff_frequency_hz": 60.0}
    assert preset.post[0].preset == str(tmp_path / "hard.vstpreset")
    source = mixture_file(0.1)
    asked = {"path": str(source), "preset": "chained"}
    monkeypatch.setattr("bridge.plugins.places.find_spec", lambda name: object())
    request = to_request(asked, local_policy([source], tmp_path), presets=lambda: {"chained": preset})
    assert (from_text(request.pre), from_text(request.post)) == (preset.pre, preset.post)
    assert SeparationRequest.from_dict(request.to_dict()) == request
    monkeypatch.setattr("bridge.plugins.places.find_spec", lambda name: None)
    with pytest.raises(StembridgeError, match="GPL") as caught:  # said when it is asked, not when its turn comes
        to_request(asked, local_policy([source], tmp_path), presets=lambda: {"chained": preset})
    assert caught.value.code == "plugin_missing"
    with pytest.raises(StembridgeError) as caught:  # plugins are a preset's to name, not a client's
        to_request({**asked, "post": request.post}, local_policy([source], tmp_path))
    assert caught.value.code == "unknown_key"


VALUES = st.one_of(
    st.booleans(), st.integers(-(2**40), 2**40), st.floats(allow_nan=False, allow_infinity=False), st.text()
)
TABLES = st.lists(
    st.fixed_dictionaries(
        {"plugin": st.text(min_size=1)},
        optional={
            "parameters": st.dictionaries(st.text(), VALUES, max_size=4),
            "on": st.sampled_from(["target", "residual", "both"]),
            "tail_s": st.floats(0, 60),
            "required": st.booleans(),
        },
    ),
    max_size=4,
)


@given(tables=TABLES)
def test_a_chain_is_wrong_or_survives_as_text(tables):
    wrong = list(wrong_tables("post", tables))
    if wrong:
        assert all(error.code == "bad_preset" and error.remedy for error in wrong)
        return
    chain = read_tables("post", tables)
    assert from_text(to_text(chain)) == chain
    assert (to_text(chain) == "") == (not tables)


@given(
    junk=st.recursive(st.none() | VALUES, lambda each: st.lists(each) | st.dictionaries(st.text(), each), max_leaves=9)
)
def test_whatever_stands_in_a_chains_place_is_told_and_never_breaks(junk):
    for error in wrong_tables("pre", junk):
        assert error.code == "bad_preset"


def test_a_shipped_preset_with_plugins_says_that_it_needs_them():
    chained = [preset for preset in OURS.values() if preset.pre or preset.post]
    assert len(chained) >= 2
    for preset in OURS.values():
        assert (preset in chained) == ("needs the extra [plugins]" in preset.description)
        assert all(use.plugin in BUILT_INS and use.required for use in (*preset.pre, *preset.post))


@pytest.mark.vst3
@pytest.mark.parametrize("preset", [p for p in OURS.values() if p.pre or p.post], ids=lambda preset: preset.name)
def test_a_shipped_chain_can_be_loaded(preset):
    with Worker() as worker:
        for chain in (preset.pre, preset.post):
            assert len(worker.open(chain, 44_100, 2)) == len(chain)


def test_the_clearance_check_gives_the_song_back_in_two_named_parts():
    preset = OURS["sample-clearance"]
    assert preset.fields() == {"prompt": "vocals", "keep": "both", "quality": "best"}
    assert not preset.pre
    assert not preset.post
    assert preset.file_name(source=Path("Demo 3.wav"), prompt="vocals") == "Demo 3.clearance"


@given(track=st.text(max_size=300), prompt=st.text(max_size=300), stem=st.text("aé声. ", min_size=1, max_size=300))
def test_a_stems_name_is_one_that_a_request_takes(track, prompt, stem):
    preset = Preset(name="n", title="N", naming="{source} {track}-{prompt}")
    name = preset.file_name(source=Path(f"{stem}.wav"), prompt=prompt, track=track)
    assert name is not None
    assert len(name.encode()) <= MAX_NAME_BYTES
    SeparationRequest(source=(Path("a.wav"),), prompt="any", out_dir=Path(), name=name)


def test_what_a_name_is_filled_with_is_not_filled_again():
    preset = Preset(name="n", title="N", naming="{track}")
    assert preset.file_name(source=Path("a.wav"), prompt="p", track="{prompt}") == "{prompt}"
    assert preset.file_name(source=Path("a.wav"), prompt="p", track="../x/y") == "-x-y"
    assert preset.file_name(source=Path("a.wav"), prompt="p") is None
    assert Preset(name="n", title="N").file_name(source=Path("a.wav"), prompt="p") is None


def test_starting_up_leaves_pydantic_alone():
    code = "import sys, bridge.asking.presets; print('pydantic' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=SHIPPED.parent)
    assert ran.stdout.strip() == "False"
