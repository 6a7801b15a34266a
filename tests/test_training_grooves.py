"""Songs whose notes are MMA's: in the song, in range, in harmony, repeatable, and other grooves for held-out songs."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from training import grooves
from training.grooves import accompany, chart, styles, with_groove
from training.notes import Note, Part, Song, compose, play
from training.sources import BY_NAME, DRUM_PARTS, SOURCES

_LENGTH_S = 12.0


@pytest.fixture(scope="module")
def songs():
    """Songs with a groove each, the last of a held-out style."""
    made = []
    for number in range(12):
        rng = np.random.default_rng(number)
        made.append(with_groove(compose(rng, _LENGTH_S), rng, held_out=number == 11))
    assert all(song.parts for song in made)
    return made


@pytest.fixture
def no_mma(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda program: None)
    styles.cache_clear()
    yield
    styles.cache_clear()


def _bar(note: Note, song: Song) -> int:
    return round(note.start_s / song.beat_s / 4)


@pytest.mark.mma
def test_the_same_seed_gives_the_same_notes_and_another_seed_others():
    song = compose(np.random.default_rng(3), 6.0)
    first, again, other = (with_groove(song, np.random.default_rng(seed), held_out=False) for seed in (1, 1, 2))
    assert first == again
    assert first.parts
    assert other.parts != first.parts
    assert replace(first, parts=()) == song
    style = next(style for style in styles(False) if style.file == "stdlib/8beat.mma")
    humanised = [accompany(song, style.file, style.grooves[:1], seed=seed) for seed in (5, 5, 6)]
    assert humanised[0] == humanised[1] != humanised[2]


@pytest.mark.mma
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_every_source_plays_inside_the_song_and_its_own_range(source, songs):
    for number, song in enumerate(songs):
        notes = play(source, song, np.random.default_rng(number))
        if source.role not in ("free", "melody"):
            assert any(play(source, song, np.random.default_rng(seed)) for seed in range(8))
        for note in notes:
            assert 0 <= note.start_s < _LENGTH_S + 1
            assert note.length_s > 0
            assert 1 <= note.velocity <= 127
            if source.drum_keys:
                assert note.key in source.drum_keys
            else:
                assert source.low <= note.key <= source.high + 12  # our own power chords reach an octave above


@pytest.mark.mma
def test_drums_play_the_blows_of_the_groove_and_no_others(songs):
    checked = 0
    for number, song in enumerate(songs):
        beats = {(note.start_s, note.key) for part in song.parts if part.role == "drum" for note in part.notes}
        for name in DRUM_PARTS:
            source = BY_NAME[name]
            if any(key in source.drum_keys for _, key in beats):
                played = {(n.start_s, n.key) for n in play(source, song, np.random.default_rng(number))}
                assert played <= beats
                checked += 1
    assert checked > len(songs)


@pytest.mark.mma
def test_the_bass_begins_most_bars_with_a_note_of_their_chord(songs):
    in_chord = []
    for song in songs:
        for part in song.parts:
            for note in part.notes:
                bar = _bar(note, song)
                first = abs(note.start_s - bar * 4 * song.beat_s) < song.beat_s / 16
                if part.role == "bass" and first and bar < len(song.chords):
                    in_chord.append(note.key % 12 in song.chords[bar])
    assert len(in_chord) > 20
    assert np.mean(in_chord) > 0.75


@pytest.mark.mma
def test_chords_are_played_as_they_are_written():
    """A style without passing notes plays nothing but the tones of the chart: all names of chords are right."""
    for tones in sorted(grooves._KINDS):
        for root in (0, 1, 10):
            chord = (root, *((root + tone) % 12 for tone in tones))
            song = Song(4.0, 0.5, 0.0, (chord, chord), ())
            parts = accompany(song, "stdlib/folk.mma", ["Folk"], seed=0)
            played = {note.key % 12 for part in parts if part.role == "chords" for note in part.notes}
            assert played <= set(chord)
            assert {tone % 12 for tone in chord[:3]} <= played


@pytest.mark.mma
def test_held_out_styles_are_others_whatever_their_collection():
    def names(held_out):
        return {style.file.rpartition("/")[2].removesuffix(".mma").rstrip("0123456789") for style in styles(held_out)}

    def names_of_grooves(held_out):
        return {(style.file, groove) for style in styles(held_out) for groove in style.grooves}

    assert not names(True) & names(False)
    assert not names_of_grooves(True) & names_of_grooves(False)
    assert 20 < len(styles(True)) < len(styles(False)) / 3
    assert len(styles(False)) > 150
    assert not {style.file for style in styles(False)} & {"stdlib/waltz.mma", "stdlib/jazz-54.mma", "stdlib/none.mma"}


@pytest.mark.mma
def test_a_groove_that_fails_names_itself(monkeypatch, tmp_path):
    song = compose(np.random.default_rng(0), 4.0)
    with pytest.raises(ValueError, match=r"stdlib/8beat\.mma:NoSuchGroove cannot be played:.* not found"):
        accompany(song, "stdlib/8beat.mma", ["NoSuchGroove"], seed=0)
    with pytest.raises(ValueError, match=r"none\.mma:None cannot be played"):
        accompany(song, "stdlib/none.mma", ["None"], seed=0)
    slow = tmp_path / "mma"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(grooves, "_LONGEST_S", 0.2)
    with pytest.raises(OSError, match=r"8beat\.mma:8Beat was not played within"):
        accompany(song, "stdlib/8beat.mma", ["8Beat"], seed=0)


@pytest.mark.mma
def test_nothing_is_left_behind(tmp_path, monkeypatch):
    home, here, temporary = (tmp_path / name for name in ("home", "here", "temporary"))
    for folder in (home, here, temporary):
        folder.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    assert with_groove(compose(np.random.default_rng(0), 4.0), np.random.default_rng(0), held_out=True).parts
    assert not [*home.iterdir(), *here.iterdir(), *temporary.iterdir()]


def test_a_chart_takes_turns_every_four_bars_and_refuses_what_is_no_chord():
    song = Song(20.0, 0.5, 0.0, ((9, 0, 4), (7, 11, 2, 5)) * 3, ())
    lines = chart(song, "a/b.mma", ["One", "Two"], 7).splitlines()
    assert lines[:4] == ["RndSeed 7", "Tempo 120.000", "Groove a/b.mma:One", "1 Am"]
    assert lines[6:9] == ["4 G7", "Groove a/b.mma:Two", "5 Am"]
    with pytest.raises(ValueError, match=r"\(1, 2\) semitones"):
        chart(replace(song, chords=((0, 1, 2),)), "a/b.mma", ["One"], 7)


def test_every_chord_that_is_composed_has_a_name():
    for seed in range(60):
        song = compose(np.random.default_rng(seed), 30.0)
        assert len(chart(song, "a", ["b"], 0).splitlines()) > len(song.chords)


def test_a_part_is_brought_into_the_range_of_who_plays_it():
    notes = tuple(Note(beat * 0.5, 0.4, key, 90) for beat, key in enumerate((60, 64, 67, 100)))
    song = Song(8.0, 0.5, 0.0, ((0, 4, 7),) * 5, (), (Part("chords", 0, notes), Part("bass", 33, notes)))
    bass = BY_NAME["double bass"]
    for seed in range(20):
        for note in play(bass, song, np.random.default_rng(seed)):
            assert bass.low <= note.key <= bass.high
            assert note.key % 12 in {0, 4, 7}
    silent = replace(song, parts=(Part("drum", 0, (Note(0.0, 0.1, 36, 90),)),))
    assert any(play(BY_NAME["snare"], silent, np.random.default_rng(seed)) for seed in range(3))


def test_without_mma_a_song_stays_as_it_was(no_mma):
    song = compose(np.random.default_rng(0), 4.0)
    assert styles(False) == styles(True) == ()
    assert with_groove(song, np.random.default_rng(0), held_out=False) is song
